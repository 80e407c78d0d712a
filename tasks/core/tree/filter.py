"""rsync's exclude patterns, as its manual (FILTER RULES), exclude.c and wildmatch.c have them.

A leading `/` ties a pattern to the root of the tree; else it may begin at any name. `*` and `?`
stop at a slash, `**` does not; `[a-z]` and `[[:digit:]]` are one byte; a trailing `/` means folders
only; `dir/***` is the folder and all below it. `+ PATTERN` keeps what a later pattern would
exclude: the first that matches decides.
"""

from __future__ import annotations

import os
import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

# Mount points, and what is of no use on another machine: the folders stay, their contents do not.
NEVER_COPIED = (
    "/proc/*",
    "/sys/*",
    "/run/*",
    "/dev/shm/*",
    "/dev/pts/*",
    "/dev/mqueue/*",
    "/dev/hugepages/*",
    "/dev/.udev",
    "/tmp/*",
    "/var/tmp/*",
    "/cvmfs/*",
    "/afs/*",
    "lost+found/",
    "/.nfs*",
)

_CLASSES = {  # wildmatch.c's, in the C locale
    "alpha": string.ascii_letters,
    "digit": string.digits,
    "alnum": string.ascii_letters + string.digits,
    "upper": string.ascii_uppercase,
    "lower": string.ascii_lowercase,
    "space": " \t\n\r\f\v",
    "blank": " \t",
    "punct": string.punctuation,
    "xdigit": string.hexdigits,
    "print": "".join(map(chr, range(0x20, 0x7F))),
    "graph": "".join(map(chr, range(0x21, 0x7F))),
    "cntrl": "".join(map(chr, [*range(0x20), 0x7F])),
}
_NEVER = b"(?!)"
_SLASH, _BACKSLASH, _HYPHEN, _CLOSE = b"/\\-]"


class _Rule(NamedTuple):
    number: int
    file: bytes | None  # regular expression for whole paths that are no folders; None for `dir/`
    folder: bytes  # the same for folders
    top: bytes  # the first name of every path it can match; b"" for any
    tail: bytes  # what every path it matches ends with
    core: bytes  # what is in every path it matches


class Patterns:
    """Patterns compiled once, in order; asking costs about a microsecond a path."""

    def __init__(self, patterns: Iterable[str | bytes]):
        anchored: dict[bytes, list[_Rule]] = defaultdict(list)
        tailed: list[_Rule] = []
        others: list[_Rule] = []
        signed = [_signed(os.fsencode(pattern)) for pattern in patterns]
        for number, (_sign, body) in enumerate(signed):
            rule = _compiled(number, body)
            anywhere = tailed if rule.tail else others
            kind = anchored[rule.top] if rule.top else anywhere
            kind.append(rule)

        self._keeps = [sign == b"+" for sign, _ in signed]  # by number
        self._tops = {top: _Group(rules) for top, rules in anchored.items()}
        self._tails = tuple({rule.tail for rule in tailed})
        self._tailed = _Group(tailed)
        self._others = _Group(others)
        self._may_be_other = _any_core(others).search

    def first(self, path: bytes, is_folder: bool) -> int:
        """Give the number of the first pattern that matches this very path, or -1.

        Of a folder above it nothing is told: that is asked by itself.
        """
        groups = [self._others] if self._may_be_other(path) else []
        if path.endswith(self._tails):
            groups.append(self._tailed)
        top = self._tops.get(path.partition(b"/")[0])
        if top:
            groups.append(top)
        if not groups:
            return -1
        numbers = [group.first(path, is_folder) for group in groups]
        found = [number for number in numbers if number >= 0]
        return min(found, default=-1)

    def excludes(self, path: bytes, is_folder: bool) -> bool:
        number = self.first(path, is_folder)
        return number >= 0 and not self._keeps[number]


