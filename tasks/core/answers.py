"""Answers: what a boot server may say, as shapes. What it says is data of another machine, and is looked at first.

A shape is a type; a list of one shape; a tuple, one shape for each value; or names with shapes, besides which others
may stand (`{str: shape}`: any names; a name with `?` may be missing).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .release import Release

Shape = Any

_TREE = {"added": [str], "removed": [str], "changed": [str], "notable": [str], "folders": {str: [int]}}
_FILE = {"path": str, "action": str, "found": str, "diff": [str]}
_RIGHTS = {"before": {str: int}, "after": {str: int}}
_PART = {"before": str | None, "after": str}
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
}
_RECORD = {
    **dict.fromkeys(("time?", "who?", "action?", "result?", "git?"), str),
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
            "entries": int,
            "bytes": int,
            "named_by": str | None,
            "days_since_use": int | float,
        }
    ],
    "pins": {str: str},
    "disks": {str: {"used": int, "free": int}},
    "leases": {"nodes": [str], "strangers": [(str, str)]},
    "journal": [_RECORD],
}
DONE: dict[str, Shape] = {  # by the work that was asked for (see work.py)
    "plan": {"changed": bool, "sections": [(str, str)], "json": PLAN},
    "deploy": {"changed": bool},
    "rollback": {"moved": [(str, str, str)]},
    "prune": {"verdicts": [(str, bool, str)]},
    "verify": {"findings": [str]},
    "status": _STATUS,
}

_RELEASE = {each.name: int if each.type == "int" else str for each in dataclasses.fields(Release)}
MESSAGES: dict[str, Shape] = {  # one of these a line (see far.py)
    "begun": bool,
    "say": str,
    "show": [(str, str)],
    "render": (_RELEASE, str, str),
    "names": [str],
    "bring": {"source": str, "to": str, "like": str, "owners": bool},
    "refused": str,
}


class Misfit(ValueError):
    """A value is not of its shape; what and where."""


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


def fit(value: Any, shape: Shape, where: str) -> None:
    """Raises Misfit where the value has not that shape. `where` names the value."""
    if isinstance(shape, dict):
        _is(value, dict, where)
        pairs = ((name, shape[str]) for name in value) if str in shape else shape.items()
        for name, inner in pairs:
            _fit_name(value, name, inner, where)
    elif isinstance(shape, (list, tuple)):
        _is(value, list, where)
        if isinstance(shape, tuple) and len(value) != len(shape):
            raise Misfit(f"{where} has {len(value)} values, not {len(shape)}")
        for number, held in enumerate(value):
            fit(held, shape[number if isinstance(shape, tuple) else 0], f"{where}[{number}]")
    else:
        _is(value, shape, where)


def _fit_name(value: dict[str, Any], name: str, shape: Shape, where: str) -> None:
    optional, name = name.endswith("?") and name not in value, name if name in value else name.rstrip("?")
    if name in value:
        fit(value[name], shape, f"{where}.{name}")
    elif not optional:
        raise Misfit(f"{where}.{name} is missing")


def _is(value: Any, kind: Any, where: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise Misfit(f"{where} is not {getattr(kind, '__name__', kind)}")
