"""What each boot server of this run's site must hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..core.release import Release
from ..core.site.model import Server
from ..core.store.paths import Targets
from .options import LOADERS
from .paths import templates
from .settings import settings, site

if TYPE_CHECKING:
    from ..core.desired.build import Build
    from ..core.plan.state import Desired


def targets() -> Targets:
    """This machine's targets, below `destdir=` where that is given."""
    destdir, roots = settings().destdir, site().deploy
    if destdir:
        destdir = os.path.abspath(destdir)
    return Targets(roots.tftp_root, roots.nfs_root, destdir, roots.http_root)


def this_build() -> Build:
    """The site of this run, as it is built."""
    from ..core.desired.build import Build

    return Build(site(), settings().build, templates())


def wanted(server: Server) -> Desired:
    """Everything that a server must hold, by the site and by what was built.

    Of releases that nodes are pinned to it adds boot files of those that it has.
    """
    from ..core.desired.build import desired_state

    build = this_build()
    own = [built.release for built in build.releases.values()]
    return desired_state(build, server, LOADERS, own)


def boot_files_of(release: Release, data: str, label: str, server: Server) -> dict[str, bytes]:
    """A server's boot files of one release, by the image's name or the release's as `label`."""
    from ..core.config.boot_files import BootLabel

    return this_build().boot_files(server, BootLabel(label, release, data))
