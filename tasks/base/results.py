"""What commands found of a build, for its report: forgotten when the build is another.

plan ──> build/plan.json ──┬──> report
check ─> build/checks.json ┤
status > build/status.json ┘
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from ..core.base.files import read, write_atomic
from ..core.site.model import Site
from ..core.store.paths import BOOT_FILES
from .console import say
from .desired import build_of
from .paths import BuildPaths


def leave(name: str, found: Any, site: Site, paths: BuildPaths) -> None:
    """Keep what a command found of what is built now."""
    text = json.dumps({"of": _mark(name, site, paths), "found": found}, indent=1)
    write_atomic(paths.results(name), f"{text}\n".encode())


def left(name: str, site: Site, paths: BuildPaths) -> Any:
    """What was found of what is built now; None where nothing was, or of an earlier build."""
    from ..core.base import build_state
    from ..core.operate import overview
    from ..core.remote import answers

    plans = {"compared": str, "servers": {str: answers.PLAN}}
    shapes = {"plan": plans, "checks": [[str]], "status": overview.SHAPE}
    kept = build_state.load_kept_json(paths.results(name), {"of": str, "found": shapes[name]}, say)
    if not kept or kept["of"] != _mark(name, site, paths):
        return None
    return kept["found"]


def _mark(name: str, site: Site, paths: BuildPaths) -> str:
    """A digest of what the command looked at."""
    looked = build_of(site, paths).configs
    if name == "checks":
        for path in list(looked):
            if path.startswith(f"tftp/{BOOT_FILES}"):
                del looked[path]
    else:
        more = filter(os.path.exists, (paths.site_img, *map(paths.release, site.images)))
        looked |= {path: read(path) for path in more}
    digest = hashlib.sha256()
    for path, data in looked.items():
        digest.update(os.fsencode(os.path.basename(path)) + b"\0")
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()
