"""Many BMCs, so many at once: each in a thread, which nobody waits for beyond its time."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..base.errors import Refused
from ..nodes.ask import Replies
from .bmc import Note

SPREAD = 1  # seconds over which those begin that could at once: power supplies, switches, servers
Work = Callable[[str, Note], str]  # a node's name -> what is so then


class Window(NamedTuple):
    at_once: int
    limit: float  # seconds for each


class Many:
    """Work at BMCs. `replies` is what came of it so far."""

    def __init__(self, window: Window, work: Work):
        self.window, self.work = window, work
        self.replies = Replies({}, {})
        self.begun: dict[str, float] = {}  # since when
        self.far: dict[str, str] = {}  # how far each is
        self.ended: queue.SimpleQueue[tuple[str, str, BaseException | None]] = queue.SimpleQueue()

    def run(self, names: Iterable[str]) -> Replies:
        """Do it for each; interrupted, `replies` says how far each was."""
        waiting = deque(names)
        spread = SPREAD if len(waiting) > 1 else 0
        try:
            while waiting or self.begun:
                while waiting and len(self.begun) < self.window.at_once:
                    self._begin(waiting.popleft(), spread)
                self._take()
        except KeyboardInterrupt:
            self._cut(waiting)
            raise
        return self.replies

    def _begin(self, name: str, spread: float) -> None:
        self.begun[name] = time.monotonic()
        threading.Thread(target=self._do, args=(name, spread), daemon=True).start()

    def _do(self, name: str, spread: float) -> None:
        def note(how_far: str) -> None:
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
