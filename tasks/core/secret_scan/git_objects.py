"""The files that git keeps: loose objects and packs (gitformat-pack(5))."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

from ..archive.compression import PIECE

PACK = b"PACK\0\0\0"
_BLOB, _BY_OFFSET, _BY_NAME = 3, 6, 7


def loose(data: bytes, room: int) -> Iterator[bytes]:
    """The file that a loose object is, if it is one."""
    with contextlib.suppress(zlib.error):
        plain = zlib.decompressobj().decompress(data, room)
        if plain.startswith(b"blob "):
            yield plain.partition(b"\0")[2]


def of_pack(data: bytes, room: int) -> Iterator[bytes]:
    """The files that are whole in a pack: of what changed, mostly the newest."""
    at = 12
    with contextlib.suppress(zlib.error, IndexError):
        for _ in range(int.from_bytes(data[8:12], "big")):
            kind, at = _header(data, at)
            machine = zlib.decompressobj()
            plain = bytearray()
            while not machine.eof and at < len(data) and room > 0:
                plain += machine.decompress(data[at : at + PIECE])
                room -= len(plain)
                at += min(PIECE, len(data) - at)
            at -= len(machine.unused_data)
            if kind == _BLOB:
                yield bytes(plain)


def _header(data: bytes, at: int) -> tuple[int, int]:
    """(kind of object, where its bytes begin)"""
    kind = data[at] >> 4 & 7
    at = _after_number(data, at)
    if kind == _BY_OFFSET:
        at = _after_number(data, at)
    return kind, at + 20 if kind == _BY_NAME else at


def _after_number(data: bytes, at: int) -> int:
    while data[at] & 0x80:
        at += 1
    return at + 1
