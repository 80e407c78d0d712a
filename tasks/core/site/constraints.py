"""Rules across the parts of `site.yaml`.

Each looks only at parts that are right by themselves; wrong ones are None.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..base.boot_programs import ARM64, refused_loader
from ..base.overlays import UNLISTED_OVERLAYS
from ..dhcp.servers import BY_WORD, EACH_NAME
from ..outputs import ANYWHERE, BMC, OF_BMC, Output, is_whole, may_lie, output_of
from . import resolve
from .model import DISK, EXISTS, FETCHED, KEPT, NFS, ROOT_FILES, UKI, WRITABLE, Disk
from .networks.rules import network_problems
from .networks.subnets import Subnets, networks_of, path_of, subnets_of
from .nodes import PLAIN, Complain, Member
from .schema import Section
from .values import MAX_CMDLINE, NEWEST, suggestion

Path = tuple[Any, ...]
Names = list[str]
Parts = dict[str, Any]  # by name; None where one is wrong


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
    network_problems(site, members, complain)
    _unique(site, members, complain)
    _hosts(site, members, complain)
    _aliases(site, members, complain)
    _of_layers(site, complain)
    _by_port(site, complain)

    overlays = [name for name in resolve.overlays_in(folders) if name not in UNLISTED_OVERLAYS]
    for name, image in _given(site.images):
        _image(("images", name), image, Place(folder, overlays), complain)

    _loaders(site, folder, complain)
    _settings(site, complain)
    _signatures(site, members, folder, complain)
    _secrets(site, complain)
    _store(site, folder, complain)
    _known_hosts(site, complain)
    _outputs(site, complain)
    _deploy(site, complain)


def _of_layers(site: Section, complain: Complain) -> None:
    layers = list(_layers(site))
    _words(site, layers, complain)
    layers = [layer for layer in layers if not layer.said.model_fields_set <= PLAIN]
    _bmcs(site, layers, complain)
    _disks(layers, complain)


def _disks(layers: Iterable[Layer], complain: Complain) -> None:
    for path, layer in layers:
        disk = layer.disk
        if disk and disk.partitions:
            _partitions((*path, "disk", "partitions"), disk.partitions, complain)
        if layer.disks:
            _several(path, layer, complain)


def _several(path: Path, layer: Section, complain: Complain) -> None:
    """Layouts of several disks: each is whole by itself, and no two have anything in common."""
    if "disk" in layer.model_fields_set:
        complain((*path, "disk"), "disk beside disks", "make it one of disks", key=True)
    mounts: Names = []
    labels: Names = []
    for at, disk in enumerate(layer.disks):
        if disk is None:
            continue
        here = (*path, "disks", at)
        if not disk.partitions:
            complain(here, "partitions: required", "say what each of several disks has")
            continue
        parts = (*here, "partitions")
        _rest(parts, disk.partitions, complain)
        _mounts(parts, disk.partitions, complain, (mounts, labels))
        for number, part in enumerate(disk.partitions):
            if part is not None:
                _partition((*parts, number), part, complain)
        _layout([(here, disk)], complain)


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


# Names, MACs and addresses of nodes


def _unique(site: Section, members: list[Member], complain: Complain) -> None:
    _unique_macs(members, complain)
    _unique_ids(members, subnets_of(site), complain)
    for member, first in _doubled(members, lambda member: member.ip):
        what = f"same address as {_owner(first, complain)}"
        complain(member.ip_path, what, "give each its own", member.ip)

    for member, first in _doubled(members, lambda member: member.name):
        line = complain.line(("nodes", first.key))
        what = f"{member.name} is defined twice (first at line {line})"
        complain(("nodes", member.key), what, "keep one of them", key=True)

    servers = site.servers or {}
    for member in members:
        if member.name in servers:
            line = complain.line(("servers", member.name))
            what = f"{member.name} is the name of a server (line {line})"
            complain(("nodes", member.key), what, "give the node another name", key=True)


Mac = tuple[str, Member, Path]  # with whose it is, and where it stands


def _unique_macs(members: list[Member], complain: Complain) -> None:
    of_nodes = [mac for member in members for mac in member.macs]
    of_cards = [card.mac for member in members for card in member.cards]
    macs = list(filter(None, (*of_nodes, *of_cards)))
    if len(set(macs)) == len(macs):
        return
    first: dict[str, tuple[Member, int]] = {}
    for at, (mac, member, path) in enumerate(_macs(members)):
        other, place = first.setdefault(mac, (member, at))
        if place != at:
            what = f"same MAC as {_owner(other, complain)}"
            hint = "each network card has its own; read it from `ip link`"
            complain(path, what, hint, mac)


def _macs(members: list[Member]) -> Iterator[Mac]:
    """The MACs of all nodes and their interfaces."""
    for member in members:
        for at, mac in enumerate(member.macs):
            if mac:
                yield mac, member, member.mac_path(at)
        for card in member.cards:
            if card.mac:
                yield card.mac, member, card.at("mac")


IDENTIFIERS = {"ip6", "guid", "guids", "client_id", "circuit_id", "interfaces"}


def _unique_ids(members: list[Member], subnets: Subnets, complain: Complain) -> None:
    """No two are known by one identifier; switches of several networks may name ports alike."""
    first: dict[tuple[str, str], Member] = {}
    for member in members:
        if IDENTIFIERS.isdisjoint(member.said.model_fields_set):
            continue  # most are known by a card alone
        for field, value, path in _ids(member, subnets):
            other = first.setdefault((field, value), member)
            if other is not member:
                what = f"same {field} as {_owner(other, complain)}"
                complain(path, what, "give each its own")


def _ids(member: Member, subnets: Subnets) -> Iterator[tuple[str, str, Path]]:
    path = ("nodes", member.key)
    if member.ip6:
        yield "ip6", member.ip6, (*path, "ip6")
    if member.guid:
        of_range = (*path, "guids", member.place or 0)
        yield "guid", member.guid, of_range if member.said.guids else (*path, "guid")
    if member.said.client_id and member.place is None:
        yield "client_id", member.said.client_id, (*path, "client_id")
    if member.said.circuit_id and member.place is None and member.ip:
        port = f"{member.said.circuit_id} of {subnets.name_of(member.ip)}"
        yield "circuit_id", port, (*path, "circuit_id")
    for card in member.cards:
        if card.guid:
            yield "guid", card.guid, card.at("guid")
        if card.ip6:
            yield "ip6", card.ip6, (*card.path, "ip6")


def _by_port(site: Section, complain: Complain) -> None:
    """Only Kea can know a node by its switch port."""
    server = BY_WORD.get((site.deploy and site.deploy.dhcp) or "none")
    if server is None or server.knows_ports:
        return
    for key, node in _given(site.nodes):
        if node.circuit_id:
            path = ("nodes", key, "circuit_id")
            what = f"{server.name} cannot know a node by its switch port"
            complain(path, what, "use deploy: {dhcp: kea}, or the node's mac:", key=True)


def _hosts(site: Section, members: list[Member], complain: Complain) -> None:
    """A name of `hosts` that a machine has would lead somewhere else by half of all programs."""
    if not site.hosts:
        return
    machines = _machines(site, members, complain)
    for name in map(str, site.hosts):
        owner = machines.get(_short(site, name))
        if owner:
            what = f"{name} is the name of {owner}"
            complain(("hosts", name), what, "leave it out: it has its line", key=True)


def _aliases(site: Section, members: list[Member], complain: Complain) -> None:
    """A further name is no machine's own, and no other machine's."""
    called = [member for member in members if member.aliases]
    if not called:
        return
    owners = _machines(site, members, complain)
    for name in site.hosts or ():
        owners[_short(site, name)] = f"a machine of hosts (line {complain.line(('hosts', name))})"
    for member in called:
        for name in member.aliases:
            other = owners.get(_short(site, name))
            if other:
                what = f"{name} is the name of {other}"
                complain(("nodes", member.key, "aliases"), what, "give each machine its own")
            owners[_short(site, name)] = f"node {_owner(member, complain)}"


def _short(site: Section, name: str) -> str:
    """A name as the site's own domains have it: two that are alike here are one name."""
    domains = {network.domain for network in networks_of(site).values() if network}
    short, _, domain = name.lower().partition(".")
    return short if not domain or domain in domains else name.lower()


