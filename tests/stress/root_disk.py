"""Cut the power while a root file comes to a node's disk, and damage what is there: what boots?

    .venv/bin/python -m tests.stress.root_disk [--every 1] [--reordered 100] [--damaged 100]
                                               [--vm 1] [--seed 1]

Needs root, qemu-utils, erofs-utils and nginx; --vm what `./doit test` installs. Whatever the disk is
like, a node boots the release that it is told while a server gives it, and by itself one of those
that it had whole, or none: never a file that is another one.
  fetched   the initrd fetches the new release beside the old one, cut after every n-th write, and in
            reordered windows; then a boot without servers, and one with them
  pushed    the same of `doit push --image`
  damaged   random places of the partition, or of the table and the state sector before it
  vm        UEFI and 1 GB of memory: cut while it fetches, then whole, then with the servers down,
            then with a random block of the file damaged
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import el5_root
from tests.support.crash_replay import Write, available, crash, in_order, logged, reordered
from tests.support.el5_site import CACHE, KEEPING, NODES, PROBE, SITE
from tests.support.kept_root import DOWN, GOOD, MIB, NEXT, PARTITION, KeptNode
from tests.support.vm_site import QUICK_KEYS, Grid, disk, firmware
from tasks.core.lab.qemu import Machine
from tasks.core.lab.run import PowerState

OLD, NEW = "worker-000000000001", "worker-000000000002"
LOOK = 'sha256sum <"$ROOT/new/noise"\n'


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("every", 1), ("reordered", 100), ("damaged", 100), ("vm", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    if why := available():
        sys.exit(f".venv/bin/python -m tests.stress.root_disk: {why}")
    with tempfile.TemporaryDirectory(prefix="plugnode-root-disk-") as name:
        bad = cuts(Path(name), wanted) + damaged(Path(name), wanted)
        bad += virtual(Path(name), random.Random(wanted.seed)) if wanted.vm else 0
    return 1 if bad else 0


def cuts(folder: Path, wanted: argparse.Namespace) -> int:
    """How many nodes did not come up as they should."""
    bad = 0
    for what in ("fetched", "pushed"):
        node = with_old(folder / what)
        log = record(node, folder / f"{what}.log", pushed=what == "pushed")
        chosen = in_order(log, wanted.every) + reordered(log, wanted.reordered, wanted.seed)
        seen = collections.Counter[str]()
        for cut in chosen:
            crash(node.image, cut.of(log), folder / "crashed.img")
            seen[verdict(node, folder / "crashed.img", needs_one=True)] += 1
        bad += told(what, len(chosen), seen)
    return bad


def with_old(folder: Path) -> KeptNode:
    """A node that has the old release on its disk."""
    folder.mkdir()
    node = KeptNode(folder)
    for number, name in enumerate((OLD, NEW), 2):
        node.release(name, number * MIB)
    node.boots(OLD)
    assert node.boot()[0] == OLD
    return node


def record(node: KeptNode, folder: Path, pushed: bool) -> list[Write]:
    """What the disk is told while the new release comes."""
    node.boots(NEW)
    node.write("next.cmdline", node.read("proc/cmdline"))
    if pushed:
        node.boots(OLD)
    with logged(folder, node.image) as log:
        said, _ = node.boot(folder / "exported.img", NEXT if pushed else "")
        assert NEW in said, said
    return log


def verdict(node: KeptNode, image: Path, needs_one: bool = False) -> str:
    """A boot without servers and one with them; BAD where one is not what it may be."""
    found = []
    for server in (DOWN, GOOD):
        node.boots(NEW, server)
        said, console = node.boot(image, LOOK)
        root, _, digest = said.partition("\n")
        if root and digest.split()[0] != digest_of(node, root):
            return f"BAD: {root} is damaged"
        found.append(root or "none")
        if server == GOOD and root != NEW or needs_one and not root:
            return f"BAD: {' then '.join(found)}: {console}"
    return " then ".join(found)


def digest_of(node: KeptNode, release: str) -> str:
    data = (node.root / "trees" / release / "noise").read_bytes()
    return hashlib.sha256(data).hexdigest()


def damaged(folder: Path, wanted: argparse.Namespace) -> int:
    node, chance = with_old(folder / "damaged"), random.Random(wanted.seed)
    node.boots(NEW)
    node.boot()
    seen = collections.Counter[str]()
    for _ in range(wanted.damaged):
        shutil.copy(node.image, folder / "damaged.img")
        with open(folder / "damaged.img", "r+b") as file:
            for _ in range(chance.randint(1, 3)):
                file.seek(chance.randrange(0, (PARTITION + 1) * MIB - 4096))
                file.write(chance.randbytes(chance.choice((1, 512, 4096))))
        seen[verdict(node, folder / "damaged.img")] += 1
    return told("damaged", wanted.damaged, seen)


def told(what: str, count: int, seen: collections.Counter[str]) -> int:
    print(f"{what}: {count}: {dict(seen)}", flush=True)
    return sum(number for text, number in seen.items() if text.startswith("BAD"))


# --- virtual machines


def virtual(folder: Path, chance: random.Random) -> int:
    """How many boots of one node were not as they should be."""
    grid = grid_of_one(folder / "site")
    image = disk(folder)
    mac = NODES["wn160"][0]
    node = firmware(Machine(mac, disk=image, work=str(folder), memory=1024), "uefi")
    power, fetching = PowerState((node,)), "plugnode: initrd: address"
    grid.boot(folder, power, nfs=False, http=HTTP)
    at_once = PowerState((node,), until=fetching, later=chance.uniform(0.5, 3))
    bad = 0
    for what, wanted in steps(folder, Path(image), chance):
        if what == "new release, cut while it comes":
            (grid.folder / "overlays/probe/etc/motd").write_text("another\n")
            grid.deploy()
            grid.boot(folder, at_once, nfs=False, http=HTTP)
        how = {} if what == "servers down" else {"http": HTTP}
        (story,) = grid.boot(folder, power, nfs=False, **how)
        said = story.facts.get("root", story.ended)
        is_right = wanted in said and story.facts.get("mount /", "").startswith("disk:")
        print(f"vm: {what}: {'' if is_right else 'BAD: '}{said}", flush=True)
        bad += not is_right
    return bad


HTTP = "/srv/http/plugnode"


def grid_of_one(folder: Path) -> Grid:
    """The site of the suite's EL5-like nodes, with one of its images alone."""
    tree = el5_root.reference(CACHE)
    (cloud, *_) = [path.name for path in (tree / "lib/modules").iterdir() if "cloud" in path.name]
    mac, address, image = NODES["wn160"]
    head, rest = SITE.split("  worker:", 1)
    kept = rest[rest.index(f"  {image}:") : rest.index("groups:")]
    text = head + kept + "nodes: {{wn160: {{mac: '{mac}', ip: {address}}}}}\n"
    text = text.format(tree=tree, cloud=cloud, keeping=KEEPING, mac=mac, address=address)
    overlay = {"probe/etc/rc.d/rc3.d/S98probe": PROBE, "probe/usr/sbin/ssh-keygen": QUICK_KEYS}
    return Grid(folder, text, overlay)


def steps(folder: Path, image: Path, chance: random.Random) -> Iterator[tuple[str, str]]:
    """What happens before a boot, and how its root must be told of then."""
    yield "servers down", "on /dev/vda3 from here, its sha256 is right"
    damage_file(image, chance)
    yield "a block damaged", "on /dev/vda3 from http://"
    yield "new release, cut while it comes", "on /dev/vda3 from http://"
    yield "servers down", "on /dev/vda3 from here, its sha256 is right"


def damage_file(image: Path, chance: random.Random) -> None:
    """A block of the root file: of 128 MB in a partition that begins at 401 MiB."""
    with open(image, "r+b") as file:
        for _ in range(9):
            file.seek(401 * MIB + chance.randrange(64 * MIB, 96 * MIB))
            file.write(chance.randbytes(4096))


if __name__ == "__main__":
    sys.exit(main())
