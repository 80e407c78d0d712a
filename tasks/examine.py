"""What each image will be, decided before anything of any image is made.

reference, overlays/ ── examine:<image> ──> build/.noted/<image>.verdict ── accept ──> root, initrd

One site, one answer: where one image cannot be, the others stay as they were, too, and all complaints come at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .configs import rendered, templates, templates_digest
from .console import Progress
from .core.errors import BadInput, Problem
from .core.files import content, digest_file, write_atomic
from .core.site import Image
from .layouts import note_offers, offers_of, refuse_layouts
from .references import pulled, snapshot_of, tree_of
from .rule import code, rule
from .settings import NOTED, about, settings, site

if TYPE_CHECKING:
    from .core.scan import Look, Scan
    from .core.stage import Staged
    from .core.tree import Tree

SEPARATE = ("boot", "usr", "var", "opt")  # file systems of their own that belong to a root all the same


class Decided(NamedTuple):
    """What an image will be."""

    found: Scan
    made: Staged


DECIDED: dict[str, Decided] = {}  # by this process, for the stage that makes it; another process decides again


def index_of(image: Image) -> str:
    """What the last scan of the reference knows of each file: of a snapshot all images that are made of it share it."""
    if image.reference.kind == "path":
        return settings().path(NOTED, f"{image.name}.index")
    from .core.reference import INDEX

    return os.path.join(snapshot_of(image), INDEX)


def verdict_of(image: Image) -> str:
    """The complaints about an image, none if it can be."""
    return settings().path(NOTED, f"{image.name}.verdict")


def task_examine():
    """decide what each image's root will hold, and whether a node could start from it"""
    for image in site().images:
        yield rule(
            image.name, examine, image.name, root_recipe(image), initrd_recipe(image),
            output=[verdict_of(image), offers_of(image)],
            inputs=snapshot(image),
            given=partial(seen, image),
            leaves=[settings().path(NOTED)],
        )  # fmt: skip


def root_recipe(image: Image) -> tuple:
    """What of an image's settings is in its root."""
    mounts = tuple((part.mount, part.fill) for part in image.disk.partitions)
    return image.reference, image.exclude, image.overlays, image.local_files, image.keep, image.also, mounts


def initrd_recipe(image: Image) -> tuple:
    """What of an image's settings is in its initrd."""
    return image.kernel, image.initrd, image.interface


def snapshot(image: Image) -> list[str]:
    """What says which snapshot of its reference an image is made of; a folder read in place has none."""
    return [] if image.reference.kind == "path" else [pulled(image)]


def seen(image: Image) -> str:
    """All that goes in; never the same twice where something was found wrong: the remedy may be anywhere."""
    refused = time.time_ns() if problems_of(image) else ""
    return f"{root_seen(image)} {initrd_seen(image)} {refused}"


@lru_cache(maxsize=None)
def root_seen(image: Image) -> str:
    """What the folders that go into the root hold, by a walk that reads no file."""
    from .core import overlay

    layers = overlay.fingerprint(settings().folders, (*overlay.BUILT_IN, *image.overlays))
    if image.reference.kind != "path":
        return layers
    return f"{layers} {looked(image).signature or time.time_ns()}"  # what changes right now is not known: look again


@lru_cache(maxsize=None)
def looked(image: Image) -> Look:
    """The one walk of a reference in a run; what it found to be new is all that is read then."""
    from .core import scan

    return scan.look(tree_of(image), index_of(image), **bounds(image))


@lru_cache(maxsize=None)
def initrd_seen(image: Image) -> str:
    """Digests of what goes into the initrd and is not in the root: its own scripts, and files named by path."""
    from .core import overlay

    paths = [path for path in (image.initrd.base, image.initrd.busybox) if os.path.isabs(path) and os.path.exists(path)]
    return " ".join([overlay.fingerprint(settings().folders, ["initrd"]), *map(digest_file, paths)])


