"""Scrubbing: what of a reference must not be in the export, by the reviewed table `scrub.table` beside this file."""

from __future__ import annotations

import functools
import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..base.text import show_path
from ..tree.filter import Patterns
from ..tree.model import (
    DIR,
    FILE,
    LINK,
    Entry,
    Tree,
    edited,
    note,
    parent,
    parents,
    read_content,
    resolve,
)

TABLE = os.path.join(os.path.dirname(__file__), "scrub.table")
SECRET = ("N", "P", "S", "V")  # classes that may not be anywhere in an export
HIDDEN = (
    *SECRET,
    "I",
)  # of these, what a symlink leads to goes as well, and they are not even pulled
COPIED = ("N", "P", "S", "I")  # of these, copies and hard links go as well
_SYSTEM = (
    b"usr",
    b"bin",
    b"sbin",
    b"lib",
    b"lib64",
    b"boot",
)  # never emptied because some symlink leads there
_NO_HASH = re.compile(
    rb"[!*]*[A-Za-z]{0,8}[!*]*"
)  # `x`, `*`, `!!`, `*LK*`: the shortest hash has 13 characters


class ScrubRule(NamedTuple):
    """A line of the table, explained in its head."""

    action: str  # "delete" | "files" | "empty" | "lock" | "lines" | "pass"
    pattern: str
    kind: str  # "N" | "P" | "S" | "V" | "I" | "X" | "C"
    reason: str
    lines: str = ""


class Note(NamedTuple):
    """What was scrubbed, for the report: never content. State (class X) is one note a rule, with `names` of it."""

    path: str
    action: str
    rule: str
    reason: str
    names: int


@functools.cache
def scrub_rules() -> tuple[ScrubRule, ...]:
    with open(TABLE, encoding="utf-8") as file:
        return tuple(_row(line) for line in file if line.strip() and not line.startswith("#"))


def _row(line: str) -> ScrubRule:
    action, pattern, kind, reason, *lines = re.split(r"\s{2,}", line.strip())
    return ScrubRule(action, pattern, kind, reason, "".join(lines).removeprefix("lines:"))


@functools.cache
def _rules() -> Patterns:
    return Patterns(row.pattern for row in scrub_rules())


def not_pulled(keep: Iterable[str]) -> tuple[str, ...]:
    """Exclude patterns for rsync, so that secrets do not even reach the build: first what `keep` allows."""
    allowed = [f"+ /{path}" for name in keep for path in _with_parents(name.strip("/"))]
    allowed += [f"+ /{name.strip('/')}/**" for name in keep]
    return tuple(allowed + [rule for row in scrub_rules() for rule in _for_rsync(row)])


def _for_rsync(row: ScrubRule) -> list[str]:
    if row.action == "pass":
        return [f"+ {row.pattern}"]
    if row.kind not in HIDDEN or row.action not in ("delete", "files"):
        return []
    return (
        [f"- {row.pattern}"]
        if row.action == "delete"
        else [f"+ {row.pattern}/", f"- {row.pattern}"]
    )


def secret_at(path: bytes) -> ScrubRule | None:
    """The row by which a file of this name is a secret, wherever the table would take it; None if it is none."""
    number = _rules().first(path, False) if path else -1
    row = scrub_rules()[number] if number >= 0 else None
    return row if row and row.kind in SECRET and row.action in ("delete", "files") else None


def secret_in(path: bytes, entry: Entry) -> ScrubRule | None:
    """The row by which a file, or lines or hashes in it, would not be exported from a reference."""
    number = _rules().first(path, False)
    row = scrub_rules()[number] if number >= 0 else None
    if row and row.action in ("lock", "lines") and row.kind != "X":
        return (
            row
            if _EDITS[row.action](read_content(entry), path, row) != read_content(entry)
            else None
        )
    return secret_at(path)


def kept(tree: Tree, keep: Iterable[str]) -> list[tuple[str, str]]:
    """(path, reason) of what only `keep` lets out of a reference: secrets one by one, others by what `keep` names."""
    allowed = paths_of(keep)
    found: dict[str, str] = {}
    for path, row in _by_path(tree, frozenset()).items() if allowed else ():
        if is_kept(path, allowed) and tree[path].type != DIR:
            own = secret_at(path) or row
            name = (
                path
                if own.kind not in ("X", "V")
                else next(up for up in (path, *parents(path)) if up in allowed)
            )
            if own.action not in _EDITS or _acted(own, path, tree[path]) is not tree[path]:
                found.setdefault(show_path(name), own.reason)
    return sorted(found.items())


