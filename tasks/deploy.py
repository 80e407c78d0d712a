"""Boot servers made to match, compared with what they were given, taken back, cleaned up.

plan ──> deploy ──> /tftpboot  /opt/nfs_export
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .configs import site_img
from .console import say
from .core.errors import Refused
from .plan import BUILT, coloured, flag
from .push import running
from .release import read_release
from .rule import command
from .servers import chosen, everywhere, refuse_failed, tell, tell_plans
from .settings import settings, site

if TYPE_CHECKING:
    from .core.work import Answer

FULL = {"name": "full", "long": "full", "help": "compare the bytes of every file, too", **flag}
NODES = {"name": "nodes", "long": "nodes", "help": "ask the nodes what they run, over ssh", **flag}


AGAIN = {"name": "again", "long": "again", "help": "go back to what a rollback left, too", **flag}


def task_deploy():
    """make the targets match what was built"""
    return command(deploy, after=BUILT, params=[AGAIN])


def deploy(again: bool) -> None:
    for line in too_long():
        say(line)
    answers = everywhere("deploy", with_goal=True, colour=coloured(), author=author(), again=again)
    tell_plans({server: answer.shown for server, answer in answers.items() if answer.shown})
    if len(site().servers) > 1:
        tell({server: "deployed" for server, answer in answers.items() if answer.done.get("changed")})
    refuse_failed(answers)


def too_long() -> list[str]:
    """Kernel command lines that the kernel would cut, one line each."""
    from .core.configs import cmdline_warnings
    from .core.plan import site_id

    with open(site_img(), "rb") as file:
        data = site_id(file.read())
    pairs = [(server, read_release(image)) for server in chosen() for image in site().images]
    return [
        line for server, release in pairs for line in cmdline_warnings(site(), server, release.image, release, data)
    ]


def author() -> dict:
    from .core import journal

    return journal.author(os.path.dirname(os.path.abspath(settings().site)))


def task_rollback():
    """point the boot files back to the previous release; `image=NAME`, `release=ID`"""
    return command(rollback)


def rollback() -> None:
    images = [image.name for image in site().images]
    answers = everywhere("rollback", images=images, image=settings().image, release=settings().release, author=author())
    tell(texts(answers, moved))
    refuse_failed(answers)


def moved(done: dict) -> str:
    return "\n".join(f"{image}: nodes boot {after} from now on, not {before}" for image, before, after in done["moved"])


def texts(answers: dict[str, Answer], words) -> dict[str, str]:
    """What the servers that could do it have to tell, in words."""
    return {server: words(answer.done) for server, answer in answers.items() if not answer.failure}


def task_prune():
    """remove releases that nobody boots, beyond `keep` and older than `keep_days`"""
    return command(prune)


def prune() -> None:
    rules: dict[str, Any] = {"keep": site().deploy.keep, "keep_days": site().deploy.keep_days, "author": author()}
    foreseen = everywhere("prune", running={}, only_look=True, **rules)
    run_by: dict[str, str] = {}
    if any(removed for answer in foreseen.values() for _, removed, _ in answer.done.get("verdicts", ())):
        run_by = asked_nodes()
    answers = everywhere("prune", running=run_by, only_look=False, **rules)
    tell(texts(answers, verdicts))
    refuse_failed(answers)


def asked_nodes() -> dict[str, str]:
    """Release -> nodes that run it, of those that can be asked; the age of a release speaks for the others."""
    if settings().destdir:  # these are not what nodes boot
        return {}
    run_by, unheard = running()
    for line in unheard:
        say(line)
    return run_by


def verdicts(done: dict) -> str:
    return "\n".join(f"{'removed' if removed else 'kept   '} {id}: {why}" for id, removed, why in done["verdicts"])


def task_verify():
    """compare what is deployed with its manifests"""
    return command(verify, params=[FULL])


def verify(full: bool) -> None:
    answers = everywhere("verify", full=full)
    right = "ok: as it was deployed" + (", every byte" if full else "")
    tell(texts(answers, lambda done: "\n".join(done["findings"]) or right))
    refuse_failed(answers)
    count = sum(len(answer.done["findings"]) for answer in answers.values())
    if count:
        raise Refused(f"{count} differences from what was deployed")


def task_status():
    """show what servers hold and boot, and the last deploys; with --nodes, what nodes run"""
    return command(status, params=[NODES])


def status(nodes: bool) -> None:
    from .core.status import text

    answers = everywhere("status")
    tell(texts(answers, text))
    if nodes:
        run_by, unheard = running()
        print("Nodes")
        for line in [*(f"{names}: {release}" for release, names in sorted(run_by.items())), *unheard]:
            print(f"  {line}")
    refuse_failed(answers)
    count = sum(len(answer.done["wrong"]) for answer in answers.values())
    if count:
        raise Refused(f"{count} things are wrong")
