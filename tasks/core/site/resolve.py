"""From `site.yaml` as written to the values of `model`: defaults filled in, nodes one by one.

Merging: site and image, then groups in the order listed, then node. How is said by each row.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from . import model
from .keys import APPEND, KEYWISE, LOWEST, ListOf, MapOf, OneOrList, PathHere, Row, rows
from .networks.subnets import networks_of, subnets_of
from .nodes import PLAIN, Card, Member
from .schema import Section, SiteKeys
from .values import NEWEST, number

Sections = dict[str, "Section"]
Names = tuple[str, ...]
Need = tuple[str, tuple[str, ...]]  # ("folder" | "file", any of these paths)
Needs = tuple[Need, ...]
Settings = dict[str, Any]  # of a node, by field
Values = TypeVar("Values")
Kind = Callable[..., Values]
Nodes = tuple[model.Node, ...]


def resolve_site(said: Section, members: list[Member], folder: str) -> model.Site:
    """The site's values. `folder` is the site file's: relative paths count from it."""
    made = _Values(folder)
    networks = made.named(model.Network, networks_of(said))
    servers = made.named(model.Server, said.servers)
    more = _optional(said, made)
    deploy = made.values(model.Deploy, said.deploy)
    images = _of_site(made.named(model.Image, said.images), networks, deploy, more)
    nodes = _Nodes(said, images, made).all(members)
    head = [said.site, *networks, *servers, *images, deploy, *filter(None, more.values())]
    return model.Site(
        said.site,
        networks[0],
        servers,
        images,
        deploy,
        fingerprint=_fingerprint(head, nodes),
        read_nodes=lambda: nodes,
        more_networks=networks[1:],
        **more,
    )


def _optional(said: Section, made: _Values) -> dict[str, Any]:
    """What a site need not have; what it has not is no part of its fingerprint."""
    return {
        "hosts": _hosts(said.hosts),
        "outputs": tuple(said.outputs),
        "trust": made.value(model.Trust, said.trust),
        "upgrade": made.value(model.Upgrade, said.upgrade),
        "secrets": made.secrets(said.secrets),
        "secrets_store": made.value(PathHere(), said.secrets_store),
        "ssh_host_keys": said.ssh_host_keys.replace("own", ""),
    }


def _of_site(
    images: tuple[model.Image, ...],
    networks: Iterable[model.Network],
    deploy: model.Deploy,
    more: Mapping[str, Any],
) -> tuple[model.Image, ...]:
    """The images, each with what the site needs of all of them: an image goes by no node.

    The places of all secrets; VLANs, where a network is tagged; the keys that the site trusts; and
    without what is served.
    """
    tags = any(network.tagged for network in networks)
    places = [(secret.to, secret.on_disk) for secret in more["secrets"]]
    if more["ssh_host_keys"]:
        places += [(place, False) for place in model.HOST_KEYS]
    given: dict[str, Any] = {
        "secret_places": tuple(sorted(places)),
        "signers": more["trust"].key if more["trust"] else (),
        "tags": tags,
    }
    return tuple(_without_served(image, deploy)._replace(**given) for image in images)


def _without_served(image: model.Image, deploy: model.Deploy) -> model.Image:
    """No root holds what this machine serves, as that of `path: /` would: release in release."""
    if image.reference.kind != "path":
        return image
    served = []
    for root in (deploy.tftp_root, deploy.nfs_root, deploy.http_root):
        inside = os.path.relpath(root, image.reference.where)
        if not inside.startswith(os.pardir):
            served.append(f"/{inside}")  # of plain letters
    return image._replace(exclude=(*served, *image.exclude))


def _hosts(said: dict[str, list[str]]) -> tuple[tuple[str, Names], ...]:
    """Each address once, with its names in the order written: the first is the canonical name."""
    names: dict[str, dict[str, None]] = {}
    for name, addresses in said.items():
        for address in addresses:
            names.setdefault(address, {})[name] = None
    return tuple((address, tuple(given)) for address, given in names.items())


def needs(said: Section, folder: str, folders: Names) -> Needs:
    """What must exist on this machine for the site to be right."""
    found: list[Need] = []
    for image in said.images.values():
        for name in image.overlays:
            places = tuple(f"{place}/overlays/{name}" for place in folders)
            found.append(("folder", places))
        for file in files(image):
            path = resolve_node(folder, file.path)
            found.append((file.kind, (path,)))
    for name in said.trust.key if said.trust else ():
        found.append(("public key", (resolve_node(folder, name),)))
    if said.trust and said.trust.secure_boot:
        path = resolve_node(folder, said.trust.secure_boot.certificate)
        found.append(("certificate", (path,)))
    return tuple(found)


class File(NamedTuple):
    """What an image needs of this machine."""

    place: Names  # in the image
    kind: str  # one of EXISTS
    path: str  # as written


def files(image: Section) -> Iterator[File]:
    """What an image needs of this machine.

    An absolute loader may be missing: the boot server has it, the machine that checks a site need
    not. Of what is there, all nodes would get it.
    """
    reference = image.reference
    if reference and reference.path:
        yield File(("reference", "path"), "folder", reference.path)
    if reference and reference.archive:
        yield File(("reference", "archive"), "file", reference.archive)
    loaders: dict[str, str | None] = image.loaders or {}
    for name, path in loaders.items():
        if path:
            kind = "loader, if any" if path.startswith("/") else "loader"
            yield File(("loaders", name), kind, path)
    for name, path in (image.node_files or {}).items():
        if path:
            yield File(("node_files", name), "file", path)
    for field in ("base", "busybox"):
        path = getattr(image.initrd, field, None)
        if path and "/" in path:
            yield File(("initrd", field), "file", path)


def resolve_node(folder: str, path: str) -> str:
    whole = os.path.join(os.path.abspath(folder), path)
    return os.path.normpath(whole)


def overlays_in(folders: Iterable[str]) -> list[str]:
    """The names of all overlays that can be listed."""
    names: set[str] = set()
    for folder in folders:
        place = f"{folder}/overlays"
        if os.path.isdir(place):
            names |= {entry.name for entry in os.scandir(place) if entry.is_dir()}
    return sorted(names)


# Values of what is written


class _Values:
    """Makes values of what is written in a site file of `folder`, as the rows of its keys say."""

    def __init__(self, folder: str):
        self.folder = folder

    def named(self, kind: Kind[Values], said: Mapping[str, Any]) -> tuple[Values, ...]:
        """The values of parts that have names, in the order of the file."""
        found = []
        for name, part in said.items():
            found.append(self.values(kind, part, name=name))
        return tuple(found)

    def values(self, kind: Kind[Values], said: Section, **known: Any) -> Values:
        """The values of a mapping, key by key; `known` are those that have no key."""
        for name, row in rows(kind).items():
            written = getattr(said, name)
            if row.key.merge == KEYWISE:
                known[name] = self.over(row.default, written)
            else:
                known[name] = self.value(row.key.kind, written)
        if kind is model.Server and not known["ip"]:
            known["ip"] = next(iter(said.addresses.values()))
        return kind(**known)

    def value(self, kind: Any, written: Any) -> Any:
        """The value of what is written: nothing in it can be changed, paths are absolute."""
        if written is None:
            return None
        if isinstance(kind, (ListOf, OneOrList)):
            return tuple(self.value(kind.each, each) for each in written)
        if isinstance(kind, MapOf):
            pairs = sorted(written.items())
            return tuple((name, self.value(kind.each, each)) for name, each in pairs)
        if isinstance(kind, PathHere):
            return resolve_node(self.folder, written) if kind.is_path(written) else written
        if kind is model.Reference:
            return self.reference(written)
        if kind is model.Partition:
            return self.partition(written)
        if kind is model.Disk:
            return self.over(model.Disk(), written)
        if isinstance(kind, type):
            return self.values(kind, written)
        return written

    def over(self, below: Any, said: Section | None) -> Any:
        """`said` over the values `below` it: those keys that it gives."""
        if said is None or not said.model_fields_set:
            return below
        keys = rows(type(below))
        given = {}
        for name in said.model_fields_set:
            first = getattr(below, name)
            given[name] = self.merged(keys[name], first, said)
        return below._replace(**given)

    def merged(self, row: Row, below: Any, said: Section) -> Any:
        """A setting of one layer over that of the layers below it."""
        written = getattr(said, row.name)
        if row.key.merge == KEYWISE and isinstance(row.key.kind, MapOf):
            return self.value(row.key.kind, {**dict(below), **written})
        if row.key.merge == KEYWISE:
            return self.over(below, written)
        given = self.value(row.key.kind, written)
        return appended(below, given) if row.key.merge == APPEND else given

    def reference(self, said: Section) -> model.Reference:
        if said.bootstrap:
            new = said.bootstrap
            return model.Reference(
                kind="bootstrap",
                suite=new.suite,
                packages=tuple(new.packages),
                mirror=new.mirror,
            )
        if said.rsync:
            return model.Reference("rsync", said.rsync)
        if said.oci:
            is_here = said.oci.startswith((".", "/"))
            return model.Reference(
                "oci", resolve_node(self.folder, said.oci) if is_here else said.oci
            )
        kind = "path" if said.path else "archive"
        where = resolve_node(self.folder, getattr(said, kind))
        return model.Reference(kind, where)

    def secrets(self, said: Mapping[str, Section]) -> tuple[model.Secret, ...]:
        """Each secret, by its name's order."""
        found = []
        for name, secret in sorted(said.items()):
            source = self.values(model.SecretSource, getattr(secret, "from"))
            made = model.Secret(name, secret.to, source, secret.owner, secret.mode)
            groups = tuple(secret.groups)
            found.append(made._replace(groups=groups, on_disk=secret.on_disk))
        return tuple(found)

    def partition(self, said: Section) -> model.Partition:
        plain = self.values(model.Partition, said)
        mount = plain.mount or "swap"
        fs = plain.fs or "ext4"
        filled = "/var.ro" if mount == "/var" else None
        return plain._replace(
            mount=mount,
            size=plain.size or None,
            fs=fs,
            label=plain.label or layout_label(mount, fs),
            fill=plain.fill or filled,
        )


