"""Summary: a plan as text for people and as JSON for scripts."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ..base import files
from ..base.nodeset import fold_nodes
from ..base.text import human, shown_path
from . import nearest
from .compare import TreeChange, compare, compare_initrds, rights
from .decide import FileChange, NodeChanges, Plan, ReleaseChange
from .state import Actual, BuiltRelease

LONGEST_DIFF = 120  # lines of one file in the text; JSON has all
LONGEST_LIST = 20  # paths of one kind
COLOURS = {"+": "\033[32m", "-": "\033[31m", "~": "\033[33m", "@": "\033[36m", "!": "\033[1;33m"}


# --- text


Section = tuple[str, str]  # a title and what stands below it; of the last one only the text


def sections(plan: Plan, there: Actual) -> list[Section]:
    """The plan for a terminal or a log; `no changes` where there is nothing to do."""
    if not plan.changed:
        return [("", "\n".join(["no changes", *_remarks(plan, there)]))]
    parts = (
        _releases(plan, there),
        _site_data(plan),
        _files(plan, there),
        _by_hand(plan),
        _actions(plan, there),
    )
    told = [tuple(part) for part in parts]
    titled = [(lines[0], "\n".join(lines[1:])) for lines in told if lines]
    return [*titled, ("", _total(plan, there))]


def plan_text(plan: Plan, there: Actual) -> str:
    """All sections as one text."""
    return "\n".join(map(section_text, sections(plan, there)))


def section_text(section: Section) -> str:
    return "\n".join(filter(None, section))


def painted(text: str) -> str:
    """The text with a colour for each line that begins with a sign."""
    return "\n".join(map(_coloured, text.split("\n")))


def _coloured(line: str) -> str:
    start = COLOURS.get(line.lstrip()[:1])
    return f"{start}{line}\033[0m" if start else line


def _releases(plan: Plan, there: Actual) -> Iterator[str]:
    """What will run, and where; each release with how it differs from the one that it is likest."""
    moves = {move.after: move for move in plan.moves}
    boots, roots = (
        {built.release.id: built for built in group} for group in (plan.boots, plan.roots)
    )
    if moves or boots or roots or plan.switches:
        yield "Releases"
    for id in dict.fromkeys([*moves, *boots, *roots]):
        yield from _move(moves[id]) if id in moves else [f"  + {id}"]
        if id in boots:
            yield from _boot_parts(boots[id], there)
        if id in roots:
            yield from _root(roots[id], there)
    for switch in plan.switches:
        yield f"  ~ {switch.before or 'nothing'} -> {switch.after}"
        yield f"    {_count(switch.nodes, 'node')} at the next boot: {_fold(switch.nodes)}"


def _move(move: ReleaseChange) -> Iterator[str]:
    yield (
        f"  ~ {move.image}: {move.before} -> {move.after}"
        if move.before
        else f"  + {move.image}: {move.after}"
    )
    yield f"    {_count(move.nodes, 'node')} at the next boot{': ' + _fold(move.nodes) if move.nodes else ''}"


def _boot_parts(built: BuiltRelease, there: Actual) -> Iterator[str]:
    """Kernel, initrd and arguments, where they differ from those of the release before."""
    like, after = nearest.nearest(there, built), built.release
    before = there.released.get(like) if like else None
    if before is None:
        yield f"    + kernel {after.kernel_version}, initrd, {after.cmdline or 'no arguments'}"
        return
    if before.kernel != after.kernel:
        kernels = [f"{one.kernel_version} ({one.kernel[:12]})" for one in (before, after)]
        yield f"    ~ kernel {' -> '.join(kernels)}"
    if before.initrd != after.initrd:
        yield from _initrd(built, there)
    if before.cmdline != after.cmdline:
        yield f"    ~ arguments {before.cmdline!r} -> {after.cmdline!r}"


def _initrd(built: BuiltRelease, there: Actual) -> Iterator[str]:
    change = initrd_change(built, there)
    if change is None:
        yield "    ~ initrd"
        return
    yield f"    ~ initrd: {_counts(change)}, {_grown(change.bytes)}"
    yield from _paths(change)


def initrd_change(built: BuiltRelease, there: Actual) -> TreeChange | None:
    """How its initrd differs inside from that of the release that it is likest; None where that cannot be seen."""
    like = nearest.nearest(there, built)
    try:
        return compare_initrds(
            *map(
                files.read,
                (f"{there.targets.boot(like or '')}/initrd.img", built.path("initrd.img")),
            )
        )
    except (OSError, ImportError):  # a boot server has no zstandard
        return None


def _root(built: BuiltRelease, there: Actual) -> Iterator[str]:
    like = nearest.nearest(there, built)
    if like is None:
        yield f"    + root: {_count(range(built.release.entries), 'path')}, {human(built.release.bytes)}"
    elif (
        there.released[like].root == built.release.root
        and there.released[like].xattrs == built.release.xattrs
    ):
        yield f"    root: as in {like}"
    else:
        yield from _tree(compare(*nearest.load_diff(there, built)), like)
    yield f"      {_rights(there, built)}"


def _tree(change: TreeChange, like: str) -> Iterator[str]:
    yield f"    ~ root, compared with {like}: {_counts(change)}, {_grown(change.bytes)}"
    for folder, counts in list(change.folders.items())[:LONGEST_LIST]:
        name = "" if folder == "." else folder
        yield f"      /{name}: +{counts.added} -{counts.removed} ~{counts.changed}, {_grown(counts.bytes)}"
    yield from _more(len(change.folders), "folders")
    yield from _paths(change)
    yield from (f"      ! /{line}" for line in change.notable[:LONGEST_LIST])
    yield from _more(len(change.notable), "modes and owners")


def _paths(change: TreeChange) -> Iterator[str]:
    for sign, paths in (("+", change.added), ("-", change.removed), ("~", change.changed)):
        yield from (f"      {sign} /{shown_path(path)}" for path in paths[:LONGEST_LIST])
        yield from _more(len(paths), "paths")


def _rights(there: Actual, built: BuiltRelease) -> str:
    """Of the whole new root, and how it was where that differs."""
    like = nearest.nearest(there, built)
    before, after = (rights(record.mtree) for record in nearest.records(there.targets, like, built))
    words = [
        f"{count} {what}" + (f" ({was} before)" if like and was != count else "")
        for count, was, what in zip(after, before, ("setuid or setgid", "not world-readable"))
    ]
    return f"of its files {', '.join(words)}"


def _grown(size: int) -> str:
    return ("-" if size < 0 else "+") + human(abs(size))


def _more(count: int, what: str) -> Iterator[str]:
    if count > LONGEST_LIST:
        yield f"        … and {count - LONGEST_LIST} more {what} (--json has all)"


def _counts(change: TreeChange) -> str:
    return (
        f"{len(change.added)} added, {len(change.removed)} removed, {len(change.changed)} changed"
    )


def _site_data(plan: Plan) -> Iterator[str]:
    nodes = plan.nodes
    if not (plan.site_img or plan.site_files or nodes.added or nodes.removed or nodes.changed):
        return
    yield "Site data"
    if nodes.added:
        yield f"  + {_count(nodes.added, 'node')}: {_fold(nodes.added)}"
    if nodes.removed:
        yield f"  - {_count(nodes.removed, 'node')}: {_fold(nodes.removed)}"
    for fields, names in by_fields(nodes).items():
        yield f"  ~ {_count(names, 'node')}: {_fold(names)} ({', '.join(fields)})"
    for change in plan.site_files:
        yield from _file(change)
    yield from _renamed(plan)


def _renamed(plan: Plan) -> Iterator[str]:
    """A disk is known by the site's name (setup.sh)."""
    names = [
        re.findall(r"^site=(.*)$", (data or b"").decode(), re.MULTILINE)
        for change in plan.site_files
        if change.path == "plugnode/site"
        for data in (change.before, change.after)
    ]
    if names and names[0] != names[1]:
        yield f"  ! the site is {names[1][0]} now: the disks of all nodes are another site's, and stay untouched"


