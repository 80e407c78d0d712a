"""What a merge request changes, without a look at any server: the site as it is, and as it was.

--against=REV ── git ──> build/.against/checkout/ ── doit ──> build/.against/build/ ──┐
--against=DIR ── a checkout ──────────────────────── doit ──> build/.against/build/ ──┼──> plan
build/ ───────────────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..core.base.errors import BadInput, Problem, Refused
from ..core.base.files import REPOSITORY
from ..core.site.model import Site
from .console import say
from .desired import build_of, targets_below
from .options import BUILT
from .paths import BuildPaths, is_read_in_place, templates_in
from .settings import Run

if TYPE_CHECKING:
    from ..core.desired.build import Build
    from ..core.plan.state import Actual, Desired
    from ..core.release import Release
    from ..core.store.paths import Targets


class Other(NamedTuple):
    """A site to build, and the folder of the Plugnode that builds it."""

    site: str
    plugnode: str


def place(paths: BuildPaths, *parts: str) -> str:
    return os.path.abspath(paths.path(".against", *parts))


def compared(run: Run, with_: str, roots: tuple[str, ...]) -> tuple[Actual, Desired]:
    """A server as the other build would leave it, and what this build wants of it.

    Raises BadInput, Refused.
    """
    here = build_of(run.site, run.paths)
    if not os.path.isdir(with_):
        return with_build(run, here, revision(run, with_), roots)
    served = targets_below(run.site, os.path.abspath(with_))
    if os.path.isdir(served.kept("")):
        return with_deployed(here, served, roots)
    return with_build(run, here, checkout(run, with_), roots)


def with_deployed(here: Build, served: Targets, roots: tuple[str, ...]) -> tuple[Actual, Desired]:
    """The same of a folder that something was deployed to."""
    from ..core.desired import other_build
    from ..core.plan.actual import read_actual
    from ..core.store import kept

    known = {**kept.published(served), **releases(here)}
    goal = other_build.desired_of_build(here, known.values(), roots)
    return read_actual(served, goal), goal


def with_build(
    run: Run, here: Build, other: Other | None, roots: tuple[str, ...]
) -> tuple[Actual, Desired]:
    """The same of another site, which is built for that."""
    from ..core.desired import other_build

    before = build(run, other) if other else None
    known = releases(before)
    held = other_build.NOTHING_BUILT
    if before:
        held = other_build.desired_of_build(before, known.values(), roots)
    every = {**known, **releases(here)}
    goal = other_build.desired_of_build(here, every.values(), roots)
    server = targets_below(run.site, place(run.paths, "server"))
    return other_build.shadow(server, held, goal.loaders), goal


def releases(build: Build | None) -> dict[str, Release]:
    """The releases of a build by their ids; none of a site that has not been yet."""
    if build is None:
        return {}
    return {id: built.release for id, built in build.releases.items()}


# --- the other site


def checkout(run: Run, folder: str) -> Other:
    """Another checkout of the site. Raises BadInput for a folder that is none."""
    name = os.path.basename(run.settings.site)
    path = os.path.join(os.path.abspath(folder), name)
    if not os.path.isfile(path):
        deployed = f"anything deployed to {run.site.deploy.nfs_root}"
        raise BadInput.at(folder, f"--against: neither {name} nor {deployed} is in it")
    return Other(path, plugnode(os.path.dirname(path)))


def revision(run: Run, name: str) -> Other | None:
    """The site at a revision of its repository; None if it has none yet. Raises BadInput."""
    from ..core.desired import revision as revisions

    path = os.path.realpath(run.settings.site)
    top = revisions.top(os.path.dirname(path))
    commit = revisions.commit_of(top, name)
    say(f"compared with {name}, {commit[:12]}")
    checked_out = place(run.paths, "checkout")
    revisions.export(top, commit, checked_out)
    lend(run.site, top, checked_out)
    inside = os.path.relpath(path, top)
    site_file = os.path.join(checked_out, inside)
    if not os.path.isfile(site_file):
        say(f"{inside} is not in {name}: everything is new")
        return None
    own = os.path.relpath(os.path.realpath(REPOSITORY), top)
    return Other(site_file, plugnode(os.path.join(checked_out, own)))


def plugnode(folder: str) -> str:
    """The Plugnode in a folder, with its own code and overlays; this one where there is none."""
    has_one = os.path.isfile(os.path.join(folder, "dodo.py"))
    return folder if has_one else REPOSITORY


def lend(site: Site, top: str, checked_out: str) -> None:
    """Lend the other what the site names beside itself and git has not, such as an archive."""
    for path in filter(os.path.exists, named_paths(site)):
        if not path.startswith(top + os.sep):
            continue
        link = os.path.join(checked_out, os.path.relpath(path, top))
        if not os.path.lexists(link):
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(path, link)


def named_paths(site: Site) -> Iterator[str]:
    """Paths, and words in their place, that the site names."""
    for image in site.images:
        yield image.reference.where
        yield image.initrd.base
        yield image.initrd.busybox
        yield from dict(image.loaders).values()


# --- the other build


def build(run: Run, other: Other) -> Build:
    """Let its own Plugnode build it, with our snapshots of references. Raises BadInput, Refused."""
    from ..core.desired.build import Build
    from ..core.site.cache import load_cached

    folder = place(run.paths, "build")
    share(run.site, run.paths, folder)
    make(other, folder)
    beside = os.path.dirname(other.site)
    folders = tuple(dict.fromkeys((beside, other.plugnode)))
    found = load_cached(other.site, place(run.paths, "site-cache"), folders)
    return Build(found, folder, templates_in(folders))


def share(site: Site, paths: BuildPaths, folder: str) -> None:
    """Take references once for both, and start the other's first look from what is known."""
    os.makedirs(folder, exist_ok=True)
    ours, its = paths.path("references"), os.path.join(folder, "references")
    os.makedirs(ours, exist_ok=True)
    if not os.path.lexists(its):
        os.symlink(os.path.relpath(ours, folder), its)
    for image in filter(is_read_in_place, site.images):
        known = paths.state(image)
        share_state(known, os.path.join(folder, os.path.relpath(known, paths.build)))


def share_state(known: str, its: str) -> None:
    """Lend the other what is known of a reference's files, unless it knows something."""
    if os.path.exists(known) and not os.path.exists(its):
        os.makedirs(os.path.dirname(its), exist_ok=True)
        shutil.copy2(known, its)


def make(other: Other, folder: str) -> None:
    """Build by doit, in a process of its own: its code is another. Its folder stays as it is."""
    from ..core.base.process import Program

    doit = [sys.executable, "-B", "-m", "doit", *BUILT]
    variables = [f"site={other.site}", f"build={folder}"]
    program = Program(["env", "-C", other.plugnode, *doit, *variables])
    said = []
    for line in program.lines():
        said.append(line)
        if line.startswith((".  ", "   ")):
            say(line.strip(". "))
    if program.status == 3:
        raise BadInput(filter(None, map(problem, said)))
    if program.status:
        last = [*filter(str.strip, said), "no word"][-1]
        raise Refused(f"what is compared with cannot be built: {last}")


def problem(line: str) -> Problem | None:
    """The problem that a line tells, if it does."""
    found = re.fullmatch(r"(\S.*?):(\d+):(\d+): (.*)", line)
    if not found:
        return None
    file, row, column, message = found.groups()
    return Problem(file, int(row), int(column), message)
