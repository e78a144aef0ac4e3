"""Blocks out of a Mooncake store: a master, a process that holds the blocks, and this one, on loopback TCP.

Runs in the Python of scripts/setup_peers.sh --mooncake; prints JSON: seconds of each call.
"""

import argparse
import ctypes
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import mooncake
from mooncake.store import MooncakeDistributedStore

CALL_BYTES = 32 << 20
BLOCK_BYTES = 256 << 10
BLOCKS = CALL_BYTES // BLOCK_BYTES
START_SECONDS = 30


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


def connect(master: str, held_bytes: int, buffer_bytes: int) -> MooncakeDistributedStore:
    store = MooncakeDistributedStore()
    deadline = time.monotonic() + START_SECONDS
    while store.setup(free_address(), "P2PHANDSHAKE", held_bytes, buffer_bytes, "tcp", "", master) != 0:
        if time.monotonic() > deadline:
            raise RuntimeError("Mooncake's master does not answer")
        time.sleep(0.2)
    return store


def hold(master: str) -> None:
    """The process whose memory has the blocks; lives until its standard input closes."""
    store = connect(master, 512 << 20, 16 << 20)
    print("ready", flush=True)
    sys.stdin.read()
    store.close()


def measure(master: str, rounds: int) -> list[float]:
    store = connect(master, 0, 2 * CALL_BYTES)
    source = ctypes.create_string_buffer(os.urandom(CALL_BYTES), CALL_BYTES)
    target = ctypes.create_string_buffer(CALL_BYTES)
    keys = [f"block-{i}" for i in range(BLOCKS)]
    sizes = [BLOCK_BYTES] * BLOCKS

    def places(buffer) -> list[int]:
        start = ctypes.addressof(buffer)
        return [start + i * BLOCK_BYTES for i in range(BLOCKS)]

    for buffer in (source, target):
        if store.register_buffer(ctypes.addressof(buffer), CALL_BYTES) != 0:
            raise RuntimeError("Mooncake does not take the buffer")
    if any(store.batch_put_from(keys, places(source), sizes)):
        raise RuntimeError("Mooncake did not store the blocks")
    seconds = []
    for _ in range(rounds + 2):
        begin = time.perf_counter()
        got = store.batch_get_into(keys, places(target), sizes)
        seconds.append(time.perf_counter() - begin)
        if got != sizes:
            raise RuntimeError("Mooncake did not find the blocks")
    if target.raw != source.raw:
        raise RuntimeError("Mooncake returned wrong bytes")
    return seconds[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--hold", metavar="MASTER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold:
        hold(arguments.hold)
        return
    master = free_address()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    program = pathlib.Path(mooncake.__file__).parent / "mooncake_master"
    processes = [subprocess.Popen([program, f"--rpc_port={master.split(':')[1]}",
                                   f"--metrics_port={free_address().split(':')[1]}"], **quiet)]
    try:
        holder = subprocess.Popen([sys.executable, __file__, "--hold", master], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(holder)
        if holder.stdout.readline().strip() != "ready":
            raise RuntimeError("the process that holds Mooncake's blocks did not start")
        seconds = measure(master, arguments.rounds)
        print(json.dumps({"call_bytes": CALL_BYTES, "seconds": seconds}), flush=True)
    finally:
        for process in processes:
            process.kill()
    os._exit(0)  # its threads would wait for the killed processes


if __name__ == "__main__":
    main()
