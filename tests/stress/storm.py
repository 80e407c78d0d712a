"""A boot storm, measured: all nodes at once, by each kind of root, beside what `doit capacity` reckons.

    .venv/bin/python -m tests.stress.storm [nfs] [nfs-file] [ram] [--nodes 4 16] [--mbit 200]
                                           [--reference DIR] [--cache build/test-cache]

Needs root and what `./doit test` installs. One node boots as a virtual machine, and what it called of NFS is what
all nodes call then: network namespaces behind a link of so many Mbit/s, with the initrd's own wget at a real nginx, curl at
dnsmasq's TFTP, and nfs-ganesha. By itself the root is the example's, with dmsetup, bootstrapped once.

For each phase: bytes and calls of a node, seconds until the last one has all, processor time of the server; beside them
what capacity's formula makes of the costs that the fewest nodes had. BAD is a phase that moves a tenth more or less
than that, takes more than twice its processor time, or is limited by the link and not as long as that says; but for TFTP,
each block of which waits for a client that has these processors, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.core import capacity
from tasks.core.capacity import MB, BootCost
from tasks.core.lab.network import UNSHARE
from tasks.core.lab.qemu import Machine
from tests.support.boot_storm import PATIENCE, Storm
from tests.support.commands import REPOSITORY, Doit
from tests.support.el5_site import CACHE
from tests.support.vm_site import QUICK_KEYS, Grid, disk

KINDS = ("nfs", "nfs-file", "ram")
MAC = "52:54:00:aa:00:01"
HTTP = "/srv/http/plugnode"
IMAGE = """\
  {kind}:
    reference: {{path: {tree}}}
    root: {kind}
    overlays: [keys]
    initrd: {{base: none, modules: [virtio_net, e1000e, igb, ixgbe, tg3, bnxt_en, mlx5_core], compression: zstd}}
    cmdline: "console=ttyS0,115200"
    disk:
      devices: [/dev/vda]
      partitions: [{{mount: /var, size: 6000M, fs: ext4, fill: /var.ro}}, {{mount: /tmp, size: rest, fs: ext4}}]
