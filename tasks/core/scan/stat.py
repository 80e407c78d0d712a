"""The status of every name of a published root when it was complete: it shows a later change."""

from __future__ import annotations

import marshal
import os
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from stat import S_ISDIR

from ..tree.diff import deep_order
from ..tree.model import DIR, Tree, parent
from .ctimes import Ctimes, is_known
from .folder import Folder

Stat = tuple[int, ...]
# folder -> its own, and of all in it that is no folder
Stats = dict[bytes, tuple[Stat, dict[bytes, Stat]]]
ChangedPath = tuple[bytes, "os.stat_result | None"]

_FORMAT = "plugnode looks 1"
_DAMAGED = (
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
    RecursionError,
)

# A later release's links to a file move its ctime, which `ctimes` knows for all of them; of a
# folder it tells of every change.
stat_of_name = attrgetter("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_rdev")
stat_of_folder = attrgetter("st_mode", "st_uid", "st_gid", "st_ctime_ns")
UNKNOWN: Stat = ()


def dump_stats(stats: Stats, inodes: dict[bytes, int]) -> bytes:
    """With which names share a file, for no manifest says that."""
    return marshal.dumps((_FORMAT, stats, inodes))


def parse_stats(data: bytes) -> tuple[Stats, dict[bytes, int]]:
    """Read what `dump_stats` wrote; both are empty where it is damaged or of another form."""
    try:
        form, stats, inodes = marshal.loads(data)
        is_sound = form == _FORMAT and _is_sound(stats) and all(map(_is_shared, inodes.items()))
    except _DAMAGED:
        return {}, {}
    return (stats, inodes) if is_sound else ({}, {})


def _is_sound(stats: Stats) -> bool:
    """Is that of the form that we write, and every folder in one that is there?"""
    for path, (own, names) in stats.items():
        if type(path) is not bytes or (path and parent(path) not in stats):
            return False
        if not _are_stats([own], 4) or not _are_stats(names.values(), 6):
            return False
        if not _all_are(bytes, names) or b"/" in b"".join(names):
            return False
    return b"" in stats


def _are_stats(stats: Collection[Stat], length: int) -> bool:
    whole = _all_are(tuple, stats) and set(map(len, stats)) <= {length}
    return whole and _all_are(int, chain.from_iterable(stats))


def _all_are(kind: type, values: Iterable[object]) -> bool:
    """Asked of many thousands at once."""
    return set(map(type, values)) <= {kind}


def _is_shared(pair: tuple[object, object]) -> bool:
    return type(pair[0]) is bytes and type(pair[1]) is int


def unknown_stats(tree: Tree) -> Stats:
    """Give a tree's names, with a status that nothing has."""
    folders = [path for path, entry in tree.items() if entry.type == DIR]
    stats: Stats = {path: (UNKNOWN, {}) for path in deep_order(folders)}
    for path, entry in tree.items():
        if entry.type != DIR:
            above, _, name = path.rpartition(b"/")
            stats[above][1][name] = UNKNOWN
    return stats


def is_moved(path: bytes, own: Stat, status: os.stat_result, moved: Collection[bytes]) -> bool:
    """Is a folder not where it was, perhaps, by its status or because one above it is `moved`?

    What is in it has the ctime that it had. A root is moved to its place when it is complete.
    """
    return bool(path) and (parent(path) in moved or stat_of_folder(status) != own)


def changed_paths(stats: Stats, root: str, ctimes: Ctimes) -> Iterator[ChangedPath]:
    """Give every path that is not known to be as it was, with its status now; None without one.

    Folder by folder. One that is as it was is not listed: no name came or went. Of one that is
    gone, only itself is told.
    """
    top = _status(None, os.fsencode(root))
    if top is None or not S_ISDIR(top.st_mode):
        yield b"", top
        return
    lost: set[bytes] = set()
    moved: set[bytes] = set()
    with Folder(root) as folder:
        for path in stats:
            try:
                fd = folder.at(path)
            except (FileNotFoundError, NotADirectoryError):
                if parent(path) not in lost:
                    yield path, _status(folder.at(parent(path)), path.rpartition(b"/")[2])
                lost.add(path)
            else:
                if is_moved(path, stats[path][0], os.fstat(fd), moved):
                    moved.add(path)
                yield from _changed_in(fd, path, stats, {} if path in moved else ctimes)


def _changed_in(fd: int, path: bytes, stats: Stats, ctimes: Ctimes) -> Iterator[ChangedPath]:
    """Of one folder: itself, and what in it is no folder that is known."""
    own, names = stats[path]
    start = path + b"/" if path else b""
    status = os.fstat(fd)
    if stat_of_folder(status) != own:
        yield path, status
        listed = sorted(map(os.fsencode, os.listdir(fd)))
        came = [name for name in listed if start + name not in stats]
        names = dict.fromkeys(came, UNKNOWN) | names
    for name, before in names.items():
        now = _status(fd, name)
        if now is None or stat_of_name(now) != before or not is_known(ctimes, now):
            yield start + name, now


def _status(folder: int | None, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None


def note_stat(stats: Stats, path: bytes, status: os.stat_result) -> None:
    """Note a path as it is now, after its folder."""
    if S_ISDIR(status.st_mode):
        names = stats[path][1] if path in stats else {}
        stats[path] = stat_of_folder(status), names
    else:
        above, _, name = path.rpartition(b"/")
        stats[above][1][name] = stat_of_name(status)


def drop_stat(stats: Stats, path: bytes) -> None:
    """Forget a path that is not there any more, after what is in it."""
    above, _, name = path.rpartition(b"/")
    stats.pop(path, None)
    if above in stats:
        stats[above][1].pop(name, None)
