"""Sites of nodes as they are: several cards of which one has a link, a Debian whose services want to write."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tasks.core.lab.qemu import Machine
from tests.support import el5_root, network_managers
from tests.support.commands import REPOSITORY, Doit
from tests.support.vm_site import QUICK_KEYS, Grid, disk

UNPLUGGED = ("52:54:00:ff:00:01", "52:54:00:ff:00:02")
MACS = {"wn001": "52:54:00:aa:00:01", "wn002": "52:54:00:aa:00:02"}
STRANGER = "52:54:00:aa:00:99"
POOL = "172.24.10.200-172.24.10.202"
SITE = """\
site: nodes
network: {{subnet: 172.24.10.0/24, dns: [172.24.10.1], domain: grid.example.org, pool: {pool}}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
{images}
groups:
{groups}
nodes:
  wn001: {{mac: "{wn001}", ip: 172.24.10.101, groups: [{first}]}}
  wn002: {{mac: "{wn002}", ip: 172.24.10.102, groups: [{last}]}}
"""
SECOND = {"wn001": "52:54:00:bb:00:01", "wn002": "52:54:00:bb:00:02"}
BONDS = {"wn001": ("small", "802.3ad"), "wn002": ("shared", "active-backup")}
VLAN = 36
BONDED = """\
site: bonds
network: {{subnet: 172.24.10.0/24, vlan: {vlan}, tagged: {tagged}}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
{images}
nodes:
  wn001:
    image: small
    macs: ["{wn001}", "{second}"]
    ip: 172.24.10.101
    interfaces: {{bond0: {{bond: {{mode: 802.3ad, of: [boot]}}}}}}
  wn002:
    image: shared
    mac: "{wn002}"
    ip: 172.24.10.102
    interfaces: {{bond0: {{bond: {{mode: active-backup, of: [boot, eth1]}}}}}}
"""
IMAGE = """\
  {name}:
    reference: {{path: {tree}}}
    kernel: {kernel}
    overlays: [probe]
    initrd: {initrd}
    {more}
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=20"
    disk:
      devices: [/dev/vda]
      partitions: [{{mount: /var, size: 1500M, fs: ext4, fill: /var.ro}}, {{mount: /tmp, size: rest, fs: ext4}}]
"""
OWN = "{base: none, modules: [virtio_net]}"
ABOVE = "root: nfs-overlay\n    overlay_size: 64M"

UNITS = "chrony rsyslog autofs postfix NetworkManager systemd-networkd networking rpcbind.socket"
# When all that starts has started, and once more a while later: what gives up after tries has done so then
PROBE = f"""\
#!/bin/sh
say() {{ while read -r line; do echo "probe: $1 $line" >/dev/console; done; }}
timeout 400 systemctl is-system-running --wait | say running
sleep 30
systemctl --failed --no-legend --plain | say failed
for unit in {UNITS}; do echo "$unit $(systemctl is-active $unit)" | say unit; done
for unit in $(systemctl --failed --no-legend --plain | cut -d ' ' -f 1); do
  journalctl -o cat -n 12 -u $unit | say "journal $unit"
done
chronyc -n activity | grep online | say chronyd
logger written-by-the-probe
echo letter | /usr/sbin/sendmail -f root root 2>&1 | say sendmail
sleep 5
cat /var/log/syslog /var/log/messages 2>/dev/null | grep -o -m 1 written-by-the-probe | say rsyslogd
find /var/mail /var/spool/mail /var/spool/postfix/deferred -type f | say letter
ip -4 -o addr show scope global | say address
echo done | say all
"""
UNIT = "[Service]\nType=exec\nExecStart=/etc/probe.sh\n"
OVERLAY = {
    "probe/etc/probe.sh": PROBE,
    "probe/etc/systemd/system/probe.service": UNIT,
    "probe/etc/systemd/system/multi-user.target.d/probe.conf": "[Unit]\nWants=probe.service\n",
    "probe/usr/sbin/ssh-keygen": QUICK_KEYS,
}


def text(images: dict[str, str], names: tuple[str, str]) -> str:
    """The site with these images, by name; wn001 has the first of `names`, wn002 the other."""
    groups = "\n".join(f"  of-{name}: {{image: {name}}}" for name in images)
    first, last = (f"of-{name}" for name in names)
    words = {"pool": POOL, "groups": groups, "first": first, "last": last}
    return SITE.format(images="".join(images.values()), **words, **MACS)


def small(folder: Path, cache: Path) -> Grid:
    """EL5's way, with an initrd of our own: a boot of seconds."""
    tree = el5_root.reference(cache)
    (kernel,) = (name for name in os.listdir(tree / "lib/modules") if "cloud" in name)
    words = {"tree": tree, "kernel": kernel, "initrd": OWN, "more": "root: nfs"}
    images = {"small": IMAGE.format(name="small", **words)}
    keys = {"probe/usr/sbin/ssh-keygen": QUICK_KEYS}
    return Grid(folder, text(images, ("small", "small")), keys)


def crowded(folder: Path, cache: Path, suite: str) -> Grid:
    """A Debian with its services and dracut's initrd: wn001's root cannot be written, wn002's can."""
    tree = network_managers.reference(cache / suite, bootstrapped(cache, suite))
    words = {"tree": tree, "kernel": network_managers.kernel(tree), "initrd": "{base: auto}"}
    images = {
        name: IMAGE.format(name=name, more=more, **words)
        for name, more in (("shared", "root: nfs"), ("above", ABOVE))
    }
    return Grid(folder, text(images, ("shared", "above")), OVERLAY)


def bonded(folder: Path, cache: Path, suite: str, tagged: bool) -> Grid:
    """Both roots; each node has two cards, and what is on the first goes over to a bond of them."""
    tree = el5_root.reference(cache)
    (kernel,) = (name for name in os.listdir(tree / "lib/modules") if "cloud" in name)
    small = {"tree": tree, "kernel": kernel, "initrd": OWN, "more": "root: nfs"}
    tree = network_managers.reference(cache / suite, bootstrapped(cache, suite))
    words = {"tree": tree, "kernel": network_managers.kernel(tree), "initrd": "{base: auto}"}
    images = [IMAGE.format(name="small", **small)]
    images.append(IMAGE.format(name="shared", more="root: nfs", **words))
    told = {"vlan": VLAN, "tagged": str(tagged).lower(), "second": SECOND["wn001"]}
    return Grid(folder, BONDED.format(images="".join(images), **told, **MACS), OVERLAY)


def bootstrapped(cache: Path, suite: str) -> Path:
    """The example site's reference, of another release of Debian."""
    doit = Doit(cache / suite)
    doit.folder.mkdir(parents=True, exist_ok=True)
    example = (REPOSITORY / "site.yaml").read_text()
    doit.site.write_text(example.replace("suite: trixie", f"suite: {suite}"))
    doit()
    (tree,) = doit.build.glob("references/*/tree")
    return tree


def machine(grid: Grid, image: str, mac: str, work: Path, tagged: bool = False) -> Machine:
    """A node with a blank disk; of a network that is `tagged` or not."""
    work.mkdir(parents=True, exist_ok=True)
    direct = grid.direct(image, mac, work, entry=f"{image}@network" if tagged else image)
    return Machine(mac, disk(work, 4096), str(work), direct=direct)


def with_two_cables(node: Machine, second: str, vlan: int) -> Machine:
    """Its second card is on the same wire; the first one's port takes a VLAN tagged, too."""
    assert node.direct
    return replace(node, cabled=((second, 1),), vlan=vlan)


def with_three_cards(node: Machine, bootif: bool) -> Machine:
    """Only its own has a cable, the second; `bootif`: the loader says which that is."""
    assert node.direct
    kernel, initrd, words = node.direct
    if not bootif:
        words = " ".join(word for word in words.split() if not word.startswith("BOOTIF="))
    return replace(node, unplugged=UNPLUGGED, direct=(kernel, initrd, words))
