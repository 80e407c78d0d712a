"""Parallel: programs at once, so many at a time, by ClusterShell's Task. What they say only their handlers keep."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence

from ClusterShell.Event import EventHandler
from ClusterShell.Task import task_self
from ClusterShell.Worker.Popen import WorkerPopen
from ClusterShell.Worker.Worker import FANOUT_UNLIMITED

logging.getLogger("ClusterShell").addHandler(
    logging.NullHandler()
)  # that a pipe broke is told by who broke it


def begin(
    argv: Sequence[str],
    key: str,
    handler: EventHandler,
    seconds: float,
    given: str = "",
    at_once: bool = False,
) -> WorkerPopen:
    """A program that ends with us and after so many seconds; `given` is a file to read from.

    `at_once`: it waits for no other to end, as what another one waits for must not.
    """
    command = "exec " + shlex.join(["setpriv", "--pdeathsig", "TERM", "--", *argv])
    feed = f" <{shlex.quote(given)}" if given else ""
    worker = WorkerPopen(command + feed, key=key, handler=handler, stderr=True, timeout=seconds)
    if at_once:
        worker._fanout = FANOUT_UNLIMITED  # its documented place (Worker.py)
    task_self().schedule(worker)
    return worker


def finish(fanout: int) -> None:
    """Run all that was begun, `fanout` at a time, until the last has ended. Interrupted, it ends them."""
    task = task_self()
    task.set_info("fanout", fanout)
    for name in ("stdout_msgtree", "stderr_msgtree"):
        task.set_default(name, False)
    try:
        task.resume()
    except BaseException:
        task.abort(kill=True)
        raise
