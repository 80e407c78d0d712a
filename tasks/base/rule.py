"""The shape of every task: what it is given decides whether it runs, and what it left is checked.

doit itself compares neither what an action is given nor what its targets hold, so a build that was
interrupted after an input changed, and is run again after that input was changed back, would keep
the wrong output. Each rule therefore saves the fingerprint of its values and the state of its
targets, and both must match for the task to be up to date.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import select
import shutil
import stat
import sys
from functools import lru_cache, partial
from typing import Any, Callable, Iterable, NamedTuple, Sequence

from doit.dependency import MD5Checker
from doit.exceptions import TaskError, TaskFailed

from ..core.base.errors import BadInput, Refused
from ..core.base.files import code_files, content, digest_file, files_in, read, write_atomic

Task = dict[str, Any]

COLLECT_AFTER = 500_000  # new values: trees have millions, none of them in a circle


class InputFailed(TaskFailed):
    """An input that cannot be built: the run ends with exit status 3."""


class Unread(TaskFailed):
    """Whoever read the output has gone: the run ends in silence, with SIGPIPE's exit status."""


class FoundChanges(TaskFailed):
    """`plan --detailed-exitcode` found changes: exit status 2, and nothing went wrong."""


class Reads(NamedTuple):
    """What decides, besides the values it is given, whether a rule runs.

    `given` speaks for inputs that are no files, such as a folder; it is asked only when the task
    is looked at.
    """

    files: Sequence[str] = ()
    given: Callable[[], str] | None = None


class Writes(NamedTuple):
    """What a rule makes.

    `leaves` are folders that it fills besides, for `doit clean`. `fills` is a folder, and what is
    below it of another rule, where nothing else may be: a file of a run that was killed would be
    taken for one of this.
    """

    files: Sequence[str] = ()
    leaves: Sequence[str] = ()
    fills: tuple[str, str] | None = None


NOTHING_READ, NO_FILES = Reads(), Writes()


class Aside(NamedTuple):
    """A value that decides nothing: a place, or what no output follows from."""

    value: Any
    fingerprint: str = ""


def rule(
    name: str | None,
    make: Callable[..., Any],
    *values: Any,
    reads: Reads = NOTHING_READ,
    writes: Writes = NO_FILES,
) -> Task:
    """A task by which `make(*values)` writes files where its values, or what it reads, are new.

    A value with a `fingerprint` says by that what of it decides; of another all of it does.
    """
    outputs = list(writes.files)
    task = {
        "actions": [(perform, [make, *values])],
        "file_dep": list(reads.files),
        "targets": outputs,
        "uptodate": [Current(values, reads.given, outputs, writes.fills)],
        "clean": [(remove, [[*outputs, *writes.leaves]])],
        "verbosity": 2,
    }
    return task if name is None else {"name": name, **task}


def command(
    make: Callable[..., Any],
    given: Callable[[], Any] | None = None,
    after: Iterable[str] = (),
    params: Iterable[dict] = (),
    knows: str = "",
) -> Task:
    """A task that is asked for by name and always runs: `make(given(), **params)`, after others.

    What it is given is taken when it runs: only to look at a command, as for its help, needs no
    site. `knows`: the variables of the command line that it has a use for, besides those that every
    task has. It has no title: what it prints is what was asked for, for scripts too.
    """
    return {
        "actions": [(perform, [partial(_with_given, make, given) if given else make])],
        "task_dep": list(after),
        "params": list(params),
        "uptodate": [False],
        "verbosity": 2,
        "meta": {"knows": knows.split()},
    }


def takes(words: Iterable[str], task: Task) -> Task:
    """A command that is told what to do by one of these words behind it, as `words`.

    doit would take the options that follow such a word for words, too.
    """
    ((run, [make]),) = task["actions"]
    told = partial(_with_options, make, task["params"])
    meta = {**task["meta"], "words": tuple(words)}
    return {**task, "actions": [(run, [told])], "pos_arg": "words", "meta": meta}


def _with_options(
    make: Callable[..., Any], options: Sequence[dict], words: Sequence[str], **params: Any
) -> Any:
    plain = [word for word in words if not word.startswith("--")]
    for word in words:
        given, _, value = word.partition("=")
        for option in options if word not in plain else ():
            if f"--{option['long']}".startswith(given):
                params[option["name"]] = option["type"] is bool or value
    return make(words=plain, **params)


def beside(task: Task) -> Task:
    """A command that reads and writes nothing that is built: it may run while another does."""
    return {**task, "meta": {**task["meta"], "beside": True}}


def _with_given(make: Callable[..., Any], given: Callable[[], Any], **params: Any) -> Any:
    return make(given(), **params)


