"""A node whose two disks are a RAID set, on user-mode Linux, whose md driver is a real one.

The halves of one image are its disks, so a cut is one of both; a third disk is a foreign one.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support import user_mode
from tests.support.crash_replay import LoggedNode
from tests.support.loop_disk import MIB
from tests.support.two_disks import HALF, TwoDisks

FOREIGN_MIB = 8
MODULES = ["drivers/md/md-mod", "drivers/md/raid1", "drivers/md/raid0", "drivers/block/virtio_blk"]
FLUSHED = 'for cache in /sys/block/vd*/cache_type; do echo "write back" >$cache; done\n'


class Part(NamedTuple):
    """A part of a file, in MiB, which is a disk."""

    image: Path
    at: int
    size: int


def missing() -> str:
    """Why there can be no such node here, or nothing."""
    return user_mode.missing() or ("" if shutil.which("mdadm") else "needs mdadm")


@dataclass
class RaidNode(TwoDisks):
    """`present`: which halves are plugged in; `level`: 0 or 1."""

    level: int = 1
    present: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.several = ()
        self.more, self.unnamed = (f"raid {self.level} 2",), ("/dev/vdc",)
        if not self.foreign.exists():
            self.foreign.write_bytes(b"\xa5" * (FOREIGN_MIB * MIB))

    @property
    def foreign(self) -> Path:
        return self.folder / "foreign.img"

    def attach(self) -> str:
        """What they are called there: the first that is plugged in has the first name."""
        return "/dev/vda /dev/vdb"

    def site_data(self, disk: str) -> None:
        super().site_data(disk)
        (self.data / "layouts/default").rename(self.data / "layouts/default..1")
        chance = self.root / "proc/sys/kernel/random/uuid"
        chance.parent.mkdir(exist_ok=True)
        chance.write_text(f"{uuid.uuid4()}\n")

    def power_on(self, script: str, env: dict[str, str]) -> str:
        words = {**env, "NODES": "", "SYNC": "sync"}
        exports = "".join(f"export {name}={shlex.quote(text)}\n" for name, text in words.items())
        parts = [Part(self.image, at * HALF, HALF) for at in self.present]
        with disks(self.folder, [*parts, Part(self.foreign, 0, FOREIGN_MIB)]) as sockets:
            devices = [f"virtio_uml.device={socket}:2" for socket in sockets]  # 2: a block device
            return user_mode.run(self.folder, FLUSHED + exports + script, MODULES, devices)


class LoggedRaidNode(RaidNode, LoggedNode):
    """And what both disks are told is logged."""

    @property
    def image(self) -> Path:
        return self.folder / "exported.img"

    def fresh(self) -> None:
        """The exported file is made by the daemon."""


@contextlib.contextmanager
def disks(folder: Path, parts: list[Part]) -> Iterator[list[Path]]:
    """Sockets that speak virtio-blk: that kernel's own driver for files (ubd) loses flushes."""
    files = {part.image: f"file{number}" for number, part in enumerate(parts)}
    sockets = [folder / f"disk{number}.socket" for number, _ in enumerate(parts)]
    words = ["qemu-storage-daemon"]
    for image, name in files.items():
        words += ["--blockdev", f"driver=file,node-name={name},filename={image},locking=off"]
    for number, (part, socket) in enumerate(zip(parts, sockets, strict=True)):
        where = f"offset={part.at * MIB},size={part.size * MIB}"
        words += [
            "--blockdev",
            f"driver=raw,node-name=disk{number},file={files[part.image]},{where}",
        ]
        socket.unlink(missing_ok=True)
        kind = f"vhost-user-blk,id=export{number},node-name=disk{number},writable=on"
        words += ["--export", f"{kind},addr.type=unix,addr.path={socket}"]
    daemon = subprocess.Popen(words)
    try:
        while not sockets[-1].exists() and daemon.poll() is None:
            time.sleep(0.1)
        yield sockets
    finally:
        daemon.terminate()
        daemon.wait()
