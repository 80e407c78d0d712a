"""A Tree as a tar archive (GNU format): the same bytes of the same tree, on any day and machine."""

from __future__ import annotations

import io
import os
import tarfile

from ..tree.model import BLOCK, CHAR, DIR, FIFO, FILE, LINK, Entry, Tree, read_content

TYPES = {
    DIR: tarfile.DIRTYPE,
    FILE: tarfile.REGTYPE,
    LINK: tarfile.SYMTYPE,
    CHAR: tarfile.CHRTYPE,
    BLOCK: tarfile.BLKTYPE,
    FIFO: tarfile.FIFOTYPE,
}
EPOCH = 1_000_000_000  # of every member: no Tree knows times


def write_tar(tree: Tree) -> bytes:
    """The archive of a tree, sorted; names of one hard-linked file are links to the first.

    Extended attributes are not in it. Owners are numbers alone.
    """
    archive = io.BytesIO()
    first: dict[int, str] = {}  # by inode
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(tree):
            entry = tree[path]
            member = _member(path, entry)
            linked = first.setdefault(entry.inode, member.name) if entry.inode else member.name
            if linked != member.name:
                member.type, member.linkname = tarfile.LNKTYPE, linked
            data = read_content(entry) if member.type == tarfile.REGTYPE else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def _member(path: bytes, entry: Entry) -> tarfile.TarInfo:
    """A member as far as its entry says; without its size."""
    member = tarfile.TarInfo("./" + os.fsdecode(path) if path else ".")
    member.type = TYPES[entry.type]
    member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.uid, entry.gid, EPOCH
    member.linkname = os.fsdecode(entry.link)
    member.devmajor, member.devminor = entry.device or (0, 0)
    return member
