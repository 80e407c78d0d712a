"""Rules across networks, servers, nodes and their interfaces: where addresses lie, whose each is.

Each looks only at parts that are right by themselves; wrong ones are None.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

from ...dhcp.options import ADDRESSES, NUMBER, DhcpOption, is_option, option_of
from ..model import ONLY_NETWORK
from ..nodes import Card, Complain, Member
from ..schema import Section
from ..values import number, suggestion
from .bonds import bond_problems, carries_root
from .ipv6 import ipv6_problems
from .links import link_problems
from .pools import Owners, pool_problems
from .subnets import Subnets, networks_of, path_of, ranges_of, subnets_of

Path = tuple[Any, ...]
Given = Iterator[tuple[Path, Section]]  # the networks that are right, with their places


def network_problems(site: Section, members: list[Member], complain: Complain) -> None:
    """Complain about every rule of networks that is broken."""
    _are_given(site, complain)
    for path, network in _given(site):
        _network(path, network, complain)
        if network.tagged and "vlan" not in network.model_fields_set:
            hint = "give the network its vlan:"
            complain((*path, "tagged"), "no VLAN to tag with", hint, key=True)
    _apart(site, complain)
    owners = _servers(site, complain)
    _take(site, owners)
    pool_problems(site, owners, complain)
    subnets = _AllSubnets(site)
    for member in members:
        if member.ip is not None:
            subnets.place(member.ip_path, member.ip, owners, complain)
    _interfaces(site, members, subnets, owners, complain)
    ipv6_problems(site, members, complain)


def _given(site: Section) -> Given:
    for name, network in networks_of(site).items():
        if network is not None:
            yield path_of(site, name), network


def _are_given(site: Section, complain: Complain) -> None:
    both = site.model_fields_set & {"network", "networks"}
    if not both:
        complain(("network",), "required", "add `network:`")
    elif len(both) == 2:
        hint = "`network` is short for `networks` with one: keep one of them"
        complain(("network",), "has both network and networks", hint, key=True)


# One network


def _network(path: Path, network: Section, complain: Complain) -> None:
    subnet = network.subnet and IPv4Network(network.subnet)
    if network.gateway and subnet:
        _inside((*path, "gateway"), network.gateway, subnet, complain)
    for at, address in enumerate(network.relay or ()):
        if address and subnet and _is_in(address, subnet):
            what = f"{address} lies in {subnet}"
            complain((*path, "relay", at), what, "leave it out: such a relay is known by that")
    for name, values in (network.options or {}).items():
        if is_option(name) and values and all(values):
            _option((*path, "options", name), option_of(name, tuple(values)), complain)
    if network.pool and subnet:
        for address in network.pool.split("-"):
            _inside((*path, "pool"), address, subnet, complain)


def _option(path: Path, option: DhcpOption, complain: Complain) -> None:
    for value in option.values:
        if not option.may_be(value):
            words = {ADDRESSES: "an address", NUMBER: "a number"}
            complain(path, f"not {words[option.kind]}", f"{path[-1]} is one by RFC 2132", value)
    if len(option.values) > 1 and option.kind != ADDRESSES:
        complain(path, "more than one value", "only addresses can be several")


def _is_in(address: str, subnet: IPv4Network) -> bool:
    return 0 <= number(address) - int(subnet.network_address) < subnet.num_addresses


def _inside(path: Path, address: str, subnet: IPv4Network, complain: Complain) -> None:
    last = subnet.num_addresses - 1
    place = number(address) - int(subnet.network_address)
    if not 0 <= place <= last:
        hint = f"use an address of {'.'.join(_subnet_of(path))}"
        complain(path, f"{address} not in {subnet}", hint)
    elif place in (0, last):
        which = "broadcast" if place else "network"
        what = f"is the {which} address of {subnet}"
        complain(path, what, "use one between them", address)


def _subnet_of(path: Path) -> Path:
    """What a message calls the subnet in which what stands at a path should be."""
    return ("networks", path[1], "subnet") if path[0] == "networks" else ("network", "subnet")


def _apart(site: Section, complain: Complain) -> None:
    """No address lies in two networks."""
    named = _subnets(site)
    subnets = dict(named)
    before = (-1, -1, "")
    for first, last, name in ranges_of(named):
        if first <= before[1]:
            what = f"{subnets[name]} and {subnets[before[2]]} of {before[2]} overlap"
            hint = "give each network a subnet of its own"
            complain((*path_of(site, name), "subnet"), what, hint)
        before = max(before, (first, last, name), key=lambda each: each[1])


def _subnets(site: Section) -> list[tuple[str, str]]:
    found = []
    for name, network in networks_of(site).items():
        if network and network.subnet:
            found.append((name, network.subnet))
    return found


# Servers


def _servers(site: Section, complain: Complain) -> Owners:
    """The servers' addresses, with their owners."""
    owners: Owners = {}
    for name, server in (site.servers or {}).items():
        if server is None:
            continue
        path = ("servers", name)
        if not server.model_fields_set & {"ip", "addresses"}:
            complain((*path, "ip"), "required", "add `ip: 172.24.10.1`")
        for where, address in _addresses_of(site, path, server, complain):
            first = owners.setdefault(number(address), f"servers.{name}")
            if first != f"servers.{name}":
                hint = "give each server its own"
                complain(where, f"same address as {first}", hint, address)
            if (server.nfs_server or "").startswith(f"{address}:"):
                what, hint = "is this server itself", "leave it out"
                complain((*path, "nfs_server"), what, hint, server.nfs_server)
    return owners


