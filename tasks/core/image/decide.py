"""Deciding: the root that an image will have, and whether a node could start from it.

A root is decided once in a run: what was decided is kept for whoever stages it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import filterfalse
from typing import Any, NamedTuple

from ..base.errors import BadInput, Problem
from ..checkout.staged import StagedPaths
from ..initrd import build, content, kernel
from ..unpack.claims import claimed
from ..reference.exclude import bounds
from ..reference.snapshot import INDEX, claims_of
from ..rootfs import stage
from ..rootfs.disks import disk_support
from ..scan import reader
from ..scan.index import dump_index
from ..secret_scan.find import Find, SecretFound, find_secrets, in_base, scanned_by, scanner
from ..secret_scan.shipped import NOTHING_LISTED, listed_in
from ..tree import mtree
from ..tree.model import Circle, Tree, reads_noted, under
from .renewal import Basis, Renewal, Special, facts_of, renewal, special_of
from .seen import initrd_seen, walked
from .source import ImageSource
from .state import ImageState

Tell = Callable[[int], None]


IndexBytes = list[bytes | memoryview]


class DecidedRoot(NamedTuple):
    """What a root will be."""

    staged: stage.StagedRoot
    secrets: SecretFound
    sockets: tuple[bytes, ...]
    mounts: tuple[bytes, ...]
    # The reference, where its folder is the build's own and as its tree says: it claims nothing
    # besides. Nothing else of what was read is kept: a tree takes much room
    owned: Tree | None
    basis: bytes = b""  # a Basis, by which it can be renewed; b"": it cannot

    @property
    def tree(self) -> Tree:
        return self.staged.tree

    def notes(self, keep: Iterable[str]) -> dict[str, Any]:
        """For the report and plan, as plain data. `keep`: what the site allows."""
        kept = dict(self.staged.notes["kept"])
        kept |= {find.path: find.rule for find in self.secrets.kept}
        idle = filterfalse(partial(_lets_out, kept), keep)
        return {
            **self.staged.notes,
            "sockets": list(map(os.fsdecode, self.sockets)),
            "other_file_systems": list(map(os.fsdecode, self.mounts)),
            "kept": sorted(kept.items()),
            "keep_idle": list(idle),
        }


def _lets_out(paths: Iterable[str], allowed: str) -> bool:
    """Whether one of the paths is what is allowed, or below that."""
    start = allowed.strip("/") + "/"
    return any(f"{path}/".startswith(start) for path in paths)


# What was found to be right, until it is staged
_DECIDED: dict[ImageSource, DecidedRoot] = {}
_RENEWALS: dict[ImageSource, Renewal] = {}


class Examined(NamedTuple):
    """What is examined of an image."""

    root: ImageSource
    initrd: ImageSource
    place: StagedPaths  # where the root is staged, and was


def examine(
    what: Examined, known: ImageState, code: str, tell: Tell
) -> tuple[ImageState, IndexBytes]:
    """Decide what an image will be: what is wrong with it, and what its root has for disks.

    Secrets must not leave, and what could not start must not be deployed; both are said at once.
    `code` names the code that decides; what was startable by it before is not tried again. Where
    what is staged can be renewed, nothing else is decided. Given back with it is what the next look
    at the reference is to know.
    """
    _DECIDED.pop(what.root, None)
    _RENEWALS.pop(what.root, None)
    facts = facts_of(what.root, what.initrd, code)
    found = renewal(what.root, what.place, facts, tell)
    if found:
        _RENEWALS[what.root] = found
        return found.state, found.known
    index: IndexBytes = []
    try:
        read, index = _read(what.root, tell)
        laid = _laid(what, read)
    except BadInput as error:
        return ImageState(error.problems), index or _known(what.root)
    state = _judged(what, laid, known, code)
    if not state.problems:
        _keep(what.root, facts, read.signature, laid, state)
    return state, index


class _Laid(NamedTuple):
    """A root that may be wrong."""

    decided: DecidedRoot
    parts: Tree  # of which its initrd can be made
    special: Special  # of a reference that is read in place


def _laid(what: Examined, found: reader.Scan) -> _Laid:
    """Lay a root. Raises BadInput."""
    root = what.root
    with reads_noted() as looked_into:
        decided = _lay(root, found)
        with circles_named(root):
            parts = content.parts(decided.tree, what.initrd.image)
    if not root.in_place:
        return _Laid(decided, parts, {})
    besides = {*parts, *_filling(decided, root)}
    return _Laid(decided, parts, special_of(found.tree, decided.tree, looked_into, besides))


def _judged(what: Examined, laid: _Laid, known: ImageState, code: str) -> ImageState:
    """What is wrong with an image."""
    initrd, refused = what.initrd, laid.decided.secrets.refused
    problems = _complaints([*refused, *in_base(initrd.image.initrd.base)], what.root)
    startable = _mark(initrd, laid.parts, code)
    if known.startable != startable:
        unbootable = _unbootable(initrd, laid.parts)
        problems += unbootable
        startable = "" if unbootable else startable
    return ImageState(tuple(problems), disk_support(laid.decided.tree), startable)


def _keep(
    root: ImageSource,
    facts: str,
    signature: str | None,
    laid: _Laid,
    state: ImageState,
) -> None:
    """Keep a root until it is staged, and of what it was decided if a change of that shows."""
    decided = laid.decided
    if root.in_place and signature is not None:
        notes = json.dumps(decided.notes(root.image.keep))
        disks, startable = state.disks or {}, state.startable
        basis = Basis(facts, signature, laid.special, notes, disks, startable)
        decided = decided._replace(basis=basis.dump())
    _DECIDED[root] = decided


def _filling(decided: DecidedRoot, root: ImageSource) -> Iterator[bytes]:
    """All that is below folders that fill nodes' own: archives of it lie beside them."""
    for folder in stage.fills(root.image):
        yield from under(decided.tree, folder.strip("/").encode())


