"""Kernels as files: for which processors one is, and the version in it."""

from __future__ import annotations

import re

from ..base.boot_programs import AMD64, ARM64
from . import compression

_BANNER = re.compile(rb"Linux version (\d\S*) \(")
_ARM64_PE = 0xAA64  # IMAGE_FILE_MACHINE_ARM64
_PE_AT = 0x3C  # where a PE file says where its header is
_ZBOOT = b"zimg"  # at byte 4 (drivers/firmware/efi/libstub/zboot-header.S)


def architecture(data: bytes) -> str:
    """AMD64, ARM64, or "" for what is no kernel that we know."""
    if data[0x202:0x206] == b"HdrS":  # Documentation/arch/x86/boot.rst
        return AMD64
    return ARM64 if _is_arm64(data) else ""


def _is_arm64(data: bytes) -> bool:
    """An Image, the same in gzip (EL 8), or one that unpacks itself under UEFI (EL 10)."""
    if data[4:8] == _ZBOOT:
        header = int.from_bytes(data[_PE_AT : _PE_AT + 4], "little")
        return int.from_bytes(data[header + 4 : header + 6], "little") == _ARM64_PE
    if compression.compression(data) != "gzip":
        return _is_image(data)
    try:
        return _is_image(compression.expand("gzip", data)[0])
    except compression.Corrupt:
        return False


def _is_image(data: bytes) -> bool:
    return data[0x38:0x3C] == b"ARM\x64"  # Documentation/arch/arm64/booting.rst


def version(data: bytes, name: str) -> str:
    """The version inside a kernel, as `uname -r` says it. Raises ValueError."""
    found = _of_x86(data) if architecture(data) == AMD64 else _of_arm64(data, name)
    if not found:
        raise ValueError(f"{name} does not say its version")
    return found.decode(errors="replace")


def _of_x86(data: bytes) -> bytes:
    start = 0x200 + int.from_bytes(data[0x20E:0x210], "little")
    return b"" if start == 0x200 else data[start : start + 256].split(b"\0")[0].split(b" ")[0]


def _of_arm64(data: bytes, name: str) -> bytes:
    found = _BANNER.search(_unpacked(data, name))
    return found[1] if found else b""


def _unpacked(data: bytes, name: str) -> bytes:
    """What the kernel is in memory. Raises ValueError."""
    packed = data
    if data[4:8] == _ZBOOT:
        start, size = (int.from_bytes(data[at : at + 4], "little") for at in (8, 12))
        packed = data[start : start + size]
    how = compression.compression(packed)
    if how == "none":
        return packed
    try:
        return compression.expand(how, packed)[0]
    except (compression.Corrupt, KeyError) as error:
        raise ValueError(f"{name} cannot be unpacked: {error}") from None
