"""Overlays: folders shaped like `/`, laid verbatim over a tree; the upper one wins path by path.

Owner root:root, mode 0755 where git has the x bit and else 0644, whatever the umask; exceptions
stand in the overlay's MODES. `.wh.NAME` deletes NAME of the layers below. Not part of an overlay:
MODES and README.md at its top, and what git and editors leave behind (`LEFTOVERS`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..base.errors import BadInput, Problem
from ..base.files import digest_file
from ..base.overlays import BUILT_IN_OVERLAYS, outside_problems
from ..base.text import show_path
from ..tree.model import (
    BLOCK,
    CHAR,
    DIR,
    FIFO,
    FILE,
    LINK,
    TYPES,
    Circle,
    Entry,
    Tree,
    directory,
    in_order,
    parents,
    resolve,
    resolve_parent,
)
from .modes import MODES, ROOT_ONLY, Accounts, Mode, read_modes

# What is no part of an overlay: of tools, and of editors
LEFTOVERS = (b".git", b".gitkeep", b".gitignore", b".gitattributes", b".DS_Store")
LEFTOVER_START, LEFTOVER_ENDS = b".#", (b".swp", b".swo", b"~")
WHITEOUT = b".wh."
NOT_SHIPPED = (MODES, b"README.md")  # at the top of an overlay: about it, not in it


class OverlayLayer(NamedTuple):
    """An overlay, read. `declared` are the folders whose mode and owner MODES sets."""

    name: str
    folder: bytes
    tree: Tree
    whiteouts: frozenset[bytes]
    declared: frozenset[bytes]


CIRCLE = "a folder above it is a symlink that leads in a circle inside the root"


def find_layers(folders: Iterable[str], names: Iterable[str]) -> list[tuple[str, bytes]]:
    """(name, folder) of each overlay: `overlays/NAME` in the first of `folders` that has it.

    A built-in one is never lost to a site's own of that name: that one is laid over it. Raises
    BadInput, also for one that lies elsewhere, behind a link.
    """
    folders = tuple(folders)
    found: list[tuple[str, bytes]] = []
    problems = []
    for name in names:
        places = _places(folders, name)
        found += [(name, os.fsencode(place)) for place in places]
        for place in places:
            read = (place, os.path.join(place, os.fsdecode(MODES)))
            problems += outside_problems(read, folders)[:1]
        if not places:
            what = "no such overlay; make that folder, or correct the name"
            problems.append(_problem(f"overlays/{name}", what))
    if problems:
        raise BadInput(problems)
    return found


def fingerprint(folders: Iterable[str], names: Iterable[str]) -> str:
    """Differs after any change of overlays: of names, types, modes, links, sizes, inodes, times.

    No file is read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        for place in _places(folders, name) or [""]:
            state = b"there" if place else b"missing"
            digest.update(b"%s\0%s\0" % (name.encode(), state))
            for facts in _stats(os.fsencode(place)) if place else ():
                digest.update(repr(facts).encode())
    return digest.hexdigest()


def _stats(folder: bytes) -> Iterator[tuple[bytes, int, bytes, list[int]]]:
    """(path, mode, target of a symlink, what changes with the content) of all in an overlay."""
    for path, status in _walk(folder):
        target = b""
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(os.path.join(folder, path))
        facts = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
        if stat.S_ISDIR(status.st_mode):
            facts = []  # an editor's leftovers change those of folders
        yield path, status.st_mode, target, facts


def layer(folder: bytes, name: str, accounts: Accounts = ROOT_ONLY) -> OverlayLayer:
    """Read an overlay. Raises BadInput with everything in it that cannot be laid over a tree."""
    problems: list[Problem] = []
    modes = read_modes(folder, accounts, problems)
    tree: Tree = {}
    whiteouts = set()
    for path, status in _walk(folder):
        if path in NOT_SHIPPED:
            continue
        source = os.path.join(folder, path)
        if os.path.basename(path).startswith(WHITEOUT):
            whiteouts.add(_whited(path, source, problems))
            continue
        entry = _entry(source, status, modes.get(path), problems)
        if entry:
            tree[path] = entry

    problems += _without_a_file(modes, tree, folder)
    if problems:
        raise BadInput(problems)
    declared = frozenset(path for path in modes if tree[path].type == DIR)
    return OverlayLayer(name, folder, tree, frozenset(whiteouts), declared)


