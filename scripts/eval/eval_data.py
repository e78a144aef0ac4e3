"""slimfill-eval's result files: a JSON line for each case and arm, joined to cases."""

import json
from dataclasses import dataclass, field
from pathlib import Path


class BadResults(Exception):
    """A file that no report can be made of, with what to do."""


@dataclass
class Case:
    document: str
    kind: str
    tokens: int
    judged: bool  # has accepted answers
    runs: dict[str, dict] = field(default_factory=dict)  # by arm

    @property
    def length(self) -> str:
        return f"{self.tokens}"


@dataclass
class Evaluation:
    """What was made from one model and one corpus."""

    model: str
    model_sha256: str
    corpus: str
    programs: set[str] = field(default_factory=set)
    plans: dict[str, str] = field(default_factory=dict)  # by arm
    cases: dict[str, Case] = field(default_factory=dict)

    @property
    def arms(self) -> list[str]:
        """In the order in which the files first name them."""
        return list(self.plans)


def load(paths: list[Path]) -> list[Evaluation]:
    """The evaluations in these files, in the order of their first lines. A last line cut off does not count."""
    evaluations: dict[tuple, Evaluation] = {}
    for path in paths:
        lines = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines, 1):
            if not line or number == len(lines):
                continue
            try:
                add(json.loads(line), evaluations)
            except (ValueError, KeyError, TypeError) as error:
                raise BadResults(f"{path}: line {number} is not slimfill-eval's: {error!r}") from error
            except BadResults as error:
                raise BadResults(f"{path}: line {number}: {error}") from error
    if not evaluations:
        raise BadResults("no results in " + ", ".join(map(str, paths)))
    return list(evaluations.values())


def add(line: dict, evaluations: dict[tuple, Evaluation]) -> None:
    origin = (line.get("model_sha256", ""), line.get("corpus", ""))
    evaluation = evaluations.setdefault(origin, Evaluation(line.get("model", "unknown"), *origin))
    evaluation.programs.add(line.get("program", "unknown"))
    arm, plan = line["arm"], line.get("plan", "")
    if evaluation.plans.setdefault(arm, plan) != plan:
        before = evaluation.plans[arm]
        raise BadResults(f"arm {arm} has the plan {plan}, before it had {before}: two reports are needed")
    case = evaluation.cases.setdefault(
        line["case"],
        Case(line.get("document_id", line["case"]), line["kind"], line["target_tokens"], line["judged"]),
    )
    if arm in case.runs:
        raise BadResults(f"case {line['case']} of arm {arm} comes twice")
    for name in ("right", "nll", "answer_tokens", "ttft_s", "flops_ratio", "recall", "fallbacks"):
        line[name]  # a KeyError names what is missing
    case.runs[arm] = line
