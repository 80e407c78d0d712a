"""The tables of docs/templates.md: every variable of a template, as the views have them.

A table stands between `<!-- variables of NAME -->` and `<!-- end of variables -->`. The values are
those of a site that is given; what each means is said here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..release import Release
from ..site.model import Site
from .boot_files import BootLabel, boot_views, image_view, member_view
from .render import site_view
from .templates import View

TABLE = re.compile(r"(<!-- variables of (\w+) -->\n).*?(<!-- end of variables -->\n)", re.DOTALL)
LONGEST = 60  # characters of a value that is shown
# Mappings whose keys are the site's own names
BY_NAMES = ("aliases", "facts", "loader_of", "files_of_loader", "groups", "images")

MEANINGS = {
    "site": "the site's name",
    "nodes": "the nodes, by address",
    "nodes.name": "a node's name",
    "nodes.mac": "its network card",
    "nodes.ip": "its address",
    "nodes.server": "the name of its boot server",
    "nodes.next_server": "that server's address",
    "networks": "the networks, in the order of the file",
    "networks.network": "its name",
    "networks.tag": "dnsmasq's tag of its nodes",
    "networks.subnet": "the addresses that are in it",
    "networks.address": "the first of them",
    "networks.netmask": "its mask",
    "networks.pool": "for strangers: the first and the last address; empty without",
    "networks.relay": "addresses of the relays that it is behind",
    "networks.gateway": "the router; empty where there is none",
    "networks.domain": "the DNS domain; empty where there is none",
    "networks.dns": "name servers",
    "networks.ntp": "time servers",
    "networks.search": "domains that names are looked for in",
    "networks.mtu": "the longest packet; empty where it is the usual one",
    "networks.next_server": "the boot server's address; empty with several: each node has its own",
    "networks.options": "DHCP's options, each a name of Kea's and its value, those that it gives",
    "networks.more_options": "its own `options:`: `code`, `name`, `given` (values); `yes` or empty:"
    " `addresses`, `text`, `named` (by the servers themselves)",
    "networks.id": "its number, from 1 (Kea)",
    "networks.reservations": "who gets which address in it",
    "networks.boots": "`yes` where nodes boot in it; else empty",
    "reservations": "of the first network",
    "reservations.host": "dhcpd's name of it",
    "reservations.name": "the name that the card's machine gets",
    "reservations.mac": "the card; empty where it is known otherwise",
    "reservations.client_id": "its client identifier instead, in pairs of hex digits",
    "reservations.circuit_id": "a relay's name of a switch port instead, in pairs",
    "reservations.ip": "the address",
    "reservations.server": "the name of the node's boot server; empty where nothing boots",
    "reservations.next_server": "that server's address",
    "reservations.cards": "all cards with this address, for dnsmasq; empty but at the first",
    "reservations.kind": "`node`, `cards` (one of several of a node) or `interface`",
    "wires": "networks by the wire that they share",
    "wires.name": "that of its first network",
    "wires.networks": "those on it, each as in `networks`",
    "wires.relays": "addresses of its relays that lie in no network",
    "wires.shared": "`yes` where there is more than one network, or such a relay",
    "wires.heard_at": "pairs: where dnsmasq may be asked, and a subnet that is on that wire, too",
    "one_network": "`yes` where the site has one only",
    "with_cards": "`yes` where a node has several cards",
    "with_interfaces": "`yes` where an interface besides has an address by DHCP",
    "with_client_ids": "`yes` where one is known by its client identifier",
    "with_circuit_ids": "`yes` where one is known by its switch port",
    "with_pool": "`yes` where a network has addresses for strangers",
    "with_shared": "`yes` where networks share a wire",
    "own_options": "those of `more_options` that the servers do not know, each once",
    "lease_max": "how many leases dnsmasq may give",
    "servers": "the boot servers",
    "servers.name": "a server's name",
    "servers.ip": "its address",
    "servers.tag": "dnsmasq's condition for its nodes; empty with one server",
    "servers.reached": "pairs: a network's tag, and where its nodes reach the server",
    "servers_outside": "addresses of servers that lie in no network",
    "machines": "lines of hosts(5), as pairs: an address, and its names",
    "machines.servers": "of the servers",
    "machines.nodes": "of the nodes",
    "machines.interfaces": "of their further interfaces",
    "hosts": "the site's further lines of `hosts`: an address and its names",
    "clients": "who may mount the roots: subnets, or the nodes' own prefixes",
    "aliases": "by the names of nodes: their `aliases:`",
    "facts": "by the names of nodes: their `facts:`",
    "loader_of": "by the names of nodes: their `loader:`",
    "files_of_loader": "by the loaders that are there: what DHCP names instead, by firmware",
    "nfs_root": "the folder that is exported",
    "tftp_root": "the folder that TFTP serves",
    "http_root": "the folder that HTTP serves besides: root files",
    "fsid": "the export's number, the same on each server of the site",
    "export_options": "the site's further options of the export, a comma before each",
    "drop_in": "`yes` where dnsmasq reads the file besides its own; else empty",
    "loaders": "what DHCP names, by firmware",
    "loaders.bios": "for BIOS",
    "loaders.uefi": "for UEFI",
    "loaders.ipxe": "for iPXE",
    "loaders.arm64": "for UEFI on ARM; empty where the site has no such nodes",
    "http": "where nodes fetch by HTTP; empty where they do not",
    "ipxe_at": "where iPXE fetches its file by HTTP; empty where by TFTP",
    "http_loaders": "what DHCP names to firmware that boots by HTTP: `arch` (RFC 5970), `name`",
    "ipxe_class": "what iPXE calls itself",
    "ipxe_hex": "the same in hex, for Kea",
    "syslog_at": "the addresses at which servers hear of boots",
    "syslog_port": "the UDP port there",
    "boots_log": "the file that keeps the reports of boots",
    "title": "whom the file is for, in a sentence",
    "label": "the image's name, or the release that its nodes are pinned to",
    "entry": "pxelinux' name of what it boots: the label, `@` and a network where that differs",
    "cmdline": "kernel arguments of the node's own",
    "serial": "the serial console that the arguments name, for the loader; empty without",
    "serial.unit": "its number",
    "serial.speed": "its speed",
    "others": "whether nodes have files of their own beside this one",
    "tagged": "`yes` where a network is tagged: `entry` then says which arguments are a node's",
    "by_address": "whether such files are named by an address: the node's card is not known",
    "file": "of a group whose settings a node has: its file",
    "who": "that group, in words",
    "release": "the release that is booted",
    "site_id": "the folder of `site.img`",
    "initrds": "all that is loaded besides the kernel, in order: below `tftp_root`",
    "arguments": "all kernel arguments but the node's own",
    "elsewhere": "networks whose nodes reach the server at another address, or tag what they send:"
    " `entry`, `address`, `arguments`, `tagged`",
    "arguments6": "those of nodes that boot by IPv6; empty where the site has no `subnet6`, or they"
    " cannot boot this release so",
    "groups": "the names of nodes, by group",
    "images": "the names of nodes, by image",
    "nodes.image": "its image",
    "nodes.groups": "its groups",
    "nodes.facts": "what its `facts:` say, by name",
    "nodes.aliases": "its further names",
    "clustershell": "`groups.yaml`",
    "clustershell.sources": "node sets, by source and group",
    "genders": "`genders`",
    "genders.attributes": "attributes, by node",
    "ansible": "`ansible.yaml`",
    "ansible.variables": "variables by name, by node",
    "ansible.ansible_groups": "the names of nodes, by group and image, as Ansible takes such names",
    "slurm": "`slurm.conf`, `topology.conf`",
    "slurm.machines": "the names of nodes, by what they have in Slurm's words",
    "slurm.partitions": "the names of nodes, by partition",
    "slurm.switches": "the names of nodes, by leaf switch",
    "prometheus": "`prometheus.json`",
    "prometheus.targets": "pairs: names of nodes, and their labels",
    "prometheus.domains": "by node, the domain of its network; empty where that has none",
    "dns": "`zone`, of each zone",
    "dns.zone": "its name",
    "dns.name": "the same",
    "dns.domain": "its hostmaster's domain",
    "dns.servers": "its name servers, a dot at the end",
    "dns.records": "rows: label, type and data",
    "dhcp6_hosts": "`dhcp6_hosts.json`",
    "dhcp6_hosts.second": "rows: a card's MAC, its address of IPv6, and a name",
    "ssh_known_hosts": "`ssh_known_hosts`",
    "ssh_known_hosts.known": "pairs: names and address of a node, by commas, and its public key",
    "ssh_known_hosts.without": "the nodes without a key yet, as a node set",
    "conman": "`conman.conf`",
    "conman.bmcs": "pairs: a node, and the address of its `bmc`",
    "powerman": "`powerman.conf`",
    "powerman.devices": "pairs: a process's name, and pairs of a node and its `bmc`",
}


def with_variables(page: str, views: Mapping[str, View]) -> str:
    """The page with its tables written anew, each of the view of its name."""

    def table(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        rows = [f"| `{key}` | {value} | {text} |\n" for key, value, text in rows_of(views[name])]
        return f"{begin}| variable | of the example site | |\n|---|---|---|\n{''.join(rows)}{end}"

    return TABLE.sub(table, page)


def views_of_servers(site: Site) -> dict[str, View]:
    """What each kind of template sees that servers and loaders read."""
    facts = ("root", "xattrs", "initrd", "kernel")
    image = site.images[0]
    release = Release(
        f"{image.name}-3f9a1c2b4d5e", image.name, image.cmdline, *facts, "6.12", "own", 0, 0
    )
    label = BootLabel(image.name, release, "site-0b1c2d3e4f50")
    return {
        "site": _without_the_first_network(site_view(site)),
        "boot": boot_views(site)["pxelinux.cfg/default"][1],
        "member": member_view("pxelinux.cfg/group-gpu", "A node of group gpu"),
        "image": image_view(site, site.servers[0], label),
    }


def _without_the_first_network(view: View) -> View:
    """Its values stand there once more by the same names: only its reservations are told."""
    again = view["networks"][0].keys() - {"reservations"}
    return {name: value for name, value in view.items() if name not in again}


def rows_of(view: View) -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning of each variable, and of what lists and mappings hold."""
    for name, value in view.items():
        yield name, _shown(value), MEANINGS.get(name, "")
        for inner, held in _inside("" if name in BY_NAMES else value):
            yield f"{name}.{inner}", _shown(held), MEANINGS.get(f"{name}.{inner}", "")


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """What a mapping has, or the first one of a list of mappings."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        value = value[0] if value else ""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        yield from value.items()


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple, Mapping)) and not all(map(_is_text, value)):
        return "a list"
    if hasattr(value, "_asdict") or isinstance(value, Mapping):
        return "values by name"
    if isinstance(value, (list, tuple)):
        value = ", ".join(value)
    text = f"`{value}`" if value else ""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…`"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
