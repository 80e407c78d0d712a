"""Offers: what a staged root has of what its nodes' disks need, and what it lacks of it.

A node's disk may be laid out by its group or by itself, but the root is its image's: it cannot be written on a node, so
that a folder to mount on is there or is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..site.model import Disk
from ..tree.model import DIR, FILE, LINK, Entry, Tree, resolve

DEEPEST = 4  # nobody mounts a disk on a folder further down
PLACES = (b"sbin/", b"usr/sbin/", b"bin/", b"usr/bin/")  # PATH of setup.sh
MIB = 1 << 20

# What setup.sh calls for each file system, and the packages that have it
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
    "swap": {"mkswap": "util-linux", "swapon": "mount or util-linux"},
}

DiskSupport = dict[str, Any]


def disk_support(tree: Tree) -> DiskSupport:
    """As JSON: "folders", "programs", and "bytes" of what lies below each folder of the first two levels."""
    sizes: Counter[bytes] = Counter()
    for path, entry in tree.items():
        if entry.type == FILE:
            first, _, rest = path.partition(b"/")
            sizes[first] += entry.size
            sizes[first + b"/" + rest.partition(b"/")[0]] += entry.size
    names = [name for row in PROGRAMS.values() for name in row]
    near = [path for path in tree if path.count(b"/") < DEEPEST]
    return {
        "folders": [_text(path) for path in near if _leads(tree, path)],
        "programs": [
            name
            for name in names
            if any(_is_there(tree, place + name.encode()) for place in PLACES)
        ],
        "bytes": _by_text({path: size for path, size in sizes.items() if path in tree}),
    }


def grown_support(has: DiskSupport, by: Mapping[bytes, int]) -> DiskSupport:
    """The same when files have become larger, by so many bytes each."""
    sizes = dict(has["bytes"])
    for path, more in by.items():
        first, _, rest = path.partition(b"/")
        for folder in (_text(first), _text(first + b"/" + rest.partition(b"/")[0])):
            if folder in sizes:
                sizes[folder] += more
    return {**has, "bytes": sizes}


def _by_text(sizes: Mapping[bytes, int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for path, size in sizes.items():
        found[_text(path)] += size
    return dict(found)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _leads(tree: Tree, path: bytes) -> bool:
    """Whether it is a folder, or a symlink to one."""
    if tree[path].type != LINK:
        return tree[path].type == DIR
    try:
        return tree.get(resolve(tree, path), _NOTHING).type == DIR
    except ValueError:  # symlinks in a circle
        return False


def _is_there(tree: Tree, path: bytes) -> bool:
    return tree.get(path, _NOTHING).type in (FILE, LINK)


_NOTHING = Entry("", 0, 0, 0)


def disk_problems(has: DiskSupport, disk: Disk) -> Iterator[str]:
    """What a node with that disk would lack, each with a remedy."""
    folders = set(has["folders"])
    for part in disk.partitions:
        if part.mount.startswith("/") and _in_root(part.mount) not in folders:
            yield f"mount: no folder {part.mount} in the root; add it to the image's disk, or to an overlay"
        if part.fill and part.fill.strip("/") not in folders:
            yield f"fill: no such folder in the root: {part.fill}; name one that is there, or leave fill out"
        elif part.fill and part.size and (need := _mib(has, part.fill)) > part.size:
            yield f"size: {part.fill} holds {need} MiB, {part.size}M for {part.mount} cannot; make it larger"


def missing(has: DiskSupport, disk: Disk) -> dict[str, str]:
    """Programs that such a disk needs and the root lacks, with the packages that have them."""
    kinds = ["", *(part.fs for part in disk.partitions)]
    needed = {name: package for fs in kinds for name, package in PROGRAMS[fs].items()}
    return {name: needed[name] for name in sorted(needed.keys() - set(has["programs"]))}


def _in_root(mount: str) -> str:
    """Where the shared root has a mount point: a node's /var is filled from var.ro."""
    path = mount.strip("/")
    return f"var.ro{path[3:]}" if path.startswith("var/") else path


def _mib(has: DiskSupport, folder: str) -> int:
    """At least that much, with the file system's own needs, as `fits` of setup.sh counts them."""
    used = int(has["bytes"].get(folder.strip("/"), 0)) // MIB
    return used + used // 16
