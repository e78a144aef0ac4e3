"""A benchmark's figures as an SVG picture of bars, whole in itself, for light and dark pages."""

from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 680, 190, 70
BAR, GAP, HEADING = 16, 6, 28

# Ours stand out, whoever else is beside them; a bar has its name at its foot, so nothing depends on telling colours apart.
# Plain colours, no variables: not every program that shows SVG knows those.
STYLE = """
text { font: 13px sans-serif; fill: #1b1b1b; } .heading { font-weight: bold; } .soft { fill: #5c5c5c; }
.page { fill: #ffffff; } .ours { fill: #0072b2; } .other { fill: #a9adb3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e8e8e8; } .soft { fill: #a8a8a8; } .page { fill: #16181b; } .ours { fill: #56b4e9; } .other { fill: #5d636b; }
}
"""


@dataclass
class Bar:
    name: str
    value: float
    ours: bool


def grouped(rows: list[dict], heading, name, value, ours=lambda row: row["engine"].startswith("ours")):
    """Bars by heading, both in the order of the rows."""
    groups: dict[str, list[Bar]] = {}
    for row in rows:
        groups.setdefault(heading(row), []).append(Bar(name(row), value(row), ours(row)))
    return groups


def tidy(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def bar_chart(title: str, note: str, groups: dict[str, list[Bar]]) -> str:
    """All bars have one scale, from zero to the largest value. `note`: what a bar is, under the title."""
    largest = max(bar.value for bars in groups.values() for bar in bars)
    y = 52
    parts = []
    for heading, bars in groups.items():
        y += HEADING
        parts.append(f'<text class="heading" x="12" y="{y - 8}">{escape(heading)}</text>')
        for bar in bars:
            length = (WIDTH - LEFT - RIGHT) * bar.value / largest
            kind = "ours" if bar.ours else "other"
            parts.append(f'<text x="{LEFT - 8}" y="{y + BAR - 4}" text-anchor="end">{escape(bar.name)}</text>')
            parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + BAR - 4}">{tidy(bar.value)}</text>')
            y += BAR + GAP
    height = y + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>'
        f'<text class="heading" x="12" y="24">{escape(title)}</text><text class="soft" x="12" y="44">{escape(note)}</text>'
        f"{''.join(parts)}</svg>\n"
    )
