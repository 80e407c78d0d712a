"""A release put in place on a server: the tree that nodes mount, kernel and initrd."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable

from .. import site_data
from ..base.errors import Refused
from ..base.files import (
    content,
    digest_file,
    read,
    sync,
    sync_folder,
    unlink_if_there,
    write_atomic,
)
from ..base.process import Say, Throttle
from ..base.text import human
from ..checkout import drift
from ..checkout.clone import Earlier, Published, publish
from ..plan.nearest import differing_trees, nearest
from ..release import Release
from ..plan.state import Actual, BuiltRelease, load_built, manifest_of_build
from ..scan.ctimes import Ctimes
from ..scan.seen import dump_seen
from ..scan.stat import Stats
from ..store.kept import clear_noted, earlier, note_kept, noted
from ..store.paths import Targets
from ..store.served import incoming_root_file, note_served, root_file_of
from ..store.tftp import make_folder, publish_folder, replace_files
from ..tree.manifest import NOTHING

# --- the tree that nodes mount


def publish_root(actual: Actual, built: BuiltRelease, say: Say) -> None:
    """Put a release's tree in place. What is equal in a release that is there are links to that."""
    targets, id = actual.targets, built.release.id
    if os.path.lexists(targets.root(id)):
        return adopt(targets, built)
    make_folder(targets, targets.incoming_roots)
    new = os.path.join(targets.incoming_roots, id)
    like = nearest(actual, built)
    source = _Source(built, like)
    base = _base(targets, like, built)
    with noted(targets) as ctimes:  # links move them, also where it fails in the middle
        published = _made(built, new, base._replace(ctimes=ctimes), source, say)
        made, written = published.made, published.written
        drift.must_be_made(made, new, published.stats, ctimes, written)
        _keep(targets, built, published, ctimes)
    _put_in_place(targets, new, id)
    source.clear(targets)


def _base(targets: Targets, like: str | None, built: BuiltRelease) -> Earlier:
    """The release that the new one is made from, if any, and how they differ."""
    base = earlier(targets, like) if like else Earlier("", NOTHING, {})
    return base._replace(difference=differing_trees(targets, like, built))


def _made(
    built: BuiltRelease,
    new: str,
    base: Earlier,
    source: _Source,
    say: Say,
) -> Published:
    """Make the folder `new` what the build's root is."""
    tell = _progress(built.release.id, say)
    published = publish(manifest_of_build(built), new, base, source.bring, tell)
    if published.note:
        say(published.note)
    return published


class _Source:
    """Where files come from that no release on the server has: a folder, once it was asked for."""

    def __init__(self, built: BuiltRelease, like: str | None):
        self.built, self.like = built, like
        self.folder: str | None = None

    def bring(self, paths: list[bytes]) -> str | None:
        folder = self.built.fetch(paths, self.like)
        self.folder = self.folder or folder
        return self.folder

    def clear(self, targets: Targets) -> None:
        """Remove it; what the release has of it is known still."""
        if self.folder:
            clear_noted(targets, self.folder)


def _progress(id: str, say: Say) -> Callable[[int, int], None]:
    tell = Throttle(say)
    return lambda done, all: tell(f"publishing {id}: {done:,} of {all:,}")


def _put_in_place(targets: Targets, new: str, id: str) -> None:
    sync(targets.nfs_root)
    os.rename(new, targets.root(id))
    sync_folder(targets.nfs_root)


def must_be_free(targets: Targets, built: BuiltRelease) -> None:
    """A folder of the release's name, of which nothing is kept, holds it. Raises Refused."""
    root = targets.root(built.release.id)
    if not os.path.lexists(root):
        return
    try:
        drift.must_equal(load_built(built), root)
    except Refused as error:
        raise Refused(f"{error}; it is in the place of {built.release.id}: move it away") from None