def _machines(site: Section, members: list[Member], complain: Complain) -> dict[str, str]:
    """Servers and nodes by name, as a message speaks of each."""
    found = {}
    for name in site.servers or {}:
        line = complain.line(("servers", name))
        found[name] = f"server {name} (line {line})"
    for member in members:
        found[member.name] = f"node {_owner(member, complain)}"
        for card in member.cards:
            found[f"{member.name}-{card.name}"] = f"{card.name} of {_owner(member, complain)}"
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


def _words(site: Section, layers: Iterable[Layer], complain: Complain) -> None:
    images = list(site.images or ())
    servers = list(site.servers or ())
    groups = list(site.groups or ())
    for path, layer in layers:
        kind = path[0]
        if kind == "images":
            continue
        _word(path, "image", layer.image, images, complain)
        _word(path, "server", layer.server, servers, complain)
        if kind == "nodes" and layer.groups:
            _groups((*path, "groups"), layer.groups, groups, complain)


def _word(path: Path, key: str, value: str | None, known: Names, complain: Complain) -> None:
    if value is not None and known and value not in known:
        complain((*path, key), f"unknown {key}", suggestion(value, known), value)


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
    _local_files(path, image, complain)
    _releases(path[-1], [Layer(path, image)], complain)
    if image.overlay_size and image.root not in WRITABLE:
        what, hint = f"has no effect with `root: {image.root}`", "say `root: nfs-overlay`"
        complain((*path, "overlay_size"), what, hint, f"{image.overlay_size}M")
    _root_file(path, image, complain)
    _partition_of_image(path, image, complain)


