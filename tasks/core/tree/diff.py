"""The steps that make one tree another one, as a value: decided here, done by `checkout.writer`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from typing import NamedTuple

from .model import Entry, Tree

Steps = tuple[tuple[bytes, Entry], ...]
Names = dict[bytes, frozenset[bytes]]  # a path that shares its file with others -> all its names


class Changes(NamedTuple):
    """Steps from a tree to a tree, in their order."""

    removed: tuple[bytes, ...]  # children before parents; what changes its type is also added
    added: Steps  # parents before children
    changed: Steps  # same name and type; other bytes, link, device, or names of the same file
    touched: Steps  # the same bytes with another mode, owner or attributes

    def __bool__(self) -> bool:
        return any(self)


def changes_between(old: Tree, new: Tree) -> Changes:
    """Give the steps that make `old` equal to `new`."""
    retyped, differing, changed = _compared(old, new)
    removed = (old.keys() - new.keys()) | retyped
    added = (new.keys() - old.keys()) | retyped
    kept = old.keys() - removed

    names = groups(new)
    changed |= _regrouped(groups(old), names) & kept
    changed |= _with_their_names(changed | differing, names) & kept
    return Changes(
        removed=tuple(reversed(deep_order(removed))),
        added=_steps(new, added),
        changed=_steps(new, changed),
        touched=_steps(new, differing - changed),
    )


def _compared(old: Tree, new: Tree) -> tuple[set[bytes], set[bytes], set[bytes]]:
    """Give of the paths in both: those of another type; the others that differ; those in bytes."""
    retyped: set[bytes] = set()
    differing: set[bytes] = set()
    changed: set[bytes] = set()
    for path in old.keys() & new.keys():
        before, after = old[path], new[path]
        if before.type != after.type:
            retyped.add(path)
        elif before.content != after.content:
            differing.add(path)
            if _bytes(before) != _bytes(after):
                changed.add(path)
    return retyped, differing, changed


def _steps(tree: Tree, paths: Set[bytes]) -> Steps:
    return tuple((path, tree[path]) for path in deep_order(paths))


def _bytes(entry: Entry) -> tuple[object, ...]:
    """Give what an entry holds, without what is said about it."""
    return entry.size, entry.link, entry.device, entry.digest


def groups(tree: Tree) -> Names:
    """Give all names of each file that has several, by each of them."""
    names: dict[int, list[bytes]] = defaultdict(list)
    for path, entry in tree.items():
        if entry.inode:
            names[entry.inode].append(path)

    found: Names = {}
    for paths in names.values():
        if len(paths) > 1:
            together = frozenset(paths)
            found |= dict.fromkeys(paths, together)
    return found


def _regrouped(old: Names, new: Names) -> set[bytes]:
    paths = old.keys() | new.keys()
    return {path for path in paths if old.get(path) != new.get(path)}


def _with_their_names(paths: Set[bytes], names: Names) -> set[bytes]:
    """A file of several names is made anew under all of them, for none is ever written in place."""
    found: set[bytes] = set()
    for path in paths & names.keys():
        found |= names[path]
    return found


def deep_order(paths: Iterable[bytes]) -> list[bytes]:
    """Sort so that a folder is followed by all below it (bytewise, `a-b` is before `a/c`)."""
    return sorted(paths, key=lambda path: path.replace(b"/", b"\0"))
