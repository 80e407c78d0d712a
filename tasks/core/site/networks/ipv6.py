"""Rules of networks whose nodes boot by IPv6: what they need, and what cannot be had there."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from typing import Any

from ..model import KEPT, NFS, NFS_OVERLAY, UKI
from ..nodes import Complain, Member
from ..resolve import image_of
from ..schema import Section
from .bonds import carries_root
from .subnets import networks_of, path_of, subnets_of

Path = tuple[Any, ...]
Networks = dict[str, Section]
ROOTS = (NFS, NFS_OVERLAY)


def ipv6_problems(site: Section, members: list[Member], complain: Complain) -> None:
    """Complain about every rule of networks with a `subnet6` that is broken."""
    networks: Networks = {}
    for name, network in networks_of(site).items():
        if network and network.subnet6:
            networks[name] = network
        elif network and network.gateway6 and "subnet6" not in network.model_fields_set:
            what, hint = "no network that it leads out of", "give the network its subnet6:"
            complain((*path_of(site, name), "gateway6"), what, hint, key=True)
    if not networks:
        return
    for name, network in networks.items():
        _network(path_of(site, name), network, complain)
    _site(site, complain)
    taken: dict[str, str] = {}  # by address, whose it is
    for name, network in networks.items():
        taken[network.gateway6] = f"{'.'.join(path_of(site, name))}.gateway6"
    _servers(site, taken, complain)
    _nodes(site, members, networks, taken, complain)


def _network(path: Path, network: Section, complain: Complain) -> None:
    gateway = network.gateway6 and IPv6Address(network.gateway6)
    if gateway and not gateway.is_link_local and gateway not in IPv6Network(network.subnet6):
        what = f"{gateway} not in {network.subnet6}"
        complain((*path, "gateway6"), what, "use an address of it, or one of fe80::/10")
    refused = {"tagged": "tag nothing", "mtu": "are told none"}
    for key, what in refused.items():
        if getattr(network, key):
            hint = f"leave one of {key} and subnet6 out"
            complain((*path, key), f"nodes that boot by IPv6 {what}", hint, key=True)


def _site(site: Section, complain: Complain) -> None:
    """What nodes ask their servers for by IPv4 alone."""
    hint = "leave it out, or subnet6 of the networks"
    if site.deploy and site.deploy.syslog not in (None, "none"):
        what = "nodes that boot by IPv6 cannot report"
        complain(("deploy", "syslog"), what, hint, key=True)
    if site.secrets:
        complain(("secrets",), "nodes that boot by IPv6 cannot fetch any", hint, key=True)
    if site.ssh_host_keys == KEPT:
        what = "nodes that boot by IPv6 cannot fetch theirs"
        complain(("ssh_host_keys",), what, hint, key=True)


def _servers(site: Section, taken: dict[str, str], complain: Complain) -> None:
    """Each has an address of its own, which is not link-local: nodes would need a card's name."""
    for name, server in (site.servers or {}).items():
        if server is None:
            continue
        path = ("servers", name)
        if "ip6" not in server.model_fields_set:
            what = "no ip6, and nodes of a network with subnet6 boot from it"
            complain(path, what, "give it one", key=True)
        if server.nfs_server:
            what = "nodes that boot by IPv6 have their root from the boot server itself"
            complain((*path, "nfs_server"), what, "leave it out, or subnet6", key=True)
        if server.ip6 and IPv6Address(server.ip6).is_link_local:
            what, hint = "a link-local address", "give it one of a subnet6"
            complain((*path, "ip6"), what, hint, server.ip6)
        owner = taken.setdefault(server.ip6, f"servers.{name}") if server.ip6 else ""
        if owner not in ("", f"servers.{name}"):
            what, hint = f"already used by {owner}", "give the server another one"
            complain((*path, "ip6"), what, hint, server.ip6)


# Nodes, and what they boot


def _nodes(
    site: Section,
    members: list[Member],
    networks: Networks,
    taken: dict[str, str],
    complain: Complain,
) -> None:
    without: dict[str, IPv6Network] = {}
    images: dict[str, None] = {}
    for member, subnet in _booting(site, members, networks):
        if "ip6" not in member.said.model_fields_set:
            without.setdefault(member.key, subnet)
        _node(member, subnet, taken, complain)
        images[image_of(site, member.said) or ""] = None
    for key, subnet in without.items():
        what = f"no ip6, and nodes of its network boot by IPv6 (subnet6: {subnet})"
        complain(("nodes", key), what, "give it one", key=True)
    for image in images:
        _image(site, image, complain)


def _booting(
    site: Section, members: list[Member], networks: Networks
) -> Iterator[tuple[Member, IPv6Network]]:
    """The nodes of these networks."""
    subnets = subnets_of(site)
    inside = {name: IPv6Network(network.subnet6) for name, network in networks.items()}
    for member in members:
        name = subnets.name_of(member.ip) if member.ip else ""
        if name in inside:
            yield member, inside[name]


def _node(member: Member, subnet: IPv6Network, taken: dict[str, str], complain: Complain) -> None:
    path = ("nodes", member.key)
    if member.ip6 and IPv6Address(member.ip6) not in subnet:
        complain((*path, "ip6"), f"{member.ip6} not in {subnet}", "use an address of its subnet6")
    if member.ip6 in taken:
        what = f"already used by {taken[member.ip6]}"
        complain((*path, "ip6"), what, "give the node another one", member.ip6)
    if member.guid:
        what = "no node boots by IPv6 over InfiniBand"
        hint = "put it into a network without subnet6"
        complain((*path, "guids" if member.said.guids else "guid"), what, hint, key=True)
    for card in member.cards:
        if carries_root(card.said):
            what = "a bond with the card that a node boots from takes no IPv6 address over"
            complain((*card.path, "bond"), what, "leave `boot` out of it, or subnet6", key=True)


def _image(site: Section, name: str, complain: Complain) -> None:
    """An image whose nodes boot by IPv6: what mounts its root must know how."""
    image = (site.images or {}).get(name)
    if image is None:
        return
    path = ("images", name)
    if image.root not in (None, *ROOTS):
        what = f"nodes of a network with subnet6 cannot have {image.root}"
        complain((*path, "root"), what, f"say {' or '.join(ROOTS)}", key=True)
    elif image.initrd is None or image.initrd.base != "none":
        what = "nodes of a network with subnet6 boot by an initrd of Plugnode's own alone"
        complain((*path, "initrd"), what, "say `initrd: {base: none}`")
    if image.loader == UKI:
        what = f"nodes of a network with subnet6 cannot boot by {UKI}"
        complain((*path, "loader"), what, "leave it out", key=True)
