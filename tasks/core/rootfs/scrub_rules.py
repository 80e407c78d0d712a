"""The rules of scrubbing: the reviewed table `scrub.table`, whose head explains it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..tree.filter import Patterns
from ..tree.model import parents

TABLE = os.path.join(os.path.dirname(__file__), "scrub.table")
SECRET = ("N", "P", "S", "V")  # classes that may not be anywhere in an export
# of these, what a symlink leads to goes as well, and they are not even pulled
HIDDEN = (*SECRET, "I")
COPIED = ("N", "P", "S", "I")  # of these, copies and hard links go as well
STATE = "X"
FOLLOWED = (*HIDDEN, "C")  # of these, a file that a symlink leads to goes as well


class ScrubRule(NamedTuple):
    """A line of the table."""

    action: str  # "delete" | "files" | "empty" | "lock" | "lines" | "pass"
    pattern: str
    kind: str  # "N" | "P" | "S" | "V" | "I" | "X" | "C"
    reason: str
    lines: str = ""

    @property
    def removes(self) -> bool:
        """Whether a file that it decides about goes."""
        return self.action in ("delete", "files")


@functools.cache
def scrub_rules() -> tuple[ScrubRule, ...]:
    """The lines of the table, in its order: the first that matches a path decides."""
    rules: list[ScrubRule] = []
    named: dict[str, str] = {}
    with open(TABLE, encoding="utf-8") as file:
        for row in filter(None, map(str.strip, file)):
            if row.startswith("$"):
                name, expression = row.split(maxsplit=1)
                named[name] = expression
            elif not row.startswith("#"):
                rules.append(_rule(row, named))
    return tuple(rules)


def _rule(row: str, named: dict[str, str]) -> ScrubRule:
    action, pattern, kind, reason, *lines = re.split(r"\s{2,}", row)
    expression = "".join(lines).removeprefix("lines:")
    if expression.startswith("$"):  # a name of none would be an expression that nothing matches
        expression = named[expression]
    return ScrubRule(action, pattern, kind, reason, expression)


@functools.cache
def _patterns() -> Patterns:
    return Patterns(rule.pattern for rule in scrub_rules())


def rule_for(path: bytes, is_folder: bool) -> ScrubRule | None:
    """The rule that decides about a name; None if there is none."""
    number = _patterns().first(path, is_folder) if path else -1
    return scrub_rules()[number] if number >= 0 else None


def secret_at(path: bytes) -> ScrubRule | None:
    """The rule by which a file of this name is a secret, wherever the table would take it."""
    rule = rule_for(path, False)
    return rule if rule and rule.removes and rule.kind in SECRET else None


def paths_of(keep: Iterable[str]) -> frozenset[bytes]:
    """What `keep` names, as a tree has it."""
    return frozenset(os.fsencode(name.strip("/")) for name in keep)


def is_kept(path: bytes, allowed: frozenset[bytes]) -> bool:
    """Whether `keep` names this path or a folder above it."""
    if not allowed:
        return False
    return path in allowed or not allowed.isdisjoint(parents(path))


def is_emptied(path: bytes, allowed: frozenset[bytes]) -> bool:
    """Whether a file is state that is emptied, whatever is in it."""
    rule = rule_for(path, False)
    if not rule or rule.action != "empty" or rule.kind != STATE:
        return False
    return not is_kept(path, allowed)


def not_pulled(keep: Iterable[str]) -> tuple[str, ...]:
    """Exclude patterns for rsync, so that secrets do not even reach the build.

    First what `keep` allows.
    """
    names = [name.strip("/") for name in keep]
    found: list[str] = []
    for name in names:
        found += [f"+ /{path}" for path in _with_parents(name)]
    found += [f"+ /{name}/**" for name in names]
    for rule in scrub_rules():
        found += _for_rsync(rule)
    return tuple(found)


def _for_rsync(rule: ScrubRule) -> Iterator[str]:
    if rule.action == "pass":
        yield f"+ {rule.pattern}"
    elif rule.removes and rule.kind in HIDDEN:
        if rule.action == "files":
            yield f"+ {rule.pattern}/"
        yield f"- {rule.pattern}"


def _with_parents(name: str) -> Iterator[str]:
    """Each folder above a name, from the top, then the name."""
    parts = name.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count]) + "/"
    yield name
