"""Nodes as a person reads them: those that say the same together, as clush folds them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from ..base.nodeset import fold_nodes
from .ask import NodeDisk
from .effective import Described

SHARED = (
    "image",
    "release",
    "runs",
    "groups",
    "facts",
    "cmdline",
    "interface",
    "loader",
    "disk",
    "management",
    "wipe",
)
OWN = ("ip", "mac", "server")  # of each node, in a line of its own
# without a line where there is nothing to say
OPTIONAL = ("facts", "loader", "management", "runs", "wipe")
WIDTH = 80
INDENT = " " * 13


def nodes_text(found: Iterable[Described]) -> Iterator[str]:
    """Lines for people: what nodes share once, then what is each one's own."""
    alike: dict[str, list[Described]] = {}
    for node in found:
        lines = "\n".join(_shared(node))
        alike.setdefault(lines, []).append(node)
    for lines, nodes in alike.items():
        yield fold_nodes(node["node"] for node in nodes)
        yield lines
        yield from _own(nodes)


def nodes_json(found: Iterable[Described]) -> str:
    """One list, with a line for each node."""
    lines = ",\n".join(map(json.dumps, found))
    return f"[\n{lines}\n]"


def _shared(node: Described) -> Iterator[str]:
    for key in SHARED:
        if key in OPTIONAL and key not in node:
            continue
        text = _text(node, key)
        if key == "runs" or key not in OPTIONAL or text != "-":
            yield _wrapped(key, text + _why(node, key))


def _own(nodes: list[Described]) -> Iterator[str]:
    """A node's own values, in columns; with the lines that gave them, in words."""
    longest = max(len(node["node"]) for node in nodes)
    for node in nodes:
        aliases = ("aliases",) if node["aliases"] else ()
        if "why" in node:
            words = [f"{_text(node, key)}{_why(node, key)}" for key in (*OWN, *aliases)]
            yield _wrapped(node["node"], ", ".join(words))
        else:
            ip, mac, server, *more = (_text(node, key) for key in (*OWN, *aliases))
            words = [f"{ip:<15}", f"{mac:<17}", server, *more]
            yield f"  {node['node']:<{max(longest, 10)}} {'  '.join(words)}"
        for one in node["interfaces"]:
            card = one["mac"] or one["guid"] or "-"
            yield f"  {'':<{max(longest, 10)}} {one['ip'] or '-':<15}  {card:<17}  {one['name']}"
        for disk in node.get("disks") or ():
            yield f"{INDENT}{NodeDisk(**disk)}"


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<10} ",
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _why(node: Described, key: str) -> str:
    if "why" not in node or key not in node["why"]:
        return ""
    return f" ({', '.join(node['why'][key])})"


def _text(node: Described, key: str) -> str:
    value = node[key]
    if key == "disk":
        disks = value if isinstance(value, list) else [value]
        return f"layout {node['layout']}: {'; and '.join(map(_disk, disks))}"
    if key == "management" and value:
        return f"{value['protocol']} at {value['interface']}, as {value['user']}"
    if key in ("groups", "aliases"):
        return ", ".join(value) or "-"
    if key == "facts":
        return ", ".join(f"{name}={fact}" for name, fact in value.items()) or "-"
    if key == "runs" and node["degraded"]:
        return f"{value}, degraded"
    return value or "-"


def _disk(disk: dict[str, Any]) -> str:
    """`/dev/sda, /dev/vda; gpt; /var 6000M ext4, /home rest ext4`."""
    partitions = []
    for part in disk["partitions"]:
        partitions.append(f"{part['mount']} {part['size']} {part['fs']}")
    parts = [", ".join(disk["devices"]), disk["table"], ", ".join(partitions)]
    if disk.get("raid"):
        parts.insert(1, f"RAID{disk['raid']['level']} of {disk['raid']['devices']}")
    matched = [f"{name} {value}" for name, value in disk["match"].items() if value]
    if matched:
        parts.append(f"match {', '.join(matched)}")
    if not disk["required"]:
        parts.append("not required")
    return "; ".join(parts)
