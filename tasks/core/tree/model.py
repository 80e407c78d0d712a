"""A root file system as a value: its names, and what each of them is.

Every step of staging is a function from trees to a tree.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from ..base.errors import BadInput
from ..base.files import read

# mtree(5)'s words
DIR = "dir"
FILE = "file"
LINK = "link"
CHAR = "char"
BLOCK = "block"
FIFO = "fifo"

TYPES = {  # by the bits of a mode
    stat.S_IFDIR: DIR,
    stat.S_IFREG: FILE,
    stat.S_IFLNK: LINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}


class Entry(NamedTuple):
    """One name of a tree: what it is, and behind that where its bytes are, and who shares them."""

    type: str
    mode: int  # permission bits, 0o7777
    uid: int
    gid: int
    size: int = 0  # files: bytes
    link: bytes = b""  # symlinks: the target as written
    device: tuple[int, int] | None = None  # char and block: major, minor
    digest: str = ""  # files: sha256 of the bytes, hex
    xattrs: tuple[tuple[str, bytes], ...] = ()  # sorted by name; ACLs are system.posix_acl_*
    # files: the absolute path of the bytes, if not `data`; folders: of the mtime
    source: bytes = b""
    data: bytes | None = None  # files: the bytes themselves (generated, or patched)
    inode: int = 0  # files: equal and not 0 for the names of one hard-linked file
    stamp: int = 0  # files: ctime of `source` in ns when its bytes were digested; 0: not known

    @property
    def content(self) -> tuple[object, ...]:
        """Give all that makes two entries equal on a node."""
        return self[:9]


Tree = dict[bytes, Entry]  # path without leading slash -> entry; b"" is the root itself


def in_order(tree: Tree) -> Tree:
    """The same tree, sorted by path."""
    return {path: tree[path] for path in sorted(tree)}


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(DIR, mode, uid, gid)


def symlink(target: bytes) -> Entry:
    return Entry(LINK, 0o777, 0, 0, link=target)


def generated_file(data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    """A file whose bytes we make."""
    digest = hashlib.sha256(data).hexdigest()
    return Entry(
        FILE,
        mode,
        uid,
        gid,
        size=len(data),
        digest=digest,
        data=data,
    )


def edited(entry: Entry, data: bytes) -> Entry:
    """The same file with other bytes: mode, owner and xattrs stay, its other names keep theirs."""
    new = generated_file(data, entry.mode, entry.uid, entry.gid)
    return new._replace(xattrs=entry.xattrs)


_NOTED: list[set[bytes]] = []  # of those who note what is read


@contextlib.contextmanager
def reads_noted() -> Iterator[set[bytes]]:
    """Give the sources of all files whose bytes are asked for meanwhile."""
    _NOTED.append(set())
    try:
        yield _NOTED[-1]
    finally:
        _NOTED.pop()


def read_content(entry: Entry) -> bytes:
    """Give the bytes of a file. Raises BadInput where they are not those that its digest says."""
    for noted in _NOTED:
        noted.add(entry.source)
    if entry.data is not None:
        return entry.data
    data = read(entry.source)
    if entry.digest and hashlib.sha256(data).hexdigest() != entry.digest:
        remedy = "build again; in a staged root, remove the root.mtree beside it first"
        raise BadInput.at(os.fsdecode(entry.source), f"changed since it was read; {remedy}")
    return data


def parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def parents(path: bytes) -> Iterator[bytes]:
    """Every folder above `path`, the nearest first, without the root itself."""
    while path := parent(path):
        yield path


def under(tree: Tree, folder: bytes) -> Iterator[bytes]:
    """Every path below `folder`, without the folder itself."""
    start = folder + b"/" if folder else b""
    return (path for path in tree if path.startswith(start) and path != folder)


class Circle(ValueError):
    """More symlinks on the way to `path` than any system follows (ELOOP)."""

    def __init__(self, path: bytes):
        super().__init__(f"too many symlinks in {path!r}")
        self.path = path


def resolve(tree: Tree, path: bytes, limit: int = 40) -> bytes:
    """Follow every symlink of the folders of `path` and of itself, inside the tree.

    `..` above the root stays at the root (path_resolution(7) of a chroot). A name that is not in
    the tree is kept as it is. Raises Circle after `limit` links.
    """
    done: list[bytes] = []
    todo = _parts(path)
    while todo:
        part = todo.pop()
        if part == b"..":
            done = done[:-1]
            continue
        entry = tree.get(b"/".join([*done, part]))
        if entry is None or entry.type != LINK:
            done.append(part)
            continue
        limit -= 1
        if limit < 0:
            raise Circle(path)
        if entry.link.startswith(b"/"):
            done = []
        todo += _parts(entry.link)
    return b"/".join(done)


def _parts(path: bytes) -> list[bytes]:
    """Give the names of a path, the first one last."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]


def resolve_parent(tree: Tree, path: bytes) -> bytes:
    """As `resolve`, but for the last name itself: where a write to `path` really lands."""
    above, _, name = path.rpartition(b"/")
    folder = resolve(tree, above)
    return folder + b"/" + name if folder else name
