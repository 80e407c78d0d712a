"""What each image will be, decided before anything of any image is made.

reference, overlays/ ── examine:<image> ──> build/.noted/<image>.verdict ── accept ──> root, initrd

One site, one answer: where one image cannot be, the others stay as they were, too, and all complaints come at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .base.console import Progress, say
from .base.disk_layouts import note_grown, note_offers, read_offers, refuse_layouts
from .base.paths import (
    carried_of,
    index_of,
    is_read_in_place,
    offers_of,
    pulled,
    templates,
    tree_of,
    verdict_of,
)
from .base.rule import code, rule
from .base.settings import NOTED, about, settings, site
from .configs import rendered, templates_digest
from .core.base.errors import BadInput, Problem
from .core.base.files import content, digest_file, write_atomic
from .core.site.keys import INITRD, ROOT, recipe
from .core.site.model import Image

if TYPE_CHECKING:
    from .core.rootfs.incremental import Carried
    from .core.rootfs.stage import StagedRoot
    from .core.scan.reader import Scan, Walked
    from .core.secret_scan.find import SecretFound as Secrets
    from .core.tree.model import Tree


class Decided(NamedTuple):
    """What an image will be."""

    found: Scan
    made: StagedRoot
    parts: Tree  # of what is made, all that an initrd can be made of
    listed: bytes  # the manifest of those
    secrets: Secrets
    keep: tuple[str, ...]

    @property
    def notes(self) -> dict[str, Any]:
        """For the report and plan, as plain data."""
        sockets, mounts = (
            list(map(os.fsdecode, paths)) for paths in (self.found.sockets, self.found.mounts)
        )
        kept = dict(self.made.notes["kept"]) | {find.path: find.rule for find in self.secrets.kept}
        idle = [name for name in self.keep if not any(_is_at(path, name) for path in kept)]
        more = {
            "sockets": sockets,
            "other_file_systems": mounts,
            "kept": sorted(kept.items()),
            "keep_idle": idle,
        }
        return {**self.made.notes, **more}


def _is_at(path: str, folder: str) -> bool:
    return f"{path}/".startswith(folder.strip("/") + "/")


DECIDED: dict[
    str, Decided
] = {}  # by this process, for the stage that makes it; another one decides again


def task_examine():
    """decide what each image's root will hold, and whether a node could start from it"""
    for image in site().images:
        task = rule(
            image.name, examine, image.name, root_recipe(image), initrd_recipe(image),
            output=[verdict_of(image), offers_of(image)],
            inputs=snapshot(image),
            given=partial(seen, image),
            leaves=[settings().path(NOTED)],
        )  # fmt: skip
        task["uptodate"].append((is_fine, [image]))
        yield task


def is_fine(image: Image) -> bool:
    """Nothing was found wrong with it; where something was, the remedy may be anywhere, so it is looked at again."""
    return not problems_of(image)


def root_recipe(image: Image) -> tuple:
    """What of an image's settings is in its root."""
    return recipe(ROOT, image)


def initrd_recipe(image: Image) -> tuple:
    """What of an image's settings is in its initrd."""
    return recipe(INITRD, image)


def snapshot(image: Image) -> list[str]:
    """What says which snapshot of its reference an image is made of; a folder read in place has none."""
    return [] if is_read_in_place(image) else [pulled(image)]


def seen(image: Image) -> str:
    """All that goes in."""
    return f"{root_seen(image)} {initrd_seen(image)}"


@lru_cache(maxsize=None)
def root_seen(image: Image) -> str:
    """What the folders that go into the root hold, by a walk that reads no file."""
    if not is_read_in_place(image):
        return layers_seen(image)
    return f"{layers_seen(image)} {looked(image).signature or time.time_ns()}"  # what changes right now: look again


@lru_cache(maxsize=None)
def layers_seen(image: Image) -> str:
    from .core.base.overlays import BUILT_IN_OVERLAYS
    from .core.rootfs import overlay

    return overlay.fingerprint(settings().folders, (*BUILT_IN_OVERLAYS, *image.overlays))


@lru_cache(maxsize=None)
def looked(image: Image) -> Walked:
    """The one walk of a reference in a run; what it found to be new is all that is read then."""
    from .core.reference.exclude import bounds
    from .core.scan import reader

    return reader.look(tree_of(image), index_of(image), bounds(image))


@lru_cache(maxsize=None)
def initrd_seen(image: Image) -> str:
    """What goes into an initrd and is in no root: its own scripts, files named by path, this machine's busybox."""
    from .core.initrd import busybox
    from .core.rootfs import overlay

    here = (
        [os.stat(path) for path in busybox.HERE if os.path.isfile(path)]
        if image.initrd.busybox == "auto"
        else []
    )
    paths = [
        path
        for path in (image.initrd.base, image.initrd.busybox)
        if os.path.isabs(path) and os.path.exists(path)
    ]
    own = f"{[(found.st_size, found.st_mtime_ns) for found in here]}"
    return " ".join(
        [
            overlay.fingerprint(settings().folders, ["initrd", "worker"]),
            own,
            *map(digest_file, paths),
        ]
    )


def laid(image: Image) -> Decided:
    """The reference, read, and everything laid over it, in memory. Raises BadInput."""
    from .core.initrd import content
    from .core.reference.exclude import bounds
    from .core.rootfs import stage
    from .core.scan import reader
    from .core.secret_scan.find import find_secrets, scanner
    from .core.tree import mtree
    from .core.tree.model import without_collection

    own = not is_read_in_place(image)
    look = None if own else looked(image)
    with without_collection(), about(image.name):
        tell = Progress(f"reading what {image.name} is made of, names")
        found = reader.scan(
            tree_of(image), index_of(image), bounds(image)._replace(owned=own, judge=scanner()),
            looked=look, progress=tell,
        )  # fmt: skip
        made = stage.stage(image, found.tree, settings().folders)
        secrets = find_secrets(made.tree, image.keep, found.verdicts, made.layers)
        parts = content.parts(made.tree)
        return Decided(found, made, parts, mtree.dump(parts), secrets, image.keep)


