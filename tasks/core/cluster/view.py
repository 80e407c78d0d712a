"""A site as the templates of `outputs:` see it: nodes, and by what they go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..config.templates import ClusterNode
from ..site.model import Node, Site

Names = list[str]


class NamesBy(NamedTuple):
    """Nodes by what they have in common; each key holds one node or more."""

    group: dict[str, Names]
    image: dict[str, Names]
    fact: dict[str, dict[str, Names]]  # name of a fact -> what it says -> nodes


def cluster_nodes(site: Site) -> list[ClusterNode]:
    return [_row(node) for node in site.nodes]


def _row(node: Node) -> ClusterNode:
    return ClusterNode(
        node.name, node.ip, node.mac, node.image, node.groups, dict(node.facts), node.aliases
    )


def names_by(nodes: Iterable[ClusterNode]) -> NamesBy:
    found = NamesBy({}, {}, {})
    for node in nodes:
        found.image.setdefault(node.image, []).append(node.name)
        for group in node.groups:
            found.group.setdefault(group, []).append(node.name)
        for fact, words in node.facts.items():
            found.fact.setdefault(fact, {}).setdefault(words, []).append(node.name)
    return found


def addresses(site: Site) -> Iterator[tuple[str, Names]]:
    """Every machine of the site: an address and its names, the first without its domain."""
    for server in site.servers:
        yield server.ip, [server.name]
    for node in site.nodes:
        yield node.ip, [node.name, *node.aliases]
    for address, names in site.hosts:
        yield address, list(names)
