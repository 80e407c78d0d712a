"""Paths, sizes and numbers as a person reads them; bytes as octal escapes, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_KEPT = "\n\t\u202f"
_OCTAL = rb"\\([0-7]{3})"


def readable(text: str) -> str:
    """The text without what moves a cursor, colours, rings, or turns a line around."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in text if char.isprintable() or char in _KEPT)


def counted(number: int, what: str) -> str:
    """A number of things: `1 difference`, `2 differences`, `2 addresses`."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what}es" if what.endswith("s") else f"{number} {what}s"


def all_readable(value: Any) -> Any:
    """A value of JSON, with every text in it `readable`."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {readable(key): all_readable(held) for key, held in value.items()}
    if isinstance(value, list):
        return list(map(all_readable, value))
    return value


def escape_octal(text: bytes, special: re.Pattern[bytes]) -> bytes:
    """`a b` -> `a\\040b`: each special byte as a backslash and three octal digits."""
    return special.sub(lambda byte: b"\\%03o" % ord(byte[0]), text)


def unescape_octal(text: bytes) -> bytes:
    """`a\\040b` -> `a b`, as mtree, getfattr, fstab(5) and /proc/mounts write special bytes."""
    if b"\\" not in text:
        return text
    return re.sub(_OCTAL, _byte, text)


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8) & 0xFF])


def show_path(path: bytes) -> str:
    """A path for a message: one line, whatever bytes are in it."""
    return "".join(map(_shown, path.decode("utf-8", "backslashreplace")))


def _shown(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]


def human(size: float) -> str:
    """Bytes as people read them: `1.9 GiB`."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} GiB"


def shown_path(path: bytes) -> str:
    """A path of a root for a message, as `show_path` has it; the root itself is `.`"""
    return show_path(path) or "."


def span(seconds: Iterable[float]) -> str:
    """`61` or `61-74`."""
    rounded = sorted(map(_rounded, seconds))
    first, last = rounded[0], rounded[-1]
    return f"{first:g}" if first == last else f"{first:g}-{last:g}"


def _rounded(seconds: float) -> float:
    """To a tenth below ten."""
    return round(seconds, 1) if seconds < 10 else round(seconds)
