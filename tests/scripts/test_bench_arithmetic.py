"""Operations, shares, medians and ratios of the speed benchmark."""

import arithmetic
import pytest
from arithmetic import ModelShape

QWEN = ModelShape(layers=24, hidden=896, heads=14, kv_heads=2, head_dim=64, ffn=4864)


def sample(wall: float, cpu: float = 0.0) -> dict:
    return {"wall_s": wall, "cpu_s": cpu or 2 * wall}


def test_linear_operations_are_two_per_weight_of_the_layers():
    weights = 24 * (896 * (14 + 2 + 2) * 64 + 14 * 64 * 896 + 3 * 896 * 4864)
    assert arithmetic.linear_flops_per_token(QWEN) == 2 * weights
    assert round(arithmetic.linear_flops_per_token(QWEN) / 1e9, 3) == 0.716


def test_causal_attention_counts_every_visible_pair_once():
    # One head of dimension 1, three tokens: six pairs, a product and an addition for the score and for the value.
    assert arithmetic.attention_flops(heads=1, head_dim=1, tokens=3) == 6 * 4


def test_prefill_of_8k_is_two_thirds_linear():
    total = arithmetic.prefill_flops(QWEN, 8192)
    assert total == pytest.approx(8.75e12, rel=0.01)
    assert 8192 * arithmetic.linear_flops_per_token(QWEN) / total == pytest.approx(0.67, abs=0.01)


def test_shape_is_read_from_what_the_driver_says():
    model = {"name": "x", "vocab": 5, "layers": 1, "hidden": 2, "heads": 3, "kv_heads": 4, "head_dim": 5, "ffn": 6}
    assert ModelShape.of(model) == ModelShape(1, 2, 3, 4, 5, 6)


def test_kv_of_a_token_of_qwen_is_12_kib():
    assert arithmetic.kv_bytes(QWEN, 1) == 12 * 1024


def test_percent_is_unknown_without_a_limit():
    assert arithmetic.percent(50, 2, 100) == 25
    assert arithmetic.percent(50, 2, 0) is None


def test_medians_keep_every_wall_time():
    assert arithmetic.medians([sample(3, 1), sample(1, 5), sample(2, 9)]) == {
        "wall_s": 2,
        "cpu_s": 5,
        "wall_all_s": [3, 1, 2],
    }


def test_ratio_of_pairs_is_not_moved_by_drift():
    slow, fast = [sample(2), sample(20), sample(200)], [sample(1), sample(10), sample(100)]
    assert arithmetic.paired_ratio(slow, fast, "wall_s") == 2


def test_pairs_of_unequal_number_are_refused():
    with pytest.raises(ValueError):
        arithmetic.paired_ratio([sample(1)], [sample(1), sample(2)], "wall_s")


def test_fastest_is_by_median_among_those_measured():
    samples = {"a": [sample(1), sample(9), sample(9)], "b": [sample(2), sample(2), sample(2)], "c": []}
    assert arithmetic.fastest(samples, ["a", "b", "c", "d"], "wall_s") == "b"
    assert arithmetic.fastest(samples, ["c", "d"], "wall_s") is None


def test_ratios_are_against_our_dense_and_the_fastest_peer():
    samples = {"dense": [sample(6)], "pruned": [sample(2)], "peer-a": [sample(18)], "peer-b": [sample(12)]}
    found = {
        (r["engine"], r["against"]): r["wall_ratio"]
        for r in arithmetic.ratios(samples, ["dense", "pruned"], ["peer-a", "peer-b"])
    }
    assert found == {("pruned", "dense"): 3, ("dense", "peer-b"): 2, ("pruned", "peer-b"): 6}


def test_ratios_without_peers_are_dense_against_pruned_only():
    samples = {"dense": [sample(6, 12)], "pruned": [sample(2, 3)]}
    assert arithmetic.ratios(samples, ["dense", "pruned"], ["peer"]) == [
        {"engine": "pruned", "against": "dense", "wall_ratio": 3, "cpu_ratio": 4}
    ]


def test_ratios_without_our_dense_are_against_the_peer_only():
    samples = {"pruned": [sample(2)], "peer": [sample(12)]}
    assert [r["against"] for r in arithmetic.ratios(samples, ["dense", "pruned"], ["peer"])] == ["peer"]


def test_time_shares_add_up_to_the_wall_time():
    shares = arithmetic.time_shares({"attention": 5.0, "FFN": 4.0, "gather": 0.02, "norm": 0.01}, wall_s=10.0)
    assert shares["attention"] == 50 and shares["FFN"] == 40
    assert "gather" not in shares and shares["other ops"] == pytest.approx(0.3)
    assert shares["outside of ops"] == pytest.approx(9.7)
