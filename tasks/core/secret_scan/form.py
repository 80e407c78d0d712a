"""What a form of a secret is: how a file that holds one is known, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

SHORTEST = 16  # no secret is shorter: a line of htpasswd
SHORTEST_BINARY = 32
SHORT = 8 << 10  # what is looked for only where it is cheap: it stands in no longer file
SMALL = 64 << 10  # no file that is nothing but a key, or but lines of accounts, is longer

Recogniser = Callable[[bytes], bool]


class Form(NamedTuple):
    """A kind of secret, and how it is known."""

    rule: str  # what is said of a file that holds one
    hints: tuple[bytes, ...]  # one is in every such file; none: it is known by how the file begins
    holds: Recogniser  # asked of the whole file, or of what is around a hint:
    before: int = 0  # bytes
    after: int = 0  # from the hint's beginning on; 0 for the whole file


def having(expression: re.Pattern[bytes]) -> Recogniser:
    """Whether the expression is found."""
    return lambda data: bool(expression.search(data))


def in_short(*hints: bytes, holds: Recogniser) -> Recogniser:
    """The same of a short file that has one of the hints."""

    def found(data: bytes) -> bool:
        if len(data) > SHORT:
            return False
        return any(hint in data for hint in hints) and holds(data)

    return found


def is_random(text: bytes) -> bool:
    """A word or a path of that length has no digits, or no capitals."""
    return all(re.search(kind, text) for kind in (rb"[0-9]", rb"[A-Z]", rb"[a-z]"))


def is_text(data: bytes) -> bool:
    """Whether it begins with no zeros."""
    return b"\0" not in data[:8192]