def _root_file(path: Path, image: Section, complain: Complain) -> None:
    """What is said of a root that is one file has no effect on another, and the reverse."""
    if image.root is None:
        return
    idle, hint = ["nfs"] if image.root in FETCHED else [], "leave it out, or say `root: nfs`"
    if image.root not in ROOT_FILES:
        idle = ["root_exclude", "root_modules"]
        hint = "leave it out, or let nodes have one file: `root: ram`"
    for name in image.model_fields_set.intersection(idle):
        complain((*path, name), f"has no effect with `root: {image.root}`", hint)


def _partition_of_image(path: Path, image: Section, complain: Complain) -> None:
    """The partition that keeps root files, and the kind of root that uses it, go together."""
    said = dict(_said_partitions(path, image))
    places = [here for here, part in said.items() if part and part.mount == "image"]
    if image.root == DISK and not places and None not in said.values():
        what = "disk: keeps its file on a partition, and the image's disk has none for it"
        hint = "add {mount: image, size: 1G}, of twice the file's size and more"
        complain((*path, "root"), what, hint)
    elif image.root != DISK and places:
        here = (*places[0], "mount")
        what = f"has no effect with `root: {image.root or NFS}`"
        complain(here, what, "say `root: disk`, or leave it out", "image")


def _said_partitions(path: Path, image: Section) -> Iterator[tuple[Path, Section | None]]:
    """Of all disks of an image, each with its place."""
    disks = [((*path, "disks", at), disk) for at, disk in enumerate(image.disks or ())]
    for here, disk in disks or [((*path, "disk"), image.disk)]:
        partitions = disk.partitions if disk else None
        for at, part in enumerate(partitions or ()):
            yield (*here, "partitions", at), part


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


def _local_files(path: Path, image: Section, complain: Complain) -> None:
    """Each stands once, and none in the folder of another; files that nodes fill are such, too."""
    files = list(image.local_files or ())
    places: list[Path] = [(*path, "local_files", at) for at in range(len(files))]
    for name in image.node_files or {}:
        files.append(name)
        places.append((*path, "node_files", name))
    for at, file in enumerate(files):
        if not file:
            continue
        above = _above(file, files)
        if above is None and file in files[:at]:
            above = file
        if above:
            what = f"lies in {above}, which is listed too"
            complain(places[at], what, "keep one of them", file)


def _above(file: str, files: Names) -> str | None:
    """The first of those that `file` lies in."""
    for other in files:
        if other and file.startswith(other + "/"):
            return other
    return None


# Settings of nodes: image, groups, node


LOOKED_AT = {"disk", "disks", "cmdline", "release", "management", "arch", "loader"}


def _settings(site: Section, complain: Complain) -> None:
    """What layers come to together; nodes of the same layers are looked at once."""
    seen = set()
    for key, node in _given(site.nodes):
        kind = (node.image, tuple(node.groups or ()))
        own = node.model_fields_set & LOOKED_AT
        if kind in seen and not own:
            continue
        seen.add(kind)
        image = resolve.image_of(site, node)
        if image and image in (site.images or {}):
            layers = _layers_of(site, key, node)
            _releases(image, layers, complain)
            _arch(Layer(("images", image), site.images[image]), layers, complain)
            _together(site, image, layers, complain)
            _management([Layer((), site), *layers], complain)
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
    _node_disks([Layer(("images", image), base), *layers], complain)


