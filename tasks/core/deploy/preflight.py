"""All that can be known to go wrong with a deploy before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import unlocked
from ..base.process import Say
from ..base.text import human
from ..plan import nearest, state
from ..plan.decide import changed_services
from ..plan.model import Plan
from ..plan.state import Actual, BuiltRelease, Desired, pins
from ..plan.ukis import unsigned_labels
from ..services import daemon_files
from ..store import tftp
from ..store.operation import at_work
from ..store.paths import Targets, stay_inside
from ..store.served import root_file_of, served_size
from ..tree.model import DIR
from ..plan.actual import site_signature
from ..trust.held import NOT_TAKEN, UNSIGNED, unsigned
from ..trust.signatures import accepts, is_good
from . import publish

# What a file takes of a disk is a multiple of it (ext4, XFS and btrfs as they are made).
BLOCK = 4096
RESERVE = 1.02  # a fiftieth more, for folders' own blocks and the journal


class RoomNeeded(NamedTuple):
    """What is written below a folder: bytes and inodes."""

    folder: str
    size: int
    names: int

    def plus(self, other: RoomNeeded) -> RoomNeeded:
        """Both, on the file system of this one."""
        size = self.size + other.size
        return RoomNeeded(self.folder, size, self.names + other.names)


def check_room_for(plan: Plan, actual: Actual, desired: Desired) -> None:
    """Bytes and inodes of every file system that is written to. Raises Refused with the figures."""
    needs = [_of_files(plan, actual, desired), *_of_root_files(plan, actual)]
    for built in plan.roots:
        needs.append(_of_root(actual, built))
    for need in _by_file_system(needs):
        _check_room(need)


def _of_files(plan: Plan, actual: Actual, desired: Desired) -> RoomNeeded:
    sizes: list[int] = []
    for built in plan.boots:
        sizes += map(built.size, built.release.boot_files)
    for name in plan.loaders:
        sizes.append(os.stat(desired.loaders[name]).st_size)
    for change in plan.changes:
        if change.after is not None:
            sizes.append(len(change.after))
    if plan.site_img:
        files = desired.site_files(actual.released.values(), b"")
        sizes += map(len, files.values())
    return RoomNeeded(
        folder=actual.targets.tftp_root,
        size=sum(map(blocks, sizes)),
        names=len(sizes) + len(plan.boots),
    )


def _of_root_files(plan: Plan, actual: Actual) -> Iterator[RoomNeeded]:
    for built in plan.boots:
        release = built.release
        file = root_file_of(actual.targets, release).path
        if release.is_of_file and served_size(file) != release.root_bytes:
            root = os.path.dirname(os.path.dirname(file))
            yield RoomNeeded(root, blocks(release.root_bytes), 2)


def _of_root(actual: Actual, built: BuiltRelease) -> RoomNeeded:
    """What a root takes beside the release that it shares files with, and what of it is there."""
    entries = nearest.load_diff(actual, built).after.values()
    new = [entry.size for entry in entries if entry.type != DIR]
    folders = state.manifest_of_build(built).mtree.count(b" type=dir ")
    # What an earlier deploy brought, which was cut off.
    targets = actual.targets
    received = _sizes(os.path.join(targets.received, built.release.id))

    size = folders * BLOCK - sum(map(blocks, received))
    size += sum(blocks(max(each, 1)) for each in new)
    names = len(new) + folders - len(received)
    return RoomNeeded(targets.nfs_root, size, names)


def _sizes(folder: str) -> list[int]:
    """Of every file below a folder."""
    sizes = []
    for above, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(above, name)
            sizes.append(os.lstat(path).st_size)
    return sizes


def blocks(size: int) -> int:
    """Bytes on disk of a file of `size` bytes."""
    return -(-size // BLOCK) * BLOCK


def _by_file_system(needs: Iterable[RoomNeeded]) -> Iterable[RoomNeeded]:
    """The needs of folders that are on one file system, added."""
    sums: dict[int, RoomNeeded] = {}
    for need in needs:
        device = os.stat(_nearest(need.folder)).st_dev
        if before := sums.get(device):
            sums[device] = before.plus(need)
        else:
            sums[device] = need
    return sums.values()


def _nearest(folder: str) -> str:
    """The folder, or what of the way to it is there: its file system is the one that has it."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _check_room(need: RoomNeeded) -> None:
    """Raises Refused where that does not fit."""
    free = os.statvfs(_nearest(need.folder))
    size = need.size * RESERVE
    room = free.f_bavail * free.f_frsize
    why = ""
    if size > room:
        why = f"needs {human(size)}, {human(room)} free"
    elif free.f_files and need.names > free.f_favail:  # btrfs counts none
        why = f"needs {need.names} inodes, {free.f_favail} free"
    if why:
        raise Refused(f"{need.folder}: {why}; nothing was changed")


def must_be_two(targets: Targets) -> None:
    """Raises Refused where the folders of TFTP and NFS are one, by whichever names."""
    if _are_one(targets.tftp_root, targets.nfs_root):
        folders = f"{targets.tftp} and {targets.nfs}"
        raise Refused(f"{folders} are one folder; nfs_root and tftp_root must be two")


def _are_one(folder: str, other: str) -> bool:
    if os.path.isdir(folder) and os.path.isdir(other):
        return os.path.samefile(folder, other)
    return os.path.realpath(folder) == os.path.realpath(other)


