"""Power cuts of a virtual machine's first boot: QEMU is told to quit, at moments that a seed decides.

A node of the EL5-like reference, with a kernel, an initrd, an NFS root, setup.sh and a disk that are real. Instead of
its init it runs `ON_THE_NODE`, so that a boot is over as soon as it is known whether the disk is whole.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tasks.core.lab.qemu import Machine
from tasks.core.lab.run import PowerState
from tests.support import el5_root
from tests.support.vm_site import QUICK_KEYS, Grid, disk, told

LANES = 2  # machines at a time, each with servers of its own
MIB = 1 << 20
MAC = "52:54:00:aa:00:01"
SITE = f"""\
site: cuts
network: {{{{subnet: 172.24.10.0/24}}}}
servers: {{{{boot1: {{{{ip: 172.24.10.1}}}}}}}}
images:
  worker:
    reference: {{{{path: {{tree}}}}}}
    kernel: {{kernel}}
    overlays: [cuts]
    initrd: {{{{base: none, modules: [virtio_net]}}}}
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=6 init=/etc/cuts.sh"
    disk:
      devices: [/dev/vda]
      partitions:
        - {{{{mount: /var, size: 48M, fs: ext3, fill: /var.ro}}}}
        - {{{{mount: /home, size: rest, fs: ext4}}}}
nodes:
  wn001: {{{{mac: "{MAC}", ip: 172.24.10.100}}}}
"""
ON_THE_NODE = r"""#!/bin/bash
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
say() { echo "cuts: $*" >/dev/console; }
census() {
  cd "$1" || return
  find . ! -path . ! -path './lost+found*' ! -path './lib/plugnode*' ! -name .plugnode ! -name network ! -name own \
    -printf '%P %y %m %U %G %l\n' | sort
  find . -type f ! -path './lib/plugnode*' ! -name .plugnode ! -name network ! -name own -exec cksum {} + | sort -k 3
}
grep -q ' /dev ' /proc/mounts || mount -n -t devtmpfs dev /dev
for module in virtio_blk ext4; do modprobe -q $module; done
/etc/setup.sh
(census /var.ro) >/run/wanted
(census /var) >/run/found
for key in /var/lib/plugnode/ssh/ssh_host_{rsa,ecdsa,ed25519}_key; do
  [ "$(ssh-keygen -y -f $key | cut -d ' ' -f 1,2)" = "$(cut -d ' ' -f 1,2 $key.pub)" ] || say "key $key is broken"
done
say "disk $(awk '$2 ~ "^/(var|home)$" { print $1 }' /proc/mounts | sort | tr '\n' ' ')"
say "degraded $(cat /run/plugnode/degraded 2>/dev/null)"
say "found $(cat /var/lib/own 2>/dev/null)"
if cmp -s /run/wanted /run/found; then say "var is whole"; else say "var $(diff /run/wanted /run/found | head -n 3)"; fi
echo mine >/var/lib/own
sync
say "own file written"
sleep 60
"""
LAST = "cuts: own file written"
# What the console says on the way; between any two of them is a part of the window
STEPS = (
    *(
        f"setup: {step}"
        for step in ("claim", "partition", "wait", "format .* /home", "format .* /var", "fill")
    ),
    *(f"setup: {step}" for step in ("commit", "name", "made ssh host key: ecdsa", "done")),
    LAST,
)


class Cut(NamedTuple):
    """A moment: that many seconds after the console said that."""

    step: str
    later: float


class Outcome(NamedTuple):
    cut: Cut
    left: str  # what the disk was left as: "blank" | "CLAIMING" | "COMMITTED"
    wrong: str  # what the next boot made of it, if that is not as it should be


def moments(count: int, seed: int) -> list[Cut]:
    """The same ones for the same seed: steps evenly from all over the boot, each with a random time after it."""
    chance = random.Random(seed)
    start = chance.randrange(len(STEPS))
    steps = [STEPS[(start + number * len(STEPS) // count) % len(STEPS)] for number in range(count)]
    return [Cut(step, round(chance.uniform(0, 1.5), 3)) for step in chance.sample(steps, count)]


def grid(folder: Path, cache: Path) -> Grid:
    """The site, built and deployed below `folder`."""
    tree = el5_root.reference(cache)
    (kernel,) = (name for name in os.listdir(tree / "lib/modules") if "cloud" in name)
    chance = random.Random(1)
    bulk = {f"cuts/var/lib/bulk/{number:03}": chance.randbytes(9_000).hex() for number in range(40)}
    scripts = {"cuts/etc/cuts.sh": ON_THE_NODE, "cuts/usr/sbin/ssh-keygen": QUICK_KEYS}
    return Grid(folder, SITE.format(tree=tree, kernel=kernel), scripts | bulk)


def campaign(site: Grid, folder: Path, cuts: list[Cut]) -> Iterator[Outcome]:
    """Each cut on a blank disk, and the boot after it, LANES at a time; in the order of `cuts`."""
    site.direct("worker", MAC, folder)  # made once, for all
    with ThreadPoolExecutor(LANES) as lanes:
        yield from lanes.map(lambda numbered: trial(site, folder, *numbered), enumerate(cuts))


def trial(site: Grid, folder: Path, number: int, cut: Cut) -> Outcome:
    work = folder / f"cut{number}"
    work.mkdir()
    node = Machine(
        MAC, disk(work, 128), str(work), memory=384, direct=site.direct("worker", MAC, folder)
    )
    uefi = replace(node, firmware="uefi")
    before, after = (node, uefi) if number % 2 else (uefi, node)
    (broken,) = site.boot(work, PowerState((before,), until=cut.step, later=cut.later))
    left = state(Path(node.disk or ""))
    (story,) = site.boot(work, PowerState((after,), until=LAST))
    own = ["mine"] if told(broken, f"({LAST})") else ["", "mine"]
    answers = {
        "reached": broken.ended or story.ended, "degraded": told(story, "cuts: degraded (.+)"),
        "disk": told(story, "cuts: disk (.*)") != ["/dev/vda1 /dev/vda2"],
        "keys": told(story, "cuts: key (.*)"),
        "var": told(story, "cuts: (var.*)") != ["var is whole"],
        "own": (told(story, "cuts: found ?(.*)") or ["nothing"])[0] not in own,
        "state": state(Path(node.disk or "")) != "COMMITTED",
    }  # fmt: skip
    wrong = ", ".join(f"{what}: {answer}" for what, answer in answers.items() if answer)
    if not wrong:
        Path(node.disk or "").unlink()
    return Outcome(cut, left, wrong and f"{wrong}\n" + "\n".join(list(story.console)[-60:]))


def state(image: Path) -> str:
    """The word of the state sector."""
    with open(image, "rb") as file:
        file.seek(MIB - 4096)
        return ([*file.read(512).rstrip(b"\0").decode("latin-1").split(), "", "", ""][2]) or "blank"