def _arch(image: Layer, layers: list[Layer], complain: Complain) -> None:
    """Nodes run images for their processors, and ARM has no BIOS."""
    if image.said is None or image.said.arch is None:
        return
    arch, name = image.said.arch, image.path[-1]
    for path, layer in layers:
        if "arch" in layer.model_fields_set and layer.arch not in (None, arch):
            what = f"{layer.arch}, and its image {name} is for {arch}"
            complain((*path, "arch"), what, f"name an image with `arch: {layer.arch}`")
    loaders = [layer for layer in (image, *layers) if layer.said.loader]
    if arch == ARM64 and loaders and loaders[-1].said.loader == "pxelinux":
        what = "pxelinux is for BIOS, which arm64 has not"
        complain((*loaders[-1].path, "loader"), what, "say grub, shim or ipxe", "pxelinux")


def _releases(image: str, layers: list[Layer], complain: Complain) -> None:
    for path, layer in layers:
        of, _, _ = (layer.release or "").rpartition("-")
        if layer.release and layer.release != NEWEST and of != image:
            what = f"not a release of image {image}"
            hint = f"write {image}-<12 hex digits>, as `doit status` lists them"
            complain((*path, "release"), what, hint, layer.release)


# Disks

SaidDisk = tuple[Path, "Section"]  # where it stands, and what it says
Given = dict[str, tuple[Path, Any]]


def _node_disks(layers: list[Layer], complain: Complain) -> None:
    """What an image and the layers over it make of a node's disks."""
    several = None
    for layer in layers:
        if layer.said.disks:
            several = layer
        elif several and layer.said.disk:
            what = f"disk over disks of {'.'.join(map(str, several.path))}"
            complain((*layer.path, "disk"), what, "write all of them again, as disks", key=True)
    if several is None:
        said = [((*layer.path, "disk"), layer.said.disk) for layer in layers if layer.said.disk]
        _layout(said, complain)


def _layout(layers: list[SaidDisk], complain: Complain) -> None:
    """What layers make of one layout."""
    given: Given = {}
    for path, disk in layers:
        for key in ("table", "partitions", "devices", "raid"):
            value = getattr(disk, key)
            if value:
                given[key] = ((*path, key), value)
    _, table = given.get("table", ((), "gpt"))
    if table == "dos" and "partitions" in given:
        _dos(*given["partitions"], complain)
    if "raid" in given:
        _raid(given, complain)


def _dos(path: Path, partitions: Partitions, complain: Complain) -> None:
    """An MS-DOS partition table holds four partitions and ends at 2 TiB."""
    if len(partitions) > 4:
        what = f"{len(partitions)} partitions in a dos table, which holds 4"
        complain(path, what, "use fewer, or table: gpt")
    if sum(part.size or 0 for part in partitions if part) > 2 * 2**20:
        complain(path, "more than 2 TiB in a dos table", "use table: gpt")


def _raid(given: Given, complain: Complain) -> None:
    """A RAID set needs a table that its kernel reads, and as many disks as it has."""
    path, raid = given["raid"]
    _, table = given.get("table", ((), "gpt"))
    if table == "dos":
        complain(path, "a RAID set with a dos table", "use table: gpt")
    place, partitions = given.get("partitions", ((), []))
    for at, part in enumerate(partitions):
        if part and part.mount == "image":
            what = "root files in a RAID set, which no initrd starts"
            complain(
                (*place, at, "mount"), what, "give image a disk of its own, by disks:", "image"
            )
    _, devices = given.get("devices", ((), Disk().devices))
    is_pattern = any(re.search(r"[*?]", device or "*") for device in devices)
    if raid.devices and not is_pattern and len(devices) < raid.devices:
        what = f"a RAID set of {raid.devices} disks, and devices: names {len(devices)}"
        complain((*path, "devices"), what, "name as many, or a pattern", raid.devices)


# Management

NEEDED = ("protocol", "user", "password")
OF_PROTOCOL = {"redfish": ("ca", "verify", "system"), "ipmi": ("cipher", "efi")}


