"""What servers, loaders and nodes read.

site.yaml ──> Site ──┬─ templates/ ──> build/configs/  dhcpd.conf, kea-dhcp4.json, …, hosts, tftp/
                     └─ hosts ───────> build/site.img  who the nodes are, as a second initrd
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

from .base.paths import OF_RELEASES, config, site_img, templates
from .base.rule import Reads, Writes, rule
from .base.settings import settings, site
from .core.base.files import content, mirror, read, write_atomic
from .core.site.model import Site


@lru_cache(maxsize=None)
def templates_digest() -> str:
    digest = hashlib.sha256()
    for folder in templates():
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.isfile(path):  # what else is there is refused
                digest.update(os.fsencode(name) + b"\0" + read(path) + b"\0")
    return digest.hexdigest()


def task_configs():
    """render the configuration files of DHCP, NFS and TFTP servers, of loaders, and hosts"""
    where = settings().path("configs")
    return rule(
        None,
        render,
        site(),
        reads=Reads(given=templates_digest),
        writes=Writes([config("hosts")], leaves=[where], fills=(where, OF_RELEASES)),
    )


def render(wanted: Site) -> list[str]:
    return mirror(settings().path("configs"), rendered(wanted), besides=OF_RELEASES)


@lru_cache(maxsize=None)
def rendered(wanted: Site) -> dict[str, bytes]:
    """The generated files of a site that name no release: path below build/configs -> bytes."""
    from .core.cluster.files import render_outputs
    from .core.config.render import render_configs

    files = render_configs(wanted, templates())
    return files | render_outputs(wanted, templates(), generated)


def generated(path: str) -> bytes | None:
    """A file as an earlier build left it."""
    return content(settings().path("configs", path))


def task_site_image():
    """pack who the nodes are into build/site.img"""
    return rule(
        None,
        pack,
        site(),
        reads=Reads([config("hosts"), *node_templates()]),
        writes=Writes([site_img()]),
    )


def pack(wanted: Site) -> None:
    from .core.config.site_image import site_image
    from .core.config.site_image import site_img as packed

    files = site_image(wanted, read(config("hosts")), read_here)
    write_atomic(site_img(), packed(files))


def node_templates() -> list[str]:
    """The templates of files that nodes fill."""
    found = [pair for image in site().images for pair in image.node_files]
    return sorted({path for _, path in found})


def read_here(path: str) -> bytes:
    """A template. Raises BadInput where it leads out of the site: all nodes get what is in it."""
    from .core.base.overlays import refuse_outside

    refuse_outside(path, settings().folders)
    return read(path)
