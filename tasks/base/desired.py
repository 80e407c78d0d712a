"""What each boot server of a run's site must hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..core.release import Release
from ..core.site.model import Server, Site
from ..core.store.paths import Targets
from .options import LOADERS
from .paths import BuildPaths
from .settings import Run

if TYPE_CHECKING:
    from ..core.desired.build import Build
    from ..core.history.releases import Asked
    from ..core.plan.state import Desired


def targets(run: Run) -> Targets:
    """This machine's targets, below `destdir=` where that is given."""
    destdir = run.settings.destdir
    return targets_below(run.site, os.path.abspath(destdir) if destdir else "")


def targets_below(site: Site, destdir: str) -> Targets:
    """Where the site is deployed below an absolute folder; "" for this machine's own root."""
    roots = site.deploy
    return Targets(roots.tftp_root, roots.nfs_root, destdir, roots.http_root)


def build_of(site: Site, paths: BuildPaths) -> Build:
    """A site, as it is built there."""
    from ..core.desired.build import Build

    return Build(site, paths.build, paths.templates)


@lru_cache(maxsize=1)
def build_of_run(run: Run) -> Build:
    """What a command finds built of its run's site, read once for all servers."""
    return build_of(run.site, run.paths)


def wanted(run: Run, server: Server) -> Desired:
    """Everything that a server must hold, by the site and by what was built.

    Of releases that nodes are pinned to it adds boot files of those that it has.
    """
    from ..core.desired.build import desired_state

    build = build_of_run(run)
    own = [built.release for built in build.releases.values()]
    desired = desired_state(build, server, LOADERS, own)
    if not run.site.has_secrets:
        return desired
    from ..core.node_secrets.of_site import served_blobs

    return replace(desired, files={**desired.files, **served_blobs(run.site)})


def boot_files_of(
    run: Run, server: Server, release: Release, label: str, site_id: str
) -> dict[str, bytes]:
    """A server's boot files of one release, by the image's name or the release's as `label`."""
    from ..core.config.boot_files import BootLabel

    build = build_of_run(run)
    return build.boot_files(server, BootLabel(label, release, site_id))


def changes_told(run: Run, asked: Asked) -> Mapping[str, Any]:
    """What changes from a server's release to another there, or to one of this build.

    Raises ValueError where it asks for what is not built.
    """
    from ..core import disclosure
    from ..core.history.sides import parse_side, read_side
    from ..core.plan.state import manifest_of_build

    if asked["new"]:
        new = parse_side(asked["new"])
    else:
        built = build_of_run(run).releases.get(asked["after"])
        if built is None:
            raise ValueError(f"it asks for {asked['after']}, which is not built here")
        root = built.path("root")
        new = read_side(manifest_of_build(built), root, asked["paths"], asked["packages"])
    keep = {image.name: image.keep for image in run.site.images}
    return disclosure.told(asked, new, keep.get(asked["image"], ()))
