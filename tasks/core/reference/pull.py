"""Pulling: the node, archive or package list of a reference becomes a snapshot of the build's own.

A snapshot's folder holds `tree` and, written last, `snapshot.json`. A new tree is made beside the
old one and changes places with it by one rename, so that whatever ends a pull leaves the old
snapshot or the new one. A tree is never changed once it is there: staged roots hard-link to its
files, and so does the next snapshot.
"""

from __future__ import annotations

import datetime
import os
import shutil

from ..base.files import sync, unlink_if_there
from ..base.process import Say, Throttle
from ..scan.reader import scan
from ..secret_scan.find import scanner
from ..secret_scan.shipped import listed_in
from ..site.model import Image
from .exclude import bounds
from .kind import Facts
from .kinds import describe, kind_of
from .snapshot import Snapshot


def pull_reference(image: Image, folder: str, say: Say) -> None:
    """Make `folder`/tree the reference as it is now; `say` gets a line now and then.

    A reference that is read in place is never pulled. Raises Refused, with the old snapshot as it
    was.
    """
    take = kind_of(image.reference).take
    if not take:
        return
    os.makedirs(folder, exist_ok=True)
    # it holds what only root of the reference may read, and programs that run as root
    os.chmod(folder, 0o700)

    snapshot = Snapshot(folder)
    snapshot.settle()
    facts = take(image, snapshot, say)
    if facts is not None:
        _publish(snapshot, image, facts, say)


def _publish(snapshot: Snapshot, image: Image, facts: Facts, say: Say) -> None:
    """What came becomes the snapshot: read, flushed, put in place, marked as whole."""
    _read(snapshot, image, say)
    sync(snapshot.incoming)
    note = {
        "reference": describe(image),
        "taken": datetime.datetime.now(datetime.UTC).isoformat(),
        "inode": os.stat(snapshot.incoming).st_ino,
    }
    snapshot.replace(note | facts)


def _read(snapshot: Snapshot, image: Image, say: Say) -> None:
    """An index of what came, with the digests of all files, before a build asks for them.

    What was written just now is still in memory, and what is shared with the old tree is known by
    its index: as long as that tree is there, nobody else has its inodes.
    """
    tell = Throttle(say)
    unlink_if_there(snapshot.coming)
    if os.path.isdir(snapshot.tree) and os.path.exists(snapshot.index):
        shutil.copyfile(snapshot.index, snapshot.coming)
    options = bounds(image)
    judge = scanner(listed_in(snapshot.incoming, options.skip))
    scan(
        snapshot.incoming,
        snapshot.coming,
        options._replace(owned=True, judge=judge),
        progress=lambda names: tell(f"reading what came, names: {names:,}"),
    )
