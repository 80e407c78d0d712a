"""Manifests: a Tree as BSD mtree text, and back. What bsdtar writes for the keywords below, in a fixed order.

`bsdtar -tf`, `mtree -f` (netbsd) and libarchive read it. Times are left out on purpose: equal trees, equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from .model import BLOCK, CHAR, DIR, FIFO, FILE, LINK, Entry, Tree

# What libarchive leaves as it is in a name; everything else is written as \ooo (archive_write_set_format_mtree.c).
_PLAIN = re.compile(rb"[!\"$-<>-\[\]-~]*")
_SPECIAL = re.compile(rb"[^!\"$-<>-\[\]-~]")
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_LINE = re.compile(
    rb"(\S+) type=(\w+) mode=([0-7]+) uid=(\d+) gid=(\d+)(?: size=(\d+))?(?: link=(\S+))?"
    rb"(?: device=native,(\d+),(\d+))?(?: sha256digest=([0-9a-f]{64}))?"
)
_TYPES = {word.encode(): word for word in (DIR, FILE, LINK, CHAR, BLOCK, FIFO)}


def dump(tree: Tree) -> bytes:
    """The manifest of a tree: `#mtree`, then a line for each path, sorted bytewise by path (folders before content)."""
    return b"\n".join([b"#mtree", *(line(path, tree[path]) for path in sorted(tree)), b""])


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
    return (
        name
        if _PLAIN.fullmatch(name)
        else _SPECIAL.sub(lambda found: b"\\%03o" % ord(found[0]), name)
    )


def unescape(name: bytes) -> bytes:
    return (
        _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 255]), name) if b"\\" in name else name
    )


def parse(
    data: bytes, folder: bytes = b"", stamps: Mapping[bytes, int] = MappingProxyType({})
) -> Tree:
    """The tree of a manifest that `dump` wrote. With `folder`, its files' `source` is below that, of those `stamps`.

    Extended attributes and hard links are not in a manifest. Raises ValueError where it is damaged or cut short.
    """
    return parse_lines(lines(data), folder, stamps)


def lines(data: bytes) -> list[bytes]:
    """A manifest's lines, for `parse_lines`. Raises ValueError where it is cut short."""
    first, *texts = data.split(b"\n")
    if first != b"#mtree" or texts[-1:] != [b""]:
        raise ValueError("not an mtree manifest, or cut short")
    return texts[:-1]


def places(data: bytes, paths: Iterable[bytes]) -> dict[bytes, tuple[int, int]]:
    """Where the lines of these paths are in a manifest, if it has them. Raises ValueError where it is damaged."""
    found = {}
    for path in paths:
        start = _from(data, path)
        if data.startswith(word(path) + b" ", start):
            found[path] = start, data.index(b"\n", start)
    return found


def _from(data: bytes, path: bytes) -> int:
    """Where the lines of this path and of all after it begin: by halving, for a manifest is sorted by path."""
    low, high = data.find(b"\n") + 1, len(data)
    while low < high:
        start = data.rfind(b"\n", low - 1, (low + high) // 2) + 1 or low
        end = data.index(b"\n", start)
        low, high = (end + 1, high) if path_of(word_of(data[start:end])) < path else (low, start)
    return low


def found(data: bytes, paths: Iterable[bytes]) -> list[bytes]:
    """The lines of these paths, if they are there, without a look at the others."""
    return [data[start:end] for start, end in places(data, paths).values()]


def replaced(data: bytes, entries: Tree) -> bytes:
    """A manifest with other lines for these paths, which it has."""
    parts, done = [], 0
    for path, (start, end) in sorted(places(data, entries).items(), key=lambda item: item[1]):
        parts += [data[done:start], line(path, entries[path])]
        done = end
    return b"".join([*parts, data[done:]])


def size_of(data: bytes) -> tuple[int, int]:
    """How many names a manifest has, and bytes of all their files."""
    return data.count(b" type="), sum(map(int, re.findall(rb" size=(\d+)", data)))


def word_of(text: bytes) -> bytes:
    """A line's first word, which `path_of` reads."""
    return text[: text.index(b" ")]


def parse_lines(
    lines: Iterable[bytes], folder: bytes = b"", stamps: Mapping[bytes, int] = MappingProxyType({})
) -> Tree:
    """The tree of some of a manifest's lines."""
    tree: Tree = {}
    for text in lines:
        found = _LINE.fullmatch(text)
        if not found:
            raise ValueError(f"not a line of an mtree manifest: {text[:200]!r}")
        path, entry = _entry(found.groups(), folder, stamps)
        tree[path] = entry
    return tree


def _entry(
    fields: tuple[bytes, ...], folder: bytes, stamps: Mapping[bytes, int]
) -> tuple[bytes, Entry]:
    first, kind, mode, uid, gid, size, link, major, minor, digest = fields
    path = path_of(first)
    return path, Entry(
        _TYPES[kind],
        int(mode, 8),
        int(uid),
        int(gid),
        int(size or 0),
        unescape(link) if link else b"",
        (int(major), int(minor)) if major else None,
        digest.decode() if digest else "",
        source=folder + b"/" + path if folder and kind in (b"file", b"dir") else b"",
        stamp=stamps.get(path, 0),
    )