def bounds(image: Image) -> dict[str, Any]:
    """What of a reference is not even looked at, and which of its file systems are, as scan's arguments."""
    from .core.patterns import BUILT_IN, Later

    patterns = (*BUILT_IN, *image.exclude)
    also = tuple(os.fsencode(path.strip("/")) for path in (SEPARATE if image.also is None else image.also))
    return {"skip": Later(patterns), "also": also, "rules": repr(patterns)}


def decide(image: Image) -> Decided:
    """Read the reference and lay everything over it, in memory. Raises BadInput."""
    from .core import scan, stage
    from .core.tree import without_collection

    own = image.reference.kind != "path"
    look = None if own else looked(image)
    with without_collection(), about(image.name):
        tell = Progress(f"reading what {image.name} is made of, names")
        found = scan.scan(tree_of(image), index_of(image), **bounds(image), owned=own, looked=look, progress=tell)
        return Decided(found, stage.stage(image, found.tree, settings().folders))


def examine(image_name: str, *_: tuple) -> None:
    image = site().image(image_name)
    problems: tuple[Problem, ...] = ()
    note_offers(image, None)
    try:
        DECIDED[image_name] = decide(image)
        note_offers(image, DECIDED[image_name].made.tree)
        refuse(image, DECIDED[image_name].made.tree)
    except BadInput as error:
        problems = error.problems
    write_atomic(verdict_of(image), json.dumps([problem._asdict() for problem in problems]).encode())


def problems_of(image: Image) -> list[Problem]:
    try:
        with open(verdict_of(image), "rb") as file:
            return [Problem(**each) for each in json.load(file)]
    except FileNotFoundError:
        return []


def task_accept():
    """refuse what cannot be, of every image and template at once"""
    verdicts = [path(image) for image in site().images for path in (verdict_of, offers_of)]
    return rule(None, accept, site().fingerprint, output=[], inputs=verdicts, given=templates_digest)


def accept(_: str) -> None:
    from .core.configs import check_templates

    problems = [problem for image in site().images for problem in problems_of(image)]
    for check in (partial(check_templates, templates()), rendered, refuse_layouts):
        try:
            check()
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def refuse(image: Image, tree: Tree) -> None:
    """What must not leave and what could not start, all at once."""
    problems: list[Problem] = []
    for check in (refuse_secrets, refuse_unbootable):
        try:
            with about(image.name):
                check(image, tree)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def refuse_unbootable(image: Image, tree: Tree) -> None:
    """A kernel or an initrd that cannot be is known before the root is made; what could be is not tried again."""
    from .core import initrd, kernel, mtree

    parts, known = initrd.parts(tree), settings().path(NOTED, f"{image.name}.startable")
    facts = repr((code(), initrd_recipe(image), initrd_seen(image))).encode() + mtree.dump(parts)
    digest = hashlib.sha256(facts).hexdigest().encode()
    if content(known) != digest:
        chosen = kernel.choose(parts, image.kernel, settings().site)
        initrd.build(image, parts, chosen, settings().folders, lambda note: None, settings().site)
        write_atomic(known, digest)


def refuse_secrets(image: Image, tree: Tree) -> None:
    """The export is public to the network: no key and no usable password may be in it."""
    from .core import gate

    path = settings().path(NOTED, f"{image.name}.secrets")
    known = _read_verdicts(path, gate.made_by())
    finds = gate.gate(tree, image.keep, known, Progress(f"looking for secrets in {image.name}"))
    write_atomic(path, json.dumps([gate.made_by(), known]).encode())
    if finds:
        raise BadInput(Problem(settings().site, 1, 1, str(find)) for find in finds)


def _read_verdicts(path: str, made_by: str) -> dict[str, str]:
    try:
        with open(path) as file:
            by, known = json.load(file)
    except (OSError, ValueError):
        return {}
    return known if by == made_by else {}
