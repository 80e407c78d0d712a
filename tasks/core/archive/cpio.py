"""Initial RAM disks in memory: any mix of segments is read, one newc archive written.

The kernel reads a sequence of newc archives, each plain or compressed, with zero bytes between
them (Documentation/driver-api/early-userspace/buffer-format.rst); leading plain ones carry CPU
microcode. Nothing is ever unpacked on disk, so names cannot lead anywhere and neither root nor
device nodes are needed. What is written is the same on every machine.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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
from .compression import LIMIT, Corrupt, compression, expand

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


NEWC = b"070701"
_TRAILER = b"TRAILER!!!"
_HEAD = 110  # bytes of a header
_MOST = 128  # bytes of an entry beside its name and data: the header, and up to 7 of padding
_END = 1024  # bytes of the trailer, and what an archive is filled up to


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
        if how == "none" and not tree and _is_early(part):
            early.append(raw)
        else:
            lay_over(tree, part)
    if not tree:
        raise Corrupt("it holds no files")
    return InitrdArchive(b"".join(early), tree, how)


def _is_early(part: Tree) -> bool:
    return all(path.split(b"/")[0] in (b"", *EARLY) for path in part)


def segments(data: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Give (compression, archives, the bytes as they stand with their padding) of every segment."""
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
    """Tell what data that is no newc archive is, as far as one can."""
    for (at, magic), name in FORMATS.items():
        if data[at : at + len(magic)] == magic:
            return name
    return f"something unknown (it begins {data[:6].hex(' ') or 'with nothing'})"


# ---- newc


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
    """Read the entry at `at`; archives are aligned to their own start, `base`."""
    fields = _fields(data, at)
    inode, mode, uid, gid, links, _, size, _, _, major, minor, length, _ = fields
    name = data[at + _HEAD : at + _HEAD + length]
    start = base + _pad4(at + _HEAD + length - base)
    end = start + size
    if end > len(data):
        raise Corrupt(
            f"truncated at byte {len(data)}: the entry at byte {at} goes on to byte {end}"
        )
    if not name.endswith(b"\0"):
        raise Corrupt(f"corrupt entry at byte {at}: its name has no end")
    return _Header(
        inode,
        mode,
        uid,
        gid,
        links,
        (major, minor),
        name[:-1],
        start,
        size,
    )


def _fields(data: bytes, at: int) -> list[int]:
    """Read the numbers of the entry at `at`."""
    head = data[at : at + _HEAD]
    if len(head) < _HEAD:
        raise Corrupt(f"truncated at byte {len(data)} (no TRAILER!!! entry)")
    if head[:6] != NEWC:
        found = recognised(data[at : at + 2048])
        raise Corrupt(f"corrupt entry at byte {at}: {found} where a newc entry should be")
    try:
        return [int(head[place : place + 8], 16) for place in range(6, _HEAD, 8)]
    except ValueError:
        raise Corrupt(f"corrupt entry at byte {at}: a field is no hexadecimal number") from None


def _headers(data: bytes, base: int) -> Iterator[_Header]:
    """Give every entry from `base` on, TRAILER!!! last."""
    at = base
    while True:
        header = _header(data, at, base)
        yield header
        if header.name == _TRAILER:
            return
        at = base + _pad4(header.start + header.size - base)


def _end_of_newc(data: bytes, start: int) -> int:
    if data[start : start + 6] != NEWC:
        raise Corrupt(f"{recognised(data[start:])} at byte {start} is not supported")
    *_, trailer = _headers(data, start)
    return trailer.start


def read_archives(data: bytes) -> Tree:
    """Read the files of one or more newc archives, one after the other with zeros between them."""
    tree: Tree = {}
    start = _after_zeros(data, 0)
    while start < len(data):
        end = _end_of_newc(data, start)
        lay_over(tree, read_newc(data[start:end]))
        start = _after_zeros(data, end)
    return tree


