"""A site.yaml of what was imported, with a comment line for each thing that was not understood."""

from __future__ import annotations

import bisect
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ..base.nodeset import fold_nodes
from ..site import values
from ..site.networks.subnets import Subnets
from ..site.values import InvalidValue, number
from .imported import Imported, ImportedNetwork, ImportedNode, family

CHECKS: dict[str, Any] = {
    "gateway": values.ipv4,
    "domain": values.domain,
    "dns": values.ipv4,
    "ntp": values.ipv4,
    "search": values.domain,
    "mtu": values.whole(576, 65535),
    "vlan": values.whole(1, 4094),
    "pool": values.address_range,
    "shared_network": values.name,
    "relay": values.ipv4,
}
# A note of one node: the file, the line, the node as it is called there, and what is said of it
_OF_NODE = re.compile(r"(.+):(\d+): ((?:host )?)(\S+): (.+)")
NOWHERE = "192.0.2.1"  # of nobody (RFC 5737)
LEAST = 24  # bits of a network of which no file says how large it is


def site_text(found: Imported, files: Iterable[str]) -> str:
    """The whole file."""
    networks = _networks(found)
    server, its_name = _server(found, networks)
    nodes = list(_nodes(found, server, networks))
    others = _host_lines(found, (server, its_name))
    lines = [
        f"# Of {', '.join(files)}, by `doit import`. Say where the root comes from: reference."
    ]
    lines += [f"# {note}" for note in _folded(found)]
    lines += ["site: imported", *_network_lines(networks)]
    lines += ["servers:", f"  {its_name}: {{ip: {server}}}"]
    lines += ["images:", '  worker: {reference: {rsync: "root@wn-ref:/"}}']
    groups = dict.fromkeys(group for node in nodes for group in node.groups)
    if groups:
        lines += ["groups:", *(f"  {_key(group)}: {{}}" for group in groups)]
    lines += ["nodes:", *map(_node_line, nodes), *others]
    return "\n".join(lines) + "\n"


def _folded(found: Imported) -> Iterator[str]:
    """The notes; what is said of many nodes of a file is one, with the place of the first."""
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for note in found.notes:
        said = _OF_NODE.fullmatch(note)
        if said and said[4] in found.nodes:
            file, line, host, name, rest = said.groups()
            groups.setdefault((file, host, rest), []).append((line, name))
        else:
            groups[note,] = []
    for said_of, nodes in groups.items():
        if nodes:
            file, host, rest = said_of
            names = fold_nodes(name for _, name in nodes)
            yield f"{file}:{nodes[0][0]}: {host}{names}: {rest}"
        else:
            yield said_of[0]


def _key(name: str) -> str:
    return name if name[0].isalpha() else json.dumps(name)


# Networks


def _networks(found: Imported) -> list[ImportedNetwork]:
    """Those that files name and something lies in, and guesses for all other addresses."""
    _resolve(found)
    ips = set(_addresses(found))
    machines = sorted(filter(None, map(_number, _machines(found))))
    known = _named_networks(found, ips)
    for subnet in _guessed(ips):
        known.append(ImportedNetwork(str(subnet)))
        found.notes.append(f"{subnet}: no file says how large this network is: guessed")
    if "domain" not in found.common:
        _name_domains(known, found)
    for network in known:
        network.said = _checked(network, machines, found)
    _leave_lone_wires(known)
    return known


def _resolve(found: Imported) -> None:
    """Routers and servers that are called by name have the address that a file gives to it."""
    named = _named(found)
    for said in (found.common, *(network.said for network in found.networks)):
        for key in ("gateway", "dns", "ntp", "relay"):
            text = said.get(key)
            if isinstance(text, list):
                said[key] = [_address(one, named) for one in text]
            elif text:
                said[key] = _address(text, named)


def _address(name: str, named: dict[str, str]) -> str:
    """What has no address stays a name."""
    if _number(name) is not None:
        return name
    short = name.lower().partition(".")[0]
    return named.get(short, name)


