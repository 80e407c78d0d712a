"""A reference node of the shape of EL5, made of Debian's packages: SysV init, rc.sysinit, /etc/sysconfig, no systemd.

The programs are Debian's of today; how the system starts, and where its files are, is what RHEL 5 has. So is the initrd
of its full kernel: mkinitrd's lines, run by a stand-in for nash.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.unpacked_root import kept_root, unpack

PACKAGES = (
    "bash coreutils diffutils grep sed findutils mawk hostname sysvinit-core sysvinit-utils util-linux mount fdisk "
    "e2fsprogs kmod iproute2 procps busybox-static openssh-client linux-image-amd64 linux-image-cloud-amd64"
).split()

# What a node of the tests is driven by; Debian's kernel has four thousand modules more.
DRIVERS = (
    "drivers/ata drivers/scsi drivers/nvme drivers/block/virtio_blk.ko drivers/block/loop.ko "
    "drivers/virtio drivers/net/bonding net/8021q net/802 net/llc net/tls drivers/net/virtio_net.ko drivers/net/net_failover.ko net/core/failover.ko drivers/net/mii.ko drivers/net/ethernet/amd/pcnet32.ko "
    "drivers/net/ethernet/intel/e1000 drivers/char/hw_random drivers/acpi fs net/sunrpc net/dns_resolver lib crypto "
    "arch block"
).split()

FILES = {
    "etc/inittab": """\
id:3:initdefault:
si::sysinit:/etc/rc.d/rc.sysinit
l0:0:wait:/etc/rc.d/rc 0
l3:3:wait:/etc/rc.d/rc 3
l6:6:wait:/etc/rc.d/rc 6
ca::ctrlaltdel:/sbin/shutdown -t3 -r now
""",
    "etc/rc.d/rc.sysinit": """\
#!/bin/bash
#
# /etc/rc.d/rc.sysinit - run once at boot time

HOSTNAME=`/bin/hostname`

set -m

if [ -f /etc/sysconfig/network ]; then
    . /etc/sysconfig/network
fi
if [ -z "$HOSTNAME" -o "$HOSTNAME" = "(none)" ]; then
    HOSTNAME=localhost
fi

if [ ! -e /proc/mounts ]; then
	mount -n -t proc /proc /proc
	mount -n -t sysfs /sys /sys >/dev/null 2>&1
fi

. /etc/init.d/functions

# Print a text banner.
echo $"Welcome to the worker node of the tests"

# start_udev is what makes the disks; /sbin/start_udev in a comment is none
/sbin/start_udev

# Set the hostname.
action $"Setting hostname ${HOSTNAME}: " hostname ${HOSTNAME}

# Mount all other filesystems (except for NFS and /proc, which is already mounted).
action $"Mounting local filesystems: " mount -a -n -t nonfs,nfs4,smbfs,ncpfs,cifs,gfs -O no_netdev

# Clean out /.
rm -f /var/lib/rpm/__db* &> /dev/null

# Clean up utmp/wtmp
> /var/run/utmp
touch /var/log/wtmp
""",
    "etc/rc.d/rc": """\
#!/bin/bash
#
# rc            This file is responsible for starting/stopping services when the runlevel changes.

. /etc/init.d/functions
runlevel=$1
export runlevel

for i in /etc/rc$runlevel.d/K* ; do
	[ -x "$i" ] && $i stop
done
for i in /etc/rc$runlevel.d/S* ; do
	[ -x "$i" ] || continue
	$i start
done
exit 0
""",
    "etc/rc.d/init.d/functions": """\
# -*-Shell-script-*-
PATH="/sbin:/usr/sbin:/bin:/usr/bin"
export PATH
umask 022

action() {
  STRING=$1
  echo -n "$STRING "
  shift
  "$@" && echo "[  OK  ]" || echo "[FAILED]"
}
""",
    "etc/rc.d/init.d/halt": """\