def _without_a_file(modes: dict[bytes, Mode], tree: Tree, folder: bytes) -> Iterator[Problem]:
    """Lines of MODES whose path the overlay has not."""
    file = show_path(os.path.join(folder, MODES))
    for path in modes.keys() - tree.keys():
        message = f"{show_path(path)}: nothing of this name is in the overlay"
        yield Problem(file, modes[path].line, 1, message)


def merge(lower: Tree, layers: Iterable[OverlayLayer]) -> Tree:
    """`lower` with the layers over it, one after the other. Sorted.

    A folder of an overlay that is a symlink below is followed inside the tree, never out of it:
    with `lib -> usr/lib`, `lib/x` becomes `usr/lib/x`. Raises BadInput where a folder would replace
    something else, or the reverse.
    """
    tree, problems = dict(lower), list[Problem]()
    for each in layers:
        tree = _whited_out(tree, each, problems)
        _lay(tree, each, problems)
    if problems:
        raise BadInput(problems)
    return in_order(tree)


def put_path(tree: Tree, path: bytes, entry: Entry) -> bytes:
    """Set one entry where `path` really leads, with the folders it lacks; returns that place."""
    place = resolve_parent(tree, path)
    for folder in parents(place):
        tree.setdefault(folder, directory())
    tree[place] = entry
    return place


def _places(folders: Iterable[str], name: str) -> list[str]:
    """Where an overlay lies, the lowest layer first; of a built-in one there may be several."""
    if name in ("", ".", "..") or "/" in name:
        return []
    places = [os.path.join(folder, "overlays", name) for folder in folders]
    places = [place for place in places if os.path.isdir(place)]
    return places[::-1] if name in BUILT_IN_OVERLAYS else places[:1]


def _walk(folder: bytes, below: bytes = b"") -> Iterator[tuple[bytes, os.stat_result]]:
    """(path, lstat) of everything in an overlay but leftovers, sorted, folders first."""
    try:
        for name in sorted(os.listdir(os.path.join(folder, below))):
            if _is_leftover(name):
                continue
            path = os.path.join(below, name)
            status = os.lstat(os.path.join(folder, path))
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(folder, path)
    except OSError as error:
        where = (error.filename or folder).rstrip(b"/")
        raise BadInput.at(show_path(where), f"cannot be read: {error.strerror}") from None


def _is_leftover(name: bytes) -> bool:
    is_editors = name.startswith(LEFTOVER_START) or name.endswith(LEFTOVER_ENDS)
    return is_editors or name in LEFTOVERS


def _entry(
    source: bytes, status: os.stat_result, declared: Mode | None, problems: list[Problem]
) -> Entry | None:
    """What lies at `source`, as a tree has it; None where it must not be in an overlay."""
    kind = TYPES.get(stat.S_IFMT(status.st_mode))
    reason = _refusal(kind, status.st_mode, declared)
    if kind is None or reason:
        problems.append(_problem(source, reason))
        return None

    mode, uid, gid, _ = declared or Mode(_plain_mode(kind, status.st_mode), 0, 0, 0)
    entry = Entry(kind, mode, uid, gid)
    if kind == LINK:
        return entry._replace(mode=0o777, link=os.readlink(source))
    if kind in (CHAR, BLOCK):
        device = os.major(status.st_rdev), os.minor(status.st_rdev)
        return entry._replace(device=device)
    return _file(entry, source, status, problems) if kind == FILE else entry


def _plain_mode(kind: str, bits: int) -> int:
    """The mode of what MODES does not name."""
    is_open = kind == DIR or (kind == FILE and bits & 0o100)
    return 0o755 if is_open else 0o644


def _file(entry: Entry, source: bytes, status: os.stat_result, problems: list[Problem]) -> Entry:
    place = os.path.abspath(source)
    entry = entry._replace(size=status.st_size, source=place, stamp=status.st_ctime_ns)
    try:
        return entry._replace(digest=digest_file(place))
    except OSError as error:
        problems.append(_problem(source, f"cannot be read: {error.strerror}"))
        return entry


