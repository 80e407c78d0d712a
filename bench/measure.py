"""What a command costs, beside what a peer costs for the same work, in the same run, one after the other."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.inputs import REPOSITORY


class Used(NamedTuple):
    """What one command took."""

    wall: float  # seconds
    cpu: float  # seconds, user and system, of the process and of all that it waited for
    memory: int  # bytes, of the largest of those processes


@dataclass(frozen=True)
class Side:
    """One of those that are compared: `argv` is measured, `before` is not.

    One that `tells` prints at its end what its work took, seconds and seconds of CPU, and that counts: not its start.
    """

    name: str
    argv: Sequence[str]
    before: Callable[[], None] = lambda: None
    tells: bool = False


class Ratio(NamedTuple):
    """Of the rounds' ratios."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """The rounds of one side."""

    name: str
    rounds: tuple[Used, ...]

    def median(self, what: str) -> float:
        return statistics.median(getattr(used, what) for used in self.rounds)

    def beside(self, peer: Measured, what: str) -> Ratio:
        """`what`, "wall" or "cpu", as a ratio to the peer's in the same round."""
        pairs = zip(self.rounds, peer.rounds)
        ratios = [getattr(ours, what) / max(getattr(theirs, what), 1e-6) for ours, theirs in pairs]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))


MORE = 0.5  # rounds besides, of those that count


def interleaved(sides: Sequence[Side], rounds: int) -> list[Measured]:
    """Every side once a round; a first round warms the caches and does not count.

    There are some more than `rounds`, and those one after the other count that were most alike: the
    machine has other users. What they took, long or short, does not choose them.
    """
    found: list[list[Used]] = [[] for _ in sides]
    for number in range(1 + rounds + int(MORE * rounds)):
        for side, rows in zip(sides, found):
            side.before()
            os.sync()  # or who comes next waits for what the last one wrote
            used = run(side.argv, side.tells)
            if number:
                rows.append(used)
    first = quietest(found, rounds)
    kept = [rows[first : first + rounds] for rows in found]
    return [Measured(side.name, tuple(rows)) for side, rows in zip(sides, kept)]


def quietest(found: Sequence[Sequence[Used]], rounds: int) -> int:
    """The first of so many rounds in which the sides' times differ least."""
    starts = range(len(found[0]) - rounds + 1)
    return min(
        starts, key=lambda first: sum(unrest(rows[first : first + rounds]) for rows in found)
    )


def unrest(rows: Sequence[Used]) -> float:
    """From the shortest to the longest time, beside the median."""
    times = [used.wall for used in rows]
    return (max(times) - min(times)) / max(statistics.median(times), 1e-6)


def run(argv: Sequence[str], tells: bool = False) -> Used:
    """Run a command to its end. Raises RuntimeError with its last words where it fails."""
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(
            argv,
            cwd=REPOSITORY,  # from where a program of ours imports what it measures
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        words = said.read().decode(errors="replace").strip()
        if process.returncode:
            raise RuntimeError(
                f"{' '.join(argv)}: exit status {process.returncode}\n{words[-2000:]}"
            )
    cpu = usage.ru_utime + usage.ru_stime
    if tells:
        wall, cpu = map(float, words.split()[-2:])
    return Used(wall, cpu, usage.ru_maxrss << 10)
