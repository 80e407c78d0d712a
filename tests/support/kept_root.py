"""A node of `root: disk` without a machine: the initrd's own scripts, by its busybox, on real loop devices and file systems.

This kernel may know no partition tables, so disk and partition are loop devices of their own, below a sysfs that says so.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

from tasks.core.initrd import busybox
from tests.support.commands import REPOSITORY

SCRIPTS = "common.sh identity check-site ahead above netroot fetch fileroot root-ram root-disk next-image".split()
OVERLAY = REPOSITORY / "overlays/initrd"
MIB = 1 << 20
PARTITION = 12  # MiB, from 1 MiB on
SITE, LABEL = "grid", "pn-image"
GOOD, BAD, DOWN = "127.0.0.1", "127.0.0.2", "127.0.0.3"
NGINX = """\
error_log stderr; pid {run}/nginx.pid;
events {{}}
http {{
  access_log {run}/access.log; client_body_temp_path {run}/t1; proxy_temp_path {run}/t2;
  fastcgi_temp_path {run}/t3; uwsgi_temp_path {run}/t4; scgi_temp_path {run}/t5;
  server {{ listen 127.0.0.1:80; root {run}/good; }}
  server {{ listen 127.0.0.2:80; root {run}/bad; }}
}}
"""
BOOT = """\
losetup() { case $1 in -r) echo "$2" >>"$ROOT/loops" ;; esac; busybox losetup "$@"; }
ip link set lo up; nginx -c "$ROOT/nginx.conf" -g "user root;"; mount --make-rprivate /
trap end EXIT; reboot() { :; }; address=172.24.10.10 interface=eth0 mac=52:54:00:00:00:10 domain= servers=
. "$ROOT/root-disk"; mount_root "$ROOT/new"; identify "$ROOT/told" "$ROOT/new"
cat "$ROOT/new/release"
"""
# What the running system has of it: the partition, and what the initrd has left there
NEXT = """
mkdir -p "$ROOT/told/plugnode/image"
mount -t ext4 "$DEVICES/sda1" "$ROOT/told/plugnode/image"
mount -t tmpfs tmpfs "$ROOT/new/run"; keep_tools "$ROOT/new"
NODE=$ROOT/told/plugnode "$ROOT/new/run/plugnode/fetch/bin/busybox" sh \\
    "$ROOT/new/run/plugnode/fetch/next-image" <"$ROOT/next.cmdline"
