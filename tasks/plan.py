"""What a boot server must hold, and what a deploy would change there.

release.json, root/, initrd.img, site.img, configs ──> wanted ──> plan
"""

from __future__ import annotations

import json
import os
import sys

from .configs import site_img
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
