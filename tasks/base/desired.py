"""What each boot server of a run's site must hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..core.release import Release
from ..core.site.model import Server, Site
from ..core.store.paths import Targets
from .options import LOADERS
from .paths import BuildPaths
from .settings import Run

if TYPE_CHECKING:
    from ..core.desired.build import Build
    from ..core.plan.state import Desired


def targets(run: Run) -> Targets:
    """This machine's targets, below `destdir=` where that is given."""
    destdir, roots = run.settings.destdir, run.site.deploy
    if destdir:
        destdir = os.path.abspath(destdir)
    return Targets(roots.tftp_root, roots.nfs_root, destdir)


def build_of(site: Site, paths: BuildPaths) -> Build:
    """A site, as it is built there."""
    from ..core.desired.build import Build

    return Build(site, paths.build, paths.templates)


def wanted(run: Run, server: Server) -> Desired:
    """Everything that a server must hold, by the site and by what was built.

    Of releases that nodes are pinned to it adds boot files of those that it has.
    """
    from ..core.desired.build import desired_state

    build = build_of(run.site, run.paths)
    own = [built.release for built in build.releases.values()]
    return desired_state(build, server, LOADERS, own)


def boot_files_of(
    run: Run, server: Server, release: Release, label: str, data: str
) -> dict[str, bytes]:
    """A server's boot files of one release, by the image's name or the release's as `label`.

    `data` is the folder of the site data.
    """
    from ..core.config.boot_files import BootLabel

    build = build_of(run.site, run.paths)
    return build.boot_files(server, BootLabel(label, release, data))
