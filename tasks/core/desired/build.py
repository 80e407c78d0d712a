"""What servers must hold of site data: the facts of its nodes, its name."""

from __future__ import annotations

import hashlib

from ..site.model import Site
from ..store.nodes import NodeFacts


def site_id(site_img: bytes) -> str:
    """The folder of site data, named by its bytes: `site-0b1c2d3e4f50`."""
    return f"site-{hashlib.sha256(site_img).hexdigest()[:12]}"


def node_facts(site: Site) -> dict[str, NodeFacts]:
    """What a plan compares of each node: all that is not its name and not empty."""
    return {
        node.name: {
            "ip": node.ip,
            "mac": str(node.mac),
            "image": node.image,
            **{
                name: value if isinstance(value, str) else ",".join(value)
                for name in (
                    "groups",
                    "cmdline",
                    "interface",
                    "layout",
                    "server",
                    "release",
                    "wipe",
                )
                if (value := getattr(node, name))
            },
        }
        for node in site.nodes
    }
