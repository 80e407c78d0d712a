"""Deciding: the root that an image will have, and whether a node could start from it.

A root is decided once in a run: what was decided is kept for whoever stages it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import filterfalse
from typing import Any, NamedTuple

from ..base.errors import BadInput, Problem
from ..initrd import build, content, kernel
from ..unpack.claims import claimed
from ..reference.exclude import bounds
from ..reference.snapshot import INDEX, claims_of
from ..rootfs import stage
from ..rootfs.disks import disk_support
from ..scan import reader
from ..scan.index import dump_index
from ..secret_scan.find import Find, SecretFound, find_secrets, in_base, scanner
from ..tree import mtree
from ..tree.model import Circle, Tree
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


_DECIDED: dict[ImageSource, DecidedRoot] = {}  # what was found to be right, until it is staged


def examine(
    root: ImageSource, initrd: ImageSource, known: ImageState, code: str, tell: Tell
) -> tuple[ImageState, IndexBytes]:
    """Decide what an image will be: what is wrong with it, and what its root has for disks.

    Secrets must not leave, and what could not start must not be deployed; both are said at once.
    `code` names the code that decides; what was startable by it before is not tried again. Given
    back with it is what the next look at the reference is to know.
    """
    _DECIDED.pop(root, None)
    index: IndexBytes = []
    try:
        found, index = _read(root, tell)
        decided = _lay(root, found)
        with circles_named(root):
            parts = content.parts(decided.tree, initrd.image)
    except BadInput as error:
        return ImageState(error.problems), index or _known(root)
    problems = _complaints([*decided.secrets.refused, *in_base(initrd.image.initrd.base)], root)
    startable = _mark(initrd, parts, code)
    if known.startable != startable:
        unbootable = _unbootable(initrd, parts)
        problems += unbootable
        startable = "" if unbootable else startable
    if not problems:
        _DECIDED[root] = decided
    return ImageState(tuple(problems), disk_support(decided.tree), startable), index


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
    options = bounds(root.image)._replace(owned=not root.in_place, judge=scanner())
    if not root.in_place:
        index_file = os.path.join(os.path.dirname(root.reference), INDEX)
        return reader.scan(root.reference, index_file, options, tell), []
    found, index = reader.scan_on(root.reference, walked(root), options, tell)
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
