"""The tables of docs/site.md, made of the keys' rows; all between them is written by hand.

A table stands between `<!-- keys of NAME -->` and `<!-- end of keys -->`. NAME is a mapping as the
editors' schema calls it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .keys import REQUIRED, ListOf, MapOf, Row
from .schema import ROWS

TABLE = re.compile(r"(<!-- keys of (\w+) -->\n).*?(<!-- end of keys -->\n)", re.DOTALL)


def with_tables(page: str) -> str:
    """A page with its tables written anew."""
    return TABLE.sub(_table, page)


def _table(found: re.Match[str]) -> str:
    begin, name, end = found.groups()
    return begin + table(name) + end


def table(name: str) -> str:
    """The keys of a mapping: each with its default, where any has one, and what it means."""
    of_group = ROWS["Group"] if name == "Node" else {}  # what a group says, too, is told there
    own = [row for key, row in ROWS[name].items() if key not in of_group]
    lines = [_line(row, name) for row in own]
    if of_group:
        shared = ", ".join(f"`{key}`" for key in of_group)
        lines.append(Line(shared, "", "as in a group"))
    if all(line.default in ("", "none") for line in lines):
        return _drawn([("key", ""), *((line.key, line.text) for line in lines)])
    return _drawn([("key", "default", ""), *lines])


class Line(NamedTuple):
    key: str
    default: str
    text: str


def _line(row: Row, name: str) -> Line:
    text = row.key.manual or row.key.help
    return Line(f"`{row.name}`", default(row, name), text)


def _drawn(lines: Sequence[tuple[str, ...]]) -> str:
    """As Markdown has a table."""
    head, *body = ["| " + " | ".join(line) + " |\n" for line in lines]
    rule = "|" + "---|" * len(lines[0]) + "\n"
    table = "".join([head, rule, *body])
    return table.replace("|  |", "| |")


def default(row: Row, name: str) -> str:
    """A key's default in the manual's words; "" for a group's: it is what other layers say."""
    key = row.key
    if key.default or name == "Group":
        return key.default
    if row.default is REQUIRED:
        some = isinstance(key.kind, (ListOf, MapOf)) and key.kind.least
        return "required, one or more" if some else "required"
    if isinstance(key.kind, type):
        return ""
    return _spelled(row.default)


def _spelled(value: object) -> str:
    """A value as `site.yaml` has it."""
    if value is None or value in ("", ()) or value == {}:
        return "none"
    if isinstance(value, tuple):
        words = ", ".join(value)
        return f"`[{words}]`"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value}`" if isinstance(value, str) else str(value)
