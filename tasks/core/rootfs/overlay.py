"""Overlays: folders shaped like `/`, laid verbatim over a tree; the upper one wins path by path.

Owner root:root, mode 0755 where git has the x bit and else 0644, whatever the umask; exceptions stand in the
overlay's MODES. `.wh.NAME` deletes NAME of the layers below. Not part of an overlay: MODES and README.md at its top,
and what git and editors leave behind (`LEFTOVERS`).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..base.errors import BadInput, Problem
from ..base.files import digest_file
from ..base.text import show_path
from ..tree.model import (
    BLOCK,
    CHAR,
    DIR,
    FIFO,
    FILE,
    LINK,
    TYPES,
    Entry,
    Tree,
    directory,
    parents,
    read_content,
    resolve,
    resolve_parent,
)

BUILT_IN_OVERLAYS = (
    "worker",
    "sysvinit",
    "systemd",
)  # always first; of the last two the one that the reference's init needs
LEFTOVERS = (
    b".git",
    b".gitkeep",
    b".gitignore",
    b".gitattributes",
    b".DS_Store",
)  # of tools, and of editors:
LEFTOVER_START, LEFTOVER_ENDS = b".#", (b".swp", b".swo", b"~")
WHITEOUT = b".wh."
NOT_SHIPPED = (b"MODES", b"README.md")  # at the top of an overlay: about it, not in it


class Accounts(NamedTuple):
    """Names that MODES may use, as the image's own /etc/passwd and /etc/group have them."""

    users: dict[bytes, int]
    groups: dict[bytes, int]


class OverlayLayer(NamedTuple):
    """An overlay, read. `declared` are the folders whose mode and owner MODES sets."""

    name: str
    folder: bytes
    tree: Tree
    whiteouts: frozenset[bytes]
    declared: frozenset[bytes]


class _Mode(NamedTuple):
    mode: int
    uid: int
    gid: int
    line: int


ROOT_ONLY = Accounts({b"root": 0}, {b"root": 0})


def find_layers(folders: Iterable[str], names: Iterable[str]) -> list[tuple[str, bytes]]:
    """(name, folder) of each overlay: `overlays/NAME` in the first of `folders` that has it. Raises BadInput.

    A built-in one is never lost to a site's own of that name: that one is laid over it.
    """
    found: list[tuple[str, bytes]] = []
    problems = []
    for name in names:
        places = _places(folders, name)
        found += [(name, os.fsencode(place)) for place in places]
        if not places:
            problems.append(
                Problem(
                    f"overlays/{name}",
                    1,
                    1,
                    "no such overlay; make that folder, or correct the name",
                )
            )
    if problems:
        raise BadInput(problems)
    return found


def fingerprint(folders: Iterable[str], names: Iterable[str]) -> str:
    """Differs after any change of overlays; no file is read: names, types, modes, links, sizes, inodes, times."""
    digest = hashlib.blake2b(digest_size=16)
    for name, place in (
        (each, place) for each in names for place in _places(folders, each) or [""]
    ):
        digest.update(b"%s\0%s\0" % (name.encode(), b"there" if place else b"missing"))
        root = os.fsencode(place)
        for path, status in _walk(root) if place else ():
            target = os.readlink(os.path.join(root, path)) if stat.S_ISLNK(status.st_mode) else b""
            facts = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            facts = (
                [] if stat.S_ISDIR(status.st_mode) else facts
            )  # an editor's leftovers change those of folders
            digest.update(repr((path, status.st_mode, target, facts)).encode())
    return digest.hexdigest()


def layer(folder: bytes, name: str, accounts: Accounts = ROOT_ONLY) -> OverlayLayer:
    """Read an overlay. Raises BadInput with everything in it that cannot be laid over a tree."""
    problems: list[Problem] = []
    modes = _modes(folder, accounts, problems)
    tree, whiteouts = {}, set()
    for path, status in _walk(folder):
        if path in NOT_SHIPPED:
            continue
        if os.path.basename(path).startswith(WHITEOUT):
            whiteouts.add(_whited(path, folder, problems))
            continue
        entry = _entry(folder, path, status, modes.get(path), problems)
        if entry:
            tree[path] = entry
    for path in modes.keys() - tree.keys():
        message = f"{show_path(path)}: nothing of this name is in the overlay"
        problems.append(
            Problem(show_path(os.path.join(folder, b"MODES")), modes[path].line, 1, message)
        )
    if problems:
        raise BadInput(problems)
    declared = frozenset(path for path in modes if tree[path].type == DIR)
    return OverlayLayer(name, folder, tree, frozenset(whiteouts), declared)


