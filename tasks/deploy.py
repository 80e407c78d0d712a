"""Boot servers made to match, compared with what they were given, taken back, cleaned up.

plan ──> deploy ──> /tftpboot  /opt/nfs_export
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from .base.console import say
from .base.desired import build_of_run
from .base.options import AGAIN, BUILT, flag
from .base.paths import read_release
from .base.rule import command
from .base.servers import (
    chosen,
    everywhere,
    refuse_failed,
    tell,
    tell_plans,
    texts,
    unseen_here,
)
from .base.settings import Run, this_run
from .base.trust import keys, sign_build, signed_files
from .core.base.errors import Refused
from .core.base.text import counted
from .plan import as_planned, planned
from .push import ask_nodes

if TYPE_CHECKING:
    from .core.remote.line import Answer
    from .core.remote.options import DeployOptions


FULL = {
    "name": "full",
    "long": "full",
    "help": "compare the bytes of every file, too",
    **flag,
}
REPAIR = {
    "name": "repair",
    "long": "repair",
    "help": "mend roots that are published: bytes from the build, another release or server",
    **flag,
}
SEEN = {
    "name": "seen",
    "long": "plan",
    "type": str,
    "default": None,  # "" is what a job gives whose variable is not set, and no id
    "help": "do what the plan of this id showed, or nothing",
}


def task_deploy():
    """make the targets match what was built; `image=NAME` for the releases of that one alone"""
    return command(
        deploy, this_run, after=BUILT, params=[AGAIN, SEEN], knows="image server destdir key"
    )


def deploy(run: Run, again: bool, seen: str | None) -> None:
    from .core.remote.options import DeployOptions

    for line in too_long(run):
        say(line)
    for id in sign_build(run):
        say(f"signed {id}")
    files = signed_files(run)
    for id in files.sign() if files else ():
        say(f"signed {id} for Secure Boot")
    encrypt(run)
    author = run.author()
    steps = []
    if seen is not None:
        author["plan"] = seen
        steps = as_planned(run, seen, again)
    options = DeployOptions(author, run.settings.image, again, run.revision(), steps)
    if seen is None and len(chosen(run)) > 1:
        answers = deploy_together(run, options)
    else:
        answers = everywhere(run, options, with_goal=True)
    tell_deployed(run, answers)
    refuse_failed(run, answers)


def encrypt(run: Run) -> None:
    """Encrypt what nodes need and nobody else may have, and say for whom there is something new."""
    if not run.site.has_secrets:
        return
    from .core.base.nodeset import fold_nodes
    from .core.node_secrets.of_site import (
        encrypt_secrets,
        forget_gone,
        note_host_keys,
        without_key,
    )

    if not run.settings.destdir:  # a trial takes nothing back
        if gone := forget_gone(run.site):
            say(f"secrets: {fold_nodes(gone)}: no node any more: not enrolled any more")
    folder = os.path.dirname(os.path.abspath(run.settings.site))
    if new := encrypt_secrets(run.site, folder, run.paths.build):
        say(f"secrets: encrypted for {fold_nodes(new)}")
    note_host_keys(run.site, run.paths.known_hosts)
    for line in without_key(run.site):
        say(line)


def tell_deployed(run: Run, answers: Mapping[str, Answer]) -> None:
    """Print what was changed, and of several servers which were."""
    shown, deployed = {}, {}
    for server, answer in answers.items():
        if answer.shown:
            shown[server] = answer.shown
        if answer.done.get("changed"):
            deployed[server] = "deployed"
    tell_plans(run, shown)
    if len(run.site.servers) > 1:
        tell(run, deployed)


def deploy_together(run: Run, options: DeployOptions) -> dict[str, Answer]:
    """What several servers answer. Raises Refused where one of them wants to have been seen.

    None is changed then.
    """
    from .core.remote.line import Unseen

    names = [node.name for node in run.site.nodes]
    if not unseen_here(run, options, names):
        with contextlib.suppress(Unseen):
            return everywhere(run, replace(options, nodes=names), with_goal=True)
    refuse_unseen(run, options.again)
    return everywhere(run, options, with_goal=True)  # it is nothing that would change a server


def refuse_unseen(run: Run, again: bool) -> None:
    """Raises Refused where what a server would do wants to have been seen."""
    unseen = {}
    for name, answer in planned(run, again).items():
        unseen[name] = answer._replace(failure=lines_of(answer))
    refuse_failed(run, unseen)


def lines_of(answer: Answer) -> str:
    """Why a plan wants its id."""
    return "\n".join(answer.done.get("by_id", ()))


def too_long(run: Run) -> list[str]:
    """Kernel command lines that the kernel would cut, one line each."""
    from .core.config.boot_files import cmdline_warnings

    data = build_of_run(run).site_id
    releases = map(read_release, map(run.paths.release, run.images))
    lines: list[str] = []
    for server, release in product(chosen(run), releases):
        lines += cmdline_warnings(run.site, server, release.image, release, data)
    return lines


def task_rollback():
    """point the boot files back to the previous release; `image=NAME`, `release=ID`"""
    return command(rollback, this_run, knows="image release server destdir")


def rollback(run: Run) -> None:
    from .core.remote.options import RollbackOptions

    options = RollbackOptions(
        images=[image.name for image in run.site.images],
        image=run.settings.image,
        release=run.settings.release,
        author=run.author(),
        keys=keys(run),
    )
    answers = everywhere(run, options)
    asked = () if options.image or options.release else options.images
    tell(run, texts(answers, partial(moved, asked)))
    refuse_failed(run, answers)


def moved(asked: Iterable[str], done: dict) -> str:
    """What went back, and which of all that were asked to did not."""
    lines = []
    for image, before, after in done["moved"]:
        lines.append(f"{image}: nodes boot {after} from now on, not {before}")
    for image in sorted({*asked} - {image for image, *_ in done["moved"]}):
        lines.append(f"{image}: no earlier release is there, it stays as it is")
    return "\n".join(lines)


def task_prune():
    """remove releases that nobody boots, beyond `keep` and older than `keep_days`"""
    return command(prune, this_run, knows="image server destdir")


def prune(run: Run) -> None:
    from .core.remote.options import PruneOptions

    options = PruneOptions(
        keep=run.site.deploy.keep,
        keep_days=run.site.deploy.keep_days,
        site=run.site.name,
        image=run.settings.image,
        running={},
        author=run.author(),
        only_look=True,
    )
    foreseen = everywhere(run, options)
    run_by = ask_nodes(run) if any(map(removes, foreseen.values())) else {}
    answers = everywhere(run, replace(options, running=run_by, only_look=False))
    tell(run, texts(answers, verdicts))
    refuse_failed(run, answers)


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
    return command(verify, this_run, params=[FULL, REPAIR], knows="image server destdir")


def verify(run: Run, full: bool, repair: bool) -> None:
    from .core.remote.options import VerifyOptions

    if repair:
        mend(run, full)
    answers = everywhere(run, VerifyOptions(full, run.settings.image, keys(run)))
    right = "ok: as it was deployed"
    if full:
        right += ", every byte"
    tell(run, texts(answers, lambda done: "\n".join(done["findings"]) or right))
    refuse_failed(run, answers)
    count = sum(len(answer.done["findings"]) for answer in answers.values())
    if count:
        raise Refused(f"{counted(count, 'difference')} from what was deployed")


def mend(run: Run, full: bool) -> None:
    """Make published roots what their manifests say; print what became of them.

    What a server has not itself comes from what is built here, or from another server.
    """
    from .core.remote.options import RepairOptions

    options = RepairOptions(full, run.settings.image, keys(run), run.author(), lent={}, built={})
    answers = everywhere(run, options)
    rounds, tried = [answers], set[str]()
    while new := missing_in(answers) - tried:
        tried |= new
        built = built_here(run, new)
        lent = lent_by_others(run, new, built)
        if not built and not lent:
            break
        answers = everywhere(run, replace(options, lent=lent, built=built))
        rounds.append(answers)
    told = {}
    for server in answers:
        told[server] = repaired([each[server] for each in rounds])
    tell(run, told)
    refuse_failed(run, answers)


def built_here(run: Run, digests: set[str]) -> dict[str, str]:
    """Where those files are in what is built: digest -> path; none where nothing is."""
    from .core.inspect.repair import built_paths

    try:
        return built_paths(build_of_run(run).releases.values(), digests)
    except (Refused, OSError):
        return {}


def missing_in(answers: Mapping[str, Answer]) -> set[str]:
    """The digests of files whose bytes some server lacks."""
    missing = set[str]()
    for answer in answers.values():
        missing |= answer.done.get("missing", {}).keys()
    return missing


def repaired(rounds: list[Answer]) -> str:
    """What became of a server's roots, which were looked at once or more often."""
    from .core.inspect.repair import Repaired, advice

    if any(answer.failure for answer in rounds):
        return ""
    done = Repaired([], rounds[-1].done["left"], rounds[-1].done["missing"], [])
    for answer in rounds:
        done.mended.extend(answer.done["mended"])
        done.roots.extend(answer.done["roots"])
    lines = [f"mended {line}" for line in done.mended]
    lines += [f"not mended {line}" for line in done.left]
    return "\n".join([*lines, *advice(done)])


def lent_by_others(run: Run, missing: set[str], built: Mapping[str, str]) -> dict[str, str]:
    """The bytes of files for servers that do not see what is built here: digest -> base64.

    Those that are not built are asked of the other servers.
    """
    from base64 import b64encode

    from .core.inspect.repair import bytes_of
    from .core.remote.options import LendOptions

    far = any(server.ssh for server in chosen(run))
    lent = {}
    for digest, data in bytes_of(built if far else {}).items():
        lent[digest] = b64encode(data).decode()
    rest = sorted(missing - built.keys())
    for answer in everywhere(run, LendOptions(rest)).values() if rest else ():
        lent |= answer.done.get("files", {})
    return lent
