"""References: the node, archive or package list that an image's root is made of, as snapshots of the build's own.

A snapshot's folder holds `tree` and, written last, `snapshot.json`. A new tree is made beside the old one and changes
places with it by one rename, so that whatever ends a pull leaves the old snapshot or the new one. A tree is never
changed once it is there: staged roots hard-link to its files, and so does the next snapshot.
"""

from __future__ import annotations

import hashlib
import os
from typing import Callable

from ..base.errors import Refused
from ..base.files import clear
from ..base.process import Say
from ..site.model import Image
from .archive import pull_archive
from .bootstrap import pull_packages
from .rsync import pull_remote
from .snapshot import COMPLETE, INDEX, NEXT, Snapshot, describe, unlink_if_there


def key(image: Image) -> str:
    """12 hex digits of what the reference is; images that say the same share a snapshot."""
    what = (image.reference, image.also if image.reference.kind == "rsync" else None)
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def pull_reference(image: Image, folder: str, say: Say) -> None:
    """Make `folder`/tree the reference as it is now; `say` gets a line now and then.

    A `path` reference is read in place and never pulled. Raises Refused, with the old snapshot as it was.
    """
    _needs_root(image)
    os.makedirs(folder, exist_ok=True)
    os.chmod(
        folder, 0o700
    )  # it holds what only root of the reference may read, and programs that run as root
    settle(folder)
    _take(image)(image, Snapshot(folder), say)


def settle(folder: str) -> None:
    """Finish what a pull that was killed between two renames had begun; it had the new tree in place, or had not."""
    Snapshot(folder).settle()


def is_as_wide(image: Image, folder: str) -> bool:
    """Whether a pull of `image` would bring no name that the snapshot's had left out."""
    had = Snapshot(folder).facts()
    return set(had.get("exclude", [])) <= set(image.exclude) and set(image.keep) <= {
        *had.get("keep", image.keep)
    }


def discard(folder: str) -> None:
    """Forget a snapshot."""

    if os.path.isdir(folder):
        for name in (NEXT, COMPLETE, INDEX):  # they say what is in the tree
            unlink_if_there(os.path.join(folder, name))
        clear(folder)


def _needs_root(image: Image) -> None:
    if os.geteuid():
        raise Refused(
            f"{image.name}: taking {describe(image)} needs root, for owners and devices of its files: "
            "run ./doit as root, or name a folder that you may read as `reference: {path: …}`"
        )


def _take(image: Image) -> Callable[[Image, Snapshot, Say], None]:
    ways = {"rsync": pull_remote, "archive": pull_archive, "bootstrap": pull_packages}
    return ways[image.reference.kind]
