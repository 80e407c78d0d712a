"""What runs, named by what it is.

root.mtree ─┐
root.xattrs ┤
root.erofs ─┤ (of nodes that fetch their root)
initrd.img ─┼──> build/<image>/release.json ──┬──> build/configs/tftp/plugnode/<image>.cfg …
vmlinuz ────┘                      site.img ──┘
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .base.desired import this_build
from .base.paths import (
    OF_RELEASES,
    config,
    facts_of,
    initrd_of,
    kernel_of,
    manifest_of,
    read_release,
    release_of,
    root_file_of,
    site_img,
    templates,
    xattrs_of,
)
from .base.rule import Aside, Reads, Writes, remove, rule
from .base.settings import settings, site
from .configs import templates_digest
from .core.base.files import content, digest_file, mirror, write_atomic
from .core.release import Release, id_of
from .core.site.model import Image, Server, Site
from .core.store.paths import BOOT_FILES
from .root_file import has_root_file

PARTS = (manifest_of, xattrs_of, initrd_of, kernel_of, facts_of)  # of an image: its release's


OF_ROOT_FILE = ("root.erofs", "root.squashfs", "root.verity", "root_file.json")


def task_release():
    """name each image's release by its content"""
    for image in site().images:
        yield rule(
            image.name,
            name,
            Aside(image),
            image.name,
            image.arguments,
            image.nfs_words,
            image.root,
            reads=Reads([part(image) for part in parts_of_release(image)]),
            writes=Writes([release_of(image)]),
        )


def parts_of_release(image: Image) -> tuple[Callable[[Image], str], ...]:
    return (*PARTS, root_file_of) if has_root_file(image) else PARTS


def name(of: Aside, image_name: str, cmdline: str, nfs: str, root_kind: str) -> None:
    """Write the release of the image whose files stand where `of` says."""
    from .core.tree import mtree

    image: Image = of.value
    facts, manifest = read_facts(image), content(manifest_of(image)) or b""
    entries, size = mtree.size_of(manifest)
    root = hashlib.sha256(manifest).hexdigest()
    xattrs = digest_file(xattrs_of(image))
    initrd = digest_file(initrd_of(image))
    kernel = digest_file(kernel_of(image))
    release = Release(
        id="",
        image=image_name,
        cmdline=cmdline,
        root=root,
        xattrs=xattrs,
        initrd=initrd,
        kernel=kernel,
        kernel_version=facts["kernel_version"],
        network_root=facts["kind"],
        entries=entries,
        bytes=size,
        nfs=nfs,
        **root_file(image, root_kind),
    )
    release = replace(release, id=id_of(release))
    write_atomic(release_of(image), release.dump())


def root_file(image: Image, root_kind: str) -> dict[str, Any]:
    """What a release says of its root file; nothing where it has none."""
    if not has_root_file(image):
        return {}
    with open(root_file_of(image)) as text:
        made = json.load(text)
    return {
        "root_kind": root_kind,
        "root_name": made["name"],
        "root_file": made["sha256"],
        "root_bytes": made["bytes"],
        "verity": made["verity"],
    }


def read_facts(image: Image) -> dict[str, str]:
    with open(facts_of(image)) as text:
        found: dict[str, str] = json.load(text)
    return found


def task_boot_files():
    """write the loaders' files that name a release and the site data"""
    releases = [release_of(image) for image in site().images]
    return rule(
        None,
        write_boot_files,
        site(),
        reads=Reads([*releases, site_img()], templates_digest),
        writes=Writes(fills=(config(OF_RELEASES), "")),
    )


def write_boot_files(wanted: Site) -> list[str]:
    """Write one server's files as they are served; those of several each in a folder of its own."""
    files: dict[str, bytes] = {}
    for server in wanted.servers:
        below = "" if len(wanted.servers) == 1 else f"{server.name}/"
        for path, data in boot_files(wanted, server).items():
            files[below + path.removeprefix(BOOT_FILES)] = data
    forget_removed(wanted)
    return mirror(config(OF_RELEASES), files)


def boot_files(wanted: Site, server: Server) -> dict[str, bytes]:
    """Every image's boot files for one server: `plugnode/<image>.cfg` and its kin -> bytes."""
    from .core.config.boot_files import BootLabel, render_boot

    data = this_build().site_id
    files: dict[str, bytes] = {}
    for image in wanted.images:
        label = BootLabel(image.name, read_release(image), data)
        files |= render_boot(wanted, server, label, templates())
    return files


def forget_removed(wanted: Site) -> None:
    """Remove what was built of images that the site no longer has: a root is gigabytes."""
    names = {image.name for image in wanted.images}
    with os.scandir(settings().build) as found:
        folders = [each for each in found if each.is_dir(follow_symlinks=False)]
    others = [folder.path for folder in folders if folder.name not in names]
    remove(list(filter(is_of_image, others)))
    for image in wanted.images:
        if not has_root_file(image):
            remove([settings().path(image.name, name) for name in OF_ROOT_FILE])


def is_of_image(folder: str) -> bool:
    """Whether an image was built in a folder, or was begun to be."""
    signs = "root.mtree", "root.index"  # the second is there first
    return any(os.path.exists(os.path.join(folder, sign)) for sign in signs)
