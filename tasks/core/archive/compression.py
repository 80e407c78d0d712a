"""What initrds and kernels are compressed with: told apart, expanded, compressed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

LIMIT = 512 << 20  # bytes that an image may expand to: more is a mistake or a bomb

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
    """ "none" for anything that starts with no compressor's magic."""
    return next((name for magic, name in COMPRESSIONS.items() if data.startswith(magic)), "none")


# ---- compression ---------------------------------------------------------------------------------------------------


def expand(how: str, data: bytes, start: int = 0, room: int = LIMIT) -> tuple[bytes, int]:
    """The stream of `how` at `start`, expanded, and where it ends. Raises Corrupt."""
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
    except (
        Exception
    ) as error:  # zlib.error, lzma.LZMAError, OSError of bz2, ZstdError: all say what is wrong
        raise Corrupt(f"{how} data at byte {start} is damaged ({error})") from None
    if not machine.eof:
        raise Corrupt(f"{how} data truncated at byte {len(data)}")
    return bytes(out), min(at, len(data)) - len(machine.unused_data)


PIECE = (
    8 << 10
)  # bytes fed to a decompressor at a time: even zstd makes no more than 256 MiB of them


def expand_some(machine: Any, piece: bytes, room: int) -> bytes:
    """What `piece` expands to; a little more than `room` at most, where the decompressor can stop."""
    try:
        return bytes(machine.decompress(piece, room))
    except TypeError:  # zstandard has no limit: PIECE is one
        return bytes(machine.decompress(piece))


def expander(how: str) -> Any:
    """A decompressor with `decompress`, `eof` and `unused_data`. Raises Corrupt for a compression without one."""
    import bz2
    import lzma
    import zlib

    if how == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
    makers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(31),
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
        "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE),
        "bzip2": bz2.BZ2Decompressor,
    }
    if how not in makers:
        raise Corrupt(
            f"{how} compression is not supported (gzip, zstd, xz, lzma, bzip2 and none are)"
        )
    return makers[how]()


def compress(data: bytes, how: str) -> bytes:
    """`data` as the kernel reads it; the same bytes on every machine, whatever its number of CPUs."""
    return {"gzip": gzip, "zstd": zstd, "xz": xz}[how](data)


def gzip(data: bytes, level: int = 6, block: int = 1 << 20) -> bytes:
    """One gzip member without name or time.

    Its blocks are made side by side, as pigz does: each knows the 32 KiB before it.
    """
    import struct
    import zlib

    def deflate(start: int) -> bytes:
        before = data[max(0, start - 32768) : start]
        machine = zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, before)
        end = zlib.Z_FINISH if start + block >= len(data) else zlib.Z_SYNC_FLUSH
        return machine.compress(data[start : start + block]) + machine.flush(end)

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(deflate, range(0, max(len(data), 1), block)))
    tail = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"".join([b"\x1f\x8b\x08\0\0\0\0\0\0\xff", *parts, tail])


def zstd(data: bytes, level: int = 3) -> bytes:
    """The bytes of one worker and of several are the same, of none they are not: the number is given."""
    import zstandard

    return zstandard.ZstdCompressor(level=level, threads=2).compress(data)


def xz(data: bytes) -> bytes:
    """The kernel's decoder knows CRC32 only, and 1 MiB of dictionary is what dracut gives it (xz --check=crc32)."""
    import lzma

    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20}]
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)