def _name_domains(networks: list[ImportedNetwork], found: Imported) -> None:
    """A network that has none said of it has the domain of the nodes in it."""
    known = {network.subnet: network for network in networks}
    subnets = Subnets([(subnet, subnet) for subnet in known])
    for ip, domain in found.domains.items():
        if family(ip) == "ip" and (subnet := subnets.name_of(ip)):
            known[subnet].said.setdefault("domain", domain)


def _named_networks(found: Imported, ips: set[str]) -> list[ImportedNetwork]:
    """Those that files name, and take their addresses out of `ips`; a note for what is left out."""
    known: list[ImportedNetwork] = []
    numbers = sorted(map(number, ips))
    for network in found.networks:
        subnet = IPv4Network(network.subnet)
        wanted = range(int(subnet[0]), int(subnet[-1]) + 1)
        inside = {str(IPv4Address(each)) for each in _among(numbers, wanted)}
        inside &= ips
        other = _overlapping(subnet, known)
        if inside and not other:
            known.append(network)
            ips -= inside
        elif not other or other.subnet != network.subnet:
            why = "nothing that a node has lies in it"
            if other:
                why = f"it overlaps {other.subnet}"
            found.notes.append(f"{network.subnet}: left out: {why}")
    return known


def _overlapping(
    subnet: IPv4Network, networks: Iterable[ImportedNetwork]
) -> ImportedNetwork | None:
    for network in networks:
        if subnet.overlaps(IPv4Network(network.subnet)):
            return network
    return None


def _leave_lone_wires(networks: list[ImportedNetwork]) -> None:
    """A word for one wire says nothing where one network alone has it."""
    wires = Counter(network.said.get("shared_network") for network in networks)
    for network in networks:
        word = network.said.get("shared_network")
        if word and wires[word] == 1:
            del network.said["shared_network"]


def _guessed(ips: Iterable[str]) -> list[IPv4Network]:
    """The smallest networks that hold the addresses of one /16 each."""
    by_start: dict[str, list[int]] = {}
    for ip in ips:
        by_start.setdefault(".".join(ip.split(".")[:2]), []).append(number(ip))
    subnets = []
    for numbers in by_start.values():
        bits = min(LEAST, 32 - (min(numbers) ^ max(numbers)).bit_length())
        subnets.append(IPv4Network((min(numbers), bits), strict=False))
    return sorted(subnets)


def _checked(network: ImportedNetwork, machines: list[int], found: Imported) -> dict[str, Any]:
    """What is said of a network, or of all of them, as far as site.yaml can say it.

    `machines`: the addresses of all, as numbers in order.
    """
    subnet = IPv4Network(network.subnet)
    said = {}
    for key, text in {**found.common, **network.said}.items():
        if not text:
            continue
        try:
            value = (
                [CHECKS[key](one) for one in text] if isinstance(text, list) else CHECKS[key](text)
            )
        except InvalidValue as wrong:
            words = ", ".join(text) if isinstance(text, list) else text
            found.notes.append(f"{network.subnet}: {key} {words}: {wrong.what}")
            continue
        if key == "pool" and (why := _no_pool(str(value), subnet, machines)):
            found.notes.append(f"{network.subnet}: range {value}: {why}")
        elif key != "gateway" or IPv4Address(value) in subnet:
            said[key] = value
    return said


def _no_pool(value: str, subnet: IPv4Network, machines: list[int]) -> str:
    """Why such addresses cannot be strangers' alone; "" where they can."""
    range_ = _numbers(value)
    hosts_of = range(number(str(subnet[1])), number(str(subnet[-1])))
    if range_.start not in hosts_of or range_[-1] not in hosts_of:
        return "not inside its subnet"
    inside = _among(machines, range_)
    if not inside:
        return ""
    return f"{IPv4Address(inside[0])} lies in it, and a pool is for strangers alone"


def _among(numbers: list[int], wanted: range) -> list[int]:
    """Those of numbers in order that lie in a range."""
    first = bisect.bisect_left(numbers, wanted.start)
    last = bisect.bisect_left(numbers, wanted.stop)
    return numbers[first:last]


