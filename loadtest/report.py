#!/usr/bin/env python3
"""Sums up ghz's results of a load test: report.json and report.md. Usage: report.py FOLDER NAME=VALUE...

FOLDER holds prompts.json and ghz's output as result-MODE-ROUND.json; the NAME=VALUEs are settings to put on record.
"""

import json
import math
import random
import sys
from collections import Counter
from pathlib import Path

NAMES = {"auto": "pruned", "off": "dense"}
RESAMPLES = 2000


def percentile(values: list[float], share: float) -> float:
    """Nearest rank: a value that was measured, never one in between."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarize(rounds: list[dict]) -> dict:
    """One mode's figures over its rounds. Latencies are of calls that succeeded."""
    calls = [call for one in rounds for call in one["details"] or []]
    latencies = [call["latency"] / 1e6 for call in calls if call["status"] == "OK"]
    errors = Counter(call["status"] for call in calls if call["status"] != "OK")
    seconds = sum(one["total"] for one in rounds) / 1e9
    summary = {"requests": len(calls), "errors": dict(errors), "wall_seconds": seconds, "latencies_ms": latencies}
    if latencies:
        summary["requests_per_second"] = len(latencies) / seconds
        summary["ttft_ms"] = {f"p{share}": percentile(latencies, share / 100) for share in (50, 95, 99)}
    return summary


def speedup(dense: list[float], pruned: list[float]) -> dict:
    """Ratio of the medians with a bootstrap 95 % interval."""
    source = random.Random(1)

    def resampled() -> float:
        return percentile(source.choices(dense, k=len(dense)), 0.5) / percentile(source.choices(pruned, k=len(pruned)), 0.5)

    ratios = sorted(resampled() for _ in range(RESAMPLES))
    return {
        "median_ratio": percentile(dense, 0.5) / percentile(pruned, 0.5),
        "low": ratios[int(0.025 * RESAMPLES)],
        "high": ratios[int(0.975 * RESAMPLES) - 1],
    }


def markdown(report: dict) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in report["settings"].items())
    tokens = report["prompt_tokens"]
    lines = [
        "# Load test: time to first token", "",
        f"{tokens['min']} to {tokens['max']} prompt tokens, {settings}. Every prompt is cold. Percentiles are of calls "
        "that succeeded; with fewer than 100 of them p99 is the slowest.", "",
        "| prefill | requests | errors | p50 ms | p95 ms | p99 ms | requests/s |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, one in report["modes"].items():
        errors = ", ".join(f"{count} {code}" for code, count in one["errors"].items()) or "0"
        figures = [f"{value:.1f}" for value in one["ttft_ms"].values()] if "ttft_ms" in one else ["-"] * 3
        rate = f"{one['requests_per_second']:.3f}" if "ttft_ms" in one else "-"
        lines.append(f"| {name} | {one['requests']} | {errors} | {' | '.join(figures)} | {rate} |")
    if "speedup" in report:
        ratio = report["speedup"]
        lines += ["", f"Dense over pruned, medians: **{ratio['median_ratio']:.2f}x** "
                      f"(95 % interval {ratio['low']:.2f} to {ratio['high']:.2f})."]
    return "\n".join(lines) + "\n"


def main() -> None:
    folder, settings = Path(sys.argv[1]), dict(setting.split("=", 1) for setting in sys.argv[2:])
    prompts = json.loads((folder / "prompts.json").read_text())
    report = {
        "settings": settings,
        "prompt_tokens": {"min": min(prompts["tokens"]), "max": max(prompts["tokens"])},
        "modes": {},
    }
    for mode, name in NAMES.items():
        rounds = [json.loads(file.read_text()) for file in sorted(folder.glob(f"result-{mode}-*.json"))]
        if rounds:
            report["modes"][name] = summarize(rounds)
    measured = {name: one["latencies_ms"] for name, one in report["modes"].items() if one["latencies_ms"]}
    if len(measured) == 2:
        report["speedup"] = speedup(measured["dense"], measured["pruned"])
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(report))
    print(markdown(report))
    if len(measured) < len(report["modes"]) or any(one["errors"] for one in report["modes"].values()):
        sys.exit("error: some calls failed, see the table")


if __name__ == "__main__":
    main()
