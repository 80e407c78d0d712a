"""Walking a real folder: every name's status, and none of its bytes.

This is all that a run with nothing to do pays for a reference that the build does not own, so it is written for
speed: one lstat a name, one tuple, one hash a folder; a folder that is as the index knows it is not even listed.
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
# folder -> hash of its row; its names; which are folders; hash of their rows, 0 where not all is known of them
Known = dict[bytes, tuple[int, list[bytes], list[int], int]]
Row = tuple[
    int, ...
]  # (newest time, mode, uid, gid, size, mtime, inode): all that tells of a change
Trouble = Callable[[bytes, OSError], None]
Status = Callable[[os.stat_result], Row]
Statuses = list[os.stat_result]
Folders = list[tuple[bytes, os.stat_result]]

# ctime tells of every change of bytes or status, and nobody can set it. But link(2) and unlink(2) of another name
# move it too, so for a snapshot that the build hard-links from, the time of the bytes must do.
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
    """A walk of `root` that stays on its file system, but for the paths in `also` (as rsync -x does).

    It works from inside each folder: that costs less than a descriptor of each and paths of each name. Somebody who
    puts a symlink in a folder's place meanwhile can lead it elsewhere, but to no more than names and statuses: who
    reads a file opens its folder by descriptors, where it fails.
    """

    def __init__(
        self,
        root: bytes,
        known: Known,
        skip: Skip | None,
        also: tuple[bytes, ...],
        row: Status = ROW,
    ):
        self.root, self.known, self.skip, self.also, self.row = (
            os.path.abspath(root),
            known,
            skip,
            also,
            row,
        )
        self.trouble: Trouble = _raise
        self.start = time.time_ns()
        self.fresh: list[int] = []  # times too near to the walk's start to tell a change from
        self.digest = hashlib.blake2b(digest_size=20)  # over the status of everything

    def __iter__(self) -> Iterator[Listing | bytes]:
        """Every folder, parents before children, in the order of names; a path alone where it is as the index knows."""
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
        """A folder, and those in it, the last one first.

        Its names need not go into the digest: none comes, goes or changes without the folder's own ctime. Numbers go
        in as hash(): 61 bits that no seed changes, at a tenth of a digest's cost.
        """
        row, known = self.row(status), self.known.get(path)
        stamp, names, places, number = known or (0, [], [], 0)
        try:
            self._enter(path)
            statuses = _statuses(names) if stamp == hash(row) else None
            if statuses is None:
                number, (names, statuses, places) = 0, self._list(path)
        finally:
            os.fchdir(home)
        rows, below, mounts = list(map(self.row, statuses)), [], []
        if places:
            start = path + b"/" if path else b""
            below = [(start + names[place], statuses[place]) for place in reversed(places)]
            mounts = [
                path
                for path, found in below
                if found.st_dev != status.st_dev and path not in self.also
            ]
        if mounts:
            below = [item for item in below if item[0] not in mounts]
            mounts = [os.path.basename(path) for path in mounts]
            _blur(names, rows, mounts)
        seen = hash((() if path else row, *rows))
        self.digest.update(b"%d " % seen)
        if seen == number:
            return path, below
        self._note_fresh(rows)
        return Listing(path, status.st_dev, row, names, rows, places, mounts, seen), below

    def _enter(self, path: bytes) -> None:
        whole = self.root + b"/" + path
        for step in [whole] if len(whole) < _PATH_MAX else [self.root, *path.split(b"/")]:
            os.chdir(step)

    def _list(self, path: bytes) -> tuple[list[bytes], Statuses, list[int]]:
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
        """Was something changed so late that a further change need not show? (git's rule of racily clean files)"""
        return any(racy(moment, self.start) for moment in self.fresh)

    def settle(self) -> bool:
        """Wait until what is racy now is not any more; False where that would take longer than its clock's grain."""
        wait = max(self.fresh, default=0) - self.start + _SECOND
        if wait > 2 * _SECOND:  # a clock that was set back
            return False
        time.sleep(
            max(moment + _grain(moment) - self.start for moment in self.fresh) / 1e9
            if self.racy
            else 0
        )
        return True


def racy(moment: int, start: int) -> bool:
    """Could a change after `start` still leave an inode with the time `moment`?"""
    return moment > start - _grain(moment)


def _grain(moment: int) -> int:
    """File systems that keep whole seconds show it by their times."""
    return _TICK if moment % _SECOND else _SECOND + _TICK


def _statuses(names: list[bytes]) -> Statuses | None:
    """What the index knows of a folder to which no name came and from which none went; None where one did."""
    try:
        return list(map(os.lstat, names))
    except FileNotFoundError:
        return None


def _blur(names: list[bytes], rows: list[Row], mounts: list[bytes]) -> None:
    """Of a mount point only owner and mode count: its times and size are those of another file system."""
    for place, name in enumerate(names):
        if name in mounts:
            rows[place] = 0, *rows[place][1:4], 0, 0, 0


def _raise(path: bytes, error: OSError) -> None:
    raise error
