"""What commands found of a build, for its report: forgotten when the build is another.

plan ──> build/plan.json ──┬──> report
check ─> build/checks.json ┘
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from ..core.base.files import read, write_atomic
from ..core.store.paths import BOOT_FILES
from .console import say
from .desired import this_build
from .paths import release_of, results_path, site_img
from .settings import site


def leave(name: str, found: Any) -> None:
    """Keep what a command found of what is built now."""
    text = json.dumps({"of": _mark(name), "found": found}, indent=1)
    write_atomic(results_path(name), f"{text}\n".encode())


def left(name: str) -> Any:
    """What was found of what is built now; None where nothing was, or of an earlier build."""
    from ..core.base import build_state
    from ..core.remote import answers

    plans = {"compared": str, "servers": {str: answers.PLAN}}
    shape = {"of": str, "found": [[str]] if name == "checks" else plans}
    kept = build_state.load_kept_json(results_path(name), shape, say)
    if not kept or kept["of"] != _mark(name):
        return None
    return kept["found"]


def generated() -> dict[str, bytes]:
    """Every file below build/configs: its path there -> bytes.

    The rules that write them let no other be there.
    """
    return this_build().configs


def _mark(name: str) -> str:
    """A digest of what the command looked at."""
    looked = generated()
    if name == "checks":
        for path in list(looked):
            if path.startswith(f"tftp/{BOOT_FILES}"):
                del looked[path]
    else:
        more = filter(os.path.exists, (site_img(), *map(release_of, site().images)))
        looked |= {path: read(path) for path in more}
    digest = hashlib.sha256()
    for path, data in looked.items():
        digest.update(os.fsencode(os.path.basename(path)) + b"\0")
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()
