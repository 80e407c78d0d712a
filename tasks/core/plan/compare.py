"""Compare: how one tree differs from another, as a reviewer asks for it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..archive import cpio
from ..base.errors import BadInput
from ..base.text import shown_path
from ..tree.model import FILE, Entry, Tree

_FILE_MODE = re.compile(
    rb" type=file mode=([0-7]+) "
)  # of a line of a manifest; no name has a blank

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
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    changed = sorted(
        path for path in after.keys() & before.keys() if after[path].content != before[path].content
    )
    notable = [
        line
        for path in sorted({*added, *changed})
        for line in _notable(path, before.get(path), after[path])
    ]
    counts = _folders(before, after, {"added": added, "removed": removed, "changed": changed})
    return TreeChange(tuple(added), tuple(removed), tuple(changed), tuple(notable), counts)


def compare_initrds(before: bytes, after: bytes) -> TreeChange | None:
    """How one initrd differs from another inside; None where one of them is none."""
    try:
        return compare(initrd_tree(before), initrd_tree(after))
    except BadInput:
        return None


def initrd_tree(data: bytes) -> Tree:
    """Everything that the kernel unpacks of an initrd, with digests. Raises BadInput."""

    found = cpio.read_image(data, "initrd.img")
    tree = {**(cpio.read_archives(found.early) if found.early else {}), **found.tree}
    return {path: entry._replace(digest=_digest(entry), inode=0) for path, entry in tree.items()}


def _digest(entry: Entry) -> str:
    return "" if entry.data is None else hashlib.sha256(entry.data).hexdigest()


def rights(manifest: bytes) -> Rights:
    modes = {int(mode, 8): names for mode, names in Counter(_FILE_MODE.findall(manifest)).items()}
    return Rights(
        sum(names for mode, names in modes.items() if mode & 0o6000),
        sum(names for mode, names in modes.items() if not mode & 0o004),
    )


def _notable(path: bytes, before: Entry | None, after: Entry) -> Iterator[str]:
    """What a reviewer must not miss of one path."""
    old_bits = before.mode & 0o6000 if before and before.type == FILE else 0
    if after.type == FILE and after.mode & 0o6000 and after.mode & 0o6000 != old_bits:
        yield f"{shown_path(path)}: runs as its owner or group now (mode {after.mode:04o}, owner {after.uid}:{after.gid})"
    if before and (before.uid, before.gid) != (after.uid, after.gid):
        yield f"{shown_path(path)}: owner {before.uid}:{before.gid} -> {after.uid}:{after.gid}"
    if before and before.type == after.type != "link" and before.mode != after.mode:
        yield f"{shown_path(path)}: mode {before.mode:04o} -> {after.mode:04o}"


def _folders(
    before: Tree, after: Tree, kinds: Mapping[str, Sequence[bytes]]
) -> dict[str, FolderChange]:
    counts: dict[str, Counter[str]] = {}
    for kind, paths in kinds.items():
        for path in paths:
            count = counts.setdefault(
                shown_path(b"/".join(path.split(b"/")[:-1][:DEPTH])), Counter()
            )
            count[kind] += 1
            count["bytes"] += (after[path].size if path in after else 0) - (
                before[path].size if path in before else 0
            )
    return {
        folder: FolderChange(count["added"], count["removed"], count["changed"], count["bytes"])
        for folder, count in sorted(counts.items())
    }
