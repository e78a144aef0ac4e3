"""The figures of a benchmark: operations, shares of the machine's limits, medians and ratios. No input or output."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class ModelShape:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int

    @classmethod
    def of(cls, model: dict) -> "ModelShape":
        return cls(**{field.name: model[field.name] for field in dataclasses.fields(cls)})


def linear_flops_per_token(shape: ModelShape) -> float:
    """Of all layers: qkv, attention output, gate, up and down. The output matrix runs for one token only: left out."""
    attention = (2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim * shape.hidden
    return 2.0 * shape.layers * (attention + 3 * shape.hidden * shape.ffn)


def attention_flops(heads: int, head_dim: int, tokens: int) -> float:
    """Of one layer, causal: scores and weighted values of tokens * (tokens + 1) / 2 pairs."""
    return 2.0 * heads * head_dim * tokens * (tokens + 1)


def prefill_flops(shape: ModelShape, tokens: int) -> float:
    return tokens * linear_flops_per_token(shape) + shape.layers * attention_flops(shape.heads, shape.head_dim, tokens)


def kv_bytes(shape: ModelShape, tokens: int) -> int:
    """Of a dense prompt's keys and values, two bytes each."""
    return 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim * tokens


def percent(done: float, seconds: float, limit_per_second: float) -> float | None:
    """Share of a limit; None where the limit is not known."""
    return 100 * done / seconds / limit_per_second if limit_per_second > 0 and seconds > 0 else None


def time_shares(seconds_by_op: dict[str, float], wall_s: float, least: float = 0.5) -> dict[str, float]:
    """Per cent of the wall time by op; ops under `least` per cent are added up, what no op took is "outside of ops"."""
    shares = {op: 100 * seconds / wall_s for op, seconds in seconds_by_op.items()}
    result = {op: share for op, share in shares.items() if share >= least}
    result["other ops"] = sum(share for share in shares.values() if share < least)
    result["outside of ops"] = 100 - sum(shares.values())
    return result


def medians(samples: list[dict]) -> dict:
    """The median wall and CPU time of several measurements, and the wall times themselves."""
    return {
        "wall_s": statistics.median(sample["wall_s"] for sample in samples),
        "cpu_s": statistics.median(sample["cpu_s"] for sample in samples),
        "wall_all_s": [sample["wall_s"] for sample in samples],
    }


def paired_ratio(slower: list[dict], faster: list[dict], key: str) -> float:
    """The median over rounds of slower / faster: the two of a round met the same machine, so drift cancels."""
    return statistics.median(a[key] / b[key] for a, b in zip(slower, faster, strict=True))


def fastest(samples: dict[str, list[dict]], engines: list[str], key: str) -> str | None:
    """The engine of the smallest median among those that were measured."""
    present = [engine for engine in engines if samples.get(engine)]
    return min(present, key=lambda e: statistics.median(s[key] for s in samples[e])) if present else None


def ratios(samples: dict[str, list[dict]], ours: list[str], peers: list[str]) -> list[dict]:
    """Each of ours against the first of ours (dense) and against the fastest peer, by wall and by CPU time."""
    found = []

    def add(engine: str, against: str) -> None:
        entry = {"engine": engine, "against": against}
        for key in ("wall_s", "cpu_s"):
            entry[key.removesuffix("_s") + "_ratio"] = paired_ratio(samples[against], samples[engine], key)
        found.append(entry)

    present = [engine for engine in ours if samples.get(engine)]
    for engine in present:
        if engine != ours[0] and ours[0] in present:
            add(engine, ours[0])
    peer = fastest(samples, peers, "wall_s")
    for engine in present if peer else []:
        add(engine, peer)
    return found
