"""A tree as it is written down: its mtree text, its extended attributes, and who shares a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import compress
from operator import ne
from typing import NamedTuple

from . import mtree, xattrs
from .diff import groups
from .model import Tree, parent


class Manifest(NamedTuple):
    """What is written down of a tree, and where the bytes of its files are."""

    mtree: bytes
    xattrs: bytes  # as getfattr dumps them
    inodes: dict[bytes, int]  # names that share a file -> a number for it
    folder: bytes = b""  # where those are, if anywhere
    stamps: dict[bytes, int] | None = None  # of files: Entry.stamp


NOTHING = Manifest(b"#mtree\n", b"", {})


def manifest_of(tree: Tree) -> Manifest:
    inodes = {path: tree[path].inode for path in groups(tree)}
    return Manifest(mtree.dump(tree), xattrs.dump_xattrs(tree), inodes)


def is_same(old: Manifest, new: Manifest) -> bool:
    """Do both say the same? (The numbers of shared files mean nothing, only who shares.)"""
    if (old.mtree, old.xattrs) != (new.mtree, new.xattrs):
        return False
    paths = old.inodes.keys() | new.inodes.keys()
    pairs = {(old.inodes.get(path), new.inodes.get(path)) for path in paths}
    old_numbers = set(old.inodes.values())
    new_numbers = set(new.inodes.values())
    return len(pairs) == len(old_numbers) == len(new_numbers)


def read_manifest(manifest: Manifest) -> Tree:
    """Give the whole tree. Raises ValueError where the manifest is damaged."""
    lines = mtree.lines(manifest.mtree)
    return _parsed(lines, manifest, xattrs.parse_xattrs(manifest.xattrs))


def entries_of(manifest: Manifest, paths: Iterable[bytes]) -> Tree:
    """Give of a tree these paths, if they are there."""
    lines = mtree.found(manifest.mtree, paths)
    return _parsed(lines, manifest, xattrs.parse_xattrs(manifest.xattrs))


def difference(old: Manifest, new: Manifest, besides: Collection[bytes] = ()) -> tuple[Tree, Tree]:
    """Give of both trees all that differs, with its folders: what is equal need not be parsed.

    Entries with attributes or several names are in it whether they differ or not, as are the paths
    `besides`. Raises ValueError where a manifest is damaged.
    """
    if old.mtree == NOTHING.mtree:
        return {}, read_manifest(new)
    return _difference(old, new, besides)


def _difference(old: Manifest, new: Manifest, besides: Collection[bytes]) -> tuple[Tree, Tree]:
    old_lines, new_lines = _without_equal(mtree.lines(old.mtree), mtree.lines(new.mtree))
    old_xattrs = xattrs.parse_xattrs(old.xattrs)
    new_xattrs = xattrs.parse_xattrs(new.xattrs)

    differing = {_path_of(line) for line in old_lines | new_lines}
    special = {*old_xattrs, *new_xattrs, *old.inodes, *new.inodes}
    paths = differing | special | set(besides)
    above = set(map(parent, paths))
    equal = (paths | above) - differing

    before = [*old_lines, *mtree.found(old.mtree, equal)]
    after = [*new_lines, *mtree.found(new.mtree, equal)]
    return _parsed(before, old, old_xattrs), _parsed(after, new, new_xattrs)


def _without_equal(old: list[bytes], new: list[bytes]) -> tuple[set[bytes], set[bytes]]:
    """Give what only one of two manifests has; mostly they have as many lines, and few differ."""
    if len(old) == len(new):
        differs = list(map(ne, old, new))
        old = list(compress(old, differs))
        new = list(compress(new, differs))
    before, after = set(old), set(new)
    return before - after, after - before


def _path_of(line: bytes) -> bytes:
    return mtree.path_of(mtree.word_of(line))


def _parsed(lines: Iterable[bytes], manifest: Manifest, attributes: xattrs.Xattrs) -> Tree:
    tree = mtree.parse_lines(lines, manifest.folder, manifest.stamps or {})
    noted = attributes.keys() | manifest.inodes.keys()  # of most there is neither
    for path in tree.keys() & noted:
        own = attributes.get(path, ())
        inode = manifest.inodes.get(path, 0)
        tree[path] = tree[path]._replace(xattrs=own, inode=inode)
    return tree
