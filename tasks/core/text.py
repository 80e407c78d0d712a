"""Text of other machines, before a terminal or a page sees it."""

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
