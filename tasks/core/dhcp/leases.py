"""Leases: who has had an address of a DHCP server on this machine, by the server's own file.

Addresses that are fixed by Plugnode's files are written down by no server but an ISC dhcpd of
earlier days: what is found here tells of other pools and of strangers.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from .server import Lease
from .servers import SERVERS


def leases_seen(at: Callable[[str], str]) -> list[Lease]:
    """Every lease of this server, sorted by address. `at`: where a path of it lies here."""
    found: set[Lease] = set()
    for server in SERVERS:
        for path in map(at, server.lease_files):
            if os.path.isfile(path):
                with open(path, errors="replace") as file:
                    found.update(server.read_leases(file.read()))
    return sorted(found, key=_address)


def _address(lease: Lease) -> list[int]:
    return [int(number) for number in lease.ip.split(".")]