def by_fields(nodes: NodeChanges) -> dict[tuple[str, ...], list[str]]:
    """The changed nodes by what changed of them."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, fields in nodes.changed:
        found.setdefault(fields, []).append(name)
    return found


def _files(plan: Plan, there: Actual) -> Iterator[str]:
    if plan.changes or plan.loaders or plan.opened:
        yield "Files"
    for name in plan.opened:
        yield f"  ~ {there.targets.tftp}/{name}: closed to its readers, TFTP servers; they may enter it then"
    for name in plan.loaders:
        yield f"  {'~' if name in there.loaders else '+'} loader {name}"
    for change in plan.changes:
        yield from _file(change)


def _file(change: FileChange) -> Iterator[str]:
    note = f" ({change.found}: that is lost)" if change.found else ""
    yield f"  {_sign(change)} {change.path}{note}"
    lines = diff(change)
    yield from (f"    {line}" for line in lines[:LONGEST_DIFF])
    if len(lines) > LONGEST_DIFF:
        yield f"      … and {len(lines) - LONGEST_DIFF} more lines (--json has all)"


def _by_hand(plan: Plan) -> Iterator[str]:
    if plan.by_hand:
        yield "Files that no deploy installs (build/configs)"
    for change in plan.by_hand:
        yield from _file(change)


def _sign(change: FileChange) -> str:
    return "+" if change.before is None else "-" if change.after is None else "~"


def diff(change: FileChange) -> list[str]:
    """Unified, without its two header lines; sizes only where it is no text."""
    try:
        before, after = (
            (data or b"").decode().splitlines() for data in (change.before, change.after)
        )
    except UnicodeDecodeError:
        return [f"~ {len(change.before or b'')} -> {len(change.after or b'')} bytes"]
    return list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]


def _actions(plan: Plan, there: Actual) -> Iterator[str]:
    """What happens besides, and what an admin can do then."""
    lines = _remarks(plan, there)
    lines += [
        f"  ! {change.reload}, for {change.path}" for change in plan.services if change.reload
    ]
    lines += [f"  ! {line}" for line in plan.warnings]
    lines += [f"  ! doit prune, when asked, removes {id}: {why}" for id, why in there.prunable]
    if lines:
        yield from ("Actions", *lines)


def _remarks(plan: Plan, there: Actual) -> list[str]:
    """What an admin must know, whether anything is changed or not."""
    return [f"  ! {line}" for line in (*plan.held, *there.notes)]


def _total(plan: Plan, there: Actual) -> str:
    signs = Counter(map(_sign, plan.changes))
    signs.update("~" if name in there.loaders else "+" for name in plan.loaders)
    roots = f"{_count(plan.roots, 'release')} to publish, " if plan.roots else ""
    return f"Plan: {roots}{_number(signs['+'], 'file')} to add, {signs['~']} to change, {signs['-']} to remove."


def _count(things: Any, what: str) -> str:
    return _number(len(things), what)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _fold(names: Iterable[str]) -> str:
    return fold_nodes(names)


# --- JSON


def as_json(plan: Plan, there: Actual) -> dict[str, Any]:
    """The whole plan, nothing folded or cut."""
    return {
        "changed": plan.changed,
        "releases": [
            {
                "image": move.image,
                "before": move.before,
                "after": move.after,
                "nodes": list(move.nodes),
            }
            for move in plan.moves
        ],
        "switches": [
            {"before": switch.before, "after": switch.after, "nodes": list(switch.nodes)}
            for switch in plan.switches
        ],
        "roots": [_root_json(built, there) for built in plan.roots],
        "boots": [_boot_json(built, there) for built in plan.boots],
        "site_data": plan.site_img,
        "nodes": {
            "added": list(plan.nodes.added),
            "removed": list(plan.nodes.removed),
            "changed": {name: list(fields) for name, fields in plan.nodes.changed},
        },
        "site_files": list(map(_file_json, plan.site_files)),
        "loaders": list(plan.loaders),
        "files": list(map(_file_json, plan.changes)),
        "by_hand": list(map(_file_json, plan.by_hand)),
        "reloads": [
            {"path": change.path, "command": change.reload}
            for change in plan.services
            if change.reload
        ],
        "warnings": list(plan.warnings),
        "held": list(plan.held),
        "opened": list(plan.opened),
        "notes": list(there.notes),
        "prunable": [{"release": id, "why": why} for id, why in there.prunable],
    }


ACTIONS = {"+": "add", "~": "change", "-": "remove"}


def _file_json(change: FileChange) -> dict[str, Any]:
    return {
        "path": change.path,
        "action": ACTIONS[_sign(change)],
        "found": change.found,
        "diff": diff(change),
    }


def _root_json(built: BuiltRelease, there: Actual) -> dict[str, Any]:
    like = nearest.nearest(there, built)
    before, after = (rights(record.mtree) for record in nearest.records(there.targets, like, built))
    return {
        "release": built.release.id,
        "compared_with": like,
        **_tree_json(compare(*nearest.load_diff(there, built))),
        "rights": {"before": before._asdict(), "after": after._asdict()},
    }


def _tree_json(change: TreeChange) -> dict[str, Any]:
    return {
        "added": list(map(shown_path, change.added)),
        "removed": list(map(shown_path, change.removed)),
        "changed": list(map(shown_path, change.changed)),
        "notable": list(change.notable),
        "folders": {folder: list(counts) for folder, counts in change.folders.items()},
    }


def _boot_json(built: BuiltRelease, there: Actual) -> dict[str, Any]:
    like = nearest.nearest(there, built)
    before = there.released.get(like) if like else None
    parts = {
        name: {"before": getattr(before, name, None), "after": getattr(built.release, name)}
        for name in ("kernel_version", "kernel", "initrd", "cmdline")
    }
    change = (
        initrd_change(built, there) if before and before.initrd != built.release.initrd else None
    )
    return {
        "release": built.release.id,
        "compared_with": like,
        **parts,
        "initrd_files": _tree_json(change) if change else None,
    }
