"""What a disk may hold that is not ours."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.loop_disk import MIB, Node, command

SIZE = Node.mib * MIB
MOUNTS = "grep $ROOT /proc/mounts | cut -d' ' -f2,3; "


# Foreign


def _random(image: Path, at: int, size: int) -> None:
    with open(image, "r+b") as file:
        file.seek(at)
        file.write(random.Random(at).randbytes(size))


def _write(data: bytes, at: int) -> Callable[[Path], None]:
    def put(image: Path) -> None:
        with open(image, "r+b") as file:
            file.seek(at if at >= 0 else image.stat().st_size + at)
            file.write(data)

    return put


def _table(label: str, *wiped: tuple[int, int]) -> Callable[[Path], None]:
    def make(image: Path) -> None:
        script = f"label: {label}\n,20M\n,,\n"
        subprocess.run(["sfdisk", "-q", image], input=script, text=True, check=True)
        for at, size in wiped:
            _write(bytes(size), at)(image)

    return make


def _other_site(image: Path) -> None:
    other = Node(image.parent / "other", site="elsewhere")
    other.boot()
    image.write_bytes(other.image.read_bytes())


FOREIGN: dict[str, Callable[[Path], object]] = {
    "ext4 on the whole disk": lambda image: command("mkfs.ext4", "-qF", image),
    "ext2 on the whole disk": lambda image: command("mkfs.ext2", "-qF", image),
    "swap on the whole disk": lambda image: command("mkswap", image),
    "an empty dos table": _table("dos"),
    "an empty gpt": _table("gpt"),
    "gpt without its primary header": _table("gpt", (512, 33 * 512)),
    "gpt of which only the backup is left": _table("gpt", (0, 34 * 512)),
    "random data everywhere": lambda image: _random(image, 0, SIZE),
    "random data at the start": lambda image: _random(image, 0, 4096),
    "random data at the end": lambda image: _random(image, SIZE - 4096, 4096),
    "md 1.2": _write(b"\xfc\x4e\x2b\xa9", 4096),
    "md 0.90": _write(b"\xfc\x4e\x2b\xa9", -65536),
    "an LVM label": _write(b"LABELONE" + bytes(16) + b"LVM2 001", 512),
    "the magic of xfs": _write(b"XFSB", 0),
    "the magic of btrfs": _write(b"_BHRfS_M", 65536 + 64),
    "one byte that is not zero": _write(b"\1", -1),
    "a state sector with a wrong checksum": _write(
        b"PLUGNODE1 7bd9e508 CLAIMING - 82834f19 wn001 00000000", MIB - 4096
    ),
    "half a state sector": _write(b"PLUGNODE1 7bd9e508 CLA", MIB - 4096),
    "another site's disk": _other_site,
}
