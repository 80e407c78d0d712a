"""Tree: what a root file system holds, as a value. Every step of staging is a function from trees to a tree."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..base.errors import BadInput

DIR, FILE, LINK, CHAR, BLOCK, FIFO = (
    "dir",
    "file",
    "link",
    "char",
    "block",
    "fifo",
)  # mtree(5)'s words
TYPES = {
    stat.S_IFDIR: DIR,
    stat.S_IFREG: FILE,
    stat.S_IFLNK: LINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}  # by the bits of a mode


class Entry(NamedTuple):
    """One name of a tree. What it is comes first; where its bytes are and whom it shares them with come last."""

    type: str
    mode: int  # permission bits, 0o7777
    uid: int
    gid: int
    size: int = 0  # files: bytes
    link: bytes = b""  # symlinks: the target as written
    device: tuple[int, int] | None = None  # char and block: major, minor
    digest: str = ""  # files: sha256 of the bytes, hex
    xattrs: tuple[tuple[str, bytes], ...] = ()  # sorted by name; ACLs are system.posix_acl_*
    source: bytes = b""  # files: the absolute path to read the bytes from, unless `data` has them; folders: for the mtime
    data: bytes | None = None  # files: the bytes themselves (generated, or patched)
    inode: int = 0  # files: equal and not 0 for the names of one hard-linked file
    stamp: int = 0  # files: ctime of `source` in ns when its bytes were digested; 0: not known

    @property
    def content(self) -> tuple[object, ...]:
        """All that makes two entries equal on a node."""
        return self[:9]


def is_but_for_bytes(one: Entry, other: Entry) -> bool:
    """Are those two files between which nothing but the bytes is different?"""
    return (
        one.type == FILE
        and one._replace(size=other.size, digest=other.digest).content == other.content
    )


Tree = dict[bytes, Entry]  # path without leading slash -> entry; b"" is the root itself


@contextmanager
def without_collection() -> Iterator[None]:
    """Python's cycle collector off: of many live values without cycles it would look at every one again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(DIR, mode, uid, gid)


def symlink(target: bytes) -> Entry:
    return Entry(LINK, 0o777, 0, 0, link=target)


def generated_file(data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    """A file whose bytes we make."""
    import hashlib

    return Entry(
        FILE, mode, uid, gid, size=len(data), digest=hashlib.sha256(data).hexdigest(), data=data
    )


def edited(entry: Entry, data: bytes) -> Entry:
    """The same file with other bytes: mode, owner and xattrs stay, its other names keep the old bytes."""
    new = generated_file(data)
    return entry._replace(size=new.size, digest=new.digest, data=data, source=b"", inode=0, stamp=0)


_noted: list[set[bytes]] = []


@contextmanager
def noting() -> Iterator[set[bytes]]:
    """The sources of all files whose bytes decide about something meanwhile: of what is read, or said by `note`."""
    sources: set[bytes] = set()
    _noted.append(sources)
    try:
        yield sources
    finally:
        _noted[:] = [each for each in _noted if each is not sources]


def note(entry: Entry) -> None:
    """Say that other bytes of this file could lead to something else, though they were not read."""
    for sources in _noted:
        sources.add(entry.source)


def read_content(entry: Entry) -> bytes:
    """The bytes of a file. Raises BadInput where they are not those that its digest says."""
    import hashlib

    if entry.data is not None:
        return entry.data
    note(entry)
    with open(entry.source, "rb") as file:
        data = file.read()
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
    """`path` with every symlink of its folders and of itself followed inside the tree, never out of it.

    `..` above the root stays at the root (path_resolution(7) of a chroot). Raises Circle after `limit`
    links (ELOOP). A name that is not in the tree is kept as it is.
    """
    done: list[bytes] = []
    todo = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
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
        todo += [piece for piece in reversed(entry.link.split(b"/")) if piece not in (b"", b".")]
    return b"/".join(done)


def resolve_parent(tree: Tree, path: bytes) -> bytes:
    """As `resolve`, but the last part itself is not followed: where a write to `path` really lands."""
    folder = resolve(tree, parent(path))
    name = path.rpartition(b"/")[2]
    return folder + b"/" + name if folder else name
