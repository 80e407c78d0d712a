"""Another build of the site, as a server that holds exactly what that build made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..base.files import clear
from ..config.render import OF_SITE
from ..plan import state
from ..plan.actual import as_deployed
from ..release import Release
from ..services.daemon_files import Service
from ..site.model import Site
from ..store.paths import BOOT_FILES, Targets
from .build import Build, desired_state, of_tftp

NOTHING_BUILT = state.Desired(releases=(), site_id="", site_img=b"", files={}, loaders={})


def desired_of_build(build: Build, known: Iterable[Release], roots: Iterable[str]) -> state.Desired:
    """What the first server of a site must hold, with what others must beside it.

    `known`: releases that pins may name; `roots`: where loaders are.
    """
    first = desired_state(build, build.site.servers[0], roots, known)
    return replace(
        first,
        files={**_of_others(build.site, build.configs), **first.files},
        by_hand=_by_hand(build.configs, first.services),
    )


def _of_others(site: Site, configs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The boot files of each server but the first, in a folder of its name."""
    folders = tuple(f"{BOOT_FILES}{server.name}/" for server in site.servers[1:])
    files = of_tftp(configs).items()
    return {path: data for path, data in files if path.startswith(folders)}


def _by_hand(configs: Mapping[str, bytes], daemons: Iterable[Service]) -> dict[str, bytes]:
    """Generated files that an admin installs, if anybody: those that no deploy and no node does."""
    installed = {service.data for service in daemons}
    installed.add(configs["hosts"])  # in site.img
    return {name: configs[name] for name in OF_SITE if configs[name] not in installed}


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
        targets.root(id): "root",
    }
