"""The status of every name of a published root when it was complete: it shows a later change."""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Iterator
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

# A later release's links to a file move its ctime, which `ctimes` knows for all of them; of a
# folder it tells of every change.
_OF_NAME = ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_rdev")
_looks = attrgetter(*_OF_NAME)
stat_of_name = attrgetter(*_OF_NAME, "st_ino")  # 0: not known, by an earlier version's record
stat_of_folder = attrgetter("st_mode", "st_uid", "st_gid", "st_ctime_ns")
UNKNOWN: Stat = ()


def looks_as(before: Stat, status: os.stat_result) -> bool:
    """Does a name look as it did? It may be another file: a copy that was put in its place."""
    return _looks(status) == before[: len(_OF_NAME)]


def is_known_as(before: Stat, status: os.stat_result, ctimes: Ctimes) -> bool:
    """Does a name lead to the file that it led to, and is that known to be what it was?"""
    return before[-1] in (0, status.st_ino) and is_known(ctimes, status)


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
    is_as_it_was = stat_of_folder(status) == own and not (moved and parent(path) in moved)
    return bool(path) and not is_as_it_was


def changed_paths(stats: Stats, root: str, ctimes: Ctimes) -> Iterator[ChangedPath]:
    """Give every path that is not known to be as it was, with its status now; None without one.

    Folder by folder. One that is as it was is not listed: no name came or went. Of one that is
    gone, only itself is told.
    """
    for _, found in changed_by_folder(stats, root, ctimes, stats):
        yield from found


def changed_by_folder(
    stats: Stats, root: str, ctimes: Ctimes, folders: Container[bytes]
) -> Iterator[tuple[bytes, list[ChangedPath]]]:
    """Give the same by folder, each after the one that it is in; of some it is nothing.

    `folders`: all that the root has, of which `stats` may be a part.
    """
    top = _status(None, os.fsencode(root))
    if not _is_folder(top):
        yield b"", [(b"", top)]
        return
    lost, moved = set[bytes](), set[bytes]()
    with Folder(root) as folder:
        for path, looks in stats.items():
            try:
                fd = folder.at(path)
            except (FileNotFoundError, NotADirectoryError):
                if parent(path) not in lost:
                    yield _gone(folder, path)
                lost.add(path)
                continue
            if is_moved(path, looks[0], os.fstat(fd), moved):
                moved.add(path)
            known = {} if path in moved else ctimes
            yield path, list(_changed_in(fd, path, looks, folders, known))


def _is_folder(status: os.stat_result | None) -> bool:
    return status is not None and S_ISDIR(status.st_mode)


def _gone(folder: Folder, path: bytes) -> tuple[bytes, list[ChangedPath]]:
    above, _, name = path.rpartition(b"/")
    return path, [(path, _status(folder.at(above), name))]


def _changed_in(
    fd: int,
    path: bytes,
    looks: tuple[Stat, dict[bytes, Stat]],
    folders: Container[bytes],
    ctimes: Ctimes,
) -> Iterator[ChangedPath]:
    """Of one folder: itself, and what in it is no folder that is known."""
    own, names = looks
    start = path + b"/" if path else b""
    status = os.fstat(fd)
    if stat_of_folder(status) != own:
        yield path, status
        listed = sorted(map(os.fsencode, os.listdir(fd)))
        came = [name for name in listed if start + name not in folders]
        names = dict.fromkeys(came, UNKNOWN) | names
    for name, before in names.items():
        now = _status(fd, name)
        if now is None or not (looks_as(before, now) and is_known_as(before, now, ctimes)):
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
