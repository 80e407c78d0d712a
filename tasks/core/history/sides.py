"""Sides: of one release all that is compared with another, and the way it travels."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..base.files import read
from ..tree.manifest import Manifest, entries_of
from ..tree.model import FILE, Entry, Tree, parents
from .packages import Known, packages_of

OTHERS_READ, OTHERS_ENTER = 0o004, 0o001
LARGEST = 64 << 10  # bytes of a file whose text is compared
MOST = 200  # such files

CLOSED = "others may not read it"
LARGE = "it is large"
DAMAGED = "it is not as it was published"


class Side(NamedTuple):
    """Of one release what is compared."""

    packages: Known | None
    texts: Mapping[str, bytes]  # files that everybody may read
    closed: Mapping[str, str]  # other files that differ -> why they are not shown

    def dump(self) -> dict[str, Any]:
        texts = {path: base64.b64encode(data).decode() for path, data in self.texts.items()}
        return {"packages": self.packages, "texts": texts, "closed": dict(self.closed)}


def parse_side(said: Mapping[str, Any]) -> Side:
    """What `dump` made. Raises ValueError."""
    texts = {path: base64.b64decode(text) for path, text in said["texts"].items()}
    return Side(said["packages"], texts, said["closed"])


def differing_texts(before: Tree, after: Tree) -> list[str]:
    """The files of /etc that two trees have with different bytes."""
    found = []
    for path in sorted(before.keys() & after.keys()):
        old, new = before[path], after[path]
        if path.startswith(b"etc/") and old.type == new.type == FILE and old.digest != new.digest:
            found.append(os.fsdecode(path))
    return found


def read_side(manifest: Manifest, folder: str, paths: Iterable[str], with_packages: bool) -> Side:
    """Read of a root, of which that is written down, these files and its packages."""
    names = [os.fsencode(path) for path in paths]
    tree = entries_of(manifest, {*names, *_all_above(names)})
    texts: dict[str, bytes] = {}
    closed: dict[str, str] = {}
    for name in names:
        path = os.fsdecode(name)
        why = _why_closed(tree, name)
        data = None if why else _content(os.path.join(folder, path), tree[name])
        if why or len(texts) == MOST:
            closed[path] = why or "there are many"
        elif data is None:
            closed[path] = DAMAGED
        else:
            texts[path] = data
    return Side(packages_of(folder) if with_packages else None, texts, closed)


def _all_above(names: Iterable[bytes]) -> Iterator[bytes]:
    for name in names:
        yield from parents(name)


def _why_closed(tree: Tree, name: bytes) -> str:
    """Why a file is shown to nobody; "" where it may be."""
    entry = tree.get(name)
    if entry is None or entry.type != FILE or not entry.mode & OTHERS_READ:
        return CLOSED
    if not all(folder in tree and tree[folder].mode & OTHERS_ENTER for folder in parents(name)):
        return CLOSED
    return LARGE if entry.size > LARGEST else ""


def _content(path: str, entry: Entry) -> bytes | None:
    """The bytes of a file, if they are those that are written down."""
    try:
        data = read(path)
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == entry.digest else None
