"""What each boot server of this run's site must hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain

from ..core.release import Release
from ..core.site.model import Image, Server
from ..core.store.paths import BOOT_FILES, Targets
from .options import LOADERS
from .paths import read_release, site_img
from .results import generated
from .settings import settings, site


def targets() -> Targets:
    """This machine's targets, below `destdir=` where that is given."""
    destdir, roots = settings().destdir, site().deploy
    if destdir:
        destdir = os.path.abspath(destdir)
    return Targets(roots.tftp_root, roots.nfs_root, destdir)


def wanted(server: Server):
    """Everything that a server must hold, by the site and by what was built."""
    from ..core.desired import build, daemons
    from ..core.plan import state
    from ..core.services import services
    from ..core.store import loaders

    with open(site_img(), "rb") as file:
        data = file.read()
    configs = generated()
    id = build.site_id(data)
    named = chain.from_iterable(image.loaders for image in site().images)
    return state.Desired(
        releases=tuple(map(built, site().images)),
        site_id=id,
        site_img=data,
        files={**served(configs, server), **pinned(id, server)},
        loaders=loaders.find_loaders(LOADERS, list(named)),
        services=daemons.desired_services(site(), configs, services.is_el()),
        nodes=build.node_facts(site()),
    )


def built(image: Image):
    """An image's release, and the folder that has it."""
    from ..core.plan import state

    folder = settings().path(image.name)
    return state.BuiltRelease(read_release(image), folder)


def served(configs: dict[str, bytes], server: Server) -> dict[str, bytes]:
    """Of the generated files those that the server's TFTP daemon serves: path there -> bytes."""
    own = BOOT_FILES
    if len(site().servers) > 1:
        own += f"{server.name}/"
    files = {}
    for path, data in of_tftp(configs).items():
        if path.startswith(own):
            files[BOOT_FILES + path.removeprefix(own)] = data
        elif not path.startswith(BOOT_FILES):
            files[path] = data
    return files


def of_tftp(configs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The generated files that TFTP serves: path below tftp_root -> bytes."""
    start, files = "tftp/", {}
    for path, data in configs.items():
        if path.startswith(start):
            files[path.removeprefix(start)] = data
    return files


def pinned(data: str, server: Server) -> dict[str, bytes]:
    """Boot files of releases that nodes are pinned to, of those that are built.

    The server adds those of releases that it has.
    """
    ids = {node.release for node in site().nodes if node.release}
    files: dict[str, bytes] = {}
    for release in map(read_release, site().images) if ids else ():
        if release.id in ids:
            files |= boot_files_of(release, data, release.id, server)
    return files


def boot_files_of(release: Release, data: str, label: str, server: Server) -> dict[str, bytes]:
    """A server's boot files of one release, by the image's name or the release's as `label`."""
    from ..core.config.boot_files import BootLabel, render_boot
    from .paths import templates

    return render_boot(site(), server, BootLabel(label, release, data), templates())
