"""What servers, loaders and nodes read.

site.yaml ──> Site ──┬─ templates/ ──> build/configs/  dhcpd.conf, kea-dhcp4.json, …, exports, hosts, tftp/
                     └─ hosts ──────> build/site.img   who the nodes are, as a second initrd
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

from .core.files import mirror, write_atomic
from .core.targets import BOOT_FILES
from .rule import rule
from .settings import settings, site


OF_RELEASES = f"tftp/{BOOT_FILES}".rstrip("/")  # below build/configs: the files that name a release


def config(name: str) -> str:
    return settings().path("configs", name)


def site_img() -> str:
    return settings().path("site.img")


def templates() -> tuple[str, ...]:
    """Folders of templates, the site's own first."""
    return tuple(path for folder in settings().folders if os.path.isdir(path := os.path.join(folder, "templates")))


@lru_cache(maxsize=None)
def templates_digest() -> str:
    digest = hashlib.sha256()
    for folder in templates():
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                digest.update(name.encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest()


def task_configs():
    """render the configuration files of DHCP, NFS and TFTP servers, of loaders, and hosts"""
    where = settings().path("configs")
    return rule(
        None, render, site().fingerprint,
        output=config("hosts"), given=templates_digest, leaves=[where], fills=(where, OF_RELEASES),
    )  # fmt: skip


def render(_: str) -> list[str]:
    return mirror(settings().path("configs"), rendered(), besides=OF_RELEASES)


@lru_cache(maxsize=None)
def rendered() -> dict[str, bytes]:
    """Every generated file of the site but those that name a release: path below build/configs -> bytes."""
    from .core.configs import render_configs
    from .core.tree import without_collection

    with without_collection():
        return render_configs(site(), templates())


def task_site_image():
    """pack who the nodes are into build/site.img"""
    return rule(None, pack, site().fingerprint, output=site_img(), inputs=[config("hosts")])


def pack(_: str) -> None:
    from .core.configs import site_image
    from .core.initrd import site_img as packed

    with open(config("hosts"), "rb") as file:
        write_atomic(site_img(), packed(site_image(site(), file.read())))
