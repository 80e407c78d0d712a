"""From `site.yaml` as written to the frozen values of `site`: defaults filled in, groups merged, nodes one by one.

Merging: image, then groups in the order listed, then node. How each setting is merged says its row (`keys`).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from . import site as out
from .grammar import number
from .keys import APPEND, KEYWISE, LOWEST, Here, Key, ListOf, MapOf, rows
from .nodes import Member

if TYPE_CHECKING:
    from .models import Section

Needs = tuple[tuple[str, tuple[str, ...]], ...]  # ("folder" | "file", any of these paths)
Values = TypeVar("Values")


def site(said: Section, members: list[Member], folder: str) -> out.Site:
    """The site's values. `folder` is the site file's: relative paths count from it."""
    network = values(out.Network, said.network, folder)
    servers = named(out.Server, said.servers, folder)
    images = named(out.Image, said.images, folder)
    deploy = values(out.Deploy, said.deploy, folder)
    nodes = _Nodes(said, images, folder).all(members)
    head = [said.site, network, *servers, *images, deploy]
    return out.Site(
        name=said.site,
        network=network,
        servers=servers,
        images=images,
        deploy=deploy,
        fingerprint=_fingerprint(head, nodes),
        read_nodes=lambda: nodes,
    )


def needs(said: Section, folder: str, folders: tuple[str, ...]) -> Needs:
    """What must exist on this machine for the site to be right."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for image in said.images.values():
        for name in image.overlays:
            places = tuple(f"{place}/overlays/{name}" for place in folders)
            found.append(("folder", places))
        for _, kind, path in files(image):
            found.append((kind, (resolve(folder, path),)))
    return tuple(found)


THERE = {"folder": os.path.isdir, "file": os.path.isfile}


def files(image: Section) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What an image needs of this machine: (place in the image, "folder" | "file", path as written).

    Not an absolute loader: the boot server has it, the machine that checks a site need not.
    """
    reference = image.reference
    if reference and reference.path:
        yield ("reference", "path"), "folder", reference.path
    if reference and reference.archive:
        yield ("reference", "archive"), "file", reference.archive
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


# Values of what is written


def named(kind: Callable[..., Values], said: dict[str, Section], folder: str) -> tuple[Values, ...]:
    """The values of parts that have names, in the order of the file."""
    return tuple(values(kind, part, folder, name=name) for name, part in said.items())


def values(kind: Callable[..., Values], said: Section, folder: str, **known: Any) -> Values:
    """The values of a mapping, field by field as their rows say; `known` are those that have no key."""
    for row in rows(kind).values():
        written = getattr(said, row.name)
        if row.key.merge == KEYWISE:
            known[row.name] = over(row.default, written, folder)
        else:
            known[row.name] = value(row.key.kind, written, folder)
    return kind(**known)


def value(kind: Any, written: Any, folder: str) -> Any:
    """The value of what is written: nothing that can be changed in it, its paths absolute."""
    if written is None:
        return None
    if isinstance(kind, ListOf):
        return tuple(value(kind.each, each, folder) for each in written)
    if isinstance(kind, MapOf):
        pairs = sorted(written.items())
        return tuple((name, value(kind.each, each, folder)) for name, each in pairs)
    if isinstance(kind, Here):
        return written if written in kind.words else resolve(folder, written)
    if kind in OWN:
        return OWN[kind](written, folder)
    if isinstance(kind, type):
        return values(kind, written, folder)
    return written


def over(below: Any, said: Section | None, folder: str) -> Any:
    """`said` over the values `below` it, of the keys that it gives."""
    if said is None or not said.model_fields_set:
        return below
    found = rows(type(below))
    given = {}
    for name in said.model_fields_set:
        given[name] = merged(found[name].key, getattr(below, name), getattr(said, name), folder)
    return below._replace(**given)


def merged(key: Key, below: Any, written: Any, folder: str) -> Any:
    """A setting of one layer over that of the layers below it."""
    if key.merge == KEYWISE:
        return over(below, written, folder)
    if key.merge == APPEND:
        return " ".join(filter(None, (below, written)))
    return value(key.kind, written, folder)


def _reference(said: Section, folder: str) -> out.Reference:
    if said.bootstrap:
        return out.Reference("bootstrap", **dict(said.bootstrap) | {"packages": tuple(said.bootstrap.packages)})
    if said.rsync:
        return out.Reference("rsync", said.rsync)
    kind = "path" if said.path else "archive"
    return out.Reference(kind, resolve(folder, getattr(said, kind)))


def _partition(said: Section, folder: str) -> out.Partition:
    plain = values(out.Partition, said, folder)
    mount = plain.mount or "swap"
    return plain._replace(
        mount=mount,
        size=plain.size or None,
        label=plain.label or label(mount, plain.fs),
        fill=plain.fill or ("/var.ro" if mount == "/var" else None),
    )


OWN: dict[type, Callable[[Section, str], Any]] = {out.Reference: _reference, out.Partition: _partition}


def label(mount: str, fs: str) -> str:
    """`pn-var-lib`; where the file system takes no label of that length (xfs 12, ext 16), its last folder's name."""
    longest = 12 if fs == "xfs" else 16
    whole = "pn-" + mount.strip("/").replace("/", "-").replace("@", "").replace("+", "")
    return whole if len(whole) <= longest else ("pn-" + os.path.basename(mount))[:longest]


