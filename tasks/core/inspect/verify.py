"""Verify: a folder compared with its manifest.

What is missing, what was added, what is not as it was published.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import starmap
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import content, digest_file
from ..base.text import shown_path
from ..checkout.drift import KINDS, Drift, Reads, drift, drift_of, possible
from ..deploy.prune import releases_of
from ..plan.scope import image_of, label_of
from ..plan.ukis import kept_program
from ..release import Release, name_in
from ..scan.ctimes import read_ctimes
from ..scan.seen import Sound, changed_since
from ..services.installed import read_installed
from ..store import kept, shadows
from ..store.boot_files import named, parts_of_site_data, read_files
from ..store.kept import damaged, published, site_data
from ..store.nodes import read_nodes
from ..store.ours import read_ours
from ..store.paths import Targets
from ..store.served import is_unchanged, root_file_of
from ..store.tftp import closed_folders, folders_of, is_closed
from ..tree.manifest import entries_of
from ..tree.model import Tree
from ..trust.held import UNSIGNED, place, unsigned
from .programs import kept_wrong

Tell = Callable[[str], None]


def unheard(text: str) -> None:
    """Say it to nobody."""


class KnownFiles:
    """What is known of files of a server's roots: what releases share is looked at once."""

    def __init__(self, targets: Targets):
        self.ctimes = read_ctimes(targets.ctimes)
        self.sound: Sound = {}


def of_release(
    targets: Targets,
    release: str,
    full: bool = False,
    tell: Tell = unheard,
    known: KnownFiles | None = None,
) -> Iterator[Drift]:
    """How a published root differs from its manifest.

    Without `full`, content is read only where a file has changed since it was known. `known`: by
    the releases that were looked at before.
    """
    known = known or KnownFiles(targets)
    written = {} if full else known.ctimes
    record = kept.record_of(targets, release, written)
    made_by = kept.made_by(targets, release)
    root, seen = targets.root(release), kept.seen_of(targets, release, written)
    if full or not seen.folders:
        tree = possible(kept.load_kept(targets, release), made_by)
        reads = _counting(release, len(tree), tell)
        return drift(tree, root, reads)

    def load(paths: Collection[bytes]) -> Tree:
        return possible(entries_of(record, paths), made_by)

    return drift_of(changed_since(seen, root, known.ctimes, known.sound), load, root)


def _counting(release: str, size: int, tell: Tell) -> Reads:
    """`always`, that tells how often it was asked."""
    asked = 0

    def reads(path: bytes) -> bool:
        nonlocal asked
        asked += 1
        tell(f"{release}: {asked:,} of {size:,} names read")
        return True

    return reads


# --- a server


class Finding(NamedTuple):
    """Something on a server that is not as it was deployed; `path` as the server knows it."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def of_server(
    targets: Targets,
    full: bool = False,
    tell: Tell = unheard,
    image: str = "",
    keys: Sequence[str] = (),
) -> Iterator[Finding]:
    """All drift: roots, kernels and initrds, site data, generated files and loaders.

    And what boot files name. `tell` hears how far it is, often. Of one `image` its releases and
    its boot files. And what none of these `keys` has signed.
    """
    released = releases_of(targets, image)
    ids_in = _ids_in_boot_files(targets, image)
    harmed = damaged(targets)
    if not (released or ids_in or harmed):
        what = f"nothing of {image}" if image else "nothing"
        yield Finding(targets.nfs, f"{what} is deployed there")

    yield from _roots(targets, released, full, tell)
    in_use = set().union(*ids_in.values())
    for release in released.values():
        yield from _boot_folder(targets, release, full or release.id in in_use)
    yield from starmap(Finding, harmed.items())
    yield from _besides(targets, image)
    yield from _unsigned(targets, released, image, keys)
    yield from _ways(targets, released)
    yield from _gone(targets, ids_in)


def _roots(targets: Targets, released: Iterable[str], full: bool, tell: Tell) -> Iterator[Finding]:
    known = KnownFiles(targets)
    for id in released:
        yield from _root(targets, id, full, tell, known)


def _besides(targets: Targets, image: str) -> Iterator[Finding]:
    """Site data, generated files and loaders; daemons' files, which are of no image."""
    yield from _site_data(targets, image)
    yield from _files(targets, image)
    if not image:
        yield from _daemons(targets)


