"""Machines on a network that nothing leads out of: each a network, mount and pid namespace with a real sshd.

They share this machine's files but for /root, /srv, /var/tmp, /usr/local/bin, /etc/exports.d and what a test asks for,
which are their own. A kernel takes all of a machine along when its first process ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.support.commands import REPOSITORY

SHIMS = "/usr/local/bin"  # what a machine runs in place of the real program of that name
BOOT = """
set -e
ip link set lo up
mkdir -p "{held}"
mount --rbind "{repository}" "{held}"
for folder in {own}; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
mkdir -p "{repository}"
mount --move "{held}" "{repository}"
mkdir -p /run/sshd
echo {name} >/srv/name
"""
SSHD = """Port 22
ListenAddress {address}
HostKey {folder}/{name}.key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 50
SetEnv TMPDIR=/var/tmp
{more}
"""


def run(*argv: object, **options) -> str:
    return subprocess.run(
        [str(word) for word in argv], check=True, capture_output=True, text=True, **options
    ).stdout


# The first process: it ignores its children's ends, so that none stays as a zombie.
INIT = "import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp('sleep', ['sleep', 'infinity'])"
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # nothing outlives who runs the tests


class Machine:
    """One of them. `root` is its root file system, as seen from here."""

    def __init__(
        self, lan: Lan, name: str, address: str, more: str = "", own: tuple[str, ...] = ()
    ):
        self.lan, self.name, self.address, self.own = lan, name, address, own
        self.port, self.holder, self.sshd = f"v{address.rpartition('.')[2]}", None, None
        if not (lan.folder / f"{name}.key").exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", lan.folder / f"{name}.key")
        self.configure(more)

    def configure(self, more: str = "") -> None:
        """What its sshd is told besides, from the next start on."""
        text = SSHD.format(address=self.address, folder=self.lan.folder, name=self.name, more=more)
        (self.lan.folder / f"{self.name}.conf").write_text(text)

    def start(self) -> None:
        argv = "unshare --net --mount --pid --fork --kill-child=KILL --mount-proc".split()
        self.unshare = subprocess.Popen([*WITH_US, *argv, sys.executable, "-c", INIT])
        children = pathlib.Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        until(lambda: children.read_text().split())
        self.pid = int(children.read_text().split()[0])
        until(lambda: os.readlink(f"/proc/{self.pid}/exe").endswith("sleep"))
        self.plug()
        own = " ".join(("/root", "/srv", "/var/tmp", "/etc/exports.d", SHIMS, *self.own))
        held = self.lan.folder / "checkout"
        run(
            *self.inside(
                "sh", "-c", BOOT.format(own=own, name=self.name, repository=REPOSITORY, held=held)
            )
        )
        self.serve()

    def serve(self) -> None:
        """Start its sshd."""
        argv = self.inside(
            "/usr/sbin/sshd", "-D", "-e", "-f", self.lan.folder / f"{self.name}.conf"
        )
        with open(self.lan.folder / f"{self.name}.log", "wb") as log:
            self.sshd = subprocess.Popen([*WITH_US, *argv], stdout=log, stderr=log)
        until(lambda: self.sshd.poll() is not None or "Server listening" in self.said())
        assert self.sshd.poll() is None, self.said()

    def plug(self) -> None:
        cable = f"{self.port} netns {self.lan.pid} type veth peer name eth0 netns {self.pid}"
        run("ip", "link", "add", *cable.split())
        run(*self.lan.inside("ip", "link", "set", self.port, "master", "br0", "up"))
        run(*self.inside("ip", "addr", "add", f"{self.address}/24", "dev", "eth0"))
        run(*self.inside("ip", "link", "set", "eth0", "up"))

    def unplug(self) -> None:
        """As if its cable were drawn: nothing is said to anybody."""
        run(*self.lan.inside("ip", "link", "set", self.port, "down"))

    def plug_again(self) -> None:
        run(*self.lan.inside("ip", "link", "set", self.port, "up"))

    def inside(self, *argv: object) -> list[str]:
        enter = ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "--"]
        return [*enter, "env", f"PATH={SHIMS}:{os.environ['PATH']}", *map(str, argv)]

    def shim(self, name: str, script: str) -> pathlib.Path:
        """A program that is found there before the real one; remove it to have that again."""
        path = self.path(f"{SHIMS}/{name}")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def said(self) -> str:
        return (self.lan.folder / f"{self.name}.log").read_text()

    @property
    def root(self) -> pathlib.Path:
        return pathlib.Path(f"/proc/{self.pid}/root")

    def path(self, path: str) -> pathlib.Path:
        return self.root / path.lstrip("/")

    def processes(self, word: str) -> list[int]:
        """Its processes that have a word in their command line, as this machine numbers them."""
        space, found = os.readlink(f"/proc/{self.pid}/ns/pid"), []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == space:
                    words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
                    if word in words.decode(errors="replace"):
                        found.append(int(entry))
        return found

    def kill(self, *words: str) -> bool:
        """kill -9 of those processes, all found before the first is gone; whether there was one of each word."""
        found = [self.processes(word) for word in words]
        for pid in itertools.chain(*found):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return all(found)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.unshare.wait()
        if self.sshd:
            self.sshd.wait()


# Nobody at an address: known after three questions (arp(7)) in a third of a second, not three
GONE_SOON = "net.ipv4.neigh.br0.retrans_time_ms=100"


class Lan:
    """A bridge in a namespace of its own; programs of a test run in there, too, at .254."""

    def __init__(self, folder: pathlib.Path, network: str = "10.99.0"):
        self.folder, self.network = folder, network
        self.machines: list[Machine] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.hub = subprocess.Popen([*WITH_US, "unshare", "--net", "sleep", "infinity"])
        self.pid = self.hub.pid
        until(lambda: os.readlink(f"/proc/{self.pid}/exe").endswith("sleep"))
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            f"addr add {network}.254/24 dev br0",
            "link set br0 up",
        ):
            run(*self.inside("ip", *words.split()))
        run(*self.inside("sysctl", "-q", GONE_SOON))
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "user")
        (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
        (folder / "ssh_config").write_text(
            f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        )
        (folder / "known_hosts").touch()

    def machine(self, name: str, number: int, known: bool = True, **more) -> Machine:
        made = Machine(self, name, f"{self.network}.{number}", **more)
        if known:
            key = (self.folder / f"{name}.key.pub").read_text()
            with open(self.folder / "known_hosts", "a") as file:
                file.write(f"{made.address} {key}")
        made.start()
        self.machines.append(made)
        return made

    def inside(self, *argv: object) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", "--", *map(str, argv)]

    def environment(self, **more: str) -> dict[str, str]:
        """What a program of the lan needs to log in."""
        rsh = f"ssh -F {self.folder}/ssh_config -o ServerAliveInterval=1 -o ConnectTimeout=2"
        return {**os.environ, "RSYNC_RSH": rsh, "NO_COLOR": "1", **more}

    def stop(self) -> None:
        for machine in self.machines:
            machine.stop()
        self.hub.kill()
        self.hub.wait()


@contextlib.contextmanager
def lan(folder: pathlib.Path) -> Iterator[Lan]:
    made = Lan(folder)
    try:
        yield made
    finally:
        made.stop()


def doit(
    lan: Lan, site: pathlib.Path, *words: object, at: Lan | Machine | None = None, **options
) -> subprocess.Popen:
    """doit in the lan, or on one of its machines: what it says on both outputs is in `stdout`."""
    argv = doit_words(site, *words)
    given = {"env": lan.environment(), "text": True, "start_new_session": True, **options}
    return subprocess.Popen(
        (at or lan).inside(*argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given
    )


def doit_words(site: pathlib.Path, *words: object) -> list[object]:
    program = ["env", "-C", REPOSITORY, sys.executable, "-m", "doit", f"build={site.parent}/build"]
    return [*program, *map(str, words), f"site={site}"]


def until(true, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(FileNotFoundError):
            if true():
                return
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
