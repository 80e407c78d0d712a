"""State: all that a build keeps of an image for itself, in one private file.

Its first line is what was decided of the image, as JSON. The rest is the index of a reference that
is read in place: what is known of each of its files, so that only new ones are read. Where there is
none, or it is not to be understood, all is read and decided anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.build_state import parse_kept_json
from ..base.errors import Problem
from ..base.files import replace
from ..scan.index import NOTHING_KNOWN, Index, read_index

if TYPE_CHECKING:
    from ..rootfs.disks import DiskSupport

PROBLEM = {"file": str, "line": int, "column": int, "message": str}
# A DiskSupport; an earlier version kept no mounts
DISKS = {"folders": [str], "programs": [str], "bytes": {str: int}, "mounts?": [str]}
SHAPE = {"problems": [PROBLEM], "disks?": DISKS, "startable": str}


class ImageState(NamedTuple):
    """What was decided."""

    problems: tuple[Problem, ...] = ()  # all that is wrong with it
    disks: DiskSupport | None = None  # what its root has for disks; None where that cannot be
    startable: str = ""  # names that of which a kernel and an initrd can be made


def load_state(path: str, say: Callable[[str], None]) -> ImageState:
    """What was decided of an image, if anything was; `say` is told of a damaged file."""
    try:
        with open(path, "rb") as file:
            data = file.readline()
    except FileNotFoundError:
        return ImageState()
    held = parse_kept_json(path, data, SHAPE, say)
    if held is None:
        return ImageState()
    problems = map(_problem, held["problems"])
    return ImageState(tuple(problems), held.get("disks"), held["startable"])


def load_known(path: str, rules: str) -> Index:
    """What is known of the files of its reference, if anything is; `rules`: of what is read."""
    try:
        with open(path, "rb") as file:
            file.readline()
            return read_index(file, rules)
    except OSError:
        return NOTHING_KNOWN


def _problem(held: dict[str, Any]) -> Problem:
    return Problem(**{name: held[name] for name in PROBLEM})


def save_state(path: str, state: ImageState, index: Iterable[bytes | memoryview] = ()) -> None:
    """Write it for its owner alone. `index`: its bytes, in pieces; nothing of a snapshot."""
    found: dict[str, Any] = {
        "problems": list(map(_plain, state.problems)),
        "startable": state.startable,
    }
    if state.disks is not None:
        found["disks"] = state.disks
    line = json.dumps(found).encode() + b"\n"
    replace(path, [line, *index], mode=0o600)


def _plain(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in PROBLEM}