def merge(lower: Tree, layers: Iterable[OverlayLayer]) -> Tree:
    """`lower` with the layers over it, one after the other. Sorted.

    A folder of an overlay that is a symlink below is followed inside the tree, never out of it: with
    `lib -> usr/lib`, `lib/x` becomes `usr/lib/x`. Raises BadInput where a folder would replace something else, or
    the reverse.
    """
    tree, problems = dict(lower), list[Problem]()
    for each in layers:
        tree = _whited_out(tree, each, problems)
        _lay(tree, each, problems)
    if problems:
        raise BadInput(problems)
    return dict(sorted(tree.items()))


def accounts(tree: Tree) -> Accounts:
    """The users and groups that `tree` knows."""
    return Accounts(_ids(tree, b"etc/passwd"), _ids(tree, b"etc/group"))


def put_path(tree: Tree, path: bytes, entry: Entry) -> bytes:
    """Set one entry where `path` really leads, with the folders it lacks (0755, root's); returns that place."""
    place = resolve_parent(tree, path)
    for folder in parents(place):
        tree.setdefault(folder, directory())
    tree[place] = entry
    return place


def _places(folders: Iterable[str], name: str) -> list[str]:
    """Where an overlay lies, the lowest layer first; more than one place only for a built-in one."""
    if name in ("", ".", "..") or "/" in name:
        return []
    places = [os.path.join(folder, "overlays", name) for folder in folders]
    places = [place for place in places if os.path.isdir(place)]
    return places[::-1] if name in BUILT_IN_OVERLAYS else places[:1]


def _walk(folder: bytes, below: bytes = b"") -> Iterator[tuple[bytes, os.stat_result]]:
    """(path, lstat) of everything in an overlay but leftovers, sorted, folders before what is in them."""
    try:
        names = sorted(os.listdir(os.path.join(folder, below)))
        for name in names:
            if name in LEFTOVERS or name.startswith(LEFTOVER_START) or name.endswith(LEFTOVER_ENDS):
                continue
            path = os.path.join(below, name)
            status = os.lstat(os.path.join(folder, path))
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(folder, path)
    except OSError as error:
        raise BadInput.at(
            show_path((error.filename or folder).rstrip(b"/")), f"cannot be read: {error.strerror}"
        ) from None


def _entry(
    folder: bytes,
    path: bytes,
    status: os.stat_result,
    declared: _Mode | None,
    problems: list[Problem],
) -> Entry | None:
    source = os.path.join(folder, path)
    kind = TYPES.get(stat.S_IFMT(status.st_mode))
    reason = _refusal(kind, status.st_mode, declared)
    if kind is None or reason:
        problems.append(Problem(show_path(source), 1, 1, reason))
        return None
    bits = 0o755 if kind == DIR or (kind == FILE and status.st_mode & 0o100) else 0o644
    mode, uid, gid, _ = declared or _Mode(0o777 if kind == LINK else bits, 0, 0, 0)
    if kind == LINK:
        return Entry(LINK, 0o777, uid, gid, link=os.readlink(source))
    if kind in (CHAR, BLOCK):
        return Entry(
            kind, mode, uid, gid, device=(os.major(status.st_rdev), os.minor(status.st_rdev))
        )
    if kind == FILE:
        entry = Entry(
            FILE,
            mode,
            uid,
            gid,
            status.st_size,
            source=os.path.abspath(source),
            stamp=status.st_ctime_ns,
        )
        return _file(entry, show_path(source), problems)
    return Entry(kind, mode, uid, gid)


def _file(entry: Entry, name: str, problems: list[Problem]) -> Entry:
    try:
        return entry._replace(digest=digest_file(entry.source))
    except OSError as error:
        problems.append(Problem(name, 1, 1, f"cannot be read: {error.strerror}"))
        return entry


def _refusal(kind: str | None, mode: int, declared: _Mode | None) -> str:
    """Why this must not be in an overlay; empty if it may."""
    if kind is None:
        return "a socket cannot be in an overlay; remove it"
    if declared:
        return ""
    if kind in (CHAR, BLOCK, FIFO):
        return (
            f"a {kind} node must be declared: a line in MODES with its path, mode, owner and group"
        )
    if kind == FILE and mode & 0o6000:
        return "setuid or setgid must be declared: a line in MODES with its path, mode, owner and group"
    return ""


def _whited(path: bytes, folder: bytes, problems: list[Problem]) -> bytes:
    above, name = os.path.split(path)
    name = name[len(WHITEOUT) :]
    if name in (b"", b".", b"..") or name.startswith(WHITEOUT):
        problems.append(
            Problem(
                show_path(os.path.join(folder, path)), 1, 1, "whites out no name; it is .wh.NAME"
            )
        )
    return os.path.join(above, name)


