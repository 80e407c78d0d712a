"""Against: another build of the site, as a server that holds exactly what that build made.

Only what `doit` leaves for everybody is read (build/<image>/, build/configs/, build/site.img), so that the other build
may be of an earlier Plugnode.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..base.files import clear, read
from ..config.boot_files import render_boot
from ..config.render import OF_SITE
from ..plan import state
from ..plan.actual import as_deployed
from ..release import Release, parse_release
from ..services import services
from ..site.model import Site
from ..store.loaders import find_loaders
from ..store.paths import BOOT_FILES, Targets
from .build import node_facts, site_id
from .daemons import desired_services


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
        folders = [self.path(image.name) for image in self.site.images]
        built = [
            state.BuiltRelease(parse_release(read(os.path.join(folder, "release.json"))), folder)
            for folder in folders
        ]
        return {one.release.id: one for one in built}


def desired_of_build(build: Build, known: Iterable[Release], roots: Iterable[str]) -> state.Desired:
    """What the first server of a site must hold. `known`: releases that pins may name; `roots`: where loaders are."""
    site, data = build.site, read(build.path("site.img"))
    configs = _files(build.path("configs"))
    daemons = desired_services(site, configs, services.is_el())
    installed = {service.data for service in daemons} | {configs["hosts"]}  # in site.img
    return state.Desired(
        releases=tuple(build.releases.values()),
        site_id=site_id(data),
        site_img=data,
        files={**_served(site, configs), **_pinned(build, known, site_id(data))},
        loaders=find_loaders(roots, [pair for image in site.images for pair in image.loaders]),
        services=daemons,
        nodes=node_facts(site),
        by_hand={name: configs[name] for name in OF_SITE if configs[name] not in installed},
    )


NOTHING_BUILT = state.Desired(releases=(), site_id="", site_img=b"", files={}, loaders={})


def _files(folder: str) -> dict[str, bytes]:
    paths = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]
    return {os.path.relpath(path, folder): read(path) for path in sorted(paths)}


def _served(site: Site, configs: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files below tftp_root. Of several servers the first one's are in their places, those of others beside them."""
    first = f"{BOOT_FILES}{site.servers[0].name}/"
    files = {
        name.removeprefix("tftp/"): data
        for name, data in configs.items()
        if name.startswith("tftp/")
    }
    return {
        name.replace(first, BOOT_FILES) if len(site.servers) > 1 else name: data
        for name, data in files.items()
    }


def _pinned(build: Build, known: Iterable[Release], site_id: str) -> dict[str, bytes]:
    ids = {node.release for node in build.site.nodes if node.release}
    files: dict[str, bytes] = {}
    for release in known:
        if release.id in ids:
            files |= render_boot(
                build.site, build.site.servers[0], release.id, release, site_id, build.templates
            )
    return files


def shadow(targets: Targets, other: state.Desired, loaders: Mapping[str, str]) -> state.Actual:
    """The server that holds `other`; below targets are links to what a comparison reads of its releases."""
    clear(targets.destdir)
    for built in other.releases:
        id = built.release.id
        links = {
            targets.kept(f"{id}.mtree"): "root.mtree", targets.kept(f"{id}.xattrs"): "root.xattrs",
            targets.boot(id) + "/initrd.img": "initrd.img",
        }  # fmt: skip
        for path, name in links.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(os.path.abspath(built.path(name)), path)
    return as_deployed(targets, other, loaders)
