"""The replay of eviction policies, on traces small enough to follow by hand."""

import eviction
import pytest


def contents(policy, capacity, trace):
    cache = eviction.POLICIES[policy](capacity)
    found = [cache.request(names) for names in trace]
    assert len(cache.blocks) <= capacity
    for block in cache.blocks.values():
        assert block.parent is None or block.parent in cache.blocks, "a block without what comes before it"
    assert sum(cache.sizes.values()) == len(cache.blocks)
    return found, set(cache.blocks)


@pytest.mark.parametrize("policy", eviction.POLICIES)
def test_what_fits_is_found(policy):
    assert contents(policy, 4, [[1, 2, 3], [1, 2, 4], [1, 2, 3]]) == ([0, 2, 3], {1, 2, 3, 4})


@pytest.mark.parametrize("policy", eviction.POLICIES)
def test_a_prompt_longer_than_the_store_keeps_its_beginning(policy):
    assert contents(policy, 3, [[1, 2, 3, 4, 5]]) == ([0], {1, 2, 3})


def test_lru_drops_the_leaf_that_was_used_longest_ago():
    assert contents("LRU", 4, [[1, 2], [3, 4], [1, 2], [5]]) == ([0, 0, 2, 0], {1, 2, 3, 5})


def test_s3_fifo_keeps_what_was_used_again_before_what_came_once():
    # 1 is used twice and moves on; the others pass through.
    found, kept = contents("S3-FIFO", 4, [[1], [1], [1], [2], [3], [4], [5], [6], [7], [1]])
    assert found[-1] == 1 and 1 in kept


def test_random_traces_keep_the_forest_whole():
    state, trace = 1, []
    for _ in range(300):
        state = state * 1103515245 % 2**31
        document, length = state // 7 % 40, 1 + state // 1000 % 12
        trace.append([document * 100 + i for i in range(length)])
    for policy in eviction.POLICIES:
        found, _ = contents(policy, 60, trace)
        assert 0 < sum(found) < sum(map(len, trace))


def test_a_file_that_is_no_trace_is_named(tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"timestamp": 0}\n')
    assert eviction.main([str(bad)]) == 1
    assert "bad.jsonl" in capsys.readouterr().err
