"""The shape of every task: what it is given decides whether it runs; what it left is looked at before it is trusted.

doit itself compares neither what an action is given nor what its targets hold, so a build that was interrupted after
an input changed, and is run again after that input was changed back, would keep the wrong output. Each rule therefore
saves the fingerprint of its value and the state of its targets, and both must match for the task to be up to date.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import select
import shutil
import stat
import sys
from functools import lru_cache
from typing import Any, Callable, Iterable

from doit.dependency import MD5Checker
from doit.exceptions import TaskError, TaskFailed

from ..core.base.errors import BadInput, Refused
from ..core.base.files import digest_file, files_in

Task = dict[str, Any]

gc.disable()  # until something is made: a run with nothing to do would look at all that it imported, again and again


class InputFailed(TaskFailed):
    """An input that cannot be built: the run ends with exit status 3."""


class Unread(TaskFailed):
    """Whoever read the output has gone: the run ends in silence, with the exit status of SIGPIPE."""


class FoundChanges(TaskFailed):
    """`plan --detailed-exitcode` found changes: exit status 2, and nothing went wrong."""


def rule(
    name: str | None,
    make: Callable[..., Any],
    *value: Any,
    output: str | Iterable[str],
    inputs: Iterable[str] = (),
    given: Callable[[], str] | None = None,
    leaves: Iterable[str] = (),
    fills: tuple[str, str] | None = None,
) -> Task:
    """`make(*value)` writes `output`; `value`, what `given()` says, and `inputs` decide whether it runs.

    `given` is for inputs that are no files: a folder's fingerprint, computed only when the task is looked at.
    `leaves` are folders that it fills besides, for `doit clean`. `fills` is a folder, and what is below it of another
    rule, where nothing else may be: a file of a run that was killed would be taken for one of this.
    """
    outputs = [output] if isinstance(output, str) else list(output)
    task = {
        "actions": [(perform, [make, *value])],
        "file_dep": list(inputs),
        "targets": outputs,
        "uptodate": [Current(value, given, outputs, fills)],
        "clean": [(remove, [[*outputs, *leaves]])],
        "verbosity": 2,
    }
    return task if name is None else {"name": name, **task}


def command(
    make: Callable[..., Any],
    *value: Any,
    after: Iterable[str] = (),
    params: Iterable[dict] = (),
    knows: str = "",
    **more: Any,
) -> Task:
    """A task that is asked for by name and always runs: `make(*value, **params)`, after the tasks named.

    `knows`: the variables of the command line that it has a use for, besides those that every task has.
    """
    return {
        "actions": [(perform, [make, *value])],
        "task_dep": list(after),
        "params": list(params),
        "uptodate": [False],
        "verbosity": 2,
        "meta": {
            "knows": knows.split()
        },  # and no title: what it prints is what was asked for, for scripts too
        **more,
    }


def perform(make: Callable[..., Any], *value: Any, **params: Any) -> Any:
    """Run `make`, its complaints turned into doit's: the one seam between the core and a task's result."""
    gc.freeze()  # the site and its nodes stay: no collection need look at them
    gc.enable()
    try:
        result = make(*value, **params)
        sys.stdout.flush()
    except BadInput as error:
        return InputFailed(f"\n{error}")
    except Refused as error:
        return TaskFailed(str(error))
    except BrokenPipeError:
        if not _unread():  # another pipe, of a program that we run
            raise
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), 1
        )  # nor is what is still to be flushed read by anybody
        return Unread("")
    except OSError as error:
        if error.errno in (None, errno.EBADF):  # no disk says that: it is a bug
            raise
        where = error.filename2 or error.filename or ""
        return TaskError(
            f"{os.fsdecode(where) if isinstance(where, (str, bytes)) else ''}: {error.strerror}".lstrip(
                ": "
            )
        )
    if isinstance(result, (TaskFailed, TaskError)):
        return result
    return {"wrote": result} if result else None


def _unread() -> bool:
    """Whether nobody reads what is printed any more."""
    output = select.poll()
    output.register(1, select.POLLOUT)
    return any(event & select.POLLERR for _, event in output.poll(0))


class Current:
    """A task's `uptodate`: the same value as when its targets were made, and all that it wrote as it was left.

    What a task writes is its targets, and the paths that its `make` returned, if it did.
    """

    def __init__(
        self,
        value: tuple,
        given: Callable[[], str] | None,
        targets: list[str],
        fills: tuple[str, str] | None = None,
    ):
        self.value, self.given, self.targets, self.fills = value, given, targets, fills
        self._fingerprint = ""

    def configure_task(self, task) -> None:
        self.task = task
        task.value_savers.append(self.save)

    def __call__(self, task, values) -> bool:
        left = values.get("left", {})
        return (
            values.get("value") == self.fingerprint()
            and self._alone(left)
            and _as_left(left, self.targets)
        )

    def _alone(self, left: dict[str, list]) -> bool:
        return not self.fills or all(path in left for path in files_in(*self.fills))

    def fingerprint(self) -> str:
        """Taken once a run, before the action: what changes during it is seen by the next run."""
        self._fingerprint = self._fingerprint or self._take()
        return self._fingerprint

    def _take(self) -> str:
        given = self.given() if self.given else ""
        return hashlib.sha256(
            f"{code()}\0{self.value!r}\0{given}".encode(errors="surrogateescape")
        ).hexdigest()

    def save(self) -> dict[str, Any]:
        wrote = self.task.values.pop("wrote", [])
        return {
            "value": self.fingerprint(),
            "left": {path: _state(path) for path in [*self.targets, *wrote]},
        }


def _as_left(left: dict[str, list], targets: list[str]) -> bool:
    """Everything is as it was saved; bytes are read only where a status differs."""
    if not left.keys() >= set(targets):
        return False
    for path, before in left.items():
        if (
            not os.path.lexists(path)
            or _status(path) != before[:-1]
            and _state(path)[-1] != before[-1]
        ):
            return False
    return True


def _status(path: str) -> list[int]:
    now = os.lstat(path)
    return [now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino, now.st_mode]


def _state(path: str) -> list:
    """Status, then type, mode and digest as one word."""
    now = os.lstat(path)
    held = os.readlink(path) if stat.S_ISLNK(now.st_mode) else digest_file(path)
    return [*_status(path), f"{now.st_mode:o} {held}"]


class DependencyChecker(MD5Checker):
    """doit's check of a `file_dep`: sha256 and mode behind a status in nanoseconds, symlinks as themselves."""

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def info(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def check_modified(self, path: str, status: os.stat_result, state: list) -> bool:
        return _status(path) != list(state[:-1]) and _state(path)[-1] != state[-1]

    def get_state(self, path: str, before: list | None) -> list | None:
        now = _state(path)
        return None if before and list(before) == now else now


@lru_cache(maxsize=None)
def code() -> str:
    """Digest of the code that makes outputs: how is an input too. Where the checkout lies is not in it."""
    tasks = os.path.dirname(os.path.dirname(__file__))
    digest = hashlib.sha256()
    for path in sorted(files_in(tasks, "")):
        if path.endswith((".py", ".table")):
            name = os.path.relpath(path, tasks)
            with open(path, "rb") as file:
                digest.update(name.encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest()


def remove(paths: list[str]) -> None:
    """`doit clean`: what a rule made, whole trees too."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
