"""What a 64-bit program or library asks for when it is started: elf(5), ld.so(8)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

LOAD, DYNAMIC, INTERPRETER = 1, 2, 3  # p_type
NEEDED, STRINGS = 1, 5  # d_tag
_HEADER = struct.Struct("<II6Q")  # Elf64_Phdr
_TAG = struct.Struct("<qQ")  # Elf64_Dyn


def loads(data: bytes) -> list[bytes]:
    """What a 64-bit program or library asks for: its interpreter's path, its libraries' names."""
    if data[:6] != b"\x7fELF\x02\x01":
        return []
    headers = list(_headers(data))
    asked = []
    for kind, _, offset, _, _, size, *_ in headers:
        if kind == INTERPRETER:
            asked.append(data[offset : offset + size].rstrip(b"\0"))
        elif kind == DYNAMIC:
            asked += _needed(data, headers, data[offset : offset + size])
    return asked


def _headers(data: bytes) -> Iterator[tuple[int, ...]]:
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for number in range(count):
        yield _HEADER.unpack_from(data, start + number * size)


def _needed(data: bytes, headers: list[tuple[int, ...]], table: bytes) -> Iterator[bytes]:
    tags = list(_TAG.iter_unpack(table[: len(table) // _TAG.size * _TAG.size]))
    strings = next(value for tag, value in tags if tag == STRINGS)
    start = _offset(headers, strings)
    for tag, value in tags:
        if tag == NEEDED:
            yield data[start + value : data.index(b"\0", start + value)]


def _offset(headers: list[tuple[int, ...]], address: int) -> int:
    """Where in the file something is that is loaded to an address."""
    for kind, _, offset, begins, _, size, *_ in headers:
        if kind == LOAD and begins <= address < begins + size:
            return offset + address - begins
    return address
