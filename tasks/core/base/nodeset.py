"""Node ranges as ClusterShell writes them: `wn[001-040]`, expanded in the order written, and folded."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping

MAX_NAMES = 65_536
_PART = re.compile(r"[\w.-]*(?:\[[^\[\]]*\][\w.-]*)*", re.ASCII)
_STEP = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?:/([0-9]{1,4}))?)?")


class BadRange(ValueError):
    """A range that cannot be meant; the message says why."""


def is_range(text: str) -> bool:
    return "[" in text or "," in text or "]" in text


def expand_nodes(text: str) -> list[str]:
    """Every name of a range, in the order written, so that lists of MACs and addresses pair with it.

    Stricter than ClusterShell, which sorts, drops what comes twice, and takes any text for a name; and read as
    written: to ClusterShell a digit before a bracket belongs to the numbers in it, so that `wn1[8-11]` is wn18 to
    wn111, and two brackets in a row are none. Raises BadRange.
    """
    count(text)
    return [name for part in _parts(text) for name in _names(part)]


def count(text: str) -> int:
    """How many names a range stands for, without making them. Raises BadRange."""
    total = sum(map(_count, _parts(text)))
    if total > MAX_NAMES:
        raise BadRange(f"more than {MAX_NAMES} names")
    return total


def first_name(text: str) -> str:
    """The first name of a range that can be counted."""
    return re.sub(r"\[([0-9]+)[^\]]*\]", r"\1", _parts(text)[0])


def _parts(text: str) -> list[str]:
    return re.split(r",(?![^\[]*\])", text)


def _count(part: str) -> int:
    if not part.isascii() or not _PART.fullmatch(part) or not part:
        raise BadRange("only letters, digits, . - and numbers in [ ] can be in it")
    return math.prod(_count_set(inner) for inner in re.findall(r"\[(.*?)\]", part))


def _count_set(inner: str) -> int:
    """How many numbers `001-003,007` has; they must rise, with one width."""
    total, last, padded, widths = 0, -1, False, set()
    for piece in inner.split(","):
        found = _STEP.fullmatch(piece)
        if not found or found[3] == "0":
            raise BadRange(f"[{inner}] is no list of numbers")
        first, end = found[1], found[2] or found[1]
        if int(end) < int(first):
            raise BadRange(f"{first}-{end} runs backwards")
        if int(first) <= last:
            raise BadRange(f"[{inner}] does not rise at {first}: numbers come in order, and once")
        padded |= any(number.startswith("0") and len(number) > 1 for number in (first, end))
        widths |= {len(first), len(end)}
        if padded and len(widths) > 1:
            raise BadRange(f"[{inner}] mixes widths: every number needs as many digits")
        total, last = (total + len(range(int(first), int(end) + 1, int(found[3] or 1))), int(end))
    return total


def _names(part: str) -> list[str]:
    """Every text of one part: what stands outside its brackets, with each choice of a number from every bracket."""
    texts = re.split(r"\[(.*?)\]", part)  # outside, inside, outside, …
    choices = [_numbers(text) if at % 2 else [text] for at, text in enumerate(texts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _numbers(inner: str) -> list[str]:
    """The numbers of `001-003,007` that was counted before, each with as many digits as it is written with."""
    found: list[str] = []
    for piece in inner.split(","):
        first, _, more = piece.partition("-")
        end, _, step = more.partition("/")
        numbers = range(int(first), int(end or first) + 1, int(step or 1))
        found += [f"{number:0{len(first)}}" for number in numbers]
    return found


def select(text: str, names: Iterable[str], groups: Mapping[str, Iterable[str]]) -> list[str]:
    """The names that a set of ClusterShell's stands for: `wn[001-004],@gpu!wn003`; `@*` is all of `names`.

    `groups`: group -> its names. A group that is not there, and a set that is empty, is a slip. Raises BadRange.
    """
    from ClusterShell.NodeSet import NodeSet, NodeSetException
    from ClusterShell.NodeUtils import GroupResolver, GroupSource

    if missing := [f"@{name}" for name in _groups(text) if name not in groups]:
        there = ", ".join(f"@{name}" for name in groups) or "none"
        raise BadRange(
            f"{', '.join(missing)}: no such group; there {'is' if len(groups) < 2 else 'are'} {there}"
        )
    source = GroupSource(
        "site", {name: fold_nodes(held) for name, held in groups.items()}, fold_nodes(names)
    )
    try:
        found = list(NodeSet(text, resolver=GroupResolver(source)))
    except NodeSetException as error:
        raise BadRange(str(error)) from None
    if not found:
        raise BadRange("stands for no node")
    return found


def _groups(text: str) -> list[str]:
    """The groups that a set names in full, without a `*` or `?`."""
    words = re.split(r"[,!&^\s](?![^\[]*\])", text)
    named = [word[1:] for word in words if word.startswith("@") and not set("*?:") & set(word)]
    return [name for word in named for name in (expand_nodes(word) if is_range(word) else [word])]


def fold_nodes(names: Iterable[str]) -> str:
    """Names as admins write them for clush: `wn[001-040,100]`."""
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))