def _ids_in_boot_files(targets: Targets, image: str) -> dict[str, set[str]]:
    """What each boot file names, of one image, or all."""
    ids_in = {}
    for name, data in read_files(targets).items():
        if not image or _is_of(name, image):
            ids_in[name] = named(data)
    return ids_in


def _is_of(name: str, image: str) -> bool:
    """Is it a boot file of the image?"""
    return image_of(label_of(name)) == image


def _root(
    targets: Targets, id: str, full: bool, tell: Tell, known: KnownFiles
) -> Iterator[Finding]:
    root = f"{targets.nfs}/{id}"
    try:
        for one in of_release(targets, id, full, tell, known):
            path = os.path.join(root, shown_path(one.path))
            yield Finding(path if one.path else root, one.what)
    except (Refused, OSError) as error:
        yield Finding(root, not_compared(error, root))


def not_compared(error: Refused | OSError, root: str) -> str:
    """Why a release could not be compared with its manifest."""
    if isinstance(error, Refused):
        return f"not compared: {error}"
    return f"not compared: {os.fsdecode(error.filename or root)}: {error.strerror}"


class BootPart(NamedTuple):
    """A release's kernel, initrd or hooks."""

    name: str  # below tftp_root
    digest: str  # as it should be
    findings: list[Finding]


def boot_parts(targets: Targets, release: Release, read: bool) -> Iterator[BootPart]:
    """What loaders load; without `read` it is read where it may have changed."""
    for name, digest in release.boot_files.items():
        path = f"{release.id}/{name}"
        is_read = read or not _is_unchanged(targets, path)
        found = _file(targets, path, digest if is_read else "")
        yield BootPart(path, digest, list(found))


def _boot_folder(targets: Targets, release: Release, read: bool) -> Iterator[Finding]:
    for part in boot_parts(targets, release, read):
        yield from part.findings
    if release.is_of_file:
        yield from _root_file(targets, release, read)
    yield from _program(targets, release)


def _program(targets: Targets, release: Release) -> Iterator[Finding]:
    """Of the one signed file that its nodes start, if they do: is it made of this release?"""
    path = kept_program(targets, release.id).removeprefix(targets.at(""))
    for what in kept_wrong(targets, release):
        yield Finding(path, what)


def _root_file(targets: Targets, release: Release, read: bool) -> Iterator[Finding]:
    """Of the root file, as of kernel and initrd."""
    file = root_file_of(targets, release)
    is_read = read or not (os.path.lexists(file.path) and file.is_unchanged())
    path = file.path.removeprefix(targets.at(""))
    yield from _served_file(path, file.path, release.root_file if is_read else "")


def _is_unchanged(targets: Targets, name: str) -> bool:
    return os.path.lexists(targets.served(name)) and is_unchanged(targets, name)


def _site_data(targets: Targets, image: str) -> Iterator[Finding]:
    """It is of all images."""
    for id in () if image else site_data(targets):
        digest = id.rpartition("-")[2]
        yield from _file(targets, f"{id}/site.img", digest)


def _unsigned(
    targets: Targets, released: Iterable[str], image: str, keys: Sequence[str]
) -> Iterator[Finding]:
    """Of these releases, and of site data where it is about all images."""
    sites = [] if image else site_data(targets)
    for id in unsigned(targets, [*released, *sites], keys):
        yield Finding(place(targets, id).removeprefix(targets.at("")), UNSIGNED)


