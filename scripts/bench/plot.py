"""A benchmark's figures as an SVG picture of bars, whole in itself, for light and dark pages."""

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


def tidy(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def engine(row: dict) -> str:
    return row["engine"]


def is_ours(row: dict) -> bool:
    return engine(row).startswith("ours")


def bar_chart(title: str, note: str, rows: list[dict], *, heading, value, name=engine, ours=is_ours) -> str:
    """A bar for each row, all on one scale from zero to the largest value. Of a row: the `heading` that it stands under, its
    `value`, its `name`, whether it is `ours`. `note`: what a bar is, under the title."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(heading(row), []).append(row)
    largest = max(map(value, rows))
    y = 52
    parts = []
    for group, members in groups.items():
        y += HEADING
        parts.append(f'<text class="heading" x="12" y="{y - 8}">{escape(group)}</text>')
        for row in members:
            length = (WIDTH - LEFT - RIGHT) * value(row) / largest
            kind = "ours" if ours(row) else "other"
            parts.append(f'<text x="{LEFT - 8}" y="{y + BAR - 4}" text-anchor="end">{escape(name(row))}</text>')
            parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + BAR - 4}">{tidy(value(row))}</text>')
            y += BAR + GAP
    height = y + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>'
        f'<text class="heading" x="12" y="24">{escape(title)}</text><text class="soft" x="12" y="44">{escape(note)}</text>'
        f"{''.join(parts)}</svg>\n"
    )
