"""The tables of docs/site.md, made of the keys' rows; all between them is written by hand.

A table stands between `<!-- keys of NAME -->` and `<!-- end of keys -->`. NAME is a mapping as the editors' schema
calls it.
"""

from __future__ import annotations

import re

from .keys import REQUIRED, ListOf, MapOf, Row
from .models import ROWS

TABLE = re.compile(r"(<!-- keys of (\w+) -->\n).*?(<!-- end of keys -->\n)", re.DOTALL)


def with_tables(page: str) -> str:
    """A page with its tables written anew."""
    return TABLE.sub(lambda found: found[1] + table(found[2]) + found[3], page)


def table(name: str) -> str:
    """The keys of a mapping: each with its default, where any has one, and what it means."""
    own = list(ROWS[name].values())
    if name == "Node":  # what a group says, too, is told there
        own = [row for row in own if row.name not in ROWS["Group"]]
    cells = [(f"`{row.name}`", default(row, name), row.key.manual or row.key.help) for row in own]
    if name == "Node":
        shared = ", ".join(f"`{key}`" for key in ROWS["Group"])
        cells.append((shared, "", "as in a group"))
    if all(default in ("", "none") for _, default, _ in cells):
        return _lines([("key", ""), *((key, text) for key, _, text in cells)])
    return _lines([("key", "default", ""), *cells])


def _lines(cells: list[tuple[str, ...]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |\n" for row in cells]
    rule = "|" + "---|" * len(cells[0]) + "\n"
    return "".join([head, rule, *body]).replace("|  |", "| |")


def default(row: Row, name: str) -> str:
    """A key's default in the manual's words; "" for a group's, whose default is what other layers say."""
    key = row.key
    if key.default or name == "Group":
        return key.default
    if row.default is REQUIRED:
        many = isinstance(key.kind, (ListOf, MapOf)) and key.kind.least
        return "required, one or more" if many else "required"
    if isinstance(key.kind, type):
        return ""
    return _spelled(row.default)


def _spelled(value: object) -> str:
    """A value as `site.yaml` has it."""
    if value is None or value in ("", ()) or value == {}:
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, str) else str(value)