def paths_of(keep: Iterable[str]) -> frozenset[bytes]:
    """What `keep` names, as a tree has it."""
    return frozenset(os.fsencode(name.strip("/")) for name in keep)


def scrub(tree: Tree, keep: Iterable[str] = ()) -> tuple[Tree, list[Note]]:
    """`tree` without what the table names, and notes of what that was. `keep`: paths, or folders, that stay."""
    allowed = paths_of(keep)
    verdicts = _by_path(tree, allowed)
    verdicts |= _by_symlink(tree, verdicts, allowed)
    verdicts |= _by_content(tree, verdicts, allowed)
    spared = {folder for path in allowed if path in tree for folder in parents(path)}
    scrubbed, done = {}, []
    for path, entry in tree.items():
        row = verdicts.get(path)
        left = _acted(row, path, entry) if row and path not in spared else entry
        if left:
            scrubbed[path] = left
        if row:
            note(entry)  # an empty one may have something to scrub the next time
        if row and left is not entry:
            done.append((path, row))
    return scrubbed, _notes(done)


def _by_path(tree: Tree, allowed: frozenset[bytes]) -> dict[bytes, ScrubRule]:
    """path -> the row that decides about it: its own, or that of the folder above it that is deleted."""
    rows, first = scrub_rules(), _rules().first
    verdicts: dict[bytes, ScrubRule] = {}
    for path in sorted(tree):
        above = verdicts.get(parent(path))
        if above and above.action == "delete":
            row = above
        else:
            number = first(path, tree[path].type == DIR) if path else -1
            if number < 0:
                continue
            row = rows[number]
        if row.action != "pass" and not is_kept(path, allowed):
            verdicts[path] = row
    return verdicts


def _by_symlink(
    tree: Tree, verdicts: dict[bytes, ScrubRule], allowed: frozenset[bytes]
) -> dict[bytes, ScrubRule]:
    """What secrets' symlinks lead to, and secrets whose folder is reached by a symlink."""
    order = sorted(tree)
    found = {}
    for link in (path for path in order if tree[path].type == LINK):
        target = _target(tree, link)
        row = verdicts.get(link)
        if target is None or target in verdicts or is_kept(target, allowed):
            continue
        if row and row.kind in (*HIDDEN, "C") and tree[target].type == FILE:
            found[target] = row
        elif row and row.kind in HIDDEN and _may_empty(target, link):
            found |= {path: row for path in _below(order, target) if tree[path].type != DIR}
        elif not row and tree[target].type == DIR:
            found |= _seen_through(tree, link, target, order)
    return {path: row for path, row in found.items() if not is_kept(path, allowed)}


def _seen_through(
    tree: Tree, link: bytes, target: bytes, order: list[bytes]
) -> Iterator[tuple[bytes, ScrubRule]]:
    """Secrets below the folder `target` by the names they have through its symlink `link`."""
    if link.partition(b"/")[0] in _SYSTEM:
        return
    for path in _below(order, target):
        number = _rules().first(link + path[len(target) :], tree[path].type == DIR)
        if (
            number >= 0
            and scrub_rules()[number].kind in (*HIDDEN, "C")
            and scrub_rules()[number].action != "pass"
        ):
            yield path, scrub_rules()[number]


def _by_content(
    tree: Tree, verdicts: dict[bytes, ScrubRule], allowed: frozenset[bytes]
) -> dict[bytes, ScrubRule]:
    """Other names, and copies, of the secrets that go."""
    inodes: dict[int, ScrubRule] = {}
    digests: dict[str, ScrubRule] = {}
    for path, row in verdicts.items():
        entry = tree[path]
        if entry.type == FILE and _is_secret(row, entry):
            copy = ScrubRule(
                "delete", row.pattern, "N", f"has the bytes of {show_path(path)}: {row.reason}"
            )
            inodes[entry.inode] = copy
            if entry.size >= 16:
                digests[entry.digest] = copy
    inodes.pop(0, None)
    digests.pop("", None)
    found = {}
    for path, entry in tree.items():
        copied = entry.type == FILE and (inodes.get(entry.inode) or digests.get(entry.digest))
        if copied and path not in verdicts and not is_kept(path, allowed):
            found[path] = copied
    return found


def _is_secret(row: ScrubRule, entry: Entry) -> bool:
    if row.action == "lock":
        return locked_hashes(read_content(entry), True) != read_content(entry)
    return row.kind in COPIED and row.action in ("delete", "files")


