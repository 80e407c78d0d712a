"""Power cuts as a disk sees them: every write and flush of a boot is logged, and any part of the log is a disk again.

qemu-storage-daemon exports the disk through FUSE and logs what it is told (`blklogwrites`, the format of
dm-log-writes); the loop devices of tests/support/loop_disk.py lie on that file. A disk may keep what it was given since its
last flush in any order, or lose it: a crash image is everything up to a flush, and some of what came between it and
the next.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support.loop_disk import MIB, Node, command

FLUSH, DISCARD = (
    1,
    4,
)  # flags of dm-log-writes entries (Documentation/admin-guide/device-mapper/log-writes.rst)
MAGIC = 0x6A736677736872


class Write(NamedTuple):
    at: int  # bytes, as is size
    size: int
    flags: int
    data: bytes


class LoggedNode(Node):
    """A node whose disk is the logged one."""

    @property
    def image(self) -> Path:
        return self.folder / "exported.img"

    def fresh(self) -> None:
        """The exported file is made by the daemon."""


def available() -> str:
    """Why there can be no logged disk here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for loop devices and mounts"
    if not shutil.which("qemu-storage-daemon"):
        return "needs qemu-storage-daemon (qemu-utils)"
    return "" if os.path.exists("/dev/fuse") else "needs /dev/fuse"


def record(folder: Path, base: Path, kind: type[Node] = LoggedNode, **node: object) -> list[Write]:
    """Boot a node from a copy of the disk `base`; what its disk was told, in order."""
    with logged(folder, base) as log:
        booted = kind(folder, **node)  # type: ignore[arg-type]
        booted.boot(env={"SYNC": "sync"})
        assert booted.degraded == "", booted.console
    return log


@contextlib.contextmanager
def logged(folder: Path, base: Path) -> Iterator[list[Write]]:
    """`folder`/exported.img is a copy of the disk `base` whose writes are logged: the list is filled at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    log: list[Write] = []
    command("cp", "--sparse=always", base, folder / "disk.img")
    for name in ("log.img", "exported.img"):
        (folder / name).touch()
    os.truncate(folder / "log.img", 4 << 30)
    daemon = subprocess.Popen([
        "qemu-storage-daemon",
        "--blockdev", f"driver=file,node-name=f,filename={folder}/disk.img",
        "--blockdev", f"driver=file,node-name=l,filename={folder}/log.img",
        "--blockdev", "driver=blklogwrites,node-name=lw,file=f,log=l,log-sector-size=512,log-append=off",
        "--export", f"type=fuse,id=e,node-name=lw,mountpoint={folder}/exported.img,writable=on",
    ])  # fmt: skip
    try:
        _wait_for(folder / "exported.img", base.stat().st_size)
        yield log
    finally:
        daemon.terminate()
        daemon.wait()
    log.extend(_entries(folder / "log.img"))


def _wait_for(exported: Path, size: int) -> None:
    for _ in range(100):
        if exported.stat().st_size == size:
            return
        time.sleep(0.1)
    raise TimeoutError("qemu-storage-daemon exports nothing")


def _entries(log: Path) -> Iterator[Write]:
    with open(log, "rb") as file:
        magic, _, count, sector = struct.unpack("<QQQI", file.read(28))
        assert magic == MAGIC
        at = sector
        for _ in range(count):
            file.seek(at)
            start, sectors, flags, _ = struct.unpack("<QQQQ", file.read(32))
            at += sector
            size = sectors * sector
            data = b""
            if size and not flags & DISCARD:
                file.seek(at)
                data = file.read(size)
                at += size
            yield Write(start * sector, size, flags, data)


def crash(base: Path, writes: Sequence[Write], image: Path) -> None:
    """`image`: the disk `base` after those writes."""
    command("cp", "--sparse=always", base, image)
    with open(image, "r+b") as file:
        for write in writes:
            file.seek(write.at)
            file.write(write.data if write.data else bytes(write.size))


@dataclass(frozen=True)
class Cut:
    """Writes up to `flushed` are on the disk, and of those up to `until` the ones that `kept` names."""

    flushed: int
    until: int
    kept: tuple[int, ...]

    @property
    def brief(self) -> str:
        return f"up to {self.flushed}, and {len(self.kept)} of those up to {self.until}"

    def of(self, log: Sequence[Write]) -> list[Write]:
        return [*log[: self.flushed], *(log[number] for number in self.kept)]


def in_order(log: Sequence[Write], every: int) -> list[Cut]:
    return [Cut(at, at, ()) for at in range(0, len(log) + 1, every)]


def reordered(log: Sequence[Write], count: int, seed: int) -> list[Cut]:
    """At a random flush, and a random part of what came until the next one."""
    chance = random.Random(seed)
    flushes = [
        0,
        *(number + 1 for number, write in enumerate(log) if write.flags & FLUSH),
        len(log),
    ]
    return [
        _some(chance, *chance.choice(list(zip(flushes, flushes[1:], strict=False))))
        for _ in range(count)
    ]


def _some(chance: random.Random, low: int, high: int) -> Cut:
    odds = chance.choice((0.2, 0.5, 0.8))
    return Cut(low, high, tuple(number for number in range(low, high) if chance.random() < odds))


def megabytes(log: Sequence[Write]) -> float:
    return sum(len(write.data) for write in log) / MIB
