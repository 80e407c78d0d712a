"""Lines for new nodes in a site.yaml, all of whose other bytes stay as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Any

import yaml

from ..base.errors import Refused
from ..base.files import read, write_atomic
from ..site.load import read_site
from .choose import NewNode


def append_nodes(path: str, folders: tuple[str, ...], nodes: Iterable[NewNode], more: str) -> bytes:
    """The file with a line for each node behind the last one; `more` is said of all of them.

    Raises BadInput, at its place in what would be written, where that is no site.
    """
    text = read(path).decode()
    lines = [f'{node.name}: {{mac: "{node.mac}", ip: {node.ip}{more}}}' for node in nodes]
    document: Any = yaml.compose(text, yaml.CSafeLoader)
    for key, value in document.value:
        if key.value == "nodes":
            data = _with(text, value, lines).encode()
            read_site(path, folders, data)
            return data
    raise Refused(f"{path} has no nodes:")


def _with(text: str, nodes: yaml.MappingNode, lines: list[str]) -> str:
    """The text with entries behind the last of a mapping, in block or in flow style."""
    ending = "\r\n" if "\r\n" in text else "\n"
    last = nodes.value[-1]
    end = _end(last[1])
    if nodes.flow_style:
        return text[:end] + "".join(f", {line}" for line in lines) + text[end:]
    indent = " " * last[0].start_mark.column
    at = text.find("\n", end) + 1 or len(text)
    first = "" if text[:at].endswith("\n") else ending
    return text[:at] + first + "".join(f"{indent}{line}{ending}" for line in lines) + text[at:]


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
