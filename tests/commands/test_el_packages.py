"""A site whose nodes run EL, of packages: its paths, its data base of them, and dracut's image inside."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tasks.core.archive import cpio
from tasks.core.history.packages import packages_of
from tests.support import sample_site
from tests.support.commands import Doit
from tests.support.el_packages import KERNEL, make_mirror, needs_dnf
from tests.support.initrd_images import dracut_files, kernel_files, of_files

pytestmark = needs_dnf

REFERENCE = "{{bootstrap: {{suite: el9, packages: [kernel], mirror: 'file://{mirror}'}}}}"
MERGED = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")}
NFS = {"net/sunrpc/sunrpc.ko": "", "fs/nfs/nfs.ko": "sunrpc", "fs/nfs/nfsv3.ko": "nfs"}


def packages() -> dict[str, dict[str, bytes | str]]:
    image = of_files(dracut_files(KERNEL))
    del image[b""]
    kernel = {
        path if path.startswith("boot/") else f"usr/{path}": held
        for path, held in kernel_files(KERNEL, NFS).items()
    }
    return {
        "basesystem": {
            **MERGED,
            "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
            "etc/group": b"root:x:0:\n",
            "etc/fstab": b"UUID=1-2 / xfs defaults 0 0\n",
            "usr/lib/systemd/systemd": b"#!/bin/sh\n",
            "usr/lib64/libc.so.6": b"\x7fELF",
            "usr/sbin/init": "../lib/systemd/systemd",
            "usr/bin/bash": b"\x7fELF",
        },
        "kernel": {
            **kernel,
            f"boot/initramfs-{KERNEL}.img": gzip.compress(cpio.write_newc(image)),
        },
    }


def test_a_root_of_els_packages_boots_by_the_dracut_image_that_is_in_it(doit: Doit, tmp_path: Path):
    mirror = make_mirror(tmp_path / "el", packages())
    sample_site.write(doit.site, Path("/"))
    text = doit.site.read_text().replace("{path: /}", REFERENCE.format(mirror=mirror))
    doit.site.write_text(text.replace("{base: none, compression: gzip}", "{base: auto}"))
    doit()
    image = doit.build / "worker"
    release = json.loads((image / "release.json").read_text())
    assert release["kernel_version"] == KERNEL and release["network_root"] == "dracut"
    lines = (doit.build / "configs/tftp/plugnode/worker.cfg").read_text()
    assert "root=nfs:172.24.10.1:/opt/nfs_export/worker-" in lines
    assert packages_of(str(image / "root")) == {"basesystem": "1-1", "kernel": "1-1"}
    assert (image / "root/bin/bash").read_bytes() == b"\x7fELF"
    assert doit() == ""
