"""What a 64-bit program or library asks for when it is started: elf(5), ld.so(8)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

LOAD, DYNAMIC, INTERPRETER = 1, 2, 3  # p_type
NEEDED, STRINGS = 1, 5  # d_tag
FOLDERS = (b"sbin/", b"usr/sbin/", b"bin/", b"usr/bin/")
# Where the dynamic linker looks by itself
LIBRARIES = (b"lib64/", b"usr/lib64/", b"lib/", b"usr/lib/")
MULTIARCH = (b"", b"x86_64-linux-gnu/", b"aarch64-linux-gnu/")
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


def with_libraries(read: Callable[[bytes], bytes | None], name: str) -> dict[bytes, bytes]:
    """A program and all that it loads: path in its root -> bytes; none where any is missing.

    `read` gives the bytes of a path there, None where that is no file.
    """
    found: dict[bytes, bytes] = {}
    todo, seen = [name.encode()], set[bytes]()
    while todo:
        wanted = todo.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        places = [wanted.lstrip(b"/")] if wanted.startswith(b"/") else list(_places(wanted))
        for path in places:
            data = read(path)
            if data is not None:
                break
        else:
            return {}
        found[path] = data
        todo += loads(data)
    return dict(sorted(found.items()))


def _places(name: bytes) -> Iterator[bytes]:
    if b".so" not in name:
        yield from (folder + name for folder in FOLDERS)
        return
    for folder in LIBRARIES:
        yield from (folder + below + name for below in MULTIARCH)
