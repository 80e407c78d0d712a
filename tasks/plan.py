"""What a boot server must hold, and what a deploy would change there.

release.json, root/, initrd.img, site.img, configs ──> wanted ──> plan
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from .against import compared
from .configs import site_img
from .core.errors import BadInput
from .core.release import Release
from .core.site import Server
from .core.targets import BOOT_FILES, Targets
from .found import generated, leave
from .push import ask_nodes
from .release import read_release
from .report import refresh
from .root import said_of_keep
from .rule import Changes, command, remove
from .settings import settings, site

BUILT = ("release", "boot_files", "configs", "site_image")
LOADERS = (os.path.join(sys.prefix, "share", "loaders"), "/")  # where ./doit unpacks packages; where they are installed

flag = {"type": bool, "default": False}
JSON = {"name": "as_json", "long": "json", "help": "for scripts", **flag}
AGAINST = {
    "name": "against", "long": "against", "type": str, "default": "",
    "help": "compare with what a git revision of the site builds, or another checkout, or a folder deployed to",
}  # fmt: skip
EXIT = {"name": "detailed", "long": "detailed-exitcode", "help": "exit status 2 where there are changes", **flag}


def targets() -> Targets:
    destdir = os.path.abspath(settings().destdir) if settings().destdir else ""
    return Targets(site().deploy.tftp_root, site().deploy.nfs_root, destdir)


def wanted(server: Server):
    """Everything that a server must hold, by the site and by what was built."""
    from .core import loaders, plan, services

    with open(site_img(), "rb") as file:
        data = file.read()
    configs = generated()
    named = [pair for image in site().images for pair in image.loaders]
    return plan.Wanted(
        releases=tuple(plan.Built(read_release(image), settings().path(image.name)) for image in site().images),
        site_id=plan.site_id(data), site_img=data,
        files={**served(configs, server), **pinned(plan.site_id(data), server)},
        loaders=loaders.find(LOADERS, named),
        services=services.wanted(site(), configs, services.is_el()),
        nodes=plan.facts(site()),
    )  # fmt: skip


def served(configs: dict[str, bytes], server: Server) -> dict[str, bytes]:
    """Of the generated files those that the server's TFTP daemon serves: path below tftp_root -> bytes."""
    files = {path.removeprefix("tftp/"): data for path, data in configs.items() if path.startswith("tftp/")}
    own = BOOT_FILES if len(site().servers) == 1 else f"{BOOT_FILES}{server.name}/"
    every = {path: data for path, data in files.items() if not path.startswith(BOOT_FILES)}
    return every | {BOOT_FILES + path.removeprefix(own): data for path, data in files.items() if path.startswith(own)}


def pinned(data: str, server: Server) -> dict[str, bytes]:
    """Boot files of releases that nodes are pinned to, of those that are built; the server adds those that it has."""
    ids = {node.release for node in site().nodes if node.release}
    files: dict[str, bytes] = {}
    for release in map(read_release, site().images) if ids else ():
        files |= boot_files_of(release, data, release.id, server) if release.id in ids else {}
    return files


def boot_files_of(release: Release, data: str, label: str, server: Server) -> dict[str, bytes]:
    from .configs import templates
    from .core.configs import render_boot

    return render_boot(site(), server, label, release, data, templates())


def task_plan():
    """show what deploy would change, and change nothing; `image=NAME` for the releases of that one alone"""
    return command(
        show_plan, after=BUILT, params=[JSON, EXIT, AGAINST], knows="image server destdir",
        clean=[(remove, [[settings().path(".against")]])],
    )  # fmt: skip


def show_plan(as_json: bool, detailed: bool, against: str):
    from .servers import refuse_failed, tell_plans

    answers = {} if against else on_servers()
    found = {"": effect(against)} if against else {server: each.done for server, each in answers.items() if each.done}
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
        leave("plan", {"compared": against, "servers": {server: done["json"] for server, done in found.items()}})
        refresh()
    refuse_failed({server: answer._replace(failure=answer.done["refused"]) for server, answer in answers.items()})
    return Changes("") if detailed and any(done["changed"] for done in found.values()) else None


def on_servers():
    """What a deploy would change on each server, with what a prune would remove: not what nodes say that they run."""
    from .servers import everywhere

    rules = site().deploy
    details = {"keep": rules.keep, "keep_days": rules.keep_days, "site": site().name}
    details["image"] = settings().image
    answers = everywhere("plan", with_goal=True, running={}, **details)
    announced = any(answer.done["json"]["prunable"] for answer in answers.values() if answer.done)
    run_by = ask_nodes() if announced else {}
    return everywhere("plan", with_goal=True, running=run_by, **details) if run_by else answers


def effect(against: str) -> dict:
    """The same of another build."""
    from .core import plan, scope, summary

    if settings().server:
        raise BadInput.at(settings().site, f"server={settings().server}: --against looks at no server; leave it out")
    there, goal = compared(against, LOADERS)
    if image := settings().image:
        goal = scope.only(goal, image, there.files, there.released, boot_files_there)
    steps = plan.plan(there, goal)
    return {
        "changed": steps.changed,
        "sections": summary.sections(steps, there),
        "json": summary.as_json(steps, there),
    }


def boot_files_there(release: Release, label: str, data: str) -> Mapping[str, bytes]:
    return boot_files_of(release, data, label, site().servers[0])


def every_json(found: dict) -> dict:
    """One server's plan; those of several by their names."""
    plans = {server: done["json"] for server, done in found.items()}
    if len(site().servers) == 1 or "" in plans:
        return next(iter(plans.values()), {})
    return {"changed": any(done["changed"] for done in found.values()), "servers": plans}


def coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
