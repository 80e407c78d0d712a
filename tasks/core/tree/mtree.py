"""Manifests: a Tree as BSD mtree text, and back.

It is what bsdtar writes for the keywords below, in a fixed order; `bsdtar -tf`, `mtree -f` (netbsd)
and libarchive read it. Times are left out on purpose: equal trees, equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..base.text import escape_octal, unescape_octal
from .model import BLOCK, CHAR, DIR, FIFO, FILE, LINK, Entry, Tree

Stamps = Mapping[bytes, int]  # paths of files -> Entry.stamp

# All but what libarchive leaves as it is in a name (archive_write_set_format_mtree.c).
_SPECIAL = re.compile(rb"[^!\"$-<>-\[\]-~]")
_LINE = re.compile(
    rb"(\S+) type=(\w+) mode=([0-7]+) uid=(\d+) gid=(\d+)(?: size=(\d+))?(?: link=(\S+))?"
    rb"(?: device=native,(\d+),(\d+))?(?: sha256digest=([0-9a-f]{64}))?"
)
_TYPES = {word.encode(): word for word in (DIR, FILE, LINK, CHAR, BLOCK, FIFO)}
_NO_STAMPS: Stamps = MappingProxyType({})


def dump(tree: Tree) -> bytes:
    """Give the manifest of a tree: `#mtree`, then a line for each path, sorted bytewise by path."""
    text = io.BytesIO()  # a list of the lines would be larger than all their text
    text.write(b"#mtree\n")
    text.writelines(b"%s\n" % line(path, tree[path]) for path in sorted(tree))
    return text.getvalue()


def line(path: bytes, entry: Entry) -> bytes:
    """One path's line, without its end."""
    kind, mode, uid, gid = entry[:4]
    start = b"%s type=%s mode=%o uid=%d gid=%d" % (word(path), kind.encode(), mode, uid, gid)
    if kind == FILE:
        return b"%s size=%d sha256digest=%s" % (start, entry.size, entry.digest.encode())
    if kind == LINK:
        return b"%s link=%s" % (start, escape(entry.link))
    if entry.device:
        return b"%s device=native,%d,%d" % (start, *entry.device)
    return start


def word(path: bytes) -> bytes:
    """A path as the first word of its line: `a b` -> `./a\\040b`, the root is `.`"""
    return b"./" + escape(path) if path else b"."


def path_of(word: bytes) -> bytes:
    """The path of a line's first word."""
    return unescape(word)[2:]


def escape(name: bytes) -> bytes:
    """`a b` -> `a\\040b`: a name or a link's target as libarchive writes it."""
    return escape_octal(name, _SPECIAL)


def unescape(name: bytes) -> bytes:
    """`a\\040b` -> `a b`"""
    return unescape_octal(name)


def parse(data: bytes, folder: bytes = b"", stamps: Stamps = _NO_STAMPS) -> Tree:
    """Give the tree of a manifest that `dump` wrote.

    With `folder`, its files' `source` is below that, and `stamps` are of those. Extended attributes
    and hard links are not in a manifest. Raises ValueError where it is damaged or cut short.
    """
    return parse_lines(lines(data), folder, stamps)


def lines(data: bytes) -> list[bytes]:
    """Give a manifest's lines, for `parse_lines`. Raises ValueError where it is cut short."""
    first, *texts = data.split(b"\n")
    if first != b"#mtree" or texts[-1:] != [b""]:
        raise ValueError("not an mtree manifest, or cut short")
    return texts[:-1]


def places(data: bytes, paths: Iterable[bytes]) -> dict[bytes, tuple[int, int]]:
    """Find where a manifest's lines of these paths begin and end; left out are those it lacks.

    Raises ValueError where it is damaged.
    """
    found = {}
    for path in paths:
        start = _from(data, path)
        if data.startswith(word(path) + b" ", start):
            found[path] = start, data.index(b"\n", start)
    return found


def _from(data: bytes, path: bytes) -> int:
    """Where the lines of this path and of all after it begin, by halving: they are sorted."""
    low, high = data.find(b"\n") + 1, len(data)
    while low < high:
        middle = (low + high) // 2
        start = data.rfind(b"\n", low - 1, middle) + 1 or low
        end = data.index(b"\n", start)
        if path_of(word_of(data[start:end])) < path:
            low = end + 1
        else:
            high = start
    return low


def found(data: bytes, paths: Iterable[bytes]) -> list[bytes]:
    """Give the lines of these paths, if they are there, without a look at the others."""
    return [data[start:end] for start, end in places(data, paths).values()]


def replaced(data: bytes, before: Tree, after: Tree) -> bytes:
    """Give a manifest with other entries of these paths, which it has as they are in `before`.

    Raises ValueError where it has not.
    """
    at = places(data, before)
    parts, end = list[bytes](), 0
    for path in sorted(before):
        start, stop = at.get(path, (0, 0))
        if data[start:stop] != line(path, before[path]):
            raise ValueError(f"not as it is in the manifest: {path!r}")
        parts += data[end:start], line(path, after[path])
        end = stop
    return b"".join([*parts, data[end:]])


def size_of(data: bytes) -> tuple[int, int]:
    """Count a manifest's names, and the bytes of all their files."""
    sizes = re.findall(rb" size=(\d+)", data)
    return data.count(b" type="), sum(map(int, sizes))


def word_of(text: bytes) -> bytes:
    """A line's first word, which `path_of` reads."""
    return text[: text.index(b" ")]


def parse_lines(lines: Iterable[bytes], folder: bytes = b"", stamps: Stamps = _NO_STAMPS) -> Tree:
    """Give the tree of some of a manifest's lines."""
    tree: Tree = {}
    for text in lines:
        found = _LINE.fullmatch(text)
        if not found:
            raise ValueError(f"not a line of an mtree manifest: {text[:200]!r}")
        path, entry = _entry(found.groups(), folder, stamps)
        tree[path] = entry
    return tree


def _entry(fields: tuple[bytes, ...], folder: bytes, stamps: Stamps) -> tuple[bytes, Entry]:
    """By position where it can be: this is called for every name of a root."""
    first, kind, mode, uid, gid, size, link, major, minor, digest = fields
    path = path_of(first)
    has_source = folder and kind in (b"file", b"dir")
    return path, Entry(
        _TYPES[kind],
        int(mode, 8),
        int(uid),
        int(gid),
        int(size or 0),
        unescape(link) if link else b"",
        (int(major), int(minor)) if major else None,
        digest.decode() if digest else "",
        source=folder + b"/" + path if has_source else b"",
        stamp=stamps.get(path, 0),
    )
