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

from ..base.errors import Refused
from ..base.process import Throttle
from ..deploy import apply, former_roots, preflight, prune, rollback
from ..inspect import status, verify
from ..plan import decide, other_sites, rolled_back, scope, state
from ..plan.actual import read_actual
from ..plan.as_json import plan_json
from ..plan.model import Plan
from ..plan.state import Desired
from ..plan.text import sections
from ..release import Release
from ..store import boot_files, kept, loaders
from ..store.ours import read_ours
from ..store.paths import BOOT_FILES, Targets

Values = dict[str, Any]  # of JSON
Sections = Sequence[
    Sequence[str]
]  # of a plan as text: titles and what stands below (see summary.py)
Render = Callable[
    [Release, str, str], Mapping[str, bytes]
]  # release, label, site id -> its boot files


class Answer(NamedTuple):
    """How a server's work ended."""

    done: Values  # what it gave
    shown: Sections = ()  # what it showed before it changed anything
    failure: str = ""  # one line; then `done` is empty


class AnswerLine(Protocol):
    """The way back to whoever asked, who has the site and what was built of it."""

    def say(self, text: str) -> None:
        """A line of progress."""

    def show(self, sections: Sections) -> None:
        """What is about to be done."""

    def wanted(self) -> Desired:
        """What this server must hold; of releases that are pinned, those that are built."""

    def render(self, release: Release, label: str, site: str) -> Mapping[str, bytes]:
        """The boot files of a release, below tftp_root."""


def do(name: str, targets: Targets, line: AnswerLine, details: Mapping[str, Any]) -> Values:
    """The work of that name. Raises Refused."""
    work: dict[str, Callable[..., Values]] = {
        "plan": plan_server, "deploy": deploy_server, "rollback": rollback_work, "prune": prune_work, "verify": verify_work, "status": status_work,
    }  # fmt: skip
    return work[name](targets, line, **details)


def plan_server(
    targets: Targets,
    line: AnswerLine,
    keep: int,
    keep_days: int,
    site: str,
    image: str,
    running: dict[str, str],
) -> Values:
    """What a deploy would change: `changed`, `sections` and `json`, and why it would not: `refused`.

    `running`: release -> the nodes that report it.
    """

    goal, now = goal_of(targets, line, line.wanted(), image), time.time()
    verdicts = prune.foreseen(targets, keep, keep_days, now, running, image)
    verdicts += former_roots.foreseen_former(
        targets, site, former_roots.AgeRule(keep_days, now, running)
    ).verdicts
    prunable = tuple((verdict.id, verdict.why) for verdict in verdicts if verdict.removed)
    there = dataclasses.replace(read_actual(targets, goal), prunable=prunable)
    other_sites.refuse(there, goal)
    steps = decide.plan(there, goal)
    told, refused = sections(steps, there), preflight.refusal(steps, there, goal)
    as_json = {**plan_json(steps, there), "refused": refused}
    return {"changed": steps.changed, "sections": told, "json": as_json, "refused": refused}


def deploy_server(
    targets: Targets, line: AnswerLine, author: Values, image: str, again: bool = False
) -> Values:
    """Make the server hold what is wanted, after showing what that changes: `changed`.

    `again`: also what a rollback left.
    """

    goal = line.wanted()
    served = os.listdir(targets.tftp_root) if os.path.isdir(targets.tftp_root) else []
    for text in loaders.missing_loaders([*goal.loaders, *served]):
        line.say(text)

    def show(steps: Plan, there: state.Actual) -> None:
        line.show(sections(steps, there))

    def settle() -> Desired:
        return goal_of(targets, line, goal, image, again)

    steps = apply.deploy(targets, settle, author, line.say, show)
    return {"changed": steps.changed}


def goal_of(
    targets: Targets, line: AnswerLine, goal: Desired, image: str, again: bool = False
) -> Desired:
    """What is wanted, of all images or of one, with all that only the server can know.

    Its pinned releases, and what was rolled back there: `again` takes that up, too.
    """

    goal = rolled_back.stay(targets, line.render, with_pins(targets, line, goal), again)
    if not image:
        return goal
    ours, there = read_ours(targets), boot_files.read_files(targets)
    files = {name: data for name, data in there.items() if name in ours}
    limited = scope.only(goal, image, files, kept.published(targets), line.render)
    for name in [built.release.image for built in goal.releases]:
        if limited.left and f"{BOOT_FILES}{name}.cfg" not in limited.files:
            line.say(
                f"{name}: nothing of it is on the server; its nodes boot as before until it is deployed, too"
            )
    return limited


def with_pins(targets: Targets, line: AnswerLine, goal: Desired) -> Desired:
    """What is wanted, with the boot files of pinned releases that only the server has."""
    ids = {node["release"] for node in goal.nodes.values() if "release" in node}
    known = kept.published(targets) if ids else {}
    files = dict(goal.files)
    for id in sorted(ids & known.keys()):
        if f"plugnode/{id}.cfg" not in files:
            files |= line.render(known[id], id, goal.site_id)
    return dataclasses.replace(goal, files=files)


def rollback_work(
    targets: Targets, line: AnswerLine, images: list[str], image: str, release: str, author: Values
) -> Values:
    """Boot files back to an earlier release: `moved`, of each image that was: name, before, after."""

    def render(found: Release, site: str) -> Mapping[str, bytes]:
        return line.render(found, found.image, site)

    backs = rollback.rollback_server(targets, images, image, release, render, author)
    return {"moved": [[back.image, back.before, back.after] for back in backs]}


def prune_work(
    targets: Targets,
    line: AnswerLine,
    keep: int,
    keep_days: int,
    site: str,
    running: dict[str, str],
    author: Values,
    only_look: bool,
    image: str,
) -> Values:
    """Remove what nobody needs: `verdicts` (id, removed, why). `running`: release -> the nodes that report it."""

    now = time.time()
    rule = former_roots.AgeRule(keep_days, now, running)
    if only_look:
        verdicts = prune.foreseen(targets, keep, keep_days, now, {}, image)
        verdicts += former_roots.foreseen_former(targets, site, rule).verdicts
    else:
        verdicts = prune.prune_server(targets, keep, keep_days, author, now, running, image)
        verdicts += former_roots.prune_former(targets, site, rule, author, line.say)
    return {"verdicts": [list(verdict) for verdict in verdicts]}


def verify_work(targets: Targets, line: AnswerLine, full: bool, image: str) -> Values:
    """What is not as it was deployed: `findings`, a line each."""

    return {
        "findings": [
            str(finding) for finding in verify.of_server(targets, full, Throttle(line.say), image)
        ]
    }


def status_work(targets: Targets, line: AnswerLine) -> Values:
    return status.server_status(targets, time.time())


def failure(error: BaseException) -> str:
    """An error as the one line that an admin reads. Raises it again where it is a bug."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        where = error.filename2 or error.filename or ""
        return f"{os.fsdecode(where) if isinstance(where, (str, bytes)) else ''}: {error.strerror}".lstrip(
            ": "
        )
    raise error
