"""One line of the results, and one curve of growth: plain values, as they stand in results.json."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from bench.measure import Measured, Ratio


@dataclass(frozen=True)
class Row:
    """Plugnode beside a peer at one piece of work. What is measured once has no spread."""

    work: str
    peer: str  # "" where there is none: then `goal` and the ratio are of `unit`
    goal: float | None
    unit: str  # "s" of CPU and wall time | "MB" | what is counted: "calls"
    ours: tuple[float, ...]  # s of CPU, s of wall time | MB | how many
    theirs: tuple[float, ...]
    ratios: tuple[Ratio, ...]  # the same

    @property
    def holds(self) -> bool:
        """Is the goal reached, in CPU and in wall time?"""
        return self.goal is None or all(ratio.median <= self.goal for ratio in self.ratios)

    @property
    def is_decided(self) -> bool:
        """Do all rounds say the same of it? One miss that they agree on is enough."""
        if self.goal is None or any(ratio.low > self.goal for ratio in self.ratios):
            return True
        return all(ratio.high <= self.goal for ratio in self.ratios)


@dataclass(frozen=True)
class Curve:
    """Seconds of CPU by how much there is, or by how much of it changed."""

    work: str
    peer: str
    by: str  # what grows: "files changed of 50,000"
    points: tuple[tuple[int, float, float], ...]  # how many, ours, theirs


def of_time(work: str, goal: float | None, ours: Measured, theirs: Measured) -> Row:
    both = [tuple(side.median(what) for what in ("cpu", "wall")) for side in (ours, theirs)]
    return Row(
        work,
        theirs.name,
        goal,
        "s",
        *both,
        tuple(ours.beside(theirs, what) for what in ("cpu", "wall")),
    )


def of_size(work: str, goal: float | None, ours: float, peer: str, theirs: float) -> Row:
    """Bytes beside a peer's."""
    return Row(
        work, peer, goal, "MB", (ours / 1e6,), (theirs / 1e6,), (Ratio(*[ours / theirs] * 3),)
    )


def at_most(work: str, goal: float | None, found: float) -> Row:
    """Bytes that have no peer."""
    return Row(work, "", goal, "MB", (found / 1e6,), (), (Ratio(*[found / 1e6] * 3),))


def counted(work: str, goal: float | None, found: float, unit: str) -> Row:
    """So many of what has no peer."""
    return Row(work, "", goal, unit, (found,), (), (Ratio(*[found] * 3),))


@dataclass(frozen=True)
class Results:
    machine: dict[str, str]
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...]
    left_out: tuple[str, ...]  # what could not be measured, and why

    def dump(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def parse(text: str) -> Results:
    data = json.loads(text)
    rows = [
        Row(**{**row, "ours": tuple(row["ours"]), "theirs": tuple(row["theirs"]),
               "ratios": tuple(Ratio(*ratio) for ratio in row["ratios"])})
        for row in data["rows"]
    ]  # fmt: skip
    curves = [
        Curve(**{**curve, "points": tuple(map(tuple, curve["points"]))}) for curve in data["curves"]
    ]
    return Results(data["machine"], tuple(rows), tuple(curves), tuple(data["left_out"]))
