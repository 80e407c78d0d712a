"""Renewal: a root made anew where nothing but the bytes of files has changed in its reference.

The steps of staging look at names, types, modes, owners and links, and into a few files. As long as
those are what they were, so is what the steps make of them: the same names have other bytes, and
nothing else is to be decided again.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
from collections.abc import Collection
from typing import Any, NamedTuple

from ..base.files import content, write_atomic
from ..scan.reader import Renewal
from ..tree.model import FILE, Entry, Tree
from .transforms import in_root

_FORMAT = "plugnode carried 4"
DIGEST = 32  # bytes of sha256


class Renewed(NamedTuple):
    """What is new in a root."""

    files: Tree  # with other bytes
    folders: Tree  # that they are in
    grown: dict[bytes, int]  # bytes by which each file is larger
    since: str  # `made_of` when it was staged
    of: str  # and now


class Carried(NamedTuple):
    """What to know of a staging for that."""

    facts: str  # all but the reference that it was made by
    signature: str  # of the reference
    # of the reference, what did not come through as it was, or was looked into -> digest
    special: dict[bytes, str]
    notes: dict[str, Any]  # for the report and plan
    parts: str  # digest of the manifest of what its initrd can be made of, which no renewal changes
    # the renewal by which it came to that, if by one: for whoever stages it
    last: Renewed | None = None


def special_paths(
    reference: Tree, made: Tree, looked_into: Collection[bytes], also: Collection[bytes]
) -> dict[bytes, str]:
    """Names of a reference whose bytes mean something to a step.

    They, or a copy of them, cannot be renewed alone. `looked_into` are sources, `also` are names in
    what was made.
    """
    found = {}
    for path, entry in reference.items():
        place = in_root(path)
        is_read = entry.type == FILE and entry.source in looked_into
        if is_read or place in also or made.get(place) is not entry:
            found[path] = entry.digest
    return found


def renewed(carried: Carried, facts: str, new: Renewal) -> Renewed | None:
    """What of a staged root is new; None where the steps have to be taken again."""
    if (carried.facts, carried.signature) != (facts, new.since):
        return None
    digests = set(carried.special.values())
    if not carried.special.keys().isdisjoint({*new.files, *new.folders}):
        return None
    if any(entry.digest in digests for entry in new.files.values()):
        return None

    grown = {}
    for path, entry in new.files.items():
        grown[in_root(path)] = entry.size - new.before[path].size
    return Renewed(
        files=_moved(new.files),
        folders=_moved(new.folders),
        grown=grown,
        since=made_of(facts, new.since),
        of=made_of(facts, new.signature),
    )


def _moved(tree: Tree) -> Tree:
    return {in_root(path): entry for path, entry in tree.items()}


def made_of(facts: str, signature: str) -> str:
    """Names all that a root is made of: what was decided last may never have been staged."""
    return f"{facts} {signature}"


def forget_carried(path: str) -> None:
    """Nothing is carried from here on: what was decided may be something else by now."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def save_carried(path: str, carried: Carried) -> None:
    """A file that is private: digests of what was scrubbed are in it."""
    last: tuple[Any, ...] | None = None
    if carried.last:
        files, folders, *others = carried.last
        last = (_plain(files), _plain(folders), *others)
    data = marshal.dumps((_FORMAT, *carried[:-1], last))
    write_atomic(path, hashlib.sha256(data).digest() + data, mode=0o600)


def load_carried(path: str) -> Carried | None:
    """None where there is none, or it is damaged or of another form."""
    held = content(path) or b""
    digest, data = held[:DIGEST], held[DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        return None  # damaged: marshal would take it for objects of any size
    try:
        form, *known, last = marshal.loads(data)
        if form != _FORMAT:
            return None
        carried = Carried(*known)
        if not last:
            return carried
        files, folders, *others = last
        return carried._replace(last=Renewed(_tree(files), _tree(folders), *others))
    except (EOFError, ValueError, TypeError):
        return None


def _plain(tree: Tree) -> dict[bytes, tuple[Any, ...]]:
    return {name: tuple(entry) for name, entry in tree.items()}


def _tree(plain: dict[bytes, tuple[Any, ...]]) -> Tree:
    return {name: Entry(*values) for name, values in plain.items()}
