"""Walking a real folder: every name's status, and none of its bytes.

This is all that a run with nothing to do pays for a reference that the build does not own, so it is
written for speed: one lstat a name, one tuple, one hash a folder; a folder that is as the index
knows it is not even listed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from stat import S_ISDIR
from typing import NamedTuple

Skip = Callable[[bytes, bool], bool]  # (path, is it a folder) -> is it left out
# All that tells of a change: (newest time, mode, uid, gid, size, mtime, inode).
Row = tuple[int, ...]
# folder -> hash of its row; its names; which are folders; hash of their rows, 0 where not all is
# known of them
Known = dict[bytes, tuple[int, list[bytes], list[int], int]]
Trouble = Callable[[bytes, OSError], None]
Status = Callable[[os.stat_result], Row]
Statuses = list[os.stat_result]
Folders = list[tuple[bytes, os.stat_result]]
_Inside = tuple[
    list[bytes], Statuses, list[int], int
]  # and the hash that the index has of its rows

# ctime tells of every change of bytes or status, and nobody can set it. But link(2) and unlink(2)
# of another name move it too, so for a snapshot that the build hard-links from, the time of the
# bytes must do.
ROW = attrgetter("st_ctime_ns", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ino")
OWNED_ROW = attrgetter(
    "st_mtime_ns", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ino"
)

_PATH_MAX = 4096  # bytes, the last of them 0: of Linux
_TICK = 20_000_000  # ns: a kernel's clock for inodes lags behind by a jiffy, 10 ms at most
_SECOND = 1_000_000_000


class Listing(NamedTuple):
    """One folder: `path` below the root, without a leading slash."""

    path: bytes
    device: int
    row: Row
    names: list[bytes]  # sorted, without what is skipped
    rows: list[Row]
    places: list[int]  # which of the names are folders
    mounts: list[bytes]  # names on another file system, not descended
    number: int  # hash of the rows


class Walk:
    """A walk of `root` that stays on its file system, but for the paths in `also` (as rsync -x).

    It works from inside each folder: that costs less than a descriptor of each and paths of each
    name. Somebody who puts a symlink in a folder's place meanwhile can lead it elsewhere, but to no
    more than names and statuses: who reads a file opens its folder by descriptors, where it fails.
    """

    def __init__(
        self,
        root: bytes,
        known: Known,
        skip: Skip | None,
        also: tuple[bytes, ...],
        row: Status = ROW,
    ):
        self.root = os.path.abspath(root)
        self.known = known
        self.skip = skip
        self.also = also
        self.row = row
        self.trouble: Trouble = _raise
        self.start = time.time_ns()
        self.fresh: list[int] = []  # times too near to the walk's start to tell a change from
        self.digest = hashlib.blake2b(digest_size=20)  # over the status of everything

    def __iter__(self) -> Iterator[Listing | bytes]:
        """Give every folder, parents before children, in the order of names.

        A path alone where it is as the index knows.
        """
        left: Folders = [(b"", os.stat(self.root))]
        home = os.open(".", os.O_PATH | os.O_CLOEXEC)
        try:
            while left:
                path, status = left.pop()
                try:
                    folder, below = self._visit(path, status, home)
                except OSError as error:
                    if not path:
                        raise
                    self.trouble(path, error)
                else:
                    left += below
                    yield folder
        finally:
            os.close(home)

    def _visit(
        self, path: bytes, status: os.stat_result, home: int
    ) -> tuple[Listing | bytes, Folders]:
        """Give a folder, and those in it, the last one first.

        Its names need not go into the digest: none comes, goes or changes without the folder's own
        ctime. Numbers go in as hash(): 61 bits that no seed changes, at a tenth of a digest's cost.
        """
        row = self.row(status)
        names, statuses, places, number = self._inside(path, row, home)
        rows = list(map(self.row, statuses))
        below = _below(path, names, statuses, places)
        mounts = self._mounts(below, status.st_dev)
        if mounts:
            below = [item for item in below if os.path.basename(item[0]) not in mounts]
            _blur(names, rows, mounts)

        seen = hash((() if path else row, *rows))
        self.digest.update(b"%d " % seen)
        if seen == number:
            return path, below
        self._note_fresh(rows)
        return Listing(path, status.st_dev, row, names, rows, places, mounts, seen), below

    def _inside(self, path: bytes, row: Row, home: int) -> _Inside:
        """By the index where the folder is as it knows it; else it is listed."""
        stamp, names, places, number = self.known.get(path) or (0, [], [], 0)
        try:
            self._enter(path)
            statuses = _statuses(names) if stamp == hash(row) else None
            if statuses is None:
                return *self._list(path), 0
            return names, statuses, places, number
        finally:
            os.fchdir(home)

    def _mounts(self, below: Folders, device: int) -> list[bytes]:
        """Give the names of those folders that are mount points and not to be entered."""
        found = []
        for path, status in below:
            if status.st_dev != device and path not in self.also:
                found.append(os.path.basename(path))
        return found

    def _enter(self, path: bytes) -> None:
        whole = self.root + b"/" + path
        if len(whole) < _PATH_MAX:
            return os.chdir(whole)
        os.chdir(self.root)
        for name in path.split(b"/"):
            os.chdir(name)

    def _list(self, path: bytes) -> tuple[list[bytes], Statuses, list[int]]:
        """Give the names of a folder, their status, and which of them are folders."""
        names: list[bytes] = []
        statuses: Statuses = []
        places: list[int] = []
        start = path + b"/" if path else b""
        for name in sorted(os.listdir(b".")):
            try:
                status = os.lstat(name)
            except FileNotFoundError as error:
                self.trouble(start + name, error)
                continue
            is_folder = S_ISDIR(status.st_mode)
            if self.skip and self.skip(start + name, is_folder):
                continue
            if is_folder:
                places.append(len(names))
            names.append(name)
            statuses.append(status)
        return names, statuses, places

    def _note_fresh(self, rows: list[Row]) -> None:
        limit = self.start - 2 * _SECOND
        if rows and max(rows)[0] > limit:
            self.fresh += [row[0] for row in rows if row[0] > limit]

    @property
    def racy(self) -> bool:
        """Was something changed so late that a further change need not show? (git: racily clean)"""
        return any(racy(moment, self.start) for moment in self.fresh)

    def settle(self) -> bool:
        """Wait until what is racy now is not any more; False where a clock was set back."""
        newest = max(self.fresh, default=0)
        if newest - self.start > _SECOND:
            return False
        if self.racy:
            ends = [moment + _grain(moment) for moment in self.fresh]
            time.sleep((max(ends) - self.start) / 1e9)
        return True


def racy(moment: int, start: int) -> bool:
    """Could a change after `start` still leave an inode with the time `moment`?"""
    return moment > start - _grain(moment)


def _grain(moment: int) -> int:
    """File systems that keep whole seconds show it by their times."""
    return _TICK if moment % _SECOND else _SECOND + _TICK


def _statuses(names: list[bytes]) -> Statuses | None:
    """Give the status of each name that the index knows; None where one is gone."""
    try:
        return list(map(os.lstat, names))
    except FileNotFoundError:
        return None


def _below(path: bytes, names: list[bytes], statuses: Statuses, places: list[int]) -> Folders:
    start = path + b"/" if path else b""
    return [(start + names[place], statuses[place]) for place in reversed(places)]


def _blur(names: list[bytes], rows: list[Row], mounts: list[bytes]) -> None:
    """Of a mount point only owner and mode count: times and size are another file system's."""
    for place, name in enumerate(names):
        if name in mounts:
            rows[place] = 0, *rows[place][1:4], 0, 0, 0


def _raise(path: bytes, error: OSError) -> None:
    raise error
