"""Extended attributes beside a manifest, which has no words for them: as getfattr dumps and setfattr restores them."""

from __future__ import annotations

import re

from .model import Tree

Xattrs = dict[bytes, tuple[tuple[str, bytes], ...]]

_ESCAPED = re.compile(rb"\\([0-7]{3})")


def dump_xattrs(tree: Tree) -> bytes:
    """Every attribute of a tree, as `getfattr -R -d -m - -e hex` prints them, sorted by path and name."""
    return b"".join(_record(path, tree[path].xattrs) for path in sorted(tree) if tree[path].xattrs)


def _record(path: bytes, attributes: tuple[tuple[str, bytes], ...]) -> bytes:
    lines = [b"# file: " + _quote(path or b".", b"\\\n\r")]
    for name, value in attributes:
        quoted = _quote(name.encode(errors="surrogateescape"), b"\\=\n\r")
        lines.append(quoted + b"=0x" + value.hex().encode())
    return b"\n".join(lines) + b"\n\n"


def _quote(text: bytes, special: bytes) -> bytes:
    return b"".join(b"\\%03o" % char if char in special else bytes([char]) for char in text)


def _unquote(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 255]), text)


def parse_xattrs(data: bytes) -> Xattrs:
    """Attributes by path, of what `dump` wrote. Raises ValueError where it is damaged."""
    labels: Xattrs = {}
    for record in data.split(b"\n\n")[:-1]:
        start, *lines = record.split(b"\n")
        if not start.startswith(b"# file: "):
            raise ValueError(f"not a dump of extended attributes: {start[:200]!r}")
        path = _unquote(start.removeprefix(b"# file: "))
        labels[b"" if path == b"." else path] = tuple(map(_attribute, lines))
    return labels


def _attribute(text: bytes) -> tuple[str, bytes]:
    name, found, value = text.rpartition(b"=0x")
    if not found:
        raise ValueError(f"not an extended attribute: {text[:200]!r}")
    return _unquote(name).decode(errors="surrogateescape"), bytes.fromhex(value.decode())


def with_xattrs(tree: Tree, labels: Xattrs) -> Tree:
    """The tree with those attributes."""
    return tree | {
        path: tree[path]._replace(xattrs=found) for path, found in labels.items() if path in tree
    }