def _files(targets: Targets, image: str) -> Iterator[Finding]:
    """Of the files that were written, those of one image, or all."""
    for name, digest in read_ours(targets).items():
        if not image or _is_of(name, image):
            yield from _file(targets, name, digest)


def _daemons(targets: Targets) -> Iterator[Finding]:
    """Of daemons' files, whose mode is their admin's."""
    for path, digest in read_installed(targets).items():
        file = targets.at(path)
        if not os.path.isfile(file):
            yield Finding(path, "missing")
        else:
            for what in _other_bytes(file, digest):
                yield Finding(path, what)


def _gone(targets: Targets, ids_in: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What boot files name and is not on the server."""
    present = {*published(targets), *site_data(targets)}
    for name, ids in ids_in.items():
        for id in sorted(ids - present):
            yield _not_there(targets, name, id)
    yield from _parts_gone(targets, ids_in)


def _parts_gone(targets: Targets, names: Collection[str]) -> Iterator[Finding]:
    """What boot files name of site data that is there, and is not in it."""
    named_by: dict[str, str] = {}
    for name, data in read_files(targets).items():
        if name in names:
            named_by |= dict.fromkeys(parts_of_site_data(data), name)
    for part, name in sorted(named_by.items()):
        file = targets.served(part)
        is_lacking = os.path.isdir(os.path.dirname(file)) and not os.path.isfile(file)
        if is_lacking and not part.endswith("/site.img"):  # that is found as it is
            yield Finding(f"{targets.tftp}/{part}", f"missing; {name} names it")


def _not_there(targets: Targets, name: str, id: str) -> Finding:
    return Finding(f"{targets.tftp}/{name}", f"names {id}, which is not there")


def _ways(targets: Targets, released: Iterable[str]) -> Iterator[Finding]:
    """What stands between loaders and what they shall find.

    Folders that they may not enter, files of others.
    """
    ours = read_ours(targets)
    folders = ["", *folders_of(ours), *released, *site_data(targets)]
    for path in _above(targets.tftp):
        if is_closed(targets.at(path)):
            yield Finding(path, "closed to its readers, TFTP servers")
    for name in closed_folders(targets, folders):
        path = os.path.join(targets.tftp, name).rstrip("/")
        yield Finding(path, "closed to its readers, TFTP servers")
    nodes = read_nodes(targets)
    for path, what in shadows.shadowing(targets, ours, nodes):
        yield Finding(path, what)
    yield from _astray(targets, set(ours))


def _above(path: str) -> list[str]:
    """The folders that lead to one, without the root."""
    parts = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def _astray(targets: Targets, ours: set[str]) -> Iterator[Finding]:
    """Files of others that loaders look at and that name a release of ours that is not there."""
    images = {release.image for release in published(targets).values()}
    for name in shadows.looked_at(targets):
        if name in ours:
            continue
        data = content(targets.served(name)) or b""
        for id in sorted(named(data)):
            if name_in(id) in images and not os.path.isdir(targets.boot(id)):
                yield _not_there(targets, name, id)


def _file(targets: Targets, name: str, digest: str) -> Iterator[Finding]:
    """A file below tftp_root: `digest` is how its sha256 begins."""
    yield from _served_file(f"{targets.tftp}/{name}", targets.served(name), digest)


def _served_file(path: str, file: str, digest: str) -> Iterator[Finding]:
    """A file that nodes fetch, `path` as the server knows it."""
    try:
        status = os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        yield Finding(path, "missing")
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        yield Finding(path, f"{kind}, not file")
    elif mode != 0o644:
        yield Finding(path, f"mode {mode:04o}, not 0644")
    elif digest:
        for what in _other_bytes(file, digest):
            yield Finding(path, what)


def _other_bytes(file: str, digest: str) -> Iterator[str]:
    try:
        if not digest_file(file).startswith(digest):
            yield "content (sha256)"
    except OSError as error:
        yield f"cannot be read: {error.strerror}"