def appended(below: Any, given: Any) -> Any:
    """A list after a list, words after words."""
    if isinstance(below, tuple):
        return below + given
    words = (below, given)
    return " ".join(filter(None, words))


def layout_label(mount: str, fs: str) -> str:
    """`pn-var-lib`; its last folder's name where the file system takes no label of that length."""
    longest = 12 if fs == "xfs" else 16
    words = mount.strip("/").replace("/", "-")
    whole = "pn-" + re.sub("[@+]", "", words)
    if len(whole) <= longest:
        return whole
    last = "pn-" + os.path.basename(mount)
    return last[:longest]


# Nodes


def image_of(said: Section, node: Section) -> str | None:
    """The image that a node runs: its own, that of its last group that has one, or the only one."""
    return _image_of(said, node.image, node.groups or ())


def _image_of(said: Section, own: str | None, names: Sequence[str]) -> str | None:
    if own:
        return str(own)
    groups = said.groups or {}
    for name in reversed(names):
        group = groups.get(name)
        if group and group.image:
            return str(group.image)
    images: list[str] = list(said.images or ())
    return images[0] if len(images) == 1 else None


SETTINGS = rows(model.Node)
LAYERED = {name for name, row in SETTINGS.items() if row.key.merge != LOWEST}
SHORT = PLAIN | {"macs"}  # what a node of a range says that says no more
OF_SITE = LAYERED & rows(SiteKeys).keys()  # settings whose first layer is the site