def _modes(folder: bytes, known: Accounts, problems: list[Problem]) -> dict[bytes, _Mode]:
    """What the overlay's MODES declares, by path; an overlay without one declares nothing."""
    name = os.path.join(folder, b"MODES")
    declared: dict[bytes, _Mode] = {}
    for number, line in enumerate(_lines(name), 1):
        if not line.split() or line.lstrip().startswith(b"#"):
            continue
        path, row, wrong = _mode_row(line, number, known)
        if path in declared:
            wrong.append(
                (1, f"{show_path(path)} is declared twice, first in line {declared[path].line}")
            )
        problems += [Problem(show_path(name), number, column, message) for column, message in wrong]
        if path is not None and row is not None:
            declared.setdefault(path, row)
    return declared


def _mode_row(
    line: bytes, number: int, known: Accounts
) -> tuple[bytes | None, _Mode | None, list[tuple[int, str]]]:
    """(path, what it declares, problems as (column, message)) of a line `path mode owner group`."""
    fields = re.fullmatch(rb"\s*(\S.*?)\s+(\S+)\s+(\S+)\s+(\S+)\s*", line)
    if not fields:
        return None, None, [(1, "not `path mode owner group`")]
    path, mode, owner, group = fields.groups()
    wrong = []
    if not re.fullmatch(rb"[0-7]{3,4}", mode):
        wrong.append(
            (fields.start(2) + 1, f"{show_path(mode)} is no mode; write it in octal, as 0640")
        )
    uid, gid = _id(owner, known.users), _id(group, known.groups)
    if uid is None:
        wrong.append(
            (
                fields.start(3) + 1,
                f"user {show_path(owner)} is not in the reference's etc/passwd; write its number",
            )
        )
    if gid is None:
        wrong.append(
            (
                fields.start(4) + 1,
                f"group {show_path(group)} is not in the reference's etc/group; write its number",
            )
        )
    if wrong:
        return path.strip(b"/"), _Mode(0, 0, 0, number), wrong
    return path.strip(b"/"), _Mode(int(mode, 8), uid or 0, gid or 0, number), []


def _id(name: bytes, known: dict[bytes, int]) -> int | None:
    if name.isdigit():
        return int(name) if int(name) < 2**32 - 1 else None
    return known.get(name)


def _lines(name: bytes) -> list[bytes]:
    try:
        with open(name, "rb") as file:
            return file.read().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput.at(show_path(name), f"cannot be read: {error.strerror}") from None


def _ids(tree: Tree, path: bytes) -> dict[bytes, int]:
    """name -> number of a file like /etc/passwd; root is 0 even where there is none."""
    entry = tree.get(resolve(tree, path))
    rows = (
        [line.split(b":") for line in read_content(entry).split(b"\n")]
        if entry and entry.type == FILE
        else []
    )
    return {b"root": 0} | {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}


def _whited_out(tree: Tree, each: OverlayLayer, problems: list[Problem]) -> Tree:
    if not each.whiteouts:
        return tree
    gone = set()
    for path in each.whiteouts:
        try:
            gone.add(resolve_parent(tree, path))
        except ValueError:
            problems.append(_loop(each, path))
    return {p: e for p, e in tree.items() if p not in gone and gone.isdisjoint(parents(p))}


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
            problems.append(wrong)


def _lay_one(
    tree: Tree, each: OverlayLayer, path: bytes, seen: dict[bytes, bytes]
) -> Problem | None:
    entry = each.tree[path]
    try:
        place = resolve(tree, path) if entry.type == DIR else resolve_parent(tree, path)
    except ValueError:
        return _loop(each, path)
    blocked = next((up for up in parents(place) if up in tree and tree[up].type != DIR), None)
    if blocked is not None:
        return _clash(
            each, path, f"lies below {show_path(blocked)}, which is a {tree[blocked].type}", blocked
        )
    old = tree.get(place)
    if old and (old.type == DIR) != (entry.type == DIR):
        return _clash(
            each, path, f"a {entry.type} would replace the {old.type} {show_path(place)}", path
        )
    if entry.type != DIR and seen.setdefault(place, path) != path:
        return Problem(
            _name(each, path),
            1,
            1,
            f"is the same file as {_name(each, seen[place])}: both are {show_path(place)}",
        )
    if old is None or entry.type != DIR or path in each.declared:
        put_path(
            tree, place, entry._replace(xattrs=old.xattrs) if old and old.type == DIR else entry
        )
    return None


def _clash(each: OverlayLayer, path: bytes, what: str, victim: bytes) -> Problem:
    above, name = os.path.split(victim)
    whiteout = show_path(os.path.join(above, WHITEOUT + name))
    return Problem(
        _name(each, path), 1, 1, f"{what}; if that is meant, delete it first by a file {whiteout}"
    )


def _loop(each: OverlayLayer, path: bytes) -> Problem:
    return Problem(
        _name(each, path),
        1,
        1,
        "a folder above it is a symlink that leads in a circle inside the root",
    )


def _name(each: OverlayLayer, path: bytes) -> str:
    return show_path(os.path.join(each.folder, path))
