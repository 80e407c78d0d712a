"""Tables of text: hosts(5), ethers(5), and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from ..base.errors import BadInput
from .imported import FileLine, Imported, ImportedNode, with_zeros

CAN_BE_READ = (
    "dhcpd.conf, dnsmasq.conf, hosts, ethers, Warewulf's nodes.conf, xCAT's `lsdef -z` or CSV "
    "can be read"
)
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
    columns: list[str] = []
    for origin, row in _rows(path, lines, delimiter):
        cells = [cell.strip() for cell in row]
        if not any(cells) or _is_comment(cells, columns):
            continue
        if not columns:
            columns, is_head = _columns(origin, cells, found)
            if is_head:
                continue
        if any(cells[len(columns) :]):
            found.note(origin, cells[0], "more cells than columns: what is behind is left out")
        _row(origin, dict(zip(columns, cells)), found)


def _rows(path: str, lines: list[str], delimiter: str) -> Iterator[tuple[FileLine, list[str]]]:
    """Raises BadInput where a quote is not closed: all up to the next one would be its cell."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    first = 1
    try:
        for row in reader:
            yield FileLine(path, first), row
            first = reader.line_num + 1
    except csv.Error:
        what = 'a cell that begins with " and does not end with one; mend the row'
        raise BadInput.at(path, what, first) from None


def _is_comment(cells: list[str], columns: list[str]) -> bool:
    """tabdump(8) of xCAT writes its head as one: that is none."""
    if not cells[0].startswith("#"):
        return False
    is_head = "name" in map(_column, cells)
    return bool(columns) or not is_head


def _columns(origin: FileLine, cells: list[str], found: Imported) -> tuple[list[str], bool]:
    """What each column holds: by the words of a first line, else by what they look like."""
    if any(MAC.fullmatch(cell) or IP.fullmatch(cell) for cell in cells):
        looks = [
            "mac" if MAC.fullmatch(each) else "ip" if IP.fullmatch(each) else "" for each in cells
        ]
        if "" in looks:
            looks[looks.index("")] = "name"
        for number, (cell, look) in enumerate(zip(cells, looks), 1):
            if cell and not look:
                found.note(origin, f"column {number}", "no head says what it is")
        return looks, False
    columns = [_column(cell) for cell in cells]
    if "name" not in columns:
        why = "no table either: no column is called name, node or hostname"
        raise BadInput.at(origin.file, f"a file of no known kind ({why}); {CAN_BE_READ}")
    for cell, column in zip(cells, columns):
        if not column:
            found.note(origin, cell, "a column that is not understood")
    return columns, True


def _column(cell: str) -> str:
    """What a column of such a head holds; "" for nothing that is known."""
    word = re.sub(r"[^a-z0-9]", "", cell.lower())
    return next((name for name, words in COLUMNS.items() if word in words.split()), "")


def _row(origin: FileLine, said: dict[str, str], found: Imported) -> None:
    cells = _with_netmask(said)
    node = found.node(origin, cells.get("name", ""))
    if node is None:
        return
    macs = [cells["mac"]] if cells.get("mac") else []
    found.add_card(origin, node, cells.get("ip", ""), macs)
    _network(origin, cells, found)
    groups = _words(cells.get("groups", ""))
    found.add_groups(origin, node, groups)
    if cells.get("rack"):
        found.add_fact(origin, node, "rack", cells["rack"])
    bmc = {"ip": cells.get("bmc", ""), "mac": cells.get("bmc_mac", "")}
    if any(bmc.values()):
        add_bmc(origin, node, bmc, found)


def _with_netmask(cells: dict[str, str]) -> dict[str, str]:
    """NetBox writes 10.1.0.1/24."""
    ip, slash, bits = cells.get("ip", "").partition("/")
    if not slash:
        return cells
    return {
        **cells,
        "ip": ip,
        "netmask": bits,
    }


def _network(origin: FileLine, cells: dict[str, str], found: Imported) -> None:
    """A router and name servers are the network's; without its size they are a note."""
    gateway = cells.get("gateway", "")
    dns = cells.get("dns", "")
    ip = cells.get("ip", "")
    netmask = cells.get("netmask")
    if netmask and IP.fullmatch(ip):
        servers = _words(dns)
        found.add_network(origin, ip, netmask, gateway=gateway, dns=servers)
    if netmask:
        return
    why = "no column says how large its network is"
    if gateway:
        found.note(origin, f"gateway {gateway}", why)
    if dns:
        found.note(origin, f"dns {dns}", why)


def _words(cell: str) -> list[str]:
    words = re.split(r"[ ,;|]+", cell)
    return list(filter(None, words))


def add_bmc(origin: FileLine, node: ImportedNode, bmc: dict[str, str], found: Imported) -> None:
    """Its address; where that is a name, hosts may know it."""
    ip = bmc.get("ip", "")
    if ip and not IP.fullmatch(ip):
        found.cards.append((origin, "", f"{node.name} {ip} bmc"))
        bmc = {**bmc, "ip": ""}
    found.add_interface(origin, node, "bmc", **bmc)
