"""Deployed: the site data that nodes of a server get when they boot."""

from __future__ import annotations

import os
from typing import Any

from ..base.errors import Refused
from ..site_data import files_of, is_of_nodes
from ..store.boot_files import read_files, site_named
from ..store.paths import Targets
from ..store.served import readable_content


def deployed_site_data(targets: Targets) -> dict[str, Any]:
    """Of the site.img that boot files name its id, `site`, and `files`: name -> text.

    Raises Refused where they name none, or it is damaged.
    """
    id = site_named(read_files(targets))
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
    return {"site": id, "files": files}