"""
SITE = """\
site: storm
network: {{subnet: 172.24.10.0/24, domain: grid.example.org}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
{images}
nodes:
  wn001: {{mac: "{mac}", ip: 172.24.10.99, image: {first}}}
deploy: {{http: nginx}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; else all")
    parser.add_argument("--nodes", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--mbit", type=int, default=200, help="of the server's link")
    parser.add_argument("--reference", type=Path, help="a root with dmsetup")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of the bootstrapped one")
    wanted = parser.parse_args()
    if strange := set(wanted.kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(strange))}")
    if os.geteuid():
        sys.exit("namespaces take root")
    kinds = wanted.kinds or KINDS
    tree = wanted.reference or bootstrapped(wanted.cache)
    with tempfile.TemporaryDirectory(prefix="plugnode-storm-") as name:
        grid = grid_of(Path(name) / "site", tree.resolve(), kinds)
        bad = [storm(grid, kind, Path(name) / kind, wanted) for kind in kinds]
    return 1 if sum(bad) else 0


def bootstrapped(cache: Path) -> Path:
    """The example's reference, with what `nfs-file` takes besides."""
    doit = Doit(cache / "storm")
    doit.folder.mkdir(parents=True, exist_ok=True)
    text = (REPOSITORY / "site.yaml").read_text()
    doit.site.write_text(text.replace("- kmod\n", "- kmod\n          - dmsetup\n"))
    doit()
    (tree,) = doit.build.glob("references/*/tree")
    return tree


def grid_of(folder: Path, tree: Path, kinds: list[str]) -> Grid:
    images = "".join(IMAGE.format(kind=kind, tree=tree) for kind in kinds)
    text = SITE.format(images=images, mac=MAC, first=kinds[0])
    return Grid(folder, text, {"keys/usr/sbin/ssh-keygen": QUICK_KEYS})


def storm(grid: Grid, kind: str, work: Path, wanted: argparse.Namespace) -> int:
    """How many phases were not as they should be."""
    boot, found = [], []
    for each in measured(job_of(grid, kind, work, wanted)):
        (boot if each["phase"] == "boot" else found).append(each)
    for each in boot:
        calls = [f"{count} {name}" for name, count in each["calls"].items()]
        print(f"{kind}, one boot: {', '.join(calls)}")
    few = {each["phase"]: each for each in found if each["nodes"] == min(wanted.nodes)}
    by = costs(few, wanted.mbit)
    print(f"{kind}, a server's link of {wanted.mbit} Mbit/s; {told_costs(few, by)}", flush=True)
    print(HEAD)
    return sum(map(is_bad, found, [reckoned(each, few, by) for each in found]))


def job_of(grid: Grid, kind: str, work: Path, wanted: argparse.Namespace) -> Storm:
    work.mkdir()
    kernel, initrds, _ = grid.boot_lines(kind)
    machine = None
    if kind != "ram":
        direct = grid.direct(kind, MAC, work)
        machine = Machine(MAC, disk(work, 16384), str(work), direct=direct)
    root = f"{Path(kernel).parent}/root.erofs" if kind == "ram" else ""
    lab = grid.lab(work, "dnsmasq", http=HTTP)
    counts = tuple(sorted(wanted.nodes))
    return Storm(lab, counts, wanted.mbit, machine, (kernel, *initrds), root)


def measured(job: Storm) -> Iterator[dict]:
    """What each phase of each storm moved and cost. Raises RuntimeError."""
    path = Path(job.lab.logs, "storm.json")
    path.write_text(json.dumps(dataclasses.asdict(job)))
    argv = [*UNSHARE, sys.executable, "-m", "tests.support.boot_storm", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    seconds = PATIENCE * (1 + 4 * len(job.counts))
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise RuntimeError(done.stderr)
    yield from map(json.loads, done.stdout.splitlines())


# --- beside the formula


PROTOCOL = {"tftp": "tftp", "http": "http", "root": "http", "nfs": "nfs"}
HEAD = f"{'':6} {'nodes':>5} {'MB each':>8} {'calls':>6} {'server s':>9} {'said':>6} {'takes s':>8} {'said':>6}"


def costs(few: dict[str, dict], mbit: int) -> dict[str, float]:
    """The processor's, as the fewest nodes had them: of NFS all of it is a call's."""
    known = {"link": mbit / 1000, "tftp-cores": 1, "http-cores": 1, "nfs-cores": 1}
    for phase, each in few.items():
        used, moved = max(each["cpu"], 0.01), sum(each["bytes"]) / MB
        if phase == "nfs":
            known["call-us"] = 1e6 * max(0.01, used - moved * DEFAULT["nfs-ms"] / 1e3)
            known["call-us"] /= sum(each["calls"])
        else:
            known[f"{PROTOCOL[phase]}-ms"] = 1e3 * used / moved
    return capacity.assumptions(**known)


DEFAULT = capacity.assumptions()


def told_costs(few: dict[str, dict], by: dict[str, float]) -> str:
    names = [f"{PROTOCOL[phase]}-ms" if phase != "nfs" else "call-us" for phase in few]
    words = [f"--{name}={by[name]:.2g} (assumed {DEFAULT[name]:g})" for name in set(names)]
    return "a processor: " + ", ".join(sorted(words))


def reckoned(each: dict, few: dict[str, dict], by: dict[str, float]) -> capacity.Phase:
    """What the formula says of so many nodes, by what one of the fewest moved."""
    phase, one = each["phase"], few[each["phase"]]
    size = round(sum(one["bytes"]) / one["nodes"])
    nothing = BootCost(0, tftp=0, nfs=0, calls=0)
    field = PROTOCOL[phase]
    cost = nothing._replace(**{field: size}, calls=one["calls"][0] if phase == "nfs" else 0)
    (said,) = capacity.storm(cost, each["nodes"], 1, by).phases
    return said


def is_bad(each: dict, said: capacity.Phase) -> bool:
    """Whether it is not as it should be; its line is printed."""
    nodes, moved = each["nodes"], sum(each["bytes"]) / MB
    calls = sum(each["calls"]) / nodes
    wrong = not 0.9 < moved / said.mb < 1.1
    wrong |= each["cpu"] > max(0.1, 2 * said.processors)
    if said.limit == "link" and each["phase"] != "tftp":
        wrong |= not 0.8 * said.link < each["seconds"] < 2 * said.link
    numbers = f"{nodes:5} {moved / nodes:8.1f} {calls:6.0f} {each['cpu']:9.2f}"
    numbers += f" {said.processors:6.2f} {each['seconds']:8.1f} {said.seconds:6.1f}"
    print(f"{each['phase']:6} {numbers}{'  BAD' * wrong}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
