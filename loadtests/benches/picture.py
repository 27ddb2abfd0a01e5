"""A line chart as an SVG file that stands alone: for the README and the documentation, on light and dark pages."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from loadtests.charts import number

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 56, 56
_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #3d4450 }
.title { font-size: 16px; font-weight: 600 }
.axis { stroke: #8a93a2 } .grid { stroke: #8a93a2; stroke-opacity: .25 }
.line { fill: none; stroke-width: 2.5 } .l0 { stroke: #1f6feb } .l1 { stroke: #c2570c; stroke-dasharray: 6 5 }
.d0 { fill: #1f6feb } .d1 { fill: none }
text.n0 { fill: #1f6feb } text.n1 { fill: #c2570c }
@media (prefers-color-scheme: dark) {
  text { fill: #c6cdd8 } .l0 { stroke: #6cb0ff } .d0 { fill: #6cb0ff } .l1 { stroke: #f0975a }
  text.n0 { fill: #6cb0ff } text.n1 { fill: #f0975a }
}
"""


class Curve(NamedTuple):
    name: str
    points: Sequence[tuple[float, float]]


def draw(path: Path, curves: Sequence[Curve], *, x: str, y: str, title: str) -> None:
    """Write at most two curves to `path`; both axes begin at 0. The first is drawn with dots."""
    path.write_text(chart(curves, x=x, y=y, title=title), encoding="utf-8")


def chart(curves: Sequence[Curve], *, x: str, y: str, title: str) -> str:
    assert len(curves) <= 2, "there are two colours"
    right = _step(max(at for curve in curves for at, _ in curve.points))
    top = _step(max(value for curve in curves for _, value in curve.points))

    def place(at: float, value: float) -> str:
        across = LEFT + (WIDTH - LEFT - RIGHT) * at / right[0]
        return f"{across:.1f},{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top[0]:.1f}"

    spoken = "; ".join(
        f"{curve.name}: {number(curve.points[-1][1])} {y} at {curve.points[-1][0]:g}" for curve in curves
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(f'{title}. {spoken}')}</title><style>{_STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44">{escape(y)}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{escape(x)}</text>',
    ]
    for index in range(round(top[0] / top[1]) + 1):
        value = index * top[1]
        start, end = place(0, value).split(","), place(right[0], value).split(",")
        kind = "grid" if index else "axis"
        parts.append(f'<line class="{kind}" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>')
        parts.append(f'<text x="{LEFT - 10}" y="{float(start[1]) + 5:.1f}" text-anchor="end">{number(value)}</text>')
    for index in range(1, round(right[0] / right[1]) + 1):
        at = place(index * right[1], 0).split(",")
        parts.append(
            f'<text x="{at[0]}" y="{float(at[1]) + 22:.1f}" text-anchor="middle">{number(index * right[1])}</text>'
        )
    for index, curve in enumerate(curves):
        places = [place(at, value) for at, value in curve.points]
        parts.append(f'<polyline class="line l{index}" points="{" ".join(places)}"/>')
        parts += [
            f'<circle class="d{index}" cx="{a}" cy="{b}" r="4"/>' for a, b in (each.split(",") for each in places)
        ]
        across, down = places[-1].split(",")
        name = f'<text class="n{index}" x="{across}" y="{float(down) - 10:.1f}" text-anchor="end">'
        parts.append(f"{name}{escape(curve.name)}</text>")
    return "".join([*parts, "</svg>\n"])


def _step(highest: float) -> tuple[float, float]:
    """Where an axis ends, and how far its marks are apart: at most eight of them."""
    power = 1.0
    while power * 80 < highest:
        power *= 10
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one * 8 >= highest)
    marks = -(-highest // step)
    return marks * step, step


class Bar(NamedTuple):
    name: str
    value: float
    ours: bool = False


_BAR_HEIGHT, _BAR_GAP, _BAR_LEFT = 26, 12, 230
_BAR_STYLE = """
.bar { fill: #8a93a2 } .ours { fill: #1f6feb }
@media (prefers-color-scheme: dark) { .ours { fill: #6cb0ff } }
"""


def draw_bars(path: Path, bars: Sequence[Bar], *, unit: str, title: str) -> None:
    """Write lying bars to `path`, each with its name and its value."""
    path.write_text(bar_chart(bars, unit=unit, title=title), encoding="utf-8")


def bar_chart(bars: Sequence[Bar], *, unit: str, title: str) -> str:
    height = TOP + len(bars) * (_BAR_HEIGHT + _BAR_GAP)
    width = WIDTH - _BAR_LEFT - 2 * LEFT  # leaves room for the longest bar's value
    longest = max(bar.value for bar in bars)
    spoken = "; ".join(f"{bar.name}: {_short(bar.value)} {unit}" for bar in bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(f'{title}. {spoken}')}</title><style>{_STYLE}{_BAR_STYLE}</style>",
        f'<text class="title" x="16" y="24">{escape(title)}</text>',
        f'<text x="16" y="44">{escape(unit)}</text>',
    ]
    for index, bar in enumerate(bars):
        top = TOP + index * (_BAR_HEIGHT + _BAR_GAP)
        long, middle = width * bar.value / longest, top + _BAR_HEIGHT / 2 + 5
        kind = "ours" if bar.ours else "bar"
        parts.append(f'<text x="{_BAR_LEFT - 10}" y="{middle:.0f}" text-anchor="end">{escape(bar.name)}</text>')
        parts.append(
            f'<rect class="{kind}" x="{_BAR_LEFT}" y="{top}" width="{long:.1f}" height="{_BAR_HEIGHT}" rx="3"/>'
        )
        parts.append(f'<text x="{_BAR_LEFT + long + 8:.1f}" y="{middle:.0f}">{_short(bar.value)}</text>')
    return "".join([*parts, "</svg>\n"])


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
