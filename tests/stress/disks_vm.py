"""Nodes of several disks in virtual machines: RAID sets whose disks go and come back, cut states, names that swap.

    .venv/bin/python -m tests.stress.disks_vm [cut] [raid] [single]

Needs root, QEMU and mmdebstrap, which fetches Debian's packages once. Each machine is powered on once and boots its
disks many times; QEMU emulates, so that takes minutes. What each boot said is held against what it must have.
  raid    a mirror and a stripe of unequal disks, beside a foreign array and swap, with a udev that starts all it
          sees, and with one that mdadm.conf keeps from it; either half missing, and back; a stripe's disk missing; a
          wipe; states that a cut leaves; a blank disk in place of a dead one
  cut     a mirror's first boot and its wipe, killed before a command of the provisioning: the next boot completes it
  single  a disk of 2 TiB, two disks whose names swap, a disk that comes late
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.support import last_life, several_disks
from tests.support.el5_site import CACHE

MIRROR = ["mounted /var /dev/md", "mounted /tmp /dev/md", "mounted /home /dev/md"]
STRIPE = ["mounted /scratch /dev/md"]
WHOLE = [*MIRROR, *STRIPE, "!DEGRADED", "!format", "own mine", "own data"]
HALF = [*MIRROR, *STRIPE, "lacks 1 of its disks", "!format", "own data"]
FRESH = [*MIRROR, *STRIPE, "!DEGRADED", "format", "!^own"]
# Title -> what the console must say, and with "!" must not
RAID = {
    "first": [*FRESH, r"\[UU\]"],
    "second, with udev's arrays": [*WHOLE, "take down md"],
    "the lists turned round": WHOLE,
    "nothing is started by itself": [*WHOLE, "!take down", "!/sys/block/md"],
    "a half of the mirror is missing": [*HALF, "own mine"],
    "it is back": ["own newer", "is added again"],
    "it is whole": [*MIRROR, "own newer", r"\[UU\]"],
    "the other half is missing": [*HALF, "own newer"],
    "both again": ["own newer", "is added again"],
    "a stripe's disk is missing": [*MIRROR, "mounted /scratch plugnode tmpfs", "does not start", "own newer"],
    "a wipe": [*FRESH, r"\[UU\]"],
    "after it": [*MIRROR, *STRIPE, "!DEGRADED", "!format"],
    "one half is committed": [*MIRROR, "!DEGRADED", "!format", "own mine", "!CLAIMING - pn-var"],
    "both are claimed": [*MIRROR, "!DEGRADED", "format", "!own mine"],
    "a blank disk in place of a half": [*MIRROR, "lacks 1 of its disks", "!format", r"state /dev/vdb *$"],
    "a wipe with a blank disk": [*FRESH, r"\[UU\]"],
}  # fmt: skip
SINGLE = {
    "first": ["mounted /var /dev/vda1 ext4", "mounted /scratch /dev/vdc1 ext4", "room two TiB"],
    "names swapped": ["mounted /var /dev/vdb1 ext4", "!DEGRADED", "!format", "own mine", "own data"],
    "a late disk": ["waiting for a disk", "own mine", "own data", "!DEGRADED", "!format"],
}  # fmt: skip
COMPLETE = [
    "mounted /var /dev/md",
    "mounted /home /dev/md",
    "!DEGRADED",
    "!CLAIMING - pn-var",
    r"\[UU\]",
    "!^own",
]
CUT = {
    f"{what}, cut {number + 1}": COMPLETE
    for what in ("first", "wipe")
    for number in range(several_disks.CUTS)
}
HOURS = 2 * 3600.0  # seconds: a busy machine takes several times as long
MACHINES = {
    "cut": (several_disks.CUT, several_disks.CUT_DISKS, CUT),
    "raid": (several_disks.RAID, several_disks.RAID_DISKS, RAID),
    "single": (several_disks.SINGLE, several_disks.SINGLE_DISKS, SINGLE),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("machines", nargs="*", default=[], metavar="|".join(MACHINES))
    names = parser.parse_args().machines or list(MACHINES)
    if unknown := set(names) - MACHINES.keys():
        parser.error(f"no machine {', '.join(sorted(unknown))}")
    return sum(bad(name) for name in names)


def bad(name: str) -> int:
    """How much of what one machine's boots must say is not as it must be."""
    case, disks, wanted = MACHINES[name]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="plugnode-disks-") as folder:
        said = last_life.boots(Path(folder), last_life.root(CACHE), case, disks, HOURS)
    if said.get("what is foreign") != said.get("what is foreign, later"):
        print("a foreign disk has other bytes than before")
        return 1
    found = [line for title, words in wanted.items() for line in wrong(title, said, words)]
    print(*found, sep="\n")
    took = time.monotonic() - begun
    print(f"{name}: {len(wanted)} boots in {took:.0f} s, {len(found)} wrong", flush=True)
    return len(found)


def wrong(title: str, said: dict[str, str], words: list[str]) -> list[str]:
    told = said.get(title, "")
    found = []
    for word in words:
        is_there = re.search(word.removeprefix("!"), told, re.MULTILINE) is not None
        if is_there == word.startswith("!"):
            found.append(f"{title}: {word}\n{told}")
    return found


if __name__ == "__main__":
    sys.exit(main())