def _management(layers: list[Layer], complain: Complain) -> None:
    """How the BMC of a node is reached: of each key the last layer that says it counts."""
    said: dict[str, Any] = {}
    places: dict[str, Path] = {}  # in the order in which they count
    for path, layer in layers:
        part = layer.management
        for name in part.model_fields_set if part else ():
            places.pop(name, None)
            said[name], places[name] = getattr(part, name), (*path, "management", name)
    for name in NEEDED:
        if said and name not in said:
            last = list(places.values())[-1][:-1]
            complain(last, f"{name}: required", f"add {name}:, here or in another layer", key=True)
    _without_effect(said, places, complain)


def _without_effect(said: Parts, places: dict[str, Path], complain: Complain) -> None:
    """What is said beside, or over, that by which it can have none; what that was laid over may."""
    protocol = said.get("protocol")
    useless = []
    for of, names in OF_PROTOCOL.items():
        if protocol and protocol != of:
            useless += [(name, "protocol", protocol) for name in names]
    if said.get("verify") is False and protocol == "redfish":
        useless.append(("ca", "verify", "false"))
    order = list(places)
    for name, by, value in useless:
        beside = places.get(name, ())[:-1] == places[by][:-1]
        if name in said and (beside or order.index(name) > order.index(by)):
            complain(places[name], f"has no effect with `{by}: {value}`", "leave it out", key=True)


def _bmcs(site: Section, layers: Iterable[Layer], complain: Complain) -> None:
    """Each layer's comes from one place, and some node has the interface that is named."""
    cards = {name for _, node in _given(site.nodes) for name in node.interfaces or ()}
    for path, layer in (Layer((), site), *layers):
        part = getattr(layer, "management", None)
        if not part:
            continue
        here = (*path, "management")
        if part.password and len(part.password.model_fields_set) != 1:
            given = ", ".join(sorted(part.password.model_fields_set)) or "none"
            what = f"names no place, or several: {given}"
            complain((*here, "password"), what, "give exactly one of file, command, env", key=True)
        if part.model_fields_set and (part.interface or BMC) not in cards:
            hint = f"give nodes interfaces: {{{part.interface or BMC}: {{ip: …}}}}"
            complain(here, f"no node has an interface {part.interface or BMC}", hint, key=True)


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


def _mounts(
    path: Path, partitions: Partitions, complain: Complain, seen: tuple[Names, Names] | None = None
) -> None:
    """No mount point and no label twice; `seen`: those of other disks."""
    mounts, labels = seen or ([], [])
    for at, part in enumerate(partitions):
        mount = part and _mount(part)
        if not part or not mount:
            continue
        label = part.label or resolve.layout_label(mount, part.fs or "")
        if mount in mounts and mount != "swap":
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
    if part.mount == "image":
        _of_images(path, part, complain)
    elif "fs" not in part.model_fields_set:
        complain(path, "fs: required", "ext3, ext4, xfs or swap")
    if part.fs == "swap":
        _unmounted(path, part, "swap", complain)
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


def _of_images(path: Path, part: Section, complain: Complain) -> None:
    _unmounted(path, part, "image", complain)
    if part.fs and part.fs != "ext4":
        complain((*path, "fs"), "the partition of images is ext4", "leave it out", part.fs)


def _unmounted(path: Path, part: Section, kind: str, complain: Complain) -> None:
    """What is no folder of the node's is not filled, nor looks like one."""
    if part.fill:
        complain((*path, "fill"), f"{kind} cannot be filled", "leave it out", part.fill)
    for field in ("options", "mode"):
        if field in part.model_fields_set:
            what = f"{kind} is not mounted"
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


def _deploy(site: Section, complain: Complain) -> None:
    if site.deploy is not None:
        _places(site.deploy, complain)
        _http_root(site.deploy, complain)
        _files(site.deploy.files or {}, site.outputs or [], complain)


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


def _places(deploy: Section, complain: Complain) -> None:
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


# Trust


def _signatures(site: Section, members: list[Member], folder: str, complain: Complain) -> None:
    _trust(site.trust, folder, complain)
    if site.trust:
        _unsigned_wipes(site, complain)
    _signed_images(site, members, complain)


def _trust(trust: Section | None, folder: str, complain: Complain) -> None:
    names = trust and trust.key or ()
    for at, name in enumerate(names):
        there = resolve.resolve_node(folder, name) if name else ""
        if there and not EXISTS["public key"](there):
            what, hint = _missing("public key", there)
            if os.path.isfile(there):
                hint = "name the file that ssh-keygen calls .pub, never the private one"
            path = ("trust", "key", at) if len(names) > 1 else ("trust", "key")
            complain(path, what, hint, name)
    _certificate(trust and trust.secure_boot, folder, complain)