# Nodes


def image_of(said: Section, node: Section) -> str | None:
    """The image that a node runs: its own, else of the last group that names one, else the only one there is."""
    if node.image:
        return str(node.image)
    for name in reversed(node.groups or ()):
        group = said.groups.get(name) if said.groups and name else None
        if group and group.image:
            return str(group.image)
    only = said.images and len(said.images) == 1
    return next(iter(said.images)) if only else None


SETTINGS = rows(out.Node)
LAYERED = frozenset(name for name, row in SETTINGS.items() if row.key.merge != LOWEST)


class _Nodes:
    """Makes nodes; what only depends on image and groups is worked out once."""

    def __init__(self, said: Section, images: tuple[out.Image, ...], folder: str):
        self.said = said
        self.folder = folder
        self.images = {image.name: image for image in images}
        self.layouts: dict[out.Disk, str] = {}
        self.taken: set[str] = set()  # the names of layouts
        for image in images:
            self.layout(image.disk, image.name)
        self.shared = functools.lru_cache(None)(self._shared)

    def all(self, members: list[Member]) -> tuple[out.Node, ...]:
        in_order = sorted(members, key=lambda member: number(str(member.ip)))
        return tuple(map(self.node, in_order))

    def node(self, member: Member) -> out.Node:
        said = member.said
        image = image_of(self.said, said) or ""
        settings = self.shared(image, tuple(said.groups))
        if said.model_fields_set & LAYERED:
            settings = self._over(settings, said, member.name)
        return out.Node(member.name, member.mac, member.ip, **settings)  # type: ignore[arg-type]

    def _shared(self, image: str, groups: tuple[str, ...]) -> dict[str, Any]:
        """The settings of nodes that say nothing themselves."""
        settings = self._of_image(image)
        settings["groups"] = groups
        for name in groups:
            settings = self._over(settings, self.said.groups[name], name)
        return settings

    def _of_image(self, name: str) -> dict[str, Any]:
        """What an image's nodes begin with: a setting that the image has, too, is first what that says."""
        image = self.images[name]
        first = {field: SETTINGS[field].default for field in LAYERED}
        for field in LAYERED:
            if SETTINGS[field].key.of_image:
                first[field] = self._said_of(image, field)
        return {**first, "image": name, "layout": self.layouts[image.disk]}

    def _said_of(self, image: out.Image, field: str) -> Any:
        """A setting of an image: of its values, or as written where those have no use for it."""
        if field in image._fields:
            return getattr(image, field)
        row, said = SETTINGS[field], self.said.images[image.name]
        if field not in said.model_fields_set:
            return row.default
        return merged(row.key, row.default, getattr(said, field), self.folder)

    def _over(self, below: dict[str, Any], said: Section, name: str) -> dict[str, Any]:
        """The settings of a group or node of that name, over those `below` it."""
        settings = dict(below)
        for field in said.model_fields_set & LAYERED:
            key = SETTINGS[field].key
            settings[field] = merged(key, below[field], getattr(said, field), self.folder)
        settings["layout"] = self.layout(settings["disk"], name)
        return settings

    def layout(self, disk: out.Disk, name: str) -> str:
        """The name of a disk's layout: of the image, group or node that first asks for it."""
        if disk not in self.layouts:
            more = (f"{name}-{at}" for at in itertools.count(2))
            words = itertools.chain([name], more)
            self.layouts[disk] = next(word for word in words if word not in self.taken)
            self.taken.add(self.layouts[disk])
        return self.layouts[disk]


def _fingerprint(head: list[Any], nodes: tuple[out.Node, ...]) -> str:
    disks = {node.layout: node.disk for node in nodes}
    of_disk = out.Node._fields.index("disk")
    rows_of = [(*node[:of_disk], *node[of_disk + 1 :]) for node in nodes]
    text = json.dumps([head, disks, rows_of], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
