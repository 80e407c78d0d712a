"""The root that an image's nodes share.

reference − excluded − scrubbed + overlays + hooks ──┬─> build/<image>/root/  root.mtree
                                                     └─> root.xattrs  notes.json
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from .base.complaints import about
from .base.console import Progress, say
from .base.paths import BuildPaths
from .base.rule import Aside, Reads, Writes, rule
from .base.settings import build_paths, site
from .configs import rendered
from .core.base.files import write_atomic
from .core.image.source import ImageSource
from .core.site.model import Image, Site

if TYPE_CHECKING:
    from .core.checkout.staged import StagedPaths

Notes = dict[str, Any]  # for the report and plan
DEVICES = "`exclude` it, or correct its mode where it comes from"
IDLE = (
    "{}: keep: {} lets nothing out: it is not there, or nothing of it would be taken or refused;"
    " correct or remove it"
)


def task_root():
    """stage each image's root"""
    paths = build_paths()
    for image in site().images:
        source = paths.root_source(image)
        outputs = [paths.manifest(image), paths.xattrs(image), paths.notes(image)]
        made = rule(
            image.name,
            make_root,
            source,
            paths,
            Aside(site()),
            reads=Reads(paths.marks(image), partial(seen, source)),
            writes=Writes(outputs, leaves=[paths.folder(image)]),
        )
        there = os.path.isdir(paths.root(image))
        yield {**made, "uptodate": [there, *made["uptodate"]], "task_dep": ["accept"]}


def seen(source: ImageSource) -> str:
    from .core.image.seen import root_seen

    return root_seen(source)


def make_root(source: ImageSource, paths: BuildPaths, wanted: Aside) -> None:
    from .core.image.decide import renew

    image = source.image
    notes = renew(source, paths.staged(image)) or stage_root(source, paths.staged(image))
    say_of(image, notes, wanted.value, paths.folders)
    text = json.dumps(notes, indent=1, sort_keys=True)
    write_atomic(paths.notes(image), f"{text}\n".encode())


def stage_root(source: ImageSource, place: StagedPaths) -> Notes:
    """Stage the root that was decided, and give what is to be noted of it."""
    from .core.checkout import staged
    from .core.image.decide import decide

    image = source.image
    with about(image.name, source.site):
        decided = decide(source, Progress(f"reading what {image.name} is made of, names"))
    tell = Progress(f"staging {image.name}")
    done = staged.checkout(place, decided.tree, decided.owned, tell, decided.basis)
    return {**decided.notes(image.keep), "unprivileged": done.note}


def say_of(image: Image, notes: Notes, wanted: Site, folders: tuple[str, ...]) -> None:
    """Tell what of a root an admin may not expect."""
    if notes["unprivileged"]:
        say(notes["unprivileged"])
    lost = *lost_hosts(image, notes, wanted, folders), *lost_labels(image, notes, wanted)
    for line in (*lost, *lost_capabilities(wanted.image(image.name), notes)):
        say(line)
    for path in notes["open_devices"]:
        say(f"{image.name}: /{path} is a device that every user of a node may open; {DEVICES}")
    for name in notes["keep_idle"]:
        say(IDLE.format(image.name, name))


def lost_hosts(image: Image, notes: Notes, wanted: Site, folders: tuple[str, ...]) -> list[str]:
    """A line where the reference knows machines by names that the nodes will not."""
    from .core.rootfs import hosts

    others = notes.get("hosts", [])
    names = hosts.lost(others, rendered(wanted, folders)["hosts"]) if others else []
    return [f"{image.name}: {hosts.told(names)}"] if names else []


def lost_labels(image: Image, notes: Notes, wanted: Site) -> list[str]:
    """A line where the nodes would ask for SELinux's labels, which they will not have."""
    from .core.rootfs import selinux

    if not notes.get("selinux") or selinux.is_off(wanted.image(image.name).cmdline):
        return []
    return [f"{image.name}: {selinux.WARNING}"]


def lost_capabilities(image: Image, notes: Notes) -> list[str]:
    """A line where programs lack on nodes what the reference lets them do."""
    from .core.rootfs import stage

    return [f"{image.name}: {line}" for line in stage.lost_capabilities(image, notes)]


def said_of_capabilities(image: Image, paths: BuildPaths) -> list[str]:
    """For plan: what programs lack on nodes."""
    return lost_capabilities(image, staged_notes(image, paths))


def staged_notes(image: Image, paths: BuildPaths) -> Notes:
    with open(paths.notes(image), "rb") as file:
        notes: Notes = json.load(file)
    return notes


def said_of_keep(image: Image, paths: BuildPaths) -> list[str]:
    """For plan: what `keep` lets out, and what of it lets out nothing."""
    notes = staged_notes(image, paths)
    let_out = [f"{image.name}: keep lets out /{path}: {reason}" for path, reason in notes["kept"]]
    return let_out + [IDLE.format(image.name, name) for name in notes["keep_idle"]]
