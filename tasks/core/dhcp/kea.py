"""Kea's DHCPv4 server."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from ..base.programs import ask_program, complaint_of
from .server import DhcpServer, LabPlace, LabStart, Lease, Packages, Units


def read_leases(text: str) -> Iterator[Lease]:
    """The memfile lease database, whose last line of an address counts.

    A lifetime of 0 or a state ends a lease.
    """
    rows = csv.DictReader(text.splitlines())
    last = {row["address"]: row for row in rows}
    for row in last.values():
        ended = row.get("valid_lifetime") == "0" or row.get("state", "0") != "0"
        if row.get("hwaddr") and not ended:
            yield Lease(row["hwaddr"], row["address"])


def complaint(file: str, scratch: str) -> str:
    """Its last lines: what it read until then goes before them."""
    test = ("kea-dhcp4", "-t", file)
    status, said = ask_program(*test, KEA_LOCKFILE_DIR="none", KEA_PIDFILE_DIR=scratch)
    wrong = [line for line in said.splitlines() if " INFO " not in line and line.strip()]
    return complaint_of(status, said, "\n".join(wrong[-3:]))


def lab_start(place: LabPlace) -> LabStart:
    folders = {"KEA_PIDFILE_DIR": place.run, "KEA_LOCKFILE_DIR": place.run}
    return LabStart(("kea-dhcp4", "-c", place.config), folders)


KEA = DhcpServer(
    name="kea",
    daemon="kea",
    program="kea-dhcp4",
    packages=Packages("kea-dhcp4-server", "kea"),
    source="kea-dhcp4.json",
    path="/etc/kea/kea-dhcp4.conf",
    places=("/etc/kea/",),
    test=("kea-dhcp4", "-t"),
    units=Units("kea-dhcp4-server", "kea-dhcp4"),
    lease_files=("/var/lib/kea/kea-leases4.csv",),
    read_leases=read_leases,
    complaint=complaint,
    lab_start=lab_start,
    knows_ports=True,
    elsewhere="{file} is a whole configuration, which {path} cannot include; "
    "have Kea's unit start it with -c {file}, or leave dhcp_conf out",
)
