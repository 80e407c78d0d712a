"""A virtual machine whose disks were in use before: real volume groups and arrays, and a udev that starts them.

Its root is all of its initrd: Debian's programs as they are, setup.sh, and a script that makes such disks and then
boots a node's disk again and again. What each boot said is told by its title.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.support.loop_disk import PARTS, SETUP
from tests.support.unpacked_root import kept_root, unpack

PACKAGES = (
    "bash dash coreutils grep sed findutils mawk util-linux mount fdisk e2fsprogs kmod udev systemd lvm2 dmsetup mdadm "
    "busybox-static linux-image-cloud-amd64"
).split()
DRIVERS = ("drivers/block", "drivers/virtio", "drivers/md", "fs", "lib", "crypto", "arch")
NOT_NEEDED = (
    "usr/share",
    "var/lib/apt",
    "var/cache",
    "var/lib/dpkg",
    "usr/lib/x86_64-linux-gnu/perl-base",
)
DISKS = dict.fromkeys(("vda", "vdb", "vdc", "vdd", "vde"), "1G")

INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
for module in virtio_pci virtio_blk dm-mod dm-snapshot linear; do modprobe -q $module; done
exec >/dev/console 2>&1
sh /case
echo "=== END"
busybox poweroff -f
"""
# In place of what starts groups and arrays through systemd: as fast as udev sees them
RULES = """\
SUBSYSTEM=="block", ENV{ID_FS_TYPE}=="LVM2_member", RUN+="/bin/sh /start"
SUBSYSTEM=="block", ENV{ID_FS_TYPE}=="linux_raid_member", RUN+="/sbin/mdadm -I --run $devnode"
"""
START = "exec vgchange -qq -ay --nolocking --config 'activation{udev_sync=0 udev_rules=0}devices{use_devicesfile=0}'\n"
CASE = """\
boot() { # TITLE DISK WIPE OF-WHAT-THE-BYTES
  echo "=== $1"
  for folder in /home /tmp /var; do umount $folder 2>/dev/null; done
  rm -rf /run/plugnode
  mkdir -p /run/plugnode/layouts
  cat >/run/plugnode/layouts/default <<LAYOUT
table gpt
required yes
device $2
partition /var 64 ext4 pn-var /var.ro
partition /tmp 448 ext4 pn-tmp -
partition /home rest ext4 pn-home -
LAYOUT
  printf '10.0.0.1\\twn1\\t52:54:00:00:00:01\\t-\\tdefault\\t%s\\n' "$3" >/run/plugnode/nodes
  for fact in site=site=grid release=w-1 address=10.0.0.1 interface=eth0; do
    echo ${fact#*=} >/run/plugnode/${fact%%=*}
  done
  before=$(cat $4 | cksum)
  /etc/setup.sh
  [ "$before" != "$(cat $4 | cksum)" ] || echo "the same bytes"
  echo "state $(dd if=$2 bs=512 skip=2040 count=1 2>/dev/null | tr -d '\\000' | cut -d ' ' -f 3)"
  awk '$2 ~ "^/(var|tmp|home)$" { print "mounted", $2, $3 }' /proc/mounts
  dmsetup ls | sed 's/^/volume /'
}
forget() { # DISK: it was this node's
  for folder in /home /tmp /var; do umount $folder 2>/dev/null; done
  dd if=/dev/zero of=$1 bs=512 seek=2040 count=1 conv=notrunc,fsync 2>/dev/null
}
lvm="--config devices{use_devicesfile=0} -q"
part() { # DISK: one partition, where the third of ours will be
  printf 'label: gpt\\nstart=513MiB, size=400MiB\\n' | sfdisk -q $1
  partx -u $1
  until [ -b ${1}1 ]; do sleep 1; done
}
group() { # NAME WORDS ON…: a volume group and a volume
  name=$1 words=$2
  shift 2
  pvcreate $lvm -ff -y "$@"
  vgcreate $lvm $name "$@"
  lvcreate $lvm -Wn -Zn -L 100M $words -n root $name
  vgchange $lvm -an $name
}
mkdir -p /var /tmp /home /var.ro/lib /run/lock
echo kept >/var.ro/lib/file
part /dev/vda
group centos "" /dev/vda1
part /dev/vdb
group ghost "" /dev/vdb1
for mib in 0 1023; do dd if=/dev/zero of=/dev/vdb bs=1048576 count=1 seek=$mib 2>/dev/null; done
sync
blockdev --rereadpt /dev/vdb
mdadm -q -C /dev/md9 --force --run -l1 -n1 --metadata=1.2 /dev/vdc
group onmd "" /dev/md9
mdadm -q -S /dev/md9
group wide "-i 2" /dev/vdd /dev/vde
$(ls /usr/lib/systemd/systemd-udevd /lib/systemd/systemd-udevd 2>/dev/null | head -n 1) --daemon
udevadm trigger --action=add
udevadm settle
boot "a foreign group" /dev/vda - /dev/vda
boot "the group by force" /dev/vda force:SERVDA /dev/vdd
boot "the node's own" /dev/vda - /dev/vdd
forget /dev/vda
boot "a ghost under the third partition" /dev/vdb - /dev/vdd
forget /dev/vdb
boot "an array and a group by force" /dev/vdc force:SERVDC /dev/vdd
forget /dev/vdc
boot "a group of two disks by force" /dev/vdd force:SERVDD "/dev/vdd /dev/vde"
"""


