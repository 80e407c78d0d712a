"""All that can be known to go wrong with a deploy before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..base.errors import Refused
from ..base.files import unlocked
from ..base.process import Say
from ..base.text import human
from ..plan import nearest, state
from ..plan.decide import Plan, changed_services
from ..plan.state import Actual, BuiltRelease, Desired, pins
from ..services import services
from ..store import tftp
from ..store.operation import at_work
from ..store.paths import Targets, stay_inside
from ..tree.model import DIR
from . import publish

BLOCK = (
    4096  # what a file takes of a disk is a multiple of it (ext4, XFS and btrfs as they are made)
)


def check_room_for(plan: Plan, there: Actual, wanted: Desired) -> None:
    """Bytes and inodes of every file system that is written to. Raises Refused with the figures."""
    needs = [(there.targets.tftp_root, *_of_files(plan, wanted))]
    needs += [(there.targets.nfs_root, *_of_root(there, built)) for built in plan.roots]
    for folder, (size, names) in _by_file_system(needs).items():
        check_room(folder, size, names)


def _of_files(plan: Plan, wanted: Desired) -> tuple[int, int]:
    sizes = [built.size(name) for built in plan.boots for name in ("vmlinuz", "initrd.img")]
    sizes += [os.stat(wanted.loaders[name]).st_size for name in plan.loaders]
    sizes += [len(change.after) for change in plan.changes if change.after is not None]
    sizes += [len(wanted.site_img)] * plan.site_img
    return sum(map(blocks, sizes)), len(sizes) + len(plan.boots)


def _of_root(there: Actual, built: BuiltRelease) -> tuple[int, int]:
    """Bytes and inodes that a root takes beside the release that it shares files with, and what of it is there."""
    new = [
        entry.size for entry in nearest.load_diff(there, built).after.values() if entry.type != DIR
    ]
    folders = state.manifest_of_build(built).mtree.count(b" type=dir ")
    come = _sizes(
        os.path.join(there.targets.received, built.release.id)
    )  # by an earlier deploy that was cut off
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


def must_be_two(targets: Targets) -> None:
    """Raises Refused where the folders of TFTP and NFS are one, by whichever names."""
    one, other = targets.tftp_root, targets.nfs_root
    there = os.path.isdir(one) and os.path.isdir(other)
    if os.path.samefile(one, other) if there else os.path.realpath(one) == os.path.realpath(other):
        raise Refused(
            f"{targets.tftp} and {targets.nfs} are one folder; nfs_root and tftp_root must be two"
        )


def refusal(plan: Plan, there: Actual, wanted: Desired) -> str:
    """Why a deploy would refuse to do this, in its words; "" where it would not. Nothing is changed."""
    targets = there.targets
    try:
        for folder in (targets.tftp_root, targets.nfs_root, targets.kept("")):
            stay_inside(targets, folder)
        must_be_two(targets)
        unlocked(targets.kept("lock"), at_work(targets, "deploy"))
        if plan.changed or plan.unfinished:
            refuse_unready(plan, there, wanted)
    except Refused as error:
        return str(error)
    return ""


def refuse_unready(plan: Plan, there: Actual, wanted: Desired) -> None:
    """All that can be known to go wrong, before anything is changed. Raises Refused."""
    for folder in _written_to(plan, there):
        stay_inside(there.targets, folder)
    check_room_for(plan, there, wanted)
    for built in plan.roots:
        publish.must_be_free(there.targets, built)
    missing = sorted(
        pins(wanted) - there.released.keys() - {built.release.id for built in wanted.releases}
    )
    if missing:
        raise Refused(
            f"{', '.join(missing)}: pinned in site.yaml and not on the server; nothing was changed"
        )
    paths = [there.targets.at(change.path) for change in plan.changes if change.after is not None]
    tftp.refuse_folders([*paths, *map(there.targets.served, plan.loaders)])
    for service in changed_services(plan, there, wanted):
        services.check_service(service, there.targets.at(service.path))


def _written_to(plan: Plan, there: Actual) -> list[str]:
    """The folders that a deploy writes to."""
    targets = there.targets
    paths = {change.path for change in plan.changes} | {
        f"{targets.tftp}/{name}" for name in plan.loaders
    }
    own = [targets.incoming_roots, targets.incoming_files]
    return own + sorted({os.path.dirname(targets.at(path)) for path in paths})


def warn_of_exposure(targets: Targets, say: Say) -> None:
    """nfs_root on another's file system: no_subtree_check (exports(5)) lets a client read all of that."""
    if (
        not targets.destdir
        and os.stat(targets.nfs_root).st_dev == os.stat(os.path.dirname(targets.nfs_root)).st_dev
    ):
        say(
            f"{targets.nfs} is not a file system of its own: NFS clients can read the rest of the one it is on"
        )
