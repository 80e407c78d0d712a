"""Rules across the parts of `site.yaml`.

Each looks only at parts that are right by themselves; wrong ones are None.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from ..base.boot_programs import refused_loader
from ..base.overlays import UNLISTED_OVERLAYS
from ..dhcp.servers import BY_WORD, EACH_NAME
from . import resolve
from .model import EXISTS, ROOT_FILES, WRITABLE
from .nodes import Complain, Member
from .schema import Section
from .values import MAX_CMDLINE, NEWEST, number, suggestion

Path = tuple[Any, ...]
Names = list[str]
Parts = dict[str, Any]  # by name; None where one is wrong
Owners = dict[int, str]  # of addresses, as numbers
Addresses = list["str | None"]


class Layer(NamedTuple):
    """What can hold settings of nodes: an image, a group or a node."""

    path: Path
    said: Section


class Place(NamedTuple):
    """The site file's folder, from which paths count, and the overlays that can be listed."""

    folder: str
    overlays: Names


def constraint_problems(
    site: Section,
    members: list[Member],
    folder: str,
    folders: tuple[str, ...],
    complain: Complain,
) -> None:
    """Complain about every broken rule.

    Relative paths count from `folder`; overlays are looked up below `folders`.
    """
    _network(site, members, complain)
    _unique(members, site.servers or {}, complain)
    _hosts(site, members, complain)
    _words(site, complain)

    overlays = [name for name in resolve.overlays_in(folders) if name not in UNLISTED_OVERLAYS]
    for name, image in _given(site.images):
        _image(("images", name), image, Place(folder, overlays), complain)

    _loaders(site, folder, complain)
    _settings(site, complain)
    for path, layer in _layers(site):
        disk = layer.disk
        if disk and disk.partitions:
            _partitions((*path, "disk", "partitions"), disk.partitions, complain)
    if site.deploy is not None:
        _deploy(site.deploy, complain)


def _given(parts: Parts | None) -> Iterator[tuple[str, Any]]:
    """The parts that are right, with their names."""
    for name, part in (parts or {}).items():
        if part is not None:
            yield name, part


def _layers(site: Section) -> Iterator[Layer]:
    """Whatever can hold node settings: images, groups, nodes."""
    for kind in ("images", "groups", "nodes"):
        for name, part in _given(getattr(site, kind)):
            yield Layer((kind, name), part)


# Network


def _network(site: Section, members: list[Member], complain: Complain) -> None:
    """Every address lies in the subnet, and has one owner."""
    network = site.network
    subnet, gateway = None, None
    name_servers: Addresses = []
    if network:
        subnet = network.subnet and IPv4Network(network.subnet)
        gateway = network.gateway
        name_servers = network.dns or []
    owners = _servers(site, subnet, complain)
    if gateway and subnet:
        _inside(("network", "gateway"), gateway, subnet, complain)
    _note([gateway], "network.gateway", owners)
    _note(name_servers, "network.dns", owners)
    _addresses(members, subnet, owners, complain)


def _servers(site: Section, subnet: IPv4Network | None, complain: Complain) -> Owners:
    """The servers' addresses, with their owners."""
    owners: Owners = {}
    for name, server in _given(site.servers):
        address = server.ip
        if not address:
            continue
        path = ("servers", name, "ip")
        owner = f"servers.{name}"
        first = owners.setdefault(number(address), owner)
        if first != owner:
            complain(path, f"same address as {first}", "give each server its own", address)
        if subnet:
            _inside(path, address, subnet, complain)
        if server.nfs_server and server.nfs_server.startswith(f"{address}:"):
            what, hint = "is this server itself", "leave it out"
            complain(("servers", name, "nfs_server"), what, hint, server.nfs_server)
    return owners


def _note(addresses: Addresses, owner: str, owners: Owners) -> None:
    """No node may have these addresses."""
    for address in addresses:
        if address:
            owners.setdefault(number(address), owner)


