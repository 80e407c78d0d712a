"""Rules across the parts of `site.yaml`. Each looks only at parts that are right by themselves; wrong ones are None."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import grammar, merge
from .grammar import meant, number
from .nodes import Complain, Member

if TYPE_CHECKING:
    from . import models

Path = tuple[Any, ...]
Line = Callable[[Path], int]  # the line of a key
BUILT_IN = ("initrd", "systemd", "sysvinit", "worker")  # overlays that nobody lists


def check(site: models.Site, members: list[Member], folder: str, folders: tuple[str, ...], complain: Complain) -> None:
    """Complain about every broken rule. Relative paths count from `folder`; overlays are looked up below `folders`."""
    subnet = ipaddress.IPv4Network(site.network.subnet) if site.network and site.network.subnet else None
    taken = _taken(site, subnet, complain)
    _addresses(members, subnet, taken, complain)
    _unique(members, site.servers or {}, complain)
    _words(site, complain)
    overlays = [name for name in merge.overlays_in(folders) if name not in BUILT_IN]
    for name, image in _given(site.images):
        _image(("images", name), image, folder, overlays, complain)
    _settings(site, complain)
    for path, layer in _layers(site):
        _partitions((*path, "disk", "partitions"), (layer.disk and layer.disk.partitions) or (), complain)
    if site.deploy is not None:
        _deploy(site.deploy, complain)


def _given(parts: dict[str, Any] | None) -> list[tuple[str, Any]]:
    return [(name, part) for name, part in (parts or {}).items() if part is not None]


def _layers(site: models.Site) -> Iterator[tuple[Path, Any]]:
    """Whatever can hold node settings: images, groups, nodes."""
    for kind in ("images", "groups", "nodes"):
        for name, part in _given(getattr(site, kind)):
            yield (kind, name), part


# Network


def _taken(site: models.Site, subnet: ipaddress.IPv4Network | None, complain: Complain) -> dict[int, str]:
    """The addresses that no node may have, with their owners; checks those of gateway and servers on the way."""
    taken: dict[int, str] = {}
    servers: list[tuple[Path, Any]] = [(("servers", name, "ip"), server.ip) for name, server in _given(site.servers)]
    for path, address in servers:
        if address and number(address) in taken:
            complain(path, f"same address as {taken[number(address)]}", "give each server its own", address)
        elif address:
            taken[number(address)] = ".".join(path[:2])
    network = site.network
    gateway = network.gateway if network else None
    for path, address in [*servers, (("network", "gateway"), gateway)]:
        if address and subnet:
            _inside(path, address, subnet, complain)
    others = {"network.gateway": [gateway], "network.dns": (network and network.dns) or []}
    for owner, addresses in others.items():
        for address in filter(None, addresses):
            taken.setdefault(number(address), owner)
    return taken


def _inside(path: Path, address: str, subnet: ipaddress.IPv4Network, complain: Complain) -> None:
    place = number(address) - int(subnet.network_address)
    if not 0 <= place < subnet.num_addresses:
        complain(path, f"{address} not in {subnet}", "use an address of network.subnet")
    elif place in (0, subnet.num_addresses - 1):
        which = "broadcast" if place else "network"
        complain(path, f"is the {which} address of {subnet}", "use one between them", address)


def _addresses(
    members: list[Member], subnet: ipaddress.IPv4Network | None, taken: dict[int, str], complain: Complain
) -> None:
    low, high = (int(subnet[0]), int(subnet[-1])) if subnet else (-1, 1 << 32)
    for member in members:
        if member.ip is None:
            continue
        at = number(member.ip)
        if at in taken:
            complain(member.ip_path, f"already used by {taken[at]}", "give the node another one", member.ip)
        elif subnet and not low < at < high:
            _inside(member.ip_path, member.ip, subnet, complain)


def _unique(members: list[Member], servers: dict[str, Any], complain: Complain) -> None:
    for member, first in _doubled(members, lambda member: member.mac):
        do = "each network card has its own; read it from `ip link`"
        complain(member.mac_path, f"same MAC as {_owner(first, complain)}", do, member.mac)
    for member, first in _doubled(members, lambda member: member.ip):
        complain(member.ip_path, f"same address as {_owner(first, complain)}", "give each its own", member.ip)
    for member, first in _doubled(members, lambda member: member.name):
        what = f"{member.name} is defined twice (first at line {complain.line(('nodes', first.key))})"
        complain(("nodes", member.key), what, "keep one of them", key=True)
    for member in members:
        if member.name in servers:
            what = f"{member.name} is the name of a server (line {complain.line(('servers', member.name))})"
            complain(("nodes", member.key), what, "give the node another name", key=True)


def _owner(member: Member, complain: Complain) -> str:
    return f"{member.name} (line {complain.line(('nodes', member.key))})"


def _doubled(members: list[Member], what: Callable[[Member], Any]) -> Iterable[tuple[Member, Member]]:
    """Members whose name, MAC or address an earlier one has, with that one."""
    values = [what(member) for member in members]
    if len(set(values)) == len(values):
        return
    first: dict[Any, Member] = {}
    for member, value in zip(members, values, strict=True):
        if value is not None and first.setdefault(value, member) is not member:
            yield member, first[value]


# Words that name other parts


def _words(site: models.Site, complain: Complain) -> None:
    known = {"image": list(site.images or ()), "server": list(site.servers or ())}
    groups = list(site.groups or ())
    for path, layer in _layers(site):
        if path[0] == "images":
            continue
        for field, words in known.items():
            value = getattr(layer, field)
            if value is not None and words and value not in words:
                complain((*path, field), f"unknown {field}", meant(value, words), value)
        for at, name in enumerate((path[0] == "nodes" and layer.groups) or ()):
            if name is not None:
                _listed((*path, "groups", at), name, layer.groups[:at], groups, "group", complain)


def _listed(path: Path, value: str, before: list[str], known: list[str], what: str, complain: Complain) -> None:
    if value not in known:
        complain(path, f"unknown {what}", meant(value, known), value)
    elif value in before:
        complain(path, f"{what} listed twice", "keep one of them", value)


# Images


def _image(path: Path, image: models.Image, folder: str, overlays: list[str], complain: Complain) -> None:
    _overlays((*path, "overlays"), image.overlays or [], overlays, complain)
    _reference((*path, "reference"), image.reference, complain)
    for field, kind, file in merge.files(image):
        there = merge.resolve(folder, file)
        if not merge.THERE[kind](there):
            what = f"is no {kind}" if os.path.exists(there) else f"no such {kind}"
            complain((*path, *field), what, "paths count from the site file's folder", file)
    local = [file for file in image.local_files or () if file]
    for at, file in enumerate(image.local_files or ()):
        above = [other for other in local if file and (file.startswith(other + "/") or file in local[:at])]
        if above:
            complain((*path, "local_files", at), f"lies in {above[0]}, which is listed too", "keep one of them", file)


def _overlays(path: Path, names: list[str], known: list[str], complain: Complain) -> None:
    for at, name in enumerate(names):
        if name in BUILT_IN:
            complain((*path, at), "built in and always applied", "leave it out", name)
        elif name and name not in known and not difflib.get_close_matches(name, known):
            complain((*path, at), "unknown overlay", f"make the folder overlays/{name}/ beside the site file", name)
        elif name:
            _listed((*path, at), name, names[:at], known, "overlay", complain)


def _reference(path: Path, reference: models.Reference | None, complain: Complain) -> None:
    if reference is not None and len(reference.model_fields_set) != 1:
        given = ", ".join(sorted(reference.model_fields_set))
        what = f"names more than one source: {given}" if given else "names no source"
        complain(path, what, "give exactly one of rsync, path, archive, bootstrap")


# Settings of nodes: image, groups, node


def _settings(site: models.Site, complain: Complain) -> None:
    seen = set()
    for key, node in _given(site.nodes):
        image = merge.image_of(site, node)
        kind = (image, tuple(node.groups or ()))
        if kind in seen and not node.model_fields_set & {"disk", "cmdline", "release"}:
            continue
        seen.add(kind)
        if image in (site.images or {}):
            _node(site, image, _layers_of(site, key, node), complain)
    do = f"name it with image: or by a group; images: {', '.join(site.images or ())}"
    for key, node in _given(site.nodes) if len(site.images or ()) > 1 else ():
        if "image" not in node.model_fields_set and merge.image_of(site, node) is None:
            complain(("nodes", key), "no image", do, key=True)


def _layers_of(site: models.Site, key: str, node: models.Node) -> list[tuple[Path, Any]]:
    groups = site.groups or {}
    named = [(("groups", name), groups.get(name)) for name in node.groups or () if name]
    return [*((path, group) for path, group in named if group), (("nodes", key), node)]


def _node(site: models.Site, image: str, layers: list[tuple[Path, Any]], complain: Complain) -> None:
    for path, layer in layers:
        if layer.release and layer.release.rpartition("-")[0] != image:
            do = f"write {image}-<12 hex digits>, as `doit status` lists them"
            complain((*path, "release"), f"not a release of image {image}", do, layer.release)
    base = site.images[image]
    if base is None:
        return
    length = len(" ".join(filter(None, [base.cmdline, *(layer.cmdline for _, layer in layers)])))
    if length > grammar.MAX_CMDLINE:
        what = f"kernel command line too long: {length} characters with those of image and groups"
        complain((*layers[-1][0], "cmdline"), what, f"the kernel takes {grammar.MAX_CMDLINE}")
    _table([(("images", image), base), *layers], complain)


def _table(layers: list[tuple[Path, Any]], complain: Complain) -> None:
    """An MS-DOS partition table holds four partitions and ends at 2 TiB."""
    disks = [((*path, "disk", "partitions"), layer.disk) for path, layer in layers if layer.disk]
    parts = [(path, disk.partitions) for path, disk in disks if disk.partitions]
    if not parts or [disk.table for _, disk in disks if disk.table][-1:] != ["dos"]:
        return
    path, partitions = parts[-1]
    if len(partitions) > 4:
        complain(path, f"{len(partitions)} partitions in a dos table, which holds 4", "use fewer, or table: gpt")
    if sum(part.size or 0 for part in partitions if part) > 2 * 2**20:
        complain(path, "more than 2 TiB in a dos table", "use table: gpt")


# Disks


def _partitions(path: Path, partitions: Iterable[models.Partition | None], complain: Complain) -> None:
    mounts: list[str] = []
    labels: list[str] = []
    rest: Path = ()
    for at, part in enumerate(partitions):
        if rest:
            complain(rest, "only the last partition can take the rest", "give the others a size", "rest")
        rest = (*path, at, "size") if part and part.size == 0 else ()
        mount = part and (part.mount or ("swap" if part.fs == "swap" else None))
        if not part or not mount:
            continue
        label = part.label or merge.label(mount, part.fs or "")
        if mount in mounts:
            complain((*path, at, "mount"), "mounted twice", "give each partition its own mount point", mount)
        elif label in labels:
            complain((*path, at, "label"), "label used twice", "give each partition its own with label:", label)
        mounts.append(mount)
        labels.append(label)
    for at, part in enumerate(partitions):
        if part is not None:
            _partition((*path, at), part, complain)


def _partition(path: Path, part: models.Partition, complain: Complain) -> None:
    if part.fs and part.fs != "swap" and "mount" not in part.model_fields_set:
        complain(path, "mount: required", "add `mount: /var` or another mount point")
    if part.fs and part.mount and (part.fs == "swap") != (part.mount == "swap"):
        what = f"fs {part.fs} does not go with mount {part.mount}"
        complain((*path, "fs"), what, "swap is {mount: swap, size: 4G, fs: swap}")
    if part.fs == "swap" and part.fill:
        complain((*path, "fill"), "swap cannot be filled", "leave it out", part.fill)
    for field in ("options", "mode") if part.fs == "swap" else ():
        if field in part.model_fields_set:
            complain((*path, field), "swap is not mounted", "leave it out", getattr(part, field))
    if part.fs == "xfs" and part.size and part.size < 300:
        complain((*path, "size"), "size out of range for xfs", "give it 300M or more, or take ext4", f"{part.size}M")
    if part.fs == "ext3" and part.size and part.size >= 16 << 20:
        complain(
            (*path, "size"), "size out of range for ext3", "it ends below 16 TiB; take ext4", f"{part.size >> 10}G"
        )
    if part.fs == "xfs" and part.label and len(part.label) > 12:
        complain((*path, "label"), "label too long for xfs", "use at most 12 characters", part.label)


# Deploy


def _deploy(deploy: models.Deploy, complain: Complain) -> None:
    tftp, nfs = deploy.tftp_root, deploy.nfs_root
    if tftp and nfs and os.path.commonpath((tftp, nfs)) in (tftp, nfs):
        field = "nfs_root" if "nfs_root" in deploy.model_fields_set else "tftp_root"
        what = f"tftp_root {tftp} and nfs_root {nfs} lie in one another"
        complain(("deploy", field), what, "give each a folder of its own")
    if deploy.dhcp_conf and deploy.dhcp == "none":
        do = "name the server with dhcp: isc, kea or dnsmasq"
        complain(("deploy", "dhcp_conf"), "has no effect with `dhcp: none`", do, deploy.dhcp_conf)
