"""One line of the results, and one curve of growth: plain values, as they stand in results.json."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import NamedTuple

from bench.measure import Measured, Ratio


@dataclass(frozen=True)
class Row:
    """Plugnode beside a peer at one piece of work. What is measured once has no spread."""

    work: str
    peer: str  # "" where there is none: then `goal` and the ratio are of `unit`
    goal: float | None  # of CPU time, or of what is counted
    unit: str  # "s" of CPU and wall time | "MB" | what is counted: "calls"
    ours: tuple[float, ...]  # s of CPU, s of wall time | MB | how many
    theirs: tuple[float, ...]
    ratios: tuple[Ratio, ...]  # the same
    goal_of_wall: float | None = None  # of wall time

    @property
    def goals(self) -> list[tuple[float, Ratio]]:
        """Each goal that there is, with what it is of."""
        pairs = zip((self.goal, self.goal_of_wall), self.ratios)
        return [(goal, ratio) for goal, ratio in pairs if goal is not None]

    @property
    def holds(self) -> bool:
        """Is each goal reached?"""
        return all(ratio.median <= goal for goal, ratio in self.goals)

    @property
    def is_decided(self) -> bool:
        """Do all rounds say the same of it? One miss that they agree on is enough."""
        if any(ratio.low > goal for goal, ratio in self.goals):
            return True
        return all(ratio.high <= goal for goal, ratio in self.goals)


@dataclass(frozen=True)
class Curve:
    """Seconds of CPU by how much there is, or by how much of it changed."""

    work: str
    peer: str
    by: str  # what grows: "files changed of 50,000"
    points: tuple[tuple[int, float, float], ...]  # how many, ours, theirs


class Goals(NamedTuple):
    """Of CPU and of wall time, where they are not the same."""

    cpu: float | None
    wall: float


def of_time(work: str, goal: float | Goals | None, ours: Measured, theirs: Measured) -> Row:
    cpu, wall = goal if isinstance(goal, Goals) else (goal, goal)
    both = [tuple(side.median(what) for what in ("cpu", "wall")) for side in (ours, theirs)]
    return Row(
        work,
        theirs.name,
        cpu,
        "s",
        *both,
        tuple(ours.beside(theirs, what) for what in ("cpu", "wall")),
        wall,
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
