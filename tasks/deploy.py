"""A boot server made to match, compared with what it was given, taken back, cleaned up.

plan ──> deploy ──> /tftpboot  /opt/nfs_export
"""

from __future__ import annotations

import os
import time

from .console import say
from .core.errors import Refused
from .core.release import Release
from .plan import BUILT, boot_files_of, flag, here, targets, text, wanted
from .rule import command
from .settings import settings, site

FULL = {"name": "full", "long": "full", "help": "compare the bytes of every file, too", **flag}


def task_deploy():
    """make the targets match what was built"""
    return command(deploy, after=BUILT)


def deploy() -> None:
    from .core import deploy as core
    from .core import loaders

    goal = wanted()
    there = os.listdir(targets().tftp_root) if os.path.isdir(targets().tftp_root) else []
    for line in [*loaders.missing([*goal.loaders, *there]), *too_long(goal)]:
        say(line)
    core.deploy(targets(), goal, author(), say, lambda steps, there: print(text(steps, there), flush=True))


def too_long(goal) -> list[str]:
    """Kernel command lines that the kernel would cut, one line each."""
    from .core.configs import cmdline_warnings

    releases = [built.release for built in goal.releases]
    return [
        line for release in releases for line in cmdline_warnings(site(), here(), release.image, release, goal.site_id)
    ]


def author() -> dict:
    from .core import journal

    return journal.author(os.path.dirname(os.path.abspath(settings().site)))


def task_rollback():
    """point the boot files back to the previous release; `image=NAME`, `release=ID`"""
    return command(rollback)


def rollback() -> None:
    from .core import rollback as core

    def render(release: Release, data: str) -> dict[str, bytes]:
        return boot_files_of(release, data, release.image, here())

    images = [image.name for image in site().images]
    for back in core.rollback(targets(), images, settings().image, settings().release, render, author()):
        print(f"{back.image}: nodes boot {back.after} from now on, not {back.before}")


def task_prune():
    """remove releases that nobody boots, beyond `keep` and older than `keep_days`"""
    return command(prune)


def prune() -> None:
    from .core import prune as core

    rules = site().deploy
    for verdict in core.prune(targets(), rules.keep, rules.keep_days, author(), time.time()):
        print(f"{'removed' if verdict.removed else 'kept   '} {verdict.id}: {verdict.why}")


def task_verify():
    """compare what is deployed with its manifests"""
    return command(verify, params=[FULL])


def verify(full: bool) -> None:
    from .core import verify as core

    findings = list(core.of_server(targets(), full))
    for finding in findings:
        print(finding)
    if findings:
        raise Refused(f"{len(findings)} differences from what was deployed")
    print("ok: as it was deployed" + (", every byte" if full else ""))


def task_status():
    """show the releases on the server and the last deploys"""
    return command(status)


def status() -> None:
    from .core import status as core

    print(core.text(targets()))
