"""Results as files: the numbers, a Markdown table, a plot."""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

from bench.inputs import REPOSITORY
from bench.measure import Ratio
from bench.plot import draw
from bench.rows import Curve, Results, Row

BEGIN, END = "<!-- results: written by ./doit bench -->", "<!-- end of results -->"


class Places(NamedTuple):
    numbers: pathlib.Path
    page: pathlib.Path  # between BEGIN and END, if it has them
    plot: pathlib.Path


PUBLISHED = Places(
    REPOSITORY / "bench/results.json",
    REPOSITORY / "docs/performance.md",
    REPOSITORY / "docs/performance.svg",
)


def places(folder: pathlib.Path) -> Places:
    folder.mkdir(parents=True, exist_ok=True)
    return Places(folder / "results.json", folder / "results.md", folder / "results.svg")


def write(results: Results, to: Places) -> None:
    to.numbers.write_text(results.dump())
    to.plot.write_text(draw(results))
    page = to.page.read_text() if to.page.exists() else ""
    to.page.write_text(with_table(page, table(results)))


def with_table(page: str, table: str) -> str:
    """The page with this table in place of its last one."""
    part = f"{BEGIN}\n{table}{END}"
    if BEGIN not in page:
        return part + "\n"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: part, page, flags=re.DOTALL)


HEAD = """\
| work | beside | CPU | wall | Plugnode took | goal | reached |
|---|---|---|---|---|---|---|
"""


def table(results: Results) -> str:
    """Markdown: what the machine is, the rows, what was left out, and the curves."""
    kind = ", ".join(f"{what} {value}" for what, value in results.machine.items())
    parts = [f"Measured with {kind}.\n", HEAD + "".join(map(line, results.rows))]
    if results.left_out:
        parts.append("".join(f"- left out: {why}\n" for why in results.left_out))
    return "\n".join([*parts, *map(growth, results.curves)]) + "\n"


def line(row: Row) -> str:
    parts = row.work, row.peer or "–", *cells(row), goal(row), reached(row)
    return f"| {' | '.join(parts)} |\n"


def goal(row: Row) -> str:
    """One for both times mostly."""
    unit = "" if row.peer else f" {row.unit}"
    if row.goal == row.goal_of_wall or row.unit != "s":
        return "" if row.goal is None else f"{row.goal:,g}{unit}"
    cpu = "" if row.goal is None else f"{row.goal:g} CPU, "
    return f"{cpu}{row.goal_of_wall:g} wall"


def reached(row: Row) -> str:
    """Whether it is, where the rounds agree on that."""
    if not row.goals:
        return ""
    if not row.is_decided:
        return "not decided"
    return "yes" if row.holds else "**no**"


def cells(row: Row) -> list[str]:
    """Ratios of CPU and wall, and what it took."""
    if row.unit == "s":
        return [*map(spread, row.ratios), f"{row.ours[0]:.2f} s CPU, {row.ours[1]:.2f} s"]
    ratio = f"{row.ratios[0].median:.2f} in bytes" if row.peer else ""
    number = f"{row.ours[0]:.1f}" if row.unit == "MB" else f"{row.ours[0]:,.0f}"
    return [ratio, "", f"{number} {row.unit}"]


def spread(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def growth(curve: Curve) -> str:
    """A curve as a table of its points."""
    heads, ours, theirs = zip(*((f"{x:,}", f"{a:.2f}", f"{b:.2f}") for x, a, b in curve.points))
    rows = (
        (curve.by, heads),
        ("---", ["---:"] * len(heads)),
        ("Plugnode", ours),
        (curve.peer, theirs),
    )
    title = f"Growth: {curve.work}, seconds of CPU\n\n"
    return title + "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows)
