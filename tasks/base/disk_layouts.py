"""Disk layouts against roots: what a node's disk needs, and its image's root has or has not.

A disk may be a node's own; the root is its image's, and cannot be written on a node.

examine ── build/.noted/<image>.state ──> accept, check
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..core.base.errors import BadInput
from ..core.site.model import Disk, Image, Site, layouts_of
from .console import say
from .paths import BuildPaths

if TYPE_CHECKING:
    from ..core.rootfs.disks import DiskSupport


class UsedDisk(NamedTuple):
    """A disk of the site, and the image that is used with it."""

    kind: str  # "images" | "groups" | "nodes"
    name: str  # the one of them that first has it
    image: Image
    disk: Disk


def disks_of(image: Image, paths: BuildPaths) -> DiskSupport | None:
    """What the image's root has for disks; None where that is not known."""
    from ..core.image.state import load_state

    return load_state(paths.state(image), say).disks


def refuse_layouts(site: Site, paths: BuildPaths) -> None:
    """Refuse a partition that cannot be mounted or filled: its nodes would be left in memory."""
    from ..core.rootfs.disks import disk_problems
    from ..core.site.strict_yaml import YamlSource

    found: list[tuple[tuple[str, ...], str]] = []
    for used, has in known_disks(site, paths):
        key = (used.kind, used.name, "disk")
        start = "" if used.kind == "images" else f"on image {used.image.name}: "
        found += [(key, start + text) for text in disk_problems(has, used.disk)]
    if found:
        source = YamlSource(paths.site_file)
        raise BadInput(source.problem(key, text, key=True) for key, text in found)


def lacking(site: Site, paths: BuildPaths) -> list[str]:
    """Programs that disks need and a root lacks: nodes would leave such a disk alone."""
    from ..core.rootfs.disks import missing

    lines = set()
    for used, has in known_disks(site, paths):
        for program, package in missing(has, used.disk).items():
            what = f"the root lacks {program}, which its nodes' disks need"
            lines.add(f"{used.image.name}: {what}; add {package} to the reference")
    return sorted(lines)


def known_disks(site: Site, paths: BuildPaths) -> Iterator[tuple[UsedDisk, DiskSupport]]:
    """Every disk of the site with what the root of its image has for it, where that is known."""
    supports = {image: disks_of(image, paths) for image in site.images}
    for used in used_disks(site):
        has = supports[used.image]
        if has:
            yield used, has


def used_disks(site: Site) -> list[UsedDisk]:
    """Every disk of the site: the images' own, and those of groups and nodes that differ.

    The default disk of an image, say, is none where all nodes have other ones.
    """
    found = []
    names = {node.name for node in site.nodes}
    others = {(node.layout, node.image): layouts_of(node) for node in site.nodes}
    for image in site.images:
        of_nodes = [disks for (_, name), disks in others.items() if name == image.name]
        if layouts_of(image) in of_nodes or not of_nodes:
            found += [UsedDisk("images", image.name, image, disk) for disk in layouts_of(image)]
    for (layout, image_name), disks in others.items():
        image = site.image(image_name)
        if disks != layouts_of(image):
            kind = "nodes" if layout in names else "groups"
            found += [UsedDisk(kind, layout, image, disk) for disk in disks]
    return found
