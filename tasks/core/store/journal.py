"""The journal: who deployed what, when, and how it ended.

One JSON object a line, appended and flushed, never rewritten.
"""

from __future__ import annotations

import calendar
import getpass
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..base import git
from ..base.files import content, naming, sync_folder

Record = dict[str, Any]
STARTED, DONE = "started", "done"
# What was done; to upgrade nodes changes nothing on the server
DEPLOY, ROLLBACK, PRUNE, REPAIR, UPGRADE = "deploy", "rollback", "prune", "repair", "upgrade"
UNKNOWN = "unknown"  # the commit of a repository that is somebody else's
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_DSYNC
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def read_journal(path: str) -> list[Record]:
    """Every record, the oldest first.

    A line that a power cut tore, or that is none of ours, is left out.
    """
    data = content(path) or b""
    return list(_records(data.splitlines()))


def _records(lines: Iterable[bytes]) -> Iterator[Record]:
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and _is_sound(record):
            yield record


def _is_sound(record: Record) -> bool:
    """Is every value that is looked at anywhere of the kind that we write?"""
    try:
        seconds(record["time"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    lists = [record.get(name, []) for name in ("pinned", "removed")]
    named = [record.get(name, {}) for name in ("releases", "left")]
    if not all(isinstance(value, list) for value in lists):
        return False
    if not all(isinstance(value, dict) for value in named):
        return False
    words = ("who", "host", "git", "action", "result", "nodes")
    texts = [record.get(name, "") for name in words]
    for values in (*lists, *(value.values() for value in named)):
        texts += values
    return all(isinstance(text, str) for text in texts)


def append(path: str, record: Record) -> None:
    """Add a record, by one write that is on disk when it returns: it is there, or it is not."""
    new = not os.path.exists(path)
    text = json.dumps({"time": now(), **record}, sort_keys=True)
    line = text.encode() + b"\n"
    fd = os.open(path, _APPEND, 0o644)
    try:
        with naming(path):
            os.fchmod(fd, 0o644)
            _write(fd, b"\n" + line if _torn(fd) else line)
    finally:
        os.close(fd)
    if new:
        sync_folder(os.path.dirname(path))


def _write(fd: int, line: bytes) -> None:
    """One write; where the disk takes a part of it, the rest says why."""
    while line:
        line = line[os.write(fd, line) :]


def _torn(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"


def now() -> str:
    """UTC, to the second: `2026-11-23T05:46:01Z`."""
    return text(time.time())


def text(seconds: float) -> str:
    return time.strftime(_FORMAT, time.gmtime(seconds))


def seconds(text: str) -> float:
    """A record's time as seconds since 1970."""
    return calendar.timegm(time.strptime(text, _FORMAT))


def commit(folder: str) -> Record:
    """The commit of a checkout, `git`, and when it was `committed`; nothing where there is none.

    It is `unknown` where git looks at no repository of that owner.
    """
    try:
        told = git.ask(folder, "log", "-1", "--format=%H %ct")
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if told.returncode:
        return {"git": UNKNOWN} if git.NOT_OURS in told.stderr else {}
    id, committed = told.stdout.split()
    return {"git": id, "committed": text(int(committed))}


def author(folder: str, commit: Record) -> Record:
    """Who is at work, and on which commit of the git checkout `folder`."""
    return {
        "who": _person(),
        "host": os.uname().nodename,
        **commit,
        **_dirty(folder, commit),
    }


def revision(folder: str, commit: Record) -> Record:
    """What of a checkout tells whether its commit is older than another one.

    The commit, those known there that were made on top of it (`later`), and those that it was made
    on last (`earlier`). Nothing where none is known.
    """
    if "committed" not in commit:
        return {}
    id = commit["git"]
    try:
        later = git.ask(folder, "rev-list", "--ancestry-path", "--all", f"^{id}").stdout
        earlier = git.ask(folder, "rev-list", "--max-count=100", id).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {**commit, "later": later.split(), "earlier": earlier.split()}


def newest_deploy(records: Iterable[Record]) -> Record:
    """The last deploy that ended, of a commit that is known; nothing where there is none."""
    newest = Record()
    for record in records:
        known = record.get("git", UNKNOWN) != UNKNOWN
        if known and record.get("action") == DEPLOY and record.get("result") == DONE:
            newest = record
    return newest


def done_plan(records: Sequence[Record]) -> str:
    """The id of the plan that was done last; "" where the last work was something else."""
    if not records or begun(records):
        return ""
    return str(records[-1].get("plan", ""))


def is_older(revision: Record, deployed: Record) -> bool:
    """Is a checkout's commit older than the one that was deployed?

    It is where that was made on top of it; and where the checkout does not know that one, as one
    that was not brought up to date, by the times at which they were committed.
    """
    if "git" not in revision or "git" not in deployed:
        return False
    if deployed["git"] in revision["earlier"]:
        return False
    later = str(deployed.get("committed", ""))
    return deployed["git"] in revision["later"] or later > revision["committed"]


def author_named(author: Record) -> str:
    """Who that is, in front of a process: `alice from host1, `."""
    return f"{author['who']} from {author.get('host', 'somewhere')}, " if "who" in author else ""


def _person() -> str:
    """The person behind sudo or a CI job, not `root`."""
    for name in ("SUDO_USER", "GITLAB_USER_LOGIN", "GITHUB_ACTOR"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _dirty(folder: str, commit: Record) -> Record:
    """Whether a checkout's files are others than those of its commit."""
    if "committed" not in commit:
        return {}
    try:
        return {"dirty": git.is_dirty(folder)}
    except (OSError, subprocess.TimeoutExpired):
        return {}


def history(records: Iterable[Record], image: str) -> list[str]:
    """The releases that `image` went through, the oldest first and the present one last.

    A rollback goes back to where its release was last, so that a second one goes further back and
    not forth again.
    """
    past: list[str] = []
    for record, release in _of_image(records, image):
        if is_rollback(record) and release in past:
            later = past[::-1].index(release)
            past = past[: len(past) - later]
        elif past[-1:] != [release]:
            past.append(release)
    return past


def left(records: Iterable[Record], image: str) -> dict[str, Record]:
    """The releases that `image` was taken away from -> the rollback that did it.

    Those before the last deploy that led it on are not among them.
    """
    found: dict[str, Record] = {}
    present = ""
    for record, release in _of_image(records, image):
        if is_rollback(record):
            gone = record.get("left", {})
            found[gone.get(image, present)] = record
        elif release != present:
            found = {}
        found.pop(release, None)
        present = release
    return found


def _of_image(records: Iterable[Record], image: str) -> Iterator[tuple[Record, str]]:
    """The records that led an image to a release.

    A rollback that did not end counts, too: the next deploy ends it.
    """
    for record in records:
        release = record.get("releases", {}).get(image)
        if release is None:
            continue
        if record.get("result") == DONE or is_rollback(record):
            yield record, release


def begun(records: Sequence[Record]) -> Record:
    """What the last work on the server was to do, where it did not end; else nothing."""
    work = [record for record in records if record.get("action") != UPGRADE]
    if not work or work[-1].get("result") == DONE:
        return {}
    return work[-1]


def unfinished(records: Sequence[Record]) -> bool:
    """Did the last work not end, or the last deploy, whatever came after it?"""
    deploys = [record for record in records if record.get("action") == DEPLOY]
    return bool(begun(records) or begun(deploys))


def is_rollback(record: Record) -> bool:
    return record.get("action") == ROLLBACK
