"""What a server holds, and what it shall hold."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ..base.files import content, digest_file
from ..checkout import staged
from ..release import Release
from ..services.exports import NONE, Export, ExportsFound, exports_of, mine, read_exports, site_of
from ..services.services import Service
from ..store import journal, shadows
from ..store.boot_files import contents_of, mode_of, readable_content, served_size, site_named
from ..store.kept import NodeFacts, damaged, published, read_nodes
from ..store.paths import BOOT_FILES, Targets
from ..store.tftp import read_ours
from ..tree.manifest import Manifest
from ..tree.manifest import read_manifest as read_record
from ..tree.model import Tree, without_collection


def pins(wanted: Desired) -> set[str]:
    return {node["release"] for node in wanted.nodes.values() if "release" in node}


def described(wanted: Desired) -> journal.Record:
    """What the journal keeps of a wanted state."""
    boot_files = {name: data for name, data in wanted.files.items() if name.startswith(BOOT_FILES)}
    return {
        "releases": {built.release.image: built.release.id for built in wanted.releases},
        "pinned": sorted(pins(wanted)),
        "site": wanted.site_id,
        "exports": [str(line) for line in exported(wanted)],
        "boot_files": {
            name: hashlib.sha256(data).hexdigest() for name, data in sorted(boot_files.items())
        },
        **({"image": wanted.image} if wanted.image else {}),
    }


def exported(wanted: Desired) -> list[Export]:
    files = [service.data for service in wanted.services if site_of(service.path)]
    return [line for data in files for line in exports_of(data)]


@lru_cache(maxsize=4)  # plan, preflight and publishing look at the same one
def manifest_of_build(built: BuiltRelease) -> Manifest:
    return built.record()


def load_built(built: BuiltRelease) -> Tree:
    """The tree of a build, its bytes in build/<image>/root."""
    with without_collection():
        return read_record(manifest_of_build(built))


@dataclass(frozen=True)
class BuiltRelease:
    """A release as the build left it: `folder` holds root/, root.mtree, root.xattrs, initrd.img and vmlinuz."""

    release: Release
    folder: str

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def size(self, name: str) -> int:
        return served_size(self.path(name))

    def record(self) -> Manifest:
        """The root as it is written down, its bytes where it was staged."""

        return staged.staged_manifest(staged.staged_paths(self.folder))

    def bring(self, paths: Iterable[bytes], like: str | None) -> str | None:
        """Have the bytes of these files of the root, which the release `like` has not. A folder whose files may be
        linked to, where they came to one."""
        return None


@dataclass(frozen=True)
class Standing(BuiltRelease):
    """A release that stays as the server has it: `folder` is that of its kernel and initrd."""


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
    by_hand: Mapping[str, bytes] = field(
        default_factory=dict
    )  # generated files that no deploy puts anywhere
    image: str = ""  # all of it is this image's, but for what is everybody's; "": of all images
    left: frozenset[str] = (
        frozenset()
    )  # files below tftp_root that stay as they are, if they are there
    held: tuple[
        str, ...
    ] = ()  # of images that a rollback took back to an earlier release: what becomes of them


@dataclass(frozen=True)
class Actual:
    """What a server holds, as far as it can matter to what is wanted."""

    targets: Targets
    released: Mapping[str, Release]  # published whole: the tree that nodes mount
    booted: frozenset[str]  # folders of tftp_root that are whole: <release>, site-<id>
    files: Mapping[str, bytes]  # generated files, ours and those in their places
    unreadable: frozenset[
        str
    ]  # those of them that a TFTP server may not read, or anybody may write
    loaders: Mapping[str, bool]  # those that are there -> as they are wanted
    services: Mapping[str, bytes]
    ours: Mapping[str, str]  # what earlier deploys wrote below tftp_root -> sha256
    nodes: Mapping[str, NodeFacts]
    records: tuple[journal.Record, ...]  # of the journal
    exports: ExportsFound = NONE  # by every site's files, and the admin's
    site_img: bytes = b""  # the site data that boot files name
    by_hand: Mapping[str, bytes] | None = None  # None: nobody knows
    reloads: bool = True  # a daemon hears of its new file
    prunable: tuple[tuple[str, str], ...] = ()  # what a prune would remove, and why
    closed: tuple[str, ...] = ()  # folders of ours below tftp_root that a TFTP server may not enter
    notes: tuple[str, ...] = ()  # what an admin must know of, a line each
    harmed: bool = False  # what was written down of files or nodes is damaged


# --- what is there


def read_actual(targets: Targets, wanted: Desired) -> Actual:
    """Look at the server: small files, and the status of large ones."""
    exported = read_exports(targets)
    known = _known(targets, wanted, exported)
    ours = read_ours(known)
    names = sorted({*wanted.files, *(name for name in ours if name not in wanted.loaders)})
    files, harm = dict(contents_of(targets, names)), damaged(targets)
    return Actual(
        targets=targets,
        released=published(targets),
        booted=frozenset(_booted(targets, wanted)),
        files=files,
        unreadable=frozenset(
            name for name in names if mode_of(targets.served(name)) not in (None, 0o644)
        ),
        loaders=dict(_loaders(targets, wanted.loaders)),
        services={
            s.path: data
            for s in wanted.services
            if (data := content(targets.at(s.path))) is not None
        },
        ours=ours,
        nodes=read_nodes(known),
        records=tuple(journal.read_journal(targets.kept("journal.jsonl"))),
        exports=exported,
        site_img=readable_content(f"{targets.boot(site_named(files) or '')}/site.img") or b"",
        reloads=not targets.destdir,
        closed=tuple(shadows.closed(targets, _folders(wanted))),
        harmed=any(targets.kept(name) in harm for name in ("files", "nodes.json")),
        notes=tuple(notes(targets, {*ours, *wanted.files, *wanted.loaders}, wanted.nodes)),
    )


def _known(targets: Targets, wanted: Desired, exported: ExportsFound) -> Targets:
    """Where it is written down what the last deploy did: in a former nfs_root, or in this one."""
    paths = [service.path for service in wanted.services if site_of(service.path)]
    lines = [line for path in paths for line in mine(path, targets.nfs, exported)]
    former = {line.path for line in lines} - {targets.nfs}
    roots = [targets, *(dataclasses.replace(targets, nfs=path) for path in sorted(former))]
    told = [root for root in roots if os.path.isfile(root.kept("files"))]
    return max(told, key=_last_deploy, default=targets)


def _last_deploy(targets: Targets) -> str:
    """When boot files were written by what is journalled there, as the journal has it."""
    records = journal.read_journal(targets.kept("journal.jsonl"))
    return max((str(record.get("time")) for record in records if "releases" in record), default="")


def _folders(wanted: Desired) -> list[str]:
    """The folders below tftp_root that a deploy makes."""
    ids = [wanted.site_id, *(built.release.id for built in wanted.releases)]
    return [*shadows.folders([*wanted.files, *wanted.loaders]), *ids]


def notes(targets: Targets, ours: Collection[str], nodes: Mapping[str, NodeFacts]) -> list[str]:
    """What on a server stands between nodes and what is deployed, a line each: only an admin knows what it is for."""
    shut = [
        f"{targets.tftp}: closed to its readers, TFTP servers"
        for _ in shadows.closed(targets, [""])
    ]
    harmed = [f"{path} {what}" for path, what in damaged(targets).items()]
    return [*harmed, *shut, *map(": ".join, shadows.shadowing(targets, ours, nodes))]


def as_deployed(targets: Targets, wanted: Desired, loaders: Mapping[str, str]) -> Actual:
    """A server that holds exactly this and nothing else. `loaders`: those that it shall hold, name -> file."""
    both = {name: path for name, path in wanted.loaders.items() if name in loaders}
    gone = {
        name: content(path) or b"" for name, path in wanted.loaders.items() if name not in loaders
    }
    files = {**wanted.files, **gone}
    exported = {s.path: s.data for s in wanted.services if site_of(s.path)}
    folders = {line.path for data in exported.values() for line in exports_of(data)}
    return Actual(
        targets=targets,
        released={built.release.id: built.release for built in wanted.releases},
        booted=frozenset({wanted.site_id, *(built.release.id for built in wanted.releases)}),
        files=files,
        unreadable=frozenset(),
        loaders={
            name: digest_file(path) == digest_file(loaders[name]) for name, path in both.items()
        },
        services={service.path: service.data for service in wanted.services},
        ours={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        nodes=wanted.nodes,
        records=(),
        exports=ExportsFound(exported, frozenset(folders)),
        site_img=wanted.site_img,
        by_hand=wanted.by_hand,
    )


def _booted(targets: Targets, wanted: Desired) -> Iterator[str]:
    """Folders appear by a rename, whole; a look at sizes finds what was done to them later."""
    for built in wanted.releases:
        folder = targets.boot(built.release.id)
        if all(
            served_size(f"{folder}/{name}") == built.size(name)
            for name in ("vmlinuz", "initrd.img")
        ):
            yield built.release.id
    if served_size(targets.boot(wanted.site_id) + "/site.img") == len(wanted.site_img):
        yield wanted.site_id


def _loaders(targets: Targets, loaders: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    for name, source in loaders.items():
        if os.path.lexists(targets.served(name)):
            yield name, _same(source, targets.served(name))


def _same(source: str, path: str) -> bool:
    """Does `path` hold what the file `source` (often a symlink) leads to?"""
    alike = (
        os.stat(source).st_size == served_size(path)
        and mode_of(path) == 0o644
        and not os.path.islink(path)
    )
    return alike and digest_file(source) == digest_file(path)
