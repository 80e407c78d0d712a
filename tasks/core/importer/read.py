"""Which program's file it is, by what stands in it; and all of them put together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ..base.errors import BadInput, Problem
from . import tables
from .dhcpd import read_dhcpd
from .dnsmasq import read_dnsmasq
from .imported import FileLine, Imported, ImportedNode, decoded, family
from .warewulf import read_warewulf
from .xcat import read_xcat

Reader = Callable[[str, str, Imported], None]
KINDS: tuple[tuple[str, Reader], ...] = (  # of the first that matches
    (r"^\s*objtype\s*=", read_xcat),
    (r"^\s*dhcp-(host|range|option|boot)\s*=", read_dnsmasq),
    (
        r"^\s*(hardware ethernet|host \S+\s*\{|subnet \S+ netmask|shared-network|include \")",
        read_dhcpd,
    ),
    (r"\bhost \S+\s*\{", read_dhcpd),
    (r"^(nodes|nodeprofiles):", read_warewulf),
    (rf"^{tables.IP.pattern}[ \t]+\S", tables.read_hosts),
    (rf"^(?:{tables.MAC.pattern}|{tables.SHORT_MAC})[ \t]+\S+[ \t]*(?:#.*)?$", tables.read_ethers),
    (r"^[^#\n]*[,;\t]", tables.read_csv),
)
TOGETHER = "hosts has addresses alone, and ethers has none: give both, or a dhcpd.conf and hosts"


def read_files(paths: Iterable[str]) -> Imported:
    """All that the files say. Raises BadInput for one that is of no known kind."""
    found = Imported()
    problems: list[Problem] = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                text = decoded(file.read())
            _reader(path, text)(path, text, found)
        except OSError as error:
            problems += BadInput.at(path, f"{error.strerror}; name a file").problems
        except RecursionError:
            problems += BadInput.at(path, "blocks in blocks, far too deep for such a file").problems
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    _finish(found)
    if not any(node.ip for node in found.nodes.values()):
        raise BadInput.at(path, f"no node with an address{_first(found.notes)}; {TOGETHER}")
    return found


def _first(notes: Sequence[str]) -> str:
    """What may be why."""
    return f" (first: {notes[0]})" if notes else ""


def _reader(path: str, text: str) -> Reader:
    if path.endswith(".csv"):
        return tables.read_csv
    for pattern, reader in KINDS:
        if re.search(pattern, text, re.MULTILINE):
            return reader
    raise BadInput.at(path, f"a file of no known kind; {tables.CAN_BE_READ}")


# What only several files together say


def _finish(found: Imported) -> None:
    names: dict[str, str] = {}
    for _, ip, words in found.hosts:
        for word in words if tables.IP.fullmatch(ip) else ():
            names.setdefault(word.lower(), ip)
            names.setdefault(word.lower().partition(".")[0], ip)
    for origin, mac, text in found.cards:
        if mac:
            _ether(origin, mac, text, found)
        else:
            _named(origin, text.split(), names, found)
    _fold_interfaces(found)
    found.hosts = [row for row in found.hosts if not _of_node(*row, found)]
    _call_by_address(found)
    _tell_apart(found)
    _have_addresses(found)
    _have_one_image(found)


def _ether(origin: FileLine, mac: str, who: str, found: Imported) -> None:
    """ethers(5) names a machine, or its address."""
    name = who
    if tables.IP.fullmatch(who):
        name = next((words[0] for _, ip, words in found.hosts if ip == who), "")
        if not name:
            return found.note(origin, f"{mac} {who}", "no file says its name")
    node = found.node(origin, name)
    if node:
        found.add_mac(origin, node, mac)


def _named(origin: FileLine, words: list[str], names: dict[str, str], found: Imported) -> None:
    """An address that was given by name: of a node, or of an interface of it."""
    node, name, *interface = words
    ip = names.get(name.lower()) or names.get(name.lower().partition(".")[0], "")
    if not ip:
        found.note(origin, f"{node}: {name}", "no file says its address")
    elif interface:
        found.add_interface(origin, found.nodes[node], interface[0], ip=ip)
    else:
        found.add_ip(origin, found.nodes[node], ip)


def _fold_interfaces(found: Imported) -> None:
    """`wn001-bmc` is wn001's bmc; two nodes of one address are one by several cards."""
    owners: dict[str, ImportedNode] = {}
    for node in list(found.nodes.values()):
        owner, name = _owner(node.name, found)
        guid = node.interfaces.get("", {}).get("guid", "")
        if owner and owner.ip != node.ip:
            mac = node.macs[0] if node.macs else ""
            found.add_interface(node.origin, owner, name, ip=node.ip, mac=mac, guid=guid)
            del found.nodes[node.name]
        elif node.ip and owners.setdefault(node.ip, node) is not node:
            first = owners[node.ip]
            found.note(
                node.origin, node.name, f"{first.name} has its address: taken for a card of it"
            )
            first.macs += [mac for mac in node.macs if mac not in first.macs]
            del found.nodes[node.name]


