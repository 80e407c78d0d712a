"""Writing a tree into a real folder, by directory descriptors: no symlink of any tree is ever followed.

A file is never written in place, for it may be a hard link of somebody else's: its name is removed and made anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IMODE

from .scan import attributes, digest_of
from .tree import BLOCK, CHAR, DIR, FIFO, FILE, LINK, Entry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {DIR: S_IFDIR, FILE: S_IFREG, LINK: S_IFLNK, CHAR: S_IFCHR, BLOCK: S_IFBLK, FIFO: S_IFIFO}
_BLOCK = 1 << 26
_NO_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # copy_file_range(2) is not for these two files

EPOCH = 10**18  # ns: the mtime of what no file of the inputs gives one to; 2001, which no tool takes for a mistake


class Changed(Exception):
    """A file is not any more what its entry says. `path` is bytes."""

    def __init__(self, path: bytes):
        self.path = os.fsdecode(path)
        super().__init__(self.path)


class Folder:
    """A real folder, whose inner folders are reached name by name, and kept open from the root to the last one."""

    def __init__(self, path: str | bytes):
        self.path = os.fsencode(path)
        self._open: list[tuple[bytes, int]] = [(b"", os.open(path, _FOLDER & ~os.O_NOFOLLOW))]

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        for _path, fd in self._open:
            os.close(fd)
        self._open = []

    @property
    def root(self) -> int:
        return self._open[0][1]

    def at(self, path: bytes) -> int:
        """The descriptor of an inner folder, until the next call. Raises OSError if it is none (ENOTDIR, ELOOP)."""
        here, fd = self._open[-1]
        if here == path:
            return fd
        while here and not path.startswith(here + b"/"):
            os.close(self._open.pop()[1])
            here, fd = self._open[-1]
            if here == path:
                return fd
        for name in path[len(here) :].lstrip(b"/").split(b"/") if path else ():
            fd = os.open(name, _FOLDER, dir_fd=fd)
            here = here + b"/" + name if here else name
            self._open.append((here, fd))
        return fd

    def forget(self) -> None:
        """Close all but the root: what was open may be removed or replaced."""
        while len(self._open) > 1:
            os.close(self._open.pop()[1])


def stop_inheritance(fd: int) -> None:
    """Without its default ACL a folder gives none to what is made in it; `finish` puts it back."""
    with contextlib.suppress(OSError):
        os.removexattr(fd, "system.posix_acl_default")


def remove(fd: int, name: bytes) -> None:
    """Remove a name and, where it is a folder that holds more than is known of, everything below it."""
    try:
        os.unlink(name, dir_fd=fd)
    except IsADirectoryError:
        inner = os.open(name, _FOLDER, dir_fd=fd)
        try:
            for below in os.listdir(inner):
                remove(inner, os.fsencode(below))
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=fd)


def make(fd: int, name: bytes, entry: Entry) -> int:
    """Make an entry, no folder, under a free name of an open folder; for a file its ctime in ns, else 0."""
    return _file(fd, name, entry) if entry.type == FILE else _special(fd, name, entry)


def _special(fd: int, name: bytes, entry: Entry) -> int:
    """A symlink, device or fifo."""
    if entry.type == LINK:
        os.symlink(entry.link, name, dir_fd=fd)
        os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        return 0
    os.mknod(name, _KINDS[entry.type] | 0o600, os.makedev(*(entry.device or (0, 0))), dir_fd=fd)
    os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
    os.chmod(name, entry.mode, dir_fd=fd)  # of what was made a moment ago: no symlink
    for key, value in entry.xattrs:
        os.setxattr(b"/proc/self/fd/%d/%s" % (fd, name), key, value, follow_symlinks=False)
    return 0


def _file(fd: int, name: bytes, entry: Entry) -> int:
    new = os.open(name, _NEW, entry.mode & 0o777, dir_fd=fd)
    try:
        mtime = _write(new, entry.data) if entry.data is not None else _copy(entry, new)
        os.utime(new, ns=(mtime, mtime))
        status = os.fstat(new)
        if entry.xattrs or not is_like(status, entry):  # seldom: most files are root's, and of a plain mode
            os.fchown(new, entry.uid, entry.gid)  # clears setuid and capabilities: before both
            os.fchmod(new, entry.mode)
            for key, value in entry.xattrs:
                os.setxattr(new, key, value)
            status = os.fstat(new)
        return status.st_ctime_ns
    finally:
        os.close(new)


def _write(new: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(new, left) :]
    return EPOCH


def _copy(entry: Entry, new: int) -> int:
    """Fill the new file with the entry's bytes; gives their mtime. Raises Changed where they are others by now."""
    try:
        source = os.open(entry.source, _SOURCE)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Changed(entry.source) from error
    try:
        status = os.fstat(source)
        if S_IFREG | S_IMODE(status.st_mode) != status.st_mode or status.st_size != entry.size:
            raise Changed(entry.source)
        _copy_bytes(source, new, status)
        if status.st_ctime_ns != entry.stamp and digest_of(new, os.fstat(new)) != entry.digest:
            raise Changed(entry.source)
        return status.st_mtime_ns
    finally:
        os.close(source)


def _copy_bytes(source: int, new: int, status: os.stat_result) -> None:
    if status.st_blocks * 512 >= status.st_size:
        return _copy_range(source, new, 0, status.st_size)
    os.ftruncate(new, status.st_size)  # it has holes, and keeps them
    end = 0
    while end < status.st_size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, new, start, end)


def _copy_range(source: int, new: int, start: int, end: int) -> None:
    """Copy within the kernel, as a reflink where the file system has them; short where the source became so."""
    copy: Callable[[int, int, int, int], int] = _in_kernel
    while start < end:
        try:
            done = copy(source, new, min(end - start, _BLOCK), start)
        except OSError as error:
            if copy is _by_hand or error.errno not in _NO_COPY:
                raise
            copy = _by_hand
            continue
        if not done:
            return
        start += done


def _in_kernel(source: int, new: int, count: int, at: int) -> int:
    return os.copy_file_range(source, new, count, at, at)


def _by_hand(source: int, new: int, count: int, at: int) -> int:
    return os.pwrite(new, os.pread(source, min(count, 1 << 20), at), at)


def finish(fd: int, entry: Entry, mtime: int | None = None) -> None:
    """A folder's owner, mode and attributes, when everything is in it; and its mtime, which that has moved.

    `mtime`, in ns, is its source's, where that is known.
    """
    os.fchown(fd, entry.uid, entry.gid)
    for key, _ in attributes(fd):
        os.removexattr(fd, key)
    os.fchmod(fd, entry.mode)
    for key, value in entry.xattrs:
        os.setxattr(fd, key, value)
    mtime = _mtime(entry.source) if mtime is None else mtime
    os.utime(fd, ns=(mtime, mtime))


def _mtime(source: bytes) -> int:
    try:
        return os.lstat(source).st_mtime_ns if source else EPOCH
    except OSError:
        return EPOCH


def is_like(status: os.stat_result, entry: Entry) -> bool:
    """Is that the status of what the entry says? (All but bytes, link and attributes.)"""
    return (
        status.st_mode == _KINDS[entry.type] | entry.mode
        and (status.st_uid, status.st_gid) == (entry.uid, entry.gid)
        and (entry.type != FILE or status.st_size == entry.size)
        and (not entry.device or status.st_rdev == os.makedev(*entry.device))
    )
