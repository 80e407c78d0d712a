"""The tiny site that earlier versions deployed, of which the fixtures are, and how they are unpacked."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

from tasks.core.initrd.busybox import OWN
from tests.support import sample_site
from tests.support.commands import REPOSITORY

FIXTURES = REPOSITORY / "tests/fixtures"
COMMIT = "1ab4ab3"  # the first version of which one is kept
TEXT = "etc/motd"


def reference(folder: pathlib.Path) -> None:
    sample_site.reference(folder, files=3)
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/busybox").write_bytes(busybox())
    sample_site.put(folder / TEXT, b"one\n")


def change(folder: pathlib.Path) -> None:
    sample_site.put(folder / TEXT, b"two\n")


def busybox() -> bytes:
    """As much of one as a build looks at: small, and the same on every machine."""
    head = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + b"\x3e\0"
    return head.ljust(64, b"\0") + b"".join(b"\0%s\0" % name.encode() for name in sorted(OWN))


def write(path: pathlib.Path, pinned: str = "") -> None:
    """The site; `pinned`: the release that its second node stays at."""
    nodes: dict[str, Any] = {}
    for number in range(1, 4):
        nodes[f"wn{number:03}"] = {
            "mac": f"52:54:00:00:00:{number:02x}",
            "ip": f"172.24.10.{100 + number}",
        }
    if pinned:
        nodes["wn002"]["release"] = pinned
    worker = {
        "reference": {"path": "reference"},
        "initrd": {"base": "none"},
        "cmdline": "console=ttyS0",
        "disk": {"devices": ["/dev/vda"]},
    }
    site = {
        "site": "grid",
        "network": {"subnet": "172.24.10.0/24", "domain": "grid.example.org"},
        "servers": {"boot1": {"ip": "172.24.10.1"}},
        "images": {"worker": worker},
        "nodes": nodes,
        "deploy": {"dhcp": "dnsmasq"},
    }
    path.write_text(json.dumps(site, indent=1))


def built(folder: pathlib.Path) -> str:
    """The release beside it."""
    release = (folder.parent / "build/worker/release.json").read_text()
    id: str = json.loads(release)["id"]
    return id


def unpack(folder: pathlib.Path, commit: str = COMMIT) -> pathlib.Path:
    """What that commit left, with the reference of its second release: `dest`, `site.yaml`, `disk.img`."""
    folder.mkdir(exist_ok=True)
    archive = FIXTURES / f"{commit}.tar.xz"
    words = ["tar", "-C", folder, "--numeric-owner", "--xattrs", "-xpf", archive]
    subprocess.run(words, check=True)
    reference(folder / "reference")
    change(folder / "reference")
    return folder


def loaders(folder: pathlib.Path) -> list[str]:
    """The paths of boot programs that were served, which the fixture has not."""
    files = (folder / "dest/opt/nfs_export/.plugnode/files").read_text()
    known = ("pxelinux.0", ".c32", ".efi", ".kpxe")
    names = (line.split()[-1] for line in files.splitlines() if line.strip())
    return sorted(name for name in names if name.endswith(known))
