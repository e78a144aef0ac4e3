"""The next question about a document: cold, with what the question before left behind (warm), and after idle time in which
the document was run densely (hot); beside llama.cpp's cache, which holds the dense KV too."""

import statistics
import time
from contextlib import ExitStack

import arithmetic
import plot
import setting
from prefill import ratio_table
from setting import LLAMA, progress
from table import markdown, number

OURS = ["ours-dense", "ours-pruned", "ours-pruned-warm", "ours-hot"]
REUSES = ["ours-pruned-warm", "ours-hot"]
DEFAULT_TOKENS = [2048, 8192]
WARM_UP_TOKENS = 512
STORE_SECONDS = 1.0  # the store is written behind the answer: time for that before the next question


def run(arguments) -> dict:
    with ExitStack() as stack:
        longest = max(arguments.tokens)
        session = setting.start(stack, arguments, LLAMA, longest, WARM_UP_TOKENS)
        ours, peers = session.ours, session.peers
        names = [name for name in OURS if name in arguments.engines]
        samples, peaks = {}, []
        for tokens in arguments.tokens:
            samples[tokens] = measure(ours, names, peers, tokens, arguments.repeats)
            peaks.append(ours.ask("peak")["bf16_flops"])
        return {
            **session.about(arguments, statistics.median(peaks)),
            "rows": [row for tokens, by_engine in samples.items() for row in make_rows(by_engine, tokens)],
            "ratios": [
                {"tokens": tokens, **ratio}
                for tokens, by_engine in samples.items()
                for ratio in arithmetic.ratios(by_engine, names, [f"{name}-warm" for name in peers])
            ],
        }


def measure(ours, names: list[str], peers: dict, tokens: int, repeats: int) -> dict[str, list[dict]]:
    """Another question in every round. What it reuses is made before, untimed: ours once, llama.cpp's in every round."""
    first = ours.ask("prompt", tokens=tokens)
    ours.ask("prefill", **ours.ask("prompt", tokens=WARM_UP_TOKENS), pruned=False)
    samples = {name: [] for name in [*names, *(f"{name}-warm" for name in peers)]}
    if not set(names).isdisjoint(REUSES):
        ours.ask("prefill", **first, pruned=True, store=True)
        time.sleep(STORE_SECONDS)
    if "ours-hot" in names:
        progress(f"{tokens} tokens: idle work took {ours.ask('idle')['wall_s']:.1f} s")
        time.sleep(STORE_SECONDS)
    for round_number in range(1, repeats + 1):
        following = ours.ask("prompt", tokens=tokens, question=round_number)
        for name in names:
            samples[name].append(
                ours.ask(
                    "prefill",
                    **following,
                    pruned=name != "ours-dense",
                    store=name in REUSES,
                    hot=name == "ours-hot",
                )
            )
        for name, peer in peers.items():
            peer.ask("prefill", tokens=first["tokens"])
            samples[f"{name}-warm"].append(peer.ask("resume", tokens=following["tokens"]))
        for name, measured in samples.items():
            progress(
                f"round {round_number}/{repeats}, {tokens} tokens, {name}: {measured[-1]['wall_s']:.2f} s, "
                f"{measured[-1].get('cached_tokens', 0)} tokens reused, first token {measured[-1]['token']}"
            )
    return samples


def make_rows(by_engine: dict[str, list[dict]], tokens: int) -> list[dict]:
    return [
        {
            "engine": name,
            "tokens": tokens,
            **arithmetic.medians(measured),
            "cached_tokens": measured[-1].get("cached_tokens", 0),
            "first_token": measured[-1]["token"],
        }
        for name, measured in by_engine.items()
    ]


def picture(result: dict) -> str:
    return plot.bar_chart(
        "The next question about a document",
        "seconds to the first token; shorter is faster",
        result["rows"],
        heading=lambda row: f"{row['tokens']} tokens",
        value=lambda row: row["wall_s"],
    )


def tables(result: dict) -> str:
    header = ["engine", "tokens", "reused", "wall s", "CPU s", "first token"]
    rows = [
        [
            row["engine"],
            str(row["tokens"]),
            str(row["cached_tokens"]),
            number(row["wall_s"]),
            number(row["cpu_s"]),
            str(row["first_token"]),
        ]
        for row in result["rows"]
    ]
    return markdown(header, rows) + "\n\n" + ratio_table(result)