def _acted(row: ScrubRule, path: bytes, entry: Entry) -> Entry | None:
    """The entry as its row leaves it; None if it goes."""
    if row.action == "delete" or (row.action == "files" and entry.type != DIR):
        return None
    if entry.type != FILE or not entry.size or row.action == "files":
        return entry
    make = _EDITS[row.action]
    before = b"" if row.action == "empty" else read_content(entry)
    after = make(before, path, row)
    return (
        entry if after == before and entry.size == len(after) else _unlabelled(edited(entry, after))
    )


def _unlabelled(entry: Entry) -> Entry:
    """Without `user.` attributes: what somebody noted beside bytes that go may be as secret as they are."""
    return entry._replace(
        xattrs=tuple(each for each in entry.xattrs if not each[0].startswith("user."))
    )


def locked_hashes(data: bytes, empty_is_open: bool) -> bytes:
    """A file like /etc/shadow without a usable password: hashes are `*`, or as many `!` as they began with.

    `empty_is_open`: an empty field lets anybody in, and becomes `*` too (passwd and shadow, not group and gshadow).
    """
    return b"".join(_locked_line(line, empty_is_open) for line in data.splitlines(keepends=True))


def _locked_line(line: bytes, empty_is_open: bool) -> bytes:
    name, colon, rest = line.partition(b":")
    field, end, more = rest.partition(b":")
    if not end or name[:1] in (
        b"+",
        b"-",
        b"#",
        b"",
    ):  # + and -: from NIS, where an empty field means as there
        return line
    if _NO_HASH.fullmatch(field) and (field or not empty_is_open):
        return line
    bangs = field[: len(field) - len(field.lstrip(b"!"))]
    return name + colon + (bangs or b"*") + end + more


def _lock(data: bytes, path: bytes, row: ScrubRule) -> bytes:
    return locked_hashes(data, not row.pattern.endswith(("group", "gshadow")))


def _without_lines(data: bytes, path: bytes, row: ScrubRule) -> bytes:
    """Without the lines that the row names, and those that continue one: by a backslash, or by a deeper indent."""
    wanted = re.compile(row.lines.encode(), re.IGNORECASE)
    left, gone = [], b""  # gone: the line that went last, as long as others continue it
    for line in data.splitlines(keepends=True):
        comment = _COMMENT.match(line)
        if gone and _continues(gone, line):
            gone = line if _is_open(gone) else gone
        elif wanted.match(line, comment.end() if comment else 0):
            gone = line
        else:
            left.append(line)
            gone = b""
    return b"".join(left)


def _continues(above: bytes, line: bytes) -> bool:
    return _is_open(above) or (bool(line.strip()) and _indent(line) > _indent(above))


def _is_open(line: bytes) -> bool:
    return line.rstrip().endswith(b"\\")


_COMMENT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(?:[#;]|//)[#;\s]*)?")


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" \t"))


_EDITS: dict[str, Callable[[bytes, bytes, ScrubRule], bytes]] = {
    "empty": lambda data, path, row: b"",
    "lock": _lock,
    "lines": _without_lines,
}


def _notes(done: list[tuple[bytes, ScrubRule]]) -> list[Note]:
    """Secrets one by one (what went with its folder is counted there), state by rule."""
    gone = {path for path, row in done if row.action == "delete"}
    names: Counter[tuple[str, ScrubRule]] = Counter()
    for path, row in done:
        if row.kind == "X":
            names[row.pattern.lstrip("/"), row] += 1
            continue
        top = path
        while parent(top) in gone:
            top = parent(top)
        names[show_path(top), row] += 1
    notes = [
        Note(path, row.action, row.pattern, row.reason, count)
        for (path, row), count in names.items()
    ]
    return sorted(notes)


def is_kept(path: bytes, allowed: frozenset[bytes]) -> bool:
    """Whether `keep` names this path or a folder above it."""
    return bool(allowed) and (path in allowed or not allowed.isdisjoint(parents(path)))


def _target(tree: Tree, link: bytes) -> bytes | None:
    """What a symlink leads to inside the tree, if that is there."""
    try:
        target = resolve(tree, link)
    except ValueError:
        return None
    return target if target in tree else None


def _may_empty(target: bytes, link: bytes) -> bool:
    """A folder that a secret's symlink leads to is emptied, unless that would take the system along."""
    return (
        b"/" in target
        and target.partition(b"/")[0] not in _SYSTEM
        and target not in set(parents(link))
    )


def _below(order: list[bytes], folder: bytes) -> list[bytes]:
    return order[
        bisect_left(order, folder + b"/") : bisect_left(order, folder + b"0")
    ]  # `0` follows `/`


def _with_parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:n]) + ("/" if n < len(parts) else "") for n in range(1, len(parts) + 1)]