def _inside(path: Path, address: str, subnet: IPv4Network, complain: Complain) -> None:
    last = subnet.num_addresses - 1
    place = number(address) - int(subnet.network_address)
    if not 0 <= place <= last:
        complain(path, f"{address} not in {subnet}", "use an address of network.subnet")
    elif place in (0, last):
        which = "broadcast" if place else "network"
        what = f"is the {which} address of {subnet}"
        complain(path, what, "use one between them", address)


def _addresses(
    members: list[Member],
    subnet: IPv4Network | None,
    owners: Owners,
    complain: Complain,
) -> None:
    low, high = -1, 1 << 32
    if subnet:
        low, high = int(subnet[0]), int(subnet[-1])
    for member in members:
        if member.ip is None:
            continue
        at = number(member.ip)
        if at in owners:
            what = f"already used by {owners[at]}"
            complain(member.ip_path, what, "give the node another one", member.ip)
        elif subnet and not low < at < high:
            _inside(member.ip_path, member.ip, subnet, complain)


# Names, MACs and addresses of nodes


def _unique(members: list[Member], servers: Parts, complain: Complain) -> None:
    for member, first in _doubled(members, lambda member: member.mac):
        what = f"same MAC as {_owner(first, complain)}"
        hint = "each network card has its own; read it from `ip link`"
        complain(member.mac_path, what, hint, member.mac)

    for member, first in _doubled(members, lambda member: member.ip):
        what = f"same address as {_owner(first, complain)}"
        complain(member.ip_path, what, "give each its own", member.ip)

    for member, first in _doubled(members, lambda member: member.name):
        line = complain.line(("nodes", first.key))
        what = f"{member.name} is defined twice (first at line {line})"
        complain(("nodes", member.key), what, "keep one of them", key=True)

    for member in members:
        if member.name in servers:
            line = complain.line(("servers", member.name))
            what = f"{member.name} is the name of a server (line {line})"
            complain(("nodes", member.key), what, "give the node another name", key=True)


def _hosts(site: Section, members: list[Member], complain: Complain) -> None:
    """A name of `hosts` that a machine has would lead somewhere else by half of all programs."""
    if not site.hosts:
        return
    machines = _machines(site, members, complain)
    domain = (site.network and site.network.domain) or ""
    for name in map(str, site.hosts):
        owner = machines.get(name.lower().removesuffix("." + domain))
        if owner:
            what = f"{name} is the name of {owner}"
            complain(("hosts", name), what, "leave it out: it has its line", key=True)


def _machines(site: Section, members: list[Member], complain: Complain) -> dict[str, str]:
    """Servers and nodes by name, as a message speaks of each."""
    found = {}
    for name in site.servers or {}:
        line = complain.line(("servers", name))
        found[name] = f"server {name} (line {line})"
    for member in members:
        found[member.name] = f"node {_owner(member, complain)}"
    return found


def _owner(member: Member, complain: Complain) -> str:
    line = complain.line(("nodes", member.key))
    return f"{member.name} (line {line})"


Pairs = Iterable[tuple[Member, Member]]
Of = Callable[[Member], Any]


def _doubled(members: list[Member], what: Of) -> Pairs:
    """Members whose name, MAC or address an earlier one has, with that one."""
    values = [what(member) for member in members]
    if len(set(values)) == len(values):
        return
    first: dict[Any, Member] = {}
    for member, value in zip(members, values, strict=True):
        if value is None:
            continue
        other = first.setdefault(value, member)
        if other is not member:
            yield member, other


# Words that name other parts


def _words(site: Section, complain: Complain) -> None:
    images = list(site.images or ())
    servers = list(site.servers or ())
    groups = list(site.groups or ())
    for path, layer in _layers(site):
        kind = path[0]
        if kind == "images":
            continue
        _word((*path, "image"), layer.image, images, complain)
        _word((*path, "server"), layer.server, servers, complain)
        if kind == "nodes":
            _groups((*path, "groups"), layer.groups or [], groups, complain)


def _word(path: Path, value: str | None, known: Names, complain: Complain) -> None:
    if value is not None and known and value not in known:
        complain(path, f"unknown {path[-1]}", suggestion(value, known), value)


