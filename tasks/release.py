"""What runs, named by what it is.

root.mtree ─┐
root.xattrs ┤
initrd.img ─┼──> build/<image>/release.json ──┬──> build/configs/tftp/plugnode/<image>.cfg .grub .ipxe
vmlinuz ────┘                      site.img ──┘
"""

from __future__ import annotations

import hashlib
import json
import os

from .base.paths import (
    OF_RELEASES,
    config,
    facts_of,
    initrd_of,
    kernel_of,
    manifest_of,
    read_release,
    release_of,
    site_img,
    templates,
    xattrs_of,
)
from .base.rule import remove, rule
from .base.settings import settings, site
from .configs import templates_digest
from .core.base.files import digest_file, mirror, write_atomic
from .core.release import Release, release_id
from .core.site.model import Server
from .core.store.paths import BOOT_FILES


def task_release():
    """name each image's release by its content"""
    for image in site().images:
        parts = [
            manifest_of(image),
            xattrs_of(image),
            initrd_of(image),
            kernel_of(image),
            facts_of(image),
        ]
        yield rule(
            image.name, name, image.name, image.cmdline, output=release_of(image), inputs=parts
        )


def name(image_name: str, cmdline: str) -> None:
    from .core.tree import mtree

    image = site().image(image_name)
    xattrs, initrd, kernel = (
        digest_file(path(image)) for path in (xattrs_of, initrd_of, kernel_of)
    )
    with open(facts_of(image)) as text:
        facts = json.load(text)
    with open(manifest_of(image), "rb") as file:
        manifest = file.read()
    root, (entries, size) = hashlib.sha256(manifest).hexdigest(), mtree.size_of(manifest)
    release = Release(
        id=release_id(image_name, root, xattrs, initrd, kernel, cmdline), image=image_name, cmdline=cmdline,
        root=root, xattrs=xattrs, initrd=initrd, kernel=kernel, kernel_version=facts["kernel_version"],
        network_root=facts["kind"], entries=entries, bytes=size,
    )  # fmt: skip
    write_atomic(release_of(image), release.dump())


def task_boot_files():
    """write the loaders' files that name a release and the site data"""
    releases = [release_of(image) for image in site().images]
    return rule(
        None, write_boot_files, site().fingerprint,
        output=[], inputs=[*releases, site_img()], given=templates_digest, fills=(config(OF_RELEASES), ""),
    )  # fmt: skip


def write_boot_files(_: str) -> list[str]:
    """One server's files as they are served; those of several each in a folder of the server's name."""
    files: dict[str, bytes] = {}
    for server in site().servers:
        below = "" if len(site().servers) == 1 else f"{server.name}/"
        files |= {
            below + path.removeprefix(BOOT_FILES): data for path, data in boot_files(server).items()
        }
    forget_removed()
    return mirror(config(OF_RELEASES), files)


def boot_files(server: Server) -> dict[str, bytes]:
    """Every image's boot files for one server: `plugnode/<image>.cfg` and its kin -> bytes."""
    from .core.config.boot_files import BootLabel, render_boot
    from .core.desired.build import site_id

    with open(site_img(), "rb") as file:
        data = site_id(file.read())
    files: dict[str, bytes] = {}
    for image in site().images:
        label = BootLabel(image.name, read_release(image), data)
        files |= render_boot(site(), server, label, templates())
    return files


def forget_removed() -> None:
    """What was built of images that the site no longer has: a root is gigabytes, and nothing would ever remove it."""
    wanted = {image.name for image in site().images}
    with os.scandir(settings().build) as found:
        folders = [
            each.path
            for each in found
            if each.is_dir(follow_symlinks=False) and each.name not in wanted
        ]
    signs = "root.mtree", "root.index"  # the second is there first
    remove(
        [
            folder
            for folder in folders
            if any(os.path.exists(os.path.join(folder, sign)) for sign in signs)
        ]
    )
