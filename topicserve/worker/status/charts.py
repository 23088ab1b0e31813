"""Draws a row of numbers as a line in inline SVG: no script, no style attribute, no library.

Colours are classes of the page's own style sheet, so a strict content security policy holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 120

Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a drawing; None leaves a gap."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A line in the drawing's own units, `WIDTH` by `HEIGHT`, the origin at the top left."""

    name: str
    number: int
    """Which colour it has."""
    pieces: tuple[str, ...]
    """Points of polylines: one a run without gaps."""
    areas: tuple[str, ...]
    """Points of polygons: what is below each of them."""
    latest: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its scale."""

    title: str
    unit: str
    top: float
    """The value at the upper edge; the lower one is 0."""
    lines: tuple[DrawnLine, ...]


def draw(title: str, unit: str, lines: Sequence[Line], slots: int) -> Chart:
    """Return the lines drawn to one scale; `slots` values fill the width, the newest at the right.

    The scale ends at 1, 2 or 5 times a power of ten, so that it does not jump at every look.
    """
    known = [value for line in lines for value in line.values if value is not None]
    top = _round_up(max(known, default=0.0))
    drawn = tuple(_drawn(line, number, top, slots) for number, line in enumerate(lines))
    return Chart(title, unit, top, drawn)


def _drawn(line: Line, number: int, top: float, slots: int) -> DrawnLine:
    runs = _runs(line.values, top, slots)
    # A single point is drawn too: as a line of no length, which round ends make visible.
    pieces = [" ".join(_text(run * 2 if len(run) == 1 else run)) for run in runs]
    areas = [" ".join(_text([(run[0][0], HEIGHT), *run, (run[-1][0], HEIGHT)])) for run in runs]
    return DrawnLine(line.name, number, tuple(pieces), tuple(areas), _latest(line.values))


def _text(points: Sequence[Spot]) -> list[str]:
    return [f"{x:.1f},{y:.1f}" for x, y in points]


def _runs(values: Sequence[float | None], top: float, slots: int) -> list[list[Spot]]:
    """Return the places of values that have no gap between them."""
    runs: list[list[Spot]] = [[]]
    first = slots - len(values)
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        x = (first + index) * WIDTH / max(slots - 1, 1)
        y = HEIGHT - min(value / top, 1.0) * HEIGHT
        runs[-1].append((x, y))
    return [run for run in runs if run]


def _latest(values: Sequence[float | None]) -> float | None:
    return values[-1] if values else None


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 1e-6
    while power * 10 <= value:
        power *= 10
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value or step == 10)
