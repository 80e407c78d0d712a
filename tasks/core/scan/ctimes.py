"""When each file of a server's releases last changed while it was known to be what its name says.

A ctime cannot be set by hand: whatever changes bytes, owner or attributes of a file moves it. So
does each link to it and each name that goes, in any release; so it is noted for the file, by its
inode, and shared by all releases that have it.
"""

from __future__ import annotations

import marshal
import os

from ..base.files import content, write_atomic

Ctimes = dict[int, int]  # inode -> ctime in ns

_FORMAT = "plugnode ctimes 1"
_DAMAGED = (
    EOFError,
    ValueError,
    TypeError,
    MemoryError,
    OverflowError,
    RecursionError,
)


def read_ctimes(path: str) -> Ctimes:
    """Read what `write_ctimes` wrote; nothing where that cannot be: it only saves reading files."""
    try:
        form, ctimes = marshal.loads(content(path) or b"")
    except (OSError, *_DAMAGED):
        return {}
    is_sound = form == _FORMAT and type(ctimes) is dict
    return ctimes if is_sound and _all_are_ints(ctimes) else {}


def _all_are_ints(ctimes: Ctimes) -> bool:
    kinds = {*map(type, ctimes), *map(type, ctimes.values())}
    return kinds <= {int}


def write_ctimes(path: str, ctimes: Ctimes) -> None:
    write_atomic(path, marshal.dumps((_FORMAT, ctimes)))


def is_known(ctimes: Ctimes, status: os.stat_result) -> bool:
    """Has a file not changed since it was known?"""
    return ctimes.get(status.st_ino) == status.st_ctime_ns


def note_ctime(ctimes: Ctimes, status: os.stat_result) -> None:
    """Note a file that is known to be what its name says."""
    ctimes[status.st_ino] = status.st_ctime_ns


def unlink_noted(ctimes: Ctimes, path: bytes) -> None:
    """Remove a name; a file that was known stays so under its other names."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        before = os.fstat(fd)
        os.unlink(path)
        after = os.fstat(fd)
    finally:
        os.close(fd)
    if after.st_nlink and is_known(ctimes, before):
        note_ctime(ctimes, after)
    else:
        ctimes.pop(before.st_ino, None)