class _Nodes:
    """Makes nodes; what only depends on image and groups is worked out once."""

    def __init__(self, said: Section, images: Iterable[model.Image], made: _Values):
        self.said = said
        self.made = made
        self.images = {image.name: image for image in images}
        self.layouts: dict[tuple[model.Disk, ...], str] = {}
        self.taken: set[str] = set()  # the names of layouts
        for image in images:
            self.layout(model.layouts_of(image), image.name)
        self.shared = functools.lru_cache(None)(self._shared)
        self.common = functools.lru_cache(None)(self._common)
        self.subnets = subnets_of(said)

    def all(self, members: Iterable[Member]) -> Nodes:
        in_order = sorted(members, key=_address)
        return tuple(map(self.node, in_order))

    def node(self, member: Member) -> model.Node:
        said = member.said
        common = self.common(said.image, tuple(said.groups), self.network(member.ip))
        if len(member.macs) == 1 and said.model_fields_set <= SHORT:
            own = (member.name, member.macs[0], member.ip or "")
            return model.Node._make((*own, *common[len(own) :]))
        settings = common._asdict()
        if said.model_fields_set & LAYERED:
            settings = self._over(settings, said, member.name)
        return _node({**settings, **self._own(member)})

    def _own(self, member: Member) -> Settings:
        """What is a node's alone."""
        macs = member.macs or (model.Mac(""),)
        return {
            "name": member.name,
            "mac": macs[0],
            "ip": member.ip or "",
            "more_macs": macs[1:],
            "interfaces": tuple(map(self.interface, member.cards)),
            "guid": member.guid or "",
            "client_id": member.said.client_id or "",
            "circuit_id": member.said.circuit_id or "",
            "ip6": member.ip6 or "",
            "aliases": member.aliases,
        }

    def _common(self, image: str | None, groups: Names, network: str) -> model.Node:
        """What nodes of a network have in common that say nothing else: all but their addresses."""
        settings = self.shared(image, groups)
        own = {"name": "", "mac": model.Mac(""), "ip": "", "network": network}
        return _node({**settings, **own})

    def network(self, ip: str | None) -> str:
        """The name of the network that an address lies in."""
        return (ip and self.subnets.name_of(ip)) or ""

    def interface(self, card: Card) -> model.Interface:
        return model.Interface(
            card.name,
            card.said.network or self.network(card.ip),
            card.said.configure,
            self.made.value(model.Bond, card.said.bond),
            card.ip or "",
            card.mac or model.Mac(""),
            card.guid or "",
            card.ip6 or "",
        )

    def _shared(self, own: str | None, groups: Names) -> Settings:
        """The settings of nodes that say nothing but an image and groups."""
        image = _image_of(self.said, own, groups) or ""
        settings = self._of_image(image)
        settings["groups"] = groups
        for name in groups:
            group = self.said.groups[name]
            settings = self._over(settings, group, name)
        return settings

    def _of_image(self, name: str) -> Settings:
        """What an image's nodes begin with: defaults, and what the image says of them."""
        image = self.images[name]
        settings: Settings = {"image": name}
        settings["layout"] = self.layouts[model.layouts_of(image)]
        for field in LAYERED:
            settings[field] = self._first(SETTINGS[field], image)
        return settings

    def _first(self, row: Row, image: model.Image) -> Any:
        """What the site or an image says.

        Of an image its value, or what is written where the values have no use for it.
        """
        if row.name in OF_SITE:
            return self.made.merged(row, row.default, self.said)
        if not row.key.of_image:
            return row.default
        if row.name in image._fields:
            return getattr(image, row.name)
        said = self.said.images[image.name]
        if row.name not in said.model_fields_set:
            return row.default
        return self.made.merged(row, row.default, said)

    def _over(self, below: Settings, said: Section, name: str) -> Settings:
        """The settings of a group or node of that name, over those `below` it."""
        settings = dict(below)
        for field in said.model_fields_set & LAYERED:
            row = SETTINGS[field]
            settings[field] = self.made.merged(row, below[field], said)
        disks = settings["disks"] or (settings["disk"],)
        settings["layout"] = self.layout(disks, name)
        return settings

    def layout(self, disks: tuple[model.Disk, ...], name: str) -> str:
        """The name of disks' layouts: of the image, group or node that first asks for them."""
        if disks not in self.layouts:
            word, at = name, 1
            while word in self.taken:
                at += 1
                word = f"{name}-{at}"
            self.layouts[disks] = word
            self.taken.add(word)
        return self.layouts[disks]


def _node(settings: Settings) -> model.Node:
    release = settings["release"]
    return model.Node(**{**settings, "release": None if release == NEWEST else release})


def _address(member: Member) -> int:
    return number(str(member.ip))


def _fingerprint(head: list[Any], nodes: Nodes) -> str:
    """A digest of all values; what all nodes have alike, and disks that many have, once."""
    disks = {node.layout: model.layouts_of(node) for node in nodes}
    columns = zip(model.Node._fields, zip(*nodes))
    others = [_alike(values) for field, values in columns if field not in ("disk", "disks")]
    value = [head, disks, len(nodes), *others]
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _alike(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """What all nodes have of a field; the only value, where there is but one."""
    return values[:1] if values.count(values[0]) == len(values) else values
