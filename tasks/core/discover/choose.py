"""Names and free addresses for cards that no node has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from ..base.errors import Refused
from ..site.model import Network, Site
from ..site.values import number
from .asked import Asked


class NewNode(NamedTuple):
    name: str
    mac: str
    ip: str


def new_nodes(site: Site, names: Iterable[str], asked: Iterable[Asked]) -> list[NewNode]:
    """As many as there are cards and names, paired in order. Raises Refused without addresses."""
    taken = set(_taken(site))
    free: dict[str, Iterator[str]] = {}
    found = []
    for name, card in zip(names, asked):
        network = network_of(site, card)
        addresses = free.setdefault(network.name, _free(site, network, taken))
        ip = next(addresses, "")
        if not ip:
            raise Refused(f"{network.subnet} has no free address for {name}; nothing is written")
        found.append(NewNode(name, card.mac, ip))
    return found


def network_of(site: Site, card: Asked) -> Network:
    """The network that a card asked in, by its subnet or relay; else the nodes' first."""
    for network in site.networks:
        subnet = IPv4Network(network.subnet)
        relays = (*network.relay, network.gateway)
        if card.subnet and IPv4Network(card.subnet).subnet_of(subnet):
            return network
        if card.relay and (card.relay in relays or IPv4Address(card.relay) in subnet):
            return network
    booting = {node.network for node in site.nodes}
    return next((each for each in site.networks if each.name in booting), site.network)


def _free(site: Site, network: Network, taken: set[str]) -> Iterator[str]:
    """Behind the last node's, and when these are used up between them."""
    subnet = IPv4Network(network.subnet)
    first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1
    used = [number(node.ip) for node in site.nodes if node.network == network.name]
    begin = max(used, default=first - 1) + 1
    for at in (*range(begin, last + 1), *range(first, begin)):
        ip = str(IPv4Address(at))
        if ip not in taken and not _in_pool(network, at):
            yield ip


def _in_pool(network: Network, at: int) -> bool:
    if not network.pool:
        return False
    first, last = network.pool.split("-")
    return number(first.strip()) <= at <= number(last.strip())


def _taken(site: Site) -> Iterator[str]:
    for network in site.networks:
        yield from (network.gateway or "", *network.dns, *network.ntp, *network.relay)
    for server in site.servers:
        yield server.ip
        yield from (ip for _, ip in server.addresses)
    for node in site.nodes:
        yield node.ip
        yield from (interface.ip for interface in node.interfaces)
    yield from (address for address, _ in site.hosts)
