"""Every path below the build folder, spelled once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..core.release import Release, parse_release
from ..core.site.model import Image
from ..core.store.paths import BOOT_FILES
from .settings import NOTED, settings

if TYPE_CHECKING:
    from ..core.checkout.staged import StagedPaths


OF_RELEASES = f"tftp/{BOOT_FILES}".rstrip("/")  # below build/configs: the files that name a release


def config(name: str) -> str:
    return settings().path("configs", name)


def site_img() -> str:
    return settings().path("site.img")


def templates() -> tuple[str, ...]:
    """Folders of templates, the site's own first."""
    return tuple(
        path
        for folder in settings().folders
        if os.path.isdir(path := os.path.join(folder, "templates"))
    )


def index_of(image: Image) -> str:
    """What the last scan of the reference knows of each file: of a snapshot all images that are made of it share it."""
    if is_read_in_place(image):
        return settings().path(NOTED, f"{image.name}.index")
    from ..core.reference.snapshot import INDEX

    return os.path.join(snapshot_of(image), INDEX)


def verdict_of(image: Image) -> str:
    """The complaints about an image, none if it can be."""
    return settings().path(NOTED, f"{image.name}.verdict")


def carried_of(image: Image) -> str:
    """By what a change of the reference is known to be one of bytes alone, private."""
    return settings().path(NOTED, f"{image.name}.carried")


def results_path(name: str) -> str:
    return settings().path(f"{name}.json")


def initrd_of(image: Image) -> str:
    return settings().path(image.name, "initrd.img")


def kernel_of(image: Image) -> str:
    return settings().path(image.name, "vmlinuz")


def facts_of(image: Image) -> str:
    """What was found out on the way: kind of the initrd, kernel's version, modules."""
    return settings().path(image.name, "initrd.json")


def offers_of(image: Image) -> str:
    """What the image's root has for disks."""
    return settings().path(NOTED, f"{image.name}.offers")


def known_hosts() -> str:
    """The ssh host keys of nodes, as each first showed them: state, that no build makes again."""
    return settings().path("nodes.known_hosts")


def tree_of(image: Image) -> str:
    """The folder that is the image's reference, pulled or in place."""
    if is_read_in_place(image):
        return image.reference.where
    return os.path.join(snapshot_of(image), "tree")


def is_read_in_place(image: Image) -> bool:
    """Whether the image is made of a folder of this machine, and of no snapshot."""
    from ..core.reference.kinds import kind_of

    return kind_of(image.reference).is_in_place


def snapshot_of(image: Image) -> str:
    from ..core.reference.kinds import key

    return settings().path("references", key(image))


def pulled(image: Image) -> str:
    """What says that the snapshot is whole, and which one it is."""
    from ..core.reference.snapshot import COMPLETE

    return os.path.join(snapshot_of(image), COMPLETE)


def release_of(image: Image) -> str:
    return settings().path(image.name, "release.json")


def read_release(image: Image) -> Release:
    with open(release_of(image), "rb") as file:
        return parse_release(file.read())


def page() -> str:
    return settings().path("report.html")


def timings_of() -> str:
    return settings().path("boot", "timings.json")


def manifest_of(image: Image) -> str:
    return settings().path(image.name, "root.mtree")


def xattrs_of(image: Image) -> str:
    return settings().path(image.name, "root.xattrs")


def notes_of(image: Image) -> str:
    return settings().path(image.name, "notes.json")


def parts_of(image: Image) -> str:
    """All of the root that its initrd can be made of, as a manifest: of the rest it need not be made anew."""
    return settings().path(NOTED, f"{image.name}.parts")


def place_of(image: Image) -> StagedPaths:
    from ..core.checkout import staged

    return staged.staged_paths(settings().path(image.name))
