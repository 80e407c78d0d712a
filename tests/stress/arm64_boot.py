"""A node with an ARM processor, in a site that has both: made of Debian's packages, booted to its login.

    .venv/bin/python -m tests.stress.arm64_boot [--folder DIR] [--dhcp dhcpd kea dnsmasq]

Needs root, the network, what `./doit test` installs, and qemu-system-arm, qemu-efi-aarch64, qemu-user-static and
arch-test. The reference is installed under emulation, the node boots by AAVMF's PXE, shim and GRUB, as `doit boot`
has it: once by each DHCP server. A folder that is named is kept, and its reference is used again the next time. Most
of the time, half an hour, goes into the packages.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import sample_site
from tests.support.commands import REPOSITORY

SITE = """\
site: arm64-boot
network: {{subnet: 172.24.10.0/24, gateway: 172.24.10.254, domain: grid.example.org}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
  worker:
    reference: {{path: {pc}}}
    initrd: {{base: none}}
    cmdline: console=ttyS0,115200
  arm:
    arch: arm64
    reference: {{bootstrap: {{suite: bookworm, packages: [{packages}]}}}}
    initrd: {{base: none}}
    cmdline: console=ttyAMA0,115200
    disk: {{devices: [/dev/vda], partitions: [
      {{mount: /var, size: 1G, fs: ext4, fill: /var.ro}}, {{mount: /home, size: rest, fs: ext4}}]}}
groups: {{arm: {{image: arm, arch: arm64}}}}
nodes:
  wn[001-002]: {{macs: ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], ip: "172.24.10.[11-12]", image: worker}}
  arm001: {{mac: "52:54:00:aa:00:21", ip: 172.24.10.21, groups: [arm]}}
"""
PACKAGES = """
linux-image-arm64 systemd-sysv dbus udev kmod e2fsprogs fdisk busybox-static openssh-server iproute2
shim-signed shim-helpers-arm64-signed grub-efi-arm64-signed
""".split()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where all is made, and stays")
    parser.add_argument("--dhcp", nargs="+", default=["dhcpd", "kea", "dnsmasq"])
    wanted = parser.parse_args()
    if wanted.folder:
        return campaign(wanted.folder.resolve(), wanted.dhcp)
    with tempfile.TemporaryDirectory(prefix="arm64-boot") as name:
        return campaign(Path(name), wanted.dhcp)


def campaign(folder: Path, servers: list[str]) -> int:
    """The exit status: of the first boot that is not as it should be."""
    folder.mkdir(parents=True, exist_ok=True)
    pc = folder / "pc"
    if not pc.exists():
        sample_site.reference(pc)
    site = folder / "site.yaml"
    site.write_text(SITE.format(pc=pc, packages=", ".join(PACKAGES)))
    for server in servers:
        words = ["boot", f"site={site}", f"build={folder}/build", "node=arm001", f"dhcp={server}"]
        done = subprocess.run([sys.executable, "-m", "doit", *words], cwd=REPOSITORY)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
