"""All that was built, as one page for reviewers.

Site, release.json, root.mtree, notes.json, initrd.img, configs/ ──┬──> build/report.html
plan.json, checks.json, timings.json, where a command left them ───┘
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from .base.console import say
from .base.desired import build_of
from .base.paths import BuildPaths, read_release
from .base.results import leave, left
from .base.rule import Reads, Task, Writes, rule
from .base.settings import build_paths, site
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


def task_report() -> Task:
    """describe what was built on one page, build/report.html"""
    paths, wanted = build_paths(), site()
    files = [*parts(wanted, paths), paths.site_img, paths.config("hosts")]
    made = rule(
        None,
        write,
        wanted,
        paths,
        reads=Reads(files, partial(seen, paths)),
        writes=Writes([paths.report]),
    )
    # files of these two follow from the inputs above
    return {**made, "task_dep": ["configs", "boot_files"]}


def parts(wanted: Site, paths: BuildPaths) -> list[str]:
    """What of each image is on the page."""
    files: list[str] = []
    for image in wanted.images:
        files += [paths.release(image), paths.manifest(image), paths.notes(image)]
        files += [paths.initrd(image), paths.kernel(image), paths.initrd_facts(image)]
    return files


def seen(paths: BuildPaths) -> str:
    """Digests of the templates, the commit, and digests of what commands found."""
    left_by_commands = [paths.results("plan"), paths.results("checks"), paths.timings]
    left_by_commands.append(paths.results("status"))
    found = filter(os.path.exists, left_by_commands)
    commit = git.head(beside(paths))
    return " ".join([templates_digest(paths.folders), commit, *map(digest_file, found)])


def write(wanted: Site, paths: BuildPaths) -> None:
    from .core.report import view

    plan, checks = left("plan", wanted, paths), left("checks", wanted, paths)
    cluster = left("status", wanted, paths)
    found = view.Findings(plan, checks, timings(paths), cluster)
    images = tuple(built(image, paths) for image in wanted.images)
    configs = build_of(wanted, paths).configs
    revision = git.revision(beside(paths))
    facts = view.ReportFacts(wanted, images, configs, places(wanted, paths), found, revision)
    write_atomic(paths.report, view.render_report(view.view(facts), paths.templates))


def put_on_page(name: str, found: Any, wanted: Site, paths: BuildPaths) -> None:
    """Leave what a command found, where it is of something that was built, and put it there."""
    if all(map(os.path.exists, parts(wanted, paths))):
        leave(name, found, wanted, paths)
        write(wanted, paths)


def refresh(wanted: Site, paths: BuildPaths) -> None:
    """Put what a command just found on the page, where all that belongs there is built."""
    if all(map(os.path.exists, parts(wanted, paths))):
        write(wanted, paths)


def timings(paths: BuildPaths) -> Any:
    """What the last boot took, if there was one."""
    from .core.base.build_state import load_kept_json

    return load_kept_json(paths.timings, TIMINGS, say)


def built(image: Image, paths: BuildPaths) -> BuiltImage:
    """What is known of one image."""
    from .core.report.view import BuiltImage

    with open(paths.notes(image)) as notes, open(paths.initrd_facts(image)) as facts:
        known = json.load(notes), json.load(facts)
    held = read(paths.manifest(image)), read(paths.initrd(image))
    release = read_release(paths.release(image))
    return BuiltImage(image, release, *known, *held, os.path.getsize(paths.kernel(image)))


def beside(paths: BuildPaths) -> str:
    """The folder of the site's file."""
    return os.path.dirname(os.path.abspath(paths.site_file))


def places(wanted: Site, paths: BuildPaths) -> tuple[str, ...]:
    """Folders of this machine that stages may have named: a report is the same on any other."""
    named = [paths.build, os.path.abspath(paths.build), beside(paths), REPOSITORY]
    for image in wanted.images:
        said = image.reference.where, image.initrd.base, image.initrd.busybox
        named += filter(os.path.isabs, said)
    return tuple(named)
