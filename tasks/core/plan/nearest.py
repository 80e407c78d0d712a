"""The release on a server that a new one is most like, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import content, read
from ..release import HOOKS_IMG
from ..store import journal
from ..store.boot_files import current
from ..store.kept import earlier
from ..store.paths import Targets
from ..tree.manifest import NOTHING, Manifest, difference
from ..tree.model import Tree
from .compare import Rights, TreeChange, compare, compare_initrds, rights
from .state import Actual, BuiltRelease, manifest_of_build


def nearest(actual: Actual, built: BuiltRelease) -> str | None:
    """The release that a new one is likely most like.

    What its image boots, what it booted, what any image boots: the first that can be compared.
    """
    release = built.release
    for id in _candidates(actual, release.image):
        if id == release.id or id not in actual.released:
            continue
        if _is_usable(actual.targets, id):
            return id
    return None


def _candidates(actual: Actual, image: str) -> Iterator[str]:
    present = current(actual.files, image)
    if present:
        yield present
    yield from reversed(journal.history(actual.records, image))
    released = actual.released
    yield from (id for id in released if released[id].image == image)
    yield from (id for id in released if released[id].image != image)


def _is_usable(targets: Targets, release: str) -> bool:
    """Is what is kept of a release whole?

    One of which it is not can be compared with nothing; verify says so.
    """
    try:
        return bool(earlier(targets, release))
    except (Refused, OSError):
        return False


class TreeDiff(NamedTuple):
    """What differs in a new tree and in the one on the server that it is most like."""

    before: Tree  # empty where there is none
    after: Tree


def load_diff(actual: Actual, built: BuiltRelease) -> TreeDiff:
    """What a build has that the release nearest to it has not, and the reverse."""
    return _tree_diff(actual.targets, nearest(actual, built), built)


@lru_cache(maxsize=4)
def _tree_diff(targets: Targets, like: str | None, built: BuiltRelease) -> TreeDiff:
    before, after = differing_trees(targets, like, built)
    same = set()
    for path, entry in after.items():
        if path in before and before[path].content == entry.content:
            same.add(path)
    return TreeDiff(_without(before, same), _without(after, same))


def _without(tree: Tree, same: set[bytes]) -> Tree:
    return {path: entry for path, entry in tree.items() if path not in same}


@lru_cache(maxsize=4)
def differing_trees(targets: Targets, like: str | None, built: BuiltRelease) -> tuple[Tree, Tree]:
    """The names whose lines in the two manifests differ."""
    try:
        return difference(*_manifests(targets, like, built))
    except ValueError as error:
        raise Refused(f"{targets.kept(like or '')}.mtree or .xattrs: {error}") from None


def _manifests(
    targets: Targets, like: str | None, built: BuiltRelease
) -> tuple[Manifest, Manifest]:
    """How a release on the server is written down, and a build."""
    before = earlier(targets, like).record if like else NOTHING
    return before, manifest_of_build(built)


def root_change(actual: Actual, built: BuiltRelease) -> TreeChange:
    """How a new root differs from that of the release nearest to it."""
    return compare(*load_diff(actual, built))


def rights_change(actual: Actual, built: BuiltRelease) -> tuple[Rights, Rights]:
    """The rights in the root of the release nearest to a new one, and in its own."""
    before, after = _manifests(actual.targets, nearest(actual, built), built)
    return rights(before.mtree), rights(after.mtree)


def _loaded(folder: str) -> bytes:
    """What nodes load of a release as the kernel gets it: one archive behind the other."""
    return read(f"{folder}/initrd.img") + (content(f"{folder}/{HOOKS_IMG}") or b"")


def initrd_change(actual: Actual, built: BuiltRelease) -> TreeChange | None:
    """How a new initrd differs inside from that of the release nearest to it.

    None where that cannot be seen.
    """
    like = nearest(actual, built)
    try:
        before, after = _loaded(actual.targets.boot(like or "")), _loaded(built.folder)
        return compare_initrds(before, after)
    except (OSError, ImportError):  # a boot server has no zstandard
        return None
