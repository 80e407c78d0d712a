"""Staging: from a reference worker node's tree to the root that its image's nodes share."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..base import text
from ..base.errors import BadInput
from ..base.overlays import BUILT_IN_OVERLAYS
from ..site.model import Image
from ..tree.model import FILE, Tree
from . import hosts, modes, overlay, rc_sysinit, transforms
from .scrub import kept, scrub

REMEDY = "NFS carries no file capabilities: give them by a unit's AmbientCapabilities=, or make the program setuid"


@dataclass(frozen=True)
class StagedRoot:
    tree: Tree  # sorted
    notes: dict[
        str, Any
    ]  # for the report and plan; plain data, never a file's content (but names of etc/hosts)
    layers: tuple[bytes, ...] = ()  # the overlays' folders


def stage(image: Image, reference: Tree, folders: tuple[str, ...]) -> StagedRoot:
    """The root of an image, from what was read of its reference: without what it excludes.

    `folders`: where `overlays/` are looked up. Only they are walked, and only files that change are read. Raises
    BadInput with what is wrong.
    """
    with _named(image):
        tree = {path: reference[path] for path in sorted(reference)}
        transforms.check_tree(tree)
        let_out = kept(tree, image.keep)
        tree, scrubbed = scrub(tree, image.keep)
        init = rc_sysinit.init_of(tree)
        tree = transforms.mount_points(tree, mounts(image))
        tree = transforms.fstab(tree)
        tree = transforms.links(tree, init)
    over = layers(image, init, tree, folders)
    laid = overlay.merge(tree, over)
    with _named(image):
        laid = transforms.add_hook(laid, init)
        laid = transforms.make_local_files(laid, local_files(image, init), before=tree)
        laid = transforms.var_ro(laid)
    notes = {
        "init": init,
        "hosts": hosts.others(reference),
        "scrubbed": [list(note) for note in scrubbed],
        "kept": [list(each) for each in let_out],
    }
    return StagedRoot(laid, {**notes, **listed(laid)}, tuple(each.folder for each in over))


def mounts(image: Image) -> list[str]:
    """Where the image's disk is mounted. A node or group whose disk has others needs them here: the root is one."""
    return [part.mount for part in image.disk.partitions if part.mount.startswith("/")]


@contextlib.contextmanager
def _named(image: Image) -> Iterator[None]:
    """Problems inside the reference begin with where it is."""
    try:
        yield
    except BadInput as bad:
        where = image.reference.where.rstrip("/") or image.name
        raise BadInput(
            each._replace(file=f"{where}/{each.file}") for each in bad.problems
        ) from None


def overlays(image: Image, init: str | None = None) -> tuple[str, ...]:
    """Names of the overlays of an image, the lowest first; all that may be used as long as the init is not known."""
    built_in = [
        name for name in BUILT_IN_OVERLAYS if name == "worker" or init in (None, name)
    ]
    return (*built_in, *image.overlays)


def layers(
    image: Image, init: str, tree: Tree, folders: Iterable[str]
) -> list[overlay.OverlayLayer]:
    known = modes.accounts(tree)
    found = overlay.find_layers(tuple(folders), overlays(image, init))
    return [overlay.layer(folder, name, known) for name, folder in found]


def local_files(image: Image, init: str) -> tuple[str, ...]:
    return transforms.DEFAULT_LOCAL_FILES[init] if image.local_files is None else image.local_files


def listed(tree: Tree) -> dict[str, Any]:
    """What a reviewer wants to know of the files in the export, as sorted lists."""
    files = [(path, entry) for path, entry in tree.items() if entry.type == FILE]
    known = modes.accounts(tree)
    capable = [
        text.show_path(path) for path, entry in files if "security.capability" in dict(entry.xattrs)
    ]
    return {
        "capabilities": capable,
        "capabilities_remedy": REMEDY if capable else "",
        "setuid": [
            text.show_path(path)
            for path, entry in files
            if entry.mode & (stat.S_ISUID | stat.S_ISGID)
        ],
        "not_world_readable": [
            text.show_path(path) for path, entry in files if not entry.mode & stat.S_IROTH
        ],
        "unknown_users": sorted({entry.uid for entry in tree.values()} - set(known.users.values())),
        "unknown_groups": sorted(
            {entry.gid for entry in tree.values()} - set(known.groups.values())
        ),
    }