def _owner(name: str, found: Imported) -> tuple[ImportedNode | None, str]:
    begin, dash, end = name.rpartition("-")
    return (found.nodes.get(begin), end) if dash and end else (None, "")


def _of_node(origin: FileLine, ip: str, words: list[str], found: Imported) -> bool:
    """Whether a line of hosts is a node's, which then has its address and further names of it."""
    shorts = [word.lower().partition(".")[0] for word in words]
    node = next((found.nodes[short] for short in shorts if short in found.nodes), None)
    if node:
        found.add_ip(origin, node, ip)
        others = [word for word, short in zip(words, shorts) if short != node.name]
        found.add_aliases(origin, node, others)
        _domain(ip, words, node.name, found)
        return True
    owner, name = _owner(shorts[0], found)
    if owner:
        found.add_interface(origin, owner, name, **{family(ip): ip})
        _domain(ip, words, shorts[0], found)
        return True
    return False


def _call_by_address(found: Imported) -> None:
    """A line of hosts with a node's address, and none of its names, has more names of it."""
    owners: dict[str, ImportedNode] = {}
    for node in found.nodes.values():
        owners |= dict.fromkeys(filter(None, (node.ip, node.ip6)), node)
    for origin, ip, words in found.hosts:
        if ip in owners:
            found.add_aliases(origin, owners[ip], words)
    found.hosts = [row for row in found.hosts if row[1] not in owners]


def _tell_apart(found: Imported) -> None:
    """A further name that is another machine's, too, is a comment."""
    domains = {"", *found.domains.values(), found.common.get("domain", "")}
    taken = set(found.nodes)
    for node in found.nodes.values():
        taken |= {f"{node.name}-{name}" for name in node.interfaces if name}
    for _, _, words in found.hosts:
        taken |= {_plain(word, domains) for word in words}
    for node in found.nodes.values():
        for alias in list(node.aliases):
            if _plain(alias, domains) in taken:
                node.aliases.remove(alias)
                found.note(node.origin, f"{node.name}: {alias}", "the name of something else, too")
            taken.add(_plain(alias, domains))


def _plain(name: str, domains: set[str]) -> str:
    """A name as it is told from others: without a domain of nodes."""
    short, _, domain = name.lower().partition(".")
    return short if domain in domains else name.lower()


def _have_addresses(found: Imported) -> None:
    """A card besides, whose address no file says, or another one has, is a comment."""
    taken = {node.ip for node in found.nodes.values()} - {""}
    for node in found.nodes.values():
        for name, said in list(node.interfaces.items()):
            ip = said.get("ip")
            if name and (ip in taken or not said.keys() & {"ip", "ip6"}):
                del node.interfaces[name]
                card = " ".join([f"{node.name}: {name}", *said.values()])
                why = "another one has its address" if ip else "no file says its address"
                found.note(node.origin, card, why)
            elif ip:
                taken.add(ip)


def _have_one_image(found: Imported) -> None:
    """What nodes boot is written by a person: where files tell some apart, by whom."""
    images = {name for _, name in found.images.values()}
    for node, (origin, name) in found.images.items():
        if node in found.nodes and len(images) > 1:
            why = "all have `worker` here; images and `image:` of groups tell them apart"
            found.note(origin, f"{node}: image {name}", why)


def _domain(ip: str, words: list[str], name: str, found: Imported) -> None:
    for word in words:
        short, _, domain = word.lower().partition(".")
        if domain and short == name:
            found.domains.setdefault(ip, domain)
