"""Summary: a plan as text for people and as JSON for scripts."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from . import place
from .plan import Built, Change, NodeChanges, Plan, There
from .space import human
from .tree import FILE, Entry, Tree
from .verify import shown

LONGEST_DIFF = 120  # lines of one file in the text; JSON has all
LONGEST_LIST = 20  # paths of one kind
DEPTH = 3  # folders of the root tree are counted as usr/share/doc
COLOURS = {"+": "\033[32m", "-": "\033[31m", "~": "\033[33m", "@": "\033[36m", "!": "\033[1;33m"}


class TreeChange(NamedTuple):
    """How one root differs from another, by path."""

    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    changed: tuple[bytes, ...]
    notable: tuple[str, ...]  # setuid bits and owners
    folders: dict[str, tuple[int, int, int, int]]  # folder -> added, removed, changed, bytes more


def compare(before: Tree, after: Tree) -> TreeChange:
    """What is different, path by path and counted by folder."""
    added, removed = (sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys()))
    changed = sorted(path for path in after.keys() & before.keys() if after[path].content != before[path].content)
    notable = [line for path in sorted({*added, *changed}) for line in _notable(path, before.get(path), after[path])]
    return TreeChange(
        tuple(added), tuple(removed), tuple(changed), tuple(notable), _folders(before, after, added, removed, changed)
    )


def _notable(path: bytes, before: Entry | None, after: Entry) -> Iterator[str]:
    """What a reviewer must not miss of one path."""
    old_bits = before.mode & 0o6000 if before and before.type == FILE else 0
    if after.type == FILE and after.mode & 0o6000 and after.mode & 0o6000 != old_bits:
        yield f"{shown(path)}: runs as its owner or group now (mode {after.mode:04o}, owner {after.uid}:{after.gid})"
    if before and (before.uid, before.gid) != (after.uid, after.gid):
        yield f"{shown(path)}: owner {before.uid}:{before.gid} -> {after.uid}:{after.gid}"
    if before and before.type == after.type != "link" and before.mode != after.mode:
        yield f"{shown(path)}: mode {before.mode:04o} -> {after.mode:04o}"


def _folders(
    before: Tree, after: Tree, added: Iterable[bytes], removed: Iterable[bytes], changed: Iterable[bytes]
) -> dict[str, tuple[int, int, int, int]]:
    counts: dict[str, Counter[str]] = {}
    for kind, paths in (("added", added), ("removed", removed), ("changed", changed)):
        for path in paths:
            count = counts.setdefault(shown(b"/".join(path.split(b"/")[:-1][:DEPTH])), Counter())
            count[kind] += 1
            count["bytes"] += (after[path].size if path in after else 0) - (before[path].size if path in before else 0)
    return {
        folder: (count["added"], count["removed"], count["changed"], count["bytes"])
        for folder, count in sorted(counts.items())
    }


# --- text


def text(plan: Plan, there: There, colour: bool = False) -> str:
    """The plan for a terminal or a log; `no changes` where there is nothing to do."""
    if not plan.changed:
        return "no changes"
    lines = [
        *_releases(plan, there),
        *_site_data(plan),
        *_files(plan, there),
        *_actions(plan, there),
        _total(plan, there),
    ]
    return "\n".join(map(_coloured, lines) if colour else lines)


def _coloured(line: str) -> str:
    start = COLOURS.get(line.lstrip()[:1])
    return f"{start}{line}\033[0m" if start else line


def _releases(plan: Plan, there: There) -> Iterator[str]:
    """What will run, and where."""
    if not (plan.moves or plan.roots or plan.boots):
        return
    yield "Releases"
    for move in plan.moves:
        yield (f"  ~ {move.image}: {move.before} -> {move.after}" if move.before else f"  + {move.image}: {move.after}")
        yield f"    {_count(move.nodes, 'node')} at the next boot{': ' + _fold(move.nodes) if move.nodes else ''}"
    for built in plan.boots:
        yield from _boot_parts(built, there)
    for built in plan.roots:
        yield from _root(built, there)


def _boot_parts(built: Built, there: There) -> Iterator[str]:
    """Kernel, initrd and arguments, where they differ from those of the release before."""
    like, after = place.nearest(there, built), built.release
    before = there.released.get(like) if like else None
    if before is None:
        yield f"    + kernel {after.kernel_version}, initrd, {after.cmdline or 'no arguments'}"
        return
    if before.kernel != after.kernel:
        kernels = [f"{one.kernel_version} ({one.kernel[:12]})" for one in (before, after)]
        yield f"    ~ kernel {' -> '.join(kernels)}"
    if before.initrd != after.initrd:
        yield f"    ~ initrd {before.initrd[:12]} -> {after.initrd[:12]}"
    if before.cmdline != after.cmdline:
        yield f"    ~ arguments {before.cmdline!r} -> {after.cmdline!r}"


def _root(built: Built, there: There) -> Iterator[str]:
    like = place.nearest(there, built)
    if not like:
        yield f"    + root: {_count(range(built.release.entries), 'path')}, {human(built.release.bytes)}"
        return
    change = compare(*place.load_pair(there, built).changed)
    yield f"    root, compared with {like}: {_counts(change)}"
    for folder, (added, removed, changed, size) in list(change.folders.items())[:LONGEST_LIST]:
        grown = ("-" if size < 0 else "+") + human(abs(size))
        yield f"      /{'' if folder == '.' else folder}: +{added} -{removed} ~{changed}, {grown}"
    yield from _more(len(change.folders), "folders")
    for sign, paths in (("+", change.added), ("-", change.removed), ("~", change.changed)):
        yield from (f"      {sign} /{shown(path)}" for path in paths[:LONGEST_LIST])
        yield from _more(len(paths), "paths")
    yield from (f"      ! /{line}" for line in change.notable[:LONGEST_LIST])
    yield from _more(len(change.notable), "modes and owners")


def _more(count: int, what: str) -> Iterator[str]:
    if count > LONGEST_LIST:
        yield f"        … and {count - LONGEST_LIST} more {what} (--json has all)"


def _counts(change: TreeChange) -> str:
    return f"{len(change.added)} added, {len(change.removed)} removed, {len(change.changed)} changed"


def _site_data(plan: Plan) -> Iterator[str]:
    nodes = plan.nodes
    if not (plan.site_img or nodes.added or nodes.removed or nodes.changed):
        return
    yield "Site data"
    if nodes.added:
        yield f"  + {_count(nodes.added, 'node')}: {_fold(nodes.added)}"
    if nodes.removed:
        yield f"  - {_count(nodes.removed, 'node')}: {_fold(nodes.removed)}"
    for fields, names in by_fields(nodes).items():
        yield f"  ~ {_count(names, 'node')}: {_fold(names)} ({', '.join(fields)})"


def by_fields(nodes: NodeChanges) -> dict[tuple[str, ...], list[str]]:
    """The changed nodes by what changed of them."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, fields in nodes.changed:
        found.setdefault(fields, []).append(name)
    return found


