"""What a boot server must hold, and what a deploy would change there.

release.json, root/, initrd.img, site.img, configs ──> wanted ──> plan
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from .base.compared import compared
from .base.desired import boot_files_of
from .base.options import AGAINST, BUILT, EXIT, JSON, LOADERS
from .base.results import leave
from .base.rule import FoundChanges, command, remove
from .base.settings import settings, site
from .core.base.errors import BadInput
from .core.release import Release
from .push import ask_nodes
from .report import refresh
from .root import said_of_keep

if TYPE_CHECKING:
    from .core.remote.operations import Answer


def task_plan():
    """show what deploy would change, and change nothing; `image=NAME` for that one alone"""
    options = [JSON, EXIT, AGAINST]
    task = command(show_plan, after=BUILT, params=options, knows="image server destdir")
    return {**task, "clean": [(remove, [[settings().path(".against")]])]}


def show_plan(as_json: bool, detailed: bool, against: str):
    from .base.servers import refuse_failed

    answers: dict[str, Answer] = {}
    if against:
        found = {"": effect(against)}
    else:
        answers = on_servers()
        found = foreseen(answers)
    tell(found, as_json)
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


def tell(found: dict[str, dict], as_json: bool) -> None:
    """Print the plans, what `keep` lets out, and the nodes that nobody can boot yet."""
    from .base.servers import tell_plans
    from .core.base.nodeset import fold_nodes

    kept = list(chain.from_iterable(map(said_of_keep, site().images)))
    unknown = [node.name for node in site().nodes if not node.is_known]
    if as_json:
        plan = dict(every_json(found))
        if kept:
            plan["kept"] = kept
        if unknown:
            plan["without_mac"] = unknown
        print(json.dumps(plan, indent=1))
        return
    tell_plans({server: done["sections"] for server, done in found.items()})
    for line in kept:
        print(line)
    if unknown:
        which = f"{len(unknown)} node{'s' * (len(unknown) > 1)} without a MAC yet"
        print(f"{which}, so DHCP does not know them: {fold_nodes(unknown)}")


def on_servers():
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
    steps = decide.plan(there, goal)
    return {
        "changed": steps.changed,
        "sections": text.sections(steps, there),
        "json": plan_json(steps, there),
    }


def boot_files_there(release: Release, label: str, data: str) -> Mapping[str, bytes]:
    return boot_files_of(release, data, label, site().servers[0])


def every_json(found: dict) -> dict:
    """One server's plan; those of several by their names."""
    plans = {server: done["json"] for server, done in found.items()}
    if len(site().servers) == 1 or "" in plans:
        return next(iter(plans.values()), {})
    return {"changed": any_changed(found), "servers": plans}
