"""Work: what can be asked of a boot server, done on that server, wherever whoever asked is.

Each piece of work is a function of a server's folders and of a `Line` to whoever asked, and gives plain values. On this
machine it is called; on another `far` calls it there, and `fleet` is at the line's other end.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from . import neighbours
from . import plan as planning
from . import scope
from .errors import Refused
from .plan import Wanted
from .release import Release
from .targets import BOOT_FILES, Targets

Values = dict[str, Any]  # of JSON
Sections = Sequence[Sequence[str]]  # of a plan as text: titles and what stands below (see summary.py)
Render = Callable[[Release, str, str], Mapping[str, bytes]]  # release, label, site id -> its boot files


class Answer(NamedTuple):
    """How a server's work ended."""

    done: Values  # what it gave
    shown: Sections = ()  # what it showed before it changed anything
    failure: str = ""  # one line; then `done` is empty


class Line(Protocol):
    """The way back to whoever asked, who has the site and what was built of it."""

    def say(self, text: str) -> None:
        """A line of progress."""

    def show(self, sections: Sections) -> None:
        """What is about to be done."""

    def wanted(self) -> Wanted:
        """What this server must hold; of releases that are pinned, those that are built."""

    def render(self, release: Release, label: str, site: str) -> Mapping[str, bytes]:
        """The boot files of a release, below tftp_root."""


def do(name: str, targets: Targets, line: Line, details: Mapping[str, Any]) -> Values:
    """The work of that name. Raises Refused."""
    work: dict[str, Callable[..., Values]] = {
        "plan": plan, "deploy": deploy, "rollback": rollback, "prune": prune, "verify": verify, "status": status,
    }  # fmt: skip
    return work[name](targets, line, **details)


def plan(
    targets: Targets,
    line: Line,
    keep: int,
    keep_days: int,
    site: str,
    image: str,
    running: dict[str, str],
) -> Values:
    """What a deploy would change: `changed`, `sections` and `json`, and why it would not: `refused`.

    `running`: release -> the nodes that report it.
    """
    from . import deploy as core
    from . import former, prune, summary

    goal, now = goal_of(targets, line, line.wanted(), image), time.time()
    verdicts = prune.foreseen(targets, keep, keep_days, now, running, image)
    verdicts += former.foreseen(targets, site, former.Rule(keep_days, now, running)).verdicts
    prunable = tuple((verdict.id, verdict.why) for verdict in verdicts if verdict.removed)
    there = dataclasses.replace(planning.read(targets, goal), prunable=prunable)
    neighbours.refuse(there, goal)
    steps = planning.plan(there, goal)
    told, refused = summary.sections(steps, there), core.refusal(steps, there, goal)
    as_json = {**summary.as_json(steps, there), "refused": refused}
    return {"changed": steps.changed, "sections": told, "json": as_json, "refused": refused}


def deploy(targets: Targets, line: Line, author: Values, image: str, again: bool = False) -> Values:
    """Make the server hold what is wanted, after showing what that changes: `changed`.

    `again`: also what a rollback left.
    """
    from . import deploy as core
    from . import loaders, summary

    goal = line.wanted()
    served = os.listdir(targets.tftp_root) if os.path.isdir(targets.tftp_root) else []
    for text in loaders.missing([*goal.loaders, *served]):
        line.say(text)

    def show(steps: planning.Plan, there: planning.There) -> None:
        line.show(summary.sections(steps, there))

    def settle() -> Wanted:
        return goal_of(targets, line, goal, image, again)

    steps = core.deploy(targets, settle, author, line.say, show)
    return {"changed": steps.changed}


def goal_of(targets: Targets, line: Line, goal: Wanted, image: str, again: bool = False) -> Wanted:
    """What is wanted, of all images or of one, with all that only the server can know.

    Its pinned releases, and what was rolled back there: `again` takes that up, too.
    """
    from . import stays

    goal = stays.stay(targets, line.render, with_pins(targets, line, goal), again)
    if not image:
        return goal
    ours, there = planning.read_ours(targets), planning.read_files(targets)
    files = {name: data for name, data in there.items() if name in ours}
    limited = scope.only(goal, image, files, planning.published(targets), line.render)
    for name in [built.release.image for built in goal.releases]:
        if limited.left and f"{BOOT_FILES}{name}.cfg" not in limited.files:
            line.say(f"{name}: nothing of it is on the server; its nodes boot as before until it is deployed, too")
    return limited


def with_pins(targets: Targets, line: Line, goal: Wanted) -> Wanted:
    """What is wanted, with the boot files of pinned releases that only the server has."""
    ids = {node["release"] for node in goal.nodes.values() if "release" in node}
    known = planning.published(targets) if ids else {}
    files = dict(goal.files)
    for id in sorted(ids & known.keys()):
        if f"plugnode/{id}.cfg" not in files:
            files |= line.render(known[id], id, goal.site_id)
    return dataclasses.replace(goal, files=files)


def rollback(targets: Targets, line: Line, images: list[str], image: str, release: str, author: Values) -> Values:
    """Boot files back to an earlier release: `moved`, of each image that was: name, before, after."""
    from . import rollback as core

    def render(found: Release, site: str) -> Mapping[str, bytes]:
        return line.render(found, found.image, site)

    backs = core.rollback(targets, images, image, release, render, author)
    return {"moved": [[back.image, back.before, back.after] for back in backs]}


def prune(
    targets: Targets,
    line: Line,
    keep: int,
    keep_days: int,
    site: str,
    running: dict[str, str],
    author: Values,
    only_look: bool,
    image: str,
) -> Values:
    """Remove what nobody needs: `verdicts` (id, removed, why). `running`: release -> the nodes that report it."""
    from . import former
    from . import prune as core

    now = time.time()
    rule = former.Rule(keep_days, now, running)
    if only_look:
        verdicts = core.foreseen(targets, keep, keep_days, now, {}, image)
        verdicts += former.foreseen(targets, site, rule).verdicts
    else:
        verdicts = core.prune(targets, keep, keep_days, author, now, running, image)
        verdicts += former.prune(targets, site, rule, author, line.say)
    return {"verdicts": [list(verdict) for verdict in verdicts]}


def verify(targets: Targets, line: Line, full: bool, image: str) -> Values:
    """What is not as it was deployed: `findings`, a line each."""
    from . import verify as core
    from .running import NowAndThen

    return {"findings": [str(finding) for finding in core.of_server(targets, full, NowAndThen(line.say), image)]}


def status(targets: Targets, line: Line) -> Values:
    from . import status as core

    return core.status(targets, time.time())


def failure(error: BaseException) -> str:
    """An error as the one line that an admin reads. Raises it again where it is a bug."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        where = error.filename2 or error.filename or ""
        return f"{os.fsdecode(where) if isinstance(where, (str, bytes)) else ''}: {error.strerror}".lstrip(": ")
    raise error
