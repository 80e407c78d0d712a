"""The forms of keys and password hashes that are known by their bytes alone: one table.

Each has hints: bytes of which some are in every file that holds it. To look for them costs little,
and in most files there are none; what they are a part of is then looked at by an expression or by
its parts. docs/secrets.md lists all.
"""

from __future__ import annotations

from typing import NamedTuple

from . import password_hashes, text_keys
from .binary_keys import BY_START, STARTS
from .form import SHORTEST, SHORTEST_BINARY, Form

SMALL_FILES = text_keys.SMALL_FILES + password_hashes.SMALL_FILES
BY_HINT = text_keys.BY_HINT + password_hashes.BY_HINT

# gettext's: translations, an eighth of a root
_CATALOGUE = (b"\xde\x12\x04\x95", b"\x95\x04\x12\xde")
_CORE = 4  # elf.h: ET_CORE


class _Hinted(NamedTuple):
    """The forms that a hint may be one of."""

    whole: list[Form]  # that ask for the whole file then
    around: list[Form]  # that ask for what is around it


def _hinted() -> dict[bytes, _Hinted]:
    found: dict[bytes, _Hinted] = {}
    for each in BY_HINT:
        for hint in each.hints:
            forms = found.setdefault(hint, _Hinted([], []))
            (forms.around if each.after else forms.whole).append(each)
    return found


HINTS = _hinted()


def rule_of(data: bytes) -> str:
    """What the bytes of one file are or hold that must not leave; "" for nothing that is known."""
    if len(data) < SHORTEST or is_opaque(data):
        return ""
    forms: tuple[Form, ...] = SMALL_FILES
    if data[0] in STARTS and len(data) >= SHORTEST_BINARY:
        forms = BY_START + SMALL_FILES
    for each in forms:
        if each.holds(data):
            return each.rule
    for hint in HINTS:
        rule = _by_hint(hint, data) if hint in data else ""
        if rule:
            return rule
    return ""


def _by_hint(hint: bytes, data: bytes) -> str:
    """The rule of a form that this is a hint of, and that is there."""
    whole, around = HINTS[hint]
    for each in whole:
        if each.holds(data):
            return each.rule
    at = data.find(hint) if around else -1
    while at >= 0:
        for each in around:
            if each.holds(data[max(0, at - each.before) : at + each.after]):
                return each.rule
        at = data.find(hint, at + len(hint))
    return ""


def is_opaque(data: bytes) -> bool:
    """Programs and libraries, which carry keys for self-tests, and translations: not looked into.

    Nor would their digests help: prelink changes them. Core dumps are looked into.
    """
    if data[:4] != b"\x7fELF":
        return data.startswith(_CATALOGUE)
    return int.from_bytes(data[16:18], "big" if data[5] == 2 else "little") != _CORE
