"""The files that a site wants a server's daemons to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..services import exports
from ..services.services import EXPORTFS, FILE, Service
from ..site.model import Site


class Daemon(NamedTuple):
    source: str  # below build/configs
    path: str
    check: tuple[str, ...]
    units: tuple[str, str]  # systemd's name of it, on Debian and on EL


DAEMONS = {
    "isc": Daemon(
        "dhcpd.conf",
        "/etc/dhcp/dhcpd.conf",
        ("dhcpd", "-4", "-q", "-t", "-cf", FILE),
        ("isc-dhcp-server", "dhcpd"),
    ),
    "kea": Daemon(
        "kea-dhcp4.json",
        "/etc/kea/kea-dhcp4.conf",
        ("kea-dhcp4", "-t", FILE),
        ("kea-dhcp4-server", "kea-dhcp4"),
    ),
    "dnsmasq": Daemon(
        "dnsmasq.conf",
        "/etc/dnsmasq.d/plugnode.conf",
        ("dnsmasq", "--test", "-C", FILE),
        ("dnsmasq", "dnsmasq"),
    ),
}


def desired_services(
    site: Site, configs: Mapping[str, bytes], is_el: bool = False
) -> tuple[Service, ...]:
    """The files that the site wants the server's daemons to have; `configs` as `render_configs` gives them."""
    nfs = Service(exports.file_of(site.name), configs["exports"], reload=EXPORTFS)
    daemon = DAEMONS.get(site.deploy.dhcp)
    if daemon is None:
        return (nfs,)
    path, unit = site.deploy.dhcp_conf or daemon.path, daemon.units[is_el]
    restart = ("systemctl", "restart", unit)  # none of them reads its file again on a reload
    runs = ("systemctl", "is-active", "--quiet", unit)
    return nfs, Service(path, configs[daemon.source], daemon.check, restart, runs)
