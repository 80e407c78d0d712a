"""Nodes and cards put into a site.yaml, all of whose other bytes stay as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from ..base.errors import BadInput, Refused
from ..base.files import read, write_atomic
from ..base.nodeset import expand_nodes
from ..site.load import read_site
from .choose import Chosen


class _Insertion(NamedTuple):
    at: int  # in characters
    text: str


def with_chosen(path: str, folders: tuple[str, ...], chosen: Chosen, more: str) -> bytes:
    """The file with a line for each new node behind the last one, and cards that were missing.

    `more` is said of all new nodes. Raises BadInput, at its place in what would be written, where
    that is no site, and at a range of which only some nodes get a card.
    """
    text = read(path).decode()
    document: Any = yaml.compose(text, yaml.CSafeLoader)
    for key, value in document.value:
        if key.value == "nodes":
            found = [*_cards(path, text, value, chosen.filled), *_lines(text, value, chosen, more)]
            data = _inserted(text, found).encode()
            read_site(path, folders, data)
            return data
    raise Refused(f"{path} has no nodes:")


def _inserted(text: str, found: list[_Insertion]) -> str:
    for each in sorted(found, reverse=True):
        text = text[: each.at] + each.text + text[each.at :]
    return text


def _cards(
    path: str, text: str, nodes: yaml.MappingNode, filled: Mapping[str, str]
) -> Iterator[_Insertion]:
    """Each missing card, before the first key of its node or range."""
    for key, value in nodes.value if filled else ():
        names = expand_nodes(key.value)
        macs = [filled[name] for name in names if name in filled]
        if not macs:
            continue
        if len(macs) < len(names):
            need = "give it a line of its own, or write cards for all of them"
            at = key.start_mark
            what = f"{key.value} has nodes that get no card; {need}"
            raise BadInput.at(path, what, at.line + 1, at.column + 1)
        quoted = ", ".join(f'"{mac}"' for mac in macs)
        word = f"macs: [{quoted}]" if names != [key.value] else f"mac: {quoted}"
        first = value.value[0][0].start_mark
        behind = ", " if value.flow_style else _ending(text) + " " * first.column
        yield _Insertion(first.index, word + behind)


def _lines(text: str, nodes: yaml.MappingNode, chosen: Chosen, more: str) -> Iterator[_Insertion]:
    """Entries behind the last of a mapping, in block or in flow style."""
    lines = [f'{node.name}: {{mac: "{node.mac}", ip: {node.ip}{more}}}' for node in chosen.new]
    if not lines:
        return
    ending, last = _ending(text), nodes.value[-1]
    end = _end(last[1])
    if nodes.flow_style:
        yield _Insertion(end, "".join(f", {line}" for line in lines))
        return
    indent = " " * last[0].start_mark.column
    at = text.find("\n", end) + 1 or len(text)
    first = "" if text[:at].endswith("\n") else ending
    yield _Insertion(at, first + "".join(f"{indent}{line}{ending}" for line in lines))


def _ending(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _end(node: yaml.Node) -> int:
    """Where a value ends: of a block that is where its last value does."""
    if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def replace(path: str, data: bytes) -> None:
    """Put the new text in the place of the old one, by a rename."""
    real = os.path.realpath(path)
    status = os.stat(real)
    owner = (status.st_uid, status.st_gid)
    write_atomic(real, data, stat.S_IMODE(status.st_mode), durable=True, owner=owner)
