"""Deployed: the site data and the releases that nodes of a server get when they boot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..base.errors import Refused
from ..site_data import files_of, is_of_nodes
from ..store.boot_files import current, is_id, read_files, site_named
from ..store.kept import published
from ..store.paths import Targets
from ..store.served import readable_content


def deployed_site_data(targets: Targets) -> dict[str, Any]:
    """Of the site.img that boot files name its id, `site`, and `files`: name -> text.

    Beside them `releases`: what each label of boot files boots, as its release.json says.

    Raises Refused where they name none, or it is damaged.
    """
    boot_files = read_files(targets)
    id = site_named(boot_files)
    if id is None:
        raise Refused("no site data is deployed; ./doit deploy first")
    path = os.path.join(targets.boot(id), "site.img")
    data = readable_content(path) or b""
    files = {}
    for place, held in files_of(data).items():
        name = os.path.relpath(place, "plugnode")
        if is_of_nodes(name):
            files[name] = held.decode(errors="surrogateescape")
    if not files:
        raise Refused(f"{path}: boot files name it, and it is missing or damaged; deploy again")
    return {"site": id, "files": files, "releases": _releases(targets, boot_files)}


def _releases(targets: Targets, boot_files: Mapping[str, bytes]) -> dict[str, Any]:
    """By the labels of boot files: an image's name, or the id of a release that is pinned."""
    held = published(targets)
    labels = {os.path.basename(name).rpartition(".")[0] for name in boot_files}
    found = {}
    for label in labels:
        release = held.get(label if is_id(label) else current(boot_files, label) or "")
        if release:
            found[label] = release._asdict()
    return found
