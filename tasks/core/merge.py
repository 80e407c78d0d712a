"""From `site.yaml` as written to the frozen values of `site`: defaults filled in, groups merged, nodes one by one.

Merging: image, then groups in the order listed, then node; scalars and lists replace, `cmdline` appends.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import site as out
from .grammar import number
from .nodes import Member

if TYPE_CHECKING:
    from . import models

Needs = tuple[tuple[str, tuple[str, ...]], ...]  # ("folder" | "file", any of these paths)


def site(said: models.Site, members: list[Member], folder: str) -> out.Site:
    """The site's values. `folder` is the site file's: relative paths count from it."""
    network = said.network
    images = tuple(_image(name, image, folder) for name, image in said.images.items())
    nodes = _Nodes(said, images).all(members)
    deploy = out.Deploy(**dict(said.deploy))
    servers = tuple(out.Server(name, server.ip, server.ssh) for name, server in said.servers.items())
    net = out.Network(network.subnet, network.gateway, tuple(network.dns), network.domain, tuple(network.ntp))
    parts: list[Any] = [net, *servers, *images, deploy]
    fingerprint = _fingerprint([said.site, *parts], nodes)
    return out.Site(said.site, net, servers, images, deploy, fingerprint, lambda: nodes)


def needs(said: models.Site, folder: str, folders: tuple[str, ...]) -> Needs:
    """What must exist on this machine for the site to be right."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for image in said.images.values():
        found += [("folder", tuple(f"{place}/overlays/{name}" for place in folders)) for name in image.overlays]
        found += [(kind, (resolve(folder, path),)) for _, kind, path in files(image)]
    return tuple(found)


THERE = {"folder": os.path.isdir, "file": os.path.isfile}


def files(image: models.Image) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What an image needs of this machine: (place in the image, "folder" | "file", path as written).

    Not an absolute loader: the boot server has it, the machine that checks a site need not.
    """
    if image.reference and image.reference.path:
        yield ("reference", "path"), "folder", image.reference.path
    if image.reference and image.reference.archive:
        yield ("reference", "archive"), "file", image.reference.archive
    loaders: dict[str, Any] = image.loaders or {}
    for name, path in loaders.items():
        if path and not path.startswith("/"):
            yield ("loaders", name), "file", path
    for field in ("base", "busybox"):
        path = getattr(image.initrd, field, None) or ""
        if "/" in path:
            yield ("initrd", field), "file", path


def resolve(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(os.path.abspath(folder), path))


def overlays_in(folders: Iterable[str]) -> list[str]:
    """The names of all overlays that can be listed."""
    names: set[str] = set()
    for folder in folders:
        if os.path.isdir(f"{folder}/overlays"):
            names |= {entry.name for entry in os.scandir(f"{folder}/overlays") if entry.is_dir()}
    return sorted(names)


# Images


def _image(name: str, said: models.Image, folder: str) -> out.Image:
    def where(path: str) -> str:
        return resolve(folder, path) if "/" in path else path

    initrd = said.initrd
    return out.Image(
        name=name,
        reference=_reference(said.reference, folder),
        exclude=tuple(said.exclude),
        overlays=tuple(said.overlays),
        kernel=said.kernel,
        initrd=out.Initrd(where(initrd.base), tuple(initrd.modules), where(initrd.busybox), initrd.compression),
        cmdline=said.cmdline,
        interface=said.interface,
        disk=_disk(out.Disk(), said.disk),
        local_files=_optional(said.local_files),
        keep=tuple(said.keep),
        loaders=tuple((file, resolve(folder, path)) for file, path in sorted(said.loaders.items())),
        also=_optional(said.also),
    )


def _optional(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _reference(said: models.Reference, folder: str) -> out.Reference:
    if said.bootstrap:
        new = said.bootstrap
        return out.Reference("bootstrap", suite=new.suite, packages=tuple(new.packages), mirror=new.mirror)
    if said.rsync:
        return out.Reference("rsync", said.rsync)
    kind = "path" if said.path else "archive"
    return out.Reference(kind, resolve(folder, getattr(said, kind)))


# Disks


def _disk(below: out.Disk, said: models.Disk | None) -> out.Disk:
    """`said` over the settings `below` it."""
    if said is None:
        return below
    given: dict[str, Any] = {field: getattr(said, field) for field in said.model_fields_set}
    if "devices" in given:
        given["devices"] = tuple(given["devices"])
    if "partitions" in given:
        given["partitions"] = tuple(map(_partition, given["partitions"]))
    if "match" in given:
        given["match"] = below.match._replace(**given["match"].model_dump(exclude_unset=True))
    return below._replace(**given) if given else below


def _partition(said: models.Partition) -> out.Partition:
    mount = said.mount or "swap"
    fill = said.fill or ("/var.ro" if mount == "/var" else None)
    named = said.label or label(mount, said.fs)
    return out.Partition(mount, said.size or None, said.fs, named, fill, said.options, said.mode)


def label(mount: str, fs: str) -> str:
    """`pn-var-lib`; where the file system takes no label of that length (xfs 12, ext 16), its last folder's name."""
    longest = 12 if fs == "xfs" else 16
    whole = "pn-" + mount.strip("/").replace("/", "-").replace("@", "").replace("+", "")
    return whole if len(whole) <= longest else ("pn-" + os.path.basename(mount))[:longest]


