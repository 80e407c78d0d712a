"""The nodes that were deployed last, as a server keeps them (nodes.json)."""

from __future__ import annotations

import functools
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
    return _parsed(data)


@functools.lru_cache(maxsize=1)  # one command asks several times
def _parsed(data: bytes) -> dict[str, NodeFacts] | None:
    try:
        nodes: dict[str, NodeFacts] = json.loads(data)
        kinds = {type(value) for facts in nodes.values() for value in facts.values()}
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    is_sound = kinds <= {str} and all(map(_has_image, nodes.values()))
    return nodes if is_sound else None


def _has_image(facts: NodeFacts) -> bool:
    return "image" in facts


def macs_of(node: NodeFacts) -> list[str]:
    """Of every card that a node may boot from."""
    macs = node.get("macs") or node.get("mac", "")
    return macs.split(",") if macs else []
