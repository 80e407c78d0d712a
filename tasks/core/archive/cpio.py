"""Initial RAM disks in memory: read any mix of segments, write one newc archive that is the same on every machine.

The kernel reads a sequence of newc archives, each plain or compressed, with zero bytes between them
(Documentation/driver-api/early-userspace/buffer-format.rst); leading plain ones carry CPU microcode.
Nothing is ever unpacked on disk, so names cannot lead anywhere and neither root nor device nodes are needed.
"""

from __future__ import annotations

import stat
from typing import Any, Callable, Iterator, NamedTuple

from ..base.errors import BadInput
from ..tree.model import (
    BLOCK,
    CHAR,
    DIR,
    FILE,
    LINK,
    TYPES,
    Entry,
    Tree,
    parent,
    read_content,
    resolve_parent,
)
from .compression import LIMIT, PIECE, Corrupt, compression, expand, expand_some, expander

EARLY = (b"kernel", b"early_cpio")  # what the segments that the kernel reads before unpacking hold
FORMATS = {  # (offset, magic): a name
    (0, b"070702"): "cpio with checksums (crc)",
    (0, b"070707"): "old portable cpio (odc)",
    (0, b"\xc7\x71"): "old binary cpio",
    (0, b"\x71\xc7"): "old binary cpio",
    (0, b"\x45\x3d\xcd\x28"): "cramfs",
    (0, b"hsqs"): "squashfs",
    (0, b"-rom1fs-"): "romfs",
    (0, b"MZ"): "a UEFI executable (unified kernel image)",
    (0x438, b"\x53\xef"): "an ext2 file system",
}
BITS = {name: bits for bits, name in TYPES.items()}


class InitrdArchive(NamedTuple):
    """An initial RAM disk, taken apart."""

    early: bytes  # leading plain archives, as they are
    tree: Tree  # all the others, laid over each other as the kernel does it
    compression: str  # of the last segment: "none", "gzip", …


def read_image(data: bytes, name: str) -> InitrdArchive:
    """Take an image apart. Raises BadInput with `name` and the place in it."""
    try:
        return _read_image(data)
    except Corrupt as error:
        raise BadInput.at(name, f"not a usable initrd: {error}; make it anew") from None


def _read_image(data: bytes) -> InitrdArchive:
    early: list[bytes] = []
    tree: Tree = {}
    how = "none"
    for how, archive, raw in segments(data):
        part = read_archives(archive)
        if (
            how == "none"
            and not tree
            and all(path.split(b"/")[0] in (b"", *EARLY) for path in part)
        ):
            early.append(raw)
        else:
            lay_over(tree, part)
    if not tree:
        raise Corrupt("it holds no files")
    return InitrdArchive(b"".join(early), tree, how)