#!/bin/bash
# /etc/rc.d/init.d/halt: the end of runlevels 0 and 6
. /etc/init.d/functions
umount -a -t nonfs,noproc,nosysfs,nodevtmpfs,notmpfs
sync
case $0 in
*reboot) exec /sbin/reboot -d -f ;;
*) exec /sbin/halt -d -f -p ;;
esac
""",
    # As udev does of old: a driver for every device there is; the kernel's devtmpfs then has the nodes
    "sbin/start_udev": """\
#!/bin/bash
mount -n -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -n -t devpts devpts /dev/pts
mount -n -t tmpfs shm /dev/shm
find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u | xargs -r modprobe -q -a -b 2>/dev/null
modprobe -q -a sd_mod ext4
exit 0
""",
    "etc/sysconfig/network": "NETWORKING=yes\nHOSTNAME=wn-ref.grid.example.org\n",
    "etc/sysconfig/network-scripts/ifcfg-eth0": "DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\n",
    "etc/fstab": (
        "LABEL=/ / ext3 defaults 1 1\nLABEL=/boot /boot ext3 defaults 1 2\ntmpfs /dev/shm tmpfs defaults 0 0\n"
        "devpts /dev/pts devpts gid=5,mode=620 0 0\nLABEL=SWAP-sda2 swap swap defaults 0 0\n"
    ),
    "etc/hosts": "127.0.0.1 localhost.localdomain localhost\n172.24.10.9 wn-ref.grid.example.org wn-ref\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:99:99:Nobody:/:/sbin/nologin\n",
    "etc/group": "root:x:0:root\nnobody:x:99:\ntty:x:5:\n",
    "etc/shadow": "root:!!:14000:0:99999:7:::\nnobody:*:14000:0:99999:7:::\n",
    "etc/redhat-release": "Scientific Linux SL release 5.11 (Boron)\n",
    "var/log/messages": "",
    "var/run/utmp": "",
    "var/spool/cron/root": "# of the reference\n",
    "var/lib/site/software.list": "gcc\nroot\n",
}
LINKS = {
    "etc/rc.sysinit": "rc.d/rc.sysinit",
    "etc/init.d": "rc.d/init.d",
    **{f"etc/rc{level}.d": f"rc.d/rc{level}.d" for level in "0123456"},
    "etc/rc.d/rc0.d/S01halt": "../init.d/halt",
    "etc/rc.d/rc6.d/S01reboot": "../init.d/halt",
    "bin/sh": "bash",  # as in EL5
    "usr/bin/awk": "mawk",  # an alternative, which mawk's script makes
}

# What mkinitrd 5.1 writes for a root on a logical volume
NASH_INIT = """\
#!/bin/nash

