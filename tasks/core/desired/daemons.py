"""The files that a site wants a server's daemons to have."""

from __future__ import annotations

from collections.abc import Mapping

from ..dhcp.servers import BY_WORD
from ..services import exports
from ..services.daemon_files import EXPORTFS, FILE, Service
from ..site.model import Site


def desired_services(
    site: Site, configs: Mapping[str, bytes], is_el: bool = False
) -> tuple[Service, ...]:
    """What the site wants the server's daemons to read; `configs`: as `render_configs` gives it."""
    nfs = Service(exports.file_of(site.name), configs["exports"], reload=EXPORTFS)
    server = BY_WORD.get(site.deploy.dhcp)
    if server is None:
        return (nfs,)
    unit = server.units.el if is_el else server.units.debian
    dhcp = Service(
        site.deploy.dhcp_conf or server.path,
        configs[server.source],
        check=(*server.test, FILE),
        reload=("systemctl", "restart", unit),  # none of them reads its file again on a reload
        runs=("systemctl", "is-active", "--quiet", unit),
    )
    return nfs, dhcp
