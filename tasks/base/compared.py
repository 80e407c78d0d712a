"""What a merge request changes, without a look at any server: the site as it is built, and as it was.

--against=REV ── git ──> build/.against/checkout/ ── doit ──> build/.against/build/ ──┐
--against=DIR ── a checkout ───────────────────────── doit ──> build/.against/build/ ──┼──> plan
build/ ───────────────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

from ..core.base.errors import BadInput, Problem, Refused
from .console import say
from .paths import index_of, templates
from .settings import REPOSITORY, settings, site

if TYPE_CHECKING:
    from ..core.desired.other_build import Build
    from ..core.plan.actual import read_actual
    from ..core.plan.state import Actual, Desired
    from ..core.release import Release
    from ..core.store.paths import Targets


MAKES = ("release", "boot_files", "configs", "site_image")  # what another build must make


class Other(NamedTuple):
    """A site to build, and the folder of the Plugnode that builds it."""

    site: str
    plugnode: str


def place(*parts: str) -> str:
    return os.path.abspath(settings().path(".against", *parts))


def compared(with_: str, roots: tuple[str, ...]) -> tuple[Actual, Desired]:
    """A server as the other build would leave it, and what this build wants of it. Raises BadInput, Refused."""
    from ..core.desired import other_build
    from ..core.store import kept

    here = other_build.Build(site(), settings().build, templates())
    if os.path.isdir(with_):
        served = at(os.path.abspath(with_))
        if os.path.isdir(served.kept("")):
            goal = other_build.desired_of_build(
                here, {**kept.published(served), **releases(here)}.values(), roots
            )
            return read_actual(served, goal), goal
        other: Other | None = checkout(with_)
    else:
        other = revision(with_)
    before = build(other) if other else None
    held = (
        other_build.desired_of_build(before, releases(before).values(), roots)
        if before
        else other_build.NOTHING_BUILT
    )
    goal = other_build.desired_of_build(
        here, {**releases(before), **releases(here)}.values(), roots
    )
    return other_build.shadow(at(place("server")), held, goal.loaders), goal


def at(destdir: str) -> Targets:
    from ..core.store.paths import Targets

    return Targets(site().deploy.tftp_root, site().deploy.nfs_root, destdir)


def releases(build: Build | None) -> dict[str, Release]:
    return {id: built.release for id, built in build.releases.items()} if build else {}


# --- the other site


def checkout(folder: str) -> Other:
    """Another checkout of the site. Raises BadInput for a folder that is none, and nothing was deployed to."""
    path = os.path.join(os.path.abspath(folder), os.path.basename(settings().site))
    if not os.path.isfile(path):
        where = site().deploy.nfs_root
        raise BadInput.at(
            folder,
            f"--against: neither {os.path.basename(path)} nor anything deployed to {where} is in it",
        )
    return Other(path, plugnode(os.path.dirname(path)))


def revision(name: str) -> Other | None:
    """The site at a revision of its repository; None where that has no site yet. Raises BadInput."""
    from ..core.desired import revision as desired_revision
    from ..core.desired.revision import commit_of, export

    path = os.path.realpath(settings().site)
    top = desired_revision.top(os.path.dirname(path))
    commit = commit_of(top, name)
    say(f"compared with {name}, {commit[:12]}")
    export(top, commit, place("checkout"))
    lend(top)
    there = os.path.join(place("checkout"), os.path.relpath(path, top))
    if not os.path.isfile(there):
        say(f"{os.path.relpath(path, top)} is not in {name}: everything is new")
        return None
    inside = os.path.relpath(os.path.realpath(REPOSITORY), top)
    return Other(there, plugnode(os.path.normpath(os.path.join(place("checkout"), inside))))


def plugnode(folder: str) -> str:
    """The Plugnode in a folder, with its own code and overlays; this one where there is none."""
    return folder if os.path.isfile(os.path.join(folder, "dodo.py")) else REPOSITORY


def lend(top: str) -> None:
    """What the site names beside itself and git does not have, such as an archive, is the same for both."""
    named = [
        path
        for image in site().images
        for path in (image.reference.where, image.initrd.base, image.initrd.busybox)
    ]
    named += [path for image in site().images for _, path in image.loaders]
    for path in filter(os.path.exists, named):
        there = os.path.join(place("checkout"), os.path.relpath(path, top))
        if os.path.isabs(path) and path.startswith(top + os.sep) and not os.path.lexists(there):
            os.makedirs(os.path.dirname(there), exist_ok=True)
            os.symlink(path, there)


# --- the other build


def build(other: Other) -> Build:
    """Let its own Plugnode build it, with the snapshots of references that we have. Raises BadInput, Refused."""
    from ..core.desired import other_build
    from ..core.site.cache import load_cached

    share()
    run(other)
    folders = tuple(dict.fromkeys((os.path.dirname(other.site), other.plugnode)))
    own = tuple(
        path for folder in folders if os.path.isdir(path := os.path.join(folder, "templates"))
    )
    return other_build.Build(
        load_cached(other.site, place("site-cache"), folders), place("build"), own
    )


def share() -> None:
    """References are taken once for both; what is known of their files is a start for the other's first look."""
    os.makedirs(place("build"), exist_ok=True)
    os.makedirs(settings().path("references"), exist_ok=True)
    if not os.path.lexists(place("build", "references")):
        os.symlink(
            os.path.relpath(settings().path("references"), place("build")),
            place("build", "references"),
        )
    for image in site().images:
        known = index_of(image)
        its = place("build", os.path.relpath(known, settings().build))
        if os.path.exists(known) and not os.path.exists(its):
            os.makedirs(os.path.dirname(its), exist_ok=True)
            shutil.copy2(known, its)


def run(other: Other) -> None:
    """doit, in a process of its own: its code is another. It writes nothing into the other's folder."""
    from ..core.base.process import Program

    doit = [
        sys.executable,
        "-B",
        "-m",
        "doit",
        *MAKES,
        f"site={other.site}",
        f"build={place('build')}",
    ]
    program, said = Program(["env", "-C", other.plugnode, *doit]), []
    for line in program.lines():
        said.append(line)
        if line.startswith((".  ", "   ")):
            say(line.strip(". "))
    if program.status == 3:
        raise BadInput(filter(None, map(problem, said)))
    if program.status:
        raise Refused(
            f"what is compared with cannot be built: {[*filter(str.strip, said), 'no word'][-1]}"
        )


def problem(line: str) -> Problem | None:
    found = re.fullmatch(r"(\S.*?):(\d+):(\d+): (.*)", line)
    return Problem(found[1], int(found[2]), int(found[3]), found[4]) if found else None
