"""The nodes that were deployed last, as a server keeps them (nodes.json)."""

from __future__ import annotations

import json
import os

from .paths import Targets
from .served import readable_content

NodeFacts = dict[str, str]  # of a node: {"ip": …, "mac": …, "image": …}


def read_nodes(targets: Targets) -> dict[str, NodeFacts]:
    """The nodes that were deployed last, by name; none where that is damaged."""
    return undamaged_nodes(targets) or {}


def undamaged_nodes(targets: Targets) -> dict[str, NodeFacts] | None:
    """The nodes that were deployed last, by name; None where that is damaged."""
    path = targets.kept("nodes.json")
    data = readable_content(path) or b""
    if not data and not os.path.lexists(path):
        data = b"{}"
    try:
        nodes: dict[str, NodeFacts] = json.loads(data)
        sound = all(map(_is_sound, nodes.values()))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    return nodes if sound else None


def _is_sound(facts: NodeFacts) -> bool:
    return "image" in facts and all(map(_is_text, facts.values()))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def macs_of(node: NodeFacts) -> list[str]:
    """Of every card that a node may boot from."""
    macs = node.get("macs") or node.get("mac", "")
    return macs.split(",") if macs else []
