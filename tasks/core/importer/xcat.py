"""Stanzas of xCAT, as `lsdef -z` prints them (xcatstanzafile(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network

from .imported import Imported, ImportedNetwork, ImportedNode, FileLine
from .tables import add_bmc

OF_CARDS = ("nicips", "nictypes", "nicnetworks")
BY_PROFILE = ("", "install", "netboot", "statelite")  # how, of a `profile`
Stanza = tuple[FileLine, str, dict[str, str]]
FACTS = ("rack", "room", "unit", "chassis", "slot", "serial", "mtm")
# What is said elsewhere, follows from an image or is only xCAT's
OURS = frozenset(
    """appstatus appstatustime arch bmc bmcpassword bmcport bmcusername chain cons conserver
    currchain currstate getmac groups hostnames hwtype initrd installnic interface ip
    kcmdline kernel mac mgt monserver netboot nfsserver nodetype objtype os postbootscripts
    postscripts power primarynic profile provmethod serialflow serialport serialspeed
    servicenode status statustime supportedarchs tftpserver updatestatus updatestatustime
    usercomment xcatmaster""".split()
)

OF_NETWORK = {  # key of site.yaml, and whether that is a list
    "gateway": ("gateway", False),
    "domain": ("domain", False),
    "nameservers": ("dns", True),
    "ntpservers": ("ntp", True),
    "mtu": ("mtu", False),
    "vlanid": ("vlan", False),
    "dynamicrange": ("pool", False),  # for machines that it does not know yet
}
OURS_OF_NETWORK = frozenset("dhcpserver mask mgtifname net objtype tftpserver usercomment".split())


def read_xcat(path: str, text: str, found: Imported) -> None:
    for origin, name, said in _stanzas(path, text, found):
        kind = said.get("objtype")
        if kind == "network":
            _network(origin, said, found)
        elif kind == "node":
            node = found.node(origin, name)
            if node:
                _node(origin, node, said, found)
                _boots(origin, node, said, found)
        else:
            found.note(origin, f"{name}: objtype={kind}")


def _stanzas(path: str, text: str, found: Imported) -> Iterator[Stanza]:
    defaults: dict[str, dict[str, str]] = {}
    for origin, name, said in _written(path, text, found):
        if name.startswith("default-"):
            defaults.setdefault(name.removeprefix("default-"), {}).update(said)
        else:
            yield origin, name, {**defaults.get(said.get("objtype", ""), {}), **said}


def _written(path: str, text: str, found: Imported) -> list[Stanza]:
    """Stanzas as they stand in the file."""
    read: list[Stanza] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        name, is_said, value = line.partition("=")
        if not line or line.startswith(("#", "<")):
            continue
        if line.endswith(":") and not is_said:
            read.append((FileLine(path, number), line[:-1], {}))
        elif is_said and read:
            read[-1][2][name.strip()] = value.strip()
        else:
            found.note(FileLine(path, number), line)
    return read


def _node(origin: FileLine, node: ImportedNode, said: dict[str, str], found: Imported) -> None:
    if not found.add_card(origin, node, said.get("ip", ""), []):
        return
    _cards(origin, node, said.get("mac", ""), found)
    names = said.get("groups", "").split(",")
    groups = [name for name in names if name not in ("", "all")]
    found.add_groups(origin, node, groups)
    if said.get("bmc"):
        add_bmc(origin, node, {"ip": said["bmc"]}, found)
    aliases = said.get("hostnames", "").replace(",", " ")
    found.add_aliases(origin, node, aliases.split())
    for name, value in said.items():
        if value and name not in OURS:
            _more(origin, node, (name, value), found)


def _boots(origin: FileLine, node: ImportedNode, said: dict[str, str], found: Imported) -> None:
    image = said.get("provmethod", "")
    if image in BY_PROFILE:
        image = said.get("profile", "")
    if image:
        found.images[node.name] = origin, image


def _more(origin: FileLine, node: ImportedNode, said: tuple[str, str], found: Imported) -> None:
    """Where it stands, and `nicips.ib0=10.5.0.1`."""
    name, value = said
    key, _, card = name.partition(".")
    ips = value.split("|")
    if name in FACTS:
        found.add_fact(origin, node, name, value)
    elif key == "nicips" and ips[0] != node.ip:
        found.add_interface(origin, node, card, ip=ips[0])
        for ip in ips[1:]:
            found.note(origin, f"{node.name}: {name}: {ip}", "a second address of it")
    elif key == "nichostnamesuffixes" and value in (f"-{card}", f"-{card}".lower()):
        return
    elif key not in OF_CARDS:
        found.note(origin, f"{node.name}: {name}={value}")


def _cards(origin: FileLine, node: ImportedNode, text: str, found: Imported) -> None:
    """`MAC|MAC!NAME`: cards, of which one with a name that is not this node's is another's."""
    for card in filter(None, text.split("|")):
        mac, _, name = card.partition("!")
        if not name or name == node.name:
            found.add_mac(origin, node, mac)
        elif name.startswith(f"{node.name}-"):
            found.add_interface(origin, node, name.removeprefix(f"{node.name}-"), mac=mac)
        elif name != "*NOIP*":
            found.note(origin, f"{node.name}: mac={card}")


def _network(origin: FileLine, said: dict[str, str], found: Imported) -> None:
    try:
        subnet = IPv4Network(f"{said.get('net')}/{said.get('mask')}")
    except ValueError as error:
        return found.note(origin, f"net={said.get('net')} mask={said.get('mask')}", str(error))
    network: dict[str, str | list[str]] = {}
    for name, value in said.items():
        words = _words(value)
        if not words:
            continue
        if name in OF_NETWORK:
            key, is_list = OF_NETWORK[name]
            network[key] = words if is_list else value
        elif name not in OURS_OF_NETWORK:
            found.note(origin, f"{name}={value}")
    found.networks.append(ImportedNetwork(str(subnet), network))
    server = said.get("tftpserver", "")
    if server and not server.startswith("<") and server not in found.servers:
        found.servers.append(server)


def _words(value: str) -> list[str]:
    """Those of a list that are not xCAT's own, such as `<xcatmaster>`."""
    words = []
    for word in re.split("[,|;]", value):
        if word and not word.startswith("<"):
            words.append(word)
    return words
