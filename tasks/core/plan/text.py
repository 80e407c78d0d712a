"""A plan as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..base.nodeset import fold_nodes
from ..base.text import counted, human, shown_path
from ..release import Release
from ..site_data import SITE, value_of
from .compare import TreeChange
from .model import FileChange, NodesReassigned, Plan, ReleaseChange
from .nearest import initrd_change, nearest, rights_change, root_change
from .state import Actual, BuiltRelease

LONGEST_DIFF = 120  # lines of one file in the text; JSON has all
LONGEST_LIST = 20  # paths of one kind
COLOURS = {
    "+": "\033[32m",
    "-": "\033[31m",
    "~": "\033[33m",
    "@": "\033[36m",
    "!": "\033[1;33m",
}


Section = tuple[str, str]  # a title and what stands below it; of the last one only the text
# From one release to another -> what that changes, in lines
History = Mapping[tuple[str, str], Sequence[str]]


def sections(plan: Plan, actual: Actual, history: History) -> list[Section]:
    """The plan for a terminal or a log; `no changes` where there is nothing to do."""
    if not plan.changed:
        lines = ["no changes", *_remarks(plan, actual)]
        return [("", "\n".join(lines))]
    parts = (
        _releases(plan, actual, history),
        _site_data(plan),
        _signed(plan),
        _files(plan, actual),
        _by_hand(plan),
        _actions(plan, actual),
    )
    found = []
    for lines in map(list, parts):
        if lines:
            found.append((lines[0], "\n".join(lines[1:])))
    return [*found, ("", _total(plan, actual))]


def plan_text(plan: Plan, actual: Actual) -> str:
    """All sections as one text."""
    return "\n".join(map(section_text, sections(plan, actual, {})))


def section_text(section: Section) -> str:
    """A section with its title, as one text."""
    return "\n".join(filter(None, section))


def painted(text: str) -> str:
    """The text with a colour for each line that begins with a sign."""
    return "\n".join(map(_coloured, text.split("\n")))


def _coloured(line: str) -> str:
    start = COLOURS.get(line.lstrip()[:1])
    return f"{start}{line}\033[0m" if start else line


def _releases(plan: Plan, actual: Actual, history: History) -> Iterator[str]:
    """What will run, and where; each release with how it differs from the one nearest to it."""
    moves = {move.after: move for move in plan.moves}
    boots = {built.release.id: built for built in plan.boots}
    roots = {built.release.id: built for built in plan.roots}
    if moves or boots or roots or plan.switches:
        yield "Releases"
    for id in dict.fromkeys([*moves, *boots, *roots]):
        yield from _move(moves[id]) if id in moves else [f"  + {id}"]
        if id in boots:
            yield from _boot_parts(boots[id], actual)
        if id in roots:
            yield from _root(roots[id], actual)
        yield from _history(history, _before(id, plan, actual), id)
    for switch in plan.switches:
        yield from _switch(switch)
        yield from _history(history, switch.before, switch.after)


def _before(id: str, plan: Plan, actual: Actual) -> str | None:
    """The release that one is compared with: nearest to a new root, else what nodes had."""
    for built in plan.roots:
        if built.release.id == id:
            return nearest(actual, built)
    return next((move.before for move in plan.moves if move.after == id), None)


def _switch(switch: NodesReassigned) -> Iterator[str]:
    yield f"  ~ {switch.before or 'nothing'} -> {switch.after}"
    yield f"    {_count(switch.nodes, 'node')} at the next boot: {fold_nodes(switch.nodes)}"


def _history(history: History, before: str | None, after: str) -> Iterator[str]:
    lines = history.get((before or "", after), ())
    return (f"      {line}" for line in lines)


def _move(move: ReleaseChange) -> Iterator[str]:
    if move.before:
        yield f"  ~ {move.image}: {move.before} -> {move.after}"
    else:
        yield f"  + {move.image}: {move.after}"
    names = f": {fold_nodes(move.nodes)}" if move.nodes else ""
    yield f"    {_count(move.nodes, 'node')} at the next boot{names}"


def _boot_parts(built: BuiltRelease, actual: Actual) -> Iterator[str]:
    """Kernel, initrd and arguments, where they differ from those of the release before."""
    like, after = nearest(actual, built), built.release
    before = actual.released.get(like) if like else None
    if before is None:
        yield f"    + kernel {after.kernel_version}, initrd, {after.cmdline or 'no arguments'}"
        yield from _root_file(None, after)
        return
    yield from _root_file(before, after)
    if before.kernel != after.kernel:
        yield f"    ~ kernel {_kernel(before)} -> {_kernel(after)}"
    if before.initrd != after.initrd:
        yield from _initrd(built, actual)
    if before.cmdline != after.cmdline:
        yield f"    ~ arguments {before.cmdline!r} -> {after.cmdline!r}"


def _root_file(before: Release | None, after: Release) -> Iterator[str]:
    """The file that nodes fetch their root as, where there is one, or was."""
    if before is not None and before.root_file == after.root_file:
        return
    if not after.is_of_file:
        if before is not None:
            yield f"    - {before.root_name} (root: {before.root_kind}); nodes mount their root"
        return
    sign = "~" if before is not None and before.is_of_file else "+"
    size = human(after.root_bytes)
    yield f"    {sign} {after.root_name} (root: {after.root_kind}), {size}, {after.root_file[:12]}"


def _kernel(release: Release) -> str:
    return f"{release.kernel_version} ({release.kernel[:12]})"


def _initrd(built: BuiltRelease, actual: Actual) -> Iterator[str]:
    change = initrd_change(actual, built)
    if change is None:
        yield "    ~ initrd"
        return
    yield f"    ~ initrd: {_counts(change)}, {_grown(change.bytes)}"
    yield from _paths(change)


def _root(built: BuiltRelease, actual: Actual) -> Iterator[str]:
    like, release = nearest(actual, built), built.release
    if like is None:
        yield f"    + root: {counted(release.entries, 'path')}, {human(release.bytes)}"
    elif _has_same_root(actual.released[like], release):
        yield f"    root: as in {like}"
    else:
        yield from _tree(root_change(actual, built), like)
    yield f"      of its files {', '.join(_rights(actual, built))}"


def _has_same_root(before: Release, after: Release) -> bool:
    return before.root == after.root and before.xattrs == after.xattrs


def _tree(change: TreeChange, like: str) -> Iterator[str]:
    yield f"    ~ root, compared with {like}: {_counts(change)}, {_grown(change.bytes)}"
    for folder, counts in list(change.folders.items())[:LONGEST_LIST]:
        name = "" if folder == "." else folder
        numbers = f"+{counts.added} -{counts.removed} ~{counts.changed}"
        yield f"      /{name}: {numbers}, {_grown(counts.bytes)}"
    yield from _more(len(change.folders), "folders")
    yield from _paths(change)
    yield from (f"      ! /{line}" for line in change.notable[:LONGEST_LIST])
    yield from _more(len(change.notable), "modes and owners")


def _paths(change: TreeChange) -> Iterator[str]:
    for sign, paths in (("+", change.added), ("-", change.removed), ("~", change.changed)):
        yield from (f"      {sign} /{shown_path(path)}" for path in paths[:LONGEST_LIST])
        yield from _more(len(paths), "paths")


def _rights(actual: Actual, built: BuiltRelease) -> Iterator[str]:
    """Count some files of the whole new root, and tell how many they were where that differs."""
    is_compared = nearest(actual, built) is not None
    before, after = rights_change(actual, built)
    for old, new, what in zip(before, after, ("setuid or setgid", "not world-readable")):
        was = f" ({old} before)" if is_compared and old != new else ""
        yield f"{new} {what}{was}"


def _grown(size: int) -> str:
    return ("-" if size < 0 else "+") + human(abs(size))


def _more(count: int, what: str) -> Iterator[str]:
    if count > LONGEST_LIST:
        yield f"        … and {count - LONGEST_LIST} more {what} (--json has all)"


def _counts(change: TreeChange) -> str:
    added, removed, changed = map(len, (change.added, change.removed, change.changed))
    return f"{added} added, {removed} removed, {changed} changed"


def _site_data(plan: Plan) -> Iterator[str]:
    nodes = plan.nodes
    if not (plan.site_img or plan.site_files or nodes.added or nodes.removed or nodes.changed):
        return
    yield "Site data"
    if nodes.added:
        yield f"  + {_count(nodes.added, 'node')}: {fold_nodes(nodes.added)}"
    if nodes.removed:
        yield f"  - {_count(nodes.removed, 'node')}: {fold_nodes(nodes.removed)}"
    for fields, names in nodes.by_fields().items():
        yield f"  ~ {_count(names, 'node')}: {fold_nodes(names)} ({', '.join(fields)})"
    for change in plan.site_files:
        yield from _file(change)
        if change.path == SITE:
            yield from _renamed(change)


def _renamed(change: FileChange) -> Iterator[str]:
    """A disk is known by the site's name (setup.sh)."""
    before = value_of("site", change.before or b"")
    after = value_of("site", change.after or b"")
    if before != after:
        lost = "the disks of all nodes are another site's, and stay untouched"
        yield f"  ! the site is {after} now: {lost}"


