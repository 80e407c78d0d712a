"""What a boot server must hold, and what a deploy would change there.

release.json, root/, initrd.img, site.img, configs ──> wanted ──> plan
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from .base.compared import compared
from .base.desired import boot_files_of
from .base.options import AGAIN, AGAINST, BUILT, EXIT, JSON, LOADERS
from .base.results import leave
from .base.rule import FoundChanges, command, remove
from .base.settings import revision, settings, site
from .core.base.errors import BadInput, Refused
from .core.release import Release
from .push import ask_nodes
from .report import refresh
from .root import said_of_keep

if TYPE_CHECKING:
    from .core.remote.operations import Answer


MOST_PLANS = 50  # that are remembered
MOST_LINES = 20  # of what is different


def task_plan():
    """show what deploy would change, and change nothing; `image=NAME` for that one alone"""
    options = [JSON, EXIT, AGAINST, AGAIN]
    task = command(show_plan, after=BUILT, params=options, knows="image server destdir")
    return {**task, "clean": [(remove, [[settings().path(".against"), settings().path(".plans")]])]}


def show_plan(as_json: bool, detailed: bool, against: str, again: bool):
    from .base.servers import refuse_failed

    answers: dict[str, Answer] = {}
    if against:
        found = {"": effect(against)}
    else:
        answers = planned(again)
        found = foreseen(answers)
    id = id_of(answers)
    tell(found, as_json, id)
    if id and any_changed(found) and not as_json:
        print(f"To do this and nothing else: {words_to_deploy(id, again)}")
    refuse_failed(answers)
    if not settings().image:  # the report is of all of them
        plans = {server: done["json"] for server, done in found.items()}
        leave("plan", {"compared": against, "servers": plans})
        refresh()
    refuse_failed(refused(answers))
    if detailed and any_changed(found):
        return FoundChanges("")
    return None


def any_changed(found: Mapping[str, dict]) -> bool:
    return any(done["changed"] for done in found.values())


def foreseen(answers: Mapping[str, Answer]) -> dict[str, dict]:
    """The plans of the servers that made one."""
    return {server: answer.done for server, answer in answers.items() if answer.done}


def refused(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """The answers, those that a deploy would refuse as failures."""
    return {
        server: answer._replace(failure=answer.done["refused"])
        for server, answer in answers.items()
    }


def tell(found: dict[str, dict], as_json: bool, id: str) -> None:
    """Print the plans, and what `keep` lets out."""
    from .base.servers import tell_plans

    kept = list(chain.from_iterable(map(said_of_keep, site().images)))
    if as_json:
        plan = {"id": id, **every_json(found)} if id else dict(every_json(found))
        if kept:
            plan["kept"] = kept
        print(json.dumps(plan, indent=1))
        return
    tell_plans({server: done["sections"] for server, done in found.items()})
    for line in kept:
        print(line)


def planned(again: bool) -> dict[str, Answer]:
    """What a deploy would change on each server, with what a prune would remove.

    A prune leaves what nodes say that they run; they are asked only where it would remove any.
    """
    from .base.servers import everywhere
    from .core.remote.options import PlanOptions

    options = PlanOptions(
        keep=site().deploy.keep,
        keep_days=site().deploy.keep_days,
        site=site().name,
        image=settings().image,
        running={},
        revision=revision(),
        again=again,
    )
    answers = everywhere(options, with_goal=True)
    if not any(map(prunes, answers.values())):
        return answers
    run_by = ask_nodes()
    if not run_by:
        return answers
    return everywhere(replace(options, running=run_by), with_goal=True)


def prunes(answer: Answer) -> bool:
    """Whether a prune would remove a release there."""
    return bool(answer.done and answer.done["json"]["prunable"])


def effect(against: str) -> dict:
    """The same of another build."""
    from .core.deploy import seen
    from .core.plan import decide, scope, text
    from .core.plan.as_json import plan_json

    if settings().server:
        raise BadInput.at(
            settings().site,
            f"server={settings().server}: --against looks at no server; leave it out",
        )
    there, goal = compared(against, LOADERS)
    if image := settings().image:
        goal = scope.only(goal, image, there.files, there.released, boot_files_there)
    steps = seen.marked(decide.plan(there, goal), there, goal, {})
    return {
        "changed": steps.changed,
        "sections": text.sections(steps, there),
        "json": plan_json(steps, there),
    }


def boot_files_there(release: Release, label: str, data: str) -> Mapping[str, bytes]:
    return boot_files_of(release, data, label, site().servers[0])


# --- a plan that is done as it was seen


def id_of(answers: Mapping[str, Answer]) -> str:
    """The id of what a deploy would do; "" where a server could not say, or would refuse it.

    It is written down, for a deploy that does something else to say what.
    """
    from .core.deploy.seen import id_of_plan

    if not answers or any(answer.failure or answer.done["refused"] for answer in answers.values()):
        return ""
    steps = steps_of(answers)
    id = id_of_plan(steps)
    remember(id, steps)
    return id


def steps_of(answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    return {server: answer.done["steps"] for server, answer in answers.items()}


def words_to_deploy(id: str, again: bool) -> str:
    """The command that does what a plan showed."""
    given = (f"{name}={getattr(settings(), name)}" for name in ("image", "server"))
    words = [word for word in given if not word.endswith("=")]
    return " ".join(["doit deploy", *["--again"] * again, f"--plan={id}", *words])


def remember(id: str, steps: Mapping[str, list[str]]) -> None:
    """Write down what a plan would do, below the build folder; old ones go."""
    from .core.base.files import write_atomic

    folder = settings().path(".plans")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_atomic(os.path.join(folder, id), json.dumps(steps).encode())
    paths = [os.path.join(folder, name) for name in os.listdir(folder)]
    remove(sorted(paths, key=os.path.getmtime)[:-MOST_PLANS])


def remembered(id: str) -> dict[str, list[str]]:
    """What a plan of this build folder would have done; nothing where none of that id is known."""
    from .core.base.files import content

    try:
        return dict(json.loads(content(settings().path(".plans", id)) or b"{}"))
    except ValueError:
        return {}


def as_planned(id: str, again: bool) -> list[str]:
    """The digests of what each server's plan does, where together they are the plan of that id.

    Raises Refused where they are not, with what is different.
    """
    from .base.servers import refuse_failed
    from .core.deploy.seen import digest_of, id_of_plan

    if not re.fullmatch("[0-9a-f]{12}", id):
        raise BadInput.at(
            settings().site,
            f"--plan={id}: no id of a plan: twelve hex digits, as doit plan prints them",
        )
    answers = planned(again)
    refuse_failed(answers)
    refuse_failed(refused(answers))
    steps = steps_of(answers)
    now = id_of_plan(steps)
    if now != id and not is_done(id, answers):
        raise Refused("\n".join(different(id, now, steps)))
    return list(map(digest_of, steps.values()))


def is_done(id: str, answers: Mapping[str, Answer]) -> bool:
    """Is the plan of that id what was deployed last everywhere, with nothing left to do?"""
    return all(
        answer.done["done"] == id and not answer.done["changed"] for answer in answers.values()
    )


def different(id: str, now: str, steps: Mapping[str, list[str]]) -> Iterator[str]:
    """What a deploy would do that is not what the plan of that id showed, a line each."""
    from .core.deploy.seen import differences

    what = f"it would be --plan={now}" if any(steps.values()) else "there is nothing to do"
    yield f"--plan={id} is not what a deploy would do now: {what}; nothing was changed"
    before = remembered(id)
    if not before:
        yield f"no plan of that id was made in {settings().build}; doit plan shows what it would be"
        return
    lines = list(differences(before, steps))
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"… and {len(lines) - MOST_LINES} more; doit plan shows all"


def every_json(found: dict) -> dict:
    """One server's plan; those of several by their names."""
    plans = {server: done["json"] for server, done in found.items()}
    if len(site().servers) == 1 or "" in plans:
        return next(iter(plans.values()), {})
    return {"changed": any_changed(found), "servers": plans}
