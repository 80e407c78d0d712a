"""What each boot server of this run's site must hold."""

from __future__ import annotations

import os

from ..core.release import Release
from ..core.site.model import Server
from ..core.store.paths import BOOT_FILES, Targets
from .options import LOADERS
from .paths import read_release, site_img
from .results import generated
from .settings import settings, site


def targets() -> Targets:
    destdir = os.path.abspath(settings().destdir) if settings().destdir else ""
    return Targets(site().deploy.tftp_root, site().deploy.nfs_root, destdir)


def wanted(server: Server):
    """Everything that a server must hold, by the site and by what was built."""
    from ..core.desired import build, daemons
    from ..core.plan import state
    from ..core.services import services
    from ..core.store import loaders

    with open(site_img(), "rb") as file:
        data = file.read()
    configs = generated()
    named = [pair for image in site().images for pair in image.loaders]
    return state.Desired(
        releases=tuple(state.BuiltRelease(read_release(image), settings().path(image.name)) for image in site().images),
        site_id=build.site_id(data), site_img=data,
        files={**served(configs, server), **pinned(build.site_id(data), server)},
        loaders=loaders.find_loaders(LOADERS, named),
        services=daemons.desired_services(site(), configs, services.is_el()),
        nodes=build.node_facts(site()),
    )  # fmt: skip


def served(configs: dict[str, bytes], server: Server) -> dict[str, bytes]:
    """Of the generated files those that the server's TFTP daemon serves: path below tftp_root -> bytes."""
    files = {
        path.removeprefix("tftp/"): data
        for path, data in configs.items()
        if path.startswith("tftp/")
    }
    own = BOOT_FILES if len(site().servers) == 1 else f"{BOOT_FILES}{server.name}/"
    every = {path: data for path, data in files.items() if not path.startswith(BOOT_FILES)}
    return every | {
        BOOT_FILES + path.removeprefix(own): data
        for path, data in files.items()
        if path.startswith(own)
    }


def pinned(data: str, server: Server) -> dict[str, bytes]:
    """Boot files of releases that nodes are pinned to, of those that are built; the server adds those that it has."""
    ids = {node.release for node in site().nodes if node.release}
    files: dict[str, bytes] = {}
    for release in map(read_release, site().images) if ids else ():
        files |= boot_files_of(release, data, release.id, server) if release.id in ids else {}
    return files


def boot_files_of(release: Release, data: str, label: str, server: Server) -> dict[str, bytes]:
    from ..core.config.boot_files import BootLabel, render_boot
    from .paths import templates

    return render_boot(site(), server, BootLabel(label, release, data), templates())
