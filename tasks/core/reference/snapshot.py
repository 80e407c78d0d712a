"""A snapshot of a reference: its folder, how it is taken, published and taken up again."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import shutil
from typing import Any, Iterator

from ..base.files import clear, exchange, sync, sync_folder, write_atomic
from ..base.process import Say, Throttle
from ..scan.reader import scan
from ..secret_scan.find import scanner
from ..site.model import Image
from .exclude import bounds

COMPLETE = "snapshot.json"  # is there when the snapshot is whole, and another one after each pull
NEXT = "incoming.json"  # what that will be when the tree that it names has taken its place
INDEX = "index"  # what the last scan of `tree` knows of its files; no longer there than they are


def describe(image: Image) -> str:
    """The reference in a few words."""
    reference = image.reference
    return f"bootstrap of {reference.suite}" if reference.kind == "bootstrap" else reference.where


class Snapshot:
    """A snapshot's folder: `tree`, the `incoming` one, and the `partial` one of a pull that did not end."""

    def __init__(self, folder: str):
        self.folder = os.path.abspath(folder)
        self.tree, self.incoming, self.partial = (
            os.path.join(self.folder, n) for n in ("tree", "incoming", "partial")
        )
        self.marker, self.next = (
            os.path.join(self.folder, COMPLETE),
            os.path.join(self.folder, NEXT),
        )
        self.index, self.coming = (
            os.path.join(self.folder, INDEX),
            os.path.join(self.folder, "incoming.index"),
        )

    def begin(self) -> str:
        """An empty folder to fill. What an earlier try left there becomes `partial`."""

        if os.path.lexists(self.incoming):
            clear(self.partial)
            os.rename(self.incoming, self.partial)
        os.mkdir(self.incoming)
        os.chmod(self.incoming, 0o755)
        return self.incoming

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """A folder for what programs leave behind; one that a killed pull left goes with it."""

        folder = os.path.join(self.folder, "scratch")
        clear(folder)
        os.mkdir(folder)
        try:
            yield folder
        finally:
            clear(folder)

    def earlier(self) -> list[str]:
        """Trees that a new one may share files with."""
        return [path for path in (self.tree, self.partial) if os.path.isdir(path)]

    def facts(self) -> dict[str, Any]:
        """What the snapshot's maker noted; nothing if there is no whole snapshot."""
        return _load(self.marker)

    def publish(self, image: Image, say: Say, **facts: Any) -> None:
        """The filled folder becomes the snapshot: read, flushed, put in place by one rename, then marked as whole."""

        self._read(image, say)
        sync(self.incoming)
        taken = datetime.datetime.now(datetime.UTC).isoformat()
        note = {
            "reference": describe(image),
            "taken": taken,
            "inode": os.stat(self.incoming).st_ino,
            **facts,
        }
        write_atomic(self.next, (json.dumps(note, indent=1) + "\n").encode(), durable=True)
        unlink_if_there(self.index)
        self._put_in_place()
        self.settle()
        clear(self.incoming)
        clear(self.partial)

    def settle(self) -> None:
        """Mark the tree that `incoming.json` names as whole, if it is the one that is in place."""
        if not os.path.lexists(self.next):
            return
        if not os.path.isdir(self.tree) or os.stat(self.tree).st_ino != _load(self.next).get(
            "inode"
        ):
            return os.unlink(self.next)
        if os.path.lexists(self.coming):
            os.rename(self.coming, self.index)
        sync_folder(self.folder)
        os.rename(self.next, self.marker)
        sync_folder(self.folder)

    def _read(self, image: Image, say: Say) -> None:
        """An index of what came, with the digests of all files, before a build asks for them.

        What was written just now is still in memory, and what is shared with the old tree is known by its index: as
        long as that tree is there, nobody else has its inodes.
        """

        tell = Throttle(say)
        unlink_if_there(self.coming)
        if os.path.isdir(self.tree) and os.path.exists(self.index):
            shutil.copyfile(self.index, self.coming)
        scan(
            self.incoming, self.coming, bounds(image)._replace(owned=True, judge=scanner()),
            progress=lambda names: tell(f"reading what came, names: {names:,}"),
        )  # fmt: skip

    def _put_in_place(self) -> None:
        if not os.path.lexists(self.tree):
            return os.rename(self.incoming, self.tree)
        try:
            exchange(self.incoming, self.tree)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            self._put_in_place_by_two_renames()

    def _put_in_place_by_two_renames(self) -> None:
        """Where a file system cannot exchange names; a kill in between leaves no snapshot, and says so."""

        unlink_if_there(self.marker)
        clear(self.partial)
        os.rename(self.tree, self.partial)
        os.rename(self.incoming, self.tree)


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            noted: dict[str, Any] = json.load(file)
            return noted
    except (OSError, ValueError):  # not there, or not ours to read: not whole either way
        return {}


def unlink_if_there(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
