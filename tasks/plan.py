"""What a boot server must hold, and what a deploy would change there.

release.json, root/, initrd.img, site.img, configs ──> wanted ──> plan
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from .base.compared import compared
from .base.desired import boot_files_of, changes_told
from .base.options import AGAIN, AGAINST, BUILT, EXIT, JSON, LOADERS
from .base.paths import BuildPaths
from .base.results import leave
from .base.rule import FoundChanges, command, remove
from .base.settings import Run, build_paths, this_run
from .core.base.errors import BadInput, Refused
from .core.base.text import counted
from .core.site.model import Site
from .push import ask_nodes
from .report import refresh
from .root import said_of_capabilities, said_of_keep

if TYPE_CHECKING:
    from .core.remote.line import Answer


MOST_PLANS = 50  # that are remembered
MOST_LINES = 20  # of what is different


def task_plan():
    """show what deploy would change, and change nothing; `image=NAME` for that one alone"""
    options = [JSON, EXIT, AGAINST, AGAIN]
    task = command(
        show_plan, this_run, after=BUILT, params=options, knows="image server destdir key"
    )
    paths = build_paths()
    return {**task, "clean": [(remove, [[paths.path(".against"), paths.path(".plans")]])]}


def show_plan(run: Run, as_json: bool, detailed: bool, against: str, again: bool):
    from .base.servers import refuse_failed

    answers: dict[str, Answer] = {}
    if against:
        found = {"": effect(run, against)}
    else:
        answers = planned(run, again)
        found = foreseen(answers)
    id = id_of(run, answers)
    tell(run, found, as_json, id)
    if id and any_changed(found) and not as_json:
        print(f"To do this and nothing else: {words_to_deploy(run, id, again)}")
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


def tell(run: Run, found: dict[str, dict], as_json: bool, id: str) -> None:
    """Print the plans, what is lost or let out of roots, and nodes that nobody can boot yet."""
    from .base.servers import tell_plans
    from .core.base.nodeset import fold_nodes

    unknown = [node.name for node in run.site.nodes if not node.is_known]
    said = said_besides(run, at_servers="" not in found)
    if as_json:
        plan = whole_json(run.site, found, id, {**said, "without_mac": unknown})
        print(json.dumps(plan, indent=1))
        return
    tell_plans(run, {server: done["sections"] for server, done in found.items()})
    for line in chain.from_iterable(said.values()):
        print(line)
    if unknown:
        which = f"{counted(len(unknown), 'node')} without a MAC yet"
        print(f"{which}, so DHCP does not know them: {fold_nodes(unknown)}")


def said_besides(run: Run, at_servers: bool) -> dict[str, list[str]]:
    """What `keep` lets out of roots, what programs lack on nodes, and what becomes of secrets.

    Of these only where servers are looked at: another build needs no secrets_store.
    """
    said: dict[str, list[str]] = {"kept": [], "lost": [], "secrets": []}
    if run.site.has_secrets and at_servers:
        from .core.node_secrets.of_site import foreseen_secrets

        said["secrets"] = foreseen_secrets(run.site)
    for image in run.site.images:
        said["kept"] += said_of_keep(image, run.paths)
        said["lost"] += said_of_capabilities(image, run.paths)
    return said


def whole_json(
    site: Site, found: dict, id: str, besides: Mapping[str, list[str]]
) -> dict[str, Any]:
    """The plans with their id, and what is said besides."""
    plan: dict[str, Any] = {"id": id} if id else {}
    plan |= every_json(site, found)
    return plan | {key: lines for key, lines in besides.items() if lines}


def planned(run: Run, again: bool) -> dict[str, Answer]:
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
        revision=run.revision(),
        again=again,
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
    from .core.deploy import seen
    from .core.plan import decide, scope
    from .core.remote.operations import described_plan

    if server := run.settings.server:
        told = f"server={server}: --against looks at no server; leave it out"
        raise BadInput.at(run.settings.site, told)
    there, goal = compared(run, against, LOADERS)
    if image := run.settings.image:
        render = partial(boot_files_of, run, run.site.servers[0])
        goal = scope.only(goal, image, there.files, there.released, render)
    steps = seen.marked(decide.plan(there, goal), there, goal, {})
    return described_plan(steps, there, partial(changes_told, run))


# --- a plan that is done as it was seen


def id_of(run: Run, answers: Mapping[str, Answer]) -> str:
    """The id of what a deploy would do; "" where a server could not say, or would refuse it.

    It is written down, for a deploy that does something else to say what.
    """
    from .core.deploy.seen import id_of_plan

    if not answers or any(answer.failure or answer.done["refused"] for answer in answers.values()):
        return ""
    steps = steps_of(answers)
    id = id_of_plan(steps)
    remember(run.paths, id, steps)
    return id


def steps_of(answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    return {server: answer.done["steps"] for server, answer in answers.items()}


def words_to_deploy(run: Run, id: str, again: bool) -> str:
    """The command that does what a plan showed."""
    given = (f"{name}={getattr(run.settings, name)}" for name in ("image", "server"))
    words = [word for word in given if not word.endswith("=")]
    return " ".join(["doit deploy", *["--again"] * again, f"--plan={id}", *words])


def remember(paths: BuildPaths, id: str, steps: Mapping[str, list[str]]) -> None:
    """Write down what a plan would do, below the build folder; old ones go."""
    from .core.base.files import write_atomic

    folder = paths.path(".plans")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_atomic(os.path.join(folder, id), json.dumps(steps).encode())
    kept = [os.path.join(folder, name) for name in os.listdir(folder)]
    remove(sorted(kept, key=os.path.getmtime)[:-MOST_PLANS])


def remembered(paths: BuildPaths, id: str) -> dict[str, list[str]]:
    """What a plan of this build folder would have done; nothing where none of that id is known."""
    from .core.base.files import content

    try:
        return dict(json.loads(content(paths.path(".plans", id)) or b"{}"))
    except ValueError:
        return {}


def as_planned(run: Run, id: str, again: bool) -> list[str]:
    """The digests of what each server's plan does, where together they are the plan of that id.

    Raises Refused where they are not, with what is different.
    """
    from .base.servers import refuse_failed
    from .core.deploy.seen import digest_of, id_of_plan

    if not re.fullmatch("[0-9a-f]{12}", id):
        raise BadInput.at(
            run.settings.site,
            f"--plan={id}: no id of a plan: twelve hex digits, as doit plan prints them",
        )
    answers = planned(run, again)
    refuse_failed(run, answers)
    refuse_failed(run, refused(answers))
    steps = steps_of(answers)
    now = id_of_plan(steps)
    if now != id and not is_done(id, answers):
        raise Refused("\n".join(different(run.paths, id, now, steps)))
    return list(map(digest_of, steps.values()))


def is_done(id: str, answers: Mapping[str, Answer]) -> bool:
    """Is the plan of that id what was deployed last everywhere, with nothing left to do?"""
    return all(
        answer.done["done"] == id and not answer.done["changed"] for answer in answers.values()
    )


def different(
    paths: BuildPaths, id: str, now: str, steps: Mapping[str, list[str]]
) -> Iterator[str]:
    """What a deploy would do that is not what the plan of that id showed, a line each."""
    from .core.deploy.seen import differences

    what = f"it would be --plan={now}" if any(steps.values()) else "there is nothing to do"
    yield f"--plan={id} is not what a deploy would do now: {what}; nothing was changed"
    before = remembered(paths, id)
    if not before:
        yield f"no plan of that id was made in {paths.build}; doit plan shows what it would be"
        return
    lines = list(differences(before, steps))
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"… and {len(lines) - MOST_LINES} more; doit plan shows all"


def every_json(site: Site, found: dict) -> dict:
    """One server's plan; those of several by their names."""
    plans = {server: done["json"] for server, done in found.items()}
    if len(site.servers) == 1 or "" in plans:
        return next(iter(plans.values()), {})
    return {"changed": any_changed(found), "servers": plans}
