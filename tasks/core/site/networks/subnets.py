"""Which network of a site an address lies in."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from ..model import ONLY_NETWORK
from ..values import number

if TYPE_CHECKING:
    from ..schema import Section

Range = tuple[int, int, str]  # first and last address as numbers, the network's name


class Subnets:
    """Networks by the addresses in them; no two of them overlap."""

    def __init__(self, named: Iterable[tuple[str, str]]):
        self.ranges = ranges_of(named)
        self.firsts = [first for first, _, _ in self.ranges]

    def name_of(self, address: str) -> str:
        """The name of the network that an address lies in; "" where it lies in none."""
        at = number(address)
        place = bisect(self.firsts, at) - 1
        if place < 0:
            return ""
        _, last, name = self.ranges[place]
        return name if at <= last else ""


def ranges_of(named: Iterable[tuple[str, str]]) -> list[Range]:
    """Networks, by name and subnet, in the order of their addresses."""
    return sorted((*_ends_of(subnet), name) for name, subnet in named)


@lru_cache(maxsize=None)  # each is asked for by several rules
def _ends_of(subnet: str) -> tuple[int, int]:
    """The first and the last address of a network."""
    network = IPv4Network(subnet)
    first = int(network.network_address)
    return first, first + network.num_addresses - 1


def networks_of(said: Section) -> dict[str, Section | None]:
    """The networks as written, by name."""
    if said.networks:
        return dict(said.networks)
    return {ONLY_NETWORK: said.network}


def path_of(said: Section, name: str) -> tuple[str, ...]:
    """Where a network stands."""
    return ("networks", name) if said.networks else ("network",)


def subnets_of(said: Section) -> Subnets:
    """Those of the networks that are right."""
    found = []
    for name, network in networks_of(said).items():
        if network and network.subnet:
            found.append((name, network.subnet))
    return Subnets(found)
