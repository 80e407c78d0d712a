"""A release put in place on a server: the tree that nodes mount, kernel and initrd."""

from __future__ import annotations

import hashlib
import os

from ..base.errors import Refused
from ..base.files import clear, read, sync, sync_folder, write_atomic
from ..base.process import Say, Throttle
from ..checkout import drift
from ..checkout.clone import publish
from ..plan.nearest import differing_trees, nearest
from ..plan.state import Actual, BuiltRelease, load_built, manifest_of_build
from ..scan.stat import Stats, dump_stats
from ..store.kept import earlier
from ..store.paths import Targets
from ..store.tftp import make_folder, publish_folder

# --- the tree that nodes mount


def publish_root(there: Actual, built: BuiltRelease, say: Say) -> None:
    """Put a release's tree in place. What is equal in a release that is there are links to that."""

    targets, id = there.targets, built.release.id
    if os.path.lexists(targets.root(id)):
        return adopt(targets, built)
    like, own = nearest(there, built), list[str]()

    def bring(paths: list[bytes]) -> str | None:
        own.extend(filter(None, [built.bring(paths, like)]))
        return own[0] if own else None

    make_folder(targets, targets.incoming_roots)
    new = os.path.join(targets.incoming_roots, id)
    tell = Throttle(say)
    base = earlier(targets, like) if like else None
    if base and like:
        base = base._replace(difference=differing_trees(targets, like, built))
    published = publish(
        manifest_of_build(built),
        new,
        base,
        bring,
        lambda done, all: tell(f"publishing {id}: {done:,} of {all:,}"),
    )
    if published.note:
        say(published.note)
    drift.must_be_made(published.made, new, published.stats)
    _keep(targets, built, published.note, published.stats)
    sync(targets.nfs_root)
    os.rename(new, targets.root(id))
    sync_folder(targets.nfs_root)
    for folder in own:
        clear(folder)


def must_be_free(targets: Targets, built: BuiltRelease) -> None:
    """A folder that has the release's name, and of which nothing is kept, holds the release. Raises Refused."""

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
    drift.must_be_made(load_built(built), targets.root(built.release.id), looks)
    _keep(targets, built, "", looks)


def _keep(targets: Targets, built: BuiltRelease, note: str, looks: Stats) -> None:
    """What plan, verify and rollback need of a release when its build is gone. The .json, last, says that all is."""

    written = manifest_of_build(built)
    kept = {
        "mtree": written.mtree,
        "xattrs": written.xattrs,
        "seen": dump_stats(looks, written.inodes),
    }
    if note:
        kept["note"] = note.encode()
    kept["json"] = built.release.dump()
    for kind, data in kept.items():
        write_atomic(targets.kept(f"{built.release.id}.{kind}"), data)


# --- small folders of tftp_root


def publish_boot(targets: Targets, built: BuiltRelease) -> None:
    """Kernel and initrd of a release."""
    said = {"vmlinuz": built.release.kernel, "initrd.img": built.release.initrd}
    files = {name: read(built.path(name)) for name in said}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != said[name]:
            raise Refused(
                f"{built.path(name)} is not what {built.path('release.json')} says; run doit again"
            )
    publish_folder(targets, built.release.id, files)
