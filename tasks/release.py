"""What runs, named by what it is.

root.mtree ─┐
root.xattrs ┤
root.erofs ─┤ (of nodes that fetch their root)
initrd.img ─┼──> build/<image>/release.json ──┬──> build/configs/tftp/plugnode/<image>.cfg …
vmlinuz ────┘                      site.img ──┘
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any, NamedTuple

from .base.desired import build_of
from .base.paths import BuildPaths, read_release
from .base.rule import Aside, Reads, Writes, remove, rule
from .base.settings import build_paths, site
from .configs import templates_digest
from .core.base.files import content, digest_file, mirror, write_atomic
from .core.release import ROOT_FILE_NAMES, Release, id_of
from .core.site.model import Image, Server, Site
from .core.store.paths import BOOT_FILES
from .root_file import has_root_file


class Said(NamedTuple):
    """What the site says of an image that its release is named by."""

    name: str
    cmdline: str
    nfs: str
    root_kind: str


def task_release():
    """name each image's release by its content"""
    paths = build_paths()
    for image in site().images:
        yield rule(
            image.name,
            name,
            paths,
            Aside(image),
            Said(image.name, image.arguments, image.nfs_words, image.root),
            reads=Reads(parts(image, paths)),
            writes=Writes([paths.release(image)]),
        )


def parts(image: Image, paths: BuildPaths) -> list[str]:
    """The files that its release is named by; the digest of hooks.img is in its facts."""
    root = paths.manifest(image), paths.xattrs(image)
    files = [*root, paths.initrd(image), paths.kernel(image), paths.initrd_facts(image)]
    return [*files, paths.root_file(image)] if has_root_file(image) else files


def name(paths: BuildPaths, of: Aside, said: Said) -> None:
    """Write the release of an image; of all that the site says of it only that is in it."""
    from .core.tree import mtree

    image: Image = of.value
    entries, size = mtree.size_of(content(paths.manifest(image)) or b"")
    root, xattrs, initrd, kernel = map(digest_file, parts(image, paths)[:4])
    unnamed = Release(
        id="",
        image=said.name,
        cmdline=said.cmdline,
        root=root,
        xattrs=xattrs,
        initrd=initrd,
        kernel=kernel,
        entries=entries,
        bytes=size,
        nfs=said.nfs,
        **of_initrd(paths, image),
        **root_file(paths, image, said.root_kind),
    )
    release = unnamed._replace(id=id_of(unnamed))
    write_atomic(paths.release(image), release.dump())


def of_initrd(paths: BuildPaths, image: Image) -> dict[str, Any]:
    """What a release says of its initrd."""
    facts = read_facts(paths.initrd_facts(image))
    return {
        "kernel_version": facts["kernel_version"],
        "network_root": facts["kind"],
        "hooks": facts.get("hooks", ""),
        "keys": facts.get("keys", ""),
    }


def root_file(paths: BuildPaths, image: Image, root_kind: str) -> dict[str, Any]:
    """What a release says of its root file; nothing where it has none."""
    if not has_root_file(image):
        return {}
    with open(paths.root_file(image)) as text:
        made = json.load(text)
    return {
        "root_kind": root_kind,
        "root_name": made["name"],
        "root_file": made["sha256"],
        "root_bytes": made["bytes"],
        "verity": made["verity"],
        "verity_blocks": made["verity_blocks"],
    }


def read_facts(path: str) -> dict[str, str]:
    with open(path) as text:
        found: dict[str, str] = json.load(text)
    return found


def task_boot_files():
    """write the loaders' files that name a release and the site data"""
    paths, wanted = build_paths(), site()
    files = [*map(paths.release, wanted.images), paths.site_img]
    return rule(
        None,
        write_boot_files,
        wanted,
        paths,
        reads=Reads(files, partial(templates_digest, paths.folders)),
        writes=Writes(fills=(paths.boot_files, "")),
    )


def write_boot_files(wanted: Site, paths: BuildPaths) -> list[str]:
    """Write one server's files as they are served; those of several each in a folder of its own."""
    files: dict[str, bytes] = {}
    for server in wanted.servers:
        below = "" if len(wanted.servers) == 1 else f"{server.name}/"
        for path, data in boot_files(wanted, paths, server).items():
            files[below + path.removeprefix(BOOT_FILES)] = data
    forget_removed(wanted, paths)
    return mirror(paths.boot_files, files)


def boot_files(wanted: Site, paths: BuildPaths, server: Server) -> dict[str, bytes]:
    """Every image's boot files for one server: `plugnode/<image>.cfg` and its kin -> bytes."""
    from .core.config.boot_files import BootLabel

    build = build_of(wanted, paths)
    files: dict[str, bytes] = {}
    for image in wanted.images:
        release = read_release(paths.release(image))
        files |= build.boot_files(server, BootLabel(image.name, release, build.site_id))
    return files


def forget_removed(wanted: Site, paths: BuildPaths) -> None:
    """Remove what was built of images that the site no longer has: a root is gigabytes."""
    names = {image.name for image in wanted.images}
    with os.scandir(paths.build) as found:
        folders = [each for each in found if each.is_dir(follow_symlinks=False)]
    others = [folder.path for folder in folders if folder.name not in names]
    remove(list(filter(is_of_image, others)))
    for image in wanted.images:
        if not has_root_file(image):
            remove([paths.path(image.name, name) for name in (*ROOT_FILE_NAMES, "root_file.json")])


def is_of_image(folder: str) -> bool:
    """Whether an image was built in a folder, or was begun to be."""
    signs = "root.mtree", "root.index"  # the second is there first
    return any(os.path.exists(os.path.join(folder, sign)) for sign in signs)
