"""A worker node's first boot without a machine: the real setup.sh on real loop devices, in a mount namespace.

This kernel may know no partition tables, so the partitions are loop devices of their own, where the layout puts them,
and setup.sh is told so by its seam NODES.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import signal
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.commands import REPOSITORY

SETUP = REPOSITORY / "overlays/worker/etc/setup.sh"
PARTS = SETUP.parent / "plugnode"
MIB = 1 << 20
SHELLS = {"dash": "dash", "bash": "bash --posix", "busybox": "busybox ash"}
LAYOUT = (
    ("/var", "24", "ext4", "pn-var", "/var.ro"),
    ("/tmp", "8", "ext3", "pn-tmp", "-"),
    ("/home", "rest", "ext4", "pn-home", "-"),
)


# What two folders must agree in: names, types, modes, owners, links, contents. The marks of setup.sh are its own.
CENSUS = (
    "census() { (cd $1; find . ! -path './lost+found*' ! -path './lib/plugnode*' ! -name .plugnode ! -name network "
    "! -name own ! -path . -printf '%P %y %m %U %G %l\\n' | sort; "
    "find lib log spool -type f ! -name own ! -path lib/plugnode/node -exec cksum {} + | sort -k 3); }; "
)
SAME = CENSUS + "census var.ro >a; census var >b; cmp -s a b && echo SAME || diff a b; "


# Read in by bash before setup.sh: counts the commands of `provision`, and kills the whole node before one of them.
CUT = """
case ${1:-} in provision)
  cut_count=0
  set -T
  trap 'echo $((++cut_count)) >"$CUT_COUNT"; [ $cut_count -ne "$CUT_AT" ] || kill -9 0' DEBUG ;;
esac
"""


def command(*words: str | Path, **more: object) -> str:
    return subprocess.run(
        [*map(str, words)], check=True, capture_output=True, text=True, **more
    ).stdout  # type: ignore


BLKPG, ADD_PARTITION = 0x1269, 1  # linux/blkpg.h


def add_partition(disk: str, number: int, size: int) -> None:
    """Have the kernel know a partition from the disk's first byte on, whatever its table says."""
    part = struct.pack("qqi64s64s", 0, size, number, b"", b"")
    held = ctypes.create_string_buffer(part, len(part))
    with open(disk, "rb") as device:
        asked = struct.pack("iiiP", ADD_PARTITION, 0, len(part), ctypes.addressof(held))
        fcntl.ioctl(device, BLKPG, asked)


