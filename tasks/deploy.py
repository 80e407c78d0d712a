"""What a boot server holds: made to match, compared, taken back, cleaned up.

release.json, root/, initrd.img, site.img, configs ──> plan ──> deploy ──> /tftpboot  /opt/nfs_export
"""

from __future__ import annotations

import json
import os
import sys
import time

from .configs import site_img
from .console import say
from .core.errors import Refused
from .core.release import Release
from .core.site import Server
from .core.targets import Targets
from .release import boot_files, read_release
from .rule import Changes, command
from .settings import settings, site

BUILT = ("release", "boot_files", "configs", "site_image")
LOADERS = (os.path.join(sys.prefix, "share", "loaders"), "/")  # where ./doit unpacks packages; where they are installed

flag = {"type": bool, "default": False}
JSON = {"name": "as_json", "long": "json", "help": "for scripts", **flag}
EXIT = {"name": "detailed", "long": "detailed-exitcode", "help": "exit status 2 where there are changes", **flag}
FULL = {"name": "full", "long": "full", "help": "compare the bytes of every file, too", **flag}


def targets() -> Targets:
    destdir = os.path.abspath(settings().destdir) if settings().destdir else ""
    return Targets(site().deploy.tftp_root, site().deploy.nfs_root, destdir)


def here() -> Server:
    """The boot server that this machine is. Raises Refused where the site has none."""
    for server in site().servers:
        if server.ssh is None:
            return server
    raise Refused(f"every server of {settings().site} is reached by ssh; run deploy on the boot server itself")


def wanted(server: Server | None = None):
    """Everything that this server, or another, must hold, by the site and by what was built."""
    from .configs import templates
    from .core import loaders, plan, services
    from .core.configs import render_configs

    with open(site_img(), "rb") as file:
        data = file.read()
    server = server or here()
    configs = render_configs(site(), templates())
    files = {path.removeprefix("tftp/"): text for path, text in configs.items() if path.startswith("tftp/")}
    named = [pair for image in site().images for pair in image.loaders]
    return plan.Wanted(
        releases=tuple(plan.Built(read_release(image), settings().path(image.name)) for image in site().images),
        site_id=plan.site_id(data), site_img=data,
        files={**files, **boot_files(server), **pinned(plan.site_id(data), server)},
        loaders=loaders.find(LOADERS, named),
        services=services.wanted(site().deploy, configs, services.is_el()),
        nodes=plan.facts(site()),
    )  # fmt: skip


def pinned(data: str, server: Server) -> dict[str, bytes]:
    """Boot files of releases that nodes are pinned to, of those that are on the server or built."""
    from .core.plan import published

    ids = {node.release for node in site().nodes if node.release}
    known = {release.id: release for release in map(read_release, site().images)} | published(targets()) if ids else {}
    files: dict[str, bytes] = {}
    for id in sorted(ids & known.keys()):
        files |= boot_files_of(known[id], data, id, server)
    return files


def boot_files_of(release: Release, data: str, label: str, server: Server) -> dict[str, bytes]:
    from .configs import templates
    from .core.configs import render_boot

    return render_boot(site(), server, label, release, data, templates())


def task_plan():
    """show what deploy would change, and change nothing"""
    return command(show_plan, after=BUILT, params=[JSON, EXIT])


def show_plan(as_json: bool, detailed: bool):
    from .core import plan, summary

    goal = wanted()
    there = plan.read(targets(), goal)
    steps = plan.plan(there, goal)
    print(json.dumps(summary.as_json(steps, there), indent=1) if as_json else text(steps, there))
    return Changes("") if detailed and steps.changed else None


def text(steps, there) -> str:
    from .core import summary

    return summary.text(steps, there, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ).rstrip("\n")


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
