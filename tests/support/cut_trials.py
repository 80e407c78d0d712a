"""A node's disk after each of many power cuts, one boot of it, and what is to be said of the result."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.crash_replay import Cut, Write, crash
from tests.support.loop_disk import Node

TELL = 60  # seconds between two lines of how far a trial is

Verdict = Callable[
    [Node, str], str
]  # boots it; a word or two, which begin with BAD if it did not recover


class Trial(NamedTuple):
    """`cuts` of the `log` of what the disk `base` was told."""

    what: str
    base: Path
    log: list[Write]
    cuts: list[Cut]
    verdict: Verdict

    def on(self, node: Node) -> int:
        """How many of the cuts it did not recover from; all is told on the way."""
        begun, seen = time.monotonic(), collections.Counter[str]()
        told = begun
        for number, cut in enumerate(self.cuts):
            if time.monotonic() - told > TELL:
                told = time.monotonic()
                print(f"{self.what}: {number} of {len(self.cuts)} cuts: {dict(seen)}", flush=True)
            crash(self.base, cut.of(self.log), node.image)
            answer = self.verdict(node, self.what)
            seen[answer] += 1
            if answer.startswith("BAD"):
                print(self.what, cut.brief, answer, node.console, sep="\n  ", flush=True)
        each = (time.monotonic() - begun) / max(1, len(self.cuts))
        of = f"{len(self.cuts)} cuts of {len(self.log)} writes, {each:.1f} s each"
        print(f"{self.what}: {of}: {dict(seen)}", flush=True)
        return sum(count for answer, count in seen.items() if answer.startswith("BAD"))
