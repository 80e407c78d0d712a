"""What changed, in lines for a terminal or a log: packages folded, texts as they differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..base.text import counted

WIDEST = 200  # characters of a line

Told = Mapping[str, Any]  # see disclosure.told


class Limits(NamedTuple):
    """How much is told of a release."""

    packages: int  # of one kind
    lines: int  # of all texts


SHORT = Limits(packages=20, lines=120)
WHOLE = Limits(sys.maxsize, sys.maxsize)


def history_lines(told: Told, limits: Limits) -> Iterator[str]:
    """The lines of one release."""
    packages = told["packages"]
    if packages:
        changed = [f"{name} {old} -> {new}" for name, (old, new) in packages["changed"].items()]
        yield from _packages("~", changed, limits.packages)
        yield from _packages("+", _named(packages["added"]), limits.packages)
        yield from _packages("-", _named(packages["removed"]), limits.packages)
    elif told["unknown"]:
        yield f"packages: {told['unknown']}"
    yield from _texts(told["texts"], limits.lines)


def _named(packages: Mapping[str, str]) -> list[str]:
    return [f"{name} {version}" for name, version in packages.items()]


def _packages(sign: str, words: Sequence[str], most: int) -> Iterator[str]:
    if not words:
        return
    more = len(words) - most
    rest = f", … and {more} more (--json has all)" if more > 0 else ""
    yield f"{sign} {counted(len(words), 'package')}: {', '.join(words[:most])}{rest}"


def _texts(texts: Sequence[Mapping[str, Any]], most: int) -> Iterator[str]:
    for text in texts:
        why = f": not shown: {text['why']}" if text["why"] else ""
        yield f"~ /{text['path']}{why}"
        lines = text["diff"][:most]
        most -= len(lines)
        yield from (f"  {_short(line)}" for line in lines)
        if len(text["diff"]) > len(lines):
            yield f"  … and {len(text['diff']) - len(lines)} more lines (--json has all)"


def _short(line: str) -> str:
    return line if len(line) <= WIDEST else f"{line[:WIDEST]}…"
