"""The files that a site wants a server's daemons to have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from ..dhcp.servers import BY_WORD
from ..outputs import CLUSTER, output_of
from ..services import exports
from ..services.daemon_files import EXPORTFS, FILE, Service
from ..site.model import Server, Site


def desired_services(
    site: Site, server: Server, configs: Mapping[str, bytes], is_el: bool = False
) -> tuple[Service, ...]:
    """What the site wants a server's daemons to read; `configs`: as `render_configs` gives it.

    What another machine serves is not exported here.
    """
    nfs = Service(
        exports.file_of(site.name), configs["exports"], reload=EXPORTFS, serves_roots=True
    )
    found = () if server.nfs_server else (nfs,)
    servers = *_http(site, configs), *_syslog(site, configs)
    daemons = *found, *servers, *_dhcp(site, configs, is_el)
    return (*daemons, *_cluster_files(site, configs))


def _http(site: Site, configs: Mapping[str, bytes]) -> Iterator[Service]:
    """nginx's; it reads its files before it takes them, and is left as it was by a wrong one."""
    if site.deploy.http == "nginx":
        yield Service(
            f"/etc/nginx/conf.d/plugnode-{site.name}.conf",
            configs["nginx.conf"],
            reload=("systemctl", "reload-or-restart", "nginx"),
            runs=("systemctl", "is-active", "--quiet", "nginx"),
            serves_roots=True,
            is_web=True,
        )


def _syslog(site: Site, configs: Mapping[str, bytes]) -> Iterator[Service]:
    """rsyslog's, which goes on without a line that it does not understand, and logrotate's."""
    if site.deploy.syslog == "rsyslog":
        yield Service(
            f"/etc/logrotate.d/plugnode-{site.name}",
            configs["logrotate.conf"],
            check=("logrotate", "--debug", FILE),
        )
        yield Service(
            f"/etc/rsyslog.d/plugnode-{site.name}.conf",
            configs["rsyslog.conf"],
            check=("rsyslogd", "-N1", "-f", FILE),
            reload=("systemctl", "restart", "rsyslog"),
            runs=("systemctl", "is-active", "--quiet", "rsyslog"),
        )


def _dhcp(site: Site, configs: Mapping[str, bytes], is_el: bool) -> Iterator[Service]:
    kind = BY_WORD.get(site.deploy.dhcp)
    if kind is None:
        return
    unit = kind.units.el if is_el else kind.units.debian
    yield Service(
        site.deploy.dhcp_conf or kind.path,
        configs[kind.source],
        check=(*kind.test, FILE),
        reload=("systemctl", "restart", unit),  # none of them reads its file again on a reload
        runs=("systemctl", "is-active", "--quiet", unit),
    )


def _cluster_files(site: Site, configs: Mapping[str, bytes]) -> Iterator[Service]:
    """Those of `deploy.files`. Whoever reads them is not told: programs, not daemons, do."""
    for name, place in site.deploy.files:
        output = output_of(name)
        names = output.files if output and name == output.word else (name,)
        for path, data in configs.items():
            folder, _, file = path.rpartition("/")
            if folder == CLUSTER and any(fnmatchcase(file, pattern) for pattern in names):
                yield Service(place + file * place.endswith("/"), data)