def renew(root: ImageSource, place: StagedPaths) -> dict[str, Any] | None:
    """Renew what is staged, where that was found to do in this run; give its notes if so."""
    found = _RENEWALS.pop(root, None)
    return found.stage(place) if found else None


def decide(root: ImageSource, tell: Tell) -> DecidedRoot:
    """The root as it was decided in this run, or is decided now. Raises BadInput for secrets."""
    decided = _DECIDED.pop(root, None)
    if decided is None:
        found, _ = _read(root, tell)
        decided = _lay(root, found)
        if decided.secrets.refused:
            raise BadInput(_complaints(decided.secrets.refused, root))
    return decided


def _read(root: ImageSource, tell: Tell) -> tuple[reader.Scan, IndexBytes]:
    """The reference; and its index, where that is no snapshot's own. Raises BadInput."""
    options = bounds(root.image)
    if not root.in_place:
        options = options._replace(owned=True, judge=scanner())
        index_file = os.path.join(os.path.dirname(root.reference), INDEX)
        return reader.scan(root.reference, index_file, options, tell), []
    looked = walked(root)
    listed = NOTHING_LISTED
    if looked.before.judge != scanned_by():  # all is read
        listed = listed_in(root.reference, options.skip)
    options = options._replace(judge=scanner(listed))
    found, index = reader.scan_on(root.reference, looked, options, tell)
    return found, dump_index(options.rules, index)


def _known(root: ImageSource) -> IndexBytes:
    """What is known of a reference that could not be read."""
    if not root.in_place:
        return []
    return dump_index(bounds(root.image).rules, walked(root).before)


def _lay(root: ImageSource, found: reader.Scan) -> DecidedRoot:
    """Lay everything over the reference, in memory. Raises BadInput."""
    image = root.image
    with circles_named(root):
        claims = None if root.in_place else claims_of(os.path.dirname(root.reference))
        found = found._replace(tree=claimed(found.tree, claims))
        staged = stage.stage(image, found.tree, root.folders)
        secrets = find_secrets(staged.tree, image.keep, found.verdicts, staged.layers)
        staged = stage.pack(staged, image)  # of what was looked at by now
    owned = found.tree if claims is None and not root.in_place else None
    return DecidedRoot(staged, secrets, found.sockets, found.mounts, owned)


@contextlib.contextmanager
def circles_named(source: ImageSource) -> Iterator[None]:
    """Say where symlinks of a reference lead in a circle, as BadInput."""
    try:
        yield
    except Circle as error:
        top = source.image.reference.where or source.image.name
        path = os.path.join(top, os.fsdecode(error.path))
        raise BadInput.at(path, "is behind symlinks that lead in a circle; correct them") from None


def _complaints(finds: Iterable[Find], source: ImageSource) -> list[Problem]:
    """That the export is public to the network, and a secret would be in it."""
    return [Problem(source.site, 1, 1, str(find)) for find in finds]


def _mark(initrd: ImageSource, parts: Tree, code: str) -> str:
    """Names all that a kernel and an initrd are made of."""
    facts = repr((code, initrd.fingerprint, initrd_seen(initrd)))
    listed = mtree.dump(parts)
    return hashlib.sha256(facts.encode(errors="surrogateescape") + listed).hexdigest()


def _unbootable(initrd: ImageSource, parts: Tree) -> tuple[Problem, ...]:
    """Why a kernel or an initrd cannot be: that is known before the root is made."""
    try:
        with circles_named(initrd):
            chosen = kernel.choose(parts, initrd.image.kernel, initrd.site, initrd.image.arch)
            recipe = build.recipe_of(initrd.image, parts, chosen, initrd.folders, initrd.site)
            build.build_initrd(recipe._replace(keys=initrd.keys), lambda note: None)
    except BadInput as error:
        return error.problems
    return ()
