"""What there is to know of a DHCP server: the row that the module of each one fills."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple


class Packages(NamedTuple):
    """What a server comes in."""

    debian: str
    el: str


class Units(NamedTuple):
    """systemd's names of a server."""

    debian: str
    el: str


class Lease(NamedTuple):
    mac: str
    ip: str


class LabPlace(NamedTuple):
    """Where a server of the lab works."""

    config: str  # its generated file
    run: str  # a folder for its leases and pid
    interface: str


class LabStart(NamedTuple):
    """How the lab starts a server."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = {}
    sees_tftp_root: bool = True  # runs where the deployed TFTP tree is at its own path


class DhcpServer(NamedTuple):
    """A DHCP server that Plugnode writes a file for."""

    name: str  # in site.yaml
    daemon: str  # as dhcp= of the command line, and its log, call it; either word is taken in both
    program: str
    packages: Packages
    source: str  # its file below build/configs, and that file's template
    path: str  # where the distribution has it
    places: tuple[str, ...]  # where the daemon looks: files, and folders that end in a slash
    test: tuple[str, ...]  # makes the program check the file whose name follows
    units: Units
    lease_files: tuple[str, ...]
    read_leases: Callable[[str], Iterator[Lease]]
    complaint: Callable[[str, str], str]  # (file, a scratch folder) -> what is wrong, "" if nothing
    lab_start: Callable[[LabPlace], LabStart]
    serves_tftp: bool = False
    knows_ports: bool = False  # reserves addresses by what a relay says of a switch port
    reads_drop_ins: bool = False  # every file of a folder `*.d`, besides its own
    # What becomes of a {file} that is not at its usual {path}, where nobody would read it
    elsewhere: str = ""

    def may_have(self, path: str) -> bool:
        """Whether a file of this server may lie there: root of the boot server writes it."""
        folders = tuple(place for place in self.places if place.endswith("/"))
        return path in self.places or path.startswith(folders)