def _number(ip: str) -> int | None:
    """None for what is a name."""
    try:
        return int(IPv4Address(ip))
    except ValueError:
        return None


def _numbers(pool: str) -> range:
    first, last = map(number, pool.split("-"))
    return range(first, last + 1)


def _addresses(found: Imported) -> Iterator[str]:
    """Those of all nodes, and of what else they have."""
    for node in found.nodes.values():
        yield from filter(None, (node.ip, *(of.get("ip") for of in node.interfaces.values())))


def _machines(found: Imported) -> Iterator[str]:
    """The addresses of all that files name."""
    yield from _addresses(found)
    yield from _server_addresses(found)
    yield from (ip for _, ip, _ in found.hosts)
    for said in (found.common, *(network.said for network in found.networks)):
        for key in ("gateway", "dns", "ntp"):
            text = said.get(key) or []
            yield from text if isinstance(text, list) else [text]


def _network_lines(networks: list[ImportedNetwork]) -> list[str]:
    if len(networks) == 1:
        return [f"network: {_network(networks[0])}"]
    lines = [f"  net{at}: {_network(network)}" for at, network in enumerate(networks, 1)]
    return ["networks:", *lines]


def _network(network: ImportedNetwork) -> str:
    return _flow({"subnet": network.subnet, **network.said})


def _flow(said: dict[str, Any]) -> str:
    """A mapping in one line; what may be written plainly is."""
    words = []
    for key, value in said.items():
        if isinstance(value, dict):
            text = _flow(value)
        elif isinstance(value, list):
            text = f"[{', '.join(map(_scalar, value))}]"
        else:
            text = _scalar(value)
        words.append(f"{_key(key)}: {text}")
    return f"{{{', '.join(words)}}}"


def _scalar(value: str | int) -> str:
    value = str(value)
    plain = value.replace("-", "").replace(".", "").replace("/", "").isalnum()
    return value if plain and not value.startswith("-") else json.dumps(value)


# Servers, nodes, hosts


def _server(found: Imported, networks: list[ImportedNetwork]) -> tuple[str, str]:
    """The address that nodes boot from, and its name."""
    named, ips = _named(found), _server_addresses(found)
    inside = [ip for ip in ips if _is_in(ip, networks)]
    found.notes += [f"another boot server: {ip}" for ip in ips if ip not in inside[:1]]
    if not inside:
        name = _free_name(found)
        return _free(found, networks, name), name
    its = [name for name, ip in named.items() if ip == inside[0] and _is_host(name)]
    return inside[0], its[0] if its else _free_name(found)


def _free_name(found: Imported) -> str:
    names = (f"boot{number}" for number in itertools.count(1))
    return next(name for name in names if name not in found.nodes)


def _server_addresses(found: Imported) -> list[str]:
    """As files say them, the most usual first; a name that is in no file stays one."""
    named = _named(found)
    return [_address(each, named) for each in found.servers]


def _named(found: Imported) -> dict[str, str]:
    """The addresses of names without their domains."""
    named: dict[str, str] = {}
    for _, ip, words in found.hosts:
        named |= {word.lower().partition(".")[0]: ip for word in words}
    for node in found.nodes.values():
        if node.ip:
            named.setdefault(node.name, node.ip)
    return named


def _free(found: Imported, networks: list[ImportedNetwork], name: str) -> str:
    taken = set(_machines(found))
    subnet = IPv4Network(_of_most_nodes(found, networks))
    pools = [_numbers(each.said["pool"]) for each in networks if "pool" in each.said]
    for pool in pools:
        taken |= {str(IPv4Address(each)) for each in pool}
    free = (str(each) for each in subnet.hosts() if str(each) not in taken)
    ip, why = next(free, ""), "a free address"
    if not ip:
        ip, why = NOWHERE, "and no address is free: write its own"
    found.notes.append(f"{name} {ip}: no file says which machine nodes boot from: {why}")
    return ip


