"""How one tree differs from another, as a reviewer asks for it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..archive import cpio
from ..base.errors import BadInput
from ..base.text import shown_path
from ..tree.model import FILE, LINK, Entry, Tree

# Of a line of a manifest; no name has a blank
_FILE_MODE = re.compile(rb" type=file mode=([0-7]+) ")
_SETUID_OR_SETGID = 0o6000
_WORLD_READABLE = 0o004

DEPTH = 3  # folders of a tree are counted as usr/share/doc


class FolderChange(NamedTuple):
    """What changed in a folder and below it."""

    added: int
    removed: int
    changed: int
    bytes: int  # more, or less where negative


class TreeChange(NamedTuple):
    """How one tree differs from another, by path."""

    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    changed: tuple[bytes, ...]
    notable: tuple[str, ...]  # setuid bits, modes and owners
    folders: dict[str, FolderChange]

    @property
    def bytes(self) -> int:
        return sum(folder.bytes for folder in self.folders.values())


class Rights(NamedTuple):
    """Files of a root that an export turns into a question."""

    setuid: int  # run as their owner or group
    hidden: int  # are not world-readable


def compare(before: Tree, after: Tree) -> TreeChange:
    """What is different, path by path and counted by folder."""
    added = sorted(after.keys() - before.keys())
    removed = sorted(before.keys() - after.keys())
    both = sorted(after.keys() & before.keys())
    changed = [path for path in both if after[path].content != before[path].content]
    notable = list[str]()
    for path in sorted(added + changed):
        notable += _notable(path, before.get(path), after[path])
    folders = _folders(before, after, [*added, *removed, *changed])
    return TreeChange(
        tuple(added),
        tuple(removed),
        tuple(changed),
        tuple(notable),
        folders,
    )


def compare_initrds(before: bytes, after: bytes) -> TreeChange | None:
    """How one initrd differs from another inside; None where one of them is none."""
    try:
        return compare(initrd_tree(before), initrd_tree(after))
    except BadInput:
        return None


def initrd_tree(data: bytes) -> Tree:
    """Everything that the kernel unpacks of an initrd, with digests. Raises BadInput."""
    found = cpio.read_image(data, "initrd.img")
    early = cpio.read_archives(found.early) if found.early else {}
    tree = {**early, **found.tree}
    return {path: _with_digest(entry) for path, entry in tree.items()}


def _with_digest(entry: Entry) -> Entry:
    digest = ""
    if entry.data is not None:
        digest = hashlib.sha256(entry.data).hexdigest()
    return entry._replace(digest=digest, inode=0)


def rights(manifest: bytes) -> Rights:
    """Count the files of a manifest that are run as their owner, and that not everybody reads."""
    setuid, hidden = 0, 0
    for text, names in Counter(_FILE_MODE.findall(manifest)).items():
        mode = int(text, 8)
        if mode & _SETUID_OR_SETGID:
            setuid += names
        if not mode & _WORLD_READABLE:
            hidden += names
    return Rights(setuid, hidden)


def _notable(path: bytes, before: Entry | None, after: Entry) -> Iterator[str]:
    """What a reviewer must not miss of one path."""
    name, owner = shown_path(path), f"{after.uid}:{after.gid}"
    if _setuid(after) and _setuid(after) != _setuid(before):
        yield f"{name}: runs as its owner or group now (mode {after.mode:04o}, owner {owner})"
    if before is None:
        return
    if (before.uid, before.gid) != (after.uid, after.gid):
        yield f"{name}: owner {before.uid}:{before.gid} -> {owner}"
    if before.type == after.type != LINK and before.mode != after.mode:
        yield f"{name}: mode {before.mode:04o} -> {after.mode:04o}"


def _setuid(entry: Entry | None) -> int:
    """The bits by which a file runs as its owner or group."""
    return entry.mode & _SETUID_OR_SETGID if entry and entry.type == FILE else 0


def _folders(before: Tree, after: Tree, paths: Iterable[bytes]) -> dict[str, FolderChange]:
    """What changed, counted by folder."""
    folders: dict[str, FolderChange] = {}
    for path in paths:
        above = path.split(b"/")[:-1]
        name = shown_path(b"/".join(above[:DEPTH]))
        old, new = before.get(path), after.get(path)
        count = folders.get(name, FolderChange(0, 0, 0, 0))
        folders[name] = FolderChange(
            count.added + (old is None),
            count.removed + (new is None),
            count.changed + (old is not None and new is not None),
            count.bytes + _size(new) - _size(old),
        )
    return dict(sorted(folders.items()))


def _size(entry: Entry | None) -> int:
    return entry.size if entry else 0
