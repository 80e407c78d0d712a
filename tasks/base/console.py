"""What an admin sees while doit runs: a line for what is done, none for what was done before."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NoReturn

from doit.reporter import ConsoleReporter

from ..core.base.errors import Refused
from ..core.base.files import locked, sweep
from ..core.base.process import Throttle, bind_children
from .paths import NOTED
from .rule import FoundChanges, InputFailed, Unread
from .settings import build_paths, no_folder, settings, site, useless

BAD_INPUT, FOUND_CHANGES, INTERRUPTED, UNREAD = 3, 2, 130, 128 + signal.SIGPIPE


def begin() -> None:
    """Make this process doit's; dodo.py alone does, for to import a module changes no process.

    An interruption is one line, and `doit list | head` ends as every program does there. Nothing
    is collected until something is made: what a run with nothing to do imports and reads all stays.
    """
    gc.disable()
    sys.excepthook = _unheard
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def say(text: str) -> None:
    """Say how far a task is; on stderr, so that `plan --json` is nothing but JSON."""
    aside(f"   {text}\n")


def aside(text: str) -> None:
    """Words on stderr; in silence from when nobody reads them."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # of a terminal that is gone
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class Progress:
    """How far a long step is: a line every ten seconds, none for what is done before.

    `all` is how much there is, where that is known.
    """

    def __init__(self, what: str, every: float = 10):
        self.what, self.tell = what, Throttle(say, every)

    def __call__(self, done: int, all: int = 0) -> None:
        self.tell(f"{self.what}: {done:,} of {all:,}" if all else f"{self.what}: {done:,}")


class Reporter(ConsoleReporter):
    """Tasks that run, failures, and the exit status that each kind of failure has."""

    desc = "what runs, one line each; nothing for what is up to date"

    def initialize(self, tasks, selected_tasks) -> None:
        """Let one doit at a time into a build folder, and remove what a killed one was writing.

        SIGTERM, and a terminal that goes away, end this one as Ctrl-C does: doit keeps the state of
        finished tasks on KeyboardInterrupt, and loses all of it on a signal.
        """
        refuse_useless({name: tasks[name].meta for name in selected_tasks})
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup(1)
            terminals = list(filter(os.isatty, (1, 2)))  # none is one any more when it is gone
            signal.signal(signal.SIGHUP, partial(_hang_up, terminals))
        # children of `-n` would wait for ever, and hold the lock
        bind_children()
        # a deploy at work is not ended by who stops reading
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self.exits: set[int] = set()
        self.lock = contextlib.ExitStack()
        if not all((tasks[name].meta or {}).get("beside") for name in selected_tasks):
            self._lock()

    def _lock(self) -> None:
        try:
            self.lock.enter_context(
                locked(build_paths().path(".lock"), f"{settings().build} is being built")
            )
        except Refused as error:
            _leave(f"ERROR: {error}", 1)
        except OSError as error:
            _leave(f"ERROR: {no_folder(error)}", BAD_INPUT)
        for part in ("", NOTED, *(image.name for image in site().images)):
            sweep(build_paths().path(part))

    def execute_task(self, task) -> None:
        if task.actions and not task.name.startswith("_") and not task.meta:
            aside(f".  {task.title()}\n")

    def skip_uptodate(self, task) -> None:
        pass

    def add_failure(self, task, fail) -> None:
        if isinstance(fail, InputFailed):
            self.exits.add(BAD_INPUT)
        elif isinstance(fail, (FoundChanges, Unread)):
            self.exits.add(FOUND_CHANGES if isinstance(fail, FoundChanges) else UNREAD)
            return
        self.failures.append({"task": task, "exception": fail})
        sys.stdout.flush()
        text = f"{fail.message}\n" if fail.message.strip() else ""
        aside(f"ERROR: {text}" if not fail.traceback else f"ERROR: {task.name}: {fail.get_msg()}\n")

    def complete_run(self) -> None:
        gc.freeze()  # Python looks at all objects once more when it ends, if they are not put aside
        for line in self.runtime_errors:
            aside(f"ERROR: {line}\n")
        if self.exits:
            sys.exit(max(self.exits))


def refuse_useless(tasks: Mapping[str, dict | None]) -> None:
    """End where a variable is given that one of the tasks asked for would ignore.

    `tasks`: name -> its `meta`.
    """
    known = {name: (meta or {}).get("knows", ()) for name, meta in tasks.items()}
    if problems := useless(known):
        _leave("ERROR: " + "\n".join(problems), BAD_INPUT)


def _interrupt(signo, frame) -> None:
    raise KeyboardInterrupt


def _hang_up(terminals: Iterable[int], signo, frame) -> None:
    """Whatever is said from here on nobody reads; to say it is no error that ends what is ended."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in terminals:
        os.dup2(nowhere, number)
    raise KeyboardInterrupt


def _leave(words: str, status: int) -> NoReturn:
    """End at once: doit would go on to save its state, over that of the one at work."""
    sys.stdout.flush()
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
    os._exit(status)


def _unheard(kind, error, trace) -> None:
    """End for what nothing caught: an interruption is no bug, and has an exit status of its own."""
    if issubclass(kind, KeyboardInterrupt):
        _leave("interrupted; the next run goes on from here", INTERRUPTED)
    sys.__excepthook__(kind, error, trace)
