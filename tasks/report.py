"""All that was built, as one page for reviewers.

Site, release.json, root.mtree, notes.json, initrd.img, configs/ ──┬──> build/report.html
plan.json, checks.json, timings.json, where a command left them ───┘
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from .base.console import say
from .base.paths import (
    config,
    facts_of,
    initrd_of,
    kernel_of,
    manifest_of,
    notes_of,
    page,
    read_release,
    release_of,
    results_path,
    site_img,
    templates,
    timings_of,
)
from .base.results import generated, left
from .base.rule import Reads, Task, Writes, rule
from .base.settings import settings, site
from .configs import templates_digest
from .core.base import git
from .core.base.files import REPOSITORY, digest_file, read, write_atomic
from .core.site.model import Image, Site

if TYPE_CHECKING:
    from .core.report.view import BuiltImage


TIMINGS = {
    **{"node": str, "release": str, "seconds": int | float},
    **dict.fromkeys(("tftp_bytes", "nfs_bytes", "nfs_calls"), int),
}  # of boot/timings.json, as far as it matters here
PARTS = (release_of, manifest_of, notes_of, initrd_of, kernel_of, facts_of)  # of an image


def task_report() -> Task:
    """describe what was built on one page, build/report.html"""
    parts = [part(image) for image in site().images for part in PARTS]
    made = rule(
        None,
        write,
        site(),
        reads=Reads([*parts, site_img(), config("hosts")], seen),
        writes=Writes([page()]),
    )
    # files of these two follow from the inputs above
    return {**made, "task_dep": ["configs", "boot_files"]}


def seen() -> str:
    """Digests of the templates, the commit, and digests of what commands found."""
    found = filter(os.path.exists, [results_path("plan"), results_path("checks"), timings_of()])
    return " ".join([templates_digest(), git.head(beside()), *map(digest_file, found)])


def write(wanted: Site) -> None:
    from .core.report import view

    found = view.Findings(left("plan"), left("checks"), timings())
    images = tuple(map(built, wanted.images))
    revision = git.revision(beside())
    facts = view.ReportFacts(wanted, images, generated(), places(wanted), found, revision)
    write_atomic(page(), view.render_report(view.view(facts), templates()))


def refresh() -> None:
    """Put what a command just found on the page, where all that belongs there is built."""
    if all(os.path.exists(part(image)) for image in site().images for part in PARTS):
        write(site())


def timings() -> Any:
    """What the last boot took, if there was one."""
    from .core.base.build_state import load_kept_json

    return load_kept_json(timings_of(), TIMINGS, say)


def built(image: Image) -> BuiltImage:
    """What is known of one image."""
    from .core.report.view import BuiltImage

    with open(notes_of(image)) as notes, open(facts_of(image)) as facts:
        known = json.load(notes), json.load(facts)
    held = read(manifest_of(image)), read(initrd_of(image))
    return BuiltImage(image, read_release(image), *known, *held, os.path.getsize(kernel_of(image)))


def beside() -> str:
    """The folder of the site's file."""
    return os.path.dirname(os.path.abspath(settings().site))


def places(wanted: Site) -> tuple[str, ...]:
    """Folders of this machine that stages may have named: a report is the same on any other."""
    now = settings()
    named = [now.build, os.path.abspath(now.build), beside(), REPOSITORY]
    for image in wanted.images:
        paths = image.reference.where, image.initrd.base, image.initrd.busybox
        named += filter(os.path.isabs, paths)
    return tuple(named)
