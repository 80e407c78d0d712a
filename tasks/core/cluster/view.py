"""A site as the templates of `outputs:` see it: nodes, and by what they go together."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from ..config.networks import machines
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


class Address(NamedTuple):
    """An address of the site, its names, the canonical one first, and the domain of short ones."""

    ip: str
    names: Names
    domain: str

    @property
    def whole_name(self) -> str:
        """The canonical name with its domain, if there is one."""
        name = self.names[0]
        return f"{name}.{self.domain}" if self.domain and "." not in name else name


def addresses(site: Site) -> list[Address]:
    """Every one that hosts has."""
    found = []
    for ip, line in chain.from_iterable(machines(site).values()):
        whole, *others = line.split()
        name, _, domain = whole.partition(".")
        found.append(Address(ip, [name, *(each for each in others if each != name)], domain))
    for ip, names in site.hosts:
        found.append(Address(ip, list(names), site.network.domain or ""))
    return found
