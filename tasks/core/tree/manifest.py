"""A tree as it is written down: its manifest, its attributes beside that, and which names share a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from . import mtree, xattrs
from .diff import groups
from .model import Tree, parent


class Manifest(NamedTuple):
    manifest: bytes
    labels: bytes
    inodes: dict[bytes, int]  # names that share a file -> a number for it
    folder: bytes = b""  # where the files' bytes are, if anywhere
    stamps: dict[bytes, int] | None = None  # of those: Entry.stamp


NOTHING = Manifest(b"#mtree\n", b"", {})


def manifest(tree: Tree) -> Manifest:
    return Manifest(
        mtree.dump(tree),
        xattrs.dump_xattrs(tree),
        {path: tree[path].inode for path in groups(tree)},
    )


def is_same(old: Manifest, new: Manifest) -> bool:
    """Do both say the same? (The numbers of shared files mean nothing, only who shares.)"""
    pairs = {
        (old.inodes.get(path), new.inodes.get(path))
        for path in old.inodes.keys() | new.inodes.keys()
    }
    same_groups = len(pairs) == len(set(old.inodes.values())) == len(set(new.inodes.values()))
    return old[:2] == new[:2] and same_groups


def read_manifest(written: Manifest) -> Tree:
    """The whole tree. Raises ValueError where the record is damaged."""
    tree = xattrs.with_xattrs(
        mtree.parse(written.manifest, written.folder, written.stamps or {}),
        xattrs.parse_xattrs(written.labels),
    )
    for path, inode in written.inodes.items():
        tree[path] = tree[path]._replace(inode=inode)
    return tree


def entries_of(written: Manifest, paths: Iterable[bytes]) -> Tree:
    """Of a tree these paths, if they are there."""
    return _parsed(
        mtree.found(written.manifest, paths), written, xattrs.parse_xattrs(written.labels)
    )


def difference(old: Manifest, new: Manifest, besides: Collection[bytes] = ()) -> tuple[Tree, Tree]:
    """Of both trees all that differs, with the folders it is in: what is equal need not be parsed.

    Entries with attributes or several names are in it whether they differ or not, as are the paths `besides`.
    Raises ValueError where a record is damaged.
    """
    before, after = set(mtree.lines(old.manifest)), set(mtree.lines(new.manifest))
    labels = xattrs.parse_xattrs(old.labels), xattrs.parse_xattrs(new.labels)
    differing = {mtree.path_of(mtree.word_of(line)) for line in before ^ after}
    paths = {*labels[0], *labels[1], *old.inodes, *new.inodes, *besides, *differing}
    more = (paths | set(map(parent, paths))) - differing
    return (
        _parsed([*(before - after), *mtree.found(old.manifest, more)], old, labels[0]),
        _parsed([*(after - before), *mtree.found(new.manifest, more)], new, labels[1]),
    )


def _parsed(lines: Iterable[bytes], of: Manifest, labels: xattrs.Xattrs) -> Tree:
    tree = mtree.parse_lines(lines, of.folder, of.stamps or {})
    for path, entry in tree.items():
        tree[path] = entry._replace(xattrs=labels.get(path, ()), inode=of.inodes.get(path, 0))
    return tree
