"""Paths, sizes and numbers as a person reads them."""

from __future__ import annotations

from typing import Any

_KEPT = "\n\t\u202f"


def readable(text: str) -> str:
    """The text without what moves a cursor, colours, rings, or turns a line around."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in text if char.isprintable() or char in _KEPT)


def counted(number: int, what: str) -> str:
    """A number of things: `1 difference`, `2 differences`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def all_readable(value: Any) -> Any:
    """The same of every text in a value of JSON."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {readable(key): all_readable(held) for key, held in value.items()}
    return [all_readable(held) for held in value] if isinstance(value, list) else value


def show_path(path: bytes) -> str:
    """A path for a message: one line, whatever bytes are in it."""
    return "".join(
        c if c.isprintable() else ascii(c)[1:-1] for c in path.decode("utf-8", "backslashreplace")
    )


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
    return path.decode(errors="backslashreplace").encode("unicode_escape").decode() if path else "."
