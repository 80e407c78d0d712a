"""What must be done to a tree to make it another one, as a value. Deciding is here; doing is in `folder`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from .model import Entry, Tree

Steps = tuple[tuple[bytes, Entry], ...]


class Changes(NamedTuple):
    """Steps from a tree to a tree, in their order."""

    removed: tuple[
        bytes, ...
    ]  # children before parents; what changes its type is removed, then added
    added: Steps  # parents before children
    changed: Steps  # the same name and type with other bytes, link or device, or hard-linked with other names
    touched: Steps  # the same bytes with another mode, owner or attributes

    def __bool__(self) -> bool:
        return any(self)


def changes_between(old: Tree, new: Tree) -> Changes:
    """The steps that make `old` equal to `new`. Pure."""
    retyped = {path for path in old.keys() & new.keys() if old[path].type != new[path].type}
    removed = deep_order((old.keys() - new.keys()) | retyped)
    added = deep_order((new.keys() - old.keys()) | retyped)
    differing = [
        path
        for path in old.keys() & new.keys()
        if path not in retyped and old[path].content != new[path].content
    ]
    regrouped = _regrouped(groups(old), groups(new)) & old.keys() & new.keys() - retyped
    changed = {path for path in differing if _bytes(old[path]) != _bytes(new[path])} | regrouped
    changed |= _with_their_names(changed | set(differing), groups(new)) & old.keys() - retyped
    touched = set(differing) - changed
    steps = [
        tuple((path, new[path]) for path in deep_order(paths))
        for paths in (added, changed, touched)
    ]
    return Changes(tuple(removed[::-1]), *steps)


def _bytes(entry: Entry) -> tuple[object, ...]:
    """What an entry holds, beside what is said about it."""
    return entry.size, entry.link, entry.device, entry.digest


def groups(tree: Tree) -> dict[bytes, frozenset[bytes]]:
    """Every path that shares its file with others -> all the names of that file."""
    names: dict[int, list[bytes]] = defaultdict(list)
    for path, entry in tree.items():
        if entry.inode:
            names[entry.inode].append(path)
    return {path: frozenset(paths) for paths in names.values() if len(paths) > 1 for path in paths}


def _regrouped(
    old: dict[bytes, frozenset[bytes]], new: dict[bytes, frozenset[bytes]]
) -> set[bytes]:
    return {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


def _with_their_names(paths: set[bytes], names: dict[bytes, frozenset[bytes]]) -> set[bytes]:
    """A file of several names is made anew under all of them, for none is ever written in place."""
    return {other for path in paths if path in names for other in names[path]}


def applied(steps: Changes, old: Tree) -> Tree:
    """What `old` is after the steps. Pure: `applied(plan(a, b), a)` equals `b`."""
    tree = {path: entry for path, entry in old.items() if path not in set(steps.removed)}
    return tree | dict(steps.added) | dict(steps.changed) | dict(steps.touched)


def deep_order(paths: Iterable[bytes]) -> list[bytes]:
    """Sorted so that a folder is followed by everything below it (bytewise, `a-b` would come between `a` and `a/c`)."""
    return sorted(paths, key=lambda path: path.replace(b"/", b"\0"))
