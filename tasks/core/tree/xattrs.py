"""Extended attributes as getfattr dumps and setfattr restores them: mtree has no words for them."""

from __future__ import annotations

import re

from ..base.text import escape_octal, unescape_octal
from .model import Tree

Attributes = tuple[tuple[str, bytes], ...]  # sorted by name
Xattrs = dict[bytes, Attributes]

_FILE = b"# file: "
_IN_PATH = re.compile(rb"[\\\n\r]")
_IN_NAME = re.compile(rb"[\\=\n\r]")


def dump_xattrs(tree: Tree) -> bytes:
    """Give all attributes as `getfattr -R -d -m - -e hex` prints them, sorted by path and name."""
    labelled = sorted(path for path, entry in tree.items() if entry.xattrs)
    return b"".join(_record(path, tree[path].xattrs) for path in labelled)


def _record(path: bytes, attributes: Attributes) -> bytes:
    lines = [_FILE + escape_octal(path or b".", _IN_PATH)]
    for name, value in attributes:
        raw = name.encode(errors="surrogateescape")
        escaped = escape_octal(raw, _IN_NAME)
        lines.append(b"%s=0x%s" % (escaped, value.hex().encode()))
    return b"\n".join(lines) + b"\n\n"


def parse_xattrs(data: bytes) -> Xattrs:
    """Read what `dump_xattrs` wrote, by path. Raises ValueError where it is damaged."""
    xattrs: Xattrs = {}
    for record in data.split(b"\n\n")[:-1]:
        start, *lines = record.split(b"\n")
        if not start.startswith(_FILE):
            raise ValueError(f"not a dump of extended attributes: {start[:200]!r}")
        path = unescape_octal(start.removeprefix(_FILE))
        xattrs[b"" if path == b"." else path] = tuple(map(_attribute, lines))
    return xattrs


def _attribute(line: bytes) -> tuple[str, bytes]:
    escaped, found, value = line.rpartition(b"=0x")
    if not found:
        raise ValueError(f"not an extended attribute: {line[:200]!r}")
    name = unescape_octal(escaped)
    return name.decode(errors="surrogateescape"), bytes.fromhex(value.decode())
