"""Blocks out of the KV store and into it, each way beside what the machine can do at most on it: bench_kv. Beside that,
blocks out of a Mooncake store where scripts/setup_peers.sh --mooncake has been run."""

import json
import pathlib
import subprocess

import machine
import plot
import setting
from table import markdown, number

DEFAULT_TOKENS: list[int] = []  # blocks have no length of a prompt
CALLS_PER_ROUND = 10


def mooncake_seconds(rounds: int) -> list[float]:
    """Of calls on a Mooncake store; none when it is not installed."""
    if not setting.MOONCAKE.exists():
        return []
    script = pathlib.Path(__file__).parent / "peer_mooncake.py"
    output = subprocess.check_output([setting.MOONCAKE, script, "--rounds", str(rounds)])
    return json.loads(output.splitlines()[-1])["seconds"]


def mooncake_row(seconds: list[float], result: dict) -> dict:
    seconds = sorted(seconds)
    median, last = seconds[len(seconds) // 2], seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    limit = next(row for row in result["rows"] if row["path"] == "raw-tcp")
    gbps = result["call_bytes"] / median / 1e9
    return {"path": "mooncake-tcp-256k", "gbps": gbps, "p50_us": median * 1e6, "p99_us": last * 1e6,
            "limit": "raw-tcp", "limit_gbps": limit["gbps"], "of_limit": gbps / limit["gbps"]}


def run(arguments) -> dict:
    watch = machine.OthersWatch([])
    rounds = arguments.repeats * CALLS_PER_ROUND
    setting.progress(f"{rounds} calls each way")
    mooncake = mooncake_seconds(rounds // 2)  # before and after ours, so that a drift of the machine meets both
    output = subprocess.check_output([setting.BIN / "bench_kv", "--rounds", str(rounds)])
    mooncake += mooncake_seconds(rounds // 2)
    result = json.loads(output)
    if mooncake:
        result["rows"].append(mooncake_row(mooncake, result))
    return {"threads": machine.cores(), "versions": {}, **result} | {
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
            number(row["server_cpu_s_per_gb"]) if "server_cpu_s_per_gb" in row else "–",
        ]
        for row in result["rows"]
    ]
    return markdown(header, rows) + f"\n\nA call: {result['call_bytes'] >> 20} MiB; {result['rounds']} calls each way."
