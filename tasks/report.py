"""All that was built, as one page for reviewers.

Site, release.json, root.mtree, notes.json, initrd.img, build/configs/ ── templates/report.html ──> build/report.html
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from .configs import config, site_img, templates, templates_digest
from .core.files import write_atomic
from .core.site import Image
from .initrd import facts_of, initrd_of, kernel_of
from .release import read_release, release_of
from .root import manifest_of, notes_of
from .rule import Task, rule
from .settings import REPOSITORY, settings, site

if TYPE_CHECKING:
    from .core.report import Built

PARTS = (release_of, manifest_of, notes_of, initrd_of, kernel_of, facts_of)  # of an image


def page() -> str:
    return settings().path("report.html")


def task_report() -> Task:
    """describe what was built on one page, build/report.html"""
    parts = [part(image) for image in site().images for part in PARTS]
    made = rule(
        None, write, site().fingerprint, output=page(), inputs=[*parts, site_img(), config("hosts")],
        given=templates_digest,
    )  # fmt: skip
    return {**made, "task_dep": ["configs", "boot_files"]}  # their files follow from the inputs above


def write(_: str) -> None:
    from .core import report

    facts = report.Facts(site(), tuple(map(built, site().images)), generated(), places())
    write_atomic(page(), report.render(report.view(facts), templates()))


def built(image: Image) -> Built:
    """What is known of one image."""
    from .core.report import Built

    with open(notes_of(image)) as notes, open(facts_of(image)) as facts:
        known = json.load(notes), json.load(facts)
    with open(manifest_of(image), "rb") as manifest, open(initrd_of(image), "rb") as initrd:
        held = manifest.read(), initrd.read()
    return Built(image, read_release(image), *known, *held, os.path.getsize(kernel_of(image)))


def generated() -> dict[str, bytes]:
    """Every file below build/configs: its path there -> bytes. The stages that write them leave no other there."""
    where = config("").rstrip("/")
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(where) for name in names]
    files = {}
    for path in sorted(paths):
        with open(path, "rb") as file:
            files[os.path.relpath(path, where)] = file.read()
    return files


def places() -> tuple[str, ...]:
    """Folders of this machine that stages may have named in their notes; a report is the same on any other."""
    now = settings()
    named = (now.build, os.path.abspath(now.build), os.path.dirname(os.path.abspath(now.site)), REPOSITORY)
    images = [(image.reference.where, image.initrd.base, image.initrd.busybox) for image in site().images]
    return (*named, *(path for paths in images for path in paths if os.path.isabs(path)))