def _certificate(said: Section | None, folder: str, complain: Complain) -> None:
    name = said and said.certificate
    there = resolve.resolve_node(folder, name) if name else ""
    if there and not EXISTS["certificate"](there):
        what, hint = _missing("certificate", there)
        if os.path.isfile(there):
            hint = "name a file in PEM: -----BEGIN CERTIFICATE-----"
        complain(("trust", "secure_boot", "certificate"), what, hint, name)


def _signed_images(site: Section, members: list[Member], complain: Complain) -> None:
    """Images that are one signed file: whose key, and what their nodes cannot have besides."""
    images = {name for name, image in _given(site.images) if image.loader == UKI}
    if images:
        _signed_alike(site, images, complain)
    unsigned: dict[Path, str] = {}
    tagged: set[str] = set()
    subnets = subnets_of(site)
    for member in members if images else ():
        if resolve.image_of(site, member.said) in images:
            layers = _signed_layers(site, member)
            unsigned |= _unsigned_words(layers)
            tagged |= {subnets.name_of(member.ip)} if layers and member.ip else set()
    for path, value in unsigned.items():
        hint = "say it of the image, whose command line is signed, or give `loader:` there, too"
        complain(path, f"has no effect with `loader: {UKI}`", hint, value)
    _untagged(site, tagged, complain)


def _untagged(site: Section, networks: set[str], complain: Complain) -> None:
    """A signed command line is the same in all networks, and names no VLAN."""
    for name, network in networks_of(site).items():
        if network and network.tagged and name in networks:
            what = f"has no effect on nodes with `loader: {UKI}`"
            hint = "have the switch tag their ports, or give them another `loader:`"
            complain((*path_of(site, name), "tagged"), what, hint, key=True)


def _signed_alike(site: Section, images: set[str], complain: Complain) -> None:
    """There is a key, and one file will do for all servers."""
    if not (site.trust and site.trust.secure_boot):
        hint = "name a certificate: `trust: {secure_boot: {certificate: site.crt}}`"
        for name in sorted(images):
            complain(("images", name, "loader"), "nobody signs it", hint, UKI)
    filers = {server.nfs_server for _, server in _given(site.servers)}
    if len(filers) > 1:
        hint = "give all servers the same: one signed file is for all of them"
        complain(("servers",), f"several nfs_server, with `loader: {UKI}`", hint, key=True)


def _signed_layers(site: Section, member: Member) -> dict[Path, Section]:
    """What says something of a node that boots a signed file; none if that names a loader."""
    groups = site.groups or {}
    layers = {("groups", name): groups.get(name) for name in member.said.groups or ()}
    layers[("nodes", member.key)] = member.said
    given = {path: layer for path, layer in layers.items() if layer is not None}
    return {} if any(layer.loader for layer in given.values()) else given


def _unsigned_words(layers: dict[Path, Section]) -> dict[Path, str]:
    """Where they give it kernel arguments: a signed file has its own alone."""
    found = {}
    for path, layer in layers.items():
        for key in layer.model_fields_set & {"cmdline", "interface"}:
            found[(*path, key)] = getattr(layer, key)
    return found


def _unsigned_wipes(site: Section, complain: Complain) -> None:
    """Where site data is signed, nobody has signed the kernel command line."""
    for kind in ("images", "groups", "nodes"):
        for name, said in _given(getattr(site, kind)):
            if "plugnode.wipe=" in (said.cmdline or ""):
                what = "plugnode.wipe= counts for nothing where `trust:` has site data signed"
                complain((kind, name, "cmdline"), what, "say `wipe: TOKEN` of the nodes or a group")


# Secrets


def _secrets(site: Section, complain: Complain) -> None:
    places: dict[str, str] = {}  # on nodes -> the name of whose it is
    for name, secret in _given(site.secrets):
        path = ("secrets", name)
        _secret_source((*path, "from"), getattr(secret, "from"), complain)
        _groups((*path, "groups"), secret.groups or [], list(site.groups or {}), complain)
        if secret.to:
            what = _taken(secret.to, places) or _is_of_image(secret.to, site)
            if what:
                complain((*path, "to"), what, "give each a place of its own", f"/{secret.to}")
            places.setdefault(secret.to, name)


