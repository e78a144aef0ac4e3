"""The report as Markdown, and as an HTML page that needs nothing else."""

from html import escape

import eval_numbers as numbers
from eval_data import Evaluation
from eval_plot import Point, scatter
from eval_tables import Table, tables
from table import markdown

STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --soft: #5c5c5c; --page: #ffffff; --line: #dcdcdc;
  --c0: #0072b2; --c1: #d55e00; --c2: #007a59; --c3: #a85a86; --c4: #8f6500; --c5: #2b7fae; --c6: #4d4d4d; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --soft: #a8a8a8; --page: #16181b; --line: #3a3d42;
  --c0: #56b4e9; --c1: #ff8c42; --c2: #2fc79a; --c3: #e6a3c8; --c4: #f0c030; --c5: #8fd0ff; --c6: #c8c8c8; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 84rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-top: 2rem; }
p.note { color: var(--soft); margin: .2rem 0 .6rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); } svg .name { fill: var(--c); font-weight: 600; paint-order: stroke;
  stroke: var(--page); stroke-width: 4px; }
svg .grid { stroke: var(--line); } svg .zero { stroke: var(--soft); stroke-dasharray: 4 3; }
svg .bar { stroke: var(--c); stroke-width: 1.5; } svg .mark { fill: var(--c); stroke: var(--page); stroke-width: 1; }
"""


def about(evaluation: Evaluation, base: str) -> str:
    documents = len({case.document for case in evaluation.cases.values()})
    return (
        f"{len(evaluation.cases)} cases over {documents} documents; base arm {base}. "
        f"Model sha256 {evaluation.model_sha256 or 'unknown'}, corpus {evaluation.corpus or 'unknown'}, made by "
        f"{', '.join(sorted(evaluation.programs))}."
    )


def plans(evaluation: Evaluation) -> Table:
    rows = [[arm, plan or "none"] for arm, plan in evaluation.plans.items()]
    return Table("Plans", "Name of each arm's plan, and a hash of it.", ["arm", "plan"], rows)


def plots(evaluation: Evaluation, base: str) -> list[tuple[str, str]]:
    """(SVG, caption) of each; none where there is nothing to show."""
    speedups = [("FLOPs", numbers.flops_speedup), ("TTFT", numbers.ttft_speedup)]
    qualities = [
        ("accuracy, points", numbers.accuracy_difference, 100),
        ("answer NLL, nats a token", numbers.nll_difference, 1),
    ]
    found = []
    for speed, speedup in speedups:
        for quality, difference, scale in qualities:
            points, indices = [], []
            for index, arm in enumerate(arm for arm in evaluation.arms if arm != base):
                cases = numbers.paired(evaluation.cases.values(), arm, base)
                point = Point(arm, speedup(cases, arm, base), difference(cases, arm, base))
                if point.x.mean is not None and point.y.mean is not None:
                    points.append(point)
                    indices.append(index)
            if points:
                svg = scatter(points, indices, f"cold speedup by {speed}", f"{quality}, to {base}", scale)
                least_x = min((point.x for point in points), key=lambda value: value.cases)
                least_y = min((point.y for point in points), key=lambda value: value.cases)
                caption = (
                    f"Bars: 95 % intervals, {least_y.cases} cases over {least_y.documents} documents at least; speedup "
                    f"from {least_x.cases} cases over {least_x.documents} documents at least. Marks that would cover "
                    "each other stand side by side."
                )
                found.append((svg, caption))
    return found


def html_table(table: Table) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f'<h3>{escape(table.title)}</h3><p class="note">{escape(table.note)}</p>'
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def html(evaluations: list[Evaluation], base: str) -> str:
    parts = []
    for evaluation in evaluations:
        parts.append(f"<h2>{escape(evaluation.model)}</h2><p>{escape(about(evaluation, base))}</p>")
        figures = (
            f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
            for svg, caption in plots(evaluation, base)
        )
        parts.append(f'<div class="plots">{"".join(figures)}</div>')
        parts.extend(html_table(table) for table in [*tables(evaluation, base), plans(evaluation)])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>What pruning costs in answers</title><style>{STYLE}</style></head><body>"
        f"<h1>What pruning costs in answers</h1>{''.join(parts)}</body></html>\n"
    )


def markdown_page(evaluations: list[Evaluation], base: str) -> str:
    parts = ["# What pruning costs in answers"]
    for evaluation in evaluations:
        parts += [f"## {evaluation.model}", about(evaluation, base)]
        for table in [*tables(evaluation, base), plans(evaluation)]:
            parts += [f"### {table.title}", table.note]
            if table.rows:
                parts.append(markdown(table.header, table.rows))
    return "\n\n".join(parts) + "\n"
