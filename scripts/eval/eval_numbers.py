"""What an evaluation says of an arm, paired with a base arm case by case."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eval_data import Case

RESAMPLES = 2000


@dataclass
class Estimate:
    """A mean with its 95 % interval; None where there is nothing to average. One document has no interval."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    cases: int = 0
    documents: int = 0


def estimate(values: list[tuple[str, float]]) -> Estimate:
    """The mean of the values of (document, value). The bootstrap draws documents, each with all its values: questions
    about one document are not independent."""
    if not values:
        return Estimate()
    by_document: dict[str, list[float]] = {}
    for document, value in values:
        by_document.setdefault(document, []).append(value)
    mean = sum(value for _, value in values) / len(values)
    totals = [(sum(group), len(group)) for group in by_document.values()]
    if len(totals) == 1:
        return Estimate(mean, cases=len(values), documents=1)
    draws = random.Random(1)
    means = []
    for _ in range(RESAMPLES):
        drawn = draws.choices(totals, k=len(totals))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    tail = RESAMPLES // 40
    return Estimate(mean, means[tail], means[-1 - tail], len(values), len(totals))


def paired(cases: Iterable[Case], arm: str, base: str) -> list[Case]:
    return [case for case in cases if arm in case.runs and base in case.runs]


def collect(cases: list[Case], value: Callable[[Case], float | None]) -> list[tuple[str, float]]:
    found = ((case.document, value(case)) for case in cases)
    return [(document, number) for document, number in found if number is not None]


def accuracy(cases: list[Case], arm: str) -> Estimate:
    return estimate(collect(cases, lambda case: float(case.runs[arm]["right"]) if case.judged else None))


def accuracy_difference(cases: list[Case], arm: str, base: str) -> Estimate:
    def difference(case: Case) -> float | None:
        return float(case.runs[arm]["right"]) - float(case.runs[base]["right"]) if case.judged else None

    return estimate(collect(cases, difference))


def nll_difference(cases: list[Case], arm: str, base: str) -> Estimate:
    def difference(case: Case) -> float | None:
        return case.runs[arm]["nll"] - case.runs[base]["nll"] if case.runs[arm]["answer_tokens"] > 0 else None

    return estimate(collect(cases, difference))


def geometric(logs: list[tuple[str, float]]) -> Estimate:
    result = estimate(logs)
    ends = (None if end is None else math.exp(end) for end in (result.mean, result.low, result.high))
    return Estimate(*ends, result.cases, result.documents)


def flops_speedup(cases: list[Case], arm: str, base: str) -> Estimate:
    return geometric(
        collect(cases, lambda case: math.log(case.runs[arm]["flops_ratio"] / case.runs[base]["flops_ratio"]))
    )


def cold_ttft(run: dict) -> float | None:
    """None where part of the prompt came from the store, or the run was not made; old files do not say which."""
    cold = run.get("cached_tokens") == 0 and not run.get("same_as")
    return run["ttft_s"] if cold and run["ttft_s"] > 0 else None


def ttft_speedup(cases: list[Case], arm: str, base: str) -> Estimate:
    def log_ratio(case: Case) -> float | None:
        ours, theirs = cold_ttft(case.runs[arm]), cold_ttft(case.runs[base])
        return math.log(theirs / ours) if ours and theirs else None

    return geometric(collect(cases, log_ratio))


def recall_by_pruning(cases: list[Case], arm: str) -> list[Estimate]:
    """Share of the evidence's blocks kept, after each pruning in turn. A pruning that the safety rules called off keeps
    all."""
    deepest = max((len(case.runs[arm]["recall"]) for case in cases), default=0)

    def at(index: int) -> Callable[[Case], float | None]:
        return lambda case: case.runs[arm]["recall"][index] if index < len(case.runs[arm]["recall"]) else None

    return [estimate(collect(cases, at(index))) for index in range(deepest)]


def fallbacks(cases: list[Case], arm: str) -> Counter:
    """Cases by reason; "" counts those without any."""
    return Counter(reason for case in cases for reason in case.runs[arm]["fallbacks"] or [""])
