"""Staging: from a reference worker node's tree to the root that its image's nodes share."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..base.errors import BadInput
from ..base.overlays import BUILT_IN_OVERLAYS
from ..base.text import show_path
from ..site.model import Image
from ..tree.model import FILE, Entry, Tree
from . import hosts, modes, overlay, rc_sysinit, selinux, transforms, units
from .scrub import kept, scrub

REMEDY = (
    "NFS carries no file capabilities: give them by a unit's AmbientCapabilities=, "
    "or make the program setuid"
)


@dataclass(frozen=True)
class StagedRoot:
    """A root as it will be, before any of it is made."""

    tree: Tree  # sorted
    # for the report and plan; plain data, never a file's content (but names of etc/hosts)
    notes: dict[str, Any]
    layers: tuple[bytes, ...] = ()  # the overlays' folders


def stage(image: Image, reference: Tree, folders: tuple[str, ...]) -> StagedRoot:
    """The root of an image, from what was read of its reference: without what it excludes.

    `folders`: where `overlays/` are looked up. Only they are walked, and only files that change are
    read. Raises BadInput with what is wrong.
    """
    with _named(image):
        tree = dict(sorted(reference.items()))
        transforms.check_tree(tree)
        let_out = kept(tree, image.keep)
        tree, scrubbed = scrub(tree, image.keep)
        init = rc_sysinit.init_of(tree)
        bare = _shareable(tree, image, init)
    over = layers(image, init, bare, folders)
    laid = overlay.merge(bare, over)
    with _named(image):
        made = _completed(laid, image, init, bare)

    notes = {
        "hosts": hosts.others(reference),
        "scrubbed": list(map(list, scrubbed)),
        "kept": list(map(list, let_out)),
    }
    notes |= listed(made) | _started(made, image, init)
    return StagedRoot(made, notes, tuple(each.folder for each in over))


def _shareable(tree: Tree, image: Image, init: str) -> Tree:
    """What the overlays are laid over: no node's own disks, and what differs by node leads out."""
    tree = transforms.mount_points(tree, mounts(image))
    tree = transforms.fstab(tree)
    return transforms.links(tree, init)


def _completed(laid: Tree, image: Image, init: str, before: Tree) -> Tree:
    """What can only be done with the overlays over it."""
    tree = transforms.add_hook(laid, init)
    tree = transforms.make_local_files(tree, local_files(image, init), before)
    if init == transforms.SYSTEMD:
        tree = units.keep_configuration(tree)
    return transforms.var_ro(tree)


def _started(tree: Tree, image: Image, init: str) -> dict[str, Any]:
    """How a root starts, and what nodes would stumble over then."""
    is_systemd = init == transforms.SYSTEMD
    return {
        "init": init,
        "unwritable": units.unwritable(tree, mounts(image)) if is_systemd else [],
        "selinux": selinux.is_enforced(tree),
    }


def pack(staged: StagedRoot, image: Image) -> StagedRoot:
    """The same root, with what fills its nodes' folders in one file each."""
    parts = image.disk.partitions
    fills = {"/var.ro", *filter(None, (part.fill for part in parts))}
    return replace(staged, tree=transforms.pack(staged.tree, sorted(fills)))


def mounts(image: Image) -> list[str]:
    """Where the image's disk is mounted.

    A node or group whose disk has others needs them here: the root is one.
    """
    return [part.mount for part in image.disk.partitions if part.mount.startswith("/")]


@contextlib.contextmanager
def _named(image: Image) -> Iterator[None]:
    """Problems inside the reference begin with where it is."""
    try:
        yield
    except BadInput as bad:
        where = image.reference.where.rstrip("/") or image.name
        problems = [each._replace(file=f"{where}/{each.file}") for each in bad.problems]
        raise BadInput(problems) from None


def overlays(image: Image, init: str) -> tuple[str, ...]:
    """Names of the overlays of an image, the lowest first."""
    built_in = [name for name in BUILT_IN_OVERLAYS if name in ("worker", init)]
    return (*built_in, *image.overlays)


def layers(
    image: Image, init: str, tree: Tree, folders: Iterable[str]
) -> list[overlay.OverlayLayer]:
    """The overlays of an image, read, with the accounts that its tree knows."""
    names = overlays(image, init)
    known = modes.accounts(tree)
    found = overlay.find_layers(tuple(folders), names)
    return [overlay.layer(folder, name, known) for name, folder in found]


def local_files(image: Image, init: str) -> tuple[str, ...]:
    """The files that each node has of its own."""
    if image.local_files is None:
        return transforms.DEFAULT_LOCAL_FILES[init]
    return image.local_files


def listed(tree: Tree) -> dict[str, Any]:
    """What a reviewer wants to know of the files in the export, as sorted lists."""
    known = modes.accounts(tree)
    users = {entry.uid for entry in tree.values()}
    groups = {entry.gid for entry in tree.values()}
    capable = _files(tree, _has_capabilities)
    return {
        "capabilities": capable,
        "capabilities_remedy": REMEDY if capable else "",
        "setuid": _files(tree, _is_setuid),
        "not_world_readable": _files(tree, _is_closed),
        "unknown_users": sorted(users.difference(known.users.values())),
        "unknown_groups": sorted(groups.difference(known.groups.values())),
    }


def _files(tree: Tree, is_listed: Callable[[Entry], bool]) -> list[str]:
    return [
        show_path(path) for path, entry in tree.items() if entry.type == FILE and is_listed(entry)
    ]


def _is_setuid(entry: Entry) -> bool:
    return bool(entry.mode & (stat.S_ISUID | stat.S_ISGID))


def _is_closed(entry: Entry) -> bool:
    return not entry.mode & stat.S_IROTH


def _has_capabilities(entry: Entry) -> bool:
    return bool(entry.xattrs) and "security.capability" in dict(entry.xattrs)
