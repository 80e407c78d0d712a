"""Journal: who deployed what, when, and how it ended. One JSON object a line, appended and flushed, never rewritten."""

from __future__ import annotations

import calendar
import getpass
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import Any

from . import git
from .files import sync_folder

Record = dict[str, Any]
STARTED, DONE = "started", "done"
UNKNOWN = "unknown"  # the commit of a repository that is somebody else's
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def read(path: str) -> list[Record]:
    """Every record, the oldest first. A line that a power cut tore, or that is none of ours, is left out."""
    try:
        with open(path, "rb") as file:
            return list(_records(file))
    except FileNotFoundError:
        return []


def _records(lines: Iterable[bytes]) -> Iterator[Record]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(named := record.get("releases", {}), dict):
            if all(isinstance(id, str) for id in named.values()):
                yield record


def append(path: str, record: Record) -> None:
    """Add a record; it is on disk when this returns."""
    new = not os.path.exists(path)
    line = json.dumps({"time": now(), **record}, sort_keys=True).encode() + b"\n"
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, 0o644)
        os.write(fd, b"\n" + line if _torn(fd) else line)
        os.fsync(fd)
    finally:
        os.close(fd)
    if new:
        sync_folder(os.path.dirname(path))


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


def author(folder: str) -> Record:
    """Who is at work, and on which revision of the git checkout `folder`; nothing of git where there is none."""
    return {"who": _person(), "host": socket.gethostname(), **_revision(folder)}


def named(author: Record) -> str:
    """Who that is, in front of a process: `alice from host1, `."""
    return f"{author['who']} from {author['host']}, " if "who" in author else ""


def _person() -> str:
    """The person behind sudo or a CI job, not `root`."""
    for name in ("SUDO_USER", "GITLAB_USER_LOGIN", "GITHUB_ACTOR"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _revision(folder: str) -> Record:
    """Its commit, `unknown` where git looks at no repository of that owner; nothing where there is none."""
    try:
        head = git.ask(folder, "rev-parse", "HEAD")
        state = git.ask(folder, "status", "--porcelain", "--ignore-submodules=dirty")
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if head.returncode:
        return {"git": UNKNOWN} if git.NOT_OURS in head.stderr else {}
    return {"git": head.stdout.strip(), "dirty": bool(state.stdout)}


def history(records: Iterable[Record], image: str) -> list[str]:
    """The releases that `image` went through, the oldest first and the present one last.

    A rollback goes back to where its release was last, so that a second one goes further back and not forth again.
    """
    past: list[str] = []
    for record in records:
        release = record.get("releases", {}).get(image)
        if release is None or record.get("result") != DONE:
            continue
        if record.get("action") == "rollback" and release in past:
            past = past[: len(past) - past[::-1].index(release)]
        elif past[-1:] != [release]:
            past.append(release)
    return past