def segments(data: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """(compression, archives, the bytes as they stand with their padding) of every segment, in order."""
    start, room = 0, LIMIT
    if not data.strip(b"\0"):
        raise Corrupt("it is empty")
    while start < len(data):
        how = compression(data[start : start + 8])
        if how == "none":
            end = _end_of_newc(data, start)
            archive = data[start:end]
        else:
            archive, end = expand(how, data, start, room)
        room -= len(archive)
        end = _after_zeros(data, end)
        yield how, archive, data[start:end]
        start = end


def _after_zeros(data: bytes, start: int) -> int:
    while start < len(data):
        rest = data[start : start + 4096]
        start += len(rest) - len(rest.lstrip(b"\0"))
        if rest.strip(b"\0"):
            break
    return start


def recognised(data: bytes) -> str:
    """What data that is no newc archive is, as far as one can tell."""
    names = (name for (at, magic), name in FORMATS.items() if data[at : at + len(magic)] == magic)
    return next(names, f"something unknown (it begins {data[:6].hex(' ') or 'with nothing'})")


# ---- newc ----------------------------------------------------------------------------------------------------------


class _Header(NamedTuple):
    """One entry's header (cpio(5), "New ASCII Format"), with the places of its name and data."""

    inode: int
    mode: int
    uid: int
    gid: int
    links: int
    device: tuple[int, int]
    name: bytes
    start: int  # of the data
    size: int

    @property
    def end(self) -> int:
        return _pad4(self.start + self.size)


def _pad4(number: int) -> int:
    return (number + 3) & ~3


def _header(data: bytes, at: int, base: int) -> _Header:
    """The entry at `at`; archives are aligned to their own start, `base`."""
    head = data[at : at + 110]
    if len(head) < 110:
        raise Corrupt(f"truncated at byte {len(data)} (no TRAILER!!! entry)")
    if head[:6] != b"070701":
        raise Corrupt(
            f"corrupt entry at byte {at}: {recognised(data[at : at + 2048])} where a newc entry should be"
        )
    try:
        field = [int(head[place : place + 8], 16) for place in range(6, 110, 8)]
    except ValueError:
        raise Corrupt(f"corrupt entry at byte {at}: a field is no hexadecimal number") from None
    inode, mode, uid, gid, links, _, size, _, _, major, minor, length, _ = field
    name = data[at + 110 : at + 110 + length]
    start = base + _pad4(at + 110 + length - base)
    if start + size > len(data):
        raise Corrupt(
            f"truncated at byte {len(data)}: the entry at byte {at} goes on to byte {start + size}"
        )
    if not name.endswith(b"\0"):
        raise Corrupt(f"corrupt entry at byte {at}: its name has no end")
    return _Header(inode, mode, uid, gid, links, (major, minor), name[:-1], start, size)


def _headers(data: bytes, base: int) -> Iterator[_Header]:
    """Every entry from `base` on, TRAILER!!! last."""
    at = base
    while True:
        header = _header(data, at, base)
        yield header
        if header.name == b"TRAILER!!!":
            return
        at = base + _pad4(header.start + header.size - base)


def _end_of_newc(data: bytes, start: int) -> int:
    if data[start : start + 6] != b"070701":
        raise Corrupt(f"{recognised(data[start:])} at byte {start} is not supported")
    *_, trailer = _headers(data, start)
    return trailer.start


def read_archives(data: bytes) -> Tree:
    """The files of one or more newc archives, one after the other with zeros between them."""
    tree: Tree = {}
    start = _after_zeros(data, 0)
    while start < len(data):
        end = _end_of_newc(data, start)
        lay_over(tree, read_newc(data[start:end]))
        start = _after_zeros(data, end)
    return tree


def files_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, bytes) of each file of newc archives, one after the other. Raises Corrupt behind the last whole one."""
    start = _after_zeros(data, 0)
    while start < len(data):
        if data[start : start + 6] != b"070701":
            return
        for header in _headers(data, start):
            if stat.S_ISREG(header.mode):
                yield header.name, data[header.start : header.start + header.size]
        start = _after_zeros(data, header.start)


def read_newc(archive: bytes) -> Tree:
    """The files of one newc archive, hard links resolved: every name of a file has its bytes."""
    tree: Tree = {}
    shared: dict[int, bytes] = {}
    for header in _headers(archive, 0):
        path = _path(header)
        if header.name == b"TRAILER!!!" or path is None:
            continue
        entry = _entry(header, archive)
        if entry.inode:
            shared[entry.inode] = entry.data or shared.get(entry.inode, b"")
        tree[path] = entry
    return {path: _with_shared(entry, shared) for path, entry in tree.items()}


def _path(header: _Header) -> bytes | None:
    """A name as a tree has it; None for the root's own."""
    parts = [part for part in header.name.split(b"/") if part not in (b"", b".")]
    if b".." in parts or (not parts and header.name not in (b".", b"/", b"./")):
        raise Corrupt(f"an entry has the name {header.name!r}")
    return b"/".join(parts) or None


def _entry(header: _Header, archive: bytes) -> Entry:
    kind = TYPES.get(stat.S_IFMT(header.mode))
    if kind is None:
        raise Corrupt(f"{header.name!r} has the unknown file mode {header.mode:o}")
    content = archive[header.start : header.start + header.size]
    entry = Entry(kind, stat.S_IMODE(header.mode), header.uid, header.gid)
    if kind == FILE:
        return entry._replace(
            size=len(content), data=content, inode=header.inode if header.links > 1 else 0
        )
    if kind == LINK:
        return entry._replace(link=content.rstrip(b"\0"))
    return entry._replace(device=header.device) if kind in (CHAR, BLOCK) else entry


def _with_shared(entry: Entry, shared: dict[int, bytes]) -> Entry:
    if not entry.inode:
        return entry
    return entry._replace(data=shared[entry.inode], size=len(shared[entry.inode]))