def _addresses_of(
    site: Section, path: Path, server: Section, complain: Complain
) -> Iterator[tuple[Path, str]]:
    """Each address of a server and where it stands; the right ones lie in their networks."""
    subnets = {name: IPv4Network(subnet) for name, subnet in _subnets(site)}
    if server.ip:
        yield (*path, "ip"), server.ip
        _main_address(site, (*path, "ip"), server.ip, complain)
    for name, address in (server.addresses or {}).items():
        where = (*path, "addresses", name)
        if name not in networks_of(site):
            complain(where, "unknown network", suggestion(name, networks_of(site)), name, key=True)
        if address:
            yield where, address
        if address and name in subnets:
            _within(where, address, name, subnets[name], complain)


def _main_address(site: Section, path: Path, address: str, complain: Complain) -> None:
    """Of several networks any may reach a server from outside; an only one by its relay alone."""
    only = site.network
    if site.networks or not only or not only.subnet:
        return
    subnet = IPv4Network(only.subnet)
    if _is_in(address, subnet) or not only.relay:
        _inside(path, address, subnet, complain)


def _within(path: Path, address: str, name: str, subnet: IPv4Network, complain: Complain) -> None:
    if _is_in(address, subnet):
        return _inside(path, address, subnet, complain)
    complain(path, f"{address} not in {subnet}", f"use an address of network {name}")


def _take(site: Section, owners: Owners) -> None:
    """Addresses that no node may have."""
    for path, network in _given(site):
        where = ".".join(path)
        for field, addresses in (("gateway", [network.gateway]), ("dns", network.dns or [])):
            for address in filter(None, addresses):
                owners.setdefault(number(address), f"{where}.{field}")


# Nodes and their interfaces


class _AllSubnets:
    """The networks of a site, by the addresses in them."""

    def __init__(self, site: Section):
        self.named = dict(_subnets(site))
        self.only = None if site.networks else self.named.get(ONLY_NETWORK)
        self.subnets: Subnets = subnets_of(site)
        self.ends = set[int]()  # network and broadcast addresses
        for first, last, _ in self.subnets.ranges:
            self.ends |= {first, last}
        self.pools: dict[str, tuple[int, int]] = {}
        for name, network in networks_of(site).items():
            if network and network.pool:
                first_of, _, last_of = network.pool.partition("-")
                self.pools[name] = (number(first_of), number(last_of))

    def place(self, path: Path, address: str, owners: Owners, complain: Complain) -> str:
        """The network of an address, which is nobody else's; "" where there is none."""
        at = number(address)
        name = self.subnets.name_of(address)
        if at in owners:
            hint = "give the node another one"
            complain(path, f"already used by {owners[at]}", hint, address)
        elif name and at in self.ends:
            _inside(path, address, IPv4Network(self.named[name]), complain)
        elif name in self.pools and self.pools[name][0] <= at <= self.pools[name][1]:
            what = f"{address} lies in the pool of network {name}"
            complain(path, what, "a pool is for strangers: give the node another one")
        elif not name and self.only:
            _inside(path, address, IPv4Network(self.only), complain)
        elif not name and self.named:
            complain(path, f"{address} lies in no network", "name its subnet under networks:")
        return name


def _interfaces(
    site: Section,
    members: list[Member],
    subnets: _AllSubnets,
    owners: Owners,
    complain: Complain,
) -> None:
    """An interface lies in its network, and its address, name and card are its own."""
    cards = [card for member in members for card in member.cards]
    if not cards:
        return
    of_bonds = bond_problems(site, complain)
    for path, said in {card.path: card.said for card in cards}.items():
        if said.network and said.network not in networks_of(site):
            hint = suggestion(said.network, networks_of(site))
            complain((*path, "network"), "unknown network", hint, said.network)
        elif path not in of_bonds and not carries_root(said):
            _has_address(path, said, complain)
    for card in cards:
        _place(card, subnets, owners, complain)
    link_problems(site, members, complain)
    _own_addresses(members, complain)
    _own_names(members, site, complain)


def _has_address(path: Path, said: Section, complain: Complain) -> None:
    if not said.model_fields_set & {"network", "ip", "ip6"}:
        complain(path, "no address", "give it an ip:", key=True)
    elif said.configure and "ip" not in said.model_fields_set:
        complain((*path, "configure"), "no address to bring it up with", "give it an ip:")


def _place(card: Card, subnets: _AllSubnets, owners: Owners, complain: Complain) -> None:
    if card.ip is None:
        return
    path, wanted = (*card.path, "ip"), card.said.network
    found = subnets.place(path, card.ip, owners, complain)
    if found and wanted in subnets.named and found != wanted:
        what = f"{card.ip} not in {subnets.named[wanted]}"
        complain(path, what, f"use an address of network {wanted}, or name network {found}")


def _own_addresses(members: list[Member], complain: Complain) -> None:
    """No interface has the address of a node or of another interface."""
    owners = {member.ip: f"node {member.name}" for member in members}
    for owner, card in _named_cards(members):
        if card.ip is None:
            continue
        first = owners.setdefault(card.ip, owner)
        if first != owner:
            complain((*card.path, "ip"), f"same address as {first}", "give each its own", card.ip)


def _named_cards(members: list[Member]) -> Iterator[tuple[str, Card]]:
    for member in members:
        for card in member.cards:
            yield f"{card.name} of {member.name}", card


def _own_names(members: list[Member], site: Section, complain: Complain) -> None:
    """`wn001-bmc` is no other machine's name."""
    taken = {member.name: f"node {member.name}" for member in members}
    taken |= {name: f"server {name}" for name in site.servers or {}}
    for owner, card in _named_cards(members):
        _, _, node = owner.rpartition(" ")
        name = f"{node}-{card.name}"
        first = taken.setdefault(name, owner)
        if first != owner:
            complain(card.path, f"{name} is the name of {first}", "rename one of them", key=True)
