"""Boot servers made to match, compared with what they were given, taken back, cleaned up.

plan ──> deploy ──> /tftpboot  /opt/nfs_export
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from .base.console import say
from .base.options import BUILT, flag
from .base.paths import read_release, site_img
from .base.rule import command
from .base.servers import chosen, everywhere, refuse_failed, tell, tell_plans
from .base.settings import author, images, settings, site
from .core.base.errors import Refused
from .core.base.text import counted
from .push import DEGRADED, ask_nodes, hear, said_of

if TYPE_CHECKING:
    from .core.remote.operations import Answer


FULL = {"name": "full", "long": "full", "help": "compare the bytes of every file, too", **flag}
NODES = {"name": "nodes", "long": "nodes", "help": "ask the nodes what they run, over ssh", **flag}


AGAIN = {"name": "again", "long": "again", "help": "go back to what a rollback left, too", **flag}


def task_deploy():
    """make the targets match what was built; `image=NAME` for the releases of that one alone"""
    return command(deploy, after=BUILT, params=[AGAIN], knows="image server destdir")


def deploy(again: bool) -> None:
    from .core.remote.options import DeployOptions

    for line in too_long():
        say(line)
    options = DeployOptions(author(), settings().image, again)
    answers = everywhere(options, with_goal=True)
    tell_plans({server: answer.shown for server, answer in answers.items() if answer.shown})
    if len(site().servers) > 1:
        tell(
            {server: "deployed" for server, answer in answers.items() if answer.done.get("changed")}
        )
    refuse_failed(answers)


def too_long() -> list[str]:
    """Kernel command lines that the kernel would cut, one line each."""
    from .core.config.boot_files import cmdline_warnings
    from .core.desired.build import site_id

    with open(site_img(), "rb") as file:
        data = site_id(file.read())
    pairs = [(server, read_release(image)) for server in chosen() for image in images()]
    return [
        line
        for server, release in pairs
        for line in cmdline_warnings(site(), server, release.image, release, data)
    ]


def task_rollback():
    """point the boot files back to the previous release; `image=NAME`, `release=ID`"""
    return command(rollback, knows="image release server destdir")


def rollback() -> None:
    from .core.remote.options import RollbackOptions

    images = [image.name for image in site().images]
    answers = everywhere(RollbackOptions(images, settings().image, settings().release, author()))
    tell(texts(answers, moved))
    refuse_failed(answers)


def moved(done: dict) -> str:
    return "\n".join(
        f"{image}: nodes boot {after} from now on, not {before}"
        for image, before, after in done["moved"]
    )


def texts(answers: dict[str, Answer], words) -> dict[str, str]:
    """What the servers that could do it have to tell, in words."""
    return {server: words(answer.done) for server, answer in answers.items() if not answer.failure}


def task_prune():
    """remove releases that nobody boots, beyond `keep` and older than `keep_days`"""
    return command(prune, knows="image server destdir")


def prune() -> None:
    from .core.remote.options import PruneOptions

    options = PruneOptions(
        keep=site().deploy.keep,
        keep_days=site().deploy.keep_days,
        site=site().name,
        image=settings().image,
        running={},
        author=author(),
        only_look=True,
    )
    foreseen = everywhere(options)
    run_by: dict[str, str] = {}
    if any(
        removed for answer in foreseen.values() for _, removed, _ in answer.done.get("verdicts", ())
    ):
        run_by = ask_nodes()
    answers = everywhere(replace(options, running=run_by, only_look=False))
    tell(texts(answers, verdicts))
    refuse_failed(answers)


def verdicts(done: dict) -> str:
    return "\n".join(
        f"{'removed' if removed else 'kept   '} {id}: {why}"
        for id, removed, why in done["verdicts"]
    )


def task_verify():
    """compare what is deployed with its manifests"""
    return command(verify, params=[FULL], knows="image server destdir")


def verify(full: bool) -> None:
    from .core.remote.options import VerifyOptions

    answers = everywhere(VerifyOptions(full, settings().image))
    right = "ok: as it was deployed" + (", every byte" if full else "")
    tell(texts(answers, lambda done: "\n".join(done["findings"]) or right))
    refuse_failed(answers)
    count = sum(len(answer.done["findings"]) for answer in answers.values())
    if count:
        raise Refused(f"{counted(count, 'difference')} from what was deployed")


def task_status():
    """show what servers hold and boot, and the last deploys; with --nodes or `node=`, what nodes run"""
    return command(status, params=[NODES], knows="server node destdir")


def folded(answers: dict[str, Answer]) -> dict[str, Answer]:
    """The answers; servers whose states differ in nothing but seconds have one state."""
    from .core.inspect.status import without_seconds

    there = {server: answer.done for server, answer in answers.items() if not answer.failure}
    return {
        server: answers[server]._replace(done=state)
        for server, state in without_seconds(there).items()
    }


def of_nodes(states: Mapping[str, dict]) -> list[str]:
    """What nodes say that they run, and with a `!` those that are not as they shall be."""
    from .core.inspect.status import behind, by_release

    heard = hear()
    runs = {name: one.release for name, one in heard.runs.items()}
    degraded = dict.fromkeys((name for name, one in heard.runs.items() if one.degraded), DEGRADED)
    marked = [*behind(runs, next_releases(states)), *said_of(degraded)]
    return [*by_release(runs), *(f"! {line}" for line in marked), *heard.unheard]


def next_releases(states: Mapping[str, dict]) -> dict[str, str]:
    """What each node runs from its next boot on: what it is pinned to, else what its image boots."""
    from .core.config.boot_files import server_of

    named = {
        node: states.get(server_of(site(), node).name, {}).get("current", {})
        for node in site().nodes
    }
    found = {node.name: node.release or current.get(node.image) for node, current in named.items()}
    return {name: release for name, release in found.items() if release}


def status(nodes: bool) -> None:
    from .core.inspect.status import status_text, unequal
    from .core.remote.options import StatusOptions

    answers = everywhere(StatusOptions())
    tell(texts(folded(answers), status_text))
    states = {server: answer.done for server, answer in answers.items() if not answer.failure}
    apart = unequal(states)
    for line in apart:
        print(f"! {line}")
    if nodes or settings().node:
        print("Nodes", *(f"  {line}" for line in of_nodes(states)), sep="\n")
    refuse_failed(answers)
    count = len(apart) + sum(len(answer.done["wrong"]) for answer in answers.values())
    if count:
        raise Refused(f"{counted(count, 'thing')} {'is' if count == 1 else 'are'} wrong")
