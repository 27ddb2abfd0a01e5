"""Line charts over time as inline SVG: no script, no file, no request. Colours are classes that the page defines."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from loadtests.measures import Mark

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 28
POINTS_MAX = 240  # more are joined: the highest of neighbours is drawn
LOG_FLOOR = 0.5
MARK_ROWS = 3
HOLE_S = 5.0  # everything is measured once a second
LINES_MAX = 6  # of one chart: as many colours are told apart


class Line(NamedTuple):
    """One line: (time in seconds, or what else lies across, value); None leaves a hole."""

    name: str
    points: Sequence[tuple[float, float | None]]


def chart(
    lines: Sequence[Line], unit: str, *, end_s: float,
    limit: float | None = None, marks: Sequence[Mark] = (), log: bool = False, across: str = "", dots: bool = True,
) -> str:  # fmt: skip
    """The lines with axes; `limit` is drawn across, `marks` upright or as a span. `log`: powers of ten.

    `across` is what is counted from left to right, up to `end_s`; "": seconds pass. `dots`: a word at each point.
    """
    thinned = [Line(line.name, thin(line.points if across else holed(line.points))) for line in lines]
    values = [value for line in thinned for _, value in line.points if value is not None]
    top = max([*values, limit or 0.0], default=0.0)
    scale = _Log(top) if log else _Linear(top)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_spoken(lines, unit))}">',
        *(_rung(scale, tick) for tick in scale.ticks()),
        *(_below(tick, end_s, across) for tick in (_Linear(end_s).ticks() if across else time_ticks(end_s))),
    ]
    shown = [mark for mark in marks if mark.at_s <= end_s]
    parts += [_marked(mark, end_s) for mark in shown]
    words = [_word(mark, index % MARK_ROWS, end_s) for index, mark in enumerate(shown)]
    if limit is not None:
        y = scale.y(limit)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />')
        words.append(
            f'<text class="limit-word" x="{WIDTH - RIGHT}" y="{y - 4:.1f}">limit {number(limit)} {unit}</text>'
        )
    for index, line in enumerate(thinned):
        parts.append(f'<g class="line l{index}">{_drawn(line, scale, end_s, unit, across, dots)}</g>')
    return "".join([*parts, *words, "</svg>"])  # words last: above the lines


def legend(lines: Sequence[Line], unit: str) -> str:
    """The names of the lines with their colours and highest values."""
    items = []
    for index, line in enumerate(lines):
        found = peak(line, unit)
        items.append(
            f'<li><i class="l{index}"></i>{escape(line.name)} {f"<b>{escape(found)}</b>" if found else "–"}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def peak(line: Line, unit: str) -> str:
    """The highest value in words; "" when nothing was measured."""
    values = [value for _, value in line.points if value is not None]
    return f"≤ {number(max(values))} {unit}".rstrip() if any(values) else "none" if values else ""


def holed(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """The points, and a hole where nobody measured for longer than `HOLE_S`."""
    found = list(points[:1])
    for before, point in pairwise(points):
        if point[0] - before[0] > HOLE_S:
            found.append((point[0], None))
        found.append(point)
    return found


def thin(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """At most `POINTS_MAX` points: of neighbours the highest one."""
    step = math.ceil(len(points) / POINTS_MAX)
    if step <= 1:
        return list(points)
    groups = (points[start : start + step] for start in range(0, len(points), step))
    return [max(group, key=lambda point: -1.0 if point[1] is None else point[1]) for group in groups]


def number(value: float) -> str:
    """A number for people: 3 digits where it is small, thousands apart where it is large."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def time_ticks(end_s: float) -> list[float]:
    """Round times, at most seven of them."""
    step = next((one for one in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600) if end_s / one <= 6), 7200)
    return [step * index for index in range(int(end_s // step) + 1)]


class _Linear:
    """From 0 to a round number."""

    def __init__(self, top: float) -> None:
        power = 10.0 ** math.floor(math.log10(top)) if top > 0 else 1.0
        self.step = next(power * one for one in (0.25, 0.5, 1.0, 2.5) if power * one * 5 >= top) if top > 0 else 1.0
        self.top = self.step * max(1, math.ceil(top / self.step))

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / self.top, 1.0)

    def ticks(self) -> list[float]:
        return [self.step * index for index in range(round(self.top / self.step) + 1)]


class _Log:
    """From `LOG_FLOOR` to the next power of ten."""

    def __init__(self, top: float) -> None:
        self.decades = max(1, math.ceil(math.log10(max(top, 1.0) / LOG_FLOOR)))
        self.top = LOG_FLOOR * 10.0**self.decades

    def y(self, value: float) -> float:
        share = math.log10(max(value, LOG_FLOOR) / LOG_FLOOR) / self.decades
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(share, 1.0)

    def ticks(self) -> list[float]:
        return [one for power in range(self.decades + 1) for one in (10.0**power,) if one <= self.top]


def _x(at_s: float, end_s: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(at_s / max(end_s, 1e-9), 1.0)


def _rung(scale: _Linear | _Log, value: float) -> str:
    y = scale.y(value)
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />'
        f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}">{number(value)}</text>'
    )


def _below(at_s: float, end_s: float, across: str) -> str:
    if at_s > end_s:
        return ""
    x = _x(at_s, end_s)
    word = number(at_s) if across else f"{at_s:g} s" if end_s <= 180 else f"{at_s / 60:g} min"
    return f'<text class="time" x="{x:.1f}" y="{HEIGHT - 8}">{word}</text>'


def _marked(mark: Mark, end_s: float) -> str:
    """An upright line, and a shade up to the mark's end."""
    x, bottom = _x(mark.at_s, end_s), HEIGHT - BOTTOM
    drawn = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" />'
    if mark.end_s is not None:
        width = _x(min(mark.end_s, end_s), end_s) - x
        drawn += f'<rect class="span" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{bottom - TOP}" />'
    return drawn


def _word(mark: Mark, row: int, end_s: float) -> str:
    """What the mark says, beside its line; words that would meet stand in rows."""
    x = _x(mark.at_s, end_s)
    place = (x - 4, "word left") if x > WIDTH * 0.7 else (x + 4, "word")
    return f'<text class="{place[1]}" x="{place[0]:.1f}" y="{TOP + 9 + row * 12}">{escape(mark.word)}</text>'


def _drawn(line: Line, scale: _Linear | _Log, end_s: float, unit: str, across: str, dots: bool) -> str:
    """The line in pieces between its holes, and a dot with a word at each point when there are to be `dots`."""
    pieces: list[list[str]] = [[]]
    made = []
    for at_s, value in line.points:
        if value is None:
            pieces.append([])
            continue
        x, y = _x(at_s, end_s), scale.y(value)
        pieces[-1].append(f"{x:.1f},{y:.1f}")
        said = escape(f"{line.name}: {number(value)} {unit} at {number(round(at_s))} {across or 's'}")
        made.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{said}</title></circle>')
    drawn = "".join(f'<polyline points="{" ".join(piece if piece[1:] else piece * 2)}" />' for piece in pieces if piece)
    return drawn + "".join(made if dots else ())


def _spoken(lines: Sequence[Line], unit: str) -> str:
    words = []
    for line in lines:
        values = [value for _, value in line.points if value is not None]
        words.append(f"{line.name} up to {number(max(values))} {unit}" if values else f"{line.name}: nothing measured")
    return "; ".join(words)
