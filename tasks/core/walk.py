"""Walking a real folder by directory descriptors: every name's status, and none of its bytes.

This is all that a run with nothing to do pays for a reference that the build does not own, so it is written for
speed: one lstat a name, one tuple, one hash a folder; a folder that is as the index knows it is not even listed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from stat import S_ISDIR
from typing import NamedTuple

Skip = Callable[[bytes, bool], bool]  # (path, is it a folder) -> is it left out
# folder -> hash of its row; its names; which are folders; hash of their rows, 0 where not all is known of them
Known = dict[str, tuple[int, list[str], list[int], int]]
Row = tuple[int, ...]  # (newest time, mode, uid, gid, size, mtime, inode): all that tells of a change
Trouble = Callable[[str, OSError], None]
Status = Callable[[os.stat_result], Row]
Statuses = list[os.stat_result]
Folders = list[tuple[str, os.stat_result]]  # still to be descended, the last one first

# ctime tells of every change of bytes or status, and nobody can set it. But link(2) and unlink(2) of another name
# move it too, so for a snapshot that the build hard-links from, the time of the bytes must do.
ROW = attrgetter("st_ctime_ns", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ino")
OWNED_ROW = attrgetter("st_mtime_ns", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ino")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TICK = 20_000_000  # ns: a kernel's clock for inodes lags behind by a jiffy, 10 ms at most
_SECOND = 1_000_000_000


class Listing(NamedTuple):
    """One folder: `path` below the root, without a leading slash; `fd` is open until the next one is asked for."""

    path: str
    fd: int
    device: int
    row: Row
    names: list[str]  # sorted, without what is skipped
    rows: list[Row]
    places: list[int]  # which of the names are folders
    mounts: list[str]  # names on another file system, not descended


class Walk:
    """A walk of `root` that stays on its file system, but for the paths in `also` (as rsync -x does)."""

    def __init__(self, root: bytes, known: Known, skip: Skip | None, also: tuple[bytes, ...], row: Status = ROW):
        self.root, self.known, self.skip, self.row = root, known, skip, row
        self.also = {os.fsdecode(path) for path in also}
        self.trouble: Trouble = _raise
        self.start = time.time_ns()
        self.fresh: list[int] = []  # times too near to the walk's start to tell a change from

    def __iter__(self) -> Iterator[Listing]:
        """Every folder, parents before children, in the order of names."""
        fd = os.open(self.root, _FOLDER)
        frames = [(fd, *self._visit("", fd, os.fstat(fd)))]
        try:
            yield frames[0][1]
            while frames:
                above, listing, folders = frames[-1]
                entered = self._enter(above, listing.path, folders)
                if entered:
                    frames.append(entered)
                    yield entered[1]
                else:
                    os.close(frames.pop()[0])
        finally:
            for fd, *_ in frames:
                os.close(fd)

    def _enter(self, above: int, path: str, folders: Folders) -> tuple[int, Listing, Folders] | None:
        """The next of `folders` that can be read."""
        while folders:
            name, status = folders.pop()
            below = f"{path}/{name}" if path else name
            try:
                fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
            except OSError as error:
                self.trouble(below, error)
                continue
            try:
                return fd, *self._visit(below, fd, status)
            except BaseException:
                os.close(fd)
                raise
        return None

    def _visit(self, path: str, fd: int, status: os.stat_result) -> tuple[Listing, Folders]:
        row = self.row(status)
        names, statuses, places = self._known_names(path, fd, row) or self._list(path, fd)
        rows = list(map(self.row, statuses))
        folders = [(names[place], statuses[place]) for place in places]
        mounts = [name for name, found in folders if found.st_dev != status.st_dev and not self._descends(path, name)]
        if mounts:
            folders = [item for item in folders if item[0] not in mounts]
            _blur(names, rows, mounts)
        self._note_fresh(rows)
        return Listing(path, fd, status.st_dev, row, names, rows, places, mounts), folders[::-1]

    def _known_names(self, path: str, fd: int, row: Row) -> tuple[list[str], Statuses, list[int]] | None:
        """What the index knows of a folder to which no name came and from which none went."""
        known = self.known.get(path)
        if known is None or known[0] != hash(row):
            return None
        _, names, places, _ = known
        lstat = os.lstat
        try:
            return names, [lstat(name, dir_fd=fd) for name in names], places
        except FileNotFoundError:  # it changed meanwhile, or the index is of another encoding
            return None

    def _list(self, path: str, fd: int) -> tuple[list[str], Statuses, list[int]]:
        names: list[str] = []
        statuses: Statuses = []
        places: list[int] = []
        start = os.fsencode(path) + b"/" if path else b""
        for name in sorted(os.listdir(fd)):
            try:
                status = os.lstat(name, dir_fd=fd)
            except FileNotFoundError as error:
                self.trouble(f"{path}/{name}" if path else name, error)
                continue
            is_folder = S_ISDIR(status.st_mode)
            if self.skip and self.skip(start + os.fsencode(name), is_folder):
                continue
            if is_folder:
                places.append(len(names))
            names.append(name)
            statuses.append(status)
        return names, statuses, places

    def _descends(self, path: str, name: str) -> bool:
        return (f"{path}/{name}" if path else name) in self.also

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
        time.sleep(max(moment + _grain(moment) - self.start for moment in self.fresh) / 1e9 if self.racy else 0)
        return True


def racy(moment: int, start: int) -> bool:
    """Could a change after `start` still leave an inode with the time `moment`?"""
    return moment > start - _grain(moment)


def _grain(moment: int) -> int:
    """File systems that keep whole seconds show it by their times."""
    return _TICK if moment % _SECOND else _SECOND + _TICK


def _blur(names: list[str], rows: list[Row], mounts: list[str]) -> None:
    """Of a mount point only owner and mode count: its times and size are those of another file system."""
    for place, name in enumerate(names):
        if name in mounts:
            rows[place] = 0, *rows[place][1:4], 0, 0, 0


def _raise(path: str, error: OSError) -> None:
    raise error
