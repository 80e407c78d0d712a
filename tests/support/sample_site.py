"""A small site for the tests of the pipeline: a reference of some hundred files, with systemd and a kernel."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
from collections.abc import Mapping

from tests.support.initrd_images import kernel_files

VERSION = "6.1.0-9-amd64"
MODULES = {
    "drivers/net/virtio_net.ko": "",
    "net/sunrpc/sunrpc.ko": "",
    "fs/lockd/lockd.ko": "sunrpc",
    "fs/nfs/nfs.ko": "lockd sunrpc",
    "fs/nfs/nfsv3.ko": "nfs lockd sunrpc",
}
NODES = [
    "{mac: 'ae:d6:90:bb:aa:1d', ip: 172.24.10.100}",
    "{mac: 'ae:d6:90:bb:aa:1e', ip: 172.24.10.10}",
]

TEXT = """\
site: small
network: {{subnet: 172.24.10.0/24}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
  worker:
    reference: {{path: {reference}}}
    overlays: [{overlays}]
    initrd: {{base: none, compression: {compression}}}
    cmdline: "{cmdline}"
    disk: {{devices: [/dev/vda]}}
nodes:
{nodes}
"""


def write(
    path: pathlib.Path, reference: pathlib.Path, nodes: list[str] = NODES, **values: str
) -> None:
    """A site.yaml; `values`: overlays, compression, cmdline."""
    lines = "".join(f"  wn{number:03}: {node}\n" for number, node in enumerate(nodes, 1))
    words = {"overlays": "", "compression": "gzip", "cmdline": "console=ttyS0", **values}
    path.write_text(TEXT.format(reference=reference, nodes=lines, **words))


def reference(folder: pathlib.Path, files: int = 300) -> pathlib.Path:
    """A folder that looks like a worker node's root."""
    for path, data in kernel_files(VERSION, MODULES).items():
        put(folder / path, data)
    put(folder / "usr/lib/systemd/systemd", b"#!/bin/sh\n", 0o755)
    put(folder / "sbin/init", "../usr/lib/systemd/systemd")
    put(folder / "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    put(folder / "etc/group", b"root:x:0:\n")
    put(folder / "etc/shadow", b"root:$6$salt$" + b"h" * 86 + b":19000:0:99999:7:::\n", 0o640)
    put(folder / "etc/hosts", b"127.0.0.1 localhost\n")
    put(folder / "etc/fstab", b"UUID=1-2 / ext4 defaults 0 1\nserver:/soft /soft nfs ro 0 0\n")
    put(folder / "var/lib/data", b"data\n")
    for number in range(files):
        put(folder / f"usr/share/{number // 100}/file{number}", b"%d\n" % number)
    (folder / "bin").mkdir()
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    return folder


def put(path: pathlib.Path, held: bytes | str, mode: int = 0o644) -> None:
    """A file; a text is a symlink's target."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(held, str):
        os.symlink(held, path)
    else:
        path.write_bytes(held)
        path.chmod(mode)


def fill(folder: pathlib.Path, files: Mapping[str, bytes | str | None]) -> None:
    """Files by path, a text a symlink's target, None a folder."""
    for name, held in files.items():
        if held is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
        else:
            put(folder / name, held)


def contents(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
    """Every file and symlink below a folder: path -> mode and text; hidden ones at its top aside.

    Of what is long or no text its digest: pytest prints in full what differs.
    """
    found: dict[str, tuple[int, str]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith("."):
            continue
        if path.is_symlink():
            found[name] = (0, os.readlink(path))
        elif path.is_file():
            found[name] = (path.stat().st_mode, shown(path.read_bytes()))
    return found


def shown(data: bytes) -> str:
    """A short text as it is, anything else by its size and digest."""
    try:
        return data.decode("ascii") if len(data) <= 1000 else digest(data)
    except ValueError:
        return digest(data)


def digest(data: bytes) -> str:
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
