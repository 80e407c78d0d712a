"""A snapshot of a reference: its folder, how a new one is begun, put in place, taken up again."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from typing import Any

from ..base.files import clear, exchange, sync_folder, unlink_if_there, write_atomic
from ..site.model import Image

COMPLETE = "snapshot.json"  # is there when the snapshot is whole, and another one after each pull
NEXT = "incoming.json"  # what that will be when the tree that it names has taken its place
INDEX = "index"  # what the last scan of `tree` knows of its files; no longer there than they are


class Snapshot:
    """The folder: `tree`, the `incoming` one, and the `partial` one of a pull that did not end."""

    def __init__(self, folder: str):
        self.folder = os.path.abspath(folder)
        self.tree = os.path.join(self.folder, "tree")
        self.incoming = os.path.join(self.folder, "incoming")
        self.partial = os.path.join(self.folder, "partial")

        self.marker = os.path.join(self.folder, COMPLETE)
        self.next = os.path.join(self.folder, NEXT)
        self.index = os.path.join(self.folder, INDEX)
        self.coming = os.path.join(self.folder, "incoming.index")
        self.claims = os.path.join(self.folder, "incoming.claims")

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

    def claimed(self) -> dict[str, Any]:
        """Of what came without root what it claims to be; nothing where it was root who took it."""
        if not os.path.exists(self.claims):
            return {}
        found = {"claims": _load(self.claims)}
        os.unlink(self.claims)
        return found

    def facts(self) -> dict[str, Any]:
        """What the snapshot's maker noted; nothing if there is no whole snapshot."""
        return _load(self.marker)

    def replace(self, facts: dict[str, Any]) -> None:
        """Put the filled folder, which is flushed, in the tree's place, and mark it as whole."""
        note = json.dumps(facts, indent=1) + "\n"
        write_atomic(self.next, note.encode(), durable=True)
        unlink_if_there(self.index)
        self._put_in_place()
        self.settle()
        clear(self.incoming)
        clear(self.partial)

    def settle(self) -> None:
        """Finish what a pull that was killed between two renames had begun.

        The tree that `incoming.json` names is marked as whole, if it is the one that is in place.
        """
        if not os.path.lexists(self.next):
            return
        if not self._is_put_in_place():
            return os.unlink(self.next)
        if os.path.lexists(self.coming):
            os.rename(self.coming, self.index)
        sync_folder(self.folder)
        os.rename(self.next, self.marker)
        sync_folder(self.folder)

    def _is_put_in_place(self) -> bool:
        """Whether the tree is the one that `incoming.json` names."""
        inode = _load(self.next).get("inode")
        return os.path.isdir(self.tree) and os.stat(self.tree).st_ino == inode

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
        """Where a file system cannot exchange names; a kill in between leaves no snapshot."""
        unlink_if_there(self.marker)
        clear(self.partial)
        os.rename(self.tree, self.partial)
        os.rename(self.incoming, self.tree)

    def is_as_wide(self, image: Image) -> bool:
        """Whether a pull of `image` would bring no name that this one had left out."""
        facts = self.facts()
        excluded = set(facts.get("exclude", []))
        kept = set(facts.get("keep", image.keep))
        return excluded <= set(image.exclude) and kept >= set(image.keep)

    def discard(self) -> None:
        """Remove it all; what is noted of the tree goes before the tree does."""
        if not os.path.isdir(self.folder):
            return
        for path in (self.next, self.marker, self.index):
            unlink_if_there(path)
        clear(self.folder)


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            noted: dict[str, Any] = json.load(file)
            return noted
    except (OSError, ValueError):  # not there, or not ours to read: not whole either way
        return {}


def claims_of(folder: str) -> dict[str, Any] | None:
    """What the tree of a snapshot claims to be besides what it is; None where it is all of it."""
    return Snapshot(folder).facts().get("claims")
