"""What a server must hold, by a site and by what was built of it.

Only what `doit` leaves for everybody is read (build/<image>/, build/configs/, build/site.img), so
that a build may be of an earlier Plugnode.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any

from ..base.boot_programs import AMD64
from ..base.files import content, files_in, read
from ..config.boot_files import BootLabel, render_boot
from ..plan.state import BuiltRelease, Desired
from ..release import HOOKS_IMG, Release, id_by, parse_release
from ..services import daemon_files
from ..site.model import Interface, Node, Server, Site
from ..store.loaders import find_loaders
from ..store.nodes import NodeFacts
from ..store.paths import BOOT_FILES
from .daemons import desired_services

TFTP = "tftp/"  # of build/configs, what lies below tftp_root


@dataclass(frozen=True)
class Build:
    """A site, and the folders with what was built of it and with its templates."""

    site: Site
    folder: str
    templates: tuple[str, ...]

    def path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)

    @cached_property
    def site_img(self) -> bytes:
        return read(self.path("site.img"))

    @property
    def hooks_img(self) -> bytes:
        """What releases of before load beside it; nothing of a build of before."""
        return content(self.path(HOOKS_IMG)) or b""

    @property
    def site_id(self) -> str:
        """The folder of its site data."""
        return site_id(self.site_img)

    @cached_property
    def releases(self) -> dict[str, BuiltRelease]:
        """Each release by its id."""
        built: dict[str, BuiltRelease] = {}
        for image in self.site.images:
            release = parse_release(read(self.path(image.name, "release.json")))
            built[release.id] = BuiltRelease(release, self.path(image.name))
        return built

    @property
    def signable(self) -> dict[str, bytes]:
        """What a site's key signs, by the id of each."""
        releases = {id: built.release.dump() for id, built in self.releases.items()}
        return {self.site_id: self.site_img, **releases}

    @cached_property
    def configs(self) -> dict[str, bytes]:
        """Every generated file: its path below build/configs -> bytes."""
        folder = self.path("configs")
        paths = sorted(files_in(folder))
        return {os.path.relpath(path, folder): read(path) for path in paths}

    def boot_files(self, server: Server, label: BootLabel) -> dict[str, bytes]:
        """A server's files of one label of `plugnode/`."""
        return render_boot(self.site, server, label, self.templates)


def desired_state(
    build: Build, server: Server, roots: Iterable[str], known: Iterable[Release]
) -> Desired:
    """Everything that a server must hold.

    `roots`: where loaders are; `known`: releases that pins may name, of those that are had.
    """
    site = build.site
    pinned = _pinned(build, server, known)
    return Desired(
        releases=tuple(build.releases.values()),
        site_id=build.site_id,
        site_img=build.site_img,
        hooks_img=build.hooks_img,
        files={**_served(build, server), **pinned},
        loaders=loaders_of(build, roots),
        services=desired_services(site, server, build.configs, daemon_files.is_el()),
        nodes=node_facts(site),
        nfs_server=server.nfs_server or "",
        archs=site.archs,
    )


def loaders_of(build: Build, roots: Iterable[str]) -> dict[str, str]:
    """Name below tftp_root -> the file to copy there, of what images name, or one of the roots has.

    Those for other processors than a PC's are in staged roots, and in no package of this machine.
    """
    images = build.site.images
    named = [pair for image in images for pair in image.loaders]
    staged = [build.path(image.name, "root") for image in images if image.arch != AMD64]
    return find_loaders([*roots, *staged], named, build.site.archs)


def _served(build: Build, server: Server) -> dict[str, bytes]:
    """Of the generated files those that the server's TFTP daemon serves: path there -> bytes."""
    own = BOOT_FILES
    if len(build.site.servers) > 1:
        own += f"{server.name}/"
    files: dict[str, bytes] = {}
    for path, data in of_tftp(build.configs).items():
        if path.startswith(own):
            files[BOOT_FILES + path.removeprefix(own)] = data
        elif not path.startswith(BOOT_FILES):
            files[path] = data
    return files


def of_tftp(configs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The generated files that TFTP serves: path below tftp_root -> bytes."""
    files: dict[str, bytes] = {}
    for path, data in configs.items():
        if path.startswith(TFTP):
            files[path.removeprefix(TFTP)] = data
    return files


def _pinned(build: Build, server: Server, known: Iterable[Release]) -> dict[str, bytes]:
    """Boot files of the releases that nodes are pinned to."""
    ids = {node.release for node in build.site.nodes}
    files: dict[str, bytes] = {}
    for release in known:
        if release.id in ids:
            files |= build.boot_files(server, BootLabel(release.id, release, build.site_id))
    return files


def site_id(site_img: bytes) -> str:
    """The folder of site data, named by its bytes: `site-0b1c2d3e4f50`."""
    digest = hashlib.sha256(site_img).hexdigest()
    return id_by("site", digest)


# What most nodes have alike
SHARED = (
    "image",
    "guid",
    "client_id",
    "circuit_id",
    "groups",
    "cmdline",
    "interface",
    "layout",
    "server",
    "release",
    "loader",
    "aliases",
    "wipe",
)
_shared = attrgetter(*SHARED)


def node_facts(site: Site) -> dict[str, NodeFacts]:
    """What a plan compares of each node: all that is not its name and not empty."""
    facts_of = lru_cache(maxsize=None)(_shared_facts)
    return {node.name: {**facts_of(_shared(node)), **_own_facts(node)} for node in site.nodes}


def _shared_facts(values: tuple[Any, ...]) -> NodeFacts:
    facts: NodeFacts = {}
    for name, value in zip(SHARED, values):
        if value:
            facts[name] = value if isinstance(value, str) else ",".join(value)
    return facts


def _own_facts(node: Node) -> NodeFacts:
    facts: NodeFacts = {"ip": node.ip}
    if node.mac:
        facts["mac"] = str(node.mac)
    if node.more_macs:
        facts["macs"] = ",".join(node.macs)
    if node.interfaces:
        facts["interfaces"] = ", ".join(map(_interface, node.interfaces))
    if node.facts:
        facts["facts"] = ", ".join(f"{name}={value}" for name, value in node.facts)
    return facts


def _interface(interface: Interface) -> str:
    """`bmc 10.82.0.1 52:54:00:12:34:56`."""
    words = (interface.name, interface.ip, interface.ip6, interface.mac, interface.guid)
    configured = "configured" if interface.configure else ""
    bond = interface.bond
    bonded = f"{bond.mode} of {'+'.join(bond.of)}" if bond else ""
    return " ".join(filter(None, (*words, configured, bonded)))
