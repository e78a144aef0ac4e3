"""Quality against speedup as inline SVG. Colours come from the page's style (--c0 to --c6, for light and dark); every
arm has its own mark and its name beside it, so that nothing depends on telling colours apart."""

import math
from dataclasses import dataclass
from html import escape

from eval_numbers import Estimate

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 110, 14, 46
COLOURS = 7
LABEL_HEIGHT = 15
MARK_WIDTH = 10


@dataclass
class Point:
    name: str
    x: Estimate
    y: Estimate


def ends(value: Estimate) -> tuple[float, float]:
    """Of the interval; where there is none, the mean twice."""
    return (value.mean, value.mean) if value.low is None else (value.low, value.high)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers within [low, high], about as many as wanted."""
    step = 10 ** math.floor(math.log10((high - low) / wanted))
    step *= next((factor for factor in (1, 2, 5) if (high - low) / (factor * step) <= wanted), 10)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def limits(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def mark(index: int, x: float, y: float) -> str:
    shapes = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
        f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>',
        f'<path d="M{x:.1f} {y - 6:.1f}l6 10.5h-12z"/>',
        f'<path d="M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5z"/>',
        f'<path d="M{x:.1f} {y + 6:.1f}l6 -10.5h-12z"/>',
    ]
    return shapes[index % len(shapes)]


def label_heights(wanted: list[float]) -> list[float]:
    """Where the names go: as near to the wanted heights as they can without covering each other."""
    placed = [0.0] * len(wanted)
    lowest = -math.inf
    for index in sorted(range(len(wanted)), key=lambda i: wanted[i]):
        placed[index] = max(wanted[index], lowest + LABEL_HEIGHT)
        lowest = placed[index]
    shift = max(0.0, lowest - (HEIGHT - BOTTOM - 4))
    return [height - shift for height in placed]


def apart(wanted: list[float]) -> list[float]:
    """x of the marks: those that would cover each other stand side by side, around where they belong."""
    placed = list(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    while order:
        near = [i for i in order if wanted[i] - wanted[order[0]] < MARK_WIDTH]
        middle = sum(wanted[i] for i in near) / len(near)
        for place, i in enumerate(near):
            placed[i] = middle + (place - (len(near) - 1) / 2) * MARK_WIDTH if len(near) > 1 else wanted[i]
        order = order[len(near) :]
    return placed


def row_end(x: float, across: list[float]) -> float:
    """x of the last of the marks that stand side by side from here on."""
    for other in sorted(across):
        if x < other < x + MARK_WIDTH + 0.1:
            x = other
    return x


def axes(x_range, y_range, to_x, to_y, x_title: str, y_title: str) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in ticks(*x_range):
        x = to_x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{value:g}x</text>')
    for value in ticks(*y_range):
        y = to_y(value)
        is_zero = abs(value) < 1e-12
        parts.append(f'<path class="{"zero" if is_zero else "grid"}" d="M{LEFT} {y:.1f}H{right}"/>')
        label = "0" if is_zero else f"{value:+g}"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>')
    parts.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>'
    )
    return parts


def scatter(points: list[Point], indices: list[int], x_title: str, y_title: str, scale: float) -> str:
    """`indices`: of the arms, for their colours and marks, the same in every plot. y is multiplied by `scale`."""
    x_range = limits([1.0, *(point.x.mean for point in points)])
    y_range = limits([0.0, *(scale * end for point in points for end in ends(point.y))])

    def to_x(value: float) -> float:
        return LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def to_y(value: float) -> float:
        return TOP + (y_range[1] - value) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)

    parts = axes(x_range, y_range, to_x, to_y, x_title, y_title)
    heights = label_heights([to_y(scale * point.y.mean) for point in points])
    across = apart([to_x(point.x.mean) for point in points])
    for point, index, x, height in zip(points, indices, across, heights, strict=True):
        y = to_y(scale * point.y.mean)
        name_x = row_end(x, across) + 10
        low, high = (scale * end for end in ends(point.y))
        bar = f"M{x:.1f} {to_y(low):.1f}V{to_y(high):.1f}"
        told = (
            f"{point.name}: {point.x.mean:.2f}x, {scale * point.y.mean:+.3g} [{low:+.3g}, {high:+.3g}], "
            f"{point.y.cases} cases, {point.y.documents} documents"
        )
        parts.append(f'<g style="--c: var(--c{index % COLOURS})"><title>{escape(told)}</title>')
        parts.append(f'<path class="bar" d="{bar}"/><g class="mark">{mark(index, x, y)}</g>')
        parts.append(f'<text class="name" x="{name_x:.1f}" y="{height + 4:.1f}">{escape(point.name)}</text></g>')
    described = escape(f"{y_title} against {x_title}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{described}">{"".join(parts)}</svg>'
