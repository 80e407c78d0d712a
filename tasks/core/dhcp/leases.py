"""Leases: who has had an address of a DHCP server on this machine, by the server's own file.

Addresses that are fixed by Plugnode's files are written down by no server but an ISC dhcpd of earlier days: what is
found here tells of other pools and of strangers.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..store.paths import Targets


class Lease(NamedTuple):
    mac: str
    ip: str


_BLOCK = re.compile(r"^lease ([\d.]+) \{(.*?)^\}", re.S | re.M)
_CARD = re.compile(r"hardware ethernet ([0-9a-f:]{17})")


def isc_leases(text: str) -> Iterator[Lease]:
    """dhcpd.leases(5): of an address the last block counts."""
    for ip, block in dict(_BLOCK.findall(text)).items():
        if (card := _CARD.search(block)) and "binding state active" in block:
            yield Lease(card[1], ip)


def kea_leases(text: str) -> Iterator[Lease]:
    """The memfile lease database, whose last line of an address counts; a lifetime of 0 or a state ends a lease."""
    last = {row["address"]: row for row in csv.DictReader(text.splitlines())}
    for row in last.values():
        if row.get("hwaddr") and row.get("valid_lifetime") != "0" and row.get("state", "0") == "0":
            yield Lease(row["hwaddr"], row["address"])


def dnsmasq_leases(text: str) -> Iterator[Lease]:
    """A line a lease: expiry, MAC, address, name, client id."""
    for words in (line.split() for line in text.splitlines()):
        if len(words) >= 4 and ":" in words[1]:
            yield Lease(words[1], words[2])


Reader = Callable[[str], Iterator[Lease]]
LEASE_FILES: tuple[tuple[str, Reader], ...] = (  # Debian's, then EL's
    ("/var/lib/dhcp/dhcpd.leases", isc_leases),
    ("/var/lib/dhcpd/dhcpd.leases", isc_leases),
    ("/var/lib/kea/kea-leases4.csv", kea_leases),
    ("/var/lib/misc/dnsmasq.leases", dnsmasq_leases),
    ("/var/lib/dnsmasq/dnsmasq.leases", dnsmasq_leases),
)


def leases_seen(targets: Targets) -> list[Lease]:
    """Every lease of this server, sorted by address."""
    found: set[Lease] = set()
    for path, read in LEASE_FILES:
        here = targets.at(path)
        if os.path.isfile(here):
            with open(here, errors="replace") as file:
                found.update(read(file.read()))
    return sorted(found, key=lambda lease: tuple(map(int, lease.ip.split("."))))
