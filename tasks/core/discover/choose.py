"""Names and free addresses for cards that no node has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from ..base.errors import Refused
from ..dhcp.asked import Asked
from ..site.model import Network, Node, Site
from ..site.values import number


class NewNode(NamedTuple):
    name: str
    mac: str
    ip: str


class Chosen(NamedTuple):
    """Which node gets which card."""

    new: list[NewNode]
    filled: dict[str, str]  # a node of the site that had no card yet -> its card


def choose(site: Site, names: Iterable[str], asked: Iterable[Asked]) -> Chosen:
    """Pair names with cards, in order, as long as there are both.

    A node that has its address already gets the first card that may have asked in its network.
    Raises Refused without an address, or such a card.
    """
    without_card = {node.name: node for node in site.nodes if not node.macs}
    addresses = _Addresses(site)
    chosen = Chosen([], {})
    cards = list(asked)
    for name in names:
        if not cards:
            break
        if node := without_card.get(name):
            chosen.filled[name] = _take(site, cards, node).mac
        else:
            card = cards.pop(0)
            chosen.new.append(NewNode(name, card.mac, addresses.next(card, name)))
    return chosen


def _take(site: Site, cards: list[Asked], node: Node) -> Asked:
    for at, card in enumerate(cards):
        if not (card.subnet or card.relay) or network_of(site, card).name == node.network:
            return cards.pop(at)
    raise Refused(f"no card asked in the network {node.network} of {node.name}; nothing is written")


class _Addresses:
    """The free addresses of each network, one after the other."""

    def __init__(self, site: Site):
        self.site, self.taken = site, set(_taken(site))
        self.free: dict[str, Iterator[str]] = {}

    def next(self, card: Asked, name: str) -> str:
        """The next one of the network that the card asked in, for the node of that name."""
        network = network_of(self.site, card)
        free = self.free.setdefault(network.name, _free(self.site, network, self.taken))
        ip = next(free, "")
        if not ip:
            raise Refused(f"{network.subnet} has no free address for {name}; nothing is written")
        return ip


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
