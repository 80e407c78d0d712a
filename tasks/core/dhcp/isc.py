"""ISC's dhcpd."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..base.programs import ask_program, complaint_of
from .server import DhcpServer, LabPlace, LabStart, Lease, Packages, Units

_BLOCK = r"(?sm)^lease ([\d.]+) \{(.*?)^\}"
_CARD = r"hardware ethernet ([0-9a-f:]{17})"


def read_leases(text: str) -> Iterator[Lease]:
    """dhcpd.leases(5): of an address the last block counts."""
    for ip, block in dict(re.findall(_BLOCK, text)).items():
        card = re.search(_CARD, block)
        if card and "binding state active" in block:
            yield Lease(card[1], ip)


def complaint(file: str, scratch: str) -> str:
    """Not with -q, which silences the errors, too."""
    leases, pid = os.path.join(scratch, "dhcpd.leases"), os.path.join(scratch, "dhcpd.pid")
    _make_empty(leases)
    status, said = ask_program("dhcpd", "-t", "-4", "-cf", file, "-lf", leases, "-pf", pid)
    before, _, _ = said.partition("Configuration file errors")
    _, _, words = before.partition("\nFor info, ")
    _, _, told = words.partition("\n")
    return complaint_of(status, said, told)


def lab_start(place: LabPlace) -> LabStart:
    """In the foreground, as root. It starts only where there is a file of leases."""
    leases = f"{place.run}/dhcpd.leases"
    _make_empty(leases)
    files = ("-cf", place.config, "-lf", leases, "-pf", f"{place.run}/dhcpd.pid")
    user = ("-user", "root", "-group", "root")
    argv = ("dhcpd", "-4", "-f", "-d", *files, *user, place.interface)
    return LabStart(argv, sees_tftp_root=False)


def _make_empty(path: str) -> None:
    with open(path, "w"):
        pass


ISC = DhcpServer(
    name="isc",
    daemon="dhcpd",
    program="dhcpd",
    packages=Packages("isc-dhcp-server", "dhcp-server"),
    source="dhcpd.conf",
    path="/etc/dhcp/dhcpd.conf",
    places=("/etc/dhcp/", "/etc/dhcpd.conf"),
    test=("dhcpd", "-4", "-q", "-t", "-cf"),
    units=Units("isc-dhcp-server", "dhcpd"),
    lease_files=("/var/lib/dhcp/dhcpd.leases", "/var/lib/dhcpd/dhcpd.leases"),  # Debian, EL
    read_leases=read_leases,
    complaint=complaint,
    lab_start=lab_start,
)