def renew(image: Image) -> bool:
    """Carry on what is new, where that is but bytes of files that no step looks into and the rest is as was decided."""
    from .core.reference.exclude import bounds
    from .core.rootfs import incremental
    from .core.scan import reader
    from .core.secret_scan.find import scanner

    known = incremental.load_carried(carried_of(image)) if is_read_in_place(image) else None
    if not known or not read_offers(image):
        return False
    found = reader.rescan(
        looked(image), tree_of(image), index_of(image), bounds(image)._replace(judge=scanner())
    )
    new = incremental.renewed(known, facts(image), found) if found else None
    if not found or not new:
        return False
    note_grown(image, new.grown)
    incremental.save_carried(carried_of(image), known._replace(signature=found.signature, last=new))
    return True


def carried(image: Image) -> Carried | None:
    """What the last examination, in whichever process or run, carried on; None where it was of something else."""
    from .core.rootfs import incremental

    known = incremental.load_carried(carried_of(image))
    return (
        known
        if known and (known.facts, known.signature) == (facts(image), looked(image).signature)
        else None
    )


def decide(image: Image) -> Decided:
    """What an image will be, if it can be: secrets must not leave, and what could not start must not be deployed."""
    from .core.rootfs import incremental
    from .core.tree.model import noting

    incremental.forget_carried(carried_of(image))
    note_offers(image, None)
    with noting() as sources:
        decided = laid(image)
        found, made, parts, listed, *_ = decided
        note_offers(image, made.tree)
        refuse(image, decided)
    if is_read_in_place(image) and found.signature:
        special = incremental.special_paths(found.tree, made.tree, sources, parts.keys())
        digest = hashlib.sha256(listed).hexdigest()
        known = incremental.Carried(facts(image), found.signature, special, decided.notes, digest)
        incremental.save_carried(carried_of(image), known)
    return decided


def made_of(image: Image, decided: Decided) -> str:
    """Names all that an image's root is made of; "" where that changes right now."""
    from .core.rootfs.incremental import made_of

    return made_of(facts(image), decided.found.signature) if decided.found.signature else ""


@lru_cache(maxsize=None)
def facts(image: Image) -> str:
    """All that decides about an image, but for what its reference holds."""
    said = (
        code(),
        root_recipe(image),
        initrd_recipe(image),
        layers_seen(image),
        initrd_seen(image),
        settings().folders,
    )
    return hashlib.sha256(repr(said).encode(errors="surrogateescape")).hexdigest()


def examine(image_name: str, *_: tuple) -> None:
    image = site().image(image_name)
    problems: tuple[Problem, ...] = ()
    try:
        if not renew(image):
            DECIDED[image_name] = decide(image)
    except BadInput as error:
        problems = error.problems
    write_atomic(
        verdict_of(image), json.dumps([problem._asdict() for problem in problems]).encode()
    )


def problems_of(image: Image) -> list[Problem]:
    from .core.base.build_state import load_kept_json

    known = load_kept_json(
        verdict_of(image), [{"file": str, "line": int, "column": int, "message": str}], say
    )
    return [Problem(**each) for each in known or ()]


def task_accept():
    """refuse what cannot be, of every image and template at once"""
    verdicts = [path(image) for image in site().images for path in (verdict_of, offers_of)]
    return rule(
        None, accept, site().fingerprint, output=[], inputs=verdicts, given=templates_digest
    )


def accept(_: str) -> None:
    from .core.config.templates import check_templates

    known, drawn = (
        settings().path(NOTED, "drawn"),
        f"{code()} {site().fingerprint} {templates_digest()}".encode(),
    )
    checks: list[Callable[[], object]] = [refuse_layouts]
    if content(known) != drawn:
        checks = [partial(check_templates, templates()), rendered, *checks]
    problems = [problem for image in site().images for problem in problems_of(image)]
    for check in checks:
        try:
            check()
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    write_atomic(known, drawn)  # what could be drawn of a site by its templates is not tried again


def refuse(image: Image, decided: Decided) -> None:
    """What must not leave and what could not start, all at once."""
    problems = list[Problem]()
    for check in (refuse_secrets, refuse_unbootable):
        try:
            with about(image.name):
                check(image, decided)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def refuse_unbootable(image: Image, decided: Decided) -> None:
    """A kernel or an initrd that cannot be is known before the root is made; what could be is not tried again."""
    from .core.initrd import build, kernel

    parts, known = decided.parts, settings().path(NOTED, f"{image.name}.startable")
    facts = repr((code(), initrd_recipe(image), initrd_seen(image))).encode() + decided.listed
    digest = hashlib.sha256(facts).hexdigest().encode()
    if content(known) != digest:
        chosen = kernel.choose(parts, image.kernel, settings().site)
        recipe = build.recipe_of(image, parts, chosen, settings().folders, settings().site)
        build.build_initrd(recipe, lambda note: None)
        write_atomic(known, digest)


def refuse_secrets(image: Image, decided: Decided) -> None:
    """The export is public to the network: no key and no usable password may be in it, nor in an initrd of its own."""
    from .core.secret_scan.find import in_base

    finds = [*decided.secrets.refused, *in_base(image.initrd.base)]
    if finds:
        raise BadInput(Problem(settings().site, 1, 1, str(find)) for find in finds)
