"""The release on a server that a new one is most like, and what differs."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..base.errors import Refused
from ..store import journal
from ..store.boot_files import current
from ..store.kept import earlier
from ..store.paths import Targets
from ..tree.manifest import NOTHING, Manifest, difference
from ..tree.model import Tree, without_collection
from .state import Actual, BuiltRelease, manifest_of_build


def nearest(there: Actual, built: BuiltRelease) -> str | None:
    """The release that a new one is likely most like: what its image boots, what it booted, what any image boots."""
    image = built.release.image
    past = [current(there.files, image), *reversed(journal.history(there.records, image))]
    others = sorted(there.released, key=lambda id: there.released[id].image != image)
    known = (
        id for id in [*past, *others] if id and id in there.released and id != built.release.id
    )
    return next((id for id in known if _is_usable(there.targets, id)), None)


def _is_usable(targets: Targets, release: str) -> bool:
    """Is what is kept of a release whole? One of which it is not can be compared with nothing; verify says so."""
    try:
        return bool(earlier(targets, release))
    except (Refused, OSError):
        return False


class TreeDiff(NamedTuple):
    """What differs in a new tree and in the one on the server that it is most like."""

    before: Tree  # empty where there is none
    after: Tree


def load_diff(there: Actual, built: BuiltRelease) -> TreeDiff:
    """What a build has that the release nearest to it has not, and the reverse."""
    return _pair(there.targets, nearest(there, built), built)


def records(targets: Targets, like: str | None, built: BuiltRelease) -> tuple[Manifest, Manifest]:
    """How a release on the server is written down, and a build."""
    return earlier(targets, like).record if like else NOTHING, manifest_of_build(built)


@lru_cache(maxsize=4)
def differing_trees(targets: Targets, like: str | None, built: BuiltRelease) -> tuple[Tree, Tree]:
    try:
        with without_collection():
            return difference(*records(targets, like, built))
    except ValueError as error:
        raise Refused(f"{targets.kept(like or '')}.mtree or .xattrs: {error}") from None


@lru_cache(maxsize=4)
def _pair(targets: Targets, like: str | None, built: BuiltRelease) -> TreeDiff:
    before, after = differing_trees(targets, like, built)
    same = {
        path
        for path, entry in after.items()
        if path in before and before[path].content == entry.content
    }
    trees = (
        {path: entry for path, entry in tree.items() if path not in same}
        for tree in (before, after)
    )
    return TreeDiff(*trees)
