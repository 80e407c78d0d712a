"""What a boot server must hold, and what a deploy would change there.

release.json, root/, initrd.img, site.img, configs ──> wanted ──> plan
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

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


def task_plan():
    """show what deploy would change, and change nothing; `image=NAME` for the releases of that one alone"""
    return command(
        show_plan, after=BUILT, params=[JSON, EXIT, AGAINST], knows="image server destdir",
        clean=[(remove, [[settings().path(".against")]])],
    )  # fmt: skip


def show_plan(as_json: bool, detailed: bool, against: str):
    from .base.servers import refuse_failed, tell_plans

    answers = {} if against else on_servers()
    found = (
        {"": effect(against)}
        if against
        else {server: each.done for server, each in answers.items() if each.done}
    )
    kept = [line for image in site().images for line in said_of_keep(image)]
    if as_json:
        print(json.dumps(every_json(found) | ({"kept": kept} if kept else {}), indent=1))
    elif against:
        tell_plans({"": found[""]["sections"]})
    else:
        tell_plans({server: done["sections"] for server, done in found.items()})
    if not as_json:
        print("".join(f"{line}\n" for line in kept), end="")
    refuse_failed(answers)
    if not settings().image:  # the report is of all of them
        leave(
            "plan",
            {
                "compared": against,
                "servers": {server: done["json"] for server, done in found.items()},
            },
        )
        refresh()
    refuse_failed(
        {
            server: answer._replace(failure=answer.done["refused"])
            for server, answer in answers.items()
        }
    )
    return (
        FoundChanges("") if detailed and any(done["changed"] for done in found.values()) else None
    )


def on_servers():
    """What a deploy would change on each server, with what a prune would remove: not what nodes say that they run."""
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
    announced = any(answer.done["json"]["prunable"] for answer in answers.values() if answer.done)
    run_by = ask_nodes() if announced else {}
    if not run_by:
        return answers
    return everywhere(replace(options, running=run_by), with_goal=True)


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
    return {"changed": any(done["changed"] for done in found.values()), "servers": plans}
