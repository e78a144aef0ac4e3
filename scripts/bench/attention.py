"""Causal prefill attention alone: ours (bench_ops) against torch's scaled_dot_product_attention, in turn."""

import json
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import arithmetic
import machine
import plot
import setting
from driver import Driver
from setting import progress
from table import markdown, number

OURS, TORCH = "ours", "torch-sdpa"
DEFAULT_TOKENS = [2048, 8192]
SHAPES = {
    "qwen": {"heads": 14, "kv_heads": 2, "head_dim": 64},
    "llama": {"heads": 32, "kv_heads": 8, "head_dim": 128},
}


def run(arguments) -> dict:
    with ExitStack() as stack:
        torch = start_torch(stack)
        watch = machine.OthersWatch([torch.pid] if torch else [])
        cases = [
            (shape, tokens, threads)
            for shape in SHAPES
            for tokens in arguments.tokens
            for threads in sorted({1, machine.cores()})
        ]
        rows, ratios, peaks = [], [], {}
        for i, (shape, tokens, threads) in enumerate(cases, 1):
            progress(f"[{i}/{len(cases)}] {shape}, {tokens} tokens, {threads} threads")
            samples, figures = measure(torch, shape, tokens, threads, arguments.repeats)
            peak = statistics.median(figure["peak_gflops"] for figure in figures)
            peaks.setdefault(threads, []).append(peak)
            rows += make_rows(samples, shape, tokens, threads, peak * 1e9)
            ratios += [
                {"tokens": tokens, "threads": threads, "shape": shape, **ratio}
                for ratio in arithmetic.ratios(samples, [OURS], [TORCH])
            ]
        return {
            "versions": {OURS: figures[-1]["backend"], **({TORCH: torch.about["version"]} if torch else {})},
            "threads": machine.cores(),
            "peak_gflops": statistics.median(peaks[machine.cores()]),
            "cores_used_by_others": watch.cores_used_by_others(),
            "rows": rows,
            "ratios": ratios,
        }


def start_torch(stack: ExitStack) -> Driver | None:
    if reason := setting.peers_missing():
        progress(f"skipped {TORCH}: {reason}")
        return None
    driver = Driver(TORCH, [setting.PEERS / "bin/python", setting.HERE / "peer_torch.py", "--threads", machine.cores()])
    stack.callback(driver.close)
    return driver


def measure(torch, shape: str, tokens: int, threads: int, repeats: int) -> tuple[dict, list[dict]]:
    """samples[engine]: a measurement per round; and what bench_ops wrote in each."""
    samples, figures = {OURS: []} | ({TORCH: []} if torch else {}), []
    if torch:
        torch.ask("attention", **SHAPES[shape], tokens=256, threads=threads)  # starts its threads
    for _ in range(repeats):
        figures.append(bench_ops(shape, tokens, threads))
        samples[OURS].append(figures[-1]["rows"][0])
        if torch:
            samples[TORCH].append(torch.ask("attention", **SHAPES[shape], tokens=tokens, threads=threads))
    progress("    " + ", ".join(f"{name} {min(s['wall_s'] for s in found):.3f} s" for name, found in samples.items()))
    return samples, figures


def bench_ops(shape: str, tokens: int, threads: int) -> dict:
    """One timed run after one to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        subprocess.run(
            [
                setting.BIN / "bench_ops",
                "attention",
                "--shapes",
                shape,
                "--tokens",
                str(tokens),
                "--threads",
                str(threads),
                "--repeats",
                "1",
                "--seconds",
                "0",
                "--json",
                file,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return json.loads(file.read_text())


def make_rows(samples: dict, shape: str, tokens: int, threads: int, peak: float) -> list[dict]:
    rows = []
    flops = arithmetic.attention_flops(SHAPES[shape]["heads"], SHAPES[shape]["head_dim"], tokens)
    for name, measured in samples.items():
        row = {"engine": name, "shape": shape, "tokens": tokens, "threads": threads, **arithmetic.medians(measured)}
        row["percent_of_peak"] = arithmetic.percent(flops, row["wall_s"], peak)
        row["percent_of_peak_cpu"] = arithmetic.percent(flops, row["cpu_s"] / threads, peak)
        rows.append(row)
    return rows


def picture(result: dict) -> str:
    return plot.bar_chart(
        "Causal attention",
        "per cent of the peak measured in the run; longer is faster",
        result["rows"],
        heading=lambda row: f"{name(row['shape'])}, {row['tokens']} tokens, threads: {row['threads']}",
        value=lambda row: row["percent_of_peak"],
    )


def tables(result: dict) -> str:
    header = ["engine, shape", "tokens", "threads", "wall s", "CPU s", "% of peak", "% of peak (CPU)"]
    rows = [
        [
            f"{row['engine']}, {name(row['shape'])}",
            str(row["tokens"]),
            str(row["threads"]),
            number(row["wall_s"], 3),
            number(row["cpu_s"], 3),
            number(row["percent_of_peak"], 0),
            number(row["percent_of_peak_cpu"], 0),
        ]
        for row in result["rows"]
    ]
    ratios = [
        [
            f"{ratio['engine']} against {ratio['against']}, {name(ratio['shape'])}",
            str(ratio["tokens"]),
            str(ratio["threads"]),
            number(ratio["wall_ratio"]),
            number(ratio["cpu_ratio"]),
        ]
        for ratio in result["ratios"]
    ]
    text = markdown(header, rows)
    if ratios:
        text += "\n\n" + markdown(["times as fast (median of pairs)", "tokens", "threads", "by wall", "by CPU"], ratios)
    return text


def name(shape: str) -> str:
    sizes = SHAPES[shape]
    return f"{shape} {sizes['heads']}/{sizes['kv_heads']}x{sizes['head_dim']}"
