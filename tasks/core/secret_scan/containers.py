"""What is inside a file: archives, compressed files, initial RAM disks, git's objects, text in another dress.

Everything stays in memory and is bounded; what is damaged, or longer than that, ends what is seen of it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import re
import zlib
from collections.abc import Iterator

from ..archive import compression, cpio
from .forms import SMALL, is_random, is_text

ROOM = 256 << 20  # bytes that a file may expand to; what is beyond is not seen
Member = tuple[bytes, bytes]  # (path inside, b"" where it has none; bytes)

_ARCHIVES = {  # (offset, magic) of what libarchive takes apart
    (0, b"PK\x03\x04"): "zip",
    (0, b"7z\xbc\xaf\x27\x1c"): "7zip",
    (257, b"ustar"): "tar",
    (0, b"!<arch>\ndebian-binary"): "ar",
    (0, b"070707"): "cpio",
    (0x8001, b"CD001"): "iso9660",
}
_IS_LETTER = bytes(
    b"a"[0] if chr(byte).isalnum() or byte in b"+/" else 0 for byte in range(128)
) + bytes(128)
_LONG = b"a" * 60  # letters of base64: an encoder's line, or a whole value
_RUN = re.compile(
    rb"[A-Za-z0-9+/]{60,}(?:(?:\s|\\n)+[A-Za-z0-9+/]{60,})*(?:(?:\s|\\n)+[A-Za-z0-9+/]+)?"
)
_ALL = re.compile(rb"[A-Za-z0-9+/]{20,}[A-Za-z0-9+/\s]*={0,2}\s*")


def members(data: bytes) -> Iterator[Member]:
    """What a file holds that is packed: an archive's files, or what a compressed file expands to."""
    if data.startswith(b"070701"):
        yield from _image(data)
    elif (how := compression.compression(data[:8])) != "none":
        yield from _expanded(how, data)
    elif data.startswith(b"PACK\0\0\0"):
        yield from _pack(data)
    elif data[:1] == b"\x78" and not is_text(data):
        yield from _inflated(data)
    elif kind := next(
        (name for (at, magic), name in _ARCHIVES.items() if data.startswith(magic, at)), ""
    ):
        yield from _archive(data, kind)


def texts(data: bytes) -> Iterator[bytes]:
    """What a file says in another encoding: in UTF-16, or in base64, which may be all of it or long pieces."""
    if _is_wide(data):
        yield data[: len(data) & ~1].decode(_width(data), "replace").encode()
    elif len(data) < SMALL and _ALL.fullmatch(data):
        yield _decoded(data)
    else:
        yield from map(_decoded, _encoded(data))


def _image(data: bytes) -> Iterator[Member]:
    """An initial RAM disk, or any other newc archive."""
    at = 0
    with contextlib.suppress(compression.Corrupt):
        for _, archive, raw in cpio.segments(data):
            yield from _files(archive)
            at += len(raw)
        return
    how = compression.compression(data[at : at + 8])
    if at and how != "none":  # it is damaged, or not all of it is here
        yield from _files(compression.expand_start(how, data[at:], ROOM)[0])


def _files(archive: bytes) -> Iterator[Member]:
    with contextlib.suppress(compression.Corrupt):
        for name, held in cpio.files_of(archive):
            if held:
                yield _path(name), held


def _expanded(how: str, data: bytes) -> Iterator[Member]:
    """A compressed file; where it is an initial RAM disk, that, and what stands behind it."""
    if how.startswith("lz4") or how == "lzop":
        yield from _archive(data, "raw")
        return
    plain, end = compression.expand_start(how, data, ROOM)
    if plain.startswith(b"070701"):
        yield from _files(plain)
        yield from _image(data[end:])
    else:
        yield b"", plain + b"".join(_others(how, data[end:], ROOM - len(plain)))


def _others(how: str, data: bytes, room: int) -> Iterator[bytes]:
    """The streams of the same kind that follow: pigz makes many of a file."""
    while room > 0 and compression.compression(data[:8]) == how:
        plain, end = compression.expand_start(how, data, room)
        room -= len(plain)
        data = data[end:]
        yield plain


def _archive(data: bytes, kind: str) -> Iterator[Member]:
    """Files of an archive, by libarchive."""
    import libarchive
    from libarchive.exception import ArchiveError

    room = ROOM
    with _in_silence(), contextlib.suppress(ArchiveError, UnicodeError, ValueError, TypeError):
        with libarchive.memory_reader(data, format_name=kind) as archive:
            for entry in archive:
                held = bytearray()
                for block in entry.get_blocks():
                    held += block
                    if len(held) > room:
                        return
                room -= len(held)
                yield (b"" if kind == "raw" else _path(os.fsencode(entry.pathname))), bytes(held)


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """What is wrong with an archive that nobody asked for is nothing to tell."""
    logger = logging.getLogger("libarchive")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _path(name: bytes) -> bytes:
    parts = name.split(b"/")
    return b"/".join(part for part in parts if part not in (b"", b".", b".."))


# ---- git -----------------------------------------------------------------------------------------------------------


def _inflated(data: bytes) -> Iterator[Member]:
    """A loose object of git."""
    with contextlib.suppress(zlib.error):
        plain = zlib.decompressobj().decompress(data, ROOM)
        if plain.startswith(b"blob "):
            yield b"", plain.partition(b"\0")[2]


def _pack(data: bytes) -> Iterator[Member]:
    """The objects of a git pack (gitformat-pack(5)) that are whole in it: of what changed, mostly the newest."""
    at, room = 12, ROOM
    with contextlib.suppress(zlib.error, IndexError):
        for _ in range(int.from_bytes(data[8:12], "big")):
            kind, at = _pack_header(data, at)
            machine = zlib.decompressobj()
            plain = bytearray()
            while not machine.eof and at < len(data) and room > 0:
                plain += machine.decompress(data[at : at + compression.PIECE])
                room -= len(plain)
                at += min(compression.PIECE, len(data) - at)
            at -= len(machine.unused_data)
            if kind == _BLOB:
                yield b"", bytes(plain)


_BLOB, _BY_OFFSET, _BY_NAME = 3, 6, 7


def _pack_header(data: bytes, at: int) -> tuple[int, int]:
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


# ---- text in another dress -----------------------------------------------------------------------------------------


def _is_wide(data: bytes) -> bool:
    return data[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        data[:64].count(0) == len(data[:64]) // 2 > 0 and _width(data) != ""
    )


def _width(data: bytes) -> str:
    """UTF-16 of which half, by which half of its letters is empty."""
    if data[:2] == b"\xff\xfe" or not any(data[1:64:2]):
        return "utf-16-le"
    return "utf-16-be" if data[:2] == b"\xfe\xff" or not any(data[0:64:2]) else ""


def _encoded(data: bytes) -> Iterator[bytes]:
    """Long runs of base64's letters, each with those that follow it in the next lines."""
    letters = data.translate(_IS_LETTER)
    at = letters.find(_LONG)
    while at >= 0:
        found = _RUN.match(data, at)
        at = letters.find(_LONG, found.end() if found else at + len(_LONG))
        if found and is_random(found[0][:100]):
            yield found[0].replace(b"\\n", b"")


def _decoded(text: bytes) -> bytes:
    plain = b"".join(text.split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(plain[: len(plain) & ~3])
    except binascii.Error:
        return b""
