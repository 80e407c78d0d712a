"""Node ranges as ClusterShell writes them: `wn[001-040]`, expanded as written, and folded."""

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
    """Give every name of a range as written, so that lists of MACs and addresses pair with it.

    Stricter than ClusterShell, which sorts, drops what comes twice, and takes any text for a name.
    And read as written: to ClusterShell a digit before a bracket belongs to the numbers in it, so
    that `wn1[8-11]` is wn18 to wn111, and two brackets in a row are none. Raises BadRange.
    """
    count(text)
    return [name for part in _parts(text) for name in _names(part)]


def count(text: str) -> int:
    """Count the names that a range stands for, without making them. Raises BadRange."""
    total = sum(map(_count, _parts(text)))
    if total > MAX_NAMES:
        raise BadRange(f"more than {MAX_NAMES} names")
    return total


def first_name(text: str) -> str:
    """Give the first name of a range that can be counted."""
    return re.sub(r"\[([0-9]+)[^\]]*\]", r"\1", _parts(text)[0])


def _parts(text: str) -> list[str]:
    return re.split(r",(?![^\[]*\])", text)


def _count(part: str) -> int:
    if not part.isascii() or not _PART.fullmatch(part) or not part:
        raise BadRange("only letters, digits, . - and numbers in [ ] can be in it")
    return math.prod(_count_set(inner) for inner in re.findall(r"\[(.*?)\]", part))


def _count_set(inner: str) -> int:
    """Count the numbers of `001-003,007`; they must rise, with one width."""
    total, last = 0, -1
    padded = False
    widths: set[int] = set()
    for piece in inner.split(","):
        first, end, step = _bounds(piece, inner)
        if int(first) <= last:
            raise BadRange(f"[{inner}] does not rise at {first}: numbers come in order, and once")
        padded = padded or _is_padded(first) or _is_padded(end)
        widths |= {len(first), len(end)}
        if padded and len(widths) > 1:
            raise BadRange(f"[{inner}] mixes widths: every number needs as many digits")
        last = int(end)
        total += len(range(int(first), last + 1, step))
    return total


def _bounds(piece: str, inner: str) -> tuple[str, str, int]:
    """Give first, last and step of `1-9/2`, as they are written."""
    found = _STEP.fullmatch(piece)
    step = int(found[3] or 1) if found else 0
    if not found or not step:
        raise BadRange(f"[{inner}] is no list of numbers")
    first, end = found[1], found[2] or found[1]
    if int(end) < int(first):
        raise BadRange(f"{first}-{end} runs backwards")
    return first, end, step


def _is_padded(number: str) -> bool:
    return number.startswith("0") and len(number) > 1


def _names(part: str) -> list[str]:
    """Give every text of one part: all choices of a number from each of its brackets."""
    texts = re.split(r"\[(.*?)\]", part)  # outside, inside, outside, …
    choices = [_numbers(text) if at % 2 else [text] for at, text in enumerate(texts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _numbers(inner: str) -> list[str]:
    """Give the numbers of `001-003,007`, which was counted before, as wide as they are written."""
    found: list[str] = []
    for piece in inner.split(","):
        first, end, step = _bounds(piece, inner)
        numbers = range(int(first), int(end) + 1, step)
        found += [f"{number:0{len(first)}}" for number in numbers]
    return found


def select(text: str, names: Iterable[str], groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Give the names that a set of ClusterShell's stands for; `@*` is all of `names`.

    `wn[001-004],@gpu!wn003`, say; `groups`: group -> its names. A group that is not there, and a
    set that is empty, is a slip. Raises BadRange.
    """
    from ClusterShell.NodeSet import NodeSet, NodeSetException
    from ClusterShell.NodeUtils import GroupResolver, GroupResolverError, GroupSource

    _must_be_few(text)
    _must_have(_groups(text), groups)
    folded = {name: fold_nodes(held) for name, held in groups.items()}
    source = GroupSource("site", folded, fold_nodes(names))
    try:
        found = list(NodeSet(text, resolver=GroupResolver(source)))
    except NodeSetException as error:
        raise BadRange(str(error)) from None
    except GroupResolverError as error:  # of `@rack:3`
        raise BadRange(f"{error}: no such source of groups; write @GROUP alone") from None
    if not found:
        raise BadRange("stands for no node")
    return found


def _must_be_few(text: str) -> None:
    """ClusterShell makes every name of a range: a digit too many took all memory."""
    for word in _words(text):
        count = 1
        for inner in re.findall(r"\[([^\]]*)\]", word):
            bounds = re.findall(r"(\d+)-(\d+)(?:/([1-9]\d*))?", inner)
            sizes = [(int(last) - int(first)) // int(step or 1) for first, last, step in bounds]
            count *= 1 + max(0, sum(sizes))
        if count > MAX_NAMES:
            raise BadRange(f"more than {MAX_NAMES} names")


def _words(text: str) -> list[str]:
    """What stands between the operators of a set."""
    return re.split(r"[,!&^\s](?![^\[]*\])", text)


def _must_have(named: Iterable[str], groups: Mapping[str, Iterable[str]]) -> None:
    missing = [f"@{name}" for name in named if name not in groups]
    if missing:
        known = ", ".join(f"@{name}" for name in groups) or "none"
        verb = "is" if len(groups) < 2 else "are"
        raise BadRange(f"{', '.join(missing)}: no such group; there {verb} {known}")


def _groups(text: str) -> list[str]:
    """Give the groups that a set names in full, without a `*` or `?`."""
    found: list[str] = []
    for word in _words(text):
        if word.startswith("@") and not set("*?:") & set(word):
            name = word[1:]
            found += expand_nodes(name) if is_range(name) else [name]
    return found


def fold_nodes(names: Iterable[str]) -> str:
    """Names as admins write them for clush: `wn[001-040,100]`."""
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))


def fold_alike(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """(names, text): names that have the same text, folded."""
    alike: dict[str, list[str]] = {}
    for name, text in texts.items():
        alike.setdefault(text, []).append(name)
    return [(fold_nodes(names), text) for text, names in alike.items()]


def unfold(text: str) -> set[str]:
    """The names of what a program has folded. Raises BadRange."""
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

    _must_be_few(text)
    try:
        return {*NodeSet(text, resolver=RESOLVER_NOGROUP)}
    except NodeSetException as error:
        raise BadRange(str(error)) from None


def hostlist(names: Iterable[str]) -> str:
    """Names as every program of a cluster reads them: `wn[001-040,100],login`.

    Only what stands at the end of a name is folded, and only numbers of one width: the hostlists of
    Slurm, genders, powerman and conman take one bracket, which ends the name.
    """
    numbers: dict[tuple[str, int], list[int]] = {}
    for name in names:
        begin = name.rstrip("0123456789")
        digits = name[len(begin) :]
        at = numbers.setdefault((begin, len(digits)), [])
        if digits:
            at.append(int(digits))
    parts = []
    for (begin, width), found in numbers.items():
        parts.append(_folded(begin, width, sorted(set(found))))
    return ",".join(parts)


def _folded(begin: str, width: int, found: list[int]) -> str:
    if len(found) < 2:
        return begin + "".join(f"{number:0{width}}" for number in found)
    ranges: list[list[int]] = []
    for number in found:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    pieces = [f"{first:0{width}}" + f"-{last:0{width}}" * (last > first) for first, last in ranges]
    return f"{begin}[{','.join(pieces)}]"
