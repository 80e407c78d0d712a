"""Damage the disks of nodes that were set up, and give nodes disks that are not theirs.

    .venv/bin/python -m tests.stress.damaged_disks [--damaged 1000] [--foreign 20] [--seed 1]

Needs root, e2fsprogs and fdisk. A committed disk must never be formatted or claimed, whatever is
broken on it; of a foreign disk no byte may change. `--foreign`: how often each layout of
tests/support/foreign_disks.py is tried, each time with other random damage on top.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.support.foreign_disks import FOREIGN
from tests.support.loop_disk import MIB, Node

SIZE = Node.mib * MIB
PLACES = (
    0,
    512,
    MIB - 4096,
    MIB,
    MIB + 1024,
    SIZE - 33 * 512,
    SIZE - 512,
)  # tables, state sector, superblock


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("damaged", 1000), ("foreign", 20), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plugnode-disks-") as name:
        bad = damaged(Path(name) / "damaged", wanted.damaged, random.Random(wanted.seed))
        bad += foreign(Path(name) / "foreign", wanted.foreign, random.Random(wanted.seed))
    return 1 if bad else 0


def damaged(folder: Path, count: int, chance: random.Random) -> int:
    """How many of them were formatted or claimed."""
    complete, node = Node(folder / "complete"), Node(folder / "node")
    complete.boot("echo mine >var/lib/own")
    begun, seen = time.monotonic(), collections.Counter[str]()
    for number in range(count):
        node.take(complete.image)
        what = damage(node.image, chance)
        seen[look(node)] += 1
        if "format" in node.console or "claim" in node.console:
            print(f"BAD damaged {number}: {what}", node.console, sep="\n  ", flush=True)
    told("damaged", count, begun, seen)
    return seen["FORMATTED"]


def damage(image: Path, chance: random.Random) -> str:
    """One to three places, small or large, zeroed or overwritten with anything."""
    done = []
    with open(image, "r+b") as file:
        for _ in range(chance.randint(1, 3)):
            size = chance.choice((512, 4096, 65536, MIB))
            at = min(
                chance.choice((*PLACES, *[chance.randrange(SIZE // 512) * 512] * 7)), SIZE - size
            )
            file.seek(at)
            file.write(bytes(size) if chance.random() < 0.5 else chance.randbytes(size))
            done.append(f"{size} bytes at {at}")
    return ", ".join(done)


def look(node: Node) -> str:
    said = node.boot(
        "grep -q $ROOT/var.*tmpfs /proc/mounts && echo in memory || cat var/lib/own 2>/dev/null"
    )
    if "format" in node.console or "claim" in node.console:
        return "FORMATTED"
    what = {"mine\n": "its own data", "in memory\n": "in memory"}.get(said, "its own file damaged")
    return what + (", degraded" if node.degraded else "")


def foreign(folder: Path, times: int, chance: random.Random) -> int:
    """How many of them changed."""
    begun, seen = time.monotonic(), collections.Counter[str]()
    node = Node(folder)
    for number in range(times):
        for kind, make in FOREIGN.items():
            node.fresh()
            make(node.image)
            if number:
                litter(node.image, chance)
            before = node.digest()
            node.boot()
            seen[
                "untouched"
                if node.digest() == before and "FOREIGN" in node.degraded
                else f"CHANGED: {kind}"
            ] += 1
    told("foreign", times * len(FOREIGN), begun, seen)
    return sum(count for answer, count in seen.items() if answer != "untouched")


def litter(image: Path, chance: random.Random) -> None:
    """A few sectors of anything, anywhere: what is foreign stays so."""
    with open(image, "r+b") as file:
        for _ in range(3):
            file.seek(chance.randrange(SIZE // 512) * 512)
            file.write(chance.randbytes(512))


def told(what: str, count: int, begun: float, seen: collections.Counter[str]) -> None:
    print(
        f"{what}: {count} disks, {(time.monotonic() - begun) / max(1, count):.1f} s each: {dict(seen)}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
