"""A site whose nodes start one signed file, with the keys that sign it: in virtual machines with Secure Boot."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.lab.qemu import Machine
from tests.support.commands import Doit
from tests.support.vm_site import QUICK_KEYS, Grid

KEYS = "overlays/keys/usr/sbin/ssh-keygen"
MAC = "ae:d6:90:bb:aa:1d"
SITE = """\
site: signed
network: {{subnet: 172.24.10.0/24}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
  worker:
    reference: {{path: {reference}}}
    overlays: [keys]
    loader: uki
    root: {root}
    root_exclude: [/boot, /usr/lib/modules, /usr/share/doc, /usr/share/locale]
    initrd: {{base: none, modules: [virtio_net, virtio_blk, ext4, button, evdev], compression: zstd}}
    cmdline: "console=ttyS0,115200 no_timer_check"
    disk:
      devices: [/dev/vda]
      required: {required}
      partitions: [{image}{{mount: /var, size: rest, fs: ext4, fill: /var.ro}}]
nodes:
  wn001: {{mac: "{mac}", ip: 172.24.10.100}}
trust: {{key: site.pub, secure_boot: {{certificate: secure-boot.crt}}}}
"""


IMAGE_PARTITION = "{mount: image, size: 1000M}, "


def site_text(reference: Path, root: str = "ram") -> str:
    """`root`: a kind; with `disk` the node needs its disk."""
    on_disk = root == "disk"
    required, image = ("true", IMAGE_PARTITION) if on_disk else ("false", "")
    return SITE.format(reference=reference, mac=MAC, root=root, required=required, image=image)


def make_keys(folder: Path) -> None:
    """site and site.pub, which sign releases; secure-boot.key and .crt, for firmware."""
    folder.mkdir(parents=True, exist_ok=True)
    ssh = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "site"]
    subprocess.run(ssh, check=True)
    certify(folder, "secure-boot")


def certify(folder: Path, name: str, days: int = 3650) -> None:
    """A key and its certificate: NAME.key and NAME.crt."""
    words = ["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days)]
    files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"]
    whose = ["-subj", f"/CN={name} of a test"]
    subprocess.run(["openssl", *words, *whose, *files], check=True, capture_output=True)


def signed_doit(folder: Path, reference: Path) -> Doit:
    """The site, with its keys, and nothing built yet."""
    doit = Doit(folder)
    make_keys(folder)
    doit.site.write_text(site_text(reference))
    script = folder / KEYS
    script.parent.mkdir(parents=True)
    script.write_text(QUICK_KEYS)
    script.chmod(0o755)
    return doit


def signed_grid(folder: Path, reference: Path, root: str = "ram") -> Grid:
    """The site, built, signed and deployed below a folder."""
    make_keys(folder)
    overlay = KEYS.removeprefix("overlays/")
    return Grid(folder, site_text(reference, root), {overlay: QUICK_KEYS})


def signed_machine(grid: Grid, work: Path, tpm: str = "", **more: Any) -> Machine:
    """The site's node, with firmware that has Microsoft's keys, and whose owner trusts the site's."""
    certificate = str(grid.folder / "secure-boot.crt")
    machine = Machine(MAC, None, str(work), firmware="secure", certificate=certificate)
    return replace(machine, tpm=tpm, memory=1536, **more)
