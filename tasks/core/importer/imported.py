"""What files of other programs say of nodes, put together, and what of it was not understood."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from ..site import values
from ..site.values import InvalidValue


_NAME = r"[^\s=:]*(?:pass|secret|token|credential|community|auth(?!or)|pw\b)[^\s=:]*"
# What such a name is said to be, and what stands before it
_SECRET = re.compile(rf"(.*?{_NAME})[\s=:]+\S.*", re.IGNORECASE)
_SECRET_NAME = re.compile(rf"{_NAME}|.*key", re.IGNORECASE)
MAY_BE_SECRET = "not understood, and not repeated: it may be a secret"


class FileLine(NamedTuple):
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class ImportedNode:
    name: str
    origin: FileLine
    ip: str = ""
    ip6: str = ""
    macs: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    known_by: dict[str, str] = field(default_factory=dict)  # client_id, circuit_id
    # By name what OF_INTERFACE checks
    interfaces: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class ImportedNetwork:
    subnet: str
    said: dict[str, Any] = field(default_factory=dict)  # by the keys of site.yaml


@dataclass
class Imported:
    """All that was read so far; files may come in any order."""

    nodes: dict[str, ImportedNode] = field(default_factory=dict)
    networks: list[ImportedNetwork] = field(default_factory=list)
    common: dict[str, Any] = field(default_factory=dict)  # said of every network
    servers: list[str] = field(default_factory=list)  # addresses, the most usual first
    hosts: list[tuple[FileLine, str, list[str]]] = field(default_factory=list)
    cards: list[tuple[FileLine, str, str]] = field(default_factory=list)  # MAC, name or address
    notes: list[str] = field(default_factory=list)
    domains: dict[str, str] = field(default_factory=dict)  # by addresses of nodes
    images: dict[str, tuple[FileLine, str]] = field(default_factory=dict)  # of nodes, there

    def note(self, origin: FileLine, text: str, why: str = "not understood") -> None:
        """A line for a person; whatever stands in the file, it stays one comment."""
        words = " ".join(text.split())
        plain = "".join(sign if sign.isprintable() else "?" for sign in words)
        if secret := _SECRET.match(plain):
            plain = secret[1]
            why = MAY_BE_SECRET
        self.notes.append(f"{origin}: {plain[:200]}: {why}")

    def node(self, origin: FileLine, name: str) -> ImportedNode | None:
        """The node of a name, with or without its domain; None, and a note, where it is none."""
        short = name.lower().partition(".")[0]
        if self.checked(origin, values.host, short) is None:
            return None
        return self.nodes.setdefault(short, ImportedNode(short, origin))

    def checked(self, origin: FileLine, check: Callable[[str], str], text: str) -> str | None:
        """A value of site.yaml; None, and a note, where it is none."""
        try:
            return check(text)
        except InvalidValue as wrong:
            self.note(origin, text, wrong.what)
            return None

    def add_card(self, origin: FileLine, node: ImportedNode, ip: str, macs: list[str]) -> bool:
        """A card of an address; of another one than the node has, it is another machine's."""
        before = getattr(node, family(ip)) if ip else ""
        if before and before != ip:
            card = " ".join([node.name, ip, *macs])
            self.note(origin, card, f"has {before} already")
            return False
        for mac in macs:
            self.add_mac(origin, node, mac)
        if ip:
            self.add_ip(origin, node, ip)
        return True

    def add_mac(self, origin: FileLine, node: ImportedNode, text: str) -> None:
        mac = self.checked(origin, values.mac, with_zeros(text))
        if mac and mac not in node.macs:
            node.macs.append(mac)

    def add_identifiers(self, origin: FileLine, node: ImportedNode, said: dict[str, str]) -> None:
        """What DHCP knows it by, besides its card or instead, by the keys of site.yaml."""
        for key, text in said.items():
            if self.checked(origin, values.identifier, text):
                node.known_by[key] = text

    def add_ip(self, origin: FileLine, node: ImportedNode, text: str) -> None:
        """An address: it has one of IPv4, and one of IPv6."""
        key = family(text)
        ip, before = self.checked(origin, OF_INTERFACE[key], text), getattr(node, key)
        if ip and before and before != ip:
            self.note(origin, f"{node.name} {ip}", f"has {before} already")
        elif ip:
            setattr(node, key, ip)

    def add_aliases(self, origin: FileLine, node: ImportedNode, names: Iterable[str]) -> None:
        for name in names:
            alias = self.checked(origin, values.any_host, name)
            if alias and alias not in (node.name, *node.aliases):
                node.aliases.append(alias)

    def add_network(
        self, origin: FileLine, ip: str, netmask: str, **said: Any
    ) -> ImportedNetwork | None:
        """The network that an address lies in, and what is said of it by the keys of site.yaml."""
        try:
            written = str(IPv4Network(f"{ip}/{netmask}", strict=False))
        except ValueError as error:
            self.note(origin, f"{ip} {netmask}", str(error))
            return None
        subnet = self.checked(origin, values.subnet, written)
        if subnet is None:
            return None
        known = next((each for each in self.networks if each.subnet == subnet), None)
        if known is None:
            known = ImportedNetwork(subnet)
            self.networks.append(known)
        for key, text in said.items():
            if text:
                known.said.setdefault(key, text)
        return known

    def add_interface(self, origin: FileLine, node: ImportedNode, name: str, **said: str) -> None:
        """An address, MAC or GUID of another card."""
        if self.checked(origin, values.interface_name, name.lower()) is None:
            return
        found = node.interfaces.setdefault(name.lower(), {})
        for key, text in said.items():
            value = self.checked(origin, OF_INTERFACE[key], text) if text else None
            if value:
                found[key] = value

    def add_groups(self, origin: FileLine, node: ImportedNode, names: Iterable[str]) -> None:
        for name in names:
            group = self.checked(origin, values.name, name)
            if group and group not in node.groups:
                node.groups.append(group)

    def add_fact(self, origin: FileLine, node: ImportedNode, name: str, text: str) -> None:
        if _SECRET_NAME.fullmatch(name):  # facts go to whoever asks the TFTP server
            return self.note(origin, f"{node.name}: {name}", MAY_BE_SECRET)
        known = self.checked(origin, values.fact_name, name)
        words = self.checked(origin, values.fact, " ".join(text.split())) if known else None
        if known and words:
            node.facts[known] = words


def decoded(data: bytes) -> str:
    """A file's text, with a byte-order mark or without, as Windows writes it, too."""
    wide = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if data.startswith(wide) else "utf-8-sig"
    text = data.decode(encoding, errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def family(address: str) -> str:
    """The key of site.yaml for such an address."""
    return "ip6" if ":" in address else "ip"


def with_zeros(mac: str) -> str:
    """A MAC as ether_ntoa(3) prints it, `0:1e:67:1:2:3`, with two digits a byte."""
    parts = mac.split(":")
    is_short = len(parts) == 6 and all(0 < len(part) < 3 for part in parts)
    return ":".join(part.zfill(2) for part in parts) if is_short else mac


OF_INTERFACE: dict[str, Callable[[str], str]] = {
    "ip": values.ipv4,
    "ip6": values.ipv6,
    "mac": values.mac,
    "guid": values.guid,
}