# Nodes


def image_of(said: models.Site, node: models.Node) -> str | None:
    """The image that a node runs: its own, else of the last group that names one, else the only one there is."""
    if node.image:
        return str(node.image)
    for name in reversed(node.groups or ()):
        group = said.groups.get(name) if said.groups and name else None
        if group and group.image:
            return str(group.image)
    return next(iter(said.images)) if said.images and len(said.images) == 1 else None


class _Nodes:
    """Makes nodes; what only depends on image and groups is worked out once."""

    def __init__(self, said: models.Site, images: tuple[out.Image, ...]):
        self.said = said
        self.images = {image.name: image for image in images}
        self.layouts: dict[out.Disk, str] = {}
        self.taken: set[str] = set()  # the names of layouts
        for image in images:
            self.layout(image.disk, image.name)
        self.shared = functools.lru_cache(None)(self._shared)

    def all(self, members: list[Member]) -> tuple[out.Node, ...]:
        return tuple(map(self.node, sorted(members, key=lambda member: number(str(member.ip)))))

    def node(self, member: Member) -> out.Node:
        said = member.said
        plain = self.shared(image_of(self.said, said) or "", tuple(said.groups))
        own = self._over(plain, said, member.name) if said.model_fields_set & SETTINGS else plain
        return out.Node(member.name, member.mac, member.ip, **own)  # type: ignore[arg-type]

    def _shared(self, image: str, groups: tuple[str, ...]) -> dict[str, Any]:
        base = self.images[image]
        plain: dict[str, Any] = {"image": image, "groups": groups, "interface": base.interface, "disk": base.disk}
        plain["layout"] = self.layouts[base.disk]
        for name in groups:
            plain = self._over(plain, self.said.groups[name], name)
        return plain

    def _over(self, below: dict[str, Any], said: models.Group, name: str) -> dict[str, Any]:
        given = {field: getattr(said, field) for field in said.model_fields_set & SCALARS}
        disk = _disk(below["disk"], said.disk)
        cmdline = " ".join(filter(None, (below.get("cmdline"), said.cmdline)))
        return {**below, **given, "cmdline": cmdline, "disk": disk, "layout": self.layout(disk, name)}

    def layout(self, disk: out.Disk, name: str) -> str:
        """The name of a disk's layout: of the image, group or node that first asks for it."""
        if disk not in self.layouts:
            words = itertools.chain([name], (f"{name}-{at}" for at in itertools.count(2)))
            self.layouts[disk] = next(word for word in words if word not in self.taken)
            self.taken.add(self.layouts[disk])
        return self.layouts[disk]


SCALARS = frozenset(("interface", "server", "release", "wipe"))
SETTINGS = SCALARS | {"cmdline", "disk"}


def _fingerprint(head: list[Any], nodes: tuple[out.Node, ...]) -> str:
    disks = {node.layout: node.disk for node in nodes}
    rows = [[node.name, node.mac, node.ip, node.image, node.groups, node.cmdline, node.interface, node.layout,
             node.server, node.release, node.wipe] for node in nodes]  # fmt: skip
    value = [head, disks, rows]
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
