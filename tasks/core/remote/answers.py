"""Answers: what a boot server may say, as shapes.

What it says is data of another machine, and is looked at first. A shape is a type; a list of one
shape; a tuple, one shape for each value; or names with shapes, besides which others may stand
(`{str: shape}`: any names; a name with `?` may be missing).
"""

from __future__ import annotations

from typing import Any, get_type_hints

from ..base.shapes import Misfit, Shape, fit
from ..dhcp.asked import Asked
from ..release import Release

_TREE = {
    "added": [str],
    "removed": [str],
    "changed": [str],
    "notable": [str],
    "folders": {str: [int]},
}
_FILE = {"path": str, "action": str, "found": str, "diff": [str]}
_RIGHTS = {"before": {str: int}, "after": {str: int}}
_PART = {"before": str | None, "after": str}
_TOLD = {  # see disclosure.told
    "before": str,
    "after": str,
    "packages": dict | None,
    "unknown": str,
    "texts": [{"path": str, "diff": [str], "why": str}],
}
_SIDE = {"packages": dict | None, "texts": {str: str}, "closed": {str: str}}
_ASKED = {  # see history/releases.py
    **dict.fromkeys(("image", "before", "after"), str),
    "paths": [str],
    "packages": bool,
    "old": _SIDE,
    "new": dict | None,
}
PLAN = {
    "changed": bool,
    "releases": [{"image": str, "before": str | None, "after": str, "nodes": [str]}],
    "switches": [{"before": str | None, "after": str, "nodes": [str]}],
    "roots": [{"release": str, "compared_with": str | None, **_TREE, "rights": _RIGHTS}],
    "boots": [
        {
            "release": str,
            "compared_with": str | None,
            **dict.fromkeys(("kernel_version", "kernel", "initrd", "cmdline"), _PART),
            "initrd_files": dict | None,
        }
    ],
    "site_data": bool,
    "nodes": {"added": [str], "removed": [str], "changed": {str: [str]}},
    "site_files": [_FILE],
    "loaders": [str],
    "files": [_FILE],
    "by_hand": [_FILE],
    "reloads": [{"path": str, "command": str}],
    "prunable": [{"release": str, "why": str}],
    "history?": [_TOLD],
}
_RECORD = {
    **dict.fromkeys(("time?", "who?", "action?", "result?", "git?", "nodes?"), str),
    "releases?": {str: str},
    "removed?": [str],
}
_STATUS = {
    "wrong": [str],
    "current": {str: str | None},
    "site": str | None,
    "releases": [
        {
            "id": str,
            "image": str,
            "kernel": str,
            "root": str,
            "entries": int,
            "bytes": int,
            "named_by": str | None,
            "days_since_arrival": int | float,
            "days_since_use": int | float,
        }
    ],
    "secure_boot": [
        {**dict.fromkeys(("label", "release", "certificate", "ends"), str), "wrong": [str]}
    ],
    "pins": {str: str},
    "disks": {str: {"used": int, "free": int}},
    "leases": {"nodes": [str], "strangers": [(str, str)]},
    "journal": [_RECORD],
}
_BOOT = {
    "at": str,
    "ready": bool,
    "seconds": int | float,
    "release": str,
    "stages": {str: int | float},
    "degraded": [str],
}
_CARD = (str,) * len(Asked._fields)
DONE: dict[str, Shape] = {  # by the work that was asked for (see operations.py)
    "plan": {
        "changed": bool,
        "sections": [(str, str)],
        "json": PLAN,
        "steps": [str],
        "by_id": [str],
        "done": str,
    },
    "deploy": {"changed": bool},
    "rollback": {"moved": [(str, str, str)]},
    "prune": {"verdicts": [(str, bool, str)]},
    "verify": {"findings": [str]},
    "repair": {"mended": [str], "left": [str], "missing": {str: [str]}, "roots": [str]},
    "lend": {"files": {str: str}},
    "status": _STATUS,
    "boots": {"boots": {str: _BOOT}},
    "asked": {"cards": [_CARD]},
    "history": {"lines": [str], "asked": _ASKED},
    "site_data": {"site": str, "files": {str: str}},
    "record": {},
}

_RELEASE = get_type_hints(Release)
MESSAGES: dict[str, Shape] = {  # one of these a line (see agent.py)
    "begun": bool,
    "say": str,
    "show": [(str, str)],
    "agree": [str],
    "render": (_RELEASE, str, str),
    "changes": _ASKED,
    "names": [str],
    "bring": {"source": str, "to": str, "like": str, "owners": bool},
    "wants": {"release": str, "bytes": int},
    "has": str,
    "refused": str,
}


def message(value: Any, do: str) -> tuple[str, Any]:
    """The kind and the content of a line of a server that does the work `do`. Raises Misfit."""
    shapes = {**MESSAGES, "done": DONE[do]}
    if type(value) is not dict or len(value) != 1:
        raise Misfit("it is no message")
    (kind,) = value
    if kind not in shapes:
        raise Misfit(f"it has no meaning: {kind}")
    fit(value[kind], shapes[kind], kind)
    return kind, value[kind]
