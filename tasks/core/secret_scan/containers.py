"""What is packed in a file: archives, compressed files, initial RAM disks, git's objects.

Everything stays in memory and is bounded; what is damaged, or longer than that, ends what is seen
of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from ..archive import compression, cpio
from . import git_objects
from .form import is_text
from .forms import is_opaque

ROOM = 256 << 20  # bytes that a file may expand to; what is beyond is not seen
Member = tuple[bytes, bytes]  # (path inside, b"" where it has none; bytes)

_ARCHIVES = {  # (offset, magic) of what libarchive takes apart
    (0, b"PK\x03\x04"): "zip",
    (0, b"7z\xbc\xaf\x27\x1c"): "7zip",
    (257, b"ustar"): "tar",
    (0, b"!<arch>\ndebian-binary"): "ar",
    (0, b"070707"): "cpio",
    (0, b"\xc7\x71"): "cpio",  # as cpio -o writes it, of old
    (0, b"\xed\xab\xee\xdb"): "cpio",  # an RPM package
    (0, b"\x1f\x9d"): "raw",  # compress
    (0, b"LZIP"): "raw",
    (0, b"begin "): "raw",  # uuencode
    (0, b"begin-base64 "): "raw",
    (0x8001, b"CD001"): "iso9660",
}


def members(data: bytes) -> Iterator[Member]:
    """What a file holds that is packed: an archive's files, or what it expands to."""
    how = compression.compression(data[:8])
    if data.startswith(cpio.NEWC):
        yield from _image(data)
    elif how != "none":
        yield from _expanded(how, data)
    elif data.startswith(git_objects.PACK):
        for blob in git_objects.of_pack(data, ROOM):
            yield b"", blob
    elif data[:1] == b"\x78" and not is_text(data):
        for blob in git_objects.loose(data, ROOM):
            yield b"", blob
    else:
        yield from _archived(data)


def _archived(data: bytes) -> Iterator[Member]:
    """The files of an archive that libarchive knows, by its magic."""
    for (at, magic), kind in _ARCHIVES.items():
        if data.startswith(magic, at):
            yield from _archive(data, kind)
            return


def _image(data: bytes) -> Iterator[Member]:
    """An initial RAM disk, or any other newc archive."""
    at = 0
    with contextlib.suppress(compression.Corrupt):
        for _, archive, raw in cpio.segments(data):
            yield from _files(archive)
            at += len(raw)
        return
    # it is damaged, or not all of it is here, or only others can expand it
    how = compression.compression(data[at : at + 8])
    if at and how != "none":
        yield from _expanded(how, data[at:])


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
    start = compression.beginning(how, data)
    if is_opaque(start):  # mostly a kernel module: of seven seconds six went into expanding them
        yield b"", start
        return
    plain, end = compression.expand_start(how, data, ROOM)
    if plain.startswith(cpio.NEWC):
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
                name = b"" if kind == "raw" else _path(os.fsencode(entry.pathname))
                yield name, bytes(held)


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