def _files(plan: Plan, there: There) -> Iterator[str]:
    if plan.changes or plan.loaders:
        yield "Files"
    for name in plan.loaders:
        yield f"  {'~' if name in there.loaders else '+'} loader {name}"
    for change in plan.changes:
        note = f" ({change.found}: that is lost)" if change.found else ""
        yield f"  {_sign(change)} {change.path}{note}"
        lines = diff(change)
        yield from (f"    {line}" for line in lines[:LONGEST_DIFF])
        if len(lines) > LONGEST_DIFF:
            yield f"      … and {len(lines) - LONGEST_DIFF} more lines (--json has all)"


def _sign(change: Change) -> str:
    return "+" if change.before is None else "-" if change.after is None else "~"


def diff(change: Change) -> list[str]:
    """Unified, without its two header lines; sizes only where it is no text."""
    try:
        before, after = ((data or b"").decode().splitlines() for data in (change.before, change.after))
    except UnicodeDecodeError:
        return [f"~ {len(change.before or b'')} -> {len(change.after or b'')} bytes"]
    return list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]


def _actions(plan: Plan, there: There) -> Iterator[str]:
    if not plan.services or there.targets.destdir:
        return
    yield "Actions"
    for change in plan.services:
        yield f"  ! the daemon of {change.path} reads it again"


def _total(plan: Plan, there: There) -> str:
    signs = Counter(map(_sign, plan.changes))
    signs.update("~" if name in there.loaders else "+" for name in plan.loaders)
    roots = f"{_count(plan.roots, 'release')} to publish, " if plan.roots else ""
    return f"Plan: {roots}{_number(signs['+'], 'file')} to add, {signs['~']} to change, {signs['-']} to remove."


def _count(things: Any, what: str) -> str:
    return _number(len(things), what)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _fold(names: Iterable[str]) -> str:
    from .ranges import fold

    return fold(names)


# --- JSON


def as_json(plan: Plan, there: There) -> dict[str, Any]:
    """The whole plan, nothing folded or cut."""
    return {
        "changed": plan.changed,
        "releases": [
            {"image": move.image, "before": move.before, "after": move.after, "nodes": list(move.nodes)}
            for move in plan.moves
        ],
        "roots": [_root_json(built, there) for built in plan.roots],
        "boots": [built.release.id for built in plan.boots],
        "site_data": plan.site_img,
        "nodes": {
            "added": list(plan.nodes.added),
            "removed": list(plan.nodes.removed),
            "changed": {name: list(fields) for name, fields in plan.nodes.changed},
        },
        "loaders": list(plan.loaders),
        "files": [
            {"path": change.path, "action": ACTIONS[_sign(change)], "found": change.found, "diff": diff(change)}
            for change in plan.changes
        ],
        "reloads": [] if there.targets.destdir else [change.path for change in plan.services],
    }


ACTIONS = {"+": "add", "~": "change", "-": "remove"}


def _root_json(built: Built, there: There) -> dict[str, Any]:
    change = compare(*place.load_pair(there, built).changed)
    return {
        "release": built.release.id,
        "compared_with": place.nearest(there, built),
        "added": list(map(shown, change.added)),
        "removed": list(map(shown, change.removed)),
        "changed": list(map(shown, change.changed)),
        "notable": list(change.notable),
        "folders": {folder: list(counts) for folder, counts in change.folders.items()},
    }