def files_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give (name, bytes) of each file of newc archives, one after the other.

    Raises Corrupt behind the last whole one.
    """
    start = _after_zeros(data, 0)
    while start < len(data):
        if data[start : start + 6] != NEWC:
            return
        for header in _headers(data, start):
            if stat.S_ISREG(header.mode):
                yield header.name, data[header.start : header.start + header.size]
        start = _after_zeros(data, header.start)


def read_newc(archive: bytes) -> Tree:
    """Read the files of one newc archive; each name of a hard-linked file has its bytes."""
    tree: Tree = {}
    shared: dict[int, bytes] = {}
    for header in _headers(archive, 0):
        path = _path(header)
        if header.name == _TRAILER or path is None:
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
        inode = header.inode if header.links > 1 else 0
        return entry._replace(size=len(content), data=content, inode=inode)
    if kind == LINK:
        return entry._replace(link=content.rstrip(b"\0"))
    if kind in (CHAR, BLOCK):
        return entry._replace(device=header.device)
    return entry


def _with_shared(entry: Entry, shared: dict[int, bytes]) -> Entry:
    if not entry.inode:
        return entry
    data = shared[entry.inode]
    return entry._replace(data=data, size=len(data))


def lay_over(tree: Tree, part: Tree) -> None:
    """Unpack `part` over `tree` as init/initramfs.c does.

    Symlinks of folders are followed, another type replaces. Inode numbers are kept apart.
    """
    first = max((entry.inode for entry in tree.values()), default=0)
    for path, entry in part.items():
        place = resolve_parent(tree, path)
        if entry.type != DIR and _is_full(tree, place):
            continue  # rmdir(2) fails, and the kernel goes on
        if entry.inode:
            entry = entry._replace(inode=entry.inode + first)
        tree[place] = entry


def _is_full(tree: Tree, path: bytes) -> bool:
    """Is that a folder with something in it?"""
    if path not in tree or tree[path].type != DIR:
        return False
    return any(parent(other) == path for other in tree)


def write_newc(tree: Tree) -> bytes:
    """Make a newc archive: sorted, owned by root, no times, inodes counted from 1.

    The same tree gives the same bytes. Into memory that libarchive fills itself: an interrupt
    within a function that it calls back would be lost, and a piece of the archive with it (ctypes).
    """
    from ctypes import byref, c_size_t, create_string_buffer

    from libarchive import ffi
    from libarchive.write import new_archive_write

    room = _END + sum(_most(path, entry) for path, entry in tree.items())
    packed, used = create_string_buffer(room), c_size_t()
    # as memory_writer, but for that it does not tell how much is used
    with new_archive_write("cpio_newc") as archive:
        ffi.write_open_memory(archive, packed, len(packed), byref(used))
        writer = _Writer(archive)
        for item in _items(tree):
            writer.put(item)
    return memoryview(packed)[: used.value].tobytes()


def write_plain(files: Mapping[str, bytes]) -> bytes:
    """The same of plain files and the folders on the way to them: on boot servers, too.

    Those have no libarchive. The layout is newc's of cpio(5).
    """
    folders = {parent for name in files for parent in _folders_above(name)}
    packed = b""
    for inode, name in enumerate(sorted(folders | files.keys()), 1):
        mode = stat.S_IFDIR | 0o755 if name in folders else stat.S_IFREG | 0o644
        packed += _newc(name, (inode, mode), files.get(name, b""))
    return packed + _newc("TRAILER!!!", (0, 0), b"")


def _folders_above(name: str) -> Iterator[str]:
    while name := os.path.dirname(name):
        yield name


def _newc(name: str, start: tuple[int, int], data: bytes) -> bytes:
    """An entry of root's with one link and no time. `start`: inode and mode."""
    text = os.fsencode(name) + b"\0"
    owner, links, time, devices, checksum = (0, 0), 1, 0, (0, 0, 0, 0), 0
    numbers = (*start, *owner, links, time, len(data), *devices, len(text), checksum)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers)
    return _padded(head + text) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _most(path: bytes, entry: Entry) -> int:
    """Give the most bytes that an entry takes."""
    size = max(entry.size, len(entry.data or b""))
    return _MOST + len(path) + len(entry.link) + size


class _Item(NamedTuple):
    """An entry as it is written."""

    path: bytes
    entry: Entry
    data: bytes
    inode: int
    links: int


def _items(tree: Tree) -> Iterator[_Item]:
    """Of a file of several names the last one has the bytes, all have the number of the first."""
    names: dict[int, list[bytes]] = defaultdict(list)
    for path, entry in sorted(tree.items()):
        if entry.inode:
            names[entry.inode].append(path)

    numbers: dict[int, int] = {}
    for number, (path, entry) in enumerate(sorted(tree.items()), 1):
        if not path:
            continue
        same = names[entry.inode] if entry.inode else [path]
        if entry.inode:
            number = numbers.setdefault(entry.inode, number)
        has_data = entry.type == FILE and path == same[-1]
        data = read_content(entry) if has_data else b""
        yield _Item(path, entry, data, number, len(same))


class _Writer:
    """Writes by libarchive's own calls: libarchive-c's `linkpath=` loses symlinks (#143)."""

    def __init__(self, archive: Any):
        from ctypes import c_char_p, c_int64, c_uint

        from libarchive import ffi

        self.archive, self.ffi = archive, ffi
        pointer = ffi.c_archive_entry_p
        self.set_path = ffi.ffi("entry_copy_pathname", [pointer, c_char_p], None)
        self.set_link = ffi.ffi("entry_copy_symlink", [pointer, c_char_p], None)
        self.set_inode = ffi.ffi("entry_set_ino64", [pointer, c_int64], None)
        self.set_links = ffi.ffi("entry_set_nlink", [pointer, c_uint], None)

    def put(self, item: _Item) -> None:
        from libarchive.entry import ArchiveEntry

        entry, data = item.entry, item.data
        mode = BITS[entry.type] | entry.mode
        made = ArchiveEntry(
            mode=mode,
            size=len(data),
            mtime=0,
            uid=0,
            gid=0,
        )
        pointer = made._entry_p
        self.set_path(pointer, item.path)
        self.set_inode(pointer, item.inode)
        self.set_links(pointer, item.links)
        if entry.type == LINK:
            self.set_link(pointer, entry.link)
        if entry.device:
            made.rdev = entry.device
        self.ffi.write_header(self.archive, pointer)
        if data:
            self.ffi.write_data(self.archive, data, len(data))
        self.ffi.write_finish_entry(self.archive)
