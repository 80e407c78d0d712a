"""dnsmasq.conf, as far as it serves DHCP."""

from __future__ import annotations

import re

from .dhcpd import BYTE, GUID
from .imported import FileLine, Imported, ImportedNetwork, ImportedNode
from .tables import IP, MAC

OPTIONS = {  # by name and by number: the key of site.yaml, and whether that is a list
    "router": ("gateway", False),
    "dns-server": ("dns", True),
    "domain-name": ("domain", False),
    "ntp-server": ("ntp", True),
    "domain-search": ("search", True),
    "mtu": ("mtu", False),
}
NUMBERS = {
    "3": "router",
    "6": "dns-server",
    "15": "domain-name",
    "26": "mtu",
    "42": "ntp-server",
    "119": "domain-search",
}
# What is of DNS, or Plugnode says by itself
OURS = re.compile(
    r"addn-hosts|all-servers|bind-|bogus-|cache-|dhcp-(authoritative|ignore|lease|mac|match|no-|seq"
    r"|script|userclass|vendorclass)|dns|domain-needed|enable-|except-|expand-|group|interface"
    r"|keep-|leasefile-|listen-|local|log|max|min|neg-|no-|pid-|port|pxe-|query-|resolv-|rev-"
    r"|server|shared-network|stop-|strict-|tag-if|tftp-|user"
)
_OF_LEASE = re.compile(r"infinite|deprecated|\d+[smhdw]?|(?:set|tag|net):.*")
_TAG = re.compile(r"(?:set|tag|net):(.*)")
_CARD = re.compile(rf"(?:[0-9A-Fa-f]{{2}}-)?({MAC.pattern})")  # the kind of network before it


def read_dnsmasq(path: str, text: str, found: Imported) -> None:
    networks: dict[str, ImportedNetwork] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        if not line:
            continue
        origin = FileLine(path, number)
        key, _, value = line.partition("=")
        words = [word.strip().strip('"') for word in value.split(",")]
        if key.strip() == "dhcp-option":
            is_known = _option(words, networks, found)
        else:
            is_known = _statement(origin, (key.strip(), words), networks, found)
        if not is_known:
            found.note(origin, line)


def _statement(
    origin: FileLine,
    said: tuple[str, list[str]],
    networks: dict[str, ImportedNetwork],
    found: Imported,
) -> bool:
    """Whether it is understood; then it is put down."""
    key, words = said
    if key == "dhcp-host":
        return _host(origin, words, found)
    if key == "dhcp-range":
        return _range(origin, words, networks, found)
    if key == "host-record":
        _record(origin, words, found)
    elif key == "domain":
        found.common.setdefault("domain", words[0])
    elif key == "dhcp-boot":
        _server(words[-1], found)
    elif not OURS.match(key):
        return False
    return True


def _host(origin: FileLine, words: list[str], found: Imported) -> bool:
    """A host that gets no address is none of ours, and one that is ignored."""
    macs = [mac[1] for mac in map(_CARD.fullmatch, words) if mac]
    names, addresses = [], []
    identifier = ""
    for word in words:
        if _CARD.fullmatch(word):
            continue
        address = word.strip("[]")
        if IP.fullmatch(word) or address != word:
            addresses.append(address)
        elif word.startswith("id:"):
            identifier = word.removeprefix("id:").strip("*")
        elif not _OF_LEASE.fullmatch(word):
            names.append(word)
    if not names or "ignore" in names:
        return False
    node = found.node(origin, names[0])
    if node is None:
        return True
    _identified(origin, node, identifier, found)
    _addressed(origin, node, (macs, addresses), found)
    return True


def _addressed(
    origin: FileLine,
    node: ImportedNode,
    said: tuple[list[str], list[str]],
    found: Imported,
) -> None:
    macs, addresses = said
    first, *others = addresses or [""]
    found.add_card(origin, node, first, macs)
    for address in others:
        found.add_ip(origin, node, address)


def _identified(origin: FileLine, node: ImportedNode, identifier: str, found: Imported) -> None:
    if GUID.fullmatch(identifier):
        node.interfaces[""] = {"guid": identifier[-23:]}
    elif identifier:
        text = BYTE.sub(r"0\1", identifier)
        found.add_identifiers(origin, node, {"client_id": text})


def _range(
    origin: FileLine, words: list[str], networks: dict[str, ImportedNetwork], found: Imported
) -> bool:
    """A network where it says how large that is; its pool where it is for whoever asks.

    After tags: the first address, the last or a mode, and the netmask (dnsmasq(8)).
    """
    tags = [tag[1] for tag in map(_TAG.fullmatch, words) if tag]
    first, last, netmask = [*words[len(tags) :], "", "", ""][:3]
    if not IP.fullmatch(first):
        return False
    if not IP.fullmatch(netmask):
        why = "it does not say how large its network is"
        found.note(origin, "dhcp-range=" + ",".join(words), why)
        return True
    network = found.add_network(origin, first, netmask)
    if network is None:
        return True
    for tag in tags:
        networks.setdefault(tag, network)
    if IP.fullmatch(last) and "static" not in words:
        network.said.setdefault("pool", f"{first}-{last}")
    return True


def _option(words: list[str], networks: dict[str, ImportedNetwork], found: Imported) -> bool:
    tags = [tag[1] for tag in map(_TAG.match, words) if tag]
    name, *values = words[len(tags) :]
    name = name.removeprefix("option:")
    known = OPTIONS.get(NUMBERS.get(name, name))
    scopes = [networks[tag].said for tag in tags if tag in networks]
    if not tags:
        scopes = [found.common]
    if known is None or not scopes:
        return False
    key, is_list = known
    for scope in scopes if values else ():
        scope[key] = values if is_list else values[0]
    return True


def _record(origin: FileLine, words: list[str], found: Imported) -> None:
    names = [word for word in words if not IP.fullmatch(word) and not word.isdigit()]
    for word in words:
        if IP.fullmatch(word):
            found.hosts.append((origin, word, [name for name in names if ":" not in name]))


def _server(address: str, found: Imported) -> None:
    if IP.fullmatch(address) and address not in found.servers:
        found.servers.append(address)
