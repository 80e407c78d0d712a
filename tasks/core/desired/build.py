"""What servers must hold of site data: its name, and the facts of its nodes."""

from __future__ import annotations

import hashlib

from ..site.model import Node, Site
from ..store.nodes import NodeFacts


def site_id(site_img: bytes) -> str:
    """The folder of site data, named by its bytes: `site-0b1c2d3e4f50`."""
    digest = hashlib.sha256(site_img).hexdigest()
    return f"site-{digest[:12]}"


OPTIONAL = ("groups", "cmdline", "interface", "layout", "server", "release", "wipe")


def node_facts(site: Site) -> dict[str, NodeFacts]:
    """What a plan compares of each node: all that is not its name and not empty."""
    return {node.name: _facts(node) for node in site.nodes}


def _facts(node: Node) -> NodeFacts:
    facts: NodeFacts = {"ip": node.ip, "mac": str(node.mac), "image": node.image}
    for name in OPTIONAL:
        value = getattr(node, name)
        if value:
            facts[name] = value if isinstance(value, str) else ",".join(value)
    return facts
