"""Every path below the build folder, spelled once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..core.base.files import read
from ..core.image.source import ImageSource, settings_for
from ..core.release import Release, parse_release
from ..core.site.keys import INITRD, ROOT
from ..core.site.model import Image
from ..core.store.paths import BOOT_FILES
from .settings import NOTED, settings

if TYPE_CHECKING:
    from ..core.checkout.staged import StagedPaths


OF_RELEASES = f"tftp/{BOOT_FILES}".rstrip("/")  # below build/configs: the files that name a release


def _built(image: Image, name: str) -> str:
    """A file of the image's own folder."""
    return settings().path(image.name, name)


def _noted(image: Image, kind: str) -> str:
    """What the build keeps of the image for itself: private, and no output."""
    return settings().path(NOTED, f"{image.name}.{kind}")


def config(name: str) -> str:
    return settings().path("configs", name)


def site_img() -> str:
    return settings().path("site.img")


def templates() -> tuple[str, ...]:
    """Folders of templates, the site's own first."""
    return templates_of(settings().folders)


def templates_of(folders: Iterable[str]) -> tuple[str, ...]:
    paths = [os.path.join(folder, "templates") for folder in folders]
    return tuple(filter(os.path.isdir, paths))


def index_of(image: Image) -> str:
    """What the last scan of the reference knows of each file.

    Images that are made of one snapshot share it.
    """
    if is_read_in_place(image):
        return _noted(image, "index")
    from ..core.reference.snapshot import INDEX

    return os.path.join(snapshot_of(image), INDEX)


def state_of(image: Image) -> str:
    """What was decided about an image."""
    return _noted(image, "json")


def results_path(name: str) -> str:
    return settings().path(f"{name}.json")


def initrd_of(image: Image) -> str:
    return _built(image, "initrd.img")


def kernel_of(image: Image) -> str:
    return _built(image, "vmlinuz")


def facts_of(image: Image) -> str:
    """What was found out on the way: kind of the initrd, kernel's version, modules."""
    return _built(image, "initrd.json")


def root_file_of(image: Image) -> str:
    """What was found out of its root file: kind, size, hashes."""
    return _built(image, "root_file.json")


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


def snapshot(image: Image) -> list[str]:
    """The file that says which snapshot an image is made of; a folder read in place has none."""
    return [] if is_read_in_place(image) else [pulled(image)]


def root_source(image: Image) -> ImageSource:
    """All that the image's root is made of."""
    return source(ROOT, image)


def initrd_source(image: Image) -> ImageSource:
    """All that its initrd is made of besides."""
    return source(INITRD, image)


def source(made: str, image: Image) -> ImageSource:
    return ImageSource(
        made,
        settings_for(made, image),
        tree_of(image),
        is_read_in_place(image),
        index_of(image),
        settings().folders,
        settings().site,
    )


def release_of(image: Image) -> str:
    return _built(image, "release.json")


def read_release(image: Image) -> Release:
    return parse_release(read(release_of(image)))


def page() -> str:
    return settings().path("report.html")


def timings_of() -> str:
    return settings().path("boot", "timings.json")


def manifest_of(image: Image) -> str:
    return _built(image, "root.mtree")


def xattrs_of(image: Image) -> str:
    return _built(image, "root.xattrs")


def notes_of(image: Image) -> str:
    return _built(image, "notes.json")


def parts_of(image: Image) -> str:
    """A manifest of all in the root that its initrd can be made of."""
    return _noted(image, "parts")


def place_of(image: Image) -> StagedPaths:
    from ..core.checkout import staged

    return staged.staged_paths(settings().path(image.name))
