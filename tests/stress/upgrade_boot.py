"""A rolling upgrade of nodes that really reboot: `doit upgrade`, two virtual machines and their real servers.

    .venv/bin/python -m tests.stress.upgrade_boot [--cache build/test-cache]

Needs root and what `./doit test` installs. Two nodes at once boot by their cards' iPXE, and stay on; doit leads them
over ssh, one at a time, to a second release, and to a third, in whose first boot the power of one fails: that node
stays drained until it is switched on and the same command is run again. Five minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tasks.core.lab.network import UNSHARE, boot_server
from tasks.core.lab.qemu import VM, Ended, Machine, Show
from tasks.core.lab.run import READY
from tests.support import el5_sshd
from tests.support.commands import REPOSITORY
from tests.support.netns import run
from tests.support.vm_site import QUICK_KEYS, Grid, disk

NODES = {"wn001": "52:54:00:aa:00:11", "wn002": "52:54:00:aa:00:12"}
SITE = """\
site: upgrade-boot
network: {{subnet: 172.24.10.0/24}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
  worker:
    reference: {{path: {tree}}}
    kernel: {kernel}
    overlays: [login]
    initrd: {{base: none, modules: [virtio_net]}}
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=6 change={change}"
    disk: {{devices: [/dev/vda], partitions: [
      {{mount: /var, size: 300M, fs: ext3, fill: /var.ro}}, {{mount: /home, size: rest, fs: ext3}}]}}
nodes:
  wn[001-002]: {{macs: {macs}, ip: "172.24.10.[11-12]"}}
upgrade:
  drain: 'echo "drain $NODE $REASON" >>{folder}/record'
  idle: 'rm {folder}/job.$NODE && said=busy || said=idle; echo $said $NODE >>{folder}/record; [ $said = idle ]'
  undrain: 'echo "undrain $NODE" >>{folder}/record'
"""
REBOOTS = "reboot: Restarting system"  # the kernel's last line
PATIENCE = 900  # seconds for a boot


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=REPOSITORY / "build/test-cache")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    cache = wanted.cache.resolve()
    tree = el5_sshd.reference(cache)
    if wanted.inside:
        campaign(wanted.inside, tree)
        return 0
    with tempfile.TemporaryDirectory(prefix="upgrade-boot") as name:
        os.chmod(name, 0o755)
        words = ["-m", "tests.stress.upgrade_boot", "--inside", name, "--cache", str(cache)]
        return subprocess.run([*UNSHARE, sys.executable, *words], cwd=REPOSITORY).returncode


class Rack:
    """The nodes, their site, and the record of what is done to them."""

    def __init__(self, folder: Path, tree: Path):
        self.folder, self.record = folder, folder / "record"
        self.doomed = ""  # the node whose power fails when it reboots
        self.vms: dict[str, VM] = {}
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
        # a processor that is emulated takes seconds for a handshake
        alone = "-F /dev/null -oIdentitiesOnly=yes -oConnectTimeout=20"
        os.environ["RSYNC_RSH"] = f"ssh -i {folder}/key {alone}"
        kernel = next(name for name in os.listdir(tree / "lib/modules") if "cloud" in name)
        macs = json.dumps([*NODES.values()])
        self.texts = {"tree": tree, "kernel": kernel, "folder": folder, "macs": macs}
        self.disks = {name: disk(folder, name=f"{name}.img") for name in NODES}
        files = {"usr/sbin/ssh-keygen": QUICK_KEYS}
        files |= el5_sshd.overlay((folder / "key.pub").read_text())
        overlay = {f"login/{path}": text for path, text in files.items()}
        self.grid = Grid(folder / "site", self.site(1), overlay)

    def site(self, change: int) -> str:
        return SITE.format(**self.texts, change=change)

    def publish(self, change: int) -> None:
        self.grid.doit.site.write_text(self.site(change))
        self.grid.deploy()

    @property
    def release(self) -> str:
        """What nodes boot now."""
        return json.loads((self.grid.doit.build / "worker/release.json").read_text())["id"]

    def switch_on(self, *names: str) -> float:
        """Seconds until all are ready."""
        begun = time.monotonic()
        for name in names:
            self.vms[name] = VM(self.machine(name), self.hears(name))
        for name in names:
            self.expect_ready(name)
        seconds = time.monotonic() - begun
        print(f"{' '.join(names)}: {self.release} is ready after {seconds:.0f} s", flush=True)
        return seconds

    def expect_ready(self, name: str) -> None:
        try:
            self.vms[name].expect(READY, PATIENCE)
        except Ended as end:
            said = [text for _, text in self.vms[name].lines[-40:]]
            sys.exit("\n".join([*said, f"{name}: {end}"]))

    def machine(self, name: str) -> Machine:
        card = {"number": [*NODES].index(name), "firmware": "ipxe"}
        return Machine(
            NODES[name], self.disks[name], str(self.folder), memory=512, reboots=True, **card
        )

    def hears(self, name: str) -> Show:
        """What its console is listened to for: that it reboots."""

        def heard(at: float, line: str) -> None:
            if REBOOTS in line:
                with open(self.record, "a") as record:
                    record.write(f"reboot {name}\n")
                if name == self.doomed:
                    self.vms[name].process.kill()

        return heard

    def doit(self, *words: str, status: int = 0) -> str:
        begun = time.monotonic()
        work = self.grid.doit.start(*words, "node=@*", f"destdir={self.grid.served}")
        out = work.communicate(timeout=4 * PATIENCE)[0]
        print(f"{' '.join(words)}: {time.monotonic() - begun:.0f} s\n{out}", flush=True)
        assert work.returncode == status, work.returncode
        return out

    def upgrade(self, *words: str, status: int = 0) -> tuple[str, list[str]]:
        """What it said, and what was done to nodes; each has a job that ends."""
        self.record.write_text("")
        for name in NODES:
            (self.folder / f"job.{name}").touch()
        out = self.doit("upgrade", "--at-once=1", *words, status=status)
        return out, self.record.read_text().splitlines()


def led(name: str, release: str) -> list[str]:
    """What is done to a node that comes to run a release."""
    drained = f"drain {name} plugnode: upgrade to {release}"
    return [drained, f"busy {name}", f"idle {name}", f"reboot {name}", f"undrain {name}"]


def campaign(folder: Path, tree: Path) -> None:
    rack = Rack(folder, tree)
    with boot_server(rack.grid.lab(folder, taps=len(NODES))):
        seconds = rack.switch_on(*NODES)
        all_upgraded(rack)
        power_fails(rack, round(2 * seconds))
        out = rack.doit("status")
    assert f"  wn[001-002]: {rack.release}\n" in out


def all_upgraded(rack: Rack) -> None:
    rack.publish(2)
    out, done = rack.upgrade()
    assert f"wn[001-002]: runs {rack.release}\n" in out
    assert done == [*led("wn001", rack.release), *led("wn002", rack.release)], done
    assert "upgrade wn[001-002]: done" in rack.doit("status")


def power_fails(rack: Rack, within: int) -> None:
    """`within`: seconds that a node has to be back."""
    rack.publish(3)
    rack.doomed = "wn001"
    out, done = rack.upgrade(f"--boot-within={within}s", status=1)
    why = f"not back in {within} seconds: it does not answer"
    assert f"wn001: failed: {why}; it stays drained\n" in out
    assert "wn002: left: not begun when it stopped\n" in out
    assert done == [*led("wn001", rack.release)[:-1], f"drain wn001 plugnode: {why}"], done

    rack.doomed = ""
    rack.switch_on("wn001")
    out, done = rack.upgrade(f"--boot-within={within}s")
    assert f"wn[001-002]: runs {rack.release}\n" in out
    assert done == ["undrain wn001", *led("wn002", rack.release)], done


if __name__ == "__main__":
    sys.exit(main())
