"""Trees for properties, and all that counts of one."""

from __future__ import annotations

import os

from hypothesis import strategies as some

from tasks.core.checkout import staged
from tasks.core.tree.diff import Changes, groups
from tasks.core.tree.manifest import read_manifest
from tasks.core.tree.model import BLOCK, CHAR, DIR, FIFO, FILE, LINK, Entry, Tree

names = some.binary(min_size=1, max_size=20).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
)
number = some.integers(0, 2**32 - 1)
device = some.tuples(number, number)
digest = some.binary(min_size=32, max_size=32).map(bytes.hex)
target = some.binary(min_size=1).filter(lambda link: 0 not in link)
keys = names.map(lambda name: "user." + os.fsdecode(name))
labels = some.dictionaries(keys, some.binary(max_size=9), max_size=2).map(
    lambda found: tuple(sorted(found.items()))
)
nothing = {"size": 0, "link": b"", "device": None, "digest": ""}


def entries(kind: str, **more: some.SearchStrategy) -> some.SearchStrategy[Entry]:
    what = some.fixed_dictionaries(more).map(nothing.__or__)
    who = some.tuples(some.integers(0, 0o7777), number, number)
    return some.builds(
        lambda who, what, found: Entry(kind, *who, **what, xattrs=found), who, what, labels
    )


anything = some.one_of(
    entries(DIR),
    entries(FIFO),
    entries(FILE, size=number, digest=digest),
    entries(LINK, link=target),
    entries(CHAR, device=device),
    entries(BLOCK, device=device),
)
paths = some.lists(names, min_size=1, max_size=4).map(b"/".join)
trees = some.dictionaries(paths, anything).map({b"": Entry(DIR, 0o755, 0, 0)}.__or__)


def applied(changes: Changes, old: Tree) -> Tree:
    """What `old` is after the steps: `applied(changes_between(a, b), a)` equals `b`."""
    removed = set(changes.removed)
    tree = {path: entry for path, entry in old.items() if path not in removed}
    return tree | dict(changes.added) | dict(changes.changed) | dict(changes.touched)


def load_staged(place: staged.StagedPaths) -> Tree:
    """The tree that is staged there, with the files of its folder as sources."""
    return read_manifest(staged.staged_manifest(place))


def contents(tree: Tree) -> dict:
    """All that counts of a tree: entries, and which names share a file."""
    shared = groups(tree)
    return {path: (entry.content, shared.get(path)) for path, entry in tree.items()}


def bytes_read() -> int:
    """By this process so far, copies within the kernel too (proc(5))."""
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])
