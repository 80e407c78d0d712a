"""dnsmasq, which serves TFTP too."""

from __future__ import annotations

from collections.abc import Iterator

from ..base.programs import ask_program, complaint_of
from .server import DhcpServer, LabPlace, LabStart, Lease, Packages, Units


def read_leases(text: str) -> Iterator[Lease]:
    """A line a lease: expiry, MAC, address, name, client id."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and ":" in words[1]:
            yield Lease(words[1], words[2])


def complaint(file: str, scratch: str) -> str:
    status, said = ask_program("dnsmasq", "--test", "-C", file)
    return complaint_of(status, said, said)


def lab_start(place: LabPlace) -> LabStart:
    ours = (
        "--log-facility=-",
        "--user=root",
        f"--dhcp-leasefile={place.run}/dnsmasq.leases",
        f"--pid-file={place.run}/dnsmasq.pid",
    )
    return LabStart(("dnsmasq", "-k", "-C", place.config, *ours))


DNSMASQ = DhcpServer(
    name="dnsmasq",
    daemon="dnsmasq",
    program="dnsmasq",
    packages=Packages("dnsmasq-base", "dnsmasq"),
    source="dnsmasq.conf",
    path="/etc/dnsmasq.d/plugnode.conf",
    places=("/etc/dnsmasq.d/", "/etc/dnsmasq.conf"),
    test=("dnsmasq", "--test", "-C"),
    units=Units("dnsmasq", "dnsmasq"),
    lease_files=("/var/lib/misc/dnsmasq.leases", "/var/lib/dnsmasq/dnsmasq.leases"),  # Debian, EL
    read_leases=read_leases,
    complaint=complaint,
    lab_start=lab_start,
    serves_tftp=True,
    reads_drop_ins=True,
)