def root(cache: Path) -> Path:
    """Its root but for setup.sh."""
    return kept_root(cache, "last-life", Path(__file__), make)


def make(tree: Path) -> None:
    unpack(tree, PACKAGES, NOT_NEEDED)
    (modules,) = (tree / "lib/modules").iterdir()
    for path in sorted((modules / "kernel").rglob("*.ko")):
        if not str(path.relative_to(modules / "kernel")).startswith(DRIVERS):
            path.unlink()
    subprocess.run(["depmod", "-b", tree, modules.name], check=True)
    for folder in ("proc", "sys", "dev", "run", "etc/plugnode", "etc/udev/rules.d"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for name, path in (("usr/bin/awk", "mawk"), ("bin/sh", "dash")):
        if not os.path.lexists(tree / name):
            (tree / name).symlink_to(path)
    (tree / "etc/udev/rules.d/99-last-life.rules").write_text(RULES)


def boots(
    folder: Path,
    tree: Path,
    case: str = CASE,
    sizes: dict[str, str] = DISKS,
    within: float = 1400,
) -> dict[str, str]:
    """Power it on once: what each boot of a disk said, by its title.

    `sizes`: of its disks, by name. `within`: seconds for all of them.
    """
    pack = f"find . ! -path './boot/*' | cpio -o -H newc --quiet >{folder}/initrd"
    subprocess.run(pack, shell=True, cwd=tree, check=True)
    with open(folder / "initrd", "ab") as initrd:
        initrd.write(extra(folder / "more", case))
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    words = "-m 1200 -smp 1 -nographic -no-reboot -net none".split()
    for name, size in sizes.items():
        subprocess.run(["truncate", "-s", size, folder / name], check=True)
        words += ["-drive", f"if=none,id={name},file={folder / name},format=raw"]
        words += ["-device", f"virtio-blk-pci,drive={name},serial=SER{name.upper()}"]
    words += [
        "-append",
        "console=ttyS0 quiet panic=1",
        "-kernel",
        kernel,
        "-initrd",
        folder / "initrd",
    ]
    with open(folder / "console", "wb") as console:
        streams = {"stdin": subprocess.DEVNULL, "stdout": console, "stderr": console}
        subprocess.run(["qemu-system-x86_64", *words], check=True, timeout=within, **streams)
    told = (folder / "console").read_text(errors="replace").replace("\r", "")
    assert "=== END" in told, told[-3000:]
    return dict(re.findall(r"^=== ([^\n]+)\n(.*?)(?=^=== )", told, re.MULTILINE | re.DOTALL))


def extra(more: Path, case: str) -> bytes:
    """A second archive: setup.sh as it is now, and the script."""
    (more / "etc").mkdir(parents=True)
    shutil.copy(SETUP.parent / "mdadm.conf", more / "mdadm.conf")
    shutil.copy(SETUP, more / "etc/setup.sh")
    shutil.copytree(PARTS, more / "etc/plugnode")
    for name, text in (("init", INIT), ("case", case), ("start", START)):
        (more / name).write_text(text)
        (more / name).chmod(0o755)
    return subprocess.run(
        "find . | cpio -o -H newc --quiet", shell=True, cwd=more, check=True, capture_output=True
    ).stdout
