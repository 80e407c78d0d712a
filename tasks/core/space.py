"""Space: whether a deploy fits, before it copies anything."""

from __future__ import annotations

import os
from collections.abc import Iterable

from . import place
from .errors import Refused
from .plan import Built, Plan, There, Wanted
from .tree import DIR

BLOCK = 4096  # what a file takes of a disk is a multiple of it (ext4, XFS and btrfs as they are made)


def check(plan: Plan, there: There, wanted: Wanted) -> None:
    """Bytes and inodes of every file system that is written to. Raises Refused with the figures."""
    needs = [(there.targets.tftp_root, *_of_files(plan, wanted))]
    needs += [(there.targets.nfs_root, *_of_root(there, built)) for built in plan.roots]
    for folder, (size, names) in _by_file_system(needs).items():
        check_room(folder, size, names)


def _of_files(plan: Plan, wanted: Wanted) -> tuple[int, int]:
    sizes = [built.size(name) for built in plan.boots for name in ("vmlinuz", "initrd.img")]
    sizes += [os.stat(wanted.loaders[name]).st_size for name in plan.loaders]
    sizes += [len(change.after) for change in plan.changes if change.after is not None]
    sizes += [len(wanted.site_img)] * plan.site_img
    return sum(map(blocks, sizes)), len(sizes) + len(plan.boots)


def _of_root(there: There, built: Built) -> tuple[int, int]:
    """Bytes and inodes that a root takes beside the release that it shares files with, and what of it is there."""
    new = [entry.size for entry in place.load_pair(there, built).after.values() if entry.type != DIR]
    folders = place.recorded(built).manifest.count(b" type=dir ")
    come = _sizes(os.path.join(there.targets.received, built.release.id))  # by an earlier deploy that was cut off
    size = sum(blocks(max(size, 1)) for size in new) + folders * BLOCK - sum(map(blocks, come))
    return size, len(new) + folders - len(come)


def _sizes(folder: str) -> list[int]:
    """Of every file below a folder."""
    paths = [os.path.join(above, name) for above, _, names in os.walk(folder) for name in names]
    return [os.lstat(path).st_size for path in paths]


def blocks(size: int) -> int:
    """Bytes on disk of a file of `size` bytes."""
    return -(-size // BLOCK) * BLOCK


def _by_file_system(needs: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    """The needs of folders that are on one file system, added."""
    folders: dict[int, str] = {}
    sums: dict[str, tuple[int, int]] = {}
    for folder, size, names in needs:
        first = folders.setdefault(os.stat(_nearest(folder)).st_dev, folder)
        before = sums.get(first, (0, 0))
        sums[first] = before[0] + size, before[1] + names
    return sums


def _nearest(folder: str) -> str:
    """The folder, or what of the way to it is there: its file system is the one that will have it."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def check_room(folder: str, size: int, names: int) -> None:
    """Raises Refused where they do not fit; a fiftieth more is asked for folders' own blocks and the journal."""
    free = os.statvfs(_nearest(folder))
    needs, room = size * 1.02, free.f_bavail * free.f_frsize
    if needs > room:
        raise Refused(f"{folder}: needs {human(needs)}, {human(room)} free; nothing was changed")
    if free.f_files and names > free.f_favail:  # btrfs counts none
        raise Refused(f"{folder}: needs {names} inodes, {free.f_favail} free; nothing was changed")


def human(size: float) -> str:
    """Bytes as people read them: `1.9 GiB`."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} GiB"