"""


def command(*words: str | Path) -> str:
    done = subprocess.run([*map(str, words)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def cksum(text: str) -> str:
    """cksum(1) as setup.sh writes it, 8 hex digits."""
    done = subprocess.run(["cksum"], input=text.encode(), capture_output=True, check=True)
    return f"{int(done.stdout.split()[0]):08x}"


class KeptNode:
    """A node's disk, its servers, and what it is told of the release to boot."""

    def __init__(self, folder: Path, state: str = "COMMITTED", site: str = SITE):
        self.root, self.image = folder / "node", folder / "disk.img"
        self.loops: list[str] = []
        for name in SCRIPTS:
            self._put(name, OVERLAY / name)
        self._put("bin/busybox", Path("/bin/busybox"))
        for applet in (*busybox.NETWORK_ROOT, *busybox.ROOT_FILE, *busybox.DISK):
            (self.root / "bin" / applet).symlink_to("busybox")
        for name in ("dev", "run", "new", "told", "nodes", "proc"):
            (self.root / name).mkdir()
        self.write("plugnode/site", f"site={SITE}\n")
        self.write("plugnode/nodes", "172.24.10.10\twn010\t52:54:00:00:00:10\t-\tkept\t-\n")
        self.layout(f"partition image {PARTITION} ext4 {LABEL} -\n")
        self.write("sys/devices/sda/sda1/partition", "1\n")
        (self.root / "sys/class/block").mkdir(parents=True)
        for name, place in (("sda", "sda"), ("sda1", "sda/sda1")):
            (self.root / "sys/class/block" / name).symlink_to(f"../../devices/{place}")
        self.write("nginx.conf", NGINX.format(run=self.root))
        self.write("proc/uptime", "12.34 1.00\n")
        self.write("proc/meminfo", "MemTotal: 999999 kB\nMemAvailable: 900000 kB\n")
        for place in (folder, self.root):
            place.chmod(0o755)
        self._make_disk(state, site)

    def _put(self, name: str, source: Path) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, self.root / name)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def layout(self, text: str) -> None:
        self.write("plugnode/layouts/kept", text)

    def _make_disk(self, state: str, site: str) -> None:
        with open(self.image, "wb") as file:
            file.truncate((PARTITION + 2) * MIB)
            body = f"PLUGNODE1 {cksum(site + chr(10))} {state} - 12345678 wn010"
            file.seek(2040 * 512)
            file.write(f"{body} {cksum(body)}".encode())
        where = f"offset={MIB}"
        size = f"{PARTITION * 1024}k"
        command("mkfs.ext4", "-q", "-F", "-b", "1024", "-L", LABEL, "-E", where, self.image, size)

    def attach(self, image: Path | None = None) -> None:
        image = image or self.image
        part = ["--offset", str(MIB), "--sizelimit", str(PARTITION * MIB)]
        for name, words in (("sda", []), ("sda1", part)):
            loop = command("losetup", "-f", "--show", *words, image)
            self.loops.append(loop)
            link = self.root / "nodes" / name
            link.unlink(missing_ok=True)
            link.symlink_to(loop)

    def detach(self) -> None:
        """Those of the boot, too; one that was given back since is none of ours."""
        inner = self.root / "loops"
        noted = set(inner.read_text().split()) if inner.exists() else set[str]()
        for loop in [*filter(self._is_of_boot, noted), *self.loops]:
            subprocess.run(["losetup", "-d", loop], capture_output=True)
        inner.unlink(missing_ok=True)
        self.loops.clear()

    def _is_of_boot(self, loop: str) -> bool:
        """Whether its file lies on our partition, or in a memory that nobody else sees; others take loop devices, too."""
        said = subprocess.run(
            ["losetup", "-n", "-O", "BACK-MAJ:MIN,BACK-FILE", loop], capture_output=True, text=True
        )
        device, _, file = said.stdout.strip().partition(" ")
        numbers = [os.stat(ours).st_rdev for ours in self.loops]
        on_ours = device in [f"{os.major(number)}:{os.minor(number)}" for number in numbers]
        return on_ours or device.startswith("0:") and ".erofs" in file

    def release(self, name: str, size: int = 2 * MIB, kernel: str = "") -> bytes:
        """Its root file, served: a real file system with the modules' folder of a kernel, by itself of this one."""
        tree = self.root / "trees" / name
        (tree / "lib/modules" / (kernel or os.uname().release)).mkdir(parents=True)
        (tree / "run").mkdir()
        (tree / "release").write_text(name + "\n")
        (tree / "noise").write_bytes(random.Random(name).randbytes(size))
        file = self.root / "good" / name / "root.erofs"
        file.parent.mkdir(parents=True)
        command("mkfs.erofs", "--quiet", "-T0", file, tree)
        data = file.read_bytes()
        bad = self.root / "bad" / name / "root.erofs"
        bad.parent.mkdir(parents=True)
        bad.write_bytes(data[:-9] + b"x" + data[-8:])
        return data

    def boots(self, name: str, first: str = GOOD, others: str = "") -> Path:
        """The kernel arguments of a release; gives the name of its file on the disk."""
        data = (self.root / "good" / name / "root.erofs").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        words = {
            "root": f"disk:http://{first}/{name}/root.erofs",
            "plugnode.root_bytes": str(len(data)),
            "plugnode.root_sha256": digest,
            "plugnode.root_servers": others,
        }
        self.write("proc/cmdline", " ".join(f"{key}={text}" for key, text in words.items()) + "\n")
        return Path(f"{name}.{digest}.erofs")

    def boot(self, image: Path | None = None, then: str = "") -> tuple[str, str]:
        """Power on: the release of the root that it then has, "" for none, and what it said."""
        (self.root / "dev/console").write_text("")
        script = f'set -eu; . "$ROOT/netroot"; {BOOT}{then}'
        settings = {
            "ROOT": str(self.root),
            "DEVICES": str(self.root / "nodes"),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            **{"WAITS": "0", "LAST_WAIT": "0", "DISK_WAITS": "0", "PATIENCE": "2"},
        }
        apart = "unshare --net --uts --ipc --mount --pid --fork --kill-child busybox ash -c".split()
        self.attach(image)
        try:
            done = subprocess.run(
                [*apart, script], env=settings, capture_output=True, text=True, timeout=60
            )
        finally:
            self.detach()
        assert not done.returncode or "FAILED" in self.read("dev/console"), done.stderr
        return done.stdout.strip(), self.read("dev/console")

    def on_disk(self, script: str) -> str:
        """Run a shell script in the partition's folder."""
        self.attach()
        mounted = f'mount -t ext4 "{self.root}/nodes/sda1" /mnt && cd /mnt && {script}'
        try:
            return command("unshare", "--mount", "sh", "-euc", mounted)
        finally:
            self.detach()
