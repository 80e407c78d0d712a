"""A unified kernel image: systemd's stub with a kernel, an initrd and a command line in it.

The stub finds them as sections of its own file, by their names (systemd-stub(7)): one signature is
about all of them. What is written here is PE32+, as the PE Format of Microsoft's has it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
STUB_PACKAGES = "systemd-boot-efi, on EL systemd-boot-unsigned"
OSREL, CMDLINE, INITRD, LINUX = ".osrel", ".cmdline", ".initrd", ".linux"

PAGE = 4096
_SECTION = struct.Struct("<8sIIIIIIHHI")
_READ_INITIALIZED = 0x40000040  # IMAGE_SCN_MEM_READ, IMAGE_SCN_CNT_INITIALIZED_DATA
_CERTIFICATES = 4  # of the data directories: the only one whose address is a place in the file


class _Headers(NamedTuple):
    """Where a program says what, in bytes from its start."""

    coff: int
    optional: int
    sections: int  # the table
    amount: int  # of sections

    @property
    def checksum(self) -> int:
        return self.optional + 64

    @property
    def certificates(self) -> int:
        return self.optional + 112 + 8 * _CERTIFICATES

    @property
    def end(self) -> int:
        """Of the table of sections."""
        return self.sections + _SECTION.size * self.amount


class _Section(NamedTuple):
    """A row of that table."""

    name: bytes
    virtual_size: int
    virtual_address: int
    raw_size: int
    raw_address: int

    @property
    def raw_end(self) -> int:
        return self.raw_address + self.raw_size

    @property
    def virtual_end(self) -> int:
        return self.virtual_address + max(self.virtual_size, self.raw_size)


def assemble_uki(stub: bytes, sections: Mapping[str, bytes]) -> bytes:
    """The stub with these sections behind its own, in their order; the same bytes each time.

    A kernel is best the last: it may use the memory behind it. Raises ValueError where the stub is
    no program, or has no room in its headers.
    """
    headers = _headers(stub)
    held = _sections(stub, headers)
    program = bytearray(stub[: max(each.raw_end for each in held)])  # symbols are behind that
    at = max(each.virtual_end for each in held)
    for name, data in sections.items():
        at = _append(program, name, data, _up(at, PAGE))
    struct.pack_into("<II", program, headers.coff + 8, 0, 0)  # no symbols
    struct.pack_into("<I", program, headers.optional + 56, _up(at, PAGE))  # size of the image
    struct.pack_into("<I", program, headers.checksum, 0)
    return bytes(program)


def _append(program: bytearray, name: str, data: bytes, at: int) -> int:
    """Add a section, which will be at this place in memory; where it ends there."""
    headers = _headers(program)
    alignment, room = struct.unpack_from("<I20xI", program, headers.optional + 36)
    if headers.end + _SECTION.size > room:
        raise ValueError("its headers have no room for more sections")
    program += bytes(-len(program) % alignment)
    sizes = len(data), at, _up(len(data), alignment), len(program)
    _SECTION.pack_into(program, headers.end, name.encode(), *sizes, *[0] * 4, _READ_INITIALIZED)
    struct.pack_into("<H", program, headers.coff + 2, headers.amount + 1)
    program += data
    program += bytes(-len(program) % alignment)
    return at + len(data)


def without_signature(program: bytes) -> bytes:
    """A program as it was before it was signed. Raises ValueError where it is none."""
    headers = _headers(program)
    at, _ = struct.unpack_from("<II", program, headers.certificates)
    bare = bytearray(program[: at or len(program)])
    struct.pack_into("<II", bare, headers.certificates, 0, 0)
    struct.pack_into("<I", bare, headers.checksum, 0)
    return bytes(bare)


def signed_part(program: bytes) -> bytes:
    """What a signature is about: all but its own place, and what changes by it."""
    headers = _headers(program)
    at, _ = struct.unpack_from("<II", program, headers.certificates)
    end = at or len(program)
    parts = program[: headers.checksum], program[headers.checksum + 4 : headers.certificates]
    return b"".join((*parts, program[headers.certificates + 8 : end]))


def signature_of(program: bytes) -> bytes:
    """Its table of certificates; b"" where nobody has signed it. Raises ValueError."""
    at, size = struct.unpack_from("<II", program, _headers(program).certificates)
    return program[at : at + size] if at else b""


def section_of(program: bytes, name: str) -> bytes:
    """The bytes of a section. Raises ValueError where there is none."""
    for each in _sections(program, _headers(program)):
        if each.name.rstrip(b"\0") == name.encode():
            return program[each.raw_address : each.raw_address + each.virtual_size]
    raise ValueError(f"it has no section {name}")


def os_release(release: str) -> bytes:
    """What a program says that it is of (os-release(5))."""
    return f"ID=plugnode\nVERSION_ID={release}\n".encode()


def release_in(program: bytes) -> str:
    """The release that a program says that it is of; "" where it says of none."""
    try:
        lines = section_of(program, OSREL).decode().splitlines()
    except ValueError:
        return ""
    found = [line.partition("VERSION_ID=")[2] for line in lines]
    return "".join(found)


def _headers(program: bytes | bytearray) -> _Headers:
    """Raises ValueError where it is no program of 64-bit UEFI."""
    try:
        start = struct.unpack_from("<I", program, 0x3C)[0]
        count = struct.unpack_from("<H", program, start + 6)[0]
        size, magic = struct.unpack_from("<H2xH", program, start + 20)
    except struct.error:
        raise ValueError("no program of UEFI") from None
    if program[start : start + 4] != b"PE\0\0" or magic != 0x20B:
        raise ValueError("no program of UEFI")
    optional = start + 24
    return _Headers(start + 4, optional, optional + size, count)


def _sections(program: bytes, headers: _Headers) -> list[_Section]:
    table = program[headers.sections : headers.end]
    if len(table) < headers.end - headers.sections:
        raise ValueError("no program of UEFI")
    return [_Section(*row[:5]) for row in _SECTION.iter_unpack(table)]


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
