"""Decode after a prompt: tokens per second of ours (dense and pruned KV, batch 1 and 8) and llama.cpp, in turn."""

import statistics
from contextlib import ExitStack

import arithmetic
import plot
import setting
from prefill import ratio_table
from setting import LLAMA, progress
from table import markdown, number

OURS = {
    "ours-dense": (False, 1),
    "ours-pruned": (True, 1),
    "ours-dense-batch8": (False, 8),
    "ours-pruned-batch8": (True, 8),
}
DEFAULT_TOKENS = [2048, 8192]
STEPS = 32
TUNE_TOKENS = 512


def run(arguments) -> dict:
    with ExitStack() as stack:
        longest = max(arguments.tokens)
        session = setting.start(stack, arguments, LLAMA, longest, TUNE_TOKENS)
        ours, peers = session.ours, session.peers
        rows, ratios, limits = [], [], []
        for tokens in arguments.tokens:
            read_bytes = open_all(ours, peers, tokens, arguments)
            samples, measured_limits = measure(ours, peers, list(read_bytes), tokens, arguments.repeats)
            limits += measured_limits
            bandwidth = statistics.median(limit["read_bytes_per_second"] for limit in measured_limits)
            rows += make_rows(samples, read_bytes, tokens, bandwidth)
            ratios += [
                {"tokens": tokens, **ratio}
                for ratio in arithmetic.ratios(samples, [n for n in OURS if OURS[n][1] == 1], LLAMA)
            ]
            for name in read_bytes.keys() & OURS.keys():
                ours.ask("close", name=name)
        return {
            **session.about(arguments, statistics.median(limit["bf16_flops"] for limit in limits)),
            "read_gb_per_s": statistics.median(limit["read_bytes_per_second"] for limit in limits) / 1e9,
            "rows": rows,
            "ratios": ratios,
        }


def batch_of(name: str) -> int:
    return OURS[name][1] if name in OURS else 1


def open_all(ours, peers: dict, tokens: int, arguments) -> dict[str, float]:
    """Prefills everyone, untimed. By engine, the bytes that a step reads at least: all weights and the KV it holds."""
    prompt = ours.ask("prompt", tokens=tokens)
    shape = arithmetic.ModelShape.of(ours.about["model"])
    read_bytes = {}
    for name, (pruned, batch) in OURS.items():
        if name in arguments.engines:
            progress(f"{tokens} tokens: prefilling {name}")
            opened = ours.ask(
                "open", name=name, **prompt, pruned=pruned, batch=batch, max_tokens=(arguments.repeats + 1) * STEPS + 2
            )
            read_bytes[name] = ours.about["weight_bytes"] + opened["kv_bytes"]
    for name, peer in peers.items():
        progress(f"{tokens} tokens: prefilling {name}")
        peer.ask("open", tokens=prompt["tokens"])
        read_bytes[name] = peer.about["weight_bytes"] + arithmetic.kv_bytes(shape, tokens)
    return read_bytes


def measure(ours, peers: dict, names: list[str], tokens: int, repeats: int) -> tuple[dict, list[dict]]:
    """samples[engine]: a measurement of STEPS steps per round, the sequences growing; and the machine's limits."""
    samples, limits = {name: [] for name in names}, []
    for round_number in range(repeats + 1):
        limits.append(ours.ask("peak"))
        for name in names:
            sample = (
                peers[name].ask("decode", steps=STEPS) if name in peers else ours.ask("decode", name=name, steps=STEPS)
            )
            if round_number == 0:
                continue  # to warm up
            samples[name].append(sample)
            progress(
                f"round {round_number}/{repeats}, {tokens} tokens, {name}: "
                f"{STEPS * batch_of(name) / sample['wall_s']:.1f} tokens/s"
            )
    return samples, limits


def make_rows(samples: dict, read_bytes: dict, tokens: int, bandwidth: float) -> list[dict]:
    rows = []
    for name, measured in samples.items():
        row = {
            "engine": name,
            "tokens": tokens,
            "batch": batch_of(name),
            "steps": STEPS,
            **arithmetic.medians(measured),
        }
        row["tokens_per_s"] = STEPS * row["batch"] / row["wall_s"]
        row["read_bytes_per_step"] = read_bytes[name]
        row["percent_of_bandwidth"] = arithmetic.percent(STEPS * read_bytes[name], row["wall_s"], bandwidth)
        rows.append(row)
    return rows


def picture(result: dict) -> str:
    return plot.bar_chart(
        "Decode",
        "tokens a second of all sequences; longer is faster",
        result["rows"],
        heading=lambda row: f"after {row['tokens']} tokens, batch {row['batch']}",
        value=lambda row: row["tokens_per_s"],
    )


def tables(result: dict) -> str:
    header = ["engine", "tokens", "batch", "tokens/s", "wall ms a step", "CPU ms a step", "% of read bandwidth"]
    rows = [
        [
            row["engine"],
            str(row["tokens"]),
            str(row["batch"]),
            number(row["tokens_per_s"], 1),
            number(1e3 * row["wall_s"] / row["steps"]),
            number(1e3 * row["cpu_s"] / row["steps"]),
            number(row["percent_of_bandwidth"], 0),
        ]
        for row in result["rows"]
    ]
    return markdown(header, rows) + "\n\n" + ratio_table(result)