def _of_most_nodes(found: Imported, networks: list[ImportedNetwork]) -> str:
    """The network that most nodes lie in."""
    subnets = Subnets([(network.subnet, network.subnet) for network in networks])
    count = Counter(subnets.name_of(node.ip) for node in found.nodes.values() if node.ip)
    return next((subnet for subnet, _ in count.most_common() if subnet), "10.0.0.0/24")


def _is_in(ip: str, networks: list[ImportedNetwork]) -> bool:
    try:
        return any(IPv4Address(ip) in IPv4Network(network.subnet) for network in networks)
    except ValueError:
        return False


def _is_host(name: str) -> bool:
    try:
        values.host(name)
    except InvalidValue:
        return False
    return True


def _nodes(found: Imported, server: str, networks: list[ImportedNetwork]) -> Iterator[ImportedNode]:
    """Those that a site can have, by address; of the others a comment."""
    serving, edges = _serving(networks), _edges(networks)
    shared = _shared(found)
    for node in sorted(found.nodes.values(), key=_place):
        words, why = _node_line(node).strip(), ""
        if not node.ip:
            why = "no file says its address"
        elif node.ip == server:
            words, why = node.name, "nodes boot from it"
        elif node.ip in serving:
            why = f"{serving[node.ip]} of its network: below `hosts:`"
            found.hosts.append((node.origin, node.ip, [node.name, *node.aliases]))
        elif node.ip in edges:
            why = "the first or last address of its network, which no machine can have"
        elif shared.intersection(_cards(node)):
            why = "another one has its card, too"
        if why:
            found.note(node.origin, words, why)
        else:
            yield node


def _shared(found: Imported) -> set[str]:
    """MACs that several nodes have."""
    macs: Counter[str] = Counter()
    for node in found.nodes.values():
        macs.update(_cards(node))
    return {mac for mac, count in macs.items() if count > 1}


def _serving(networks: list[ImportedNetwork]) -> dict[str, str]:
    """Addresses of machines that are no nodes, and what they are."""
    found = {}
    for network in networks:
        for ip in network.said.get("dns", ()):
            found[ip] = "a name server"
        found[network.said.get("gateway", "")] = "the router"
    return found


def _edges(networks: list[ImportedNetwork]) -> set[str]:
    found = set()
    for network in networks:
        subnet = IPv4Network(network.subnet)
        found |= {str(subnet[0]), str(subnet[-1])}
    return found


def _cards(node: ImportedNode) -> list[str]:
    """The MACs of all its cards."""
    return [*node.macs, *(said["mac"] for said in node.interfaces.values() if said.get("mac"))]


def _place(node: ImportedNode) -> tuple[int, str]:
    return (number(node.ip) if node.ip else 0, node.name)


def _node_line(node: ImportedNode) -> str:
    said: dict[str, Any] = {}
    if len(node.macs) == 1:
        said["mac"] = node.macs[0]
    elif node.macs:
        said["macs"] = node.macs
    if guid := node.interfaces.get("", {}).get("guid"):
        said["guid"] = guid
    said |= node.known_by
    said["ip"] = node.ip
    for key, value in (
        ("ip6", node.ip6),
        ("aliases", node.aliases),
        ("groups", node.groups),
        ("facts", node.facts),
    ):
        if value:
            said[key] = value
    cards = {name: card for name, card in node.interfaces.items() if card and name}
    if cards:
        said["interfaces"] = cards
    return f"  {_key(node.name)}: {_flow(said)}"


def _host_lines(found: Imported, server: tuple[str, str]) -> list[str]:
    """Machines that are no nodes, by name; the server (address, name) by its others."""
    named: dict[str, list[str]] = {}
    for origin, ip, words in found.hosts:
        address = found.checked(origin, values.address, ip)
        if not address:
            continue
        for word in words:
            if ip == server[0] and word.lower().partition(".")[0] == server[1]:
                continue
            name = found.checked(origin, values.any_host, word)
            if name and address not in named.setdefault(name, []):
                named[name].append(address)
    lines = [f"  {_key(name)}: {_flow({'x': ips})[4:-1]}" for name, ips in named.items()]
    return ["hosts:", *lines] if lines else []
