"""The report's tables: a title, a line of explanation, a header and rows of text."""

from collections.abc import Callable
from dataclasses import dataclass

import eval_numbers as numbers
from eval_data import Case, Evaluation
from eval_numbers import Estimate

DASH = "–"


@dataclass
class Table:
    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


def percent(value: Estimate) -> str:
    return DASH if value.mean is None else f"{100 * value.mean:.1f} %"


def signed(value: Estimate, scale: float, digits: int) -> str:
    if value.mean is None:
        return DASH
    interval = "" if value.low is None else f" [{scale * value.low:+.{digits}f}, {scale * value.high:+.{digits}f}]"
    return f"{scale * value.mean:+.{digits}f}{interval}"


def points(value: Estimate) -> str:
    return signed(value, 100, 1)


def nats(value: Estimate) -> str:
    return signed(value, 1, 3)


def times(value: Estimate) -> str:
    return DASH if value.mean is None else f"{value.mean:.2f}x"


def counts(cases: list[Case]) -> list[str]:
    return [str(len(cases)), str(len({case.document for case in cases}))]


def arms_table(evaluation: Evaluation, base: str) -> Table:
    rows = []
    for arm in evaluation.arms:
        cases = numbers.paired(evaluation.cases.values(), arm, base)
        ttft = numbers.ttft_speedup(cases, arm, base)
        rows.append(
            [
                arm,
                *counts(cases),
                percent(numbers.accuracy(cases, arm)),
                points(numbers.accuracy_difference(cases, arm, base)) if arm != base else DASH,
                nats(numbers.nll_difference(cases, arm, base)) if arm != base else DASH,
                times(numbers.flops_speedup(cases, arm, base)),
                f"{times(ttft)} ({ttft.cases})" if ttft.cases else DASH,
            ]
        )
    return Table(
        "Arms",
        f"Every arm on the cases that it and {base} have run. Differences to {base} with 95 % intervals by bootstrap "
        "of documents (one document has none); speedups of a cold prefill, geometric means; in brackets the cases "
        "with cold TTFTs.",
        ["arm", "cases", "documents", "accuracy", "points", "answer NLL, nats a token", "FLOPs", "TTFT"],
        rows,
    )


def group_table(
    evaluation: Evaluation,
    base: str,
    group: tuple[str, Callable[[Case], str]],
    what: tuple[str, Callable[[list[Case], str, str], Estimate], Callable[[Estimate], str]],
) -> Table:
    """A row for each value of `group`, a column for each arm."""
    (name, key), (title, measure, show) = group, what
    others = [arm for arm in evaluation.arms if arm != base]
    groups: dict[str, list[Case]] = {}
    for case in evaluation.cases.values():
        if base in case.runs:
            groups.setdefault(key(case), []).append(case)
    rows = []
    for value in sorted(groups, key=lambda text: (not text.isdigit(), int(text) if text.isdigit() else 0, text)):
        cases = groups[value]
        cells = []
        for arm in others:
            result = measure(numbers.paired(cases, arm, base), arm, base)
            cells.append(f"{show(result)} ({result.cases}/{result.documents})" if result.cases else DASH)
        rows.append([value, *counts(cases), percent(numbers.accuracy(cases, base)), *cells])
    return Table(
        f"{title} by {name}",
        f"Differences to {base}; in brackets cases/documents.",
        [name, "cases", "documents", f"{base} accuracy", *others],
        rows,
    )


def recall_table(evaluation: Evaluation, base: str) -> Table:
    by_arm = {}
    for arm in evaluation.arms:
        cases = numbers.paired(evaluation.cases.values(), arm, base)
        if recall := numbers.recall_by_pruning(cases, arm):
            by_arm[arm] = recall
    most = max(map(len, by_arm.values()), default=0)
    rows = []
    for arm, recall in by_arm.items():
        cells = [f"{percent(value)} ({value.cases}/{value.documents})" for value in recall]
        rows.append([arm, *cells, *[DASH] * (most - len(cells))])
    return Table(
        "Evidence kept",
        "Mean share of the blocks with the evidence that are left after each pruning; in brackets cases/documents. One "
        "that was called off keeps all.",
        ["arm", *(f"pruning {i + 1}" for i in range(most))],
        rows,
    )


def fallback_table(evaluation: Evaluation, base: str) -> Table:
    by_arm = {}
    for arm in evaluation.arms:
        cases = numbers.paired(evaluation.cases.values(), arm, base)
        by_arm[arm] = (numbers.fallbacks(cases, arm), counts(cases))
    reasons = sorted({reason for counted, _ in by_arm.values() for reason in counted if reason})
    rows = [[arm, *counted, *(str(found[reason]) for reason in reasons)] for arm, (found, counted) in by_arm.items()]
    return Table(
        "Fallbacks",
        "Cases in which less was pruned than the plan says, by reason.",
        ["arm", "cases", "documents", *reasons],
        rows,
    )


def tables(evaluation: Evaluation, base: str) -> list[Table]:
    kind = ("kind", lambda case: case.kind)
    length = ("tokens", lambda case: case.length)
    right = ("Accuracy, points", numbers.accuracy_difference, points)
    nll = ("Answer NLL, nats a token", numbers.nll_difference, nats)
    return [
        arms_table(evaluation, base),
        *(group_table(evaluation, base, group, what) for group in (kind, length) for what in (right, nll)),
        recall_table(evaluation, base),
        fallback_table(evaluation, base),
    ]
