"""Networks as the templates of DHCP servers, exports and hosts see them."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..dhcp.options import ADDRESSES, TEXT, DhcpOption, option_of
from ..site.model import Interface, Network, Node, Server, Site
from ..site.networks.subnets import Subnets
from .boot_files import server_of
from .templates import NodeRow

# What IPoIB's clients call themselves (RFC 4390; Mellanox's firmware and Linux' dhclient), before
# the eight pairs of the port's GUID
GUID_PREFIX = "ff:00:00:00:00:00:02:00:00:02:c9:00:"
DNSMASQ_TAG = "plugnode"


class Reservation(NamedTuple):
    """An address that DHCP gives one card."""

    host: str  # dhcpd's name of it
    name: str
    mac: str
    client_id: str  # instead of the MAC; pairs with colons, as the next one
    circuit_id: str  # instead of both: of a switch port
    ip: str
    server: str
    next_server: str
    cards: str  # all cards that get this address; "" for all but the first of them
    kind: str  # NODE | CARDS | INTERFACE


NODE, CARDS, INTERFACE = "node", "cards", "interface"


def node_rows(site: Site) -> list[NodeRow]:
    """The nodes, in their order."""
    reached = {}
    for server in site.servers:
        for network in site.networks:
            reached[server.name, network.name] = server.address_in(network.name)
    rows = []
    for node in site.nodes:
        name = server_of(site, node).name
        rows.append(NodeRow(node.name, node.mac, node.ip, name, reached[name, node.network]))
    return rows


def network_views(site: Site, rows: Iterable[NodeRow]) -> list[dict[str, Any]]:
    """Every network, in the order of the file. `rows`: of the nodes."""
    reserved = _reserved(site, rows)
    booting = {node.network for node in site.nodes}
    views = []
    for number, network in enumerate(site.networks, 1):
        view = _network_view(site, network)
        view["id"] = str(number)
        view["reservations"] = reserved[network.name]
        view["boots"] = "yes" if network.name in booting or not site.more_networks else ""
        views.append(view)
    return views


def _reserved(site: Site, rows: Iterable[NodeRow]) -> dict[str, list[Reservation]]:
    """What DHCP gives to whom, by network."""
    reserved: dict[str, list[Reservation]] = defaultdict(list)
    for node, row in zip(site.nodes, rows):
        of_network = reserved[node.network]
        if node.mac and not (node.more_macs or node.guid or node.client_id or node.circuit_id):
            of_network.append(_of_card(row))
        else:
            of_network += _of_several(node, row)
        for interface in node.interfaces:
            reserved[interface.network] += _of_interface(node, interface)
    return reserved


def _network_view(site: Site, network: Network) -> dict[str, Any]:
    alone = site.servers[0].address_in(network.name) if len(site.servers) == 1 else ""
    return {
        "network": network.name,
        "tag": tag_of(site, network),
        **_addresses_view(network),
        "gateway": network.gateway or "",
        "domain": network.domain or "",
        "dns": network.dns,
        "ntp": network.ntp,
        "search": network.search,
        "mtu": str(network.mtu or ""),
        "next_server": alone,
        "options": _kea_options(network),
        "more_options": [_option_view(option_of(*pair)) for pair in network.options],
    }


def _addresses_view(network: Network) -> dict[str, Any]:
    subnet = ipaddress.IPv4Network(network.subnet)
    return {
        "subnet": network.subnet,
        "address": str(subnet.network_address),
        "netmask": str(subnet.netmask),
        "pool": network.pool.split("-") if network.pool else [],
        "relay": network.relay,
    }


def _kea_options(network: Network) -> list[tuple[str, str]]:
    """DHCP's options by Kea's names (IANA's), without those that the site does not give."""
    options = [
        ("routers", network.gateway or ""),
        ("domain-name-servers", ", ".join(network.dns)),
        ("domain-name", network.domain or ""),
        ("ntp-servers", ", ".join(network.ntp)),
        ("domain-search", ", ".join(network.search)),
        ("interface-mtu", str(network.mtu or "")),
    ]
    return [(name, value) for name, value in options if value]


def _option_view(option: DhcpOption) -> dict[str, Any]:
    return {
        "code": str(option.code),
        "name": option.name,
        "given": option.values,
        "addresses": "yes" if option.kind == ADDRESSES else "",
        "text": "yes" if option.kind == TEXT else "",
        "named": "yes" if option.is_named else "",
    }


def _of_card(row: NodeRow) -> Reservation:
    """Of a node that is known by one card: nearly all are."""
    name, mac, ip, server, address = row
    return Reservation(name, name, mac, "", "", ip, server, address, mac, NODE)


def _of_several(node: Node, row: NodeRow) -> Iterator[Reservation]:
    """Of all that a node is known by; names with a dot are no node's."""
    name, _, ip, server, address = row
    ways = list(_ways(node))
    cards = [f"id:{client_id}" if client_id else mac for mac, client_id, _ in ways]
    of_first = ",".join(filter(None, cards))
    kind = CARDS if len(ways) > 1 else NODE
    for number, way in enumerate(ways, 1):
        host = f"{name}.{number}" if number > 1 else name
        of_all = of_first if number == 1 else ""
        yield Reservation(host, name, *way, ip, server, address, of_all, kind)


def _ways(node: Node) -> Iterator[tuple[str, str, str]]:
    """By what DHCP knows a node: a MAC, a client identifier or a switch port."""
    for mac in node.macs:
        yield mac, "", ""
    if node.guid:
        yield "", GUID_PREFIX + node.guid, ""
    if node.client_id:
        yield "", node.client_id, ""
    if node.circuit_id:
        yield "", "", node.circuit_id


def _of_interface(node: Node, interface: Interface) -> Iterator[Reservation]:
    """Of one with an address, and a card that DHCP can know it by."""
    client_id = GUID_PREFIX + interface.guid if interface.guid else ""
    if not interface.ip or not (interface.mac or client_id):
        return
    name = interface.host_name(node.name)
    card = f"id:{client_id}" if client_id else interface.mac
    mac = "" if client_id else interface.mac
    yield Reservation(name, name, mac, client_id, "", interface.ip, "", "", card, INTERFACE)


def reached(site: Site, server: Server) -> list[tuple[str, str]]:
    """Of each of dnsmasq's tags the address at which its nodes reach a server."""
    if not site.more_networks:
        return [(DNSMASQ_TAG, server.address_in(site.network.name))]
    booting = {node.network for node in site.nodes}
    found = []
    for network in site.networks:
        if network.name in booting:
            found.append((tag_of(site, network), server.address_in(network.name)))
    return found


def tag_of(site: Site, network: Network) -> str:
    return f"{DNSMASQ_TAG}-net-{network.name}" if site.more_networks else DNSMASQ_TAG


# Names


def machines(site: Site) -> dict[str, list[tuple[str, str]]]:
    """Lines of hosts(5): addresses with names, the canonical one first."""
    domains = {network.name: network.domain or "" for network in site.networks}
    nodes, interfaces = [], []
    for node in site.nodes:
        names = " ".join((_names(node.name, domains[node.network]), *node.aliases))
        for address in filter(None, (node.ip, node.ip6)):
            nodes.append((address, names))
        for interface in node.interfaces:
            name = interface.host_name(node.name)
            names = _names(name, domains.get(interface.network, ""))
            for address in filter(None, (interface.ip, interface.ip6)):
                interfaces.append((address, names))
    servers = list(_servers(site, domains))
    return {"servers": servers, "nodes": nodes, "interfaces": interfaces}


def _servers(site: Site, domains: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`boot1`, and `boot1-rack2` for each other address of it."""
    subnets = subnets_of_site(site)
    for server in site.servers:
        network = subnets.name_of(server.ip) or site.network.name
        for main in filter(None, (server.ip, server.ip6)):
            yield main, _names(server.name, domains[network])
        for network, ip in server.addresses:
            if ip != server.ip:
                yield ip, _names(f"{server.name}-{network}", domains[network])


def _names(name: str, domain: str) -> str:
    return f"{name}.{domain} {name}" if domain else name


# Wires


def wires(site: Site, views: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Networks by the wire that they are on, in the order of the file: mostly one on each.

    On one are those with one word for it, with one relay, and one whose relay has an address of
    another.
    """
    subnets = subnets_of_site(site)
    join = _joined(site.networks, subnets)
    found: dict[str, dict[str, Any]] = {}
    for view in views:
        wire = join.first_of(f"network {view['network']}")
        row = found.setdefault(wire, {"name": view["network"], "networks": []})
        row["networks"].append(view)
    for row in found.values():
        row["relays"] = _relays_outside(row["networks"], subnets)
        row["shared"] = "yes" if len(row["networks"]) > 1 or row["relays"] else ""
        row["heard_at"] = list(_heard_at(row, site, subnets)) if row["shared"] else []
    return list(found.values())


def _relays_outside(views: Iterable[dict[str, Any]], subnets: Subnets) -> list[str]:
    """The relays of a wire that lie in no network."""
    given = [address for view in views for address in view["relay"]]
    return [address for address in dict.fromkeys(given) if not subnets.name_of(address)]


def _joined(networks: Iterable[Network], subnets: Subnets) -> _Joined:
    """Networks, words and relays that belong to one wire."""
    join = _Joined()
    for network in networks:
        if network.shared_network:
            join.together(f"network {network.name}", f"word {network.shared_network}")
        for address in network.relay:
            place = subnets.name_of(address)
            other = f"network {place}" if place else f"relay {address}"
            join.together(f"network {network.name}", other)
    return join


def _heard_at(wire: dict[str, Any], site: Site, subnets: Subnets) -> Iterator[tuple[str, str]]:
    """Each address that dnsmasq may be asked at or by, with a subnet that is on that wire, too."""
    names = {view["network"]: view["address"] for view in wire["networks"]}
    asked = dict.fromkeys(wire["relays"])
    for view in wire["networks"]:
        asked |= dict.fromkeys([*view["relay"], view["gateway"]])
    for server in site.servers:
        for ip in (server.ip, *dict(server.addresses).values()):
            if subnets.name_of(ip) in names:
                asked[ip] = None
    for address in filter(None, asked):
        place = subnets.name_of(address)
        for name, subnet in names.items():
            if name != place:
                yield address, subnet


class _Joined:
    """Which words belong together (union-find)."""

    def __init__(self) -> None:
        self.above: dict[str, str] = {}

    def first_of(self, word: str) -> str:
        """The one that stands for all that a word is together with."""
        path = [word]
        while path[-1] in self.above:
            path.append(self.above[path[-1]])
        for each in path[:-1]:
            self.above[each] = path[-1]
        return path[-1]

    def together(self, one: str, other: str) -> None:
        first, second = self.first_of(one), self.first_of(other)
        if first != second:
            self.above[second] = first


def subnets_of_site(site: Site) -> Subnets:
    return Subnets([(network.name, network.subnet) for network in site.networks])


def without_way(site: Site) -> list[str]:
    """A line for each network whose nodes have neither a server in it nor a router to one."""
    subnets = subnets_of_site(site)
    booting = {node.network for node in site.nodes}
    lines = []
    for network in site.networks:
        addresses = [server.address_in(network.name) for server in site.servers]
        there = [subnets.name_of(address) == network.name for address in addresses]
        if network.name in booting and not network.gateway and not all(there):
            lines.append(
                f"nodes of {network.name} have no way to a server that has no address in it:"
                " give it a gateway"
            )
    return lines


def servers_outside(site: Site) -> list[str]:
    """The addresses of servers that lie in no network."""
    subnets = subnets_of_site(site)
    addresses = [server.ip for server in site.servers]
    return [ip for ip in addresses if not subnets.name_of(ip)]