def perform(make: Callable[..., Any], *values: Any, **params: Any) -> Any:
    """Run `make`, its complaints turned into doit's: the one seam between the core and a result."""
    _collect_seldom()
    try:
        result = make(*values, **params)
        sys.stdout.flush()
    except BadInput as error:
        return InputFailed(f"\n{error}")
    except Refused as error:
        return TaskFailed(str(error))
    except BrokenPipeError:
        if not _unread():  # another pipe, of a program that we run
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # nor is what is still to be flushed read by anybody
        return Unread("")
    except OSError as error:
        if error.errno in (None, errno.EBADF):  # no disk says that: it is a bug
            raise
        return TaskError(_told(error))
    if isinstance(result, (TaskFailed, TaskError)):
        return result
    return {"wrote": result} if result else None


def _collect_seldom() -> None:
    """Python's collector as it suits us: circles are rare here, and values many."""
    gc.freeze()  # the site and its nodes stay
    gc.set_threshold(COLLECT_AFTER)
    gc.enable()


def _told(error: OSError) -> str:
    """The file that a system call failed at, and why."""
    where = error.filename2 or error.filename
    if not isinstance(where, (str, bytes)) or not where:
        return str(error.strerror)
    return f"{os.fsdecode(where)}: {error.strerror}"


def _unread() -> bool:
    """Whether nobody reads what is printed any more."""
    output = select.poll()
    output.register(1, select.POLLOUT)
    return any(event & select.POLLERR for _, event in output.poll(0))


class Current:
    """A task's `uptodate`: its values are the same, and all that it wrote is as it was left.

    What a task writes is its targets, and the paths that its `make` returned, if it did.
    """

    def __init__(
        self,
        values: tuple,
        given: Callable[[], str] | None,
        targets: list[str],
        fills: tuple[str, str] | None = None,
    ):
        self.values, self.given = values, given
        self.targets, self.fills = targets, fills
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
        values = tuple(map(_fingerprint_of, self.values))
        given = self.given() if self.given else ""
        text = f"{code()}\0{values!r}\0{given}"
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def save(self) -> dict[str, Any]:
        wrote = self.task.values.pop("wrote", [])
        return {
            "value": self.fingerprint(),
            "left": {path: _state(path) for path in [*self.targets, *wrote]},
        }


def _fingerprint_of(value: Any) -> Any:
    """What of a value decides: its own word for it, or all of it."""
    return getattr(value, "fingerprint", value)


def _as_left(left: dict[str, list], targets: list[str]) -> bool:
    """Everything is as it was saved."""
    return left.keys() >= set(targets) and all(map(_is_as_it_was, left, left.values()))


def _is_as_it_was(path: str, before: list) -> bool:
    """Its bytes are read only where its status differs."""
    if not os.path.lexists(path):
        return False
    return _status(path) == before[:-1] or _state(path)[-1] == before[-1]


def _status(path: str) -> list[int]:
    now = os.lstat(path)
    return [now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino, now.st_mode]


def _state(path: str) -> list:
    """Status, then type, mode and digest as one word."""
    now = os.lstat(path)
    held = os.readlink(path) if stat.S_ISLNK(now.st_mode) else digest_file(path)
    return [*_status(path), f"{now.st_mode:o} {held}"]


class DependencyChecker(MD5Checker):
    """doit's check of a `file_dep`: sha256 and mode behind a status in nanoseconds.

    Symlinks are looked at themselves.
    """

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def info(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def check_modified(self, path: str, status: os.stat_result, state: list) -> bool:
        return _status(path) != list(state[:-1]) and _state(path)[-1] != state[-1]

    def get_state(self, path: str, before: list | None) -> list | None:
        now = _state(path)
        return None if before and list(before) == now else now


TASKS = os.path.dirname(os.path.dirname(__file__))
KNOWN_CODE = os.path.join(TASKS, "__pycache__", "code")  # beside what Python knows of it


@lru_cache(maxsize=None)
def code() -> str:
    """Digest of the code that makes outputs, wherever the checkout lies: how is an input too.

    It is read where the status of a file is another than when it was read last.
    """
    paths = sorted(code_files(TASKS))
    statuses = repr([(path, _status(path)) for path in paths])
    status = hashlib.sha256(statuses.encode(errors="surrogateescape")).hexdigest()
    known = (content(KNOWN_CODE) or b"").decode(errors="replace").split()
    if known[:1] == [status] and len(known) == 2:
        return known[1]

    digest = hashlib.sha256()
    for path in paths:
        name = path.removeprefix(TASKS).encode(errors="surrogateescape")
        digest.update(b"%b\0%b\0" % (name, read(path)))
    found = digest.hexdigest()
    with contextlib.suppress(OSError):  # of somebody else
        write_atomic(KNOWN_CODE, f"{status} {found}\n".encode())
    return found


def remove(paths: list[str]) -> None:
    """`doit clean`: what a rule made, whole trees too."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
