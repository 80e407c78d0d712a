"""What a node's virtual machine is made of: its network card, how its disk is plugged in, its disk.

Also what the node's root has, by which is known what to expect of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from typing import Any

from ..initrd.build import BY_NAME
from ..site.model import Disk

DISK_SIZE = 64 << 30  # bytes at least, of a sparse file
CARDS = {"virtio_net": "virtio", "e1000": "e1000", "pcnet32": "pcnet"}  # by driver
BUSES = {"/dev/vda": "virtio", "/dev/sda": "sata", "/dev/nvme0n1": "nvme", "/dev/hda": "ide"}
SYSTEMD = ("usr/lib/systemd/systemd", "lib/systemd/systemd")


def card(initrd: Mapping[str, Any]) -> str:
    """A network card that an initrd has the driver of; one with udev has them all."""
    if BY_NAME[initrd["kind"]].has_udev:
        return "virtio"
    known = [kind for driver, kind in CARDS.items() if driver in initrd["modules"]]
    return known[0] if known else "virtio"


def bus(disk: Disk) -> str:
    """How a disk is plugged in so that a layout finds it."""
    for path, kind in BUSES.items():
        if any(fnmatch(path, pattern) for pattern in disk.devices):
            return kind
    return "sata"


def empty_disks(path: str, layouts: Iterable[Disk]) -> list[tuple[str, str]]:
    """For each disk of a node an empty image file, `path` and a number, and how it is plugged."""
    found: list[tuple[str, str]] = []
    for layout in layouts:
        for _ in range(layout.raid.devices if layout.raid else 1):
            image = empty_disk(f"{path}{len(found)}.img", layout)
            found.append((image, bus(layout)))
    return found


def empty_disk(path: str, disk: Disk) -> str:
    """An image file at `path`, with room for a layout and nothing on it."""
    needed = sum(part.size or 0 for part in disk.partitions) + 64  # MiB
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(path, "wb") as file:
        file.truncate(max(needed << 20, DISK_SIZE))
    return path


def has_systemd(root: str) -> bool:
    """Whether the power button means something to what runs on this root."""
    return any(has(root, path) for path in SYSTEMD)


def has(root: str, path: str) -> bool:
    return os.path.lexists(os.path.join(root, path))
