"""Upgrade: nodes led to the release that they would boot, some at a time, without killing jobs.

drained ──> idle ──> rebooted ──> says that it runs the release, not degraded ──> undrained

What fails stays drained, with the reason. What is drained and not rebooted when it stops, for
whatever reason, is undrained. What was rebooted then is ended by the next upgrade (`ledger`).
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Callable, NamedTuple, Protocol

from ..base.errors import Refused
from ..base.nodeset import fold_nodes
from ..base.process import Throttle
from ..base.text import counted
from ..nodes.ask import Heard, Runs
from .ledger import DRAINED, FAILED, REBOOTED, Ledger
from .schedulers import OURS, Scheduler

MINUTE = 60
SILENT = "it does not answer"


class Running(Protocol):
    """The nodes themselves."""

    def hear(self, nodes: Collection[str]) -> Heard:
        """What nodes say that they run, and why others do not."""

    def claim(self, nodes: Collection[str]) -> Mapping[str, str]:
        """Have nodes know until they boot whose upgrade they are in; whose some are in already."""

    def unclaim(self, nodes: Collection[str]) -> None:
        """Have them forget it."""

    def reboot(self, nodes: Collection[str]) -> Mapping[str, str]:
        """Have nodes reboot; why others would not."""

    def has_power(self, node: str) -> bool:
        """Whether its power can be cycled."""

    def cycle(self, nodes: Collection[str]) -> Mapping[str, str]:
        """Cycle their power; why that of others was not."""


class Bounds(NamedTuple):
    at_once: int  # nodes that are away from work
    failed: int  # so many are too many
    idle: float  # seconds until a node must have no job left
    boot: float  # seconds until it must be back
    every: float = 3  # seconds from one look at all nodes at work to the next


class Outcome(NamedTuple):
    """What became of nodes; of the second and third why."""

    upgraded: list[str]
    failed: dict[str, str]  # they stay drained
    left: dict[str, str]  # as they were


class Rolling:
    """An upgrade at work. `wanted`: node -> the release that it would boot."""

    def __init__(
        self,
        wanted: Mapping[str, str],
        parts: tuple[Scheduler, Running, Ledger],
        bounds: Bounds,
        tell: Callable[[str], None],
    ):
        self.wanted, self.bounds, self.tell = wanted, bounds, tell
        self.waits = Throttle(tell, MINUTE)
        self.scheduler, self.running, self.ledger = parts
        self.draining: dict[str, float] = {}  # since when
        self.booting: dict[str, float] = {}
        self.cycled: set[str] = set()  # by their power: once each
        self.outcome = Outcome([], {}, {})
        self.count = len(wanted)

    def resume(self, heard: Heard) -> list[str]:
        """Take up what an earlier upgrade left; the nodes that are still to be upgraded."""
        late, reasons = [], heard.reasons
        for node, release in self.wanted.items():
            how, one = self.ledger.nodes.get(node), heard.runs.get(node)
            if one and one.release != release:
                late.append(node)
            elif one and how == DRAINED:
                self._undrain(node)
            elif one and how:
                self._look(node, one)
            elif how == REBOOTED:
                self.booting[node] = time.monotonic()
            elif how:
                why = f"{SILENT}, as in the upgrade before: {reasons[node]}"
                self.outcome.failed[node] = f"{why}{self.scheduler.stays}"
        return late

    def run(self, late: Iterable[str]) -> Outcome:
        """Upgrade those; interrupted, it leaves no node drained that was not rebooted."""
        queue = self._without_others(list(late))
        self.count = len(queue) + len(self.booting) + len(self.outcome.upgraded)
        try:
            while self.booting or self.draining or (queue and not self._stopped()):
                self._begin(queue)
                self._reboot_idle()
                self._look_at_booting()
                if self.booting or self.draining:
                    time.sleep(self.bounds.every)
        finally:
            with _to_its_end():
                self._stop(queue)
        return self.outcome

    def _stop(self, queue: list[str]) -> None:
        """Leave nothing half done, but nodes that boot just now, which the next one takes back."""
        noted = self.ledger.nodes.items()
        drained = [node for node, how in noted if how == DRAINED and node in self.wanted]
        self._release(drained, "not rebooted when it stopped")
        for node in self.booting:
            self.outcome.left[node] = "still drained: it boots; the same again takes it back"
        for node in queue:
            self.outcome.left.setdefault(node, "not begun when it stopped")

    def _stopped(self) -> bool:
        return len(self.outcome.failed) >= self.bounds.failed

    def _without_others(self, asked: list[str]) -> list[str]:
        """The nodes without those that somebody else keeps from jobs, which stay as they are."""
        others = self._others(asked)
        self.outcome.left.update(others)
        return [node for node in asked if node not in others]

    def _others(self, nodes: list[str]) -> dict[str, str]:
        """Those of the nodes that somebody else keeps from jobs -> what is said of them."""
        held = self.scheduler.held(nodes) if nodes else {}
        others = {}
        for node, one in held.items():
            is_mine = node in self.ledger.nodes and one.is_ours
            if not is_mine:
                others[node] = one.words
        return others

    def _begin(self, queue: list[str]) -> None:
        """Drain as many as may be away; none, and let go of those that wait, where it stops."""
        if self._stopped():
            self._release(list(self.draining), "not rebooted: too many have failed")
            return
        free, begun = self._free(queue), []
        while free and not self._stopped():
            node = free.pop(0)
            if self._drain(node):
                begun.append(node)
        if free:
            self.running.unclaim(free)
            queue[:0] = free
        self._told(begun, "draining")

    def _free(self, queue: list[str]) -> list[str]:
        """The next that may be away; none while the scheduler says nothing of them."""
        try:
            return self._claimed(queue, max(0, self.bounds.at_once - self._away()))
        except Refused as error:
            if not self._away():
                raise
            self.waits(str(error))
            return []

    def _claimed(self, queue: list[str], most: int) -> list[str]:
        """The next so many, without those that are somebody else's by now."""
        asked, queue[:] = self._without_others(queue[:most]), queue[most:]
        others = self.running.claim(asked) if asked else {}
        for node, whose in others.items():
            self.outcome.left[node] = f"in the upgrade of {whose}, until that has ended"
        return [node for node in asked if node not in others]

    def _drain(self, node: str) -> bool:
        self.ledger.note(node, DRAINED)
        self.draining[node] = time.monotonic()
        try:
            self.scheduler.drain(node, f"{OURS}upgrade to {self.wanted[node]}")
        except Refused as error:
            del self.draining[node]
            self.ledger.forget(node)
            self.running.unclaim([node])
            self.outcome.failed[node] = str(error)
            return False
        return True

    def _away(self) -> int:
        return len(self.draining) + len(self.booting)

    def _reboot_idle(self) -> None:
        if not self.draining:
            return
        try:
            busy = self.scheduler.busy(self.draining)
            idle = self._still_ours([node for node in self.draining if node not in busy])
        except Refused as error:  # it is asked again until the bound
            busy, idle = dict.fromkeys(self.draining, str(error)), []
        if idle:
            self._reboot(idle)
        for node in list(busy)[:1]:
            self.waits(f"{counted(len(busy), 'node')} not idle yet; {node}: {busy[node]}")
        now = time.monotonic()
        for node, since in list(self.draining.items()):
            if now - since >= self.bounds.idle:
                self._release([node], f"not idle in {self.bounds.idle:g} seconds: {busy[node]}")

    def _still_ours(self, nodes: list[str]) -> list[str]:
        """The nodes without those that somebody else has drained since, which are let go."""
        others = self._others(nodes)
        self._release(others, "")
        return [node for node in nodes if node not in others]

    def _reboot(self, nodes: list[str]) -> None:
        for node in nodes:
            self.ledger.note(node, REBOOTED)
        failed = self._with_power(self.running.reboot(nodes))
        for node in nodes:
            del self.draining[node]
            if node in failed:
                self._fail(node, f"no reboot: {failed[node]}")
            else:
                self.booting[node] = time.monotonic()
        self._told([node for node in nodes if node not in failed], "rebooting")

    def _with_power(self, failed: Mapping[str, str]) -> dict[str, str]:
        """Cycle the power of those that would not otherwise; why nodes are not rebooted now.

        The scheduler has the last word on each: whether a job ended is not seen from outside.
        """
        able = [node for node in failed if node not in self.cycled and self.running.has_power(node)]
        idle = self._idle(able)
        if not idle:
            return dict(failed)
        self.cycled.update(idle)
        for node in idle:
            self._told([node], f"{failed[node]}: cycling its power")
        unpowered = self.running.cycle(idle)
        left = {node: why for node, why in failed.items() if node not in idle}
        return left | {node: f"{failed[node]}; power: {why}" for node, why in unpowered.items()}

    def _idle(self, nodes: list[str]) -> list[str]:
        """Those of which the scheduler says now that they have no job; none where nobody can."""
        if not nodes or not self.scheduler.knows_jobs:
            return []
        try:
            busy = self.scheduler.busy(nodes)
        except Refused:
            return []
        return [node for node in nodes if node not in busy]

    def _look_at_booting(self) -> None:
        if not self.booting:
            return
        heard = self.running.hear(list(self.booting))
        now = time.monotonic()
        late = {}
        for node, since in list(self.booting.items()):
            one = heard.runs.get(node)
            if one and one.release == self.wanted[node]:
                del self.booting[node]
                self._look(node, one)
            elif now - since >= self.bounds.boot:
                said = f"it runs {one.release}" if one else f"{SILENT}: {heard.reasons[node]}"
                late[node] = f"not back in {self.bounds.boot:g} seconds: {said}"
        self._end_late(late)

    def _end_late(self, late: Mapping[str, str]) -> None:
        """Those whose power can be cycled have the same time again."""
        failed = self._with_power(late)
        for node in late:
            if node in failed:
                del self.booting[node]
                self._fail(node, failed[node])
            else:
                self.booting[node] = time.monotonic()

    def _look(self, node: str, one: Runs) -> None:
        """Take a node back that runs what it shall, if all is well there."""
        if one.degraded:
            self._fail(node, f"runs {one.release}, degraded: see /run/plugnode/degraded there")
        elif self._undrain(node):
            self.outcome.upgraded.append(node)
            self._told([node], f"runs {one.release}")

    def _told(self, nodes: list[str], what: str) -> None:
        if nodes:
            done = len(self.outcome.upgraded)
            self.tell(f"{fold_nodes(nodes)}: {what} ({done} of {self.count} upgraded)")

    def _fail(self, node: str, why: str) -> None:
        """It stays drained."""
        self.outcome.failed[node] = f"{why}{self.scheduler.stays}"
        self.ledger.note(node, FAILED)
        self._told([node], why)
        try:
            if words := self._others([node]).get(node):
                self.ledger.forget(node)
                self.outcome.failed[node] = f"{why}; {words}"
            else:
                self.scheduler.drain(node, f"{OURS}{why}")
        except Refused as error:
            self.outcome.failed[node] = f"{why}; and it may take jobs: {error}"

    def _release(self, nodes: Iterable[str], why: str) -> None:
        """Give back what was drained and not rebooted."""
        released = []
        for node in nodes:
            self.draining.pop(node, None)
            if self._undrain(node):
                self.outcome.left[node] = why
            if node in self.outcome.left:
                released.append(node)
        if released:
            self.running.unclaim(released)

    def _undrain(self, node: str) -> bool:
        """Whether it has jobs again; not where somebody else wants it drained by now."""
        try:
            if words := self._others([node]).get(node):
                self.ledger.forget(node)
                self.outcome.left[node] = words
                return False
            self.scheduler.undrain(node)
        except Refused as error:
            self.outcome.failed[node] = f"still drained: {error}"
            return False
        self.ledger.forget(node)
        return True


@contextlib.contextmanager
def _to_its_end() -> Iterator[None]:
    """Do what is done within, whatever signal comes: it is answered afterwards."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
