"""What a staged root has of what its nodes' disks need, and what it lacks of it.

A node's disk may be laid out by its group or by itself, but the root is its image's: it cannot be
written on a node, so that a folder to mount on is there or is not.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..base.text import unescape_octal
from ..site.model import Disk
from ..tree.model import DIR, FILE, LINK, Circle, Entry, Tree, resolve
from .transforms import fstab_fields
from .units import mounted

DEEPEST = 4  # nobody mounts a disk on a folder further down
PLACES = (b"sbin/", b"usr/sbin/", b"bin/", b"usr/bin/")  # PATH of setup.sh
MIB = 1 << 20

# What setup.sh calls for each file system, or RAID set, and the packages that have it
PROGRAMS = {
    "": {
        "awk": "mawk or gawk",
        "sfdisk": "fdisk, on EL util-linux",
        "blkid": "util-linux, on EL5 e2fsprogs",
    },
    "ext3": {"mkfs.ext3": "e2fsprogs", "fsck.ext3": "e2fsprogs"},
    "ext4": {
        "mkfs.ext4": "e2fsprogs, on EL5 e4fsprogs",
        "fsck.ext4": "e2fsprogs, on EL5 e4fsprogs",
    },
    "xfs": {"mkfs.xfs": "xfsprogs"},
    "raid": {"mdadm": "mdadm"},
    "swap": {"mkswap": "util-linux", "swapon": "mount or util-linux"},
}

DiskSupport = dict[str, Any]


def disk_support(tree: Tree) -> DiskSupport:
    """As JSON: "folders", "programs", "bytes" below folders of two levels, and where fstab
    ("mounts") and units mount something.
    """
    near = [path for path in tree if path.count(b"/") < DEEPEST]
    folders = [_text(path) for path in near if _leads(tree, path)]
    names = itertools.chain.from_iterable(PROGRAMS.values())
    programs = [name for name in names if has_program(tree, name)]
    sizes, mounts = _sizes(tree), sorted(set(_mounts(tree)))
    has = {"folders": folders, "programs": programs, "bytes": sizes}
    return has | {"mounts": mounts, "units": sorted(mounted(tree))}


def _mounts(tree: Tree) -> Iterator[str]:
    """Where the root's own fstab(5) has something mounted at boot.

    A tmpfs is no such thing: systemd leaves it out where a disk is mounted already.
    """
    for fields in fstab_fields(tree):
        device, mount, kind, options, *_ = [*fields, *[b""] * 4]
        if device.startswith(b"#") or kind == b"tmpfs" or b"noauto" in options.split(b","):
            continue
        if mount.startswith(b"/"):
            yield _text(unescape_octal(mount).rstrip(b"/"))


def _sizes(tree: Tree) -> dict[str, int]:
    """Bytes of all files below a name of the first two levels."""
    sizes: Counter[bytes] = Counter()
    for path, entry in tree.items():
        if entry.type == FILE:
            for folder in _top_folders(path):
                sizes[folder] += entry.size

    found: Counter[str] = Counter()
    for path, size in sizes.items():
        if path in tree:
            found[_text(path)] += size
    return dict(found)


def grown(had: DiskSupport, sizes: Mapping[bytes, int]) -> DiskSupport:
    """What a root has when its files, by their paths, are larger by so many bytes."""
    found = Counter[str](had["bytes"])
    for path, size in sizes.items():
        for folder in map(_text, _top_folders(path)):
            if folder in found:
                found[folder] += size
    return {**had, "bytes": dict(found)}


def _top_folders(path: bytes) -> tuple[bytes, bytes]:
    """The first part of a path, and the first two."""
    first, _, rest = path.partition(b"/")
    return first, first + b"/" + rest.partition(b"/")[0]


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _leads(tree: Tree, path: bytes) -> bool:
    """Whether it is a folder, or a symlink to one."""
    if tree[path].type != LINK:
        return tree[path].type == DIR
    try:
        return tree.get(resolve(tree, path), _NOTHING).type == DIR
    except Circle:
        return False


def has_program(tree: Tree, program: str) -> bool:
    """Whether setup.sh finds a program."""
    entries = [tree.get(place + program.encode(), _NOTHING) for place in PLACES]
    return any(entry.type in (FILE, LINK) for entry in entries)


_NOTHING = Entry("", 0, 0, 0)


def disk_problems(has: DiskSupport, disk: Disk) -> Iterator[str]:
    """What a node with that disk would lack, each with a remedy."""
    folders = set(has["folders"])
    for part in disk.partitions:
        mount, fill = part.mount, part.fill
        if mount.startswith("/") and _in_root(mount) not in folders:
            remedy = "add it to the image's disk, or to an overlay"
            yield f"mount: no folder {mount} in the root; {remedy}"
        if mount in has.get("mounts", ()):
            remedy = "remove its line from the reference or overlay, or the partition"
            yield f"mount: /etc/fstab of the root mounts something on {mount}, too; {remedy}"
        if mount in has.get("units", ()):
            remedy = "remove it from the reference or overlay, or the partition"
            yield f"mount: a unit of the root mounts something on {mount}, too; {remedy}"
        if not fill:
            continue
        if fill.strip("/") not in folders:
            remedy = "name one that is there, or leave fill out"
            yield f"fill: no such folder in the root: {fill}; {remedy}"
        elif part.size and _mib(has, fill) > part.size:
            held = f"{fill} holds {_mib(has, fill)} MiB"
            yield f"size: {held}, {part.size}M for {mount} cannot; make it larger"


def missing(has: DiskSupport, disk: Disk) -> dict[str, str]:
    """Programs that such a disk needs and the root lacks, with the packages that have them."""
    needed = PROGRAMS[""] | (PROGRAMS["raid"] if disk.raid else {})
    for part in disk.partitions:
        needed |= PROGRAMS[part.fs]
    lacking = sorted(needed.keys() - set(has["programs"]))
    return {name: needed[name] for name in lacking}


def _in_root(mount: str) -> str:
    """Where the shared root has a mount point: a node's /var is filled from var.ro."""
    path = mount.strip("/")
    return f"var.ro{path[3:]}" if path.startswith("var/") else path


def _mib(has: DiskSupport, folder: str) -> int:
    """At least that much, with the file system's own needs, as `fits` of setup.sh counts them."""
    used = int(has["bytes"].get(folder.strip("/"), 0)) // MIB
    return used + used // 16
