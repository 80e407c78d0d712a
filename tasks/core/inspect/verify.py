"""Verify: a folder compared with its manifest. What is missing, what was added, what is not as it was published."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import content, digest_file
from ..base.text import shown_path
from ..checkout.drift import KINDS, Drift, Reads, drift, drift_since, possible
from ..plan.scope import image_of, label_of
from ..store import kept, shadows
from ..store.boot_files import named, read_files
from ..store.kept import damaged, published, read_nodes, site_data
from ..store.paths import Targets
from ..store.tftp import read_ours
from ..tree.manifest import entries_of


def of_release(
    targets: Targets,
    release: str,
    full: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[Drift]:
    """How a published root differs from its manifest. Without `full`, content is read only where a look has changed."""
    before, root = kept.earlier(targets, release), targets.root(release)
    if full or not before.stats:
        tree = possible(kept.load_kept(targets, release), before.note)
        return drift(
            tree,
            root,
            _counting(lambda count: tell(f"{release}: {count:,} of {len(tree):,} names read")),
        )
    return drift_since(
        before.stats, lambda paths: possible(entries_of(before.record, paths), before.note), root
    )


def _counting(tell: Callable[[int], None]) -> Reads:
    """`always`, that tells how often it was asked."""
    numbers = count(1)

    def reads(path: bytes) -> bool:
        tell(next(numbers))
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
    tell: Callable[[str], None] = lambda text: None,
    image: str = "",
) -> Iterator[Finding]:
    """All drift: roots, kernels and initrds, site data, generated files and loaders, and what boot files name.

    `tell` hears how far it is, often. Of one `image` its releases and its boot files.
    """
    there, boot_files = published(targets), read_files(targets)
    released = {id: release for id, release in there.items() if image in ("", release.image)}
    if image:
        boot_files = {
            name: data for name, data in boot_files.items() if image_of(label_of(name)) == image
        }
    in_use = {id for data in boot_files.values() for id in named(data)}
    if not released and not boot_files and not damaged(targets):
        yield Finding(targets.nfs, f"nothing {f'of {image} ' if image else ''}is deployed there")
    for id, release in released.items():
        yield from _root(targets, id, full, tell)
        yield from _boot_folder(
            targets,
            id,
            {"vmlinuz": release.kernel, "initrd.img": release.initrd},
            full or id in in_use,
        )
    for id in [] if image else site_data(targets):
        yield from _boot_folder(targets, id, {"site.img": id.rpartition("-")[2]}, read=True)
    yield from (Finding(path, what) for path, what in damaged(targets).items())
    yield from _files(targets, image)
    yield from _ways(targets, [*released, *site_data(targets)])
    for name, data in boot_files.items():
        for id in sorted(named(data) - there.keys() - set(site_data(targets))):
            yield Finding(f"{targets.tftp}/{name}", f"names {id}, which is not there")


def _root(targets: Targets, id: str, full: bool, tell: Callable[[str], None]) -> Iterator[Finding]:
    root = f"{targets.nfs}/{id}"
    try:
        for one in of_release(targets, id, full, tell):
            yield Finding(os.path.join(root, shown_path(one.path)) if one.path else root, one.what)
    except Refused as error:
        yield Finding(root, f"not compared: {error}")
    except OSError as error:
        yield Finding(
            root, f"not compared: {os.fsdecode(error.filename or root)}: {error.strerror}"
        )


def _boot_folder(
    targets: Targets, id: str, digests: Mapping[str, str], read: bool
) -> Iterator[Finding]:
    for name, digest in digests.items():
        yield from _file(targets, f"{id}/{name}", digest if read else "")


def _files(targets: Targets, image: str) -> Iterator[Finding]:
    """Of the files that were written, those of one image, or all."""
    for name, digest in read_ours(targets).items():
        if image in ("", image_of(label_of(name))):
            yield from _file(targets, name, digest)


def _ways(targets: Targets, ids: Collection[str]) -> Iterator[Finding]:
    """What stands between loaders and what they shall find: folders that they may not enter, files of others."""
    ours = read_ours(targets)
    for name in shadows.closed(targets, ["", *shadows.folders(ours), *ids]):
        yield Finding(
            os.path.join(targets.tftp, name).rstrip("/"), "closed to its readers, TFTP servers"
        )
    yield from (Finding(*found) for found in shadows.shadowing(targets, ours, read_nodes(targets)))
    yield from _astray(targets, set(ours))


def _astray(targets: Targets, ours: set[str]) -> Iterator[Finding]:
    """Files of others that loaders look at and that name a release of ours that is not there."""
    images = {release.image for release in published(targets).values()}
    for name in shadows.looked_at(targets):
        gone = {
            id
            for id in named(content(targets.served(name)) or b"")
            if id.rpartition("-")[0] in images
        }
        for id in sorted(gone) if name not in ours else ():
            if not os.path.isdir(targets.boot(id)):
                yield Finding(f"{targets.tftp}/{name}", f"names {id}, which is not there")


def _file(targets: Targets, name: str, digest: str) -> Iterator[Finding]:
    """A file below tftp_root: `digest` is how its sha256 begins."""
    path, here = f"{targets.tftp}/{name}", targets.served(name)
    try:
        status = os.lstat(here)
    except (FileNotFoundError, NotADirectoryError):
        yield Finding(path, "missing")
        return
    if not stat.S_ISREG(status.st_mode):
        yield Finding(path, f"{KINDS[stat.S_IFMT(status.st_mode)]}, not file")
    elif stat.S_IMODE(status.st_mode) != 0o644:
        yield Finding(path, f"mode {stat.S_IMODE(status.st_mode):04o}, not 0644")
    elif digest:
        yield from (Finding(path, what) for what in _other_bytes(here, digest))


def _other_bytes(file: str, digest: str) -> Iterator[str]:
    try:
        if not digest_file(file).startswith(digest):
            yield "content (sha256)"
    except OSError as error:
        yield f"cannot be read: {error.strerror}"
