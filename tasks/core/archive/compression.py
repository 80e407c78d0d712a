"""What initrds and kernels are compressed with: told apart, expanded, compressed."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from gzip import decompress as gunzip
from typing import Any

LIMIT = 512 << 20  # bytes that an image may expand to: more is a mistake or a bomb
# Bytes that a decompressor is fed at a time: even zstd makes no more than 256 MiB of them.
PIECE = 8 << 10

COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4 (legacy)",
    b"\x89LZO": "lzop",
}


class Corrupt(Exception):
    """What is wrong with an archive, in words."""


def compression(data: bytes) -> str:
    """Tell what data is compressed with, "none" where it begins with no compressor's magic."""
    for magic, name in COMPRESSIONS.items():
        if data.startswith(magic):
            return name
    return "none"


def expand(how: str, data: bytes, start: int = 0, room: int = LIMIT) -> tuple[bytes, int]:
    """Expand the stream of `how` at `start`; give it, and where it ends. Raises Corrupt."""
    machine = expander(how)
    out, at = bytearray(), start
    try:
        while at < len(data) and not machine.eof:
            out += expand_some(machine, data[at : at + PIECE], room + 1 - len(out))
            at += PIECE
            if len(out) > room:
                raise Corrupt(f"it expands beyond {LIMIT >> 20} MiB")
    except Corrupt:
        raise
    except Exception as error:  # of zlib, lzma, bz2, zstandard: all say what is wrong
        raise Corrupt(f"{how} data at byte {start} is damaged ({error})") from None
    if not machine.eof:
        raise Corrupt(f"{how} data truncated at byte {len(data)}")
    return bytes(out), min(at, len(data)) - len(machine.unused_data)


def expand_start(how: str, data: bytes, room: int) -> tuple[bytes, int]:
    """As `expand`, as much as can be had of a damaged stream, and little more than `room`."""
    piece = PIECE if how == "zstd" else 1 << 20
    parts: list[bytes] = []  # mostly one: then it is not copied
    at = 0
    try:
        machine = expander(how)
        while at < len(data) and not machine.eof and room > 0:
            parts.append(expand_some(machine, data[at : at + piece], room))
            room -= len(parts[-1])
            at += piece
    except Exception:  # as above
        return b"".join(parts), len(data)
    return b"".join(parts), min(at, len(data)) - len(machine.unused_data)


def beginning(how: str, data: bytes, size: int = 64) -> bytes:
    """Give the first bytes that a stream expands to, and expand little more."""
    return expand_start(how, data[:PIECE], size)[0][:size]


def expanded(data: bytes) -> bytes:
    """Give a whole file without its compression, if it has one that is known: all its streams.

    Raises Corrupt, in the words of the decompressor.
    """
    whole = _WHOLE.get(compression(data[:8]))
    if whole is None:
        return data
    try:
        return whole(data)
    except Exception as error:  # each has its own
        raise Corrupt(str(error)) from None


def _unzstd(data: bytes) -> bytes:
    """As the standard library does for the others; zstandard by itself takes half a stream."""
    parts, rest = [], data
    while compression(rest[:8]) == "zstd":
        machine = expander("zstd")
        parts.append(machine.decompress(rest))
        if not machine.eof:
            raise Corrupt("Compressed data ended before the end-of-stream marker was reached")
        rest = machine.unused_data
    return b"".join(parts)


_WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gunzip,
    "xz": lzma.decompress,
    "lzma": lzma.decompress,
    "bzip2": bz2.decompress,
    "zstd": _unzstd,
}


def expand_some(machine: Any, piece: bytes, room: int) -> bytes:
    """Give what `piece` expands to; little more than `room` where the decompressor can stop."""
    try:
        return bytes(machine.decompress(piece, room))
    except TypeError:  # zstandard has no limit: PIECE is one
        return bytes(machine.decompress(piece))


def expander(how: str) -> Any:
    """Give a decompressor with `decompress`, `eof` and `unused_data`.

    Raises Corrupt for a compression that has none.
    """
    if how == "gzip":
        return zlib.decompressobj(31)
    if how == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ)
    if how == "lzma":
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE)
    if how == "bzip2":
        return bz2.BZ2Decompressor()
    if how == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
    raise Corrupt(f"{how} compression is not supported (gzip, zstd, xz, lzma, bzip2 and none are)")


def compress(data: bytes, how: str) -> bytes:
    """Compress for the kernel; the same bytes on every machine, whatever its number of CPUs."""
    return {"gzip": gzip, "zstd": zstd, "xz": xz}[how](data)


def gzip(data: bytes, level: int = 6, block: int = 1 << 20) -> bytes:
    """Make one gzip member without name or time.

    Its blocks are made side by side, as pigz does: each knows the 32 KiB before it.
    """
    from concurrent.futures import ThreadPoolExecutor  # it brings logging; few compress anything

    def deflate(start: int) -> bytes:
        before = data[max(0, start - 32768) : start]
        machine = zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, before)
        end = zlib.Z_FINISH if start + block >= len(data) else zlib.Z_SYNC_FLUSH
        return machine.compress(data[start : start + block]) + machine.flush(end)

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(deflate, range(0, max(len(data), 1), block)))
    tail = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"".join([b"\x1f\x8b\x08\0\0\0\0\0\0\xff", *parts, tail])


def zstd(data: bytes, level: int = 6) -> bytes:
    """By two workers: one and several make the same bytes, none makes others."""
    import zstandard

    return zstandard.ZstdCompressor(level=level, threads=2).compress(data)


def xz(data: bytes) -> bytes:
    """With what the kernel's decoder knows: CRC32, and dracut's 1 MiB of dictionary."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20}]
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)