mount -t proc /proc /proc
setquiet
echo Mounting proc filesystem
echo Mounting sysfs filesystem
mount -t sysfs /sys /sys
echo Creating /dev
mount -o mode=0755 -t tmpfs /dev /dev
mkdir /dev/pts
mount -t devpts -o gid=5,mode=620 /dev/pts /dev/pts
mkdir /dev/shm
mkdir /dev/mapper
echo Creating initial device nodes
mknod /dev/null c 1 3
mknod /dev/zero c 1 5
mknod /dev/tty c 5 0
mknod /dev/console c 5 1
mknod /dev/ttyS0 c 4 64
echo Setting up hotplug.
hotplug
echo Creating block device nodes.
mkblkdevs
echo "Loading mbcache.ko module"
insmod /lib/mbcache.ko
echo "Loading jbd2.ko module"
insmod /lib/jbd2.ko
echo Waiting for driver initialization.
stabilized --hash --interval 250 /proc/scsi/scsi
mkblkdevs
echo Scanning and configuring dmraid supported devices
echo Scanning logical volumes
lvm vgscan --ignorelockingfailure
echo Activating logical volumes
lvm vgchange -ay --ignorelockingfailure  VolGroup00
resume /dev/VolGroup00/LogVol01
echo Creating root device.
mkrootdev -t ext3 -o defaults,ro /dev/VolGroup00/LogVol00
echo Mounting root filesystem.
mount /sysroot
echo Setting up other filesystems.
setuproot
echo Switching to new root and running init.
switchroot
"""
# nash(8) as far as that needs it. What finds and mounts the disk's root is missing on purpose: it must not be reached.
NASH = """\
#!/bin/ash
PATH=/bin
setquiet() { :; }
hotplug() { :; }
mkblkdevs() { :; }
stabilized() { :; }
setuproot() {
    mount -o bind /dev /sysroot/dev
    mount -t proc /proc /sysroot/proc
    mount -t sysfs /sys /sysroot/sys
}
switchroot() { exec switch_root -c /dev/console /sysroot /sbin/init; }
. "$1"
"""
NASH_APPLETS = "ash mount mkdir mknod insmod switch_root".split()

RUNLEVELS = tuple(f"etc/rc.d/rc{level}.d" for level in "0123456")
FOLDERS = (*RUNLEVELS, "home", "root", "tmp", "mnt", "var/tmp", "var/lock/subsys")
NOT_NEEDED = (
    "usr/share/doc usr/share/man usr/share/locale usr/share/info usr/share/bug usr/share/lintian usr/share/perl "
    "usr/lib/x86_64-linux-gnu/perl-base usr/share/zoneinfo var/lib/apt var/cache/apt var/lib/dpkg"
).split()


def reference(cache: Path) -> Path:
    """The reference."""
    return kept_root(cache, "el5", Path(__file__), make)


def make(tree: Path) -> None:
    unpack(tree, PACKAGES, NOT_NEEDED)
    for version in os.listdir(tree / "lib/modules"):
        trim(tree / "lib/modules" / version / "kernel")
        subprocess.run(["depmod", "-b", tree, version], check=True)
    shape(tree)
    make_nash_image(tree)


def make_nash_image(tree: Path) -> None:
    """The initrd of the full kernel, as mkinitrd would have made it: boot/initrd-VERSION.img."""
    (version,) = (name for name in os.listdir(tree / "lib/modules") if "cloud" not in name)
    with tempfile.TemporaryDirectory() as name:
        image = Path(name)
        for folder in ("bin", "dev", "lib", "proc", "sys", "sysroot"):
            (image / folder).mkdir()
        for path, text in (("init", NASH_INIT), ("bin/nash", NASH)):
            (image / path).write_text(text)
            (image / path).chmod(0o755)
        shutil.copy(tree / "bin/busybox", image / "bin/bb")
        for applet in NASH_APPLETS:
            (image / "bin" / applet).symlink_to("bb")
        for path in ("fs/mbcache.ko", "fs/jbd2/jbd2.ko"):
            shutil.copy(tree / "lib/modules" / version / "kernel" / path, image / "lib")
        pack = f"find . | cpio -o -H newc --quiet | gzip >{tree}/boot/initrd-{version}.img"
        subprocess.run(pack, shell=True, cwd=image, check=True)


def trim(modules: Path) -> None:
    """Leave the DRIVERS."""
    for path in sorted(modules.rglob("*"), reverse=True):
        name = str(path.relative_to(modules))
        if path.is_file() and not any(
            name == wanted or name.startswith(wanted + "/") for wanted in DRIVERS
        ):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def shape(tree: Path) -> None:
    """EL5's own places and scripts."""
    shutil.rmtree(tree / "etc/init.d", ignore_errors=True)
    for path in [*tree.glob("etc/rc?.d"), tree / "etc/rcS.d"]:
        shutil.rmtree(path, ignore_errors=True)
    for name in FOLDERS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o400 if name == "etc/shadow" else 0o644)
    for name, target in LINKS.items():
        path = tree / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