def refusal(plan: Plan, actual: Actual, desired: Desired) -> str:
    """Why a deploy would refuse to do this, in its words; "" where it would not.

    Nothing is changed.
    """
    targets = actual.targets
    folders = (targets.tftp_root, targets.nfs_root, targets.kept(""))
    try:
        for folder in folders:
            stay_inside(targets, folder)
        must_be_two(targets)
        unlocked(targets.kept("lock"), at_work(targets, "deploy"))
        if plan.changed or plan.unfinished:
            refuse_unready(plan, actual, desired)
    except Refused as error:
        return str(error)
    return ""


def refuse_unready(plan: Plan, actual: Actual, desired: Desired) -> None:
    """All that can be known to go wrong, before anything is changed. Raises Refused."""
    targets = actual.targets
    for folder in _written_to(plan, targets):
        stay_inside(targets, folder)
    _must_be_signed(plan, actual, desired)
    check_room_for(plan, actual, desired)
    for built in plan.roots:
        publish.must_be_free(targets, built)
    _pins_must_be_there(actual, desired)
    tftp.refuse_folders(_written_files(plan, targets))
    for service in changed_services(plan, actual, desired):
        daemon_files.check_service(service, targets.at(service.path))


def _standing(actual: Actual, desired: Desired) -> list[str]:
    """The releases on the server that nodes boot afterwards."""
    ids = {built.release.id for built in desired.releases} | pins(desired)
    return sorted(ids & actual.released.keys())


def _site_must_be_taken(actual: Actual, desired: Desired, ids: Iterable[str]) -> None:
    """Raises Refused where nodes of these releases would not take site data as it is signed."""
    signature = site_signature(actual.targets, desired)
    if not signature and desired.trust.makes_them:  # a plan, before what it foresees
        return
    for id in ids:
        release = actual.released[id]
        if not accepts(release.keys, signature):
            raise Refused(f"{id} {NOT_TAKEN.format(release.keys)}; nothing was changed")


def _must_be_signed(plan: Plan, actual: Actual, desired: Desired) -> None:
    """Raises Refused where the site trusts keys, and none of them has signed what nodes boot."""
    if missing := unsigned_labels(desired):
        what = f"{', '.join(missing)}: not signed for Secure Boot by `trust: secure_boot:`"
        raise Refused(f"{what}; ./doit sign where that key is, and deploy; nothing was changed")
    trust, data = desired.trust, desired.signable
    if not trust.keys:
        return _site_must_be_taken(actual, desired, _standing(actual, desired))
    missing = []
    for id in plan.signed:
        signature = trust.signatures.get(id)
        if signature is None and trust.makes_them:  # a plan, before what it foresees
            continue
        if not signature or not is_good(data[id], signature, trust.keys):
            missing.append(id)
    standing = _standing(actual, desired)
    held = set(standing) - data.keys()
    missing += unsigned(actual.targets, sorted(held), trust.keys)
    _site_must_be_taken(actual, desired, standing)
    if missing:
        remedy = "./doit sign where that key is, and deploy"
        raise Refused(f"{', '.join(missing)}: {UNSIGNED}; {remedy}; nothing was changed")


def _pins_must_be_there(actual: Actual, desired: Desired) -> None:
    built = {each.release.id for each in desired.releases}
    missing = pins(desired) - actual.released.keys() - built
    if missing:
        ids = ", ".join(sorted(missing))
        raise Refused(f"{ids}: pinned in site.yaml and not on the server; nothing was changed")


def _written_files(plan: Plan, targets: Targets) -> list[str]:
    """The files that a deploy writes."""
    files = []
    for change in plan.changes:
        if change.after is not None:
            files.append(targets.at(change.path))
    files += map(targets.served, plan.loaders)
    return files


def _written_to(plan: Plan, targets: Targets) -> list[str]:
    """The folders that a deploy writes to."""
    paths = {change.path for change in plan.changes}
    paths.update(f"{targets.tftp}/{name}" for name in plan.loaders)
    files = map(targets.at, paths)
    folders = set(map(os.path.dirname, files))
    return [targets.incoming_roots, targets.incoming_files, *sorted(folders)]


def warn_of_exposure(targets: Targets, say: Say) -> None:
    """Tell of an nfs_root on another's file system.

    no_subtree_check (exports(5)) lets a client read all of that.
    """
    if targets.destdir:
        return
    device = os.stat(targets.nfs_root).st_dev
    above = os.stat(os.path.dirname(targets.nfs_root))
    if device == above.st_dev:
        what = "is not a file system of its own: NFS clients can read the rest of the one it is on"
        say(f"{targets.nfs} {what}")


def is_open(targets: Targets) -> bool:
    """May local users enter nfs_root, to its setuid programs and devices? Nodes need not."""
    return not targets.destdir and bool(os.stat(targets.nfs_root).st_mode & 0o007)


def missing_options(targets: Targets) -> list[str]:
    """The mount options that nfs_root's own file system lacks for local users' sake.

    Nothing where it is on another's: that cannot have them.
    """
    if targets.destdir or not os.path.ismount(targets.nfs_root):
        return []
    flags = os.statvfs(targets.nfs_root).f_flag
    wanted = {"nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV}
    return [option for option, flag in wanted.items() if not flags & flag]
