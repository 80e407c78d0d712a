"""dhcpd.conf(5): host blocks in groups, subnets and shared networks, and files that it includes."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import NamedTuple

from .imported import FileLine, Imported, ImportedNetwork, ImportedNode, decoded

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{};]|[^\s{};"#]+|#[^\n]*|\n')
# The client identifier of IPoIB (RFC 4390), and its hardware address: both end with the GUID
GUID = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){11}((?::[0-9a-f]{2}){8})", re.IGNORECASE)
# A byte of one digit, before others
BYTE = re.compile(r"(?<![^:])([0-9a-fA-F])(?=:[0-9a-fA-F]{2}(?::|$))")
OPTIONS = {  # key of site.yaml, and whether that is a list
    "routers": ("gateway", False),
    "domain-name-servers": ("dns", True),
    "domain-name": ("domain", False),
    "ntp-servers": ("ntp", True),
    "domain-search": ("search", True),
    "interface-mtu": ("mtu", False),
}
KNOWN_BY = {  # what may know a node besides its card, and the key of site.yaml
    ("option", "dhcp-client-identifier"): "client_id",
    ("uid",): "client_id",
    ("host-identifier", "option", "agent.circuit-id"): "circuit_id",
}
IPOIB = (["option", "dhcp-client-identifier"], ["hardware", "infiniband"])
# What Plugnode says by itself, or what nodes have no need of
OURS = re.compile(
    r"authoritative|(default|max|min)-lease-time|ddns-|(deny|allow|ignore) |log-facility|filename"
    r"|option (subnet-mask|broadcast-address|host-name) |option \S+ code |use-host-decl-names"
    r"|get-lease-hostnames|match |(sub)?class |pid-file-name|lease-file-name|interface "
    r"|dynamic |supersede |authoring-byte-order "  # of dhcpd.leases
)
# Who gets an address of a `range` that stands beside it: no stranger
KNOWN_ALONE = re.compile(r"(deny|ignore) unknown[- ]clients|allow (known[- ]clients|members of) ")


class Statement(NamedTuple):
    origin: FileLine
    words: list[str]
    block: list[Statement] | None  # None: it ended with a semicolon


def read_dhcpd(path: str, text: str, found: Imported) -> None:
    _Reader(found, [os.path.realpath(path)]).all(parsed(path, text), found.common)


def parsed(path: str, text: str) -> list[Statement]:
    """The statements of a file. What is not closed ends with the file; a brace too many nothing."""
    tokens = _tokens(path, text)
    found = list(_statements(tokens))
    for ahead in tokens:
        rest = itertools.chain([ahead], tokens)
        found += _statements(rest)
    return found


def _tokens(path: str, text: str) -> Iterator[tuple[FileLine, str]]:
    line = 1
    for found in _TOKEN.finditer(text):
        word = found[0]
        if word == "\n":
            line += 1
        elif not word.startswith("#"):
            yield FileLine(path, line), word
            line += word.count("\n")


def _statements(tokens: Iterator[tuple[FileLine, str]]) -> Iterator[Statement]:
    words: list[str] = []
    first: FileLine | None = None
    for origin, word in tokens:
        first = first or origin
        if word == "{":
            yield Statement(first, words, list(_statements(tokens)))
        elif word == ";" and words:
            yield Statement(first, words, None)
        elif word == "}":
            break
        elif word == ";":  # behind a block
            continue
        else:
            words.append(word)
            continue
        words, first = [], None
    if words and first:  # without its semicolon
        yield Statement(first, words, None)


def is_relay(each: Statement) -> bool:
    """A subnet of one address is how dhcpd is told of a relay."""
    return each.words[:1] == ["subnet"] and each.words[3:] == ["255.255.255.255"]


class _Reader:
    """Puts together what the statements of a file, and of those that it includes, say."""

    def __init__(self, found: Imported, files: list[str]):
        self.found = found
        self.files = files  # being read, the outermost first

    def all(self, statements: list[Statement], scope: dict[str, object]) -> None:
        """`scope` is what is said of all networks here, by the keys of site.yaml."""
        if any(KNOWN_ALONE.match(" ".join(each.words) + " ") for each in statements):
            scope["pool"] = ""
        for each in statements:
            if each.block is None:
                self.word(each, scope)
            else:
                self.block(each, each.block, scope)

    def block(self, each: Statement, inner: list[Statement], scope: dict[str, object]) -> None:
        kind = each.words[0].lower() if each.words else ""
        if kind == "host" and len(each.words) == 2:
            self.host(each)
        elif kind == "subnet" and len(each.words) == 4:
            self.subnet(each, scope)
        elif kind == "group":
            self.group(each.origin, inner, scope)
        elif kind == "pool":
            self.pool(inner, scope)
        elif kind == "shared-network":
            self.wire(each.words[1:], inner, scope)
        elif kind in ("if", "else", "elsif", "class"):
            self.all(inner, dict(scope))
        elif kind != "}":
            self.found.note(each.origin, " ".join(each.words))

    def wire(self, named: list[str], statements: list[Statement], scope: dict[str, object]) -> None:
        """Subnets of a shared network have its name in common, and its relays."""
        inside = {**scope, "shared_network": " ".join(named).strip('"')}
        relays = [each.words[1] for each in statements if is_relay(each)]
        if relays:
            inside["relay"] = relays
        self.all(statements, inside)

    def word(self, each: Statement, scope: dict[str, object]) -> None:
        line = " ".join(each.words)
        words = [word.strip('"') for word in line.replace(",", " ").split()]
        kind, values = words[0], words[1:]
        if kind == "include" and len(values) == 1:
            self.include(each, values[0], scope)
        elif kind == "next-server" and len(values) == 1:
            self.server(values[0])
        elif kind == "range" and values:
            self.range(each, values, scope)
        elif kind == "option" and values and values[0] in OPTIONS:
            scope |= self.option(*values)
        elif not OURS.match(line + " "):
            self.found.note(each.origin, line)

    def option(self, name: str, *values: str) -> dict[str, object]:
        key, is_list = OPTIONS[name]
        return {key: list(values) if is_list else " ".join(values[:1])}

    def range(self, each: Statement, words: list[str], scope: dict[str, object]) -> None:
        """The first one that strangers get addresses of."""
        if "pool" in scope:
            why = "a second one" if scope["pool"] else "no address for strangers"
            return self.found.note(each.origin, " ".join(each.words), why)
        ends = [word for word in words if word != "dynamic-bootp"]
        scope["pool"] = "-".join((ends * 2)[:2])

    def group(
        self, origin: FileLine, statements: list[Statement], scope: dict[str, object]
    ) -> None:
        """What is said of its hosts holds for their network, unless that has another word."""
        inside = dict(scope)
        self.all(statements, inside)
        for key, value in inside.items():
            if scope.setdefault(key, value) != value:
                said = " ".join(value) if isinstance(value, list) else value
                self.found.note(origin, f"group: {key} {said}", "others there have another one")

    def pool(self, statements: list[Statement], scope: dict[str, object]) -> None:
        """Who gets its addresses is said of it alone."""
        inside = dict(scope)
        self.all(statements, inside)
        if not inside.get("pool"):
            inside.pop("pool", None)
        scope |= inside

    def server(self, address: str) -> None:
        if address not in self.found.servers:
            self.found.servers.append(address)

    def include(self, each: Statement, name: str, scope: dict[str, object]) -> None:
        path = name
        if not os.path.exists(path):  # copied from a server together with the file that names it
            beside = os.path.dirname(each.origin.file)
            path = os.path.join(beside, os.path.basename(name))
        real = os.path.realpath(path)
        if real in self.files or not os.path.isfile(path):
            why = "no such file here"
            return self.found.note(each.origin, f'include "{name}"', why)
        with open(path, "rb") as file:
            text = decoded(file.read())
        statements = parsed(path, text)
        files = [*self.files, real]
        _Reader(self.found, files).all(statements, scope)

    def subnet(self, each: Statement, scope: dict[str, object]) -> None:
        try:
            subnet = IPv4Network(f"{each.words[1]}/{each.words[3]}")
        except ValueError as error:
            return self.found.note(each.origin, " ".join(each.words), str(error))
        inside = dict(scope)
        self.all(each.block or [], inside)
        if subnet.prefixlen <= 30:  # smaller ones have no node
            self.found.networks.append(ImportedNetwork(str(subnet), inside))

    def host(self, each: Statement) -> None:
        given = Given(each.words[1].strip('"'), [], [], [], {})
        is_deleted = False
        for inner in each.block or []:
            words = [word.strip('",') for word in inner.words if word != "="]
            if words == ["deleted"]:
                is_deleted = True
            elif not self.is_of_host(words, given):
                said = " ".join(words)
                self.found.note(inner.origin, f"host {given.name}: {said}")
        names = [*filter(None, given.names), given.name]
        node = self.found.node(each.origin, names[0])
        if node is None:
            return
        if is_deleted:
            del self.found.nodes[node.name]
        else:
            self.place(each.origin, node, given)

    def is_of_host(self, words: list[str], given: Given) -> bool:
        """Whether a statement of a host block is understood; then it is put down."""
        if not words:
            return False
        if words[:2] == ["hardware", "ethernet"]:
            given.cards.extend(words[2:])
        elif words[0] == "fixed-address":
            given.addresses.extend(filter(None, ",".join(words[1:]).split(",")))
        elif words[:2] == ["option", "host-name"]:
            given.names.extend(words[2:])
        elif words[:2] in IPOIB and GUID.fullmatch(words[-1]):
            given.cards.append(words[-1])
        elif key := KNOWN_BY.get(tuple(words[:-1])):
            given.known_by[key] = BYTE.sub(r"0\1", words[-1])
        else:
            return self.is_usual(words)
        return True

    def is_usual(self, words: list[str]) -> bool:
        """Whether Plugnode says it by itself, or needs no more of it than its server."""
        if words[0] == "next-server" and words[1:]:
            self.server(words[1])
            return True
        return bool(OURS.match(" ".join(words) + " "))

    def place(self, origin: FileLine, node: ImportedNode, given: Given) -> None:
        """What is given to a node; it may prove to be an interface of another one."""
        self.found.add_identifiers(origin, node, given.known_by)
        macs = []
        for card in given.cards:
            if GUID.fullmatch(card):
                node.interfaces[""] = {"guid": card[-23:]}
            else:
                macs.append(card)
        address = "".join(given.addresses[:1])
        if address and not re.fullmatch(r"[\d.]+", address):
            self.found.cards.append((origin, "", f"{node.name} {address}"))
            address = ""
        self.found.add_card(origin, node, address, macs)
        for address in given.addresses[1:]:
            self.found.note(origin, f"host {given.name}: fixed-address {address}", "a second one")


class Given(NamedTuple):
    """What a host block says."""

    name: str
    cards: list[str]
    addresses: list[str]
    names: list[str]
    known_by: dict[str, str]  # by the keys of site.yaml
