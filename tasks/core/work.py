"""Work: what can be asked of a boot server, done on that server, wherever whoever asked is.

Each piece of work is a function of a server's folders and of a `Line` to whoever asked, and gives plain values. On this
machine it is called; on another `far` calls it there, and `fleet` is at the line's other end.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from . import plan as planning
from .errors import Refused
from .plan import Wanted
from .release import Release
from .targets import Targets

Values = dict[str, Any]  # of JSON
Render = Callable[[Release, str, str], Mapping[str, bytes]]  # release, label, site id -> its boot files


class Answer(NamedTuple):
    """How a server's work ended."""

    done: Values  # what it gave
    shown: str = ""  # what it showed before it changed anything
    failure: str = ""  # one line; then `done` is empty


class Line(Protocol):
    """The way back to whoever asked, who has the site and what was built of it."""

    def say(self, text: str) -> None:
        """A line of progress."""

    def show(self, text: str) -> None:
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


def plan(targets: Targets, line: Line, keep: int, keep_days: int, colour: bool) -> Values:
    """What a deploy would change: `changed`, `text` and `json`."""
    from . import prune, summary

    goal = settled(targets, line, line.wanted())
    verdicts = prune.foreseen(targets, keep, keep_days, time.time())
    prunable = tuple((verdict.id, verdict.why) for verdict in verdicts if verdict.removed)
    there = dataclasses.replace(planning.read(targets, goal), prunable=prunable)
    steps = planning.plan(there, goal)
    text = summary.text(steps, there, colour)
    return {"changed": steps.changed, "text": text, "json": summary.as_json(steps, there)}


def deploy(targets: Targets, line: Line, colour: bool, author: Values, again: bool = False) -> Values:
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
        line.show(summary.text(steps, there, colour))

    def settle() -> Wanted:
        return settled(targets, line, goal, again)

    steps = core.deploy(targets, settle, author, line.say, show)
    return {"changed": steps.changed}


def settled(targets: Targets, line: Line, goal: Wanted, again: bool = False) -> Wanted:
    """What is wanted, with all that only the server can know: its pinned releases, and what was rolled back there."""
    from . import stays

    return stays.stay(targets, line.render, with_pins(targets, line, goal), again)


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
    targets: Targets, line: Line, keep: int, keep_days: int, running: dict[str, str], author: Values, only_look: bool
) -> Values:
    """Remove what nobody needs: `verdicts` (id, removed, why). `running`: release -> the nodes that report it."""
    from . import prune as core

    now = time.time()
    if only_look:
        verdicts = core.foreseen(targets, keep, keep_days, now)
    else:
        verdicts = core.prune(targets, keep, keep_days, author, now, running)
    return {"verdicts": [list(verdict) for verdict in verdicts]}


def verify(targets: Targets, line: Line, full: bool) -> Values:
    """What is not as it was deployed: `findings`, a line each."""
    from . import verify as core
    from .running import NowAndThen

    return {"findings": [str(finding) for finding in core.of_server(targets, full, NowAndThen(line.say))]}


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