class LazyFilter:
    """Patterns compiled when they are first asked: the walk of an unchanged folder never asks."""

    def __init__(self, patterns: Iterable[str | bytes]):
        self._patterns = tuple(patterns)
        self._excludes: Callable[[bytes, bool], bool] | None = None

    def __call__(self, path: bytes, is_folder: bool) -> bool:
        if self._excludes is None:
            self._excludes = Patterns(self._patterns).excludes
        return self._excludes(path, is_folder)


class _Group:
    """Rules joined into one regular expression: which of its groups matched tells the rule."""

    def __init__(self, rules: list[_Rule]):
        files = [(rule.number, rule.file) for rule in rules if rule.file is not None]
        folders = [(rule.number, rule.folder) for rule in rules]
        self._of_files = _joined(files)
        self._of_folders = _joined(folders)

    def first(self, path: bytes, is_folder: bool) -> int:
        expression, numbers = self._of_folders if is_folder else self._of_files
        match = expression.fullmatch(path)
        if match is None or match.lastindex is None:
            return -1
        return numbers[match.lastindex - 1]


def _any_core(rules: list[_Rule]) -> re.Pattern[bytes]:
    """Give an expression that is in every path that one of the rules can match."""
    cores = b"|".join(re.escape(rule.core) for rule in rules)
    return re.compile(cores if rules else _NEVER)


def literal(path: str) -> str:
    """The pattern of a path from the root of the tree, and of no other."""
    if any(sign in path for sign in "*?["):
        path = re.sub(r"[*?\[\\]", r"\\\g<0>", path)
    return f"/{path}"


def _signed(pattern: bytes) -> tuple[bytes, bytes]:
    """`+ PATTERN` and `- PATTERN` as --exclude takes them; no sign is a minus."""
    if pattern[:2] in (b"+ ", b"- "):
        return pattern[:1], pattern[2:]
    return b"-", pattern


def _joined(rows: list[tuple[int, bytes]]) -> tuple[re.Pattern[bytes], list[int]]:
    text = b"|".join(b"(" + regex + b")" for _, regex in rows) or _NEVER
    return re.compile(text, re.DOTALL), [number for number, _ in rows]


def _compiled(number: int, pattern: bytes) -> _Rule:
    only_folders = len(pattern) > 1 and pattern.endswith(b"/")
    pattern = pattern[:-1] if only_folders else pattern
    anchored = pattern.startswith(b"/")
    body = pattern[1:] if anchored else pattern

    start, rest = _start(body, anchored)
    regex = _regex if _is_wild(body) else re.escape  # without a wildcard a backslash is itself
    if not anchored and _wants_a_name_too_many(body):
        start = _NEVER
    whole = start + regex(rest)
    above = rest.rstrip(b"*")  # `dir/***`: of the folder itself, its name with a slash is compared
    is_all_below = above.endswith(b"/") and body.endswith(b"***")
    return _Rule(
        number,
        file=None if only_folders else whole,
        folder=start + regex(above[:-1]) + b"(?:/.*)?" if is_all_below else whole,
        top=_top(body) if anchored else b"",
        tail=_tail(body),
        core=_core(body),
    )


def _start(body: bytes, anchored: bool) -> tuple[bytes, bytes]:
    """Give (expression for where a pattern may begin, the rest of it), as exclude.c has it.

    `**` at the beginning sees a slash before the path: `**/x` matches the `x` at the top, too.
    """
    if anchored:
        return b"", body
    if not body.startswith(b"**"):
        return b"(?:.*/)?", body
    rest = body.lstrip(b"*")
    return (b"(?:.*/)?", rest[1:]) if rest.startswith(b"/") else (b".*", rest)


def _wants_a_name_too_many(body: bytes) -> bool:
    """Tell if a set has a slash: exclude.c counts it for one of the path, which no set matches.

    As many last names are compared as slashes were counted; with `**`, or from the top, all are.
    """
    at, slash_in_a_set = 0, False
    while at < len(body):
        begin = at
        _, at = _token(body, at)
        slash_in_a_set |= body[begin : begin + 1] == b"[" and b"/" in body[begin:at]
    return slash_in_a_set and b"**" not in body