def lay_over(tree: Tree, part: Tree) -> None:
    """Unpack `part` over `tree` as init/initramfs.c does: parents' symlinks are followed, another type replaces.

    Inode numbers of the two are kept apart.
    """
    first = max((entry.inode for entry in tree.values()), default=0)
    for path, entry in part.items():
        place = resolve_parent(tree, path)
        before = tree.get(place)
        if (
            before
            and before.type == DIR
            and entry.type != DIR
            and any(parent(other) == place for other in tree)
        ):
            continue  # rmdir(2) fails, and the kernel goes on
        tree[place] = entry._replace(inode=entry.inode + first) if entry.inode else entry


_MORE = (
    128  # bytes that newc has for an entry, beside its name and data: 110, and up to 7 of padding
)
_TRAILER = 1024


def write_newc(tree: Tree) -> bytes:
    """A newc archive of `tree`: sorted, owned by root, no times, inodes counted from 1. Same tree, same bytes.

    Into memory that libarchive fills itself: an interrupt within a function that it calls back would be lost, and a
    piece of the archive with it (ctypes).
    """
    from ctypes import byref, c_size_t, create_string_buffer

    from libarchive import ffi
    from libarchive.write import new_archive_write

    sizes = (max(entry.size, len(entry.data or b"")) for entry in tree.values())
    room = sum(sizes) + sum(_MORE + len(path) + len(entry.link) for path, entry in tree.items())
    packed, used = create_string_buffer(_TRAILER + room), c_size_t()
    last = {entry.inode: path for path, entry in sorted(tree.items()) if entry.inode}
    names = [entry.inode for entry in tree.values() if entry.inode]
    put = _putter()
    with new_archive_write(
        "cpio_newc"
    ) as archive:  # memory_writer, but for that it does not tell how much is used
        ffi.write_open_memory(archive, packed, len(packed), byref(used))
        numbers: dict[int, int] = {}
        for count, (path, entry) in enumerate(sorted(tree.items()), 1):
            if path:
                number = numbers.setdefault(entry.inode, count) if entry.inode else count
                data = (
                    _bytes(entry)
                    if entry.type == FILE and last.get(entry.inode, path) == path
                    else b""
                )
                links = names.count(entry.inode) if entry.inode else 1
                put(archive, path, entry, data, number, links)
    return memoryview(packed)[: used.value].tobytes()


def _bytes(entry: Entry) -> bytes:
    return read_content(entry)


def _putter() -> Callable[..., None]:
    """A function that writes one entry, by libarchive's own calls: libarchive-c's `linkpath=` loses symlinks (#143)."""
    from ctypes import c_char_p, c_int64, c_uint

    from libarchive import ffi
    from libarchive.entry import ArchiveEntry

    pointer = ffi.c_archive_entry_p
    set_path = ffi.ffi("entry_copy_pathname", [pointer, c_char_p], None)
    set_link = ffi.ffi("entry_copy_symlink", [pointer, c_char_p], None)
    set_inode = ffi.ffi("entry_set_ino64", [pointer, c_int64], None)
    set_links = ffi.ffi("entry_set_nlink", [pointer, c_uint], None)

    def put(archive: Any, path: bytes, entry: Entry, data: bytes, inode: int, links: int) -> None:
        made = ArchiveEntry(
            mode=BITS[entry.type] | entry.mode, size=len(data), mtime=0, uid=0, gid=0
        )
        set_path(made._entry_p, path)
        set_inode(made._entry_p, inode)
        set_links(made._entry_p, links)
        if entry.type == LINK:
            set_link(made._entry_p, entry.link)
        if entry.device:
            made.rdev = entry.device
        ffi.write_header(archive, made._entry_p)
        if data:
            ffi.write_data(archive, data, len(data))
        ffi.write_finish_entry(archive)

    return put


def expand_start(how: str, data: bytes, room: int) -> tuple[bytes, int]:
    """The same, but as much as can be had of a damaged stream, and no more than a little over `room`."""
    out, at, piece = bytearray(), 0, PIECE if how == "zstd" else 1 << 20
    try:
        machine = expander(how)
        while at < len(data) and not machine.eof and len(out) < room:
            out += expand_some(machine, data[at : at + piece], room - len(out))
            at += piece
    except Exception:  # as above
        return bytes(out), len(data)
    return bytes(out), min(at, len(data)) - len(machine.unused_data)
