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
from ClusterShell.Worker.Popen import WorkerPopen
from ClusterShell.Worker.Worker import FANOUT_UNLIMITED

# That a pipe broke is told by who broke it.
logging.getLogger("ClusterShell").addHandler(logging.NullHandler())


class Job(NamedTuple):
    """A program that ends with us and after so many seconds."""

    argv: Sequence[str]
    key: str
    seconds: float
    given: str = ""  # a file to read from
    at_once: bool = False  # it waits for no other to end, as what another one waits for must not


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
