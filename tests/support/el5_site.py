"""The site of EL5-like nodes that the tests boot, and what a node of it must look like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.core.lab.qemu import Machine
from tests.support import el5_root
from tests.support.commands import REPOSITORY
from tests.support.vm_site import QUICK_KEYS, Grid, disk, told

CACHE = Path(os.environ.get("PLUGNODE_TEST_CACHE", REPOSITORY / "build/test-cache"))
DISK = """{devices: [/dev/sda, /dev/hda, /dev/vda, /dev/nvme0n1], partitions: [
      {mount: /var, size: 300M, fs: ext3, fill: /var.ro}, {mount: /tmp, size: 100M, fs: ext3},
      {mount: /home, size: rest, fs: ext3}]}"""
KEEPING = DISK.replace("{mount: /home", "{mount: image, size: 256M}, {mount: /home")
NODES = {  # name -> MAC, address, image
    "wn010": ("52:54:00:aa:00:10", "172.24.10.10", "light"),
    "wn100": ("52:54:00:aa:01:00", "172.24.10.100", "light"),
    "wn150": ("52:54:00:aa:01:50", "172.24.10.150", "ram"),
    "wn160": ("52:54:00:aa:01:60", "172.24.10.160", "kept"),
    "wn200": ("52:54:00:aa:02:00", "172.24.10.200", "worker"),
}
SITE = """\
site: lab
network: {{subnet: 172.24.10.0/24, dns: [172.24.10.1], domain: grid.example.org}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
  worker:                              # as in the origin
    reference: {{path: {tree}}}
    kernel: {full}
    overlays: [probe]
    initrd: {{base: auto, modules: [mii, pcnet32, e1000]}}
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=6"
    disk: {disk}
  light:                               # a kernel that is faster here
    reference: {{path: {tree}}}
    kernel: {cloud}
    overlays: [probe]
    initrd: {{base: none, modules: [virtio_net]}}
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=6"
    disk: {disk}
  ram:                                 # the same, fetched by HTTP
    reference: {{path: {tree}}}
    kernel: {cloud}
    overlays: [probe]
    initrd: {{base: none, modules: [virtio_net]}}
    root: ram
    root_exclude: [/boot/*, /usr/share/*]
    root_modules: used
    overlay_size: 64M
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=6"
    disk: {disk}
  kept:                                # the same file, on the node's disk from its second boot on
    reference: {{path: {tree}}}
    kernel: {cloud}
    overlays: [probe]
    initrd: {{base: none, modules: [virtio_net]}}
    root: disk
    root_exclude: [/boot/*, /usr/share/*]
    root_modules: used
    overlay_size: 64M
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=6"
    disk: {keeping}
groups:
  light: {{image: light}}
  ram: {{image: ram}}
  kept: {{image: kept}}
  worker: {{image: worker}}
  usual: {{cmdline: quiet}}             # most nodes, none of which is booted: the others go by their groups' files
nodes:
{nodes}
  wn[220-223]: {{macs: [{spare}], ip: "172.24.10.[220-223]", groups: [worker, usual]}}
"""
# What the tests want to know of a node, told by itself before it is ready.
PROBE = r"""#!/bin/bash
say() { echo "probe: $*" >/dev/console; }
census() {
  cd $1
  find . ! -path './lost+found*' ! -path './lib/plugnode*' ! -name .plugnode ! -name network ! -name .boots ! -path . \
    -printf '%P %y %m %U %G %l\n' | sort
}
(census /var.ro) >/tmp/wanted
(census /var) >/tmp/found
say "var lacks $(comm -23 /tmp/wanted /tmp/found | tr '\n' ' ')"
for folder in /var /tmp /home; do
  echo "$(($(cat $folder/.boots 2>/dev/null || echo 0) + 1))" >$folder/.boots
  say "boots $folder $(cat $folder/.boots)"
done
[ ! -e /var/lib/site/brought ] || say "brought $(cat /var/lib/site/brought)"
say "network $(tr '\n' ' ' </etc/sysconfig/network)"
say "hostname $(hostname)"
mount -n -o remount,rw / 2>/dev/null
if touch /etc/probe 2>/dev/null; then say "root is WRITABLE"; else say "root refuses"; fi
mount -n -o remount,ro / 2>/dev/null
devices=$(awk '$2 ~ "^/(var|tmp|home)$" { print $1 }' /proc/mounts)
disk=$(awk '$2 == "/var" { sub(/p?[0-9]+$/, "", $1); print $1 }' /proc/mounts)
say "disk $(/etc/setup.sh disk_transport $disk), serial number $(/etc/setup.sh disk_serial $disk)"
say "uuids $(blkid -c /dev/null -s UUID -o value $devices | tr '\n' ' ')"
sync
"""


@pytest.fixture(scope="session")
def grid(tmp_path_factory) -> Grid:
    tree = el5_root.reference(CACHE)
    cloud, full = sorted(os.listdir(tree / "lib/modules"), key=lambda name: "cloud" not in name)
    node = "  {}: {{mac: '{}', ip: {}, groups: [{}]}}\n"
    nodes = "".join(node.format(name, *values) for name, values in NODES.items())
    spare = ", ".join(f"'52:54:00:aa:02:{number}'" for number in range(20, 24))
    text = SITE.format(
        tree=tree, cloud=cloud, full=full, nodes=nodes, spare=spare, disk=DISK, keeping=KEEPING
    )
    overlay = {"probe/etc/rc.d/rc3.d/S98probe": PROBE, "probe/usr/sbin/ssh-keygen": QUICK_KEYS}
    return Grid(tmp_path_factory.mktemp("el5"), text, overlay)


@pytest.fixture
def machine(grid: Grid, tmp_path: Path):
    """Makes a node of the site, with a blank disk unless one is given."""

    def make(name: str, number: int = 0, extra: str = "", **more) -> Machine:
        mac, _, image = NODES[name]
        kernel = grid.direct(image, mac, tmp_path, extra)
        more.setdefault("disk", disk(tmp_path, name=f"{name}.img"))
        return Machine(
            mac, number=number, memory=512, **{"direct": kernel, "work": str(tmp_path), **more}
        )

    return make


TRANSPORTS = {
    "/dev/vd": ("virtio",),
    "/dev/nvme": ("nvme",),
    "/dev/sd": ("ata sata", "sata ata", "scsi"),
}


def right(story, name: str, root: str = "", version: str = "nfs") -> None:
    """A node that came up as it should; `root`: as its mount shows one that is a file; else NFS's type."""
    assert not story.ended
    assert story.facts["name"] == name
    assert story.facts["address"].split()[0] == NODES[name][1]
    assert told(story, "probe: hostname (.*)") == [name]
    assert told(story, "probe: network (.*)") == [f"NETWORKING=yes HOSTNAME={name}"]
    if NODES[name][2] == "ram":
        root = f"ram:{story.facts['release']}"
    if root:
        assert told(story, "probe: (root .*)") == ["root is WRITABLE"]
        # the probe's last step makes it read-only
        assert story.facts["mount /"] == f"{root} overlay ro"
        return
    assert told(story, "probe: (root .*)") == ["root refuses"]
    assert story.facts["mount /"].endswith(f"{story.facts['release']} {version} ro")


def on_disk(story, device: str, boots: int = 1, fs: str = "ext3", numbers=(1, 2, 3)) -> None:
    """All three file systems are on that disk, whole, and this often used."""
    for number, folder in zip(numbers, ("/var", "/tmp", "/home")):
        assert story.facts[f"mount {folder}"] == f"{device}{number} {fs} rw"
        assert told(story, f"probe: boots {folder} (.*)") == [str(boots)]
    assert not story.degraded
    kinds = [kinds for name, kinds in TRANSPORTS.items() if device.startswith(name)][0]
    assert told(story, "probe: disk (.*), serial number PLUGNODE0$")[0] in kinds
    if boots == 1:
        assert told(story, "probe: (var .*)") == ["var lacks"]
