"""rsync's exclude patterns, as `man rsync` has them under FILTER RULES and rsync's own exclude.c and wildmatch.c match.

A leading `/` ties a pattern to the root of the tree; else it may begin at any name. `*` and `?` stop at a slash,
`**` does not; `[a-z]` and `[[:digit:]]` are one byte; a trailing `/` means folders only; `dir/***` is the folder and
all below it. `+ PATTERN` keeps what a later pattern would exclude: the first that matches decides.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Iterable
from typing import NamedTuple

NEVER_COPIED = (  # what is a mount point, or of no use on another machine: the folders stay, their contents do not
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


class _Rule(NamedTuple):
    number: int
    file: (
        bytes | None
    )  # the regular expression for whole paths that are no folders; None for `dir/`
    folder: bytes  # the same for folders
    top: bytes  # the first name of every path it can match; b"" for any
    tail: bytes  # what every path it matches ends with
    core: bytes  # what is in every path it matches


class Patterns:
    """Patterns compiled once, in order; asking costs about a microsecond a path."""

    def __init__(self, patterns: Iterable[str | bytes]):
        signed = [_signed(os.fsencode(pattern)) for pattern in patterns]
        self._includes = frozenset(
            number for number, (sign, _) in enumerate(signed) if sign == b"+"
        )
        rules = [_compiled(number, pattern) for number, (_, pattern) in enumerate(signed)]
        tops = {rule.top for rule in rules} - {b""}
        self._tops = {top: _Group([rule for rule in rules if rule.top == top]) for top in tops}
        loose = [rule for rule in rules if not rule.top]
        self._tails = tuple({rule.tail for rule in loose if rule.tail})
        self._tailed = _Group([rule for rule in loose if rule.tail])
        others = [rule for rule in loose if not rule.tail]
        self._others = _Group(others)
        self._may_be_other = re.compile(
            b"|".join(re.escape(rule.core) for rule in others) if others else _NEVER
        ).search

    def first(self, path: bytes, is_folder: bool) -> int:
        """The number of the first pattern that matches this very path (a folder above it is asked by itself), or -1."""
        groups = [self._others] if self._may_be_other(path) else []
        if path.endswith(self._tails):
            groups.append(self._tailed)
        top = self._tops.get(path.partition(b"/")[0])
        if top:
            groups.append(top)
        if not groups:
            return -1
        found = [number for group in groups if (number := group.first(path, is_folder)) >= 0]
        return min(found) if found else -1

    def excludes(self, path: bytes, is_folder: bool) -> bool:
        number = self.first(path, is_folder)
        return number >= 0 and number not in self._includes


class LazyFilter:
    """Patterns that are compiled when they are first asked: a walk of a folder that did not change never asks."""

    def __init__(self, patterns: Iterable[str | bytes]):
        self._patterns = tuple(patterns)
        self._excludes: Callable[[bytes, bool], bool] | None = None

    def __call__(self, path: bytes, is_folder: bool) -> bool:
        if self._excludes is None:
            self._excludes = Patterns(self._patterns).excludes
        return self._excludes(path, is_folder)


class _Group:
    """Rules joined into one regular expression: the number of its group that matched tells the rule."""

    def __init__(self, rules: list[_Rule]):
        files = [(rule.number, rule.file) for rule in rules if rule.file is not None]
        folders = [(rule.number, rule.folder) for rule in rules]
        self._file, self._file_numbers = _joined(files)
        self._folder, self._folder_numbers = _joined(folders)

    def first(self, path: bytes, is_folder: bool) -> int:
        match = (self._folder if is_folder else self._file).fullmatch(path)
        if match is None:
            return -1
        return (self._folder_numbers if is_folder else self._file_numbers)[match.lastindex - 1]  # type: ignore[operator]


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
    regex = _regex if _is_wild(body) else re.escape  # without a wildcard a backslash is a backslash
    folder = start + (regex(rest[:-4]) + b"(?:/.*)?" if body.endswith(b"/***") else regex(rest))
    return _Rule(
        number,
        file=None if only_folders else start + regex(rest),
        folder=folder,
        top=_top(body) if anchored else b"",
        tail=_tail(body),
        core=_core(body),
    )


def _start(body: bytes, anchored: bool) -> tuple[bytes, bytes]:
    """(regular expression for where a pattern may begin, the rest of the pattern), as exclude.c has it.

    `**` at the beginning sees a slash before the path, so that `**/x` matches the `x` at the top too.
    """
    if anchored:
        return b"", body
    if not body.startswith(b"**"):
        return b"(?:.*/)?", body
    rest = body.lstrip(b"*")
    return (b"(?:.*/)?", rest[1:]) if rest.startswith(b"/") else (b".*", rest)


def _is_wild(pattern: bytes) -> bool:
    return any(byte in b"*[?" for byte in pattern)


def _top(body: bytes) -> bytes:
    top = body.partition(b"/")[0]
    return b"" if _is_wild(body) and (_is_wild(top) or b"\\" in top) else top


def _tail(body: bytes) -> bytes:
    if not _is_wild(body):
        return body
    return (
        b""
        if b"\\" in body or body.endswith(b"***")
        else re.split(rb"[*?\]]", body)[-1].lstrip(b"/")
    )


def _core(body: bytes) -> bytes:
    """The longest piece between wildcards."""
    if b"\\" in body:
        return b""
    return max(
        (piece.strip(b"/") for piece in re.split(rb"\[.*|[*?]", body, flags=re.DOTALL)), key=len
    )


def _regex(body: bytes) -> bytes:
    """wildmatch.c as a regular expression."""
    parts, at = [], 0
    while at < len(body):
        part, at = _token(body, at)
        parts.append(part)
    return b"".join(parts)


def _token(body: bytes, at: int) -> tuple[bytes, int]:
    """(regular expression, where the next token begins) of the token at `at`."""
    byte = body[at : at + 1]
    if byte == b"*":
        end = at
        while body[end : end + 1] == b"*":
            end += 1
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
    """A set of bytes, never the slash; one that does not end, or names an unknown class, matches nothing."""
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
    members = (set(range(1, 256)) - members if negated else members) - {0x2F, 0}
    return (
        b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(members)) + b"]" if members else _NEVER
    ), at + 1


def _member(body: bytes, at: int, before: int) -> tuple[set[int], int, int]:
    """(bytes, what a range may begin with, where the next member is) of one member of a bracket.

    IndexError at the pattern's end, KeyError for a class that is none.
    """
    byte = body[at]
    if byte == 0x5C:  # backslash
        return {body[at + 1]}, body[at + 1], at + 2
    if byte == 0x2D and before and body[at + 1] != 0x5D:  # a range
        at += 2 if body[at + 1] == 0x5C else 1
        return set(range(before, body[at] + 1)), 0, at + 1
    if body[at : at + 2] == b"[:":
        end = body.index(b"]", at + 2) if b"]" in body[at + 2 :] else len(body)
        body[end]  # no end: IndexError
        if body[end - 1] == 0x3A and end - 1 >= at + 2:
            return set(_CLASSES[body[at + 2 : end - 1].decode("latin-1")].encode()), 0, end + 1
    return {byte}, byte, at + 1
