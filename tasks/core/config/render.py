"""A site as the files that DHCP, TFTP and NFS servers, boot loaders and nodes read.

One template a file, below templates/. A template sees a small view, strings and lists of strings,
never the model. Only `plugnode/*` below the TFTP root names a release: the rest changes when nodes
or servers do.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from typing import Any

from ..dhcp.servers import BY_WORD, SERVERS
from ..services.exports import fsid_of
from ..site.model import Deploy, Network, Node, Site
from .boot_files import boot_views, serves_http, server_of
from .templates import TEMPLATES, NodeRow, View, plain_values, render_template, template_environment

OF_DHCP = tuple(server.source for server in SERVERS)
OF_SITE = (*OF_DHCP, "exports", "nginx.conf", "hosts", "ethers")  # each also a template's name
# What DHCP names, below tftp_root
HTTP_LOADERS = {"00:10": "ipxe.efi", "00:13": "ipxe-arm64.efi"}
LOADERS = {"bios": "pxelinux.0", "uefi": "grubnetx64.efi", "ipxe": "boot.ipxe"}
# What iPXE's option 77 begins with, or has behind the length that RFC 3004 puts before it
IPXE_CLASS = "iPXE"


# The files of a site


def render_configs(site: Site, templates: Iterable[str] = (TEMPLATES,)) -> dict[str, bytes]:
    """Every generated file of a site but those that name a release.

    The path of each below build/configs -> its bytes. `templates`: folders, the first that has a
    template wins. Raises BadInput where a template of the site is wrong.
    """
    environment = template_environment(tuple(templates))
    view = site_view(site)
    files = {name: render_template(environment, name, view) for name in OF_SITE}
    for path, (template, boot_view) in boot_views(site).items():
        files[f"tftp/{path}"] = render_template(environment, template, boot_view)
    return files


def site_view(site: Site) -> View:
    """What the templates of OF_SITE see."""
    view = {
        "site": site.name,
        **_network_view(site.network),
        "options": _kea_options(site),
        "lease_max": str(max(1000, len(site.nodes))),
        "servers": _servers_view(site),
        "next_server": site.servers[0].ip if len(site.servers) == 1 else "",
        "nodes": [_row(site, node) for node in site.nodes],
        "hosts": site.hosts,
        **_deploy_view(site),
        "loaders": LOADERS,
        **_http_view(site),
        "ipxe_class": IPXE_CLASS,
        "ipxe_hex": IPXE_CLASS.encode().hex(":"),
    }
    return plain_values(view)


def _network_view(network: Network) -> dict[str, Any]:
    subnet = ipaddress.IPv4Network(network.subnet)
    return {
        "subnet": network.subnet,
        "address": str(subnet.network_address),
        "netmask": str(subnet.netmask),
        "gateway": network.gateway or "",
        "domain": network.domain or "",
        "dns": network.dns,
        "ntp": network.ntp,
    }


def _servers_view(site: Site) -> list[dict[str, str]]:
    """The boot servers; dnsmasq tells the nodes of several ones apart by a tag."""
    alone = len(site.servers) == 1
    rows = []
    for server in site.servers:
        tag = "" if alone else f"tag:server-{server.name},"
        rows.append({"name": server.name, "ip": server.ip, "tag": tag})
    return rows


def _deploy_view(site: Site) -> dict[str, str]:
    deploy = site.deploy
    return {
        "nfs_root": deploy.nfs_root,
        "tftp_root": deploy.tftp_root,
        "http_root": deploy.http_root,
        "fsid": fsid_of(site.name, deploy.nfs_root),
        "drop_in": "yes" if _is_drop_in(deploy) else "",
    }


def _http_view(site: Site) -> dict[str, Any]:
    """Where firmware and iPXE fetch by HTTP: from the first server, or from nowhere.

    What they get there is the same on all; an iPXE of several servers asks its own one by TFTP.
    """
    if not serves_http(site):
        return {"http": "", "ipxe_at": "", "http_loaders": []}
    first = f"http://{site.servers[0].ip}/"
    loaders = [{"arch": arch, "name": name} for arch, name in HTTP_LOADERS.items()]
    alone = len(site.servers) == 1
    return {"http": first, "ipxe_at": first if alone else "", "http_loaders": loaders}


def _is_drop_in(deploy: Deploy) -> bool:
    """Is the DHCP server's file read besides its own? Then it must not speak for the rest of it."""
    server = BY_WORD.get(deploy.dhcp)
    if server is None or not server.reads_drop_ins:
        return False
    return os.path.dirname(deploy.dhcp_conf or server.path).endswith(".d")


def _row(site: Site, node: Node) -> NodeRow:
    server = server_of(site, node)
    return NodeRow(node.name, node.mac, node.ip, server.name, server.ip)


def _kea_options(site: Site) -> list[tuple[str, str]]:
    """DHCP's options by Kea's names (IANA's), without those that the site does not give."""
    network = site.network
    options = [
        ("routers", network.gateway or ""),
        ("domain-name-servers", ", ".join(network.dns)),
        ("domain-name", network.domain or ""),
        ("ntp-servers", ", ".join(network.ntp)),
    ]
    return [(name, value) for name, value in options if value]
