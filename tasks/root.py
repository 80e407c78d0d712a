"""The root that an image's nodes share.

reference − excluded − scrubbed + overlays + hooks ──> build/<image>/root/  root.mtree  root.xattrs  notes.json
"""

from __future__ import annotations

import json
import os
from functools import partial

from .console import Progress, say
from .core.files import write_atomic
from .core.site import Image
from .examine import DECIDED, decide, root_recipe, root_seen, snapshot
from .references import tree_of
from .rule import rule
from .settings import settings, site


def manifest_of(image: Image) -> str:
    return settings().path(image.name, "root.mtree")


def xattrs_of(image: Image) -> str:
    return settings().path(image.name, "root.xattrs")


def notes_of(image: Image) -> str:
    return settings().path(image.name, "notes.json")


def task_root():
    """stage each image's root"""
    for image in site().images:
        made = rule(
            image.name, make_root, image.name, root_recipe(image),
            output=[manifest_of(image), xattrs_of(image), notes_of(image)],
            inputs=snapshot(image),
            given=partial(root_seen, image),
            leaves=[settings().path(image.name)],
        )  # fmt: skip
        yield {**made, "task_dep": ["accept"]}


def make_root(image_name: str, _: tuple) -> None:
    from .core import staged

    image = site().image(image_name)
    found, made = DECIDED.pop(image_name) if image_name in DECIDED else decide(image)
    owned = None if image.reference.kind == "path" else tree_of(image)
    place = staged.place(settings().path(image.name))
    done = staged.stage_into(place, made.tree, owned, Progress(f"staging {image.name}"))
    if done.note:
        say(done.note)
    sockets = [os.fsdecode(path) for path in found.sockets]
    mounts = [os.fsdecode(path) for path in found.mounts]
    notes = {**made.notes, "sockets": sockets, "other_file_systems": mounts, "unprivileged": done.note}
    write_atomic(notes_of(image), (json.dumps(notes, indent=1, sort_keys=True) + "\n").encode())