def _groups(path: Path, names: Names, known: Names, complain: Complain) -> None:
    for at, name in enumerate(names):
        if name is None:
            continue
        if name not in known:
            complain((*path, at), "unknown group", suggestion(name, known), name)
        elif name in names[:at]:
            complain((*path, at), "group listed twice", "keep one of them", name)


# Images


def _image(path: Path, image: Section, place: Place, complain: Complain) -> None:
    _overlays((*path, "overlays"), image.overlays or [], place.overlays, complain)
    _reference((*path, "reference"), image.reference, complain)
    for file in resolve.files(image):
        there = resolve.resolve_node(place.folder, file.path)
        if not EXISTS[file.kind](there):
            complain((*path, *file.place), *_missing(file.kind, there), file.path)
    _local_files((*path, "local_files"), image.local_files or [], complain)
    _releases(path[-1], [Layer(path, image)], complain)
    if image.overlay_size and image.root not in WRITABLE:
        what, hint = f"has no effect with `root: {image.root}`", "say `root: nfs-overlay`"
        complain((*path, "overlay_size"), what, hint, f"{image.overlay_size}M")
    _root_file(path, image, complain)


def _root_file(path: Path, image: Section, complain: Complain) -> None:
    """What is said of a root that is one file has no effect on another, and the reverse."""
    if image.root is None:
        return
    idle, hint = ["nfs"], "leave it out, or say `root: nfs`"
    if image.root not in ROOT_FILES:
        idle = ["root_exclude", "root_modules"]
        hint = "leave it out, or let nodes fetch their root: `root: ram`"
    for name in image.model_fields_set.intersection(idle):
        complain((*path, name), f"has no effect with `root: {image.root}`", hint)


def _missing(kind: str, there: str) -> tuple[str, str]:
    """What is wrong with something of this machine that the site needs, and what to do."""
    if kind.startswith("loader"):
        kind = "file"
        if refused := refused_loader(there):
            return refused
    problem = "is no" if os.path.exists(there) else "no such"
    return f"{problem} {kind}", "paths count from the site file's folder"


def _loaders(site: Section, folder: str, complain: Complain) -> None:
    """tftp_root holds one file of a name, whichever image's nodes ask for it."""
    taken: dict[str, tuple[str, str]] = {}
    for image, said in _given(site.images):
        for name, file in _given(said.loaders):
            path = ("images", image, "loaders", name)
            owner, other = taken.setdefault(name, (image, file))
            if resolve.resolve_node(folder, other) != resolve.resolve_node(folder, file):
                line = complain.line(("images", owner, "loaders", name))
                what = f"image {owner} has another file for it (line {line})"
                complain(path, what, "a loader serves all nodes: name the same file in both", file)


def _overlays(path: Path, names: Names, known: Names, complain: Complain) -> None:
    for at, name in enumerate(names):
        here = (*path, at)
        if name in UNLISTED_OVERLAYS:
            complain(here, "built in and always applied", "leave it out", name)
        elif name and name not in known:
            near = difflib.get_close_matches(name, known)
            make = f"make the folder overlays/{name}/ beside the site file"
            complain(here, "unknown overlay", suggestion(name, known) if near else make, name)
        elif name and name in names[:at]:
            complain(here, "overlay listed twice", "keep one of them", name)


def _reference(path: Path, reference: Section | None, complain: Complain) -> None:
    if reference is None or len(reference.model_fields_set) == 1:
        return
    given = ", ".join(sorted(reference.model_fields_set))
    what = f"names more than one source: {given}" if given else "names no source"
    complain(path, what, "give exactly one of rsync, path, archive, oci, bootstrap")


def _local_files(path: Path, files: Names, complain: Complain) -> None:
    """Each stands once, and none in the folder of another."""
    for at, file in enumerate(files):
        if not file:
            continue
        above = _above(file, files)
        if above is None and file in files[:at]:
            above = file
        if above:
            what = f"lies in {above}, which is listed too"
            complain((*path, at), what, "keep one of them", file)


