"""All that was built, as one page for reviewers.

Site, release.json, root.mtree, notes.json, initrd.img, build/configs/ ──┬─ templates/report.html ──> build/report.html
plan.json, checks.json, boot/timings.json, where a command left them ──────┘
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
from .base.rule import Task, rule
from .base.settings import REPOSITORY, settings, site
from .configs import templates_digest
from .core.base.files import digest_file, write_atomic
from .core.site.model import Image

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
        None, write, site().fingerprint, output=page(), inputs=[*parts, site_img(), config("hosts")],
        given=seen,
    )  # fmt: skip
    return {
        **made,
        "task_dep": ["configs", "boot_files"],
    }  # their files follow from the inputs above


def seen() -> str:
    """Digests of the templates, and of what commands found."""
    found = [results_path("plan"), results_path("checks"), timings_of()]
    return " ".join(
        [templates_digest(), *(digest_file(path) for path in found if os.path.exists(path))]
    )


def write(_: str = "") -> None:
    from .core.report import view

    found = view.Findings(left("plan"), left("checks"), timings())
    facts = view.ReportFacts(site(), tuple(map(built, site().images)), generated(), places(), found)
    write_atomic(page(), view.render_report(view.view(facts), templates()))


def refresh() -> None:
    """Put what a command just found on the page, where all that belongs there is built."""
    if all(os.path.exists(part(image)) for image in site().images for part in PARTS):
        write()


def timings() -> Any:
    """What the last boot took, if there was one."""
    from .core.base.build_state import load_kept_json

    return load_kept_json(timings_of(), TIMINGS, say)


def built(image: Image) -> BuiltImage:
    """What is known of one image."""
    from .core.report.view import BuiltImage

    with open(notes_of(image)) as notes, open(facts_of(image)) as facts:
        known = json.load(notes), json.load(facts)
    with open(manifest_of(image), "rb") as manifest, open(initrd_of(image), "rb") as initrd:
        held = manifest.read(), initrd.read()
    return BuiltImage(image, read_release(image), *known, *held, os.path.getsize(kernel_of(image)))


def places() -> tuple[str, ...]:
    """Folders of this machine that stages may have named in their notes; a report is the same on any other."""
    now = settings()
    named = (
        now.build,
        os.path.abspath(now.build),
        os.path.dirname(os.path.abspath(now.site)),
        REPOSITORY,
    )
    images = [
        (image.reference.where, image.initrd.base, image.initrd.busybox) for image in site().images
    ]
    return (*named, *(path for paths in images for path in paths if os.path.isabs(path)))
