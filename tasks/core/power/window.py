"""Many BMCs, so many at once: each in a thread, which nobody waits for beyond its time."""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import NamedTuple

from ..base.errors import Refused
from ..base.nodeset import fold_nodes
from ..nodes.ask import Replies
from .bmc import Note

SPREAD = 1  # seconds over which those begin that could at once: power supplies, switches, servers
Work = Callable[[str, Note], str]  # a node's name -> what is so then


class Window(NamedTuple):
    at_once: int
    limit: float  # seconds for each


class Many:
    """Work at BMCs. `replies` is what came of it so far."""

    def __init__(self, window: Window, work: Work, tell: Note):
        self.window, self.work = window, work
        self.tell = tell
        self.replies = Replies({}, {})
        self.begun: dict[str, float] = {}  # since when
        self.far: dict[str, str] = {}  # how far each is
        self.telling = threading.Lock()
        self.is_ending = False  # no BMC is told anything that was told nothing before
        self.ended: queue.SimpleQueue[tuple[str, str, BaseException | None]] = queue.SimpleQueue()

    def run(self, names: Iterable[str]) -> Replies:
        """Do it for each; interrupted, end what was begun, and `replies` says how far each was."""
        waiting = deque(names)
        spread = SPREAD if len(waiting) > 1 else 0
        try:
            while waiting or self.begun:
                while waiting and len(self.begun) < self.window.at_once:
                    self._begin(waiting.popleft(), spread)
                self._take()
        except KeyboardInterrupt:
            with _deaf(), contextlib.suppress(KeyboardInterrupt):
                self._end()
            self._cut(waiting)
            raise
        return self.replies

    def _end(self) -> None:
        """A node that is off in the middle of its cycle would stay off."""
        with self.telling:
            self.is_ending = True
            half = {name: self.far[name] for name in self.begun if name in self.far}
        for said in sorted(set(half.values())):
            nodes = fold_nodes(name for name in half if half[name] == said)
            end = "brought to its end; Ctrl-C once more ends at once"
            self.tell(f"{nodes}: {said} already, and {end}")
        while half.keys() & self.begun.keys():
            self._take()

    def _begin(self, name: str, spread: float) -> None:
        self.begun[name] = time.monotonic()
        threading.Thread(target=self._do, args=(name, spread), daemon=True).start()

    def _do(self, name: str, spread: float) -> None:
        def note(how_far: str) -> None:
            with self.telling:
                if self.is_ending and name not in self.far:
                    raise Refused("interrupted; nothing was done")
                self.far[name] = how_far

        try:
            time.sleep(random.uniform(0, spread))
            self.ended.put((name, self.work(name, note), None))
        except BaseException as error:  # for who waits for it
            self.ended.put((name, "", error))

    def _take(self) -> None:
        """Take what one has to say, and let go of those whose time is over."""
        now = time.monotonic()
        for name, since in list(self.begun.items()):
            if now - since >= self.window.limit:
                del self.begun[name]
                self.replies.failed[name] = (
                    f"not done in {self.window.limit:g} seconds" + self._far(name)
                )
        try:
            name, said, error = self.ended.get(timeout=0.2 if self.begun else 0)
        except queue.Empty:
            return
        if self.begun.pop(name, None) is None:
            return
        if isinstance(error, Refused):
            self.replies.failed[name] = str(error)
        elif error:
            raise error
        else:
            self.replies.said[name] = said

    def _far(self, name: str) -> str:
        return f"; it was {self.far[name]}" if name in self.far else ""

    def _cut(self, waiting: Iterable[str]) -> None:
        for name in self.begun:
            self.replies.failed[name] = "interrupted" + (self._far(name) or "; nothing was done")
        for name in waiting:
            self.replies.failed[name] = "interrupted; nothing was done"


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """To what ends a program by itself; a terminal that goes away is let go of."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        if callable(handler):
            before[number] = handler

    def hear(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