def _above(file: str, files: Names) -> str | None:
    """The first of those that `file` lies in."""
    for other in files:
        if other and file.startswith(other + "/"):
            return other
    return None


# Settings of nodes: image, groups, node


def _settings(site: Section, complain: Complain) -> None:
    """What layers come to together; nodes of the same layers are looked at once."""
    seen = set()
    for key, node in _given(site.nodes):
        image = resolve.image_of(site, node)
        kind = (image, tuple(node.groups or ()))
        own = node.model_fields_set & {"disk", "cmdline", "release"}
        if kind in seen and not own:
            continue
        seen.add(kind)
        if image and image in (site.images or {}):
            layers = _layers_of(site, key, node)
            _releases(image, layers, complain)
            _together(site, image, layers, complain)
    _have_images(site, complain)


def _have_images(site: Section, complain: Complain) -> None:
    images = site.images or {}
    if len(images) < 2:
        return
    hint = f"name it with image: or by a group; images: {', '.join(images)}"
    for key, node in _given(site.nodes):
        if "image" not in node.model_fields_set and resolve.image_of(site, node) is None:
            complain(("nodes", key), "no image", hint, key=True)


def _layers_of(site: Section, key: str, node: Section) -> list[Layer]:
    """A node's groups in order, and itself."""
    layers = []
    for name in node.groups or ():
        group = (site.groups or {}).get(name)
        if group:
            layers.append(Layer(("groups", name), group))
    return [*layers, Layer(("nodes", key), node)]


def _together(site: Section, image: str, layers: list[Layer], complain: Complain) -> None:
    """What an image and the layers over it come to."""
    base = site.images[image]
    if base is None:
        return
    words = [base.cmdline]
    words += [layer.said.cmdline for layer in layers]
    length = len(" ".join(filter(None, words)))
    if length > MAX_CMDLINE:
        what = f"kernel command line too long: {length} characters with those of image and groups"
        path = (*layers[-1].path, "cmdline")
        complain(path, what, f"the kernel takes {MAX_CMDLINE}")
    _table([Layer(("images", image), base), *layers], complain)


def _releases(image: str, layers: list[Layer], complain: Complain) -> None:
    for path, layer in layers:
        of, _, _ = (layer.release or "").rpartition("-")
        if layer.release and layer.release != NEWEST and of != image:
            what = f"not a release of image {image}"
            hint = f"write {image}-<12 hex digits>, as `doit status` lists them"
            complain((*path, "release"), what, hint, layer.release)


def _table(layers: list[Layer], complain: Complain) -> None:
    """An MS-DOS partition table holds four partitions and ends at 2 TiB."""
    table, last = None, None
    for layer in layers:
        disk = layer.said.disk
        table = (disk and disk.table) or table
        last = layer if disk and disk.partitions else last
    if table != "dos" or last is None:
        return

    path = (*last.path, "disk", "partitions")
    partitions = last.said.disk.partitions
    if len(partitions) > 4:
        what = f"{len(partitions)} partitions in a dos table, which holds 4"
        complain(path, what, "use fewer, or table: gpt")
    if sum(part.size or 0 for part in partitions if part) > 2 * 2**20:
        complain(path, "more than 2 TiB in a dos table", "use table: gpt")


# Disks

Partitions = list["Section | None"]


def _partitions(path: Path, partitions: Partitions, complain: Complain) -> None:
    _rest(path, partitions, complain)
    _mounts(path, partitions, complain)
    for at, part in enumerate(partitions):
        if part is not None:
            _partition((*path, at), part, complain)


def _rest(path: Path, partitions: Partitions, complain: Complain) -> None:
    for at, part in enumerate(partitions[:-1]):
        if part and part.size == 0:
            what = "only the last partition can take the rest"
            complain((*path, at, "size"), what, "give the others a size", "rest")


