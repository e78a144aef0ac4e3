"""Dense and pruned prefill against the peers: every engine gets the same tokens, round by round in turn."""

import statistics
from contextlib import ExitStack

import arithmetic
import plot
import setting
from setting import LLAMA, TORCH, progress
from table import markdown, number

OURS = ["ours-dense", "ours-pruned"]
PEERS = LLAMA + TORCH
DEFAULT_TOKENS = [2048, 8192]
WARM_UP_TOKENS = 512
TUNE_TOKENS = 1024


def run(arguments) -> dict:
    with ExitStack() as stack:
        longest = max(*arguments.tokens, TUNE_TOKENS)
        session = setting.start(stack, arguments, PEERS, longest, TUNE_TOKENS)
        ours, peers = session.ours, session.peers
        drivers = {**{name: ours for name in OURS if name in arguments.engines}, **peers}
        samples, peaks = measure(ours, drivers, arguments)
        shape = arithmetic.ModelShape.of(ours.about["model"])
        peak = statistics.median(peaks)
        rows = make_rows(samples, shape, peak, arguments.threads)
        return {
            **session.about(arguments, peak),
            "rows": rows,
            "ratios": [
                {"tokens": tokens, **ratio}
                for tokens, by_engine in samples.items()
                for ratio in arithmetic.ratios(by_engine, OURS, PEERS)
            ],
        }


def request(driver, name: str, prompt: dict) -> dict:
    if name in OURS:
        return driver.ask("prefill", **prompt, pruned=name == "ours-pruned")
    return driver.ask("prefill", tokens=prompt["tokens"])


def measure(ours, drivers: dict, arguments) -> tuple[dict, list[float]]:
    """samples[tokens][engine]: a measurement per round; and the peak measured in every round."""
    samples = {tokens: {name: [] for name in drivers} for tokens in arguments.tokens}
    peaks = []
    warm_up = ours.ask("prompt", tokens=WARM_UP_TOKENS)
    for name, driver in drivers.items():
        request(driver, name, warm_up)
    total, done = arguments.repeats * len(arguments.tokens) * len(drivers), 0
    for tokens in arguments.tokens:
        prompt = ours.ask("prompt", tokens=tokens)
        for round_number in range(1, arguments.repeats + 1):
            peaks.append(ours.ask("peak")["bf16_flops"])
            for name, driver in drivers.items():
                sample = request(driver, name, prompt)
                samples[tokens][name].append(sample)
                done += 1
                progress(
                    f"[{done}/{total}] round {round_number}/{arguments.repeats}, {tokens} tokens, {name}: "
                    f"{sample['wall_s']:.2f} s (CPU {sample['cpu_s']:.2f} s), first token {sample['token']}"
                )
    return samples, peaks


def make_rows(samples: dict, shape: arithmetic.ModelShape, peak: float, threads: int) -> list[dict]:
    rows = []
    for tokens, by_engine in samples.items():
        for name, measured in by_engine.items():
            row = {
                "engine": name,
                "tokens": tokens,
                **arithmetic.medians(measured),
                "first_token": measured[-1]["token"],
            }
            # A pruned prompt is measured by the work it did, not by the work it saved.
            row["flops"] = measured[-1].get("flops", arithmetic.prefill_flops(shape, tokens))
            row["percent_of_peak"] = arithmetic.percent(row["flops"], row["wall_s"], peak)
            row["percent_of_peak_cpu"] = arithmetic.percent(row["flops"], row["cpu_s"] / threads, peak)
            if "stage_tokens" in measured[-1]:
                row["stage_tokens"] = measured[-1]["stage_tokens"]
                row["fallbacks"] = measured[-1]["fallbacks"]
            if "profile" in measured[-1]:
                row["profile_s"] = {
                    op: statistics.median(sample["profile"].get(op, 0) for sample in measured)
                    for op in measured[-1]["profile"]
                }
            rows.append(row)
    return rows


def tables(result: dict) -> str:
    header = ["engine", "tokens", "wall s", "CPU s", "tokens/s", "% of peak", "% of peak (CPU)", "first token"]
    rows = [
        [
            row["engine"],
            str(row["tokens"]),
            number(row["wall_s"]),
            number(row["cpu_s"]),
            number(row["tokens"] / row["wall_s"], 0),
            number(row["percent_of_peak"], 0),
            number(row["percent_of_peak_cpu"], 0),
            str(row["first_token"]),
        ]
        for row in result["rows"]
    ]
    return "\n\n".join([markdown(header, rows), ratio_table(result), *profile_tables(result)])


def picture(result: dict) -> str:
    return plot.bar_chart(
        "Prefill of a cold prompt",
        "prompt tokens a second; longer is faster",
        result["rows"],
        heading=lambda row: f"{row['tokens']} tokens",
        value=lambda row: row["tokens"] / row["wall_s"],
    )


def profile_tables(result: dict) -> list[str]:
    """Where our time goes: a column for each of our rows, in per cent of its wall time; small ops together."""
    rows = [row for row in result["rows"] if "profile_s" in row]
    if not rows:
        return []
    shares = [arithmetic.time_shares(row["profile_s"], row["wall_s"]) for row in rows]
    ops = list(dict.fromkeys(op for share in shares for op in share))
    ops.sort(key=lambda op: -max(share.get(op, 0) for share in shares))
    header = ["% of wall time", *(f"{row['engine'].removeprefix('ours-')} {row['tokens']}" for row in rows)]
    return [markdown(header, [[op, *(number(share.get(op, 0), 1) for share in shares)] for op in ops])]


def ratio_table(result: dict) -> str:
    rows = [
        [
            f"{ratio['engine']} against {ratio['against']}",
            str(ratio["tokens"]),
            number(ratio["wall_ratio"]),
            number(ratio["cpu_ratio"]),
        ]
        for ratio in result["ratios"]
    ]
    return markdown(["times as fast (median of pairs)", "tokens", "by wall", "by CPU"], rows)
