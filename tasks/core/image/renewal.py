"""Renewal: a root where nothing but bytes of files changed in its reference, without its steps.

The steps of staging look at names, types, modes, owners, links and attributes, and into few files.
As long as those are what they were, so is what the steps make of them: the same names get other
bytes. What means more is noted when a root is decided, and kept beside what was staged of it.
"""

from __future__ import annotations

import hashlib
import json
import marshal
from collections.abc import Collection
from typing import Any, NamedTuple

from ..checkout import staged
from ..reference.exclude import bounds
from ..rootfs.disks import DiskSupport, grown
from ..rootfs.transforms import in_root
from ..scan.changed_bytes import ChangedBytes, changed_bytes
from ..scan.index import dump_index
from ..scan.reader import Progress
from ..secret_scan.find import HUGE, scanner
from ..tree.model import Tree, parent
from .seen import initrd_seen, layers_seen, walked
from .source import ImageSource
from .state import ImageState

# Of a reference: what did not come through as it was, and files whose bytes meant something to a
# step; with digests, for a copy of one may mean the same
Special = dict[bytes, str]


class Basis(NamedTuple):
    """What a root was decided of, and what was decided."""

    facts: str  # names all but its reference
    signature: str  # names that
    special: Special
    notes: str  # for the report and plan, as JSON
    disks: DiskSupport
    startable: str

    def dump(self) -> bytes:
        """The same, as it is kept."""
        return marshal.dumps(tuple(self))

    def is_of(self, facts: str, signature: str | None) -> bool:
        """Whether a root was decided of these."""
        return (self.facts, self.signature) == (facts, signature)

    def is_plain(self, path: bytes) -> bool:
        """Whether a file's bytes meant nothing but themselves."""
        return path not in self.special and parent(path) not in self.special


class Renewal(NamedTuple):
    """A staged root, and its files that get other bytes, by their names there."""

    since: bytes  # of what is staged, a Basis as it was kept
    basis: Basis  # of what it becomes
    before: Tree
    after: Tree
    known: list[bytes | memoryview]  # of the reference, to the next look at it

    @property
    def state(self) -> ImageState:
        """What is decided of the image."""
        return ImageState((), self.basis.disks, self.basis.startable)

    def stage(self, place: staged.StagedPaths) -> dict[str, Any] | None:
        """Give the files their bytes, and say what is to be noted of the root.

        None where what is staged is not as it was left.
        """
        basis = self.basis.dump()
        note = staged.renew(place, self.since, basis, self.before, self.after)
        if note is None:
            return None
        notes: dict[str, Any] = json.loads(self.basis.notes)
        return {**notes, "unprivileged": note}


def special_of(
    reference: Tree, made: Tree, looked_into: Collection[bytes], besides: Collection[bytes]
) -> Special:
    """What of a reference is special to the root that was made of it.

    `looked_into` are sources, `besides` are names in the root.
    """
    found = {}
    for path, entry in reference.items():
        place = in_root(path)
        is_kept = made.get(place) is entry and not entry.inode and place not in besides
        if not is_kept or entry.source in looked_into:
            found[path] = entry.digest
    return found


def facts_of(root: ImageSource, initrd: ImageSource, code: str) -> str:
    """Names all that an image is decided of, but for its reference. `code` names what decides."""
    facts = code, root.fingerprint, layers_seen(root), initrd.fingerprint, initrd_seen(initrd)
    return hashlib.sha256(repr(facts).encode(errors="surrogateescape")).hexdigest()


def renewal(
    root: ImageSource, place: staged.StagedPaths, facts: str, tell: Progress
) -> Renewal | None:
    """How a staged root is renewed; None where it cannot be."""
    kept = staged.basis_of(place) if root.in_place else b""
    since = _parsed(kept)
    if since is None:
        return None
    looked = walked(root)
    if looked.signature is None or not since.is_of(facts, looked.before.signature):
        return None
    options = bounds(root.image)._replace(judge=scanner())
    found = changed_bytes(root.reference, looked, options, since.is_plain, tell)
    if found is None or not _are_plain(since, found):
        return None
    before, after = _in_root(found.before), _in_root(found.after)
    now = since._replace(signature=looked.signature, disks=_grown(since.disks, before, after))
    return Renewal(kept, now, before, after, dump_index(options.rules, found.known))


def _parsed(kept: bytes) -> Basis | None:
    """None where nothing is kept, or it is of another form."""
    try:
        return Basis(*marshal.loads(kept))
    except (EOFError, ValueError, TypeError):
        return None


def _are_plain(since: Basis, found: ChangedBytes) -> bool:
    """Whether no step would see more than other bytes.

    A rule of scrubbing leaves an empty file as it is without a look into it; a file with the bytes
    of a special one may be as special; and of a huge file the judge has not heard all.
    """
    known = set(since.special.values())
    entries = [*found.before.values(), *found.after.values()]
    sizes = [entry.size for entry in entries]
    digests = {entry.digest for entry in found.after.values()}
    return all(0 < size <= HUGE for size in sizes) and known.isdisjoint(digests)


def _grown(disks: DiskSupport, before: Tree, after: Tree) -> DiskSupport:
    return grown(disks, {path: after[path].size - before[path].size for path in after})


def _in_root(tree: Tree) -> Tree:
    return {in_root(path): entry for path, entry in tree.items()}