def _mounts(path: Path, partitions: Partitions, complain: Complain) -> None:
    """No mount point and no label twice."""
    mounts: Names = []
    labels: Names = []
    for at, part in enumerate(partitions):
        mount = part and _mount(part)
        if not part or not mount:
            continue
        label = part.label or resolve.layout_label(mount, part.fs or "")
        if mount in mounts:
            hint = "give each partition its own mount point"
            complain((*path, at, "mount"), "mounted twice", hint, mount)
        elif label in labels:
            hint = "give each partition its own with label:"
            complain((*path, at, "label"), "label used twice", hint, label)
        mounts.append(mount)
        labels.append(label)


def _mount(part: Section) -> str | None:
    if part.fs == "swap" and not part.mount:
        return "swap"
    return part.mount  # type: ignore[no-any-return]


def _partition(path: Path, part: Section, complain: Complain) -> None:
    if part.fs == "swap":
        _swap(path, part, complain)
    elif part.fs and "mount" not in part.model_fields_set:
        hint = "add `mount: /var` or another mount point"
        complain(path, "mount: required", hint)
    swaps = [word == "swap" for word in (part.fs, part.mount)]
    if part.fs and part.mount and any(swaps) and not all(swaps):
        what = f"fs {part.fs} does not go with mount {part.mount}"
        complain((*path, "fs"), what, "swap is {mount: swap, size: 4G, fs: swap}")
    if part.fs == "xfs":
        _xfs(path, part, complain)
    if part.fs == "ext3":
        _ext3(path, part, complain)


def _swap(path: Path, part: Section, complain: Complain) -> None:
    if part.fill:
        complain((*path, "fill"), "swap cannot be filled", "leave it out", part.fill)
    for field in ("options", "mode"):
        if field in part.model_fields_set:
            what = "swap is not mounted"
            complain((*path, field), what, "leave it out", getattr(part, field))


def _ext3(path: Path, part: Section, complain: Complain) -> None:
    if part.size and part.size >= 16 << 20:
        what, hint = "size out of range for ext3", "it ends below 16 TiB; take ext4"
        complain((*path, "size"), what, hint, f"{part.size >> 10}G")


def _xfs(path: Path, part: Section, complain: Complain) -> None:
    if part.size and part.size < 300:
        what, hint = "size out of range for xfs", "give it 300M or more, or take ext4"
        complain((*path, "size"), what, hint, f"{part.size}M")
    if part.label and len(part.label) > 12:
        what, hint = "label too long for xfs", "use at most 12 characters"
        complain((*path, "label"), what, hint, part.label)


# Deploy


def _http_root(deploy: Section, complain: Complain) -> None:
    """Its releases have the names of those in the other two."""
    if "http_root" not in deploy.model_fields_set or not deploy.http_root:
        return
    for name in ("tftp_root", "nfs_root"):
        other = getattr(deploy, name)
        both = (other, deploy.http_root)
        if other and os.path.commonpath(both) in both:
            what = f"http_root {deploy.http_root} and {name} {other} lie in one another"
            complain(("deploy", "http_root"), what, "give each a folder of its own")
            return


def _deploy(deploy: Section, complain: Complain) -> None:
    tftp, nfs = deploy.tftp_root, deploy.nfs_root
    both = (tftp, nfs)
    if all(both) and os.path.commonpath(both) in both:
        field = "nfs_root" if "nfs_root" in deploy.model_fields_set else "tftp_root"
        what = f"tftp_root {tftp} and nfs_root {nfs} lie in one another"
        complain(("deploy", field), what, "give each a folder of its own")
    _http_root(deploy, complain)
    if deploy.dhcp_conf and deploy.dhcp == "none":
        names = EACH_NAME.replace("`", "")
        hint = f"name the server with dhcp: {names}"
        complain(("deploy", "dhcp_conf"), "has no effect with `dhcp: none`", hint, deploy.dhcp_conf)
    server = BY_WORD.get(deploy.dhcp)
    if server and deploy.dhcp_conf and not server.may_have(deploy.dhcp_conf):
        what = f"{server.name} has no files there"
        files = [place + "FILE" * place.endswith("/") for place in server.places]
        hint = f"write {' or '.join(files)}"
        complain(("deploy", "dhcp_conf"), what, hint, deploy.dhcp_conf)
