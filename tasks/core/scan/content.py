"""Bytes and extended attributes of open files."""

from __future__ import annotations

import errno
import hashlib
import os
from stat import S_ISREG

from ..tree.xattrs import Attributes

# What comes into a root. Others belong to the machine that is read: SELinux labels, overlayfs,
# NFSv4 ACLs.
KEPT = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
READ_SIZE = 64 << 20  # bytes that are read of a file at once, and judged


def attributes(file: int | bytes) -> Attributes:
    """Give the extended attributes that come into a root, sorted by name.

    Of an open file, or of a path, where a symlink is not followed.
    """
    follow = isinstance(file, int)  # an open file cannot be asked otherwise
    found = []
    try:
        for name in sorted(os.listxattr(file, follow_symlinks=follow)):
            if name.startswith(KEPT):
                found.append((name, os.getxattr(file, name, follow_symlinks=follow)))
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without them
            return ()
        raise
    return tuple(found)


def digest_of(fd: int, status: os.stat_result) -> str:
    """Give the sha256 of an open file; "" where it is no regular file, or ends before its size."""
    return read_through(fd, status)[0]


def read_through(fd: int, status: os.stat_result) -> tuple[str, bytes]:
    """Give the digest of an open file as above, and its first 64 MiB."""
    if not S_ISREG(status.st_mode):
        return "", b""
    size = status.st_size
    start = os.pread(fd, min(size, READ_SIZE), 0)
    digest, done = hashlib.sha256(start), len(start)
    while done < size and (block := os.pread(fd, min(size - done, READ_SIZE), done)):
        digest.update(block)
        done += len(block)
    is_whole = done == size and len(start) == min(done, READ_SIZE)
    return (digest.hexdigest(), start) if is_whole else ("", b"")
