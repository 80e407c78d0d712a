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
from ..reference.exclude import bounds
from ..rootfs import stage
from ..rootfs.disks import disk_support
from ..scan import reader
from ..secret_scan.find import Find, SecretFound, find_secrets, in_base, scanner
from ..tree import mtree
from ..tree.model import Circle, Tree
from .seen import initrd_seen, walked
from .source import ImageSource
from .state import ImageState

Tell = Callable[[int], None]


class DecidedRoot(NamedTuple):
    """What a root will be."""

    reference: reader.Scan
    staged: stage.StagedRoot
    parts: Tree  # of what is staged, all that an initrd can be made of
    listed: bytes  # the manifest of those
    secrets: SecretFound

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
            "sockets": list(map(os.fsdecode, self.reference.sockets)),
            "other_file_systems": list(map(os.fsdecode, self.reference.mounts)),
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
) -> ImageState:
    """Decide what an image will be: what is wrong with it, and what its root has for disks.

    Secrets must not leave, and what could not start must not be deployed; both are said at once.
    `code` names the code that decides; what was startable by it before is not tried again.
    """
    _DECIDED.pop(root, None)
    try:
        decided = _decide(root, tell)
    except BadInput as error:
        return ImageState(error.problems)
    problems = _complaints([*decided.secrets.refused, *in_base(initrd.image.initrd.base)], root)
    startable = _mark(initrd, decided, code)
    if known.startable != startable:
        unbootable = _unbootable(initrd, decided.parts)
        problems += unbootable
        startable = "" if unbootable else startable
    if not problems:
        _DECIDED[root] = decided
    return ImageState(tuple(problems), disk_support(decided.tree), startable)


def decide(root: ImageSource, tell: Tell) -> DecidedRoot:
    """The root as it was decided in this run, or is decided now. Raises BadInput for secrets."""
    decided = _DECIDED.pop(root, None)
    if decided is None:
        decided = _decide(root, tell)
        if decided.secrets.refused:
            raise BadInput(_complaints(decided.secrets.refused, root))
    return decided


def _decide(root: ImageSource, tell: Tell) -> DecidedRoot:
    """Read the reference, and lay everything over it, in memory. Raises BadInput."""
    image = root.image
    options = bounds(image)._replace(owned=not root.in_place, judge=scanner())
    look = walked(root) if root.in_place else None
    with circles_named(root):
        found = reader.scan(root.reference, root.index_file, options, look, tell)
        staged = stage.stage(image, found.tree, root.folders)
        secrets = find_secrets(staged.tree, image.keep, found.verdicts, staged.layers)
        staged = stage.pack(staged, image)  # of what was looked at by now
        parts = content.parts(staged.tree)
    return DecidedRoot(found, staged, parts, mtree.dump(parts), secrets)


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


def _mark(initrd: ImageSource, decided: DecidedRoot, code: str) -> str:
    """Names all that a kernel and an initrd are made of."""
    facts = repr((code, initrd.fingerprint, initrd_seen(initrd)))
    return hashlib.sha256(facts.encode(errors="surrogateescape") + decided.listed).hexdigest()


def _unbootable(initrd: ImageSource, parts: Tree) -> tuple[Problem, ...]:
    """Why a kernel or an initrd cannot be: that is known before the root is made."""
    try:
        with circles_named(initrd):
            chosen = kernel.choose(parts, initrd.image.kernel, initrd.site)
            recipe = build.recipe_of(initrd.image, parts, chosen, initrd.folders, initrd.site)
            build.build_initrd(recipe, lambda note: None)
    except BadInput as error:
        return error.problems
    return ()
