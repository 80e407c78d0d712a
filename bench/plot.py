"""The plot: ratios to the peers with their goals, and how cost grows. plot.svg is the picture with holes in it."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any

from bench.rows import Curve, Results, Row

LEFT, WIDTH, STEP = (
    450,
    340,
    22,
)  # px: where bars begin, how long the longest is, from one to the next
LOW, HIGH = 0.01, 10.0  # ratios that the bars' scale shows
BOX, GAP = 300, 90  # px: one curve's square, and what is between two


def draw(results: Results) -> str:
    import jinja2

    rows = [row for row in results.rows if row.peer]
    loader = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    bottom = 60 + STEP * len(rows)
    pairs = (len(results.curves) + 1) // 2
    return environment.get_template("plot.svg").render(
        bars=[bar(row, 40 + STEP * number) for number, row in enumerate(rows)],
        ticks=[(f"{value:g}", along(value)) for value in (0.01, 0.1, 1, 10)],
        curves=[box(curve, number, bottom + 60) for number, curve in enumerate(results.curves)],
        bottom=bottom, left=LEFT, size=BOX, height=bottom + 60 + pairs * (BOX + GAP),
    )  # fmt: skip


def along(ratio: float) -> float:
    """Where a ratio is on the bars' logarithmic scale, px."""
    share = math.log(max(LOW, min(HIGH, ratio)) / LOW) / math.log(HIGH / LOW)
    return round(LEFT + share * WIDTH, 1)


def bar(row: Row, y: int) -> dict[str, Any]:
    ratio, goal = row.ratios[0], along(row.goal) if row.goal else None
    end, high = along(ratio.median), along(ratio.high)
    return {
        "y": y, "text": f"{row.work} / {row.peer}", "value": f"{ratio.median:.2f}", "right": max(end, high, goal or 0),
        "end": end, "low": along(ratio.low), "high": high, "goal": goal, "holds": row.holds,
    }  # fmt: skip


def box(curve: Curve, number: int, top: int) -> dict[str, Any]:
    """One curve of growth, both scales logarithmic."""
    x, y = 60 + number % 2 * (BOX + GAP), top + number // 2 * (BOX + GAP)
    across = Scale([point[0] for point in curve.points], x, x + BOX)
    up = Scale([value for point in curve.points for value in point[1:]], y + BOX, y)
    lines = [
        " ".join(f"{across(point[0])},{up(point[side])}" for point in curve.points)
        for side in (1, 2)
    ]
    return {
        "x": x, "y": y, "title": f"{curve.work}: s of CPU by {curve.by}", "peer": curve.peer,
        "ours": lines[0], "theirs": lines[1],
        "across": [(f"{point[0]:,}", across(point[0])) for point in curve.points],
        "up": [(f"{value:g}", up(value)) for value in up.decades()],
    }  # fmt: skip


class Scale:
    """Values on a logarithmic scale, whole decades, as px between two places."""

    def __init__(self, values: Sequence[float], begin: float, end: float):
        self.low = math.floor(math.log10(max(min(values), 1e-3)) + 1e-9)
        self.high = max(self.low + 1, math.ceil(math.log10(max(*values, 1e-3)) - 1e-9))
        self.begin, self.end = begin, end

    def __call__(self, value: float) -> float:
        share = (math.log10(max(value, 1e-3)) - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]