def _is_wild(pattern: bytes) -> bool:
    return any(byte in b"*[?" for byte in pattern)


def _top(body: bytes) -> bytes:
    top = body.partition(b"/")[0]
    if not _is_wild(body):
        return top
    return b"" if _is_wild(top) or b"\\" in top else top


def _tail(body: bytes) -> bytes:
    if not _is_wild(body):
        return body
    if b"\\" in body or body.endswith(b"***"):
        return b""
    return re.split(rb"[*?\]]", body)[-1].lstrip(b"/")


def _core(body: bytes) -> bytes:
    """Give the longest piece between wildcards."""
    if b"\\" in body:
        return b""
    pieces = re.split(rb"\[.*|[*?]", body, flags=re.DOTALL)
    return max((piece.strip(b"/") for piece in pieces), key=len)


def _regex(body: bytes) -> bytes:
    """Give wildmatch.c's meaning of a pattern as a regular expression."""
    parts, at = [], 0
    while at < len(body):
        part, at = _token(body, at)
        parts.append(part)
    return b"".join(parts)


def _token(body: bytes, at: int) -> tuple[bytes, int]:
    """Give (regular expression, where the next token begins) of the token at `at`."""
    byte = body[at : at + 1]
    if byte == b"*":
        rest = body[at:].lstrip(b"*")
        end = len(body) - len(rest)
        return (b".*" if end - at > 1 else b"[^/]*"), end
    if byte == b"?":
        return b"[^/]", at + 1
    if byte == b"[":
        return _bracket(body, at + 1)
    if byte == b"\\":
        escaped = body[at + 1 : at + 2]
        return (re.escape(escaped) if escaped else _NEVER), at + 2
    return re.escape(byte), at + 1


def _bracket(body: bytes, at: int) -> tuple[bytes, int]:
    """A set of bytes, never a slash. Without an end or of an unknown class it matches none."""
    negated = body[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before, first = 0, True
    while first or body[at : at + 1] != b"]":
        first = False
        try:
            more, before, at = _member(body, at, before)
        except (IndexError, KeyError):
            return _NEVER, len(body)
        members |= more
    return _one_of(set(range(256)) - members if negated else members), at + 1


def _one_of(members: set[int]) -> bytes:
    possible = sorted(members - {_SLASH, 0})
    escaped = b"".join(b"\\x%02x" % byte for byte in possible)
    return b"[" + escaped + b"]" if possible else _NEVER


class _Member(NamedTuple):
    """Of one member of a bracket."""

    bytes: set[int]
    before: int  # what a range may begin with; 0: none may begin here
    end: int  # where the next member is


def _member(body: bytes, at: int, before: int) -> _Member:
    """Raises IndexError at the pattern's end, KeyError for a class that is none."""
    byte = body[at]
    if byte == _BACKSLASH:
        escaped = body[at + 1]
        return _Member({escaped}, escaped, at + 2)
    if byte == _HYPHEN and before and body[at + 1] != _CLOSE:
        at += 2 if body[at + 1] == _BACKSLASH else 1
        return _Member(set(range(before, body[at] + 1)), 0, at + 1)
    named = _class(body, at) if body[at : at + 2] == b"[:" else None
    return named or _Member({byte}, byte, at + 1)


def _class(body: bytes, at: int) -> _Member | None:
    """Read `[:alpha:]`; None where `[:` begins nothing of that kind."""
    end = body.find(b"]", at + 2)
    if end < 0:
        raise IndexError
    if end == at + 2 or body[end - 1 : end] != b":":
        return None
    name = body[at + 2 : end - 1].decode("latin-1")
    return _Member(set(_CLASSES[name].encode()), 0, end + 1)