def _files(plan: Plan, actual: Actual) -> Iterator[str]:
    if plan.changes or plan.loaders or plan.opened:
        yield "Files"
    for name in plan.opened:
        path = f"{actual.targets.tftp}/{name}"
        yield f"  ~ {path}: closed to its readers, TFTP servers; they may enter it then"
    for name, why in plan.loaders.items():
        note = f" (signed anew: {why})" if why else ""
        yield f"  {_loader_sign(name, actual)} loader {name}{note}"
    for changes in _alike(plan.changes):
        yield from _file(changes[0])
        if len(changes) > 1:
            yield f"    … and {counted(len(changes) - 1, 'more file')} likewise (--json names all)"


def _alike(changes: Iterable[FileChange]) -> Iterable[list[FileChange]]:
    """Changes in their order, those that make the same of several cards' files together."""
    found: dict[tuple[str, ...], list[FileChange]] = {}
    for change in changes:
        made = change.before if change.after is None else change.after
        if change.is_blob:
            made = b""
        key = (change.place, change.sign, change.found, repr(made))
        found.setdefault(key, []).append(change)
    return found.values()


def _loader_sign(name: str, actual: Actual) -> str:
    return "~" if name in actual.loaders else "+"


def _file(change: FileChange) -> Iterator[str]:
    note = f" ({change.found}: that is lost)" if change.found else ""
    yield f"  {change.sign} {change.path}{note}"
    lines = change.diff()
    yield from (f"    {line}" for line in lines[:LONGEST_DIFF])
    if len(lines) > LONGEST_DIFF:
        yield f"      … and {len(lines) - LONGEST_DIFF} more lines (--json has all)"


