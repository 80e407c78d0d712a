"""Scrubbing: what of a reference must not be in the export goes, by the table of `scrub_rules`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..base.text import show_path
from ..tree.model import (
    DIR,
    FILE,
    LINK,
    Circle,
    Entry,
    Tree,
    parent,
    parents,
    read_content,
    resolve,
)
from .scrub_edits import EDITS, has_secret, locked_hashes, scrubbed
from .scrub_rules import (
    COPIED,
    FOLLOWED,
    HIDDEN,
    STATE,
    ScrubRule,
    is_kept,
    paths_of,
    rule_for,
    secret_at,
)

Verdicts = dict[bytes, ScrubRule]  # path -> the rule that decides about it
# never emptied because some symlink leads there
_SYSTEM = (b"usr", b"bin", b"sbin", b"lib", b"lib64", b"boot")
_SHORT = 16  # bytes: others may have those by chance


class Note(NamedTuple):
    """What was scrubbed, for the report: never content. State is one note a rule."""

    path: str
    action: str
    rule: str
    reason: str
    names: int


def secret_in(path: bytes, entry: Entry) -> ScrubRule | None:
    """The rule by which a file, or lines or hashes in it, would not be exported."""
    rule = rule_for(path, False)
    if rule and rule.action in ("lock", "lines") and rule.kind != STATE:
        return rule if has_secret(rule, entry) else None
    return secret_at(path)


def kept(tree: Tree, keep: Iterable[str]) -> list[tuple[str, str]]:
    """(path, reason) of what only `keep` lets out of a reference.

    Secrets one by one, others by what `keep` names.
    """
    allowed = paths_of(keep)
    found: dict[str, str] = {}
    for path, rule in _by_path(tree, frozenset()).items() if allowed else ():
        entry = tree[path]
        if entry.type == DIR or not is_kept(path, allowed):
            continue
        own = secret_at(path) or rule
        if own.action in EDITS and scrubbed(own, entry) is entry:
            continue
        name = _named(path, allowed) if own.kind in (STATE, "V") else path
        found.setdefault(show_path(name), own.reason)
    return sorted(found.items())


def _named(path: bytes, allowed: frozenset[bytes]) -> bytes:
    """The path, or the folder above it, that `keep` names."""
    return next(name for name in (path, *parents(path)) if name in allowed)


def scrub(tree: Tree, keep: Iterable[str] = ()) -> tuple[Tree, list[Note]]:
    """`tree` without what the table names, and notes of what that was.

    `keep`: paths, or folders, that stay.
    """
    allowed = paths_of(keep)
    verdicts = _by_path(tree, allowed)
    verdicts |= _by_symlink(tree, verdicts, allowed)
    verdicts |= _by_content(tree, verdicts, allowed)
    for path in allowed & tree.keys():
        for folder in parents(path):
            verdicts.pop(folder, None)
    return _acted(tree, verdicts)


def _acted(tree: Tree, verdicts: Verdicts) -> tuple[Tree, list[Note]]:
    left = {}
    done = []
    for path, entry in tree.items():
        rule = verdicts.get(path)
        if not rule:
            left[path] = entry
            continue
        after = scrubbed(rule, entry)
        if after:
            left[path] = after
        if after is not entry:
            done.append((path, rule))
    return left, _notes(done)


def _by_path(tree: Tree, allowed: frozenset[bytes]) -> Verdicts:
    """Each path's own rule, or that of the folder above it that is deleted."""
    verdicts: Verdicts = {}
    for path in sorted(tree):
        rule = verdicts.get(parent(path))
        if not rule or rule.action != "delete":
            rule = rule_for(path, tree[path].type == DIR)
        if rule and rule.action != "pass" and not is_kept(path, allowed):
            verdicts[path] = rule
    return verdicts


def _by_symlink(tree: Tree, verdicts: Verdicts, allowed: frozenset[bytes]) -> Verdicts:
    """What secrets' symlinks lead to, and secrets whose folder is reached by a symlink."""
    order = sorted(tree)
    found: Verdicts = {}
    for link in order:
        target = _target(tree, link) if tree[link].type == LINK else None
        if target is None or target in verdicts or is_kept(target, allowed):
            continue
        rule = verdicts.get(link)
        if rule:
            found.update(_led_to(tree, link, target, order, rule))
        elif tree[target].type == DIR:
            found.update(_seen_through(tree, link, target, order))
    return {path: rule for path, rule in found.items() if not is_kept(path, allowed)}


