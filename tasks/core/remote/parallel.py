"""Parallel: programs at once, so many at a time, by ClusterShell's Task.

What they say only their handlers keep.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from ClusterShell.Event import EventHandler
from ClusterShell.Task import task_self
from ClusterShell.Worker.Popen import PopenClient, WorkerPopen
from ClusterShell.Worker.Worker import FANOUT_UNLIMITED

# That a pipe broke is told by who broke it.
logging.getLogger("ClusterShell").addHandler(logging.NullHandler())


LONGEST = 1 << 16  # bytes of a line


class Job(NamedTuple):
    """A program that ends with us and after so many seconds."""

    argv: Sequence[str]
    key: str
    seconds: float
    given: str = ""  # a file to read from
    at_once: bool = False  # it waits for no other to end, as what another one waits for must not
    longest: int = LONGEST  # a longer line is heard in part, and is longer than that


class _Client(PopenClient):  # type: ignore[misc]
    """Keeps no line that does not end: ClusterShell reads on, until there is no memory left."""

    longest = LONGEST

    def _handle_read(self, sname: str) -> None:
        super()._handle_read(sname)
        stream = self.streams.get(sname)
        if stream and len(stream.rbuf) > self.longest:
            part, stream.rbuf = stream.rbuf, b""
            self.worker._on_msgline(self.key, part, sname)


def begin(job: Job, handler: EventHandler) -> WorkerPopen:
    """Have a program run; `handler` hears what it says."""
    command = "exec " + shlex.join(["setpriv", "--pdeathsig", "TERM", "--", *job.argv])
    if job.given:
        command += f" <{shlex.quote(job.given)}"
    worker = WorkerPopen(
        command,
        key=job.key,
        handler=handler,
        stderr=True,
        timeout=job.seconds,
    )
    worker.clients[0].__class__ = _Client  # WorkerPopen takes no other
    worker.clients[0].longest = job.longest
    if job.at_once:
        worker._fanout = FANOUT_UNLIMITED  # its documented place (Worker.py)
    task_self().schedule(worker)
    return worker


def finish(fanout: int) -> None:
    """Run all that was begun, `fanout` at a time, until the last has ended.

    Interrupted, it ends them.
    """
    task = task_self()
    task.set_info("fanout", fanout)
    for name in ("stdout_msgtree", "stderr_msgtree"):
        task.set_default(name, False)
    try:
        task.resume()
    except BaseException:
        task.abort(kill=True)
        raise
