"""Nodes as they are, in virtual machines: three cards of which the second has a link; bonds; VLANs; a Debian full of services.

    .venv/bin/python -m tests.stress.nodes_vm [cards] [bonds] [services] [--suite trixie] [--cache build/test-cache]

Needs root and what `./doit test` installs; the Debian is bootstrapped once. QEMU emulates: minutes. What a node's
console says is held against what it must say.
  cards     our own initrd with BOOTIF, without it, and without it and with a MAC that the site does not have
  bonds     two cards of a bond, one of them the root's, by an initrd of our own in a tagged network and in one that
            is not, and by dracut's with NetworkManager, networkd and ifupdown: active-backup, 802.3ad; a cable
            that nobody is at
  services  chrony, rsyslog, autofs, postfix, NFS's own, NetworkManager, networkd and ifupdown on `root: nfs` and on
            `root: nfs-overlay`, and with three cards: no unit fails, all are active, a letter and a line of log arrive
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

from tasks.core.lab.qemu import Machine
from tasks.core.lab.run import READY, PowerState
from tasks.core.lab.timeline import BootTimeline
from tests.support import usual_nodes
from tests.support.el5_site import CACHE
from tests.support.usual_nodes import (
    MACS,
    SECOND,
    STRANGER,
    machine,
    with_three_cards,
    with_two_cables,
)
from tests.support.vm_site import Grid

LAST = "probe: all done"
NAMED = ["network eth1 {}", "node: address {} eth1", "node: ready", "!DEGRADED", "!network eth[02]"]
UNKNOWN = [
    f"network eth1 {STRANGER}",
    "address 172.24.10.20[0-2] from 172.24.10.1",
    f"the site has no node with the MAC {STRANGER}, which is eth1 here",
    "identity ",
]
ACTIVE = [f"probe: unit {unit} active" for unit in usual_nodes.UNITS.split()]
WHOLE = [
    *ACTIVE,
    "probe: running running",
    "node: failed none",
    "!probe: failed",
    "!DEGRADED",
    "probe: chronyd [0-9]+ sources online",
    "probe: rsyslogd written-by-the-probe",
    "probe: letter /",
    "!probe: sendmail",
]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="cards, bonds, services; else all")
    parser.add_argument("--suite", default="trixie", help="the Debian of `services`")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of the references")
    wanted = parser.parse_args()
    if strange := set(wanted.parts) - {"cards", "bonds", "services"}:
        parser.error(f"no part {', '.join(sorted(strange))}")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="plugnode-nodes-") as name:
        if "cards" in wanted.parts or not wanted.parts:
            wrong += cards(Path(name) / "cards", wanted.cache)
        if "bonds" in wanted.parts or not wanted.parts:
            wrong += bonds(Path(name) / "bonds", wanted.cache, wanted.suite)
        if "services" in wanted.parts or not wanted.parts:
            wrong += services(Path(name) / "services", wanted.cache, wanted.suite)
    return 1 if wrong else 0


def cards(folder: Path, cache: Path) -> int:
    """How much of what the consoles must say is not as it must be."""
    grid = usual_nodes.small(folder / "site", cache)
    wrong = 0
    for name, bootif in (("wn001", True), ("wn002", False)):
        node = machine(grid, "small", MACS[name], folder / name)
        power = PowerState((with_three_cards(node, bootif),), until=READY)
        address = f"172.24.10.10{name[-1]}"
        words = [word.format(MACS[name] if "network" in word else address) for word in NAMED]
        wrong += bad(f"three cards, BOOTIF {bootif}", boot(grid, power), words)

    node = machine(grid, "small", STRANGER, folder / "stranger")
    power = PowerState((with_three_cards(node, bootif=False),), until="initrd: identity .*")
    return wrong + bad("three cards, a MAC that nobody knows", boot(grid, power), UNKNOWN)


BONDED = [
    "setup: bond bond0 of boot.*: the root goes over to it from eth0",
    "setup: bond bond0: {mode}, eth0 eth1",
    "node: address {address} {link}",
    "node: ready",
    "!DEGRADED",
]


def bonds(folder: Path, cache: Path, suite: str) -> int:
    wrong = 0
    for tagged in (False, True):
        grid = usual_nodes.bonded(folder / f"site-{tagged}", cache, suite, tagged)
        vlan = usual_nodes.VLAN if tagged else 0
        for name, (image, mode) in usual_nodes.BONDS.items():
            work = folder / f"{name}-{tagged}"
            node = machine(grid, image, MACS[name], work, tagged)
            node = with_two_cables(node, SECOND[name], vlan)
            told = {"mode": mode, "address": f"172.24.10.10{name[-1]}"}
            told["link"] = f"bond0.{vlan}" if tagged else "bond0"
            story = boot(grid, PowerState((node,), until=READY, seconds=1200))
            words = [word.format(**told) for word in BONDED]
            wrong += bad(f"{image}, tagged {tagged}: {mode}", story, words)
    return wrong


def services(folder: Path, cache: Path, suite: str) -> int:
    grid = usual_nodes.crowded(folder / "site", cache, suite)
    shared = machine(grid, "shared", MACS["wn001"], folder / "shared")
    above = machine(grid, "above", MACS["wn002"], folder / "above")
    cases: dict[str, tuple[Machine, list[str]]] = {
        "root: nfs": (shared, ["mount / .* nfs4? ro"]),
        "root: nfs-overlay": (above, ["mount / .* overlay rw"]),
        "root: nfs, three cards": (with_three_cards(shared, bootif=False), ["mount / .* nfs4? ro"]),
    }
    wrong = 0
    for title, (node, words) in cases.items():
        power = PowerState((node,), until=LAST, then="button", seconds=1200)
        story = boot(grid, power)
        wrong += bad(f"{suite}, {title}", story, [*WHOLE, *words])
        if story.off != "by itself":
            print(f"{title}: the power button leaves it {story.off}", flush=True)
            wrong += 1
    return wrong


def boot(grid: Grid, power: PowerState) -> BootTimeline:
    begun = time.monotonic()
    (node,) = power.machines
    (story,) = grid.boot(Path(node.work), power)
    print(f"{time.monotonic() - begun:.0f} s, {story.off}", flush=True)
    return story


def bad(title: str, story: BootTimeline, words: list[str]) -> int:
    """How many of the words its console lacks, or with "!" has, after telling them."""
    said = "\n".join(line for line in story.console if "plugnode:" in line or "probe:" in line)
    found = [word for word in words if has(said, word) == word.startswith("!")]
    print(f"{title}: {len(found)} of {len(words)} wrong {found}", flush=True)
    if found or story.ended:
        print(story.ended, said, sep="\n", flush=True)
    return len(found) + bool(story.ended)


def has(said: str, word: str) -> bool:
    return re.search(word.removeprefix("!"), said) is not None


if __name__ == "__main__":
    sys.exit(main())