def _signed(plan: Plan) -> Iterator[str]:
    if plan.signed:
        yield "Signatures"
    for id in plan.signed:
        yield f"  + {id}"


def _by_hand(plan: Plan) -> Iterator[str]:
    if plan.by_hand:
        yield "Files that no deploy installs (build/configs)"
    for change in plan.by_hand:
        yield from _file(change)


def _actions(plan: Plan, actual: Actual) -> Iterator[str]:
    """What happens besides, and what an admin can do then."""
    lines = _remarks(plan, actual)
    for change in plan.services:
        if change.reload:
            lines.append(f"  ! {change.reload}, for {change.path}")
    lines += [f"  ! {line}" for line in (*plan.by_id, *plan.warnings)]
    lines += [f"  ! doit prune, when asked, removes {id}: {why}" for id, why in actual.prunable]
    if lines:
        yield from ("Actions", *lines)


def _remarks(plan: Plan, actual: Actual) -> list[str]:
    """What an admin must know, whether anything is changed or not."""
    return [f"  ! {line}" for line in (*plan.held, *actual.notes)]


def _total(plan: Plan, actual: Actual) -> str:
    signs = Counter(change.sign for change in plan.changes)
    signs.update(_loader_sign(name, actual) for name in plan.loaders)
    roots = f"{_count(plan.roots, 'release')} to publish, " if plan.roots else ""
    added = counted(signs["+"], "file")
    return f"Plan: {roots}{added} to add, {signs['~']} to change, {signs['-']} to remove."


def _count(things: Sequence[object], what: str) -> str:
    return counted(len(things), what)
