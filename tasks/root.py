"""The root that an image's nodes share.

reference − excluded − scrubbed + overlays + hooks ──> build/<image>/root/  root.mtree  root.xattrs  notes.json
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from .console import Progress, say
from .core.errors import BadInput, Problem
from .core.files import write_atomic
from .core.site import Image
from .references import pulled, tree_of
from .rule import rule
from .settings import about, settings, site

if TYPE_CHECKING:
    from .core.tree import Tree

SEPARATE = ("boot", "usr", "var", "opt")  # file systems of their own that belong to a root all the same
NOTED = ".noted"  # folder of what was found in inputs: private, and no output


def manifest_of(image: Image) -> str:
    return settings().path(image.name, "root.mtree")


def xattrs_of(image: Image) -> str:
    return settings().path(image.name, "root.xattrs")


def notes_of(image: Image) -> str:
    return settings().path(image.name, "notes.json")


def index_of(image: Image) -> str:
    """What the last scan of the reference knows of each file."""
    return settings().path(NOTED, f"{image.name}.index")


def task_root():
    """stage each image's root"""
    for image in site().images:
        yield rule(
            image.name, make_root, image.name, recipe(image),
            output=[manifest_of(image), xattrs_of(image), notes_of(image)],
            inputs=[] if image.reference.kind == "path" else [pulled(image)],
            given=partial(seen, image),
            leaves=[settings().path(image.name), settings().path(NOTED)],
        )  # fmt: skip


def recipe(image: Image) -> tuple:
    """What of an image's settings is in its root."""
    mounts = tuple((part.mount, part.fill) for part in image.disk.partitions)
    return image.reference, image.exclude, image.overlays, image.local_files, image.keep, image.also, mounts


def seen(image: Image) -> str:
    """What the folders that go into the root hold, by a walk that reads no file."""
    from .core import overlay, scan

    layers = overlay.fingerprint(settings().folders, (*overlay.BUILT_IN, *image.overlays))
    if image.reference.kind != "path":
        return layers
    walk = scan.signature(tree_of(image), index_of(image), **bounds(image))
    return f"{layers} {walk or time.time_ns()}"  # what changes right now is not known: look again


def bounds(image: Image) -> dict[str, Any]:
    """What of a reference is not even looked at, and which of its file systems are, as scan's arguments."""
    from .core.patterns import BUILT_IN, Later

    patterns = (*BUILT_IN, *image.exclude)
    also = tuple(os.fsencode(path.strip("/")) for path in (SEPARATE if image.also is None else image.also))
    return {"skip": Later(patterns), "also": also, "rules": repr(patterns)}


def make_root(image_name: str, _: tuple) -> None:
    from .core import scan, stage, staged

    image = site().image(image_name)
    own = image.reference.kind != "path"
    found = scan.scan(tree_of(image), index_of(image), **bounds(image), owned=own)
    with about(image_name):
        made = stage.stage(image, found.tree, settings().folders)
    refuse(image, made.tree)
    place = staged.place(settings().path(image.name))
    done = staged.stage_into(place, made.tree, tree_of(image) if own else None, Progress(f"staging {image.name}"))
    if done.note:
        say(done.note)
    sockets = [os.fsdecode(path) for path in found.sockets]
    mounts = [os.fsdecode(path) for path in found.mounts]
    notes = {**made.notes, "sockets": sockets, "other_file_systems": mounts, "unprivileged": done.note}
    write_atomic(notes_of(image), (json.dumps(notes, indent=1, sort_keys=True) + "\n").encode())


def refuse(image: Image, tree: Tree) -> None:
    """What must not leave and what could not start, all at once, while build/ is still as it was."""
    problems: list[Problem] = []
    for check in (refuse_secrets, refuse_unbootable, refuse_unfilled):
        try:
            with about(image.name):
                check(image, tree)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def refuse_unbootable(image: Image, tree: Tree) -> None:
    """A kernel or an initrd that cannot be is known before the root is made, not after."""
    from .core import initrd, kernel

    chosen = kernel.choose(tree, image.kernel, settings().site)
    initrd.build(image, tree, chosen, settings().folders, lambda note: None, settings().site)


def refuse_unfilled(image: Image, tree: Tree) -> None:
    """A partition that is filled from nothing would stop every node at its first boot."""
    fills = [part.fill for part in image.disk.partitions if part.fill]
    words = "disk: fill: no such folder in the root: {}; name one that is there, or leave fill out"
    if missing := [fill for fill in fills if not _is_folder(tree, os.fsencode(fill))]:
        raise BadInput(Problem(settings().site, 1, 1, words.format(fill)) for fill in missing)


def _is_folder(tree: Tree, path: bytes) -> bool:
    from .core.tree import DIR, resolve

    try:
        entry = tree.get(resolve(tree, path))
    except ValueError:  # symlinks in a circle
        return False
    return entry is not None and entry.type == DIR


def refuse_secrets(image: Image, tree: Tree) -> None:
    """The export is public to the network: no key and no usable password may be in it."""
    from .core import gate

    path = settings().path(NOTED, f"{image.name}.secrets")
    known = _read_verdicts(path, gate.made_by())
    finds = gate.gate(tree, image.keep, known)
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
