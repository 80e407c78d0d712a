"""Which files are served as loaders."""

from __future__ import annotations

import glob
import os
import pathlib
import sys

import pytest

from tasks.core.base.boot_programs import refused_loader
from tasks.core.store.loaders import find_loaders

PACKAGED = os.path.join(sys.prefix, "share", "loaders")
SERVED = ("usr/lib/syslinux/modules/*/*.c32", "usr/lib/PXELINUX/*.0", "usr/lib/ipxe/*.*pxe")


def test_every_loader_of_the_distribution_s_packages_is_one():
    found = set(find_loaders([PACKAGED, "/"]).values())
    for pattern in (*SERVED, "usr/lib/syslinux/memdisk", "usr/lib/*/*.signed", "boot/ipxe.*"):
        found |= set(glob.glob(os.path.join(PACKAGED, pattern)))
    assert len(found) > 5
    assert {path: refused_loader(path) for path in found if refused_loader(path)} == {}


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"root:x:0:0:root:/root:/bin/sh\n",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
        b"\x05\x02\0\0\0\x3d\0\x02",  # a keytab
        b"\x30\x82\x04\xa4\x02\x01\0",  # a private key, DER
        b"SQLite format 3\0",
        b"\x1f\x8b\x08\0",  # gzip
    ],
)
def test_what_firmware_could_not_start_is_refused(tmp_path: pathlib.Path, held: bytes):
    file = tmp_path / "pxelinux.0"
    file.write_bytes(held)
    assert refused_loader(str(file)) == (
        "no boot program", "name one of EFI, PXE, syslinux or GRUB",
    )  # fmt: skip


def test_a_program_that_not_all_may_read_is_refused_and_a_link_is_what_it_leads_to(tmp_path):
    file, link = tmp_path / "private.efi", tmp_path / "grub.efi"
    file.write_bytes(b"MZ" + bytes(600))
    link.symlink_to(file)
    assert refused_loader(str(link)) is None
    file.chmod(0o640)
    assert "not readable by all" in refused_loader(str(link))[0]
    assert refused_loader(str(tmp_path)) == ("is no file", "name a boot program")
    assert refused_loader(str(tmp_path / "none")) is None
