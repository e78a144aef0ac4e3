#!/usr/bin/env python3
"""Which blocks a full KV store should drop: policies replayed on traces of requests, by the share of prompt blocks found.

A trace has a JSON line for each request, with `hash_ids`: names of its prompt's blocks, each standing for the whole prefix
up to it, as in the traces that Mooncake publishes (FAST25-release/traces). A block is found when all before it are too, so
every policy here drops leaves only: never a block that another one follows.

Usage: scripts/bench/eviction.py TRACE.jsonl [...] [--blocks 1000,10000]
"""

import argparse
import heapq
import json
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from table import markdown  # noqa: E402

MOST_USES = 3
SMALL_SHARE = 0.1  # of the cache, for blocks on probation
GHOST_SHARE = 0.9  # names remembered of what went


@dataclass
class Block:
    parent: int | None
    queue: str
    tick: int  # its place in the queue
    children: int = 0
    uses: int = 0  # since it came into the queue, at most MOST_USES


class Queue:
    """Blocks in order of their ticks; those that have moved or are no leaves are skipped."""

    def __init__(self, name: str, blocks: dict[int, Block]):
        self.name, self.blocks, self.heap = name, blocks, []

    def add(self, name: int) -> None:
        heapq.heappush(self.heap, (self.blocks[name].tick, name))

    def oldest_leaf(self) -> int | None:
        while self.heap:
            tick, name = self.heap[0]
            block = self.blocks.get(name)
            if block is not None and (block.tick, block.queue, block.children) == (tick, self.name, 0):
                return name
            heapq.heappop(self.heap)
        return None


class Cache:
    """Blocks of one size in a forest. A policy says where a block goes when it comes, when it is used, and what is next."""

    def __init__(self, capacity: int):
        self.capacity, self.tick = capacity, 0
        self.blocks: dict[int, Block] = {}
        self.queues = {name: Queue(name, self.blocks) for name in ("main", "small")}
        self.sizes = dict.fromkeys(self.queues, 0)

    def request(self, names: list[int]) -> int:
        """Blocks found; the others are stored as far as there is room."""
        found = 0
        while found < len(names) and names[found] in self.blocks:
            self.use(names[found])
            found += 1
        parent = names[found - 1] if found > 0 else None
        for name in names[found:]:
            if not self.store(name, parent):
                break
            parent = name
        return found

    def store(self, name: int, parent: int | None) -> bool:
        if parent is not None:
            self.blocks[parent].children += 1  # stays, whatever goes
        while len(self.blocks) >= self.capacity:
            leaving = self.next_to_go()
            if leaving is None:
                self.release(parent)
                return False
            block = self.blocks.pop(leaving)
            self.sizes[block.queue] -= 1
            self.release(block.parent)
        queue = self.queue_of_new(name)
        self.blocks[name] = Block(parent, queue, 0)
        self.sizes[queue] += 1
        self.move(name, queue)
        return True

    def release(self, parent: int | None) -> None:
        if parent is None:
            return
        self.blocks[parent].children -= 1
        if self.blocks[parent].children == 0:
            self.queues[self.blocks[parent].queue].add(parent)

    def move(self, name: int, queue: str) -> None:
        """To the young end of a queue."""
        self.tick += 1
        block = self.blocks[name]
        self.sizes[block.queue] -= 1
        self.sizes[queue] += 1
        block.queue, block.tick = queue, self.tick
        self.queues[queue].add(name)


class Lru(Cache):
    def queue_of_new(self, name: int) -> str:
        return "main"

    def use(self, name: int) -> None:
        self.move(name, "main")

    def next_to_go(self) -> int | None:
        return self.queues["main"].oldest_leaf()


class S3Fifo(Cache):
    """Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023; among leaves."""

    def __init__(self, capacity: int):
        super().__init__(capacity)
        self.ghosts: OrderedDict[int, None] = OrderedDict()

    def queue_of_new(self, name: int) -> str:
        return "main" if self.ghosts.pop(name, name) is None else "small"

    def use(self, name: int) -> None:
        self.blocks[name].uses = min(MOST_USES, self.blocks[name].uses + 1)

    def next_to_go(self) -> int | None:
        while True:
            small, main = self.queues["small"].oldest_leaf(), self.queues["main"].oldest_leaf()
            if small is not None and (main is None or self.sizes["small"] >= SMALL_SHARE * self.capacity):
                if self.blocks[small].uses <= 1:
                    self.ghosts[small] = None
                    if len(self.ghosts) > GHOST_SHARE * self.capacity:
                        self.ghosts.popitem(last=False)
                    return small
                self.blocks[small].uses = 0
                self.move(small, "main")
            elif main is not None:
                if self.blocks[main].uses == 0:
                    return main
                self.blocks[main].uses -= 1
                self.move(main, "main")
            else:
                return None


POLICIES = {"LRU": Lru, "S3-FIFO": S3Fifo}


def share_found(policy: str, capacity: int, trace: list[list[int]]) -> float:
    cache = POLICIES[policy](capacity)
    return sum(cache.request(names) for names in trace) / sum(len(names) for names in trace)


def load(path: Path) -> list[list[int]]:
    return [json.loads(line)["hash_ids"] for line in path.read_text(encoding="utf-8").splitlines()]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--blocks", default="1000,3000,10000,30000", help="sizes of the store, in blocks of the trace")
    arguments = parser.parse_args(words)
    rows = []
    for path in arguments.traces:
        try:
            trace = load(path)
        except (OSError, ValueError, KeyError) as error:
            print(f"eviction: {path}: not a trace with hash_ids: {error}", file=sys.stderr)
            return 1
        for size in map(int, arguments.blocks.split(",")):
            shares = [f"{100 * share_found(policy, size, trace):.1f} %" for policy in POLICIES]
            rows.append([path.stem, str(size), *shares])
    print(markdown(["trace", "blocks in the store", *POLICIES], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
