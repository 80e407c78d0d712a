"""Boot servers made to match, compared with what they were given, taken back, cleaned up.

plan ──> deploy ──> /tftpboot  /opt/nfs_export
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from .base.console import say
from .base.desired import this_build
from .base.options import BUILT, flag
from .base.paths import read_release
from .base.rule import command
from .base.servers import chosen, everywhere, refuse_failed, tell, tell_plans
from .base.settings import author, images, settings, site
from .core.base.errors import Refused
from .core.base.text import counted
from .push import ask_nodes, degraded, hear, said_of

if TYPE_CHECKING:
    from .core.remote.operations import Answer


FULL = {
    "name": "full",
    "long": "full",
    "help": "compare the bytes of every file, too",
    **flag,
}
NODES = {
    "name": "nodes",
    "long": "nodes",
    "help": "ask the nodes what they run, over ssh",
    **flag,
}
DISKS = {
    "name": "disks",
    "long": "ask",
    "help": "ask them for their disks, too, with serial numbers",
    **flag,
}
AGAIN = {
    "name": "again",
    "long": "again",
    "help": "go back to what a rollback left, too",
    **flag,
}


def task_deploy():
    """make the targets match what was built; `image=NAME` for the releases of that one alone"""
    return command(deploy, after=BUILT, params=[AGAIN], knows="image server destdir")


def deploy(again: bool) -> None:
    from .core.remote.options import DeployOptions

    for line in too_long():
        say(line)
    options = DeployOptions(author(), settings().image, again)
    answers = everywhere(options, with_goal=True)
    shown, deployed = {}, {}
    for server, answer in answers.items():
        if answer.shown:
            shown[server] = answer.shown
        if answer.done.get("changed"):
            deployed[server] = "deployed"
    tell_plans(shown)
    if len(site().servers) > 1:
        tell(deployed)
    refuse_failed(answers)


def too_long() -> list[str]:
    """Kernel command lines that the kernel would cut, one line each."""
    from .core.config.boot_files import cmdline_warnings

    data = this_build().site_id
    lines: list[str] = []
    for server, release in product(chosen(), map(read_release, images())):
        lines += cmdline_warnings(site(), server, release.image, release, data)
    return lines


def task_rollback():
    """point the boot files back to the previous release; `image=NAME`, `release=ID`"""
    return command(rollback, knows="image release server destdir")


def rollback() -> None:
    from .core.remote.options import RollbackOptions

    options = RollbackOptions(
        images=[image.name for image in site().images],
        image=settings().image,
        release=settings().release,
        author=author(),
    )
    answers = everywhere(options)
    tell(texts(answers, moved))
    refuse_failed(answers)


def moved(done: dict) -> str:
    lines = []
    for image, before, after in done["moved"]:
        lines.append(f"{image}: nodes boot {after} from now on, not {before}")
    return "\n".join(lines)


def texts(answers: dict[str, Answer], words) -> dict[str, str]:
    """What the servers that could do it have to tell, in words."""
    return {server: words(done) for server, done in states_of(answers).items()}


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
    run_by = ask_nodes() if any(map(removes, foreseen.values())) else {}
    answers = everywhere(replace(options, running=run_by, only_look=False))
    tell(texts(answers, verdicts))
    refuse_failed(answers)


def removes(answer: Answer) -> bool:
    """Whether a server would remove a release."""
    return any(removed for _, removed, _ in answer.done.get("verdicts", ()))


def verdicts(done: dict) -> str:
    lines = []
    for id, removed, why in done["verdicts"]:
        verdict = "removed" if removed else "kept   "
        lines.append(f"{verdict} {id}: {why}")
    return "\n".join(lines)


def task_verify():
    """compare what is deployed with its manifests"""
    return command(verify, params=[FULL], knows="image server destdir")


def verify(full: bool) -> None:
    from .core.remote.options import VerifyOptions

    answers = everywhere(VerifyOptions(full, settings().image))
    right = "ok: as it was deployed"
    if full:
        right += ", every byte"
    tell(texts(answers, lambda done: "\n".join(done["findings"]) or right))
    refuse_failed(answers)
    count = sum(len(answer.done["findings"]) for answer in answers.values())
    if count:
        raise Refused(f"{counted(count, 'difference')} from what was deployed")


def task_status():
    """show what servers hold and boot, last deploys; with --nodes or `node=`, what nodes run"""
    return command(status, params=[NODES, DISKS], knows="server node destdir")


def folded(answers: dict[str, Answer]) -> dict[str, Answer]:
    """The answers; servers whose states differ in nothing but seconds have one state."""
    from .core.inspect.status import without_seconds

    states = without_seconds(states_of(answers))
    return {server: answers[server]._replace(done=state) for server, state in states.items()}


def states_of(answers: Mapping[str, Answer]) -> dict[str, dict]:
    """What the servers said that could be asked."""
    return {server: answer.done for server, answer in answers.items() if not answer.failure}


def of_nodes(states: Mapping[str, dict], disks: bool) -> list[str]:
    """What nodes say that they run, and with a `!` those that are not as they shall be.

    `disks`: and which each has.
    """
    from .core.inspect.status import behind, by_release

    heard = hear()
    runs = {name: one.release for name, one in heard.runs.items()}
    late = behind(runs, next_releases(states))
    marked = [f"! {line}" for line in (*late, *said_of(degraded(heard)))]
    had = [f"{name}: {disk}" for name, one in heard.runs.items() for disk in one.disks]
    return [*by_release(runs), *marked, *(had if disks else ()), *heard.unheard]


def next_releases(states: Mapping[str, dict]) -> dict[str, str]:
    """What each node runs from its next boot on: what it is pinned to, or else its image boots."""
    from .core.config.boot_files import server_of

    found = {}
    for node in site().nodes:
        state = states.get(server_of(site(), node).name, {})
        release = node.release or state.get("current", {}).get(node.image)
        if release:
            found[node.name] = release
    return found


def status(nodes: bool, disks: bool) -> None:
    from .core.inspect.status import status_text, unequal
    from .core.remote.options import StatusOptions

    answers = everywhere(StatusOptions())
    tell(texts(folded(answers), status_text))
    states = states_of(answers)
    apart = unequal(states)
    for line in apart:
        print(f"! {line}")
    if nodes or disks or settings().node:
        lines = [f"  {line}" for line in of_nodes(states, disks)]
        print("Nodes", *lines, sep="\n")
    refuse_failed(answers)
    count = len(apart)
    for answer in answers.values():
        count += len(answer.done["wrong"])
    if count:
        are = "is" if count == 1 else "are"
        raise Refused(f"{counted(count, 'thing')} {are} wrong")
