"""Staging: from a reference worker node's tree to the root that its image's nodes share."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..base.errors import BadInput
from ..base.overlays import BUILT_IN_OVERLAYS
from ..base.text import show_path
from ..site.model import NFS_OVERLAY, Image, partitions_of
from ..tree.capabilities import ATTRIBUTE, capabilities
from ..tree.model import BLOCK, CHAR, FILE, Entry, Tree, generated_file, in_order, resolve
from . import hosts, modes, overlay, rc_sysinit, selinux, transforms, units
from .disks import has_program
from .scrub import kept, scrub

CAPABLE = b"etc/plugnode/capabilities"  # a line a file: for setcap, and its path
SETCAP = ("usr/sbin/setcap", "sbin/setcap", "usr/bin/setcap")
REMEDY = (
    "NFS carries no file capabilities: give them by a unit's AmbientCapabilities=, "
    "or make the program setuid, or say `root: nfs-overlay`"
)
NO_SETCAP = "nodes give them to files above the root by setcap: add libcap2-bin to the reference"


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
        tree = in_order(reference)
        transforms.check_tree(tree)
        disks = units.own_disks(tree, image.keep)
        tree, left_out = _left(tree, image, disks)
        init = rc_sysinit.init_of(tree, image.cmdline)
        tree = _shareable(tree, image, init)
    over = layers(image, init, tree, folders)
    laid = overlay.merge(tree, over)
    with _named(image):
        made = _completed(laid, image, init, tree)

    notes = {"hosts": hosts.others(reference), **left_out, **listed(made)}
    notes |= _started(made, image, init)
    notes["bereft"] = units.bereft(made, disks, mounts(image))
    return StagedRoot(made, notes, tuple(each.folder for each in over))


def _left(tree: Tree, image: Image, disks: Iterable[str]) -> tuple[Tree, dict[str, Any]]:
    """What is left of a reference without what is its own, and notes of what that was."""
    let_out = kept(tree, image.keep)
    tree, scrubbed = scrub(tree, image.keep)
    tree, unmounted = units.without(tree, disks)
    gone = [*scrubbed, *unmounted]
    return tree, {"scrubbed": _plain(gone), "kept": _plain(let_out)}


def _plain(rows: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """As JSON has them."""
    return [list(row) for row in rows]


def _shareable(tree: Tree, image: Image, init: str) -> Tree:
    """What the overlays are laid over: no node's own disks, and what differs by node leads out."""
    tree = transforms.mount_points(tree, mounts(image))
    tree = transforms.fstab(tree)
    return transforms.links(tree, init)


def _completed(laid: Tree, image: Image, init: str, before: Tree) -> Tree:
    """What can only be done with the overlays over it."""
    tree = transforms.fstab_points(laid)
    tree = transforms.add_hook(tree, init)
    tree = transforms.make_local_files(tree, local_files(image, init), before)
    tree = transforms.make_node_files(tree, dict(image.node_files), image.name)
    tree = transforms.make_secret_places(tree, image.secret_places)
    tree = transforms.name_link(tree, init)
    tree = transforms.apparmor(tree)
    if init == transforms.SYSTEMD:
        tree = units.keep_configuration(tree)
        tree = units.wait_for_disks(tree)
    return list_capable(transforms.var_ro(tree))


def list_capable(tree: Tree) -> Tree:
    """The capabilities of files beside them, for nodes that can give them to a layer above."""
    lines = []
    for path, entry in tree.items():
        if entry.xattrs and (found := capabilities(entry)) and b"\n" not in path:
            lines.append(f"{found}\t/".encode() + path + b"\n")
    if not lines:
        return tree
    return in_order({**tree, CAPABLE: generated_file(b"".join(lines))})


def lost_capabilities(image: Image, notes: Mapping[str, Any]) -> list[str]:
    """A line where programs will not have on nodes what their files let them do."""
    capable = notes.get("capabilities", [])
    is_carried = image.root == NFS_OVERLAY and notes.get("setcap")
    if not capable or is_carried:
        return []
    more = f" and {len(capable) - 3} more" if len(capable) > 3 else ""
    files = ", ".join(capable[:3]) + more
    remedy = NO_SETCAP if image.root == NFS_OVERLAY else REMEDY
    return [f"{files}: with file capabilities; {remedy}"]


def _started(tree: Tree, image: Image, init: str) -> dict[str, Any]:
    """How a root starts, and what nodes would stumble over then."""
    is_systemd = init == transforms.SYSTEMD
    return {
        "init": init,
        "unwritable": units.unwritable(tree, mounts(image)) if is_systemd else [],
        "selinux": selinux.is_enforced(tree),
        "secrets_lack": list(_lacking(tree)) if image.secret_places else [],
    }


def _lacking(tree: Tree) -> Iterator[str]:
    """What nodes need to open their secrets, and this root has not."""
    if not has_program(tree, "age"):
        yield "the root lacks age, by which nodes open their secrets: add age to the reference"
    if not (has_program(tree, "curl") or has_program(tree, "busybox")):
        yield "the root lacks curl, by which nodes fetch their secrets: add curl to the reference"


def pack(staged: StagedRoot, image: Image) -> StagedRoot:
    """The same root, with what fills its nodes' folders in one file each."""
    return replace(staged, tree=transforms.pack(staged.tree, fills(image)))


def fills(image: Image) -> list[str]:
    """The folders of a root that fill its nodes' own, as the site names them."""
    return sorted({"/var.ro", *filter(None, (part.fill for part in partitions_of(image)))})


def mounts(image: Image) -> list[str]:
    """Where the image's disks are mounted.

    A node or group whose disks have others needs them here: the root is one.
    """
    return [part.mount for part in partitions_of(image) if part.mount.startswith("/")]


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
        "setcap": any(resolve(tree, path.encode()) in tree for path in SETCAP),
        "setuid": _files(tree, _is_setuid),
        "not_world_readable": _files(tree, _is_closed),
        "open_devices": _open_devices(tree),
        "unknown_users": sorted(users.difference(known.users.values())),
        "unknown_groups": sorted(groups.difference(known.groups.values())),
    }


def _open_devices(tree: Tree) -> list[str]:
    return [show_path(path) for path, entry in tree.items() if _is_open(entry)]


def _files(tree: Tree, is_listed: Callable[[Entry], bool]) -> list[str]:
    return [
        show_path(path) for path, entry in tree.items() if entry.type == FILE and is_listed(entry)
    ]


# Devices that are everybody's (devices.txt of Linux): null, zero, full, random, urandom, tty, ptmx,
# fuse, tun
PUBLIC = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (10, 229), (10, 200)}


def _is_open(entry: Entry) -> bool:
    """Is it a device of which everybody could read, or to which write, what is nobody's?"""
    if entry.type == BLOCK:
        return bool(entry.mode & 0o006)
    return entry.type == CHAR and entry.device not in PUBLIC and bool(entry.mode & 0o006)


def _is_setuid(entry: Entry) -> bool:
    return bool(entry.mode & (stat.S_ISUID | stat.S_ISGID))


def _is_closed(entry: Entry) -> bool:
    return not entry.mode & stat.S_IROTH


def _has_capabilities(entry: Entry) -> bool:
    return bool(entry.xattrs) and ATTRIBUTE in dict(entry.xattrs)
