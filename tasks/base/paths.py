"""Every path below the build folder, spelled once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..core.base.files import content, read
from ..core.base.ssh import public_keys
from ..core.image.source import ImageSource, settings_for
from ..core.release import HOOKS_IMG, Release, parse_release
from ..core.site.keys import INITRD, ROOT
from ..core.site.model import Image
from ..core.store.paths import BOOT_FILES
from ..core.tree.filter import literal

if TYPE_CHECKING:
    from ..core.checkout.staged import StagedPaths

NOTED = ".noted"  # below the build folder: what was found in inputs, private and no output
OF_RELEASES = f"tftp/{BOOT_FILES}".rstrip("/")  # below build/configs: the files that name a release


class BuildPaths(NamedTuple):
    """Where a run reads and writes: a value, for actions."""

    build: str  # the build folder
    site_file: str
    folders: tuple[str, ...]  # where overlays/ and templates/ are looked up, the site's own first

    @property
    def fingerprint(self) -> str:
        """Where files lie decides nothing."""
        return ""

    def path(self, *parts: str) -> str:
        """A path below the build folder."""
        return os.path.join(self.build, *parts)

    # --- of the site

    def config(self, name: str) -> str:
        return self.path("configs", name)

    @property
    def configs(self) -> str:
        return self.path("configs")

    @property
    def boot_files(self) -> str:
        """The folder of the files that name a release."""
        return self.config(OF_RELEASES)

    @property
    def site_img(self) -> str:
        return self.path("site.img")

    @property
    def hooks_img(self) -> str:
        """For releases of before, that have none of their own."""
        return self.path(HOOKS_IMG)

    @property
    def templates(self) -> tuple[str, ...]:
        """Folders of templates, the site's own first."""
        return templates_in(self.folders)

    @property
    def right_templates(self) -> str:
        """The digest of the templates that were parsed last, and were right."""
        return self.path(NOTED, "templates")

    @property
    def report(self) -> str:
        return self.path("report.html")

    @property
    def timings(self) -> str:
        """What the last boot of a virtual machine took."""
        return self.path("boot", "timings.json")

    @property
    def core_zip(self) -> str:
        """What servers that are reached by ssh are sent to run, from the last time."""
        return self.path(".core.zip")

    @property
    def known_hosts(self) -> str:
        """Nodes' ssh host keys, as each first showed them: state, that no build makes again."""
        return self.path("nodes.known_hosts")

    @property
    def noted(self) -> str:
        """The folder of what the build keeps for itself: private, and no output."""
        return self.path(NOTED)

    def results(self, name: str) -> str:
        """What a command left for the report."""
        return self.path(f"{name}.json")

    # --- of an image

    def folder(self, image: Image) -> str:
        return self.path(image.name)

    def state(self, image: Image) -> str:
        """All that the build keeps of the image for itself."""
        return self.path(NOTED, f"{image.name}.state")

    def manifest(self, image: Image) -> str:
        return self._built(image, "root.mtree")

    def xattrs(self, image: Image) -> str:
        return self._built(image, "root.xattrs")

    def notes(self, image: Image) -> str:
        return self._built(image, "notes.json")

    def initrd(self, image: Image) -> str:
        return self._built(image, "initrd.img")

    def hooks(self, image: Image) -> str:
        """What a distribution's initrd runs of ours; other images have none."""
        return self._built(image, HOOKS_IMG)

    def kernel(self, image: Image) -> str:
        return self._built(image, "vmlinuz")

    def initrd_facts(self, image: Image) -> str:
        """What was found out on the way: kind of the initrd, kernel's version, modules."""
        return self._built(image, "initrd.json")

    def root_file(self, image: Image) -> str:
        """What was found out of its root file: kind, size, hashes."""
        return self._built(image, "root_file.json")

    def release(self, image: Image) -> str:
        return self._built(image, "release.json")

    def root(self, image: Image) -> str:
        """The staged root itself."""
        return self._built(image, "root")

    def staged(self, image: Image) -> StagedPaths:
        from ..core.checkout import staged

        return staged.staged_paths(self.folder(image))

    def _built(self, image: Image, name: str) -> str:
        return self.path(image.name, name)

    # --- of its reference

    def snapshot(self, image: Image) -> str:
        """The folder of the build's own copy of a reference."""
        from ..core.reference.kinds import key

        return self.path("references", key(image))

    def pulled(self, image: Image) -> str:
        """What says that the snapshot is whole, and which one it is."""
        from ..core.reference.snapshot import COMPLETE

        return os.path.join(self.snapshot(image), COMPLETE)

    def marks(self, image: Image) -> list[str]:
        """The file that says which snapshot an image is made of; a folder in place has none."""
        return [] if is_read_in_place(image) else [self.pulled(image)]

    def root_source(self, image: Image) -> ImageSource:
        """All that the image's root is made of."""
        return self._made_of(ROOT, image)

    def initrd_source(self, image: Image) -> ImageSource:
        """All that its initrd is made of besides."""
        return self._made_of(INITRD, image)

    def _made_of(self, made: str, image: Image) -> ImageSource:
        in_place = is_read_in_place(image)
        settings = settings_for(made, image)
        if in_place:
            place = image.reference.where
            settings = settings._replace(exclude=(*self._own(place), *settings.exclude))
        else:
            place = os.path.join(self.snapshot(image), "tree")
        return ImageSource(
            made,
            settings,
            place,
            in_place,
            self.state(image),
            self.folders,
            self.site_file,
            _keys(image) if made == INITRD else (),
        )

    def _own(self, reference: str) -> list[str]:
        """The build folder, where it lies in a reference (`path: /`): it belongs to no root."""
        inside = os.path.relpath(os.path.realpath(self.build), os.path.realpath(reference))
        return [] if inside.startswith(os.pardir) else [literal(inside)]


def _keys(image: Image) -> tuple[str, ...]:
    """The public keys by which nodes of an image know site data."""
    return tuple(key for path in image.signers for key in public_keys(content(path) or b""))


def templates_in(folders: Iterable[str]) -> tuple[str, ...]:
    """The folders of templates that are there."""
    paths = [os.path.join(folder, "templates") for folder in folders]
    return tuple(filter(os.path.isdir, paths))


def is_read_in_place(image: Image) -> bool:
    """Whether the image is made of a folder of this machine, and of no snapshot."""
    from ..core.reference.kinds import kind_of

    return kind_of(image.reference).is_in_place


def read_release(file: str) -> Release:
    return parse_release(read(file))
