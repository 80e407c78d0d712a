"""Tables of text: hosts(5), ethers(5), and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from .imported import FileLine, Imported, ImportedNode, with_zeros

LOCAL = ("127.", "::1", "fe00::", "ff00::", "ff02::", "255.255.255.255", "0.0.0.0")
MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2}")
SHORT_MAC = r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}"  # as ether_ntoa(3) prints it
IP = re.compile(r"\d+\.\d+\.\d+\.\d+")
COLUMNS = {
    "name": "name node nodename host hostname",
    "mac": "mac macaddress macaddr hwaddr hwaddress hw ethernet",
    "ip": "ip ipaddr ipaddress address ipv4",
    "groups": "groups group",
    "bmc": "bmc bmcip bmcaddress ipmi ipmiip ipmiipaddr ilo idrac",
    "bmc_mac": "bmcmac ipmimac",
    "rack": "rack",
    "netmask": "netmask mask subnetmask",
    "gateway": "gateway gw defaultgateway router",
    "dns": "dns nameserver nameservers dnsservers",
}


def lines_of(path: str, text: str) -> Iterator[tuple[FileLine, list[str]]]:
    """Words line by line, without comments."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            yield FileLine(path, number), words


def read_hosts(path: str, text: str, found: Imported) -> None:
    for origin, words in lines_of(path, text):
        if words[0].startswith(LOCAL):
            continue
        if len(words) < 2:
            found.note(origin, " ".join(words))
        else:
            found.hosts.append((origin, words[0], words[1:]))


def read_ethers(path: str, text: str, found: Imported) -> None:
    for origin, words in lines_of(path, text):
        if len(words) == 2 and MAC.fullmatch(with_zeros(words[0])):
            found.cards.append((origin, words[0], words[1]))
        else:
            found.note(origin, " ".join(words))


def read_csv(path: str, text: str, found: Imported) -> None:
    lines = text.splitlines()
    first = next((line for line in lines if line.strip() and line[0] != "#"), "")
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    columns: list[str] = []
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        origin = FileLine(path, number)
        if not any(cells) or cells[0].startswith("#"):
            continue
        if not columns:
            columns, is_head = _columns(origin, cells, found)
            if is_head:
                continue
        _row(origin, dict(zip(columns, cells)), found)


def _columns(origin: FileLine, cells: list[str], found: Imported) -> tuple[list[str], bool]:
    """What each column holds: by the words of a first line, else by what they look like."""
    if any(MAC.fullmatch(cell) or IP.fullmatch(cell) for cell in cells):
        looks = [
            "mac" if MAC.fullmatch(each) else "ip" if IP.fullmatch(each) else "" for each in cells
        ]
        looks[looks.index("")] = "name" if "" in looks else looks[0]
        return looks, False
    columns = []
    for cell in cells:
        word = re.sub(r"[^a-z0-9]", "", cell.lower())
        known = [name for name, words in COLUMNS.items() if word in words.split()]
        columns += known or [""]
        if not known:
            found.note(origin, cell, "a column that is not understood")
    return columns, True


def _row(origin: FileLine, cells: dict[str, str], found: Imported) -> None:
    node = found.node(origin, cells.get("name", ""))
    if node is None:
        return
    if cells.get("mac"):
        found.add_mac(origin, node, cells["mac"])
    if cells.get("ip"):
        found.add_ip(origin, node, cells["ip"])
    _network(origin, cells, found)
    found.add_groups(
        origin, node, re.split(r"[ ,;|]+", cells["groups"]) if cells.get("groups") else ()
    )
    if cells.get("rack"):
        found.add_fact(origin, node, "rack", cells["rack"])
    bmc = {"ip": cells.get("bmc", ""), "mac": cells.get("bmc_mac", "")}
    if any(bmc.values()):
        add_bmc(origin, node, bmc, found)


def _network(origin: FileLine, cells: dict[str, str], found: Imported) -> None:
    """A router and name servers are the network's; without its size they are a note."""
    said = {key: cells[key] for key in ("gateway", "dns") if cells.get(key)}
    if cells.get("netmask") and IP.fullmatch(cells.get("ip", "")):
        dns = re.split(r"[ ,;|]+", said.pop("dns", ""))
        found.add_network(
            origin, cells["ip"], cells["netmask"], **said, dns=list(filter(None, dns))
        )
    for key, text in said.items() if not cells.get("netmask") else ():
        found.note(origin, f"{key} {text}", "no column says how large its network is")


def add_bmc(origin: FileLine, node: ImportedNode, bmc: dict[str, str], found: Imported) -> None:
    """Its address; where that is a name, hosts may know it."""
    ip = bmc.get("ip", "")
    if ip and not IP.fullmatch(ip):
        found.cards.append((origin, "", f"{node.name} {ip} bmc"))
        bmc = {**bmc, "ip": ""}
    found.add_interface(origin, node, "bmc", **bmc)
