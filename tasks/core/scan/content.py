"""Bytes and extended attributes of open files."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from stat import S_ISREG

from ..tree.xattrs import Attributes

# What comes into a root. Others belong to the machine that is read: SELinux labels, overlayfs,
# NFSv4 ACLs.
KEPT = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
READ_SIZE = 64 << 20  # bytes that are read of a file at once, and judged
HOLES_MAX = 64 << 30  # bytes of holes that are digested: a minute or two
_ZEROS = memoryview(bytes(1 << 20))


def is_kept(name: str) -> bool:
    return name.startswith(KEPT)


def attributes(file: int | bytes) -> Attributes:
    """Give the extended attributes that come into a root, sorted by name.

    Of an open file, or of a path, where a symlink is not followed.
    """
    follow = isinstance(file, int)  # an open file cannot be asked otherwise
    found = []
    try:
        for name in sorted(os.listxattr(file, follow_symlinks=follow)):
            if is_kept(name):
                found.append((name, os.getxattr(file, name, follow_symlinks=follow)))
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without them
            return ()
        raise
    return tuple(found)


def digest_of(fd: int, status: os.stat_result) -> str:
    """Give the sha256 of an open file; "" where it is no regular file, or ends before its size."""
    return read_through(fd, status)[0]


def _unheard() -> None:
    pass


def read_through(
    fd: int, status: os.stat_result, tell: Callable[[], None] = _unheard
) -> tuple[str, bytes]:
    """Give the digest of an open file as above, and its first 64 MiB.

    Holes are digested, and not read. `tell` is called now and then.
    """
    if not S_ISREG(status.st_mode):
        return "", b""
    size = status.st_size
    start = os.pread(fd, min(size, READ_SIZE), 0)
    digest, done = hashlib.sha256(start), len(start)
    while done < size and (block := _block_at(fd, done, min(size - done, READ_SIZE))):
        digest.update(block)
        done += len(block)
        tell()
    is_whole = done == size and len(start) == min(done, READ_SIZE)
    return (digest.hexdigest(), start) if is_whole else ("", b"")


def _block_at(fd: int, at: int, size: int) -> bytes | memoryview:
    """Give bytes of an open file, at most that many: of a hole zeros, without a look."""
    hole = data_at(fd, at) - at
    if not hole:
        return os.pread(fd, size, at)
    return _ZEROS[: min(hole, size)]


def data_at(fd: int, at: int) -> int:
    """Give where the next data of an open file is, or its end: what is before is a hole."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole from here on
            return max(at, os.fstat(fd).st_size)
        return at  # a file system without holes


def hole_size(fd: int, status: os.stat_result) -> int:
    """Give how many bytes of an open file are holes; they are counted where there are many."""
    size = status.st_size
    if size - status.st_blocks * 512 <= HOLES_MAX:
        return 0
    return sum(end - start for start, end in _holes(fd, size))


def _holes(fd: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        end = data_at(fd, at)
        yield at, end
        at = os.lseek(fd, end, os.SEEK_HOLE) if end < size else size
