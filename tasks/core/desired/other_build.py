"""Another build of the site, as a server that holds exactly what that build made.

Only what `doit` leaves for everybody is read (build/<image>/, build/configs/, build/site.img), so
that the other build may be of an earlier Plugnode.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..base.files import clear, files_in, read
from ..config.boot_files import BootLabel, render_boot
from ..config.render import OF_SITE
from ..plan import state
from ..plan.actual import as_deployed
from ..release import Release, parse_release
from ..services import services
from ..services.services import Service
from ..site.model import Site
from ..store.loaders import find_loaders
from ..store.paths import BOOT_FILES, Targets
from .build import node_facts, site_id
from .daemons import desired_services

TFTP = "tftp/"  # of build/configs, what lies below tftp_root


class Build(NamedTuple):
    """A site, and the folders with what was built of it and with its templates."""

    site: Site
    folder: str
    templates: tuple[str, ...]

    def path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)

    @property
    def releases(self) -> dict[str, state.BuiltRelease]:
        """Each release by its id."""
        built: dict[str, state.BuiltRelease] = {}
        for image in self.site.images:
            release = parse_release(read(self.path(image.name, "release.json")))
            built[release.id] = state.BuiltRelease(release, self.path(image.name))
        return built


def desired_of_build(build: Build, known: Iterable[Release], roots: Iterable[str]) -> state.Desired:
    """What the first server of a site must hold.

    `known`: releases that pins may name; `roots`: where loaders are.
    """
    site, data = build.site, read(build.path("site.img"))
    folder = site_id(data)
    configs = _files(build.path("configs"))
    daemons = desired_services(site, configs, services.is_el())
    named = [pair for image in site.images for pair in image.loaders]
    return state.Desired(
        releases=tuple(build.releases.values()),
        site_id=folder,
        site_img=data,
        files={**_served(site, configs), **_pinned(build, known, folder)},
        loaders=find_loaders(roots, named),
        services=daemons,
        nodes=node_facts(site),
        by_hand=_by_hand(configs, daemons),
    )


def _by_hand(configs: Mapping[str, bytes], daemons: Iterable[Service]) -> dict[str, bytes]:
    """Generated files that an admin installs, if anybody: those that no deploy and no node does."""
    installed = {service.data for service in daemons}
    installed.add(configs["hosts"])  # in site.img
    return {name: configs[name] for name in OF_SITE if configs[name] not in installed}


NOTHING_BUILT = state.Desired(releases=(), site_id="", site_img=b"", files={}, loaders={})


def _files(folder: str) -> dict[str, bytes]:
    paths = sorted(files_in(folder))
    return {os.path.relpath(path, folder): read(path) for path in paths}


def _served(site: Site, configs: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files below tftp_root.

    Of several servers the first one's are in their places, those of others beside them.
    """
    first = f"{BOOT_FILES}{site.servers[0].name}/"
    files: dict[str, bytes] = {}
    for path, data in configs.items():
        if path.startswith(TFTP):
            name = path.removeprefix(TFTP)
            if len(site.servers) > 1:
                name = name.replace(first, BOOT_FILES)
            files[name] = data
    return files


def _pinned(build: Build, known: Iterable[Release], site_id: str) -> dict[str, bytes]:
    """Boot files of the releases that nodes are pinned to."""
    ids = {node.release for node in build.site.nodes}
    server = build.site.servers[0]
    files: dict[str, bytes] = {}
    for release in known:
        if release.id in ids:
            label = BootLabel(release.id, release, site_id)
            files |= render_boot(build.site, server, label, build.templates)
    return files


def shadow(targets: Targets, other: state.Desired, loaders: Mapping[str, str]) -> state.Actual:
    """The server that holds `other`.

    Below targets are links to what a comparison reads of its releases.
    """
    clear(targets.destdir)
    for built in other.releases:
        for path, name in _compared(targets, built.release.id).items():
            source = os.path.abspath(built.path(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(source, path)
    return as_deployed(targets, other, loaders)


def _compared(targets: Targets, id: str) -> dict[str, str]:
    """Files of a release on a server that a comparison reads -> what a build calls them."""
    return {
        targets.kept(f"{id}.mtree"): "root.mtree",
        targets.kept(f"{id}.xattrs"): "root.xattrs",
        targets.boot(id) + "/initrd.img": "initrd.img",
    }
