"""Releases that are compared: those that a plan brings, and any two that a server holds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..base.errors import Refused
from ..base.text import counted, human
from ..plan.compare import compare
from ..plan.model import Plan
from ..plan.nearest import load_diff, nearest
from ..plan.state import Actual
from ..release import Release
from ..store.kept import earlier, published
from ..store.paths import Targets
from ..tree.manifest import difference
from ..tree.model import Tree
from .packages import may_differ
from .sides import differing_texts, read_side

Asked = dict[str, Any]  # what differs, and both sides; `new` is None where it is in the build
# Tells what of that may be told: he who asked, who has the build, the rules and `keep`
Tell = Callable[[Asked], Mapping[str, Any]]


def plan_history(plan: Plan, actual: Actual, tell: Tell) -> list[Mapping[str, Any]]:
    """What each release of a plan changes, as `disclosure.told` has it."""
    return list(map(tell, _asked(plan, actual)))


def _asked(plan: Plan, actual: Actual) -> Iterator[Asked]:
    """New roots beside those nearest to them; what nodes move between on the server itself."""
    for built in plan.roots:
        like = nearest(actual, built)
        if like is not None:
            asked = _compared(actual.targets, like, built.release, *load_diff(actual, built))
            if asked["packages"] or asked["paths"]:
                yield asked
    there = actual.released.keys() - {built.release.id for built in plan.roots}
    moved = [(move.before or "", move.after) for move in plan.moves]
    moved += [(switch.before or "", switch.after) for switch in plan.switches]
    for before, after in dict.fromkeys(moved):
        if {before, after} <= there:
            with contextlib.suppress(Refused, OSError):  # what is kept of one is damaged
                yield compared_there(actual.targets, actual.released, before, after)


def _compared(targets: Targets, like: str, after: Release, old: Tree, new: Tree) -> Asked:
    """What differs in a release, by two trees of all that does, and how the one before has it."""
    paths, packages = differing_texts(old, new), may_differ(old, new)
    side = read_side(earlier(targets, like).record, targets.root(like), paths, packages)
    return {
        "image": after.image,
        "before": like,
        "after": after.id,
        "paths": paths,
        "packages": packages,
        "old": side.dump(),
        "new": None,
    }


def compared_there(
    targets: Targets, released: Mapping[str, Release], before: str, after: str
) -> Asked:
    """The same of two releases that are on the server, with both sides."""
    old, new = earlier(targets, before).record, earlier(targets, after).record
    trees = difference(old, new)
    asked = _compared(targets, before, released[after], *trees)
    side = read_side(new, targets.root(after), asked["paths"], asked["packages"])
    return {**asked, "new": side.dump()}


def server_history(targets: Targets, before: str, after: str) -> dict[str, Any]:
    """Two releases of a server: `lines` on what they are, and what differs, `asked`.

    Raises Refused where one is not there.
    """
    released = published(targets)
    for id in (before, after):
        if id not in released:
            has = ", ".join(sorted(released)) or "no release"
            raise Refused(f"{id} is not on the server; it has {has}")
    return {
        "lines": list(_lines(targets, released[before], released[after])),
        "asked": compared_there(targets, released, before, after),
    }


def _lines(targets: Targets, before: Release, after: Release) -> Iterator[str]:
    """Kernel, initrd, arguments and root, in so many words."""
    if before.kernel != after.kernel:
        yield f"~ kernel {before.kernel_version} -> {after.kernel_version}"
    if before.initrd != after.initrd:
        yield "~ initrd"
    if before.cmdline != after.cmdline:
        yield f"~ arguments {before.cmdline!r} -> {after.cmdline!r}"
    old, new = earlier(targets, before.id).record, earlier(targets, after.id).record
    change = compare(*difference(old, new))
    if not (change.added or change.removed or change.changed):
        yield "root: the same"
        return
    paths = len(change.added), len(change.removed), len(change.changed)
    words = "{} added, {} removed, {} changed".format(*paths)
    grown = ("-" if change.bytes < 0 else "+") + human(abs(change.bytes))
    yield f"~ root: {counted(sum(paths), 'path')}: {words}, {grown}"
    yield from (f"! /{line}" for line in change.notable)
