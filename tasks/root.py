"""The root that an image's nodes share.

reference − excluded − scrubbed + overlays + hooks ──┬─> build/<image>/root/  root.mtree  root.xattrs  notes.json
                                                     └─> build/.noted/<image>.parts ──> initrd
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from .base.console import Progress, say
from .base.paths import is_read_in_place, manifest_of, notes_of, parts_of, place_of, xattrs_of
from .base.rule import rule
from .base.settings import settings, site
from .configs import rendered
from .core.base.files import content, write_atomic
from .core.site.model import Image
from .examine import DECIDED, Decided, carried, decide, made_of, root_recipe, root_seen, snapshot

if TYPE_CHECKING:
    from .core.checkout.staged import CheckedOut


Notes = dict[str, Any]  # for the report and plan
IDLE = "{}: keep: {} lets nothing out: it is not there, or nothing of it would be taken or refused; correct or remove it"


def task_root():
    """stage each image's root"""
    for image in site().images:
        made = rule(
            image.name, make_root, image.name, root_recipe(image),
            output=[manifest_of(image), xattrs_of(image), notes_of(image), parts_of(image)],
            inputs=snapshot(image),
            given=partial(root_seen, image),
            leaves=[settings().path(image.name)],
        )  # fmt: skip
        there = os.path.isdir(settings().path(image.name, "root"))
        yield {**made, "uptodate": [there, *made["uptodate"]], "task_dep": ["accept"]}


def make_root(image_name: str, _: tuple) -> None:
    image = site().image(image_name)
    decided = DECIDED.pop(image_name, None)
    done, notes = (None if decided else renew(image)) or stage(image, decided)
    if done.note:
        say(done.note)
    for line in lost_hosts(image, notes):
        say(line)
    for name in notes["keep_idle"]:
        say(IDLE.format(image_name, name))
    notes = {**notes, "unprivileged": done.note}
    write_atomic(notes_of(image), (json.dumps(notes, indent=1, sort_keys=True) + "\n").encode())


def lost_hosts(image: Image, notes: Notes) -> list[str]:
    """A line where the reference knows machines by names that the nodes will not."""
    from .core.rootfs import hosts

    names = hosts.lost(notes.get("hosts", []), rendered()["hosts"])
    return [f"{image.name}: {hosts.told(names)}"] if names else []


def renew(image: Image) -> tuple[CheckedOut, Notes] | None:
    """The root with what is new in it; None where more is, or it is not what it was left as."""
    from .core.checkout import staged

    known = carried(image)
    if (
        not known
        or not known.last
        or hashlib.sha256(content(parts_of(image)) or b"").hexdigest() != known.parts
    ):
        return None
    new = known.last
    update = staged.Update(new.files, new.folders, new.since, new.of)
    done = staged.update_bytes(place_of(image), update, telling(image))
    return (done, known.notes) if done else None


def stage(image: Image, decided: Decided | None) -> tuple[CheckedOut, Notes]:
    from .core.checkout import staged

    decided = decided or decide(image)  # looked through as the first time
    owned = None if is_read_in_place(image) else decided.found.tree
    of = made_of(image, decided)
    done = staged.checkout(place_of(image), decided.made.tree, owned, telling(image), of)
    write_atomic(parts_of(image), decided.listed)
    return done, decided.notes


def said_of_keep(image: Image) -> list[str]:
    """For plan: what `keep` lets out, and what of it lets out nothing."""
    with open(notes_of(image), "rb") as file:
        notes = json.load(file)
    let_out = [f"{image.name}: keep lets out /{path}: {reason}" for path, reason in notes["kept"]]
    return let_out + [IDLE.format(image.name, name) for name in notes["keep_idle"]]


def telling(image: Image) -> Progress:
    return Progress(f"staging {image.name}")
