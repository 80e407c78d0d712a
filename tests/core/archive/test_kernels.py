"""What a kernel file is, in every form in which distributions bring one."""

from __future__ import annotations

import gzip
import lzma
import struct

import pytest
import zstandard

from tasks.core.archive import kernels

VERSION = "5.14.0-427.13.1.el9_4.aarch64+64k"


def image(version: str = VERSION) -> bytes:
    """An Image: its header, and what it says first when it runs."""
    head = bytearray(64)
    head[0x38:0x3C] = b"ARM\x64"
    banner = f"Linux version %s ({version})\0Linux version {version} (mock@builder) (gcc) #1 SMP"
    return bytes(head) + b"\0" * 5000 + banner.encode() + b"\n\0" * 2000


def with_stub(packed: bytes, how: str, machine: int = 0xAA64) -> bytes:
    """A kernel that unpacks itself under UEFI: MZ, zimg, where and how much, how, and a PE header."""
    head = struct.pack("<4s4sIIQ32s", b"MZ\0\0", b"zimg", 0x1000, len(packed), 0, how.encode())
    head = (
        head.ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + struct.pack("<H", machine)
    )
    return head.ljust(0x1000, b"\0") + packed + b"\0" * 512


FORMS = {
    "Image": image(),
    "Image.gz": gzip.compress(image()),
    "zboot of gzip": with_stub(gzip.compress(image()), "gzip"),
    "zboot of zstd": with_stub(zstandard.compress(image()), "zstd22"),
    "zboot of xz": with_stub(lzma.compress(image()), "xzkern"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_kernel_for_arm64_says_its_version_in_every_form(form):
    assert kernels.architecture(FORMS[form]) == "arm64"
    assert kernels.version(FORMS[form], "vmlinuz") == VERSION


@pytest.mark.parametrize(
    "data",
    [b"", b"#!/bin/sh\n", gzip.compress(b"no kernel" * 100, mtime=0), gzip.compress(image())[:-20],
     with_stub(gzip.compress(image()), "gzip", machine=0x5064)],
)  # fmt: skip
def test_another_file_is_no_kernel_for_either(data):
    assert kernels.architecture(data) == ""


@pytest.mark.parametrize(
    "data, why",
    [(image().replace(b"Linux version 5", b"Minix version 5"), "does not say its version"),
     (with_stub(gzip.compress(image())[:-20], "gzip"), "cannot be unpacked: gzip data truncated"),
     (with_stub(b"\x04\x22\x4d\x18" * 99, "lz4"), "cannot be unpacked")],
)  # fmt: skip
def test_what_is_wrong_with_a_kernel_is_said_in_a_line(data, why):
    with pytest.raises(ValueError, match=f"^vmlinuz {why}"):
        kernels.version(data, "vmlinuz")
