"""Bytes and extended attributes of open files."""

from __future__ import annotations

import errno
import hashlib
import os
from stat import S_ISREG

from .index import Attributes

# What is carried into a root. Others belong to the machine that is read: SELinux labels, overlayfs, NFSv4 ACLs.
CARRIED = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
READ_SIZE = 64 << 20  # bytes that are read of a file at once, and judged


def attributes(file: int | bytes) -> Attributes:
    """The extended attributes that are carried, sorted by name, of an open file or of a path (links not followed)."""
    try:
        names = (
            os.listxattr(file)
            if isinstance(file, int)
            else os.listxattr(file, follow_symlinks=False)
        )
        return tuple(
            (name, _attribute(file, name)) for name in sorted(names) if name.startswith(CARRIED)
        )
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without them
            return ()
        raise


def _attribute(file: int | bytes, name: str) -> bytes:
    return (
        os.getxattr(file, name)
        if isinstance(file, int)
        else os.getxattr(file, name, follow_symlinks=False)
    )


def digest_of(fd: int, status: os.stat_result) -> str:
    """sha256 of an open file, hex; "" where it is no regular file, or ends before its size."""
    return read_through(fd, status)[0]


def read_through(fd: int, status: os.stat_result) -> tuple[str, bytes]:
    """The digest of an open file as above, and its first 64 MiB."""
    if not S_ISREG(status.st_mode):
        return "", b""
    start = os.pread(fd, min(status.st_size, READ_SIZE), 0)
    digest, done = hashlib.sha256(start), len(start)
    while done < status.st_size and (
        block := os.pread(fd, min(status.st_size - done, READ_SIZE), done)
    ):
        digest.update(block)
        done += len(block)
    whole = done == status.st_size and len(start) == min(done, READ_SIZE)
    return (digest.hexdigest(), start) if whole else ("", b"")
