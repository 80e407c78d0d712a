"""A site as the files that DHCP, TFTP and NFS servers, boot loaders and nodes read.

One template a file, below templates/. A template sees a small view, strings and lists of strings,
never the model. Only `plugnode/*` below the TFTP root names a release: the rest changes when nodes
or servers do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..base.boot_programs import ARM64
from ..dhcp.servers import BY_WORD, SERVERS
from ..services.boot_reports import SYSLOG_PORT, boots_log
from ..services.exports import fewest_prefixes, fsid_of
from ..site.model import UKI, Deploy, Node, Site
from ..store.paths import BOOT_FILES
from .boot_files import boot_views, serves_http
from .networks import (
    CARDS,
    INTERFACE,
    Reservation,
    machines,
    network_views,
    node_rows,
    reached,
    servers_outside,
    wires,
)
from .templates import TEMPLATES, View, plain_values, render_template, template_environment

OF_DHCP = tuple(server.source for server in SERVERS)
OF_SITE = (*OF_DHCP, "exports", "nginx.conf", "hosts", "ethers")  # each also a template's name
# What DHCP names, below tftp_root
LOADERS = {"bios": "pxelinux.0", "uefi": "shimx64.efi", "ipxe": "boot.ipxe"}
OF_SYSLOG = ("rsyslog.conf", "logrotate.conf")  # where the site has its boots reported
GRUB = "grubnetx64.efi"  # without a shim before it: firmware with Secure Boot refuses it
ARM64_LOADER = "shimaa64.efi"  # where the site has nodes for it; it starts grubaa64.efi
# And to firmware that boots by HTTP, by its architecture
HTTP_LOADERS = {"00:10": "ipxe.efi", "00:13": "ipxe-arm64.efi"}
# And to nodes whose `loader:` is that; what it does not serve is as for all
OF_LOADER = {
    "grub": {"uefi": GRUB, "arm64": "grubaa64.efi"},
    "shim": {"uefi": LOADERS["uefi"], "arm64": ARM64_LOADER},
    "ipxe": {"bios": "undionly.kpxe", "uefi": "ipxe.efi", "arm64": "ipxe-arm64.efi"},
    "pxelinux": {"bios": "pxelinux.0"},
}
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
    names = (*OF_SITE, *OF_SYSLOG) if site.deploy.syslog != "none" else OF_SITE
    files = {name: render_template(environment, name, view) for name in names}
    for path, (template, boot_view) in boot_views(site).items():
        files[f"tftp/{path}"] = render_template(environment, template, boot_view)
    return files


def site_view(site: Site) -> View:
    """What the templates of OF_SITE see."""
    nodes = node_rows(site)
    networks = network_views(site, nodes)
    view = {
        "site": site.name,
        "nodes": nodes,
        "networks": networks,
        "servers_outside": servers_outside(site),
        "lease_max": str(max(1000, len(site.nodes))),
        "servers": _servers_view(site),
        "machines": machines(site),
        "hosts": site.hosts,
        "clients": _clients(site, networks),
        **_nodes_view(site),
        **_deploy_view(site),
        "loaders": loaders_of(site),
        **_http_view(site),
        **_syslog_view(site),
        "ipxe_class": IPXE_CLASS,
        "ipxe_hex": IPXE_CLASS.encode().hex(":"),
    }
    return {**plain_values(view), **_again(site, networks)}


def loaders_of(site: Site) -> dict[str, str]:
    """What DHCP names: a kind of firmware -> the file below tftp_root.

    Firmware with Secure Boot starts shim alone, and any other starts it, too. But shim takes GRUB
    by a name of its own (grubx64.efi): a GRUB that a site has brought under DHCP's stays DHCP's,
    unless the site brings a shim besides.
    """
    brought = {name for image in site.images for name, _ in image.loaders}
    loaders = {**LOADERS, "arm64": ARM64_LOADER if ARM64 in site.archs else ""}
    if GRUB in brought and LOADERS["uefi"] not in brought:
        return {**loaders, "uefi": GRUB}
    return loaders


def _again(site: Site, networks: list[dict[str, Any]]) -> dict[str, Any]:
    """The same otherwise: by wire, and of the only network, or the first, as if it were alone."""
    on_wires = wires(site, networks)
    return {
        **networks[0],
        "wires": on_wires,
        "one_network": "" if site.more_networks else "yes",
        **_kinds(networks, on_wires),
    }


def _kinds(networks: list[dict[str, Any]], on_wires: list[dict[str, Any]]) -> dict[str, Any]:
    """What there is somewhere: files of a site without it say nothing of it."""
    rows = [row for view in networks for row in view["reservations"]]
    columns = dict(zip(Reservation._fields, zip(*rows)))
    kinds = set(columns.get("kind", ()))
    pools = [view["pool"] for view in networks]
    shared = [wire["shared"] for wire in on_wires]
    found = {
        "with_cards": CARDS in kinds,
        "with_interfaces": INTERFACE in kinds,
        "with_client_ids": any(columns.get("client_id", ())),
        "with_circuit_ids": any(columns.get("circuit_id", ())),
        "with_pool": any(pools),
        "with_shared": any(shared),
    }
    words = {name: "yes" if there else "" for name, there in found.items()}
    return {**words, "own_options": _own_options(networks)}


def _own_options(networks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each DHCP option that the servers do not know by themselves, once."""
    options = [option for view in networks for option in view["more_options"]]
    own = {option["code"]: option for option in options if not option["named"]}
    return list(own.values())


