"""DNS zones of a site: its domains, and the reverse ones that its addresses lie in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Address
from typing import NamedTuple

from ..site.model import Site
from ..site.values import number
from .view import Address, Names, addresses

Record = tuple[str, str, str]  # label, type, data


class Zone(NamedTuple):
    name: str
    domain: str  # its hostmaster's
    servers: Names  # with their domain and a dot at the end
    records: list[Record]


def zones_of(site: Site) -> Iterator[Zone]:
    """A zone for each domain, and one for each part of the networks that holds an address."""
    found = addresses(site)
    domains = [network.domain for network in site.networks if network.domain]
    servers = _name_servers(site, found, domains)
    for domain, records in _forward(found, domains).items():
        yield Zone(domain, domain, servers, records)
    named = _named_once(found)
    reverse = _reverse_zones(site, named) | _reverse_zones6(site, named)
    for name, records in reverse.items():
        yield Zone(name, domains[0], servers, records)


def _named_once(found: Iterable[Address]) -> list[Address]:
    """Each address as a machine has it; more names of it by `hosts:` come behind."""
    first: dict[str, Address] = {}
    for address in found:
        first.setdefault(address.ip, address)
    return list(first.values())


def _name_servers(site: Site, found: Iterable[Address], domains: Names) -> Names:
    """Those of `dns:` that the site has a name of its own for; else its servers."""
    wanted = dict.fromkeys(address for network in site.networks for address in network.dns)
    endings = tuple(f".{domain}." for domain in domains)
    ips = {server.ip for server in site.servers}
    known: dict[str, str] = {}
    own: dict[str, str] = {}
    for address in found:
        name = _whole(address, domains[0])
        if address.ip in ips:
            own.setdefault(address.ip, name)
        if address.ip in wanted and name.endswith(endings):
            known.setdefault(address.ip, name)
    asked = [known[ip] for ip in wanted if ip in known]
    return asked or list(own.values())


def _whole(address: Address, domain: str) -> str:
    """Its name with its domain, else with that one, and the dot at the end."""
    name = address.whole_name
    return f"{name}." if "." in name else f"{name}.{domain}."


def _forward(found: Iterable[Address], domains: Iterable[str]) -> dict[str, list[Record]]:
    """The records of each domain; short names of networks without one stand in the first."""
    records: dict[str, list[Record]] = {domain: [] for domain in domains}
    first = next(iter(records))
    for address in found:
        kind = "AAAA" if ":" in address.ip else "A"
        for name in address.names:
            for domain, label in _labels(name.lower(), address.domain or first):
                if domain in records:
                    records[domain].append((label, kind, address.ip))
    return records


def _labels(name: str, own: str) -> Iterator[tuple[str, str]]:
    """Each domain whose zone a name can stand in, and its label there: `a.b` of d in b alone."""
    parts = name.split(".") if "." in name else [name, own]
    for at in range(1, len(parts)):
        yield ".".join(parts[at:]), ".".join(parts[:at])


def _reverse_zones(site: Site, found: Iterable[Address]) -> dict[str, list[Record]]:
    subnets = [IPv4Network(network.subnet) for network in site.networks]
    bounds = [(int(net.network_address), int(net.broadcast_address), net) for net in subnets]
    domain = next(network.domain for network in site.networks if network.domain)
    zones: dict[str, list[Record]] = {}
    for address in found:
        if ":" in address.ip:
            continue
        place = number(address.ip)
        for first, last, net in bounds:
            if first <= place <= last:
                zone, label = _reverse(net, address.ip)
                zones.setdefault(zone, []).append((label, "PTR", _whole(address, domain)))
                break
    return zones


def _reverse_zones6(site: Site, found: Iterable[Address]) -> dict[str, list[Record]]:
    """Those of IPv6, of servers, nodes and interfaces: a zone for each /64 (RFC 3596)."""
    own = {server.ip6 or "" for server in site.servers}
    for node in site.nodes:
        own |= {node.ip6, *(interface.ip6 for interface in node.interfaces)}
    domain = next(network.domain for network in site.networks if network.domain)
    zones: dict[str, list[Record]] = {}
    for address in found:
        if ":" in address.ip and address.ip in own:
            digits = IPv6Address(address.ip).reverse_pointer.split(".")
            record = (".".join(digits[:16]), "PTR", _whole(address, domain))
            zones.setdefault(".".join(digits[16:]), []).append(record)
    return zones


def _reverse(subnet: IPv4Network, ip: str) -> tuple[str, str]:
    """The reverse zone of an address of that network, and its label there.

    Zones end at whole bytes: the largest that the network fills, at most 256 addresses else.
    """
    parts = ip.split(".")
    held = min(3, -(-subnet.prefixlen // 8))
    zone = ".".join(reversed(parts[:held])) + ".in-addr.arpa"
    return zone, ".".join(reversed(parts[held:]))
