"""Is all of it right: the site, its overlays, and each generated file by its server's checker."""

from __future__ import annotations

import json
import os
from itertools import product
from typing import TYPE_CHECKING

from .base.desired import targets
from .base.disk_layouts import lacking
from .base.paths import config, notes_of, read_release, release_of, templates
from .base.results import leave
from .base.rule import command
from .base.settings import settings, site
from .core.base.errors import Refused
from .core.base.files import content
from .core.dhcp.servers import BY_WORD
from .report import refresh
from .root import Notes, lost_hosts, lost_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .core.config.checkers import CheckResult
    from .core.site.model import Image


def task_check():
    """check the site and overlays, and let each server's own checker read its file"""
    return command(check, after=["configs"], knows="destdir")


def check() -> None:
    from .core.config.checkers import FAILED, CheckResult, validate

    rows = written()
    rows += validate(config("").rstrip("/"))
    for subject, warnings in WARNINGS.items():
        rows += [CheckResult(subject, "warning", line) for line in warnings()]
    leave("checks", rows)
    refresh()
    show(rows)
    failed = [row.file for row in rows if row.verdict == FAILED]
    if failed:
        raise Refused(f"{len(failed)} of {len(rows)} are not right: {', '.join(failed)}")


def task_validate():
    """check what people write, and build nothing: the site, its overlays and templates"""
    return command(lambda: show(written()))


def written() -> list[CheckResult]:
    """What people write, a row each. Raises BadInput."""
    from .core.config.checkers import OK, CheckResult
    from .core.config.templates import check_templates
    from .core.rootfs.overlay import find_layers, layer

    rows = [CheckResult(settings().site, OK, counted())]
    for name, folder in find_layers(settings().folders, overlay_names()):
        layer(folder, name)
        rows.append(CheckResult(f"overlays/{name}", OK))
    check_templates(templates())
    return [*rows, CheckResult("templates", OK)]


def show(rows: list[CheckResult]) -> None:
    for row in rows:
        print(f"{row.verdict:8} {row.file}{': ' if row.text else ''}{row.text}")


def counted() -> str:
    words = [(len(site().nodes), "node"), (len(site().images), "image")]
    return ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in words)


def long_lines() -> list[str]:
    """What the kernel would cut, of the images that are built already."""
    from .core.config.boot_files import cmdline_warnings

    built = [image for image in site().images if os.path.exists(release_of(image))]
    folder = "site-" + "0" * 12  # as long as any
    lines: list[str] = []
    for server, release in product(site().servers, map(read_release, built)):
        lines += cmdline_warnings(site(), server, release.image, release, folder)
    return lines


def exposed() -> list[str]:
    """What nodes or local users can do with nfs_root, where it is there already."""
    from .core.deploy.preflight import missing_options, warn_of_exposure

    lines: list[str] = []
    if os.path.isdir(targets().nfs_root):
        warn_of_exposure(targets(), lines.append)
        if options := ",".join(missing_options(targets())):
            what = "setuid programs and devices of roots are for nodes, not for local users"
            lines.append(f"mount {targets().nfs} with {options}: {what}")
    return lines


def unread() -> list[str]:
    """That the DHCP server reads no file of another name, and no other file can include it."""
    deploy = site().deploy
    server = BY_WORD.get(deploy.dhcp)
    if server is None or deploy.dhcp_conf in (None, server.path) or not server.elsewhere:
        return []
    return [server.elsewhere.format(file=deploy.dhcp_conf, path=server.path)]


def staged() -> Iterator[tuple[Image, Notes]]:
    """The images that are built already, each with what was noted of its root."""
    for image in site().images:
        if notes := content(notes_of(image)):
            yield image, json.loads(notes)


def unnamed() -> list[str]:
    """What the references call others, and nodes will not."""
    lines: list[str] = []
    for image, notes in staged():
        lines += lost_hosts(image, notes, site())
    return lines


def unwritable() -> list[str]:
    """What services need, and no node can write."""
    from .core.site.model import WRITABLE

    lines: list[str] = []
    for image, notes in staged():
        if image.root not in WRITABLE:
            lines += [f"{image.name}: {line}" for line in notes.get("unwritable", [])]
    return lines


def unlabelled() -> list[str]:
    """That nodes would ask for labels that they will not have."""
    lines: list[str] = []
    for image, notes in staged():
        lines += lost_labels(image, notes, site())
    return lines


def overlay_names() -> list[str]:
    """Every overlay that some image of the site has."""
    return sorted({name for image in site().images for name in image.overlays})


WARNINGS = {  # what they are about -> lines of warning
    "kernel command line": long_lines,
    "deploy.nfs_root": exposed,
    "disk": lacking,
    "hosts": unnamed,
    "services": unwritable,
    "selinux": unlabelled,
    "deploy.dhcp_conf": unread,
}
