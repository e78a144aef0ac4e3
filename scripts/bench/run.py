#!/usr/bin/env python3
"""Speed of slimfill beside its peers on this machine. scripts/bench.sh builds what is needed and starts this."""

import argparse
import json
import sys
from pathlib import Path

import attention
import decode
import kv
import machine
import prefill
import prefix
import setting
from driver import DriverError

BENCHMARKS = {"prefill": prefill, "attention": attention, "decode": decode, "prefix": prefix, "kv": kv}
ENGINES = list(dict.fromkeys([*prefill.OURS, *decode.OURS, *prefix.OURS, *prefill.PEERS]))
SHARED_CORES = 0.05  # used by others; above it the table says so


def lengths(text: str) -> list[int]:
    values = [int(part) for part in text.split(",")]
    if not all(256 <= value <= 32768 for value in values):
        raise argparse.ArgumentTypeError(f"{text}: every length must be between 256 and 32768")
    return values


def batch_sizes(text: str) -> list[int]:
    values = [int(part) for part in text.split(",")]
    if not all(32 <= value <= 4096 for value in values):
        raise argparse.ArgumentTypeError(f"{text}: every batch size must be between 32 and 4096")
    return values


def engines(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ENGINES]:
        raise argparse.ArgumentTypeError(f"unknown engine {unknown[0]}: choose from {', '.join(ENGINES)}")
    return names


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--tokens", type=lengths, help="prompt lengths, comma-separated (default 2048,8192); not of kv")
    parser.add_argument("--repeats", type=positive, default=3, help="rounds (default 3); of kv, of ten calls each way")
    parser.add_argument(
        "--engines",
        type=engines,
        default=ENGINES,
        help=f"of prefill, decode and prefix, comma-separated, from {', '.join(ENGINES)} (default all)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=machine.cores(),
        help="of prefill, decode and prefix, for every engine (default all cores); attention runs with one and with all",
    )
    parser.add_argument(
        "--ubatch",
        type=batch_sizes,
        default=[256, 512, 1024],
        help="llama.cpp's batch sizes to choose from, comma-separated; one is not tried but used (default 256,512,1024)",
    )
    parser.add_argument("--linear", choices=["bf16", "int8"], default="bf16", help="ours: numbers of the linear layers")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw them to this file, as SVG")
    arguments = parser.parse_args(words)
    arguments.tokens = arguments.tokens or BENCHMARKS[arguments.benchmark].DEFAULT_TOKENS
    return arguments


def footnote(result: dict) -> str:
    """What the figures depend on, as text below the tables."""
    lines = [
        f"{result['machine']['cpu']}; {result['machine']['cores']} cores, {result['threads']} threads"
    ]
    if "peak_gflops" in result:
        lines[0] += (
            f"; bf16 peak {result['peak_gflops']:.0f} GFLOP/s, measured in this run on as many threads at once"
        )
    if "read_gb_per_s" in result:
        lines[0] += f"; reads {result['read_gb_per_s']:.0f} GB/s"
    lines += [f"{name}: {version}" for name, version in result["versions"].items()]
    for name, found in result.get("settings", {}).items():
        tried = f", the fastest of {', '.join(found['cpu_s'])}" if found["cpu_s"] else ""
        lines.append(f"{name}: n_batch = n_ubatch = {found['n_ubatch']}{tried}")
    shared = result["cores_used_by_others"]
    if shared > SHARED_CORES:
        # OpenMP's threads spin at a barrier while another is kept from its core, and that counts as their CPU time.
        lines.append(
            f"the machine was shared: other processes used {shared:.2f} of its cores. Wall times are not to be "
            "trusted, nor CPU times of llama.cpp and PyTorch with more than one thread: they spin while they wait"
        )
    return "\n".join(f"- {line}" for line in lines)


def main() -> None:
    arguments = parse(sys.argv[1:])
    benchmark = BENCHMARKS[arguments.benchmark]
    try:
        result = {"benchmark": arguments.benchmark, "machine": machine.describe(), **benchmark.run(arguments)}
    except DriverError as error:
        sys.exit(f"error: {error}")
    print(benchmark.tables(result) + "\n\n" + footnote(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
        setting.progress(f"wrote {arguments.json}")
    if arguments.plot:
        arguments.plot.write_text(benchmark.picture(result))
        setting.progress(f"wrote {arguments.plot}")


if __name__ == "__main__":
    main()
