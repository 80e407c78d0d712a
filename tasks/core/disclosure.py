"""Disclosure: what of the changes between two releases may be told to whoever reads a plan.

A reader of a plan or a report may be no admin. So no text is shown that others may not read on a
node, that only `keep` let out, or in which the search for secrets finds anything, before or after.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from .base.text import readable, show_path
from .history.packages import compare_packages
from .history.sides import Side, parse_side
from .plan.model import FileChange
from .rootfs.scrub import secret_in
from .rootfs.scrub_rules import is_kept, paths_of
from .secret_scan.find import broken_rule
from .tree.model import generated_file

UNKNOWN = (
    "not known: the program rpm is not here, or cannot read their data base (4.16 and newer can)"
)


def told(asked: Mapping[str, Any], new: Side, keep: Collection[str]) -> dict[str, Any]:
    """What changed: `before`, `after`, `packages` (or why not, `unknown`) and `texts`.

    `packages` is as compare_packages has it, or None; of each text `path`, `diff` and, where that
    is not shown, `why`. `asked`: see history/releases.py.
    """
    old = parse_side(asked["old"])
    packages = compare_packages(old.packages, new.packages) if asked["packages"] else None
    is_unknown = asked["packages"] and packages is None
    return {
        "before": asked["before"],
        "after": asked["after"],
        "packages": packages,
        "unknown": UNKNOWN if is_unknown else "",
        "texts": [_text(path, old, new, keep) for path in asked["paths"]],
    }


def _text(path: str, old: Side, new: Side, keep: Collection[str]) -> dict[str, Any]:
    """What of one file may be told."""
    name = os.fsencode(path)
    why = old.closed.get(path) or new.closed.get(path) or ""
    diff: list[str] = []
    if not why:
        texts = old.texts.get(path, b""), new.texts.get(path, b"")
        why = _why_hidden(name, texts, keep)
        if not why:
            diff = list(map(readable, FileChange(path, *texts).diff()))
    return {"path": show_path(name), "diff": diff, "why": why}


def _why_hidden(path: bytes, texts: tuple[bytes, bytes], keep: Collection[str]) -> str:
    """Why neither text of a file is shown; "" where both may be."""
    if is_kept(path, paths_of(keep)):
        return "`keep` lets it out"
    for data in texts:
        if secret_in(path, generated_file(data)) or broken_rule(data):
            return "it may hold a secret"
        if b"\0" in data or not _is_text(data):
            return "it is no text"
    return ""


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