def _servers_view(site: Site) -> list[dict[str, Any]]:
    """The boot servers; dnsmasq tells the nodes of several ones apart by a tag."""
    alone = len(site.servers) == 1
    rows = []
    for server in site.servers:
        tag = "" if alone else f"tag:server-{server.name},"
        names = {"name": server.name, "ip": server.ip, "tag": tag}
        rows.append({**names, "reached": reached(site, server)})
    return rows


def _nodes_view(site: Site) -> dict[str, Any]:
    """What some nodes have besides, by their names; and what DHCP names by `loader:`."""
    loader_of = {node.name: _loader_word(node) for node in site.nodes if node.loader}
    aliases = {node.name: " ".join(node.aliases) for node in site.nodes if node.aliases}
    facts = {node.name: dict(node.facts) for node in site.nodes if node.facts}
    asked = sorted(set(loader_of.values()))
    return {
        "aliases": aliases,
        "facts": facts,
        "loader_of": loader_of,
        "files_of_loader": {word: _files_of_loader(site, word) for word in asked},
    }


def _loader_word(node: Node) -> str:
    """What DHCP calls those that it names the same loader to: each label has a signed one."""
    return f"{UKI}-{node.release or node.image}" if node.loader == UKI else str(node.loader)


def _files_of_loader(site: Site, word: str) -> dict[str, str]:
    """A kind of firmware that the site has -> what DHCP names to it, below tftp_root."""
    if word in OF_LOADER:
        files = OF_LOADER[word].items()
        return {kind: file for kind, file in files if kind != ARM64 or ARM64 in site.archs}
    label = word.removeprefix(f"{UKI}-")
    shim = f"{BOOT_FILES}{label}/{LOADERS['uefi']}"
    return {"uefi": shim, "http": shim} if serves_http(site) else {"uefi": shim}


def _deploy_view(site: Site) -> dict[str, str]:
    deploy = site.deploy
    return {
        "nfs_root": deploy.nfs_root,
        "tftp_root": deploy.tftp_root,
        "http_root": deploy.http_root,
        "fsid": fsid_of(site.name, deploy.nfs_root),
        "export_options": f",{deploy.export_options}" if deploy.export_options else "",
        "drop_in": "yes" if _is_drop_in(deploy) else "",
    }


def _clients(site: Site, networks: list[dict[str, Any]]) -> list[str]:
    """Who may have the roots mounted."""
    subnets6 = {network.name: network.subnet6 for network in site.networks if network.subnet6}
    if site.deploy.export_to == "nodes":
        by_ip4 = (node.ip for node in site.nodes)
        by_ip6 = (node.ip6 for node in site.nodes if node.network in subnets6)
        return fewest_prefixes(by_ip4) + fewest_prefixes(by_ip6)
    booting = [network for network in networks if network["boots"]]
    names = dict.fromkeys(network["network"] for network in booting)
    found = [network["subnet"] for network in booting]
    return found + [subnets6[name] for name in names if name in subnets6]


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


def _syslog_view(site: Site) -> dict[str, Any]:
    """Where servers hear of boots, and the file that keeps what they hear."""
    addresses = {address for server in site.servers for _, address in reached(site, server)}
    return {
        "syslog_at": sorted(addresses),
        "syslog_port": str(SYSLOG_PORT),
        "boots_log": boots_log(site.name),
    }


def _is_drop_in(deploy: Deploy) -> bool:
    """Is the DHCP server's file read besides its own? Then it must not speak for the rest of it."""
    server = BY_WORD.get(deploy.dhcp)
    if server is None or not server.reads_drop_ins:
        return False
    return os.path.dirname(deploy.dhcp_conf or server.path).endswith(".d")
