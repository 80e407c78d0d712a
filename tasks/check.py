"""Is all of it right: the site, its overlays, and each generated file by its server's checker."""

from __future__ import annotations

import json
import os
from itertools import product
from typing import TYPE_CHECKING

from .base.desired import build_of, targets
from .base.disk_layouts import lacking
from .base.options import LOADERS
from .base.paths import read_release
from .base.results import leave
from .base.rule import command
from .base.settings import Run, this_run
from .configs import look_at_node_files
from .core.base.boot_programs import AMD64
from .core.base.errors import Refused
from .core.base.files import content
from .core.base.text import counted
from .core.dhcp.servers import BY_WORD
from .core.release import id_by
from .report import refresh
from .root import Notes, lost_hosts, lost_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .core.config.checkers import CheckResult
    from .core.site.model import Image, Site


def task_check():
    """check the site and overlays, and let each server's own checker read its file"""
    return command(check, this_run, after=["configs"], knows="destdir")


def check(run: Run) -> None:
    from .core.config.checkers import FAILED, CheckResult, validate

    rows = written(run)
    rows += validate(run.paths.configs)
    for subject, warnings in WARNINGS.items():
        rows += [CheckResult(subject, "warning", line) for line in warnings(run)]
    leave("checks", rows, run.site, run.paths)
    refresh(run.site, run.paths)
    show(rows)
    failed = [row.file for row in rows if row.verdict == FAILED]
    if failed:
        raise Refused(f"{len(failed)} of {len(rows)} are not right: {', '.join(failed)}")


def task_validate():
    """check what people write, and build nothing: the site, its overlays and templates"""
    return command(lambda run: show(written(run)), this_run)


def written(run: Run) -> list[CheckResult]:
    """What people write, a row each. Raises BadInput."""
    from .core.config.checkers import OK, CheckResult
    from .core.config.templates import check_templates
    from .core.rootfs.overlay import find_layers, layer

    nodes, images = counted(len(run.site.nodes), "node"), counted(len(run.site.images), "image")
    rows = [CheckResult(run.settings.site, OK, f"{nodes}, {images}")]
    for name, folder in find_layers(run.paths.folders, overlay_names(run.site)):
        layer(folder, name)
        rows.append(CheckResult(f"overlays/{name}", OK))
    check_templates(run.paths.templates)
    look_at_node_files(run.site, run.paths.folders)
    return [*rows, CheckResult("templates", OK)]


def show(rows: list[CheckResult]) -> None:
    for row in rows:
        print(f"{row.verdict:8} {row.file}{': ' if row.text else ''}{row.text}")


def long_lines(run: Run) -> list[str]:
    """What the kernel would cut, of the images that are built already."""
    from .core.config.boot_files import cmdline_warnings

    built = filter(os.path.exists, map(run.paths.release, run.site.images))
    folder = id_by("site", "0" * 64)  # as long as any
    lines: list[str] = []
    for server, release in product(run.site.servers, map(read_release, built)):
        lines += cmdline_warnings(run.site, server, release.image, release, folder)
    return lines


def exposed(run: Run) -> list[str]:
    """What nodes or local users can do with nfs_root, where it is there already."""
    from .core.deploy.preflight import is_open, missing_options, warn_of_exposure

    lines: list[str] = []
    here = targets(run)
    if os.path.isdir(here.nfs_root):
        warn_of_exposure(here, lines.append)
        if options := ",".join(missing_options(here)):
            what = "setuid programs and devices of roots are for nodes, not for local users"
            lines.append(f"mount {here.nfs} with {options}: {what}")
        if is_open(here):
            why = "local users can enter it, and nodes need no way through it"
            lines.append(f"chmod 0700 {here.nfs}: {why}")
    return lines


def unread(run: Run) -> list[str]:
    """That the DHCP server reads no file of another name, and no other file can include it."""
    deploy = run.site.deploy
    server = BY_WORD.get(deploy.dhcp)
    if server is None or deploy.dhcp_conf in (None, server.path) or not server.elsewhere:
        return []
    return [server.elsewhere.format(file=deploy.dhcp_conf, path=server.path)]


def staged(run: Run) -> Iterator[tuple[Image, Notes]]:
    """The images that are built already, each with what was noted of its root."""
    for image in run.site.images:
        if notes := content(run.paths.notes(image)):
            yield image, json.loads(notes)


def unnamed(run: Run) -> list[str]:
    """What the references call others, and nodes will not."""
    lines: list[str] = []
    for image, notes in staged(run):
        lines += lost_hosts(image, notes, run.site, run.paths.folders)
    return lines


def unwritable(run: Run) -> list[str]:
    """What services need, and no node can write, or has."""
    from .core.site.model import WRITABLE

    lines: list[str] = []
    for image, notes in staged(run):
        said = list(notes.get("bereft", []))
        if image.root not in WRITABLE:
            said += notes.get("unwritable", [])
        lines += [f"{image.name}: {line}" for line in said]
    return lines


def unlabelled(run: Run) -> list[str]:
    """That nodes would ask for labels that they will not have."""
    lines: list[str] = []
    for image, notes in staged(run):
        lines += lost_labels(image, notes, run.site)
    return lines


def not_opened(run: Run) -> list[str]:
    """What nodes lack to open their secrets, and owners of these that they do not know."""
    lines: list[str] = []
    for image, notes in staged(run):
        lines += [f"{image.name}: {line}" for line in notes.get("secrets_lack", [])]
        users = content(os.path.join(run.paths.root(image), "etc/passwd")) or b""
        names = {line.partition(":")[0] for line in users.decode(errors="replace").splitlines()}
        for secret in run.site.secrets:
            owner = secret.owner.partition(":")[0]
            if owner not in names:
                what = f"no user {owner}, whose /{secret.to} shall be; it is root's there"
                lines.append(f"{image.name}: {what}")
    return lines


def overlay_names(site: Site) -> list[str]:
    """Every overlay that some image of the site has."""
    return sorted({name for image in site.images for name in image.overlays})


def without_way(run: Run) -> list[str]:
    """Networks whose nodes have no way to a server."""
    from .core.config.networks import without_way

    return without_way(run.site)


def other_processors(run: Run) -> list[str]:
    """What images for other processors than a PC's lack here: loaders, once they are built."""
    from .core.desired.build import loaders_of
    from .core.reference.emulation import lacking_emulator
    from .core.store.loaders import missing_loaders

    images = [image for image in run.site.images if image.arch != AMD64]
    made_here = [image for image in images if image.reference.kind == "bootstrap"]
    lines = [
        f"{image.name}: {line}" for image in made_here for line in lacking_emulator(image.arch)
    ]
    if any(os.path.isdir(run.paths.root(image)) for image in images):
        found = {*loaders_of(build_of(run.site, run.paths), LOADERS)}
        if os.path.isdir(tftp_root := targets(run).tftp_root):
            found.update(os.listdir(tftp_root))
        lines += missing_loaders(found, {image.arch for image in images})
    return lines


WARNINGS = {  # what they are about -> lines of warning
    "networks": without_way,
    "kernel command line": long_lines,
    "deploy.nfs_root": exposed,
    "disk": lambda run: lacking(run.site, run.paths),
    "hosts": unnamed,
    "services": unwritable,
    "selinux": unlabelled,
    "deploy.dhcp_conf": unread,
    "arch": other_processors,
    "secrets": not_opened,
}
