"""Cut the power of a node whose disks are a RAID set, and see whether it recovers by itself.

    .venv/bin/python -m tests.stress.raid_cuts [--every 80] [--reordered 6] [--wipe 3]
                                               [--double 2] [--half 4] [--levels 1,0] [--seed 1]

Needs root, qemu-utils, busybox-static, user-mode-linux and mdadm: the kernel is a process, its md
driver a real one. What both disks are told is one log, so a cut is one of both at the same moment.
Every cut is: a crash image, one boot, and a look at the result. A foreign disk of the same node must
keep its bytes. A boot takes 15 s, a cut one or two of them: as many cuts as stand above take a
quarter of an hour.
  first    the first boot, cut after every n-th write, and in reordered windows: then complete, /var
           equal to /var.ro
  wipe     a committed set that is asked for a wipe: untouched or wiped, complete in both cases
  double   the boot that recovers is cut as well, in a reordered window of its own
  half     one disk of a mirror does not come back after the cut: nothing is claimed without it, what
           was complete is used; then it is there again, and all is as after any other cut
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.support import crash_replay, raid_node
from tests.support.crash_replay import crash, in_order, record, reordered
from tests.support.cut_trials import Trial, Verdict
from tests.support.loop_disk import SAME, Node
from tests.support.two_disks import MOUNTS
from tests.support.raid_node import LoggedRaidNode, RaidNode

ALL_MOUNTED = "/home ext4 /tmp ext3 /var ext4 "
IN_MEMORY = "/home tmpfs /tmp tmpfs /var tmpfs "
OWN = "cat var/lib/own 2>/dev/null || echo none; "


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = {"every": 80, "reordered": 6, "wipe": 3, "double": 2, "half": 4, "seed": 1}
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--levels", default="1,0")
    wanted = parser.parse_args()
    if why := crash_replay.available() or raid_node.missing():
        sys.exit(f".venv/bin/python -m tests.stress.raid_cuts: {why}")
    with tempfile.TemporaryDirectory(prefix="plugnode-raid-cuts-") as folder:
        levels = map(int, wanted.levels.split(","))
        return 1 if sum(campaign(Path(folder), level, wanted) for level in levels) else 0


def campaign(folder: Path, level: int, wanted: argparse.Namespace) -> int:
    """Every kind of cut of a set of that level; returns how many nodes did not recover."""
    folder, seed = folder / f"raid{level}", wanted.seed
    node = RaidNode(folder / "node", level=level)
    blank, done = folder / "blank.img", folder / "done.img"
    crash(node.image, [], blank)
    first = record(folder / "first", blank, LoggedRaidNode, level=level)
    node.boot("echo mine >var/lib/own")
    crash(node.image, [], done)
    trials = [
        Trial("first", blank, first, in_order(first, wanted.every), recovered),
        Trial(
            "first, reordered", blank, first, reordered(first, wanted.reordered, seed), recovered
        ),
    ]
    if wanted.wipe:
        wipe = record(folder / "wiped", done, LoggedRaidNode, level=level, wipe="t1")
        trials.append(Trial("wipe", done, wipe, reordered(wipe, wanted.wipe, seed), wiped))
    twice = reordered(first, wanted.double, seed + 1)
    trials.append(Trial("cut twice", blank, first, twice, cut_again(folder / "again", seed)))
    if level:
        halves = reordered(first, wanted.half, seed + 2)
        trials.append(Trial("a half is missing", blank, first, halves, without_one(seed)))
    named = [trial._replace(what=f"raid{level}, {trial.what}") for trial in trials]
    return sum(trial.on(node) for trial in named)


def recovered(node: Node, what: str) -> str:
    said = power_on(node, MOUNTS + SAME)
    return "recovered" if said == f"{ALL_MOUNTED}SAME\n" and complete(node) else f"BAD {said}"


def power_on(node: Node, then: str) -> str:
    """What that says; and whether the foreign disk has other bytes than before."""
    assert isinstance(node, RaidNode)
    before = node.foreign.read_bytes()
    said = node.boot(then)
    return said if node.foreign.read_bytes() == before else f"a foreign disk was written to; {said}"


def complete(node: Node) -> bool:
    assert isinstance(node, RaidNode)
    states = [(words[2], words[7]) for words in node.states]
    return states == [("COMMITTED", states[0][1])] * 2 and not node.degraded


def wiped(node: Node, what: str) -> str:
    """The request is gone at the next boot: untouched or wiped, and whole; then it is there again."""
    node.wipe = "-"
    said = power_on(node, MOUNTS + SAME + OWN)
    ends = {f"{ALL_MOUNTED}SAME\n{own}\n": own for own in ("mine", "none")}
    if said not in ends or not complete(node):
        return f"BAD {said}"
    node.wipe = "t1"
    again = power_on(node, SAME + OWN)
    node.wipe = "-"
    return (
        {"mine": "untouched", "none": "wiped"}[ends[said]]
        if again == "SAME\nnone\n"
        else f"BAD {again}"
    )


def cut_again(folder: Path, seed: int) -> Verdict:
    chance = random.Random(seed)

    def verdict(node: Node, what: str) -> str:
        assert isinstance(node, RaidNode)
        base = folder.with_suffix(".img")
        crash(node.image, [], base)
        log = record(folder, base, LoggedRaidNode, level=node.level)
        (cut,) = reordered(log, 1, chance.randrange(1 << 30))
        crash(base, cut.of(log), node.image)
        return recovered(node, what)

    return verdict


def added_again(node: RaidNode) -> str:
    """What the other half missed is still being copied when the node is up, and it says so."""
    said = power_on(node, MOUNTS + SAME)
    whole = (
        said == f"{ALL_MOUNTED}SAME\n" and [words[2] for words in node.states] == ["COMMITTED"] * 2
    )
    told = not node.degraded or "lacks 1 of its disks" in node.degraded
    return "recovered" if whole and told else f"BAD {said}"


def without_one(seed: int) -> Verdict:
    chance = random.Random(seed)

    def verdict(node: Node, what: str) -> str:
        assert isinstance(node, RaidNode)
        there = chance.randrange(2)
        was = (node.states[there][2:3] or ["blank"])[0]
        node.present = (there,)
        said = power_on(node, MOUNTS + SAME)
        node.present = (0, 1)
        wanted = ALL_MOUNTED if was == "COMMITTED" else IN_MEMORY
        if said != f"{wanted}SAME\n" or not node.degraded:
            return f"BAD with a half alone, {was}: {said}"
        answer = added_again(node) if was == "COMMITTED" else recovered(node, what)
        return f"{answer}, {was} without the other"

    return verdict


if __name__ == "__main__":
    sys.exit(main())
