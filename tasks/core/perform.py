"""Doing what a plan says, to a real folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple

from .apply import Plan
from .folder import Folder, finish, is_like, make, remove, stop_inheritance
from .tree import DIR, FILE, Entry, Tree, parent

Lender = Callable[[bytes, Entry], "tuple[int, bytes] | None"]  # whose file may be hard-linked: its folder, its name
Progress = Callable[[int, int], None]  # steps done, of how many

# On another file system, of too many names already, of a kind that has one only, or gone: then it is copied.
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOENT)


class Done(NamedTuple):
    """What was made of non-folders."""

    linked: int  # names that became links to lent files
    copied: int  # files written
    size: int  # of those
    stamps: dict[bytes, int]  # those of one name -> ctime in ns
    made: set[bytes]  # all that the steps name and did not remove, and the folders that this disturbed


def perform(
    steps: Plan, tree: Tree, folder: Folder, lend: Lender | None = None, progress: Progress | None = None
) -> Done:
    """Do the steps to `tree`. A file for which `lend` has an equal one becomes a hard link of that.

    Raises OSError where the folder is not what the plan began with, Changed where a source is not what it was.
    """
    made = [*steps.added, *steps.changed, *(step for step in steps.touched if step[1].type != DIR)]
    disturbed = {parent(path) for path in (*steps.removed, *(path for path, _ in made)) if path} & tree.keys()
    new = {path for path, _ in steps.added if path}
    for path in disturbed - new:
        stop_inheritance(folder.at(path))
    for path in (*steps.removed, *(path for path, _ in made[len(steps.added) :])):
        remove(folder.at(parent(path)), path.rpartition(b"/")[2])
    folder.forget()
    done = _Maker(folder, lend).make(made, progress)
    folders = disturbed | {path for path, entry in (*steps.added, *steps.touched) if entry.type == DIR}
    for path in sorted(folders):
        finish(folder.at(path), tree[path])
    return done._replace(made=folders.union(path for path, _ in made))


class _Maker:
    """Makes entries under names that are free; folders stay closed to others until they are finished."""

    def __init__(self, folder: Folder, lend: Lender | None):
        self.folder, self.lend = folder, lend
        self.first: dict[int, bytes] = {}  # the names of one file: where its first one is
        self.linked = self.copied = self.size = 0
        self.stamps: dict[bytes, int] = {}

    def make(self, steps: list[tuple[bytes, Entry]], progress: Progress | None) -> Done:
        for number, (path, entry) in enumerate(steps):
            if progress and not number & 255:
                progress(number, len(steps))
            try:
                self._place(path, entry)
            except OSError as error:
                raise OSError(error.errno, error.strerror, os.path.join(self.folder.path, path)) from error
        if progress:
            progress(len(steps), len(steps))
        return Done(self.linked, self.copied, self.size, self.stamps, set())

    def _place(self, path: bytes, entry: Entry) -> None:
        if not path:  # the folder itself
            return
        above, _, name = path.rpartition(b"/")
        fd = self.folder.at(above)
        if entry.type == DIR:
            os.mkdir(name, 0o700, dir_fd=fd)
        elif entry.inode in self.first:
            known_as = self.first[entry.inode]
            os.link(known_as, name, src_dir_fd=self.folder.root, dst_dir_fd=fd, follow_symlinks=False)
        else:
            self._first_name(fd, name, path, entry)

    def _first_name(self, fd: int, name: bytes, path: bytes, entry: Entry) -> None:
        if entry.inode:
            self.first[entry.inode] = path
        lent = self.lend(path, entry) if self.lend else None
        stamp = _linked(*lent, fd, name, entry) if lent else 0
        if stamp:
            self.linked += 1
        else:
            stamp = make(fd, name, entry)
            self.copied += entry.type == FILE
            self.size += entry.size
        if entry.type == FILE and not entry.inode:
            self.stamps[path] = stamp


def _linked(source: int, known_as: bytes, fd: int, name: bytes, entry: Entry) -> int:
    """Make a name a link to a lent file: its ctime, which that has moved; 0 where that cannot be, or it is another."""
    if not link(source, known_as, fd, name):
        return 0
    status = os.lstat(name, dir_fd=fd)
    if is_like(status, entry):
        return status.st_ctime_ns
    os.unlink(name, dir_fd=fd)
    return 0


def link(source: int, known_as: bytes, fd: int, name: bytes) -> bool:
    """Give a file of one folder a name in another; False where that cannot be, and a copy can."""
    try:
        os.link(known_as, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
        return True
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
