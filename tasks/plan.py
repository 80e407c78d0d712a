"""What a boot server must hold, and what a deploy would change there.

release.json, root/, initrd.img, site.img, configs ──> wanted ──> plan
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .base.compared import compared
from .base.desired import boot_files_of, changes_told
from .base.options import AGAINST, BUILT, EXIT, JSON, LOADERS
from .base.results import leave
from .base.rule import FoundChanges, command, remove
from .base.settings import Run, build_paths, this_run
from .core.base.errors import BadInput
from .core.site.model import Site
from .push import ask_nodes
from .report import refresh
from .root import said_of_keep

if TYPE_CHECKING:
    from .core.remote.operations import Answer


def task_plan():
    """show what deploy would change, and change nothing; `image=NAME` for that one alone"""
    options = [JSON, EXIT, AGAINST]
    task = command(
        show_plan, this_run, after=BUILT, params=options, knows="image server destdir key"
    )
    return {**task, "clean": [(remove, [[build_paths().path(".against")]])]}


def show_plan(run: Run, as_json: bool, detailed: bool, against: str):
    from .base.servers import refuse_failed

    answers: dict[str, Answer] = {}
    if against:
        found = {"": effect(run, against)}
    else:
        answers = on_servers(run)
        found = foreseen(answers)
    tell(run, found, as_json)
    refuse_failed(run, answers)
    if not run.settings.image:  # the report is of all of them
        plans = {server: done["json"] for server, done in found.items()}
        leave("plan", {"compared": against, "servers": plans}, run.site, run.paths)
        refresh(run.site, run.paths)
    refuse_failed(run, refused(answers))
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


def tell(run: Run, found: dict[str, dict], as_json: bool) -> None:
    """Print the plans, what `keep` lets out, and the nodes that nobody can boot yet."""
    from .base.servers import tell_plans
    from .core.base.nodeset import fold_nodes

    unknown = [node.name for node in run.site.nodes if not node.is_known]
    kept: list[str] = []
    for image in run.site.images:
        kept += said_of_keep(image, run.paths)
    if as_json:
        plan = dict(every_json(run.site, found))
        if kept:
            plan["kept"] = kept
        if unknown:
            plan["without_mac"] = unknown
        print(json.dumps(plan, indent=1))
        return
    tell_plans(run, {server: done["sections"] for server, done in found.items()})
    for line in kept:
        print(line)
    if unknown:
        which = f"{len(unknown)} node{'s' * (len(unknown) > 1)} without a MAC yet"
        print(f"{which}, so DHCP does not know them: {fold_nodes(unknown)}")


def on_servers(run: Run):
    """What a deploy would change on each server, with what a prune would remove.

    A prune leaves what nodes say that they run; they are asked only where it would remove any.
    """
    from .base.servers import everywhere
    from .core.remote.options import PlanOptions

    options = PlanOptions(
        keep=run.site.deploy.keep,
        keep_days=run.site.deploy.keep_days,
        site=run.site.name,
        image=run.settings.image,
        running={},
    )
    answers = everywhere(run, options, with_goal=True)
    if not any(map(prunes, answers.values())):
        return answers
    run_by = ask_nodes(run)
    if not run_by:
        return answers
    return everywhere(run, replace(options, running=run_by), with_goal=True)


def prunes(answer: Answer) -> bool:
    """Whether a prune would remove a release there."""
    return bool(answer.done and answer.done["json"]["prunable"])


def effect(run: Run, against: str) -> dict:
    """The same of another build."""
    from .core.plan import decide, scope
    from .core.remote.operations import described_plan

    if server := run.settings.server:
        told = f"server={server}: --against looks at no server; leave it out"
        raise BadInput.at(run.settings.site, told)
    there, goal = compared(run, against, LOADERS)
    if image := run.settings.image:
        render = partial(boot_files_of, run, run.site.servers[0])
        goal = scope.only(goal, image, there.files, there.released, render)
    return described_plan(decide.plan(there, goal), there, partial(changes_told, run))


def every_json(site: Site, found: dict) -> dict:
    """One server's plan; those of several by their names."""
    plans = {server: done["json"] for server, done in found.items()}
    if len(site.servers) == 1 or "" in plans:
        return next(iter(plans.values()), {})
    return {"changed": any_changed(found), "servers": plans}