def _led_to(
    tree: Tree, link: bytes, target: bytes, order: list[bytes], rule: ScrubRule
) -> Iterator[tuple[bytes, ScrubRule]]:
    """What goes because the rule decides about a symlink to it."""
    if tree[target].type == FILE and rule.kind in FOLLOWED:
        yield target, rule
    elif rule.kind in HIDDEN and _may_empty(target, link):
        for path in _below(order, target):
            if tree[path].type != DIR:
                yield path, rule


def _seen_through(
    tree: Tree, link: bytes, target: bytes, order: list[bytes]
) -> Iterator[tuple[bytes, ScrubRule]]:
    """Secrets below the folder `target` by the names they have through its symlink `link`."""
    if link.partition(b"/")[0] in _SYSTEM:
        return
    for path in _below(order, target):
        rule = rule_for(link + path[len(target) :], tree[path].type == DIR)
        if rule and rule.kind in FOLLOWED and rule.action != "pass":
            yield path, rule


def _by_content(tree: Tree, verdicts: Verdicts, allowed: frozenset[bytes]) -> Verdicts:
    """Other names, and copies, of the secrets that go."""
    known = _copies_of(tree, verdicts)
    found: Verdicts = {}
    for path, entry in tree.items():
        if entry.type != FILE or path in verdicts:
            continue
        rule = known.get(entry.inode) or known.get(entry.digest)
        if rule and not is_kept(path, allowed):
            found[path] = rule
    return found


def _copies_of(tree: Tree, verdicts: Verdicts) -> dict[int | str, ScrubRule]:
    """By inode and by digest of each secret: the rule for whatever has its bytes."""
    known: dict[int | str, ScrubRule] = {}
    for path, rule in verdicts.items():
        entry = tree[path]
        if entry.type != FILE or not _is_secret(rule, entry):
            continue
        reason = f"has the bytes of {show_path(path)}: {rule.reason}"
        known[entry.inode] = copy = ScrubRule("delete", rule.pattern, "N", reason)
        if entry.size >= _SHORT:
            known[entry.digest] = copy
    known.pop(0, None)  # of no inode, and of no digest
    known.pop("", None)
    return known


def _is_secret(rule: ScrubRule, entry: Entry) -> bool:
    if rule.action == "lock":
        return locked_hashes(read_content(entry), True) != read_content(entry)
    return rule.removes and rule.kind in COPIED


def _notes(done: list[tuple[bytes, ScrubRule]]) -> list[Note]:
    """Secrets one by one (what went with its folder is counted there), state by rule."""
    gone = {path for path, rule in done if rule.action == "delete"}
    names: Counter[tuple[str, ScrubRule]] = Counter()
    for path, rule in done:
        if rule.kind == STATE:
            names[rule.pattern.lstrip("/"), rule] += 1
            continue
        top = path
        while parent(top) in gone:
            top = parent(top)
        names[show_path(top), rule] += 1

    notes = []
    for (name, rule), count in names.items():
        notes.append(Note(name, rule.action, rule.pattern, rule.reason, count))
    return sorted(notes)


def _target(tree: Tree, link: bytes) -> bytes | None:
    """What a symlink leads to inside the tree, if that is there."""
    try:
        target = resolve(tree, link)
    except Circle:
        return None
    return target if target in tree else None


def _may_empty(target: bytes, link: bytes) -> bool:
    """A folder that a secret's symlink leads to is emptied, unless that takes the system along."""
    if b"/" not in target or target.partition(b"/")[0] in _SYSTEM:
        return False
    return target not in set(parents(link))


def _below(order: list[bytes], folder: bytes) -> list[bytes]:
    """Of sorted paths those below a folder."""
    first = bisect_left(order, folder + b"/")
    last = bisect_left(order, folder + b"0")  # `0` follows `/`
    return order[first:last]
