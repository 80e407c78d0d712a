"""Disk layouts against roots: a node's disk may be its own, the root is its image's, and cannot be written on a node.

examine ── build/.noted/<image>.offers ──> accept, check
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..core.base.errors import BadInput
from ..core.base.files import write_atomic
from ..core.site.model import Disk, Image
from .console import say
from .paths import offers_of
from .settings import settings, site

if TYPE_CHECKING:
    from ..core.rootfs.disks import DiskSupport
    from ..core.tree.model import Tree


OFFERS = {"folders": [str], "programs": [str], "bytes": {str: int}}  # see core/offers.py


def note_offers(image: Image, tree: Tree | None) -> None:
    """`tree` is None where the root cannot be."""
    from ..core.rootfs.disks import disk_support

    write_atomic(offers_of(image), json.dumps(disk_support(tree) if tree else None).encode())


def note_grown(image: Image, by: dict[bytes, int]) -> None:
    """What the root had for disks, when files of it have become larger."""
    from ..core.rootfs.disks import grown_support

    if has := read_offers(image):
        write_atomic(offers_of(image), json.dumps(grown_support(has, by)).encode())


def read_offers(image: Image) -> DiskSupport | None:
    from ..core.base.build_state import load_kept_json

    known: DiskSupport | None = load_kept_json(offers_of(image), OFFERS, say)
    return known


def refuse_layouts() -> None:
    """A partition that cannot be mounted or filled would leave its nodes in memory."""
    from ..core.rootfs.disks import disk_problems
    from ..core.site.strict_yaml import YamlSource

    found = [
        ((kind, layout, "disk"), f"on image {image.name}: {text}" if kind != "images" else text)
        for kind, layout, image, disk in used()
        if (has := read_offers(image))
        for text in disk_problems(has, disk)
    ]
    if found:
        source = YamlSource(settings().site)
        raise BadInput(source.problem(place, text, key=True) for place, text in found)


def lacking() -> list[str]:
    """Programs that disks need and a root lacks: nodes would leave such a disk alone, and run in memory."""
    from ..core.rootfs.disks import missing

    lines = {
        f"{image.name}: the root lacks {program}, which its nodes' disks need; add {package} to the reference"
        for *_, image, disk in used()
        if (has := read_offers(image))
        for program, package in missing(has, disk).items()
    }
    return sorted(lines)


def used() -> list[tuple[str, str, Image, Disk]]:
    """Every disk: "images", "groups" or "nodes", the one of them that first has it, the image used with it, itself."""
    nodes = site().nodes
    names = {node.name for node in nodes}
    own = [("images", image.name, image, image.disk) for image in site().images]
    others = {(node.layout, node.image): node.disk for node in nodes}
    pairs = [(layout, site().image(name), disk) for (layout, name), disk in others.items()]
    return own + [
        ("nodes" if layout in names else "groups", layout, image, disk)
        for layout, image, disk in pairs
        if disk != image.disk
    ]
