"""References: the node, archive or package list that an image's root is made of, as snapshots of the build's own.

A snapshot's folder holds `tree` and, written last, `snapshot.json`. A new tree is made beside the old one and changes
places with it by one rename, so that whatever ends a pull leaves the old snapshot or the new one. A tree is never
changed once it is there: staged roots hard-link to its files, and so does the next snapshot.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import errno
import hashlib
import json
import os
import shutil
from typing import Any, Callable, Iterator

from .errors import Refused
from .files import sync_folder, write_atomic
from .running import NowAndThen, Say
from .site import Image

COMPLETE = "snapshot.json"  # is there when the snapshot is whole, and another one after each pull
NEXT = "incoming.json"  # what that will be when the tree that it names has taken its place
INDEX = "index"  # what the last scan of `tree` knows of its files; no longer there than they are

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)


def key(image: Image) -> str:
    """12 hex digits of what the reference is; images that say the same share a snapshot."""
    what = (image.reference, image.also if image.reference.kind == "rsync" else None)
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def pull(image: Image, folder: str, say: Say) -> None:
    """Make `folder`/tree the reference as it is now; `say` gets a line now and then.

    A `path` reference is read in place and never pulled. Raises Refused, with the old snapshot as it was.
    """
    _needs_root(image)
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o700)  # it holds what only root of the reference may read, and programs that run as root
    settle(folder)
    _take(image)(image, Snapshot(folder), say)


def settle(folder: str) -> None:
    """Finish what a pull that was killed between two renames had begun; it had the new tree in place, or had not."""
    Snapshot(folder).settle()


def is_as_wide(image: Image, folder: str) -> bool:
    """Whether a pull of `image` would bring no name that the snapshot's had left out."""
    had = Snapshot(folder).facts()
    return set(had.get("exclude", [])) <= set(image.exclude) and set(image.keep) <= {*had.get("keep", image.keep)}


def discard(folder: str) -> None:
    """Forget a snapshot."""
    from .place import clear

    if os.path.isdir(folder):
        for name in (NEXT, COMPLETE, INDEX):  # they say what is in the tree
            _unlink(os.path.join(folder, name))
        clear(folder)


def _needs_root(image: Image) -> None:
    if os.geteuid():
        raise Refused(
            f"{image.name}: taking {describe(image)} needs root, for owners and devices of its files: "
            "run ./doit as root, or name a folder that you may read as `reference: {path: …}`"
        )


def describe(image: Image) -> str:
    """The reference in a few words."""
    reference = image.reference
    return f"bootstrap of {reference.suite}" if reference.kind == "bootstrap" else reference.where


def _take(image: Image) -> Callable[[Image, Snapshot, Say], None]:
    if image.reference.kind == "rsync":
        from .remote import pull_remote as take
    elif image.reference.kind == "archive":
        from .archive import pull_archive as take
    else:
        from .bootstrap import pull_packages as take
    return take


class Snapshot:
    """A snapshot's folder: `tree`, the `incoming` one, and the `partial` one of a pull that did not end."""

    def __init__(self, folder: str):
        self.folder = os.path.abspath(folder)
        self.tree, self.incoming, self.partial = (os.path.join(self.folder, n) for n in ("tree", "incoming", "partial"))
        self.marker, self.next = os.path.join(self.folder, COMPLETE), os.path.join(self.folder, NEXT)
        self.index, self.coming = os.path.join(self.folder, INDEX), os.path.join(self.folder, "incoming.index")

    def begin(self) -> str:
        """An empty folder to fill. What an earlier try left there becomes `partial`."""
        from .place import clear

        if os.path.lexists(self.incoming):
            clear(self.partial)
            os.rename(self.incoming, self.partial)
        os.mkdir(self.incoming)
        os.chmod(self.incoming, 0o755)
        return self.incoming

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """A folder for what programs leave behind; one that a killed pull left goes with it."""
        from .place import clear

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
        from .place import clear, sync

        self._read(image, say)
        sync(self.incoming)
        taken = datetime.datetime.now(datetime.UTC).isoformat()
        note = {"reference": describe(image), "taken": taken, "inode": os.stat(self.incoming).st_ino, **facts}
        write_atomic(self.next, (json.dumps(note, indent=1) + "\n").encode(), durable=True)
        _unlink(self.index)
        self._put_in_place()
        self.settle()
        clear(self.incoming)
        clear(self.partial)

    def settle(self) -> None:
        """Mark the tree that `incoming.json` names as whole, if it is the one that is in place."""
        if not os.path.lexists(self.next):
            return
        if not os.path.isdir(self.tree) or os.stat(self.tree).st_ino != _load(self.next).get("inode"):
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
        from .bounds import bounds
        from .scan import scan
        from .secret_scan import scanner

        tell = NowAndThen(say)
        _unlink(self.coming)
        if os.path.isdir(self.tree) and os.path.exists(self.index):
            shutil.copyfile(self.index, self.coming)
        scan(
            self.incoming, self.coming, **bounds(image), owned=True, judge=scanner(),
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
        from .place import clear

        _unlink(self.marker)
        clear(self.partial)
        os.rename(self.tree, self.partial)
        os.rename(self.incoming, self.tree)


def exchange(one: str, other: str) -> None:
    """Let two names change places at once (renameat2(2), which Python does not have)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one, None, other)


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            noted: dict[str, Any] = json.load(file)
            return noted
    except (OSError, ValueError):  # not there, or not ours to read: not whole either way
        return {}


def _unlink(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
