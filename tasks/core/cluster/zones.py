"""DNS zones of a site: its domain, and the reverse ones that its addresses lie in."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import NamedTuple

from ..site.model import Site
from ..site.values import number
from .view import Names, addresses

Record = tuple[str, str, str]  # label, type, data


class Zone(NamedTuple):
    name: str
    servers: Names  # with their domain and a dot at the end
    records: list[Record]


def zones_of(site: Site) -> Iterator[Zone]:
    domain = site.network.domain
    if domain is None:
        return
    yield Zone(domain, _name_servers(site, domain), list(_forward(site, domain)))
    subnet = IPv4Network(site.network.subnet)
    reverse: dict[str, list[Record]] = {}
    for address, names in addresses(site):
        found = _reverse(subnet, address)
        if found:
            zone, label = found
            reverse.setdefault(zone, []).append((label, "PTR", _whole(names[0], domain)))
    for name, records in reverse.items():
        yield Zone(name, _name_servers(site, domain), records)


def _whole(name: str, domain: str) -> str:
    """A name with its domain, which one with a dot has already, and the dot at the end."""
    return f"{name}." if "." in name else f"{name}.{domain}."


def _name_servers(site: Site, domain: str) -> Names:
    """Those of `dns:` that the site has a name of its own for; else its servers."""
    named: dict[str, str] = {}
    for address, names in addresses(site):
        if _label(names[0], domain):
            named.setdefault(address, names[0])
    known = [named[address] for address in site.network.dns if address in named]
    own = [server.name for server in site.servers]
    return [_whole(name, domain) for name in known or own]


def _forward(site: Site, domain: str) -> Iterator[Record]:
    for address, names in addresses(site):
        for name in names:
            label = _label(name, domain)
            if label:
                yield label, "AAAA" if ":" in address else "A", address


def _label(name: str, domain: str) -> str:
    """A name in the zone of a domain; "" where it is of another."""
    label = name.lower().removesuffix(f".{domain}")
    return label if "." not in label or label != name.lower() else ""


def _reverse(subnet: IPv4Network, address: str) -> tuple[str, str] | None:
    """The reverse zone of an address of that network, and its label there.

    Zones end at whole bytes: the largest that the network fills, at most 256 addresses else.
    """
    if ":" in address:
        return None
    parts = address.split(".")
    if number(address) & int(subnet.netmask) != int(subnet.network_address):
        return None
    held = min(3, -(-subnet.prefixlen // 8))
    zone = ".".join(reversed(parts[:held])) + ".in-addr.arpa"
    return zone, ".".join(reversed(parts[held:]))
