"""State: what was decided about an image, kept in one private file of the build.

Where there is none, or it is not to be understood, all is decided anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.build_state import load_kept_json
from ..base.errors import Problem
from ..base.files import write_atomic

if TYPE_CHECKING:
    from ..rootfs.disks import DiskSupport

PROBLEM = {"file": str, "line": int, "column": int, "message": str}
DISKS = {"folders": [str], "programs": [str], "bytes": {str: int}}  # a DiskSupport
SHAPE = {"problems": [PROBLEM], "disks?": DISKS, "startable": str}


class ImageState(NamedTuple):
    """What was decided."""

    problems: tuple[Problem, ...] = ()  # all that is wrong with it
    disks: DiskSupport | None = None  # what its root has for disks; None where that cannot be
    startable: str = ""  # names that of which a kernel and an initrd could be made


def load_state(path: str, say: Callable[[str], None]) -> ImageState:
    """What is known of an image, if anything is; `say` is told of a damaged file."""
    held = load_kept_json(path, SHAPE, say)
    if held is None:
        return ImageState()
    problems = map(_problem, held["problems"])
    return ImageState(tuple(problems), held.get("disks"), held["startable"])


def _problem(held: dict[str, Any]) -> Problem:
    return Problem(**{name: held[name] for name in PROBLEM})


def save_state(path: str, state: ImageState) -> None:
    found: dict[str, Any] = {
        "problems": list(map(_plain, state.problems)),
        "startable": state.startable,
    }
    if state.disks is not None:
        found["disks"] = state.disks
    write_atomic(path, json.dumps(found).encode())


def _plain(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in PROBLEM}