def adopt(targets: Targets, built: BuiltRelease) -> None:
    """Take such a folder for the release that it holds."""
    must_be_free(targets, built)
    looks: Stats = {}
    root = targets.root(built.release.id)
    with noted(targets) as ctimes:
        drift.must_be_made(load_built(built), root, looks, ctimes)
        _keep(targets, built, Published(0, 0, 0, "", {}, set(), looks), ctimes)
    sync(targets.nfs_root)


def _keep(
    targets: Targets,
    built: BuiltRelease,
    published: Published,
    ctimes: Ctimes,
) -> None:
    """Write what plan, verify and rollback need of a release when its build is gone.

    The .json, last of it, says that all is there. `ctimes`: of the release's files, as it is now.
    """
    written = manifest_of_build(built)
    kept = {
        "mtree": written.mtree,
        "xattrs": written.xattrs,
        "seen": dump_seen(published.stats, written.inodes),
    }
    note = targets.kept(f"{built.release.id}.note")
    unlink_if_there(note)  # by who was killed at this, and was not root
    if published.note:
        kept["note"] = published.note.encode()
    kept["json"] = built.release.dump()
    for kind, data in kept.items():
        write_atomic(targets.kept(f"{built.release.id}.{kind}"), data)
    note_kept(targets, built.release.id, ctimes)


# --- small folders of tftp_root


def complete_site_data(targets: Targets, site: str) -> None:
    """What releases of before load beside site.img, where an earlier version left only that."""
    folder = targets.boot(site)
    image = content(os.path.join(folder, "site.img")) or b""
    for name, data in {**site_data.beside(image), **site_data.hooks_in(image)}.items():
        if not os.path.exists(os.path.join(folder, name)):
            replace_files(targets, {f"{site}/{name}": data})


def publish_root_file(actual: Actual, built: BuiltRelease, say: Say) -> None:
    """Put a release's root file in place. Raises Refused where it is another."""
    targets, release = actual.targets, built.release
    place = root_file_of(targets, release)
    folder = os.path.dirname(place.path)
    if place.is_right(release.root_bytes, release.root_file):
        return
    say(f"publishing {release.id}: {release.root_name}, {human(release.root_bytes)}")
    new = _incoming(targets, built, _earlier_root_file(actual, release))
    sync(new)
    if os.path.isdir(folder):
        os.replace(os.path.join(new, release.root_name), place.path)
    else:
        os.rename(new, folder)
    sync_folder(os.path.dirname(folder))
    place.note()


def _incoming(targets: Targets, built: BuiltRelease, like: str) -> str:
    """The folder with the root file, whole, on the file system that it is published on."""
    release = built.release
    new = incoming_root_file(targets, release)
    make_folder(targets, new)
    source, file = built.root_file(like), os.path.join(new, release.root_name)
    if source != file:
        shutil.copyfile(source, file)
    for path, mode in ((new, 0o755), (file, 0o644)):
        os.chmod(path, mode)
    if digest_file(file) != release.root_file:
        raise Refused(f"{source} is not what the release says; run doit again")
    return new


def _earlier_root_file(actual: Actual, release: Release) -> str:
    """The folder of a root file on the server that the new one is like; "" where there is none."""
    for id in reversed([*actual.released]):
        other = actual.released[id]
        if (other.image, other.root_name) == (release.image, release.root_name):
            file = root_file_of(actual.targets, other).path
            if os.path.isfile(file):
                return os.path.dirname(file)
    return ""


def publish_boot(actual: Actual, built: BuiltRelease, say: Say) -> None:
    """Put kernel, initrd and root file of a release in place. Raises Refused where another is."""
    targets = actual.targets
    if built.release.is_of_file:
        publish_root_file(actual, built, say)
        built.offer()
    parts = built.release.boot_files.items()
    files = {name: _read(built, name, digest) for name, digest in parts}
    id = built.release.id
    publish_folder(targets, id, files)
    note_served(targets, [f"{id}/{name}" for name in files])


def _read(built: BuiltRelease, name: str, digest: str) -> bytes:
    path = built.path(name)
    data = read(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise Refused(f"{path} is not what {built.path('release.json')} says; run doit again")
    return data
