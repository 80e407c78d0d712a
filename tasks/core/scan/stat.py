"""Looks: what the names of a published root looked like when it was complete, by which a later change is seen."""

from __future__ import annotations

import marshal
import os
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from stat import S_ISDIR

from ..tree.diff import deep_order
from ..tree.model import DIR, Tree, parent
from .folder import Folder

Stat = tuple[int, ...]
Stats = dict[
    bytes, tuple[Stat, dict[bytes, Stat]]
]  # folder -> its own, and of what is in it that is no folder
ChangedPath = tuple[bytes, "os.stat_result | None"]

_FORMAT = "plugnode looks 1"

# A later release's links to a file move its ctime; of a folder it tells of every change.
stat_of_name = attrgetter("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_rdev")
stat_of_folder = attrgetter("st_mode", "st_uid", "st_gid", "st_ctime_ns")
UNKNOWN: Stat = ()


def dump_stats(looks: Stats, inodes: dict[bytes, int]) -> bytes:
    """With which names share a file, for no manifest says that."""
    return marshal.dumps((_FORMAT, looks, inodes))


def parse_stats(data: bytes) -> tuple[Stats, dict[bytes, int]]:
    """What `dump` wrote; both empty where it is damaged or of another form."""
    try:
        form, looks, inodes = marshal.loads(data)
        sound = form == _FORMAT and _is_sound(looks) and all(map(_is_shared, inodes.items()))
    except (
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
        RecursionError,
    ):
        return {}, {}
    return (looks, inodes) if sound else ({}, {})


def _is_sound(looks: Stats) -> bool:
    """Is that of the form that we write, and every folder in one that is there?"""
    for path, (own, names) in looks.items():
        if (
            type(path) is not bytes
            or path
            and parent(path) not in looks
            or not _are_looks([own], 4)
        ):
            return False
        if (
            not _all_are(bytes, names)
            or b"/" in b"".join(names)
            or not _are_looks(names.values(), 6)
        ):
            return False
    return b"" in looks


def _are_looks(looks: Collection[Stat], length: int) -> bool:
    whole = _all_are(tuple, looks) and set(map(len, looks)) <= {length}
    return whole and _all_are(int, chain.from_iterable(looks))


def _all_are(kind: type, values: Iterable[object]) -> bool:
    """Asked of many thousands at once."""
    return set(map(type, values)) <= {kind}


def _is_shared(pair: tuple[object, object]) -> bool:
    return type(pair[0]) is bytes and type(pair[1]) is int


def unknown_stats(tree: Tree) -> Stats:
    """A tree's names, with looks that nothing has."""
    looks: Stats = {
        path: (UNKNOWN, {})
        for path in deep_order(p for p, entry in tree.items() if entry.type == DIR)
    }
    for path, entry in tree.items():
        if entry.type != DIR:
            above, _, name = path.rpartition(b"/")
            looks[above][1][name] = UNKNOWN
    return looks


def changed_paths(looks: Stats, root: str) -> Iterator[ChangedPath]:
    """Every path that does not look so, with its status; None where it is not there. Folder by folder.

    A folder that looks as it did is not listed: no name came or went. Of one that is gone, only itself is told.
    """
    top, lost = _status(None, os.fsencode(root)), set[bytes]()
    if top is None or not S_ISDIR(top.st_mode):
        yield b"", top
        return
    with Folder(root) as place:
        for path, (own, names) in looks.items():
            try:
                fd = place.at(path)
            except (FileNotFoundError, NotADirectoryError):
                if parent(path) not in lost:
                    yield path, _status(place.at(parent(path)), path.rpartition(b"/")[2])
                lost.add(path)
                continue
            status, start = os.fstat(fd), path + b"/" if path else b""
            if stat_of_folder(status) != own:
                yield path, status
                came = (
                    name for name in map(os.fsencode, os.listdir(fd)) if start + name not in looks
                )
                names = dict.fromkeys(sorted(came), UNKNOWN) | names
            for name, look in names.items():
                now = _status(fd, name)
                if now is None or stat_of_name(now) != look:
                    yield start + name, now


def _status(folder: int | None, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None


def note_stat(looks: Stats, path: bytes, status: os.stat_result) -> None:
    """Note a path as it looks now, after its folder."""
    if S_ISDIR(status.st_mode):
        looks[path] = stat_of_folder(status), looks[path][1] if path in looks else {}
    else:
        above, _, name = path.rpartition(b"/")
        looks[above][1][name] = stat_of_name(status)


def drop_stat(looks: Stats, path: bytes) -> None:
    """Forget a path that is not there any more, after what is in it."""
    above, _, name = path.rpartition(b"/")
    looks.pop(path, None)
    if above in looks:
        looks[above][1].pop(name, None)