def _known_hosts(site: Section, complain: Complain) -> None:
    name, names = "ssh_known_hosts", site.outputs or []
    if name in names and site.ssh_host_keys != KEPT:
        path = ("outputs", names.index(name))
        complain(path, "nodes make their own keys", "write ssh_host_keys: kept", name)


def _taken(place: str, places: dict[str, str]) -> str:
    """That another secret lies there, above or below; "" where none does."""
    for other, name in places.items():
        if place == other or place.startswith(f"{other}/") or other.startswith(f"{place}/"):
            return f"{name} lies at /{other}"
    return ""


def _is_of_image(place: str, site: Section) -> str:
    for name, image in _given(site.images):
        if place in {*(image.local_files or ()), *(image.node_files or {})}:
            return f"image {name} has it among the files that are a node's own"
    return ""


def _secret_source(path: Path, source: Section | None, complain: Complain) -> None:
    if source and bool(source.file) == bool(source.command):
        what = "names both" if source.file else "names no source"
        complain(path, what, "give one of file: and command:")


def _store(site: Section, folder: str, complain: Complain) -> None:
    """There is one where it is needed, and no server and no node is given what is in it."""
    if not site.secrets_store:
        what = "needs a secrets_store"
        hint = "name a folder: `secrets_store: /etc/plugnode/secrets`"
        if site.secrets:
            complain(("secrets",), what, hint, key=True)
        elif site.ssh_host_keys == KEPT:
            complain(("ssh_host_keys",), what, hint)
        return
    place = resolve.resolve_node(folder, site.secrets_store)
    public = ["overlays", "templates"]
    if site.deploy:
        public += filter(None, (getattr(site.deploy, name) for name in SERVED))
    for other in public:
        both = place, resolve.resolve_node(folder, other)
        if os.path.commonpath(both) in both:
            what = f"it and {other} lie in one another"
            complain(("secrets_store",), what, "give it a folder of its own", site.secrets_store)


SERVED = ("tftp_root", "nfs_root", "http_root")


# Files of the cluster


def _outputs(site: Section, complain: Complain) -> None:
    names = site.outputs or []
    for at, name in enumerate(names):
        if name and name in names[:at]:
            complain(("outputs", at), "output listed twice", "keep one of them", name)
    domains = [network and network.domain for network in networks_of(site).values()]
    if "dns" in names and domains and not any(domains):
        path = ("outputs", names.index("dns"))
        complain(path, "zones are of a domain", "give a network its domain:", "dns")
    for at, name in enumerate(names):
        if name in OF_BMC and not _has_bmcs(site):
            what, hint = "no node has a BMC", f"give nodes interfaces: {{{BMC}: {{ip: …}}}}"
            complain(("outputs", at), what, hint, name)


def _has_bmcs(site: Section) -> bool:
    """Whether a node has an address by a name that some `management` says, or the usual one."""
    names = {BMC}
    for layer in (site, *dict(_given(site.groups)).values(), *dict(_given(site.nodes)).values()):
        if layer.management and layer.management.interface:
            names.add(layer.management.interface)
    for _, node in _given(site.nodes):
        for name, card in _given(node.interfaces):
            if name in names and card.ip:
                return True
    return False


def _files(files: Parts, chosen: Names, complain: Complain) -> None:
    """Each is of an output that is generated, and lies where its program looks."""
    owners: dict[str, str] = {}
    for name, place in _given(files):
        path = ("deploy", "files", name)
        output = output_of(name)
        if output is None:
            complain(path, "no output", suggestion(name, chosen), name, key=True)
        elif output.word not in chosen:
            what = f"{output.word} is not generated"
            complain(path, what, f"add {output.word} to outputs:", key=True)
        else:
            _file_of(output, name, place, complain)
        other = owners.setdefault(place, name)
        if other != name and not place.endswith("/"):
            complain(path, f"{other} is put there, too", "give each a file of its own", place)


def _file_of(output: Output, name: str, place: str, complain: Complain) -> None:
    path = ("deploy", "files", name)
    if name == output.word and not is_whole(output) and not place.endswith("/"):
        what = f"{name} has several files"
        complain(path, what, "name a folder, with a slash at its end", place)
    elif not may_lie(output, place):
        where = " or ".join((*output.places, *ANYWHERE))
        complain(path, f"{output.word} has no files there", f"{where} can be used", place)
