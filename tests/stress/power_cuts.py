"""Cut the power of a worker node's disk, and see whether the next boot recovers by itself.

    .venv/bin/python -m tests.stress.power_cuts [--every 1] [--reordered 250] [--zapped 250]
                                                [--wipe 250] [--upgrade 250] [--double 100] [--origin 1]
                                                [--two 250]

Needs root, qemu-utils, e2fsprogs and fdisk. Every cut is: a crash image, one boot, and a look at
the result.
  first    the first boot, cut after every n-th write, and in reordered windows: then complete,
           /var equal to /var.ro
  zapped   the first boot of a disk that had another life and was emptied at both ends only
  double   the boot that recovers is cut as well
  wipe     a committed disk that is asked for a wipe: untouched or wiped, complete in both cases
  upgrade  a committed disk and a new release: nothing of the node's own is lost, everything new is
           whole
  two      the same of a node with two disks of layouts of their own: first boot, wipe, and cut twice
  origin   for comparison: what a script makes of the same cuts that formats where there is no
           partition 1, as the origin's did, and else takes it as it is
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.crash_replay import Cut, available, in_order, record, reordered
from tests.support.cut_trials import Trial, Verdict
from tests.support.loop_disk import MIB, SAME, Node
from tests.support.two_disks import ALL_MOUNTED, MOUNTS, LoggedTwoDisks, TwoDisks

OWN = "cat var/lib/own 2>/dev/null || echo none; "


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("every", 1),
        ("reordered", 250),
        ("zapped", 250),
        ("wipe", 250),
        ("upgrade", 250),
        ("double", 100),
        ("origin", 1),
        ("two", 250),
        ("seed", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    if why := available():
        sys.exit(f".venv/bin/python -m tests.stress.power_cuts: {why}")
    with tempfile.TemporaryDirectory(prefix="plugnode-cuts-") as folder:
        return 1 if campaign(Path(folder), wanted) else 0


def campaign(folder: Path, wanted: argparse.Namespace) -> int:
    """Every kind of cut; returns how many nodes did not recover."""
    blank = Node(folder / "blank").image
    done = Node(folder / "done")
    done.boot("echo mine >var/lib/own")
    news = random.Random(1).randbytes(200_000)
    (done.root / "var.ro/lib/news").write_bytes(news)
    first = record(folder / "first", blank)
    bad = trial(
        "first boot, in order", folder, blank, first, in_order(first, wanted.every), recovered
    )
    trial("origin's rule", folder, blank, first, in_order(first, wanted.origin), by_the_origin)
    bad += trial(
        "first boot, reordered",
        folder,
        blank,
        first,
        reordered(first, wanted.reordered, wanted.seed),
        recovered,
    )
    bad += trial(
        "cut twice",
        folder,
        blank,
        first,
        reordered(first, wanted.double, wanted.seed + 1),
        twice(wanted.seed),
    )
    zapped = another_life(folder / "zapped.img", blank)
    log = record(folder / "zapped", zapped)
    cuts = in_order(log, 1)[: wanted.zapped // 10] + reordered(log, wanted.zapped, wanted.seed)
    bad += trial("zapped", folder, zapped, log, cuts, recovered)
    wipe = record(folder / "wiped", done.image, wipe="t1")
    cuts = in_order(wipe, 1)[: wanted.wipe // 10] + reordered(wipe, wanted.wipe, wanted.seed)
    bad += trial("wipe", folder, done.image, wipe, cuts, wiped)
    upgrade = record_upgrade(folder, done)
    bad += trial(
        "upgrade",
        folder,
        done.image,
        upgrade,
        reordered(upgrade, wanted.upgrade, wanted.seed),
        upgraded,
    )
    return bad + of_two_disks(folder, wanted)


def of_two_disks(folder: Path, wanted: argparse.Namespace) -> int:
    """A node with two disks, each with a state sector and a layout of its own."""
    if not wanted.two:
        return 0
    blank = TwoDisks(folder / "two-blank").image
    done = TwoDisks(folder / "two-done")
    done.boot("echo mine >var/lib/own; echo mine >scratch/own")
    first = record(folder / "two-first", blank, LoggedTwoDisks)
    wipe = record(folder / "two-wiped", done.image, LoggedTwoDisks, wipe="t1")
    firsts = in_order(first, wanted.every) + reordered(first, wanted.two, wanted.seed)
    wipes = in_order(wipe, wanted.every) + reordered(wipe, wanted.two, wanted.seed)
    again = reordered(first, wanted.double, wanted.seed + 1)
    bad = trial("two disks", folder, blank, first, firsts, both_recovered)
    bad += trial("two disks wiped", folder, done.image, wipe, wipes, both_wiped)
    return bad + trial("two disks cut twice", folder, blank, first, again, both_twice(wanted.seed))


def both_recovered(node: Node, what: str) -> str:
    said = node.boot(MOUNTS + SAME)
    good = said == ALL_MOUNTED + "SAME\n" and not node.degraded
    return "recovered" if good and are_complete(node) else f"BAD {said}"


def are_complete(node: Node) -> bool:
    assert isinstance(node, TwoDisks)
    return [words[2] for words in node.states] == ["COMMITTED", "COMMITTED"]


def both_twice(seed: int) -> Verdict:
    chance = random.Random(seed)

    def verdict(node: Node, what: str) -> str:
        node.cut(chance.randrange(1, 400))
        return both_recovered(node, what)

    return verdict


def both_wiped(node: Node, what: str) -> str:
    """Each disk is untouched or wiped, and complete; with the request there again both are."""
    node.wipe = "-"
    said = node.boot(MOUNTS + SAME + OWN + "ls scratch/own 2>/dev/null || echo none")
    if node.degraded or not said.startswith(ALL_MOUNTED + "SAME\n") or not are_complete(node):
        return f"BAD {said}"
    left = "untouched" if said.endswith("mine\nscratch/own\n") else "wiped in part or whole"
    node.wipe = "t1"
    again = node.boot(SAME + OWN + "ls scratch/own 2>/dev/null || echo none")
    return left if again == "SAME\nnone\nnone\n" else f"BAD {again}"


def another_life(image: Path, blank: Path) -> Path:
    """A disk that is blank by its first and last MiB, and full of anything between them."""
    size = blank.stat().st_size
    image.write_bytes(bytes(MIB) + random.Random(2).randbytes(size - 2 * MIB) + bytes(MIB))
    return image


def record_upgrade(folder: Path, done: Node) -> list:
    (folder / "upgraded/root").mkdir(parents=True)
    (done.root / "var.ro").rename(folder / "upgraded/root/var.ro")
    return record(folder / "upgraded", done.image, release="worker-000000000002")


def trial(what: str, folder: Path, base: Path, log: list, cuts: list[Cut], verdict: Verdict) -> int:
    kind = TwoDisks if what.startswith("two") else Node
    node = kind(folder / what.replace(" ", "-"))
    if verdict is upgraded:
        node.replace_fill(folder / "upgraded/root/var.ro")
    return Trial(what, base, log, cuts, verdict).on(node)


def recovered(node: Node, what: str) -> str:
    was = node.state[2:3]
    said = node.boot(SAME)
    good = said == "SAME\n" and node.state[2] == "COMMITTED" and not node.degraded
    return f"recovered from {(was or ['blank'])[0]}" if good else f"BAD {said}"


def by_the_origin(node: Node, what: str) -> str:
    """Whether a node is whole after its next boot, and so after every other."""
    if (
        "start="
        not in subprocess.run(
            ["sfdisk", "-d", node.image], capture_output=True, text=True, check=False
        ).stdout
    ):
        return "whole: made again"
    node.attach()
    try:
        script = f"mount nodes/1 var || exit; {SAME}"
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        said = subprocess.run(
            words, cwd=node.root, capture_output=True, text=True, check=False
        ).stdout
    finally:
        node.detach()
    return {"": "never mounted", "SAME\n": "whole"}.get(said, "partly filled for ever")


def twice(seed: int) -> Verdict:
    chance = random.Random(seed)

    def verdict(node: Node, what: str) -> str:
        node.cut(chance.randrange(1, 400))
        return recovered(node, what)

    return verdict


def wiped(node: Node, what: str) -> str:
    """The request is gone at the next boot: the old data are whole, or all is new; then it is there again."""
    node.wipe = "-"
    said = node.boot(SAME + OWN)
    if node.degraded or said not in ("SAME\nmine\n", "SAME\nnone\n"):
        return f"BAD {said}"
    node.wipe = "t1"
    again = node.boot(SAME + OWN)
    return (
        {"mine": "untouched", "none": "wiped"}[said.split()[1]]
        if again == "SAME\nnone\n"
        else f"BAD {again}"
    )


def upgraded(node: Node, what: str) -> str:
    """With the new release: what is the node's own is there, and all of /var.ro is whole."""
    node.release = "worker-000000000002"
    said = node.boot(SAME + OWN)
    return (
        "upgraded"
        if said == "SAME\nmine\n" and not node.degraded
        else f"BAD {said} {node.degraded}"
    )


if __name__ == "__main__":
    sys.exit(main())