@dataclass
class Node:
    """A node's root folder and its disk image; `boot` powers it on."""

    folder: Path
    mib: int = 64
    layout: tuple[tuple[str, ...], ...] = LAYOUT
    table: str = "gpt"
    name: str = "wn001"
    address: str = "172.24.10.100"
    shell: str = "dash"
    cmdline: str = "root=/dev/nfs ro"
    required: str = "yes"
    match: tuple[str, ...] = ()
    more: tuple[str, ...] = ()  # further lines of the layout
    also: str = ""  # further lines of the table of nodes
    wipe: str = "-"
    release: str = "worker-000000000001"
    site: str = "grid"
    signed: bool = False  # whether the initrd has seen who signed that
    nodes: bool = True  # whether partitions have nodes of the tests'
    ssh: bool = False  # making keys takes longer than all the rest
    sector: int = 512  # bytes
    unnamed: tuple[str, ...] = ()  # further disks of this machine, which the layout does not name;
    # `{}` is its own, which has a name of its own at each boot
    setup: Path = SETUP
    parts: Path = PARTS
    before: str = ""  # shell commands in the boot's own mount namespace, before setup.sh
    loops: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("dev", "var", "tmp", "home", "proc/sys/kernel", "run/plugnode", "nodes"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if self.ssh:
            (self.root / "etc/ssh").mkdir(parents=True, exist_ok=True)
        reference(self.root / "var.ro")
        if not self.image.exists():
            self.fresh()

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def image(self) -> Path:
        return self.folder / "disk.img"

    @property
    def data(self) -> Path:
        return self.root / "run/plugnode"

    @property
    def console(self) -> str:
        return (self.root / "dev/console").read_text()

    def fresh(self) -> None:
        self.image.unlink(missing_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(self.mib * MIB)

    def partitions(self) -> list[tuple[int, int]]:
        """(offset, size) in bytes, as `table_script` of setup.sh should place them."""
        at, found = 1, []
        fixed = sum(int(row[1]) for row in self.layout if row[1] != "rest")
        for row in self.layout:
            size = self.mib - 2 - fixed if row[1] == "rest" else int(row[1])
            found.append((at * MIB, size * MIB))
            at += size
        return found

    def attach(self) -> str:
        disk = command("losetup", "-f", "--show", "-b", str(self.sector), self.image).strip()
        self.loops.append(disk)
        for number, (offset, size) in enumerate(self.partitions(), 1):
            if 0 < size and offset + size <= self.mib * MIB:
                part = command(
                    "losetup", "-f", "--show", "-b", str(self.sector), "-o", str(offset), "--sizelimit", str(size),
                    self.image,
                ).strip()  # fmt: skip
                self.loops.append(part)
                link = self.root / "nodes" / str(number)
                link.unlink(missing_ok=True)
                link.symlink_to(part)
        return disk

    def detach(self) -> None:
        while self.loops:
            command("losetup", "-d", self.loops.pop())

    def site_data(self, disk: str) -> None:
        """What initrd and site.img bring: as `site_image` of config/site_image.py writes it."""
        command("rm", "-rf", self.data)
        (self.data / "layouts").mkdir(parents=True)
        command("rm", "-rf", self.root / "sys")
        unnamed = [name.format(*self.loops[:1]) for name in self.unnamed]
        for name in (*disk.split(), *unnamed):
            (self.root / "sys/block" / name.rpartition("/")[2] / "device").mkdir(parents=True)
        lines = [f"table {self.table}", f"required {self.required}", "device /dev/nosuchdisk*"]
        lines += [f"device {device}" for device in disk.split()] + [
            f"match {each}" for each in self.match
        ]
        lines += self.more
        lines += ["partition " + " ".join(row) for row in self.layout]
        others = "".join(
            f"172.24.10.{n}\twn{n:03}x\t52:54:00:00:01:{n:02x}\t-\tdefault\t-\n" for n in (1, 10)
        )
        tokens = f"-\t{self.wipe}" if self.wipe.startswith("foreign:") else self.wipe
        mine = f"{self.address}\t{self.name}\t52:54:00:00:00:01\t-\tdefault\t{tokens}\n"
        hosts = (
            "# 172.24.10.100 comment\n172.24.10.1 other\n172.24.10.10 ten\n"
            + f"{self.address} {self.name}\n"
        )
        for name, text in {
            "layouts/default": "\n".join(lines) + "\n", "nodes": others + self.also + mine, "hosts": hosts,
            "site": f"site={self.site}\n", "release": self.release + "\n",
            "address": self.address + "\n", "interface": "eth0\n", "signed": "yes\n" * self.signed,
        }.items():  # fmt: skip
            (self.data / name).write_text(text)
        (self.root / "proc/cmdline").write_text(self.cmdline + "\n")
        (self.root / "proc/sys/kernel/hostname").write_text("(none)\n")
        (self.root / "dev/console").write_text("")

    def boot(
        self,
        then: str = "",
        disk: bool = True,
        disks: str = "{}",
        env: dict[str, str] | None = None,
    ) -> str:
        """Run setup.sh, and `then` in the node's root while its disks are mounted; returns what that said.

        `disk`: whether it has one; `disks`: the devices that the layout names, `{}` is its own.
        """
        attached = self.attach()
        self.site_data(disks.format(attached) if disk else "")
        shell = SHELLS[self.shell]
        before, setup = (
            f"set -e; {self.before or ':'}; set +e",
            f'{shell} {self.setup} || echo "setup.sh failed: $?"',
        )
        script = f'{before}; {setup}; cd "$ROOT"; {then or ":"}'
        seams = {
            "ROOT": str(self.root),
            "PARTS": str(self.parts),
            "NODES": str(self.root / "nodes"),
            "SH": shell,
            "MOCK": "echo",
            "PAUSE": "0",
            "SYNC": ":",
        }
        try:
            return self.power_on(script, {**seams, "WAIT": "0", **(env or {})})
        finally:
            self.detach()

    def power_on(self, script: str, env: dict[str, str]) -> str:
        """Run it in a mount namespace, with no network but its own loopback; what it said."""
        process = subprocess.Popen(
            [
                "unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                "sh", "-c", script,
            ],
            env={**os.environ, **env},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            return process.communicate(timeout=60)[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def cut(self, at: int) -> int:
        """Boot, and kill everything before command `at` of the provisioning (0: never); returns how many there were."""
        count, before = self.folder / "count", self.folder / "before.bash"
        count.write_text("0")
        before.write_text(CUT)
        self.boot(
            env={"SH": "bash", "BASH_ENV": str(before), "CUT_AT": str(at), "CUT_COUNT": str(count)}
        )
        return int(count.read_text())

    def verb(self, *words: str, disk: str, hosts: Path | None = None) -> str:
        """What one function of setup.sh says by itself; in a mount namespace if there is something to do before."""
        self.site_data(disk)
        if hosts:
            (self.data / "hosts").unlink()
        if hosts and hosts.exists():
            (self.data / "hosts").write_bytes(hosts.read_bytes())
        seams = {"ROOT": str(self.root), "PARTS": str(self.parts), "WAIT": "0"}
        seams["NODES"] = str(self.root / "nodes") if self.nodes else ""
        script = f'{self.before or ":"} && exec {SHELLS[self.shell]} {self.setup} "$@"'
        apart = ["unshare", "--mount", "--propagation", "private"] if self.before else []
        return command(*apart, "sh", "-c", script, "sh", *words, env={**os.environ, **seams})

    def names(self, hosts: str, addresses: list[str]) -> list[str]:
        """What setup.sh reads in `hosts` for each address, in one process."""
        self.site_data("")
        (self.data / "hosts").write_text(hosts)
        script = f"set -- :; . {self.setup}; while read -r ADDRESS; do hosts_name || echo; done"
        seams = {"ROOT": str(self.root), "PARTS": str(self.parts), "WAIT": "0"}
        shell = [*SHELLS[self.shell].split(), "-c", script, str(self.setup)]
        return command(
            *shell, input="".join(f"{each}\n" for each in addresses), env={**os.environ, **seams}
        ).splitlines()

    def holds(self, *words: str) -> bool:
        """Whether a test of setup.sh says yes."""
        try:
            self.verb(*words, disk="")
        except subprocess.CalledProcessError as no:
            assert no.returncode == 1 and not no.stderr, no.stderr
            return False
        return True

    def edit(self, script: str) -> None:
        """Change what is on the node's /var between two boots; its root is the current folder."""
        self.attach()
        mounted = f"set -e; mount nodes/1 var; {script}\n"
        try:
            command("unshare", "--mount", "sh", "-c", mounted, cwd=self.root)
        finally:
            self.detach()

    def replace_fill(self, folder: Path) -> None:
        """Another /var.ro."""
        command("rm", "-rf", self.root / "var.ro")
        command("cp", "-a", folder, self.root / "var.ro")

    def take(self, image: Path) -> None:
        """A copy of that disk in place of the node's own."""
        command("cp", "--sparse=always", image, self.image)

    @property
    def degraded(self) -> str:
        flag = self.data / "degraded"
        return flag.read_text() if flag.exists() else ""

    @property
    def state(self) -> list[str]:
        """The words of the state sector."""
        with open(self.image, "rb") as file:
            file.seek(MIB - 4096)
            return file.read(512).rstrip(b"\0").decode("latin-1").split()

    def digest(self) -> str:
        with open(self.image, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def reference(folder: Path) -> None:
    """A small /var.ro with what such a folder holds: modes, links, empty folders."""
    if folder.exists():
        return
    for name in ("log", "lib/rpm", "spool/mail", "run", "tmp"):
        (folder / name).mkdir(parents=True)
    for number in range(40):
        (folder / "lib/rpm" / f"file{number}").write_bytes(bytes([number]) * (number * 700))
    (folder / "tmp").chmod(0o1777)
    (folder / "log/wtmp").touch(mode=0o664)
    (folder / "mail").symlink_to("spool/mail")
    os.link(folder / "lib/rpm/file7", folder / "lib/rpm/again7")
    os.chown(folder / "spool/mail", 8, 12)
