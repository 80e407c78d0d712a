"""Trees for the initrd's tests: of real folders, and of made-up kernels with modules of any kind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tasks.core.initrd.kernel import Kernel
from tasks.core.site.model import Image, Initrd, Reference
from tasks.core.tree.model import (
    Tree,
    directory,
    generated_file,
    parents,
    symlink,
)

SITE = "site.yaml"


def of_files(files: dict[str, bytes | str]) -> Tree:
    """A tree of files given by path, folders made; a text is a symlink's target."""
    tree: Tree = {b"": directory()}
    for name, held in files.items():
        path = name.encode()
        for folder in parents(path):
            tree.setdefault(folder, directory())
        tree[path] = (
            symlink(held.encode()) if isinstance(held, str) else generated_file(held, 0o755)
        )
    return tree


def of_program(name: str) -> Tree:
    """A program of this machine with its libraries, as ldd(1) finds them."""
    place = os.path.realpath(shutil.which(name) or name)
    told = subprocess.run(["ldd", place], capture_output=True, text=True, check=True).stdout
    paths = [place, *re.findall(r"(/\S+) \(0x", told)]
    return of_files({path[1:]: Path(path).read_bytes() for path in paths})


def image(name: str = "worker", **initrd) -> Image:
    return Image(name, Reference("path", "/"), initrd=Initrd(**initrd))


def bzimage(version: str) -> bytes:
    """The head of an x86 kernel that says its version."""
    head = bytearray(0x400)
    head[:2], head[0x202:0x206] = b"MZ", b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    return bytes(head[:0x300]) + f"{version} (builder@host) #1 SMP\0".encode() + bytes(64)


def module(version: str, name: str, *firmware: str) -> bytes:
    """An x86-64 object with a .modinfo like a module's."""
    facts = [
        f"name={name}",
        *(f"firmware={file}" for file in firmware),
        f"vermagic={version} SMP mod_unload",
    ]
    return (
        b"\x7fELF\x02\x01\x01"
        + bytes(11)
        + b"\x3e\x00"
        + bytes(44)
        + b"\0"
        + "\0".join(facts).encode()
        + b"\0"
    )


def kernel_files(
    version: str, needs: dict[str, str], absolute: bool = False
) -> dict[str, bytes | str]:
    """Files of a kernel: `needs` maps a module's path below kernel/ to the names that modules.dep lists for it."""
    places = {path.rpartition("/")[2].partition(".")[0]: f"kernel/{path}" for path in needs}
    start = f"/lib/modules/{version}/" if absolute else ""
    lines = [
        f"{start}kernel/{path}:" + "".join(f" {start}{places[name]}" for name in wanted.split())
        for path, wanted in needs.items()
    ]
    files: dict[str, bytes | str] = {f"boot/vmlinuz-{version}": bzimage(version)}
    files[f"lib/modules/{version}/modules.dep"] = "\n".join([*lines, ""]).encode()
    for name, place in places.items():
        files[f"lib/modules/{version}/{place}"] = module(version, name)
    return files


def dracut_files(version: str) -> dict[str, bytes | str]:
    """What dracut puts into an image that can mount an NFS root, for what is asked of one."""
    modules = f"usr/lib/modules/{version}/kernel/fs/nfs"
    return {
        "init": "usr/lib/systemd/systemd",
        "usr/lib/systemd/systemd": Path("/bin/busybox").read_bytes(),
        "lib": "usr/lib",
        "sbin": "usr/sbin",
        "usr/lib/dracut/hooks/pre-pivot/10-x.sh": b"",
        "usr/lib/nfs-lib.sh": b"",
        "usr/lib/net-lib.sh": b"",
        "usr/sbin/mount.nfs": b"",
        "etc/protocols": b"",
        "usr/sbin/ifup": b"#!/bin/sh\n/sbin/netroot $netif\n",
        f"{modules}/nfs.ko.xz": module(version, "nfs"),
        f"{modules}/nfsv3.ko.xz": module(version, "nfsv3"),
    }


EL5 = "2.6.18-194.8.1.el5"
EL5_MODULES = {
    "drivers/net/mii.ko": "",
    "drivers/net/pcnet32.ko": "mii",
    "drivers/virtio/virtio.ko": "",
    "drivers/virtio/virtio_ring.ko": "virtio",
    "drivers/virtio/virtio_pci.ko": "virtio_ring virtio",
    "drivers/net/virtio_net.ko": "virtio_ring virtio",
    "net/sunrpc/sunrpc.ko": "",
    "fs/lockd/lockd.ko": "sunrpc",
    "fs/nfs_common/nfs_acl.ko": "sunrpc",
    "fs/nfs/nfs.ko": "nfs_acl lockd sunrpc",
    "fs/jbd/jbd.ko": "",
    "fs/ext3/ext3.ko": "jbd",
}


def kernel(version: str = EL5) -> Kernel:
    return Kernel(version, f"boot/vmlinuz-{version}".encode(), f"lib/modules/{version}".encode())
