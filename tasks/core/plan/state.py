"""What a server holds and what it shall hold, as values."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ..base.boot_programs import AMD64
from ..checkout import staged
from .. import site_data
from ..release import HOOKS_IMG, Release
from ..services.exports import NONE, Export, ExportsFound, exports_of, site_of
from ..services.daemon_files import Service
from ..store import journal
from ..store.nodes import NodeFacts
from ..store.paths import BOOT_FILES, Targets
from ..store.served import served_size
from ..trust.signatures import NOBODY, Trusted
from ..tree.manifest import Manifest, read_manifest
from ..tree.model import Tree


@dataclass(frozen=True)
class BuiltRelease:
    """A release as the build left it.

    `folder` holds root/, root.mtree, root.xattrs, initrd.img and vmlinuz; and the root file.
    """

    release: Release
    folder: str

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def size(self, name: str) -> int:
        return served_size(self.path(name))

    def manifest(self) -> Manifest:
        """The manifest of the root, its bytes where it was staged."""
        return staged.staged_manifest(staged.staged_paths(self.folder))

    def root_file(self, like: str) -> str:
        """Its root file. `like`: a folder with an earlier one of that name, "" for none."""
        return self.path(self.release.root_name)

    def offer(self) -> None:
        """Have other servers told that its root file can be fetched from this one."""

    def fetch(self, paths: Iterable[bytes], like: str | None) -> str | None:
        """Have the bytes of these files of the root, which the release `like` has not.

        Gives a folder whose files may be linked to, where they came to one.
        """
        return None


@dataclass(frozen=True)
class Standing(BuiltRelease):
    """A release that stays as the server has it: `folder` is that of its kernel and initrd."""


@lru_cache(maxsize=4)  # plan, preflight and publishing look at the same one
def manifest_of_build(built: BuiltRelease) -> Manifest:
    return built.manifest()


def load_built(built: BuiltRelease) -> Tree:
    """The tree of a build, its bytes in build/<image>/root."""
    return read_manifest(manifest_of_build(built))


@dataclass(frozen=True)
class Desired:
    """Everything that a server must hold. Names of files and loaders are those below tftp_root."""

    releases: tuple[BuiltRelease, ...]
    site_id: str  # "site-<12 hex digits>"
    site_img: bytes
    files: Mapping[str, bytes]  # those below plugnode/ name releases; they are written last
    loaders: Mapping[str, str]  # name -> the file to copy
    services: tuple[Service, ...] = ()
    nodes: Mapping[str, NodeFacts] = field(default_factory=dict)
    # Generated files that no deploy puts anywhere
    by_hand: Mapping[str, bytes] = field(default_factory=dict)
    image: str = ""  # all of it is this image's, but for what is everybody's; "": of all images
    # Files below tftp_root that stay as they are, if they are there
    left: frozenset[str] = frozenset()
    nfs_server: str = ""  # ADDRESS:/PATH of the machine that serves the roots; "": this one
    held: tuple[str, ...] = ()  # what becomes of images that a rollback took back, a line each
    trust: Trusted = NOBODY  # who must have signed it
    hooks_img: bytes = b""  # for releases of before
    archs: tuple[str, ...] = (AMD64,)  # of its nodes
    # Why a release that the server has gets another signed file, by the name of that
    signed_anew: Mapping[str, str] = field(default_factory=dict)

    def site_files(self, released: Iterable[Release], signature: bytes) -> dict[str, bytes]:
        """The files of the folder of site data, by name. `released`: what the server holds."""
        files = site_data.beside(self.site_img)
        if signature:
            files |= site_data.signed(self.site_img, signature)
        if self.hooks_img and any(release.wants_hooks for release in released):
            files[HOOKS_IMG] = self.hooks_img
        return files

    @property
    def ids_by_image(self) -> dict[str, str]:
        """The release that each image boots."""
        return {built.release.image: built.release.id for built in self.releases}

    @property
    def boot_folders(self) -> list[str]:
        """The folders of tftp_root with kernels and initrds, and with site data."""
        return [self.site_id, *(built.release.id for built in self.releases)]

    @property
    def signable(self) -> dict[str, bytes]:
        """What must be signed, by the id of each: what the build made, not what stays as it is."""
        data = {self.site_id: self.site_img}
        for built in self.releases:
            if not isinstance(built, Standing):
                data[built.release.id] = built.release.dump()
        return data


@dataclass(frozen=True)
class Actual:
    """What a server holds, as far as it can matter to what is desired."""

    targets: Targets
    released: Mapping[str, Release]  # published whole: the tree that nodes mount
    booted: frozenset[str]  # folders of tftp_root that are whole: <release>, site-<id>
    files: Mapping[str, bytes]  # generated files, ours and those in their places
    # Those of them that a TFTP server may not read, or anybody may write
    unreadable: frozenset[str]
    loaders: Mapping[str, bool]  # those that are there -> are they as desired?
    services: Mapping[str, bytes]
    ours: Mapping[str, str]  # what earlier deploys wrote below tftp_root -> sha256
    nodes: Mapping[str, NodeFacts]
    records: tuple[journal.Record, ...]  # of the journal
    exports: ExportsFound = NONE  # by every site's files, and the admin's
    site_img: bytes = b""  # the site data that boot files name
    # Daemons' files that earlier deploys installed -> sha256; None: nobody asks
    installed: Mapping[str, str] | None = None
    by_hand: Mapping[str, bytes] | None = None  # None: nobody knows
    reloads: bool = True  # a daemon hears of its new file
    prunable: tuple[tuple[str, str], ...] = ()  # what a prune would remove, and why
    closed: tuple[str, ...] = ()  # folders of ours below tftp_root that a TFTP server may not enter
    notes: tuple[str, ...] = ()  # what an admin must know of, a line each
    signed: frozenset[str] = frozenset()  # releases and site data, by those whom the site trusts
    harmed: bool = False  # what was written down of files or nodes is damaged


def digest(data: bytes) -> str:
    """The sha256 by which a file of ours is known."""
    return hashlib.sha256(data).hexdigest()


def pins(desired: Desired) -> set[str]:
    """The releases that nodes are pinned to."""
    return {node["release"] for node in desired.nodes.values() if "release" in node}


def exported(desired: Desired) -> list[Export]:
    """What the site's own exports file shall give to whom."""
    files = [service.data for service in desired.services if site_of(service.path)]
    return [line for data in files for line in exports_of(data)]


def described(desired: Desired) -> journal.Record:
    """What the journal keeps of a desired state."""
    boot_files = {}
    for name, data in sorted(desired.files.items()):
        if name.startswith(BOOT_FILES):
            boot_files[name] = digest(data)
    record: journal.Record = {
        "releases": desired.ids_by_image,
        "pinned": sorted(pins(desired)),
        "site": desired.site_id,
        "exports": list(map(str, exported(desired))),
        "boot_files": boot_files,
    }
    if desired.image:
        record["image"] = desired.image
    return record
