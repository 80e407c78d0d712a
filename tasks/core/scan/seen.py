"""Seen: the status of a published root as it is written down, and as it is looked at again.

Releases share files. In a folder that nobody touched each name leads to the file that it led to; so
where a name was found to lead to a file that is what it was, that is so of the same file in the
same folder of every release.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import marshal
import os
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from itertools import chain
from operator import itemgetter

from ..tree.model import parent
from .ctimes import Ctimes
from .stat import ChangedPath, Stat, Stats, changed_by_folder, is_moved

Names = dict[bytes, Stat]  # of a folder, without those that are folders
# folder -> its names, as they were written down, that lead to files found to be what they were
Sound = dict[bytes, bytes]
Inodes = dict[bytes, int]  # names that share a file -> a number for it

_FORMAT = b"plugnode looks 2\n"  # then a sha256, and what it is of
_EARLIER = "plugnode looks 1"  # no inodes
_START = len(_FORMAT) + hashlib.sha256().digest_size
# No such name; or what is above it is no folder any more, but a link in a circle, or a long one
_NONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_DAMAGED = (
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
    RecursionError,
)


def dump_seen(stats: Stats, inodes: Inodes) -> bytes:
    """What `SeenRoot` reads; with which names share a file, for no manifest says that."""
    folders = {path: (own, _dump(names)) for path, (own, names) in stats.items()}
    whole = all(map(_knows_files, stats.values()))
    data = marshal.dumps((folders, inodes, whole))
    return _FORMAT + hashlib.sha256(data).digest() + data


def _dump(names: Names) -> bytes:
    return marshal.dumps(names, 2)  # by later versions equal values can become other bytes


def _knows_files(folder: tuple[Stat, Names]) -> bool:
    return all(map(itemgetter(-1), folder[1].values()))


class SeenRoot:
    """What was written of a root; all is empty where that is damaged, for it only saves work.

    What `is_sound` is what was written: its digest is not asked.
    """

    def __init__(self, data: bytes, is_sound: bool = False):
        # Each after the one that it is in: its own, and its names, which are seldom asked for
        self.folders: dict[bytes, tuple[Stat, bytes]] = {}
        self.inodes: Inodes = {}
        self.knows_files = False  # is it known to which files all names lead?
        if data.startswith(_FORMAT):
            self._take(data, is_sound)
        elif _EARLIER.encode() in data[:_START]:
            with contextlib.suppress(*_DAMAGED):
                self._take_earlier(*marshal.loads(data))

    def _take(self, whole: bytes, is_sound: bool) -> None:
        digest, data = whole[len(_FORMAT) : _START], memoryview(whole)[_START:]
        with contextlib.suppress(*_DAMAGED):
            if is_sound or hashlib.sha256(data).digest() == digest:
                self.folders, self.inodes, self.knows_files = marshal.loads(data)

    def _take_earlier(self, form: str, stats: Stats, inodes: Inodes) -> None:
        is_whole = _is_sound(stats) and all(map(_is_shared, inodes.items()))
        if form == _EARLIER and is_whole:
            self.folders = {path: _as_now(*folder) for path, folder in stats.items()}
            self.inodes = inodes

    @cached_property
    def stats(self) -> Stats:
        return {path: (own, marshal.loads(names)) for path, (own, names) in self.folders.items()}


def _as_now(own: Stat, names: Names) -> tuple[Stat, bytes]:
    return own, _dump({name: (*stat, 0) for name, stat in names.items()})


# --- is what an earlier version wrote, without a digest, of the form that it was?


def _is_sound(stats: Stats) -> bool:
    """And is every folder in one that is there?"""
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


# --- looked at again


def changed_since(
    seen: SeenRoot,
    root: str,
    ctimes: Ctimes,
    sound: Sound,
) -> list[ChangedPath]:
    """Give every path that is not known to be as it was, as `changed_paths` does.

    `sound` is of this root or of other ones of this server. What it has is not looked at again, and
    more comes to it.
    """
    doubtful = dict(_doubtful(seen, root, sound if seen.knows_files else {}))
    found: list[ChangedPath] = []
    for path, changed in changed_by_folder(doubtful, root, ctimes, seen.folders):
        found += changed
        if seen.knows_files and not changed:
            sound[path] = seen.folders[path][1]
    return found


def _doubtful(
    seen: SeenRoot,
    root: str,
    sound: Sound,
) -> Iterator[tuple[bytes, tuple[Stat, Names]]]:
    """Give the folders that have to be looked into, as `Stats` has them, with the names to look at.

    The root and all in it, too: it was moved to its place.
    """
    try:
        fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        yield b"", seen.stats[b""]
        return
    moved = set[bytes]()
    try:
        for path, (own, names) in seen.folders.items():
            status = _status(fd, path)
            if status is None or is_moved(path, own, status, moved):
                moved.add(path)
            if not path or path in moved:
                yield path, (own, marshal.loads(names))
            elif names != sound.get(path):
                yield path, (own, _unlike(names, sound.get(path)))
    finally:
        os.close(fd)


def _unlike(names: bytes, sound: bytes | None) -> Names:
    """Those that are not known to lead to a file that is what it was."""
    found: Names = marshal.loads(names)
    if sound is None:
        return found
    known: Names = marshal.loads(sound)
    return {name: stat for name, stat in found.items() if known.get(name) != stat}


def _status(root: int, path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path or b".", dir_fd=root)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