def _refusal(kind: str | None, bits: int, declared: Mode | None) -> str:
    """Why this must not be in an overlay; empty if it may."""
    if kind is None:
        return "a socket cannot be in an overlay; remove it"
    line = "must be declared: a line in MODES with its path, mode, owner and group"
    if not declared and kind in (CHAR, BLOCK, FIFO):
        return f"a {kind} node {line}"
    if not declared and kind == FILE and bits & 0o6000:
        return f"setuid or setgid {line}"
    return ""


def _whited(path: bytes, source: bytes, problems: list[Problem]) -> bytes:
    """The path that a whiteout deletes."""
    above, name = os.path.split(path)
    name = name[len(WHITEOUT) :]
    if name in (b"", b".", b"..") or name.startswith(WHITEOUT):
        problems.append(_problem(source, "whites out no name; it is .wh.NAME"))
    return os.path.join(above, name)


def _whited_out(tree: Tree, each: OverlayLayer, problems: list[Problem]) -> Tree:
    """`tree` without what the layer deletes."""
    if not each.whiteouts:
        return tree
    gone = set()
    for path in each.whiteouts:
        try:
            gone.add(resolve_parent(tree, path))
        except Circle:
            problems.append(_problem(_source(each, path), CIRCLE))
    left = {}
    for path, entry in tree.items():
        if path not in gone and gone.isdisjoint(parents(path)):
            left[path] = entry
    return left


def _lay(tree: Tree, each: OverlayLayer, problems: list[Problem]) -> None:
    """Put every entry of a layer into `tree`, or a problem into `problems`."""
    skipped: set[bytes] = set()
    seen: dict[bytes, bytes] = {}  # real place -> path in this overlay
    for path in sorted(each.tree):
        if not skipped.isdisjoint(parents(path)):
            continue
        wrong = _lay_one(tree, each, path, seen)
        if wrong:
            skipped.add(path)
            problems.append(_problem(_source(each, path), wrong))


def _lay_one(tree: Tree, each: OverlayLayer, path: bytes, seen: dict[bytes, bytes]) -> str:
    """Put one entry of a layer where it really leads; returns what is wrong, if so."""
    entry = each.tree[path]
    is_folder = entry.type == DIR
    try:
        place = resolve(tree, path) if is_folder else resolve_parent(tree, path)
    except Circle:
        return CIRCLE
    wrong = _clash(tree, entry, path, place)
    if wrong:
        return wrong
    if not is_folder and seen.setdefault(place, path) != path:
        other = show_path(_source(each, seen[place]))
        return f"is the same file as {other}: both are {show_path(place)}"

    old = tree.get(place)
    if old and old.type == DIR:
        entry = entry._replace(xattrs=old.xattrs)
    if old is None or not is_folder or path in each.declared:
        put_path(tree, place, entry)
    return ""


def _clash(tree: Tree, entry: Entry, path: bytes, place: bytes) -> str:
    """Where a folder would replace something else, or the reverse; empty if not."""
    for above in parents(place):
        kind = tree[above].type if above in tree else DIR
        if kind != DIR:
            what = f"lies below {show_path(above)}, which is a {kind}"
            return f"{what}; {_delete_first(above)}"
    old = tree.get(place)
    if old and (old.type == DIR) != (entry.type == DIR):
        what = f"a {entry.type} would replace the {old.type} {show_path(place)}"
        return f"{what}; {_delete_first(path)}"
    return ""


def _delete_first(path: bytes) -> str:
    above, name = os.path.split(path)
    whiteout = show_path(os.path.join(above, WHITEOUT + name))
    return f"if that is meant, delete it first by a file {whiteout}"


def _source(each: OverlayLayer, path: bytes) -> bytes:
    """Where an entry of a layer lies."""
    return os.path.join(each.folder, path)


def _problem(file: str | bytes, message: str) -> Problem:
    """One that is of all of a file."""
    name = file if isinstance(file, str) else show_path(file)
    return Problem(name, 1, 1, message)
