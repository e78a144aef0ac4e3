"""Blocks out of the KV store and into it, each way beside what the machine can do at most on it: bench_kv."""

import json
import subprocess

import machine
import plot
import setting
from table import markdown, number

DEFAULT_TOKENS: list[int] = []  # blocks have no length of a prompt
CALLS_PER_ROUND = 10


def run(arguments) -> dict:
    watch = machine.OthersWatch([])
    rounds = arguments.repeats * CALLS_PER_ROUND
    setting.progress(f"{rounds} calls each way")
    output = subprocess.check_output([setting.BIN / "bench_kv", "--rounds", str(rounds)])
    return {"threads": machine.cores(), "versions": {}, **json.loads(output)} | {
        "cores_used_by_others": watch.cores_used_by_others()
    }


def picture(result: dict) -> str:
    return plot.bar_chart(
        "Blocks out of the KV store and into it",
        "GB a second; longer is faster",
        result["rows"],
        heading=lambda row: f"beside {row['limit']}" if "limit" in row else "limits",
        name=lambda row: row["path"],
        value=lambda row: row["gbps"],
        ours=lambda row: "limit" in row,
    )


def tables(result: dict) -> str:
    header = ["way", "GB/s", "of its limit", "p50 ms", "p99 ms", "store's CPU s/GB"]
    rows = [
        [
            row["path"],
            number(row["gbps"]),
            f"{number(row['of_limit'])} of {row['limit']}" if "limit" in row else "–",
            number(row["p50_us"] / 1e3),
            number(row["p99_us"] / 1e3),
            number(row["server_cpu_s_per_gb"]),
        ]
        for row in result["rows"]
    ]
    return markdown(header, rows) + f"\n\nA call: {result['call_bytes'] >> 20} MiB; {result['rounds']} calls each way."
