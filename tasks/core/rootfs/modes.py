"""MODES: what an overlay declares of owners and modes that git does not keep, a line a path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from ..base.errors import BadInput, Problem
from ..base.files import read
from ..base.text import show_path
from ..tree.model import FILE, Tree, read_content, resolve

MODES = b"MODES"
_ROW = rb"\s*(\S.*?)\s+(\S+)\s+(\S+)\s+(\S+)\s*"


class Accounts(NamedTuple):
    """Names that MODES may use, as the image's own /etc/passwd and /etc/group have them."""

    users: dict[bytes, int]
    groups: dict[bytes, int]


class Mode(NamedTuple):
    """What a line declares of its path."""

    mode: int
    uid: int
    gid: int
    line: int


ROOT_ONLY = Accounts({b"root": 0}, {b"root": 0})


def accounts(tree: Tree) -> Accounts:
    """The users and groups that `tree` knows."""
    return Accounts(_ids(tree, b"etc/passwd"), _ids(tree, b"etc/group"))


def read_modes(folder: bytes, known: Accounts, problems: list[Problem]) -> dict[bytes, Mode]:
    """What the overlay's MODES declares, by path; an overlay without one declares nothing."""
    file = os.path.join(folder, MODES)
    name = show_path(file)
    declared: dict[bytes, Mode] = {}
    for number, line in _rows(file):
        row = re.fullmatch(_ROW, line)
        if not row:
            problems.append(Problem(name, number, 1, "not `path mode owner group`"))
            continue

        path = row[1].strip(b"/")
        wrong = list(_complaints(row, known))
        if path in declared:
            first = declared[path].line
            wrong.append((1, f"{show_path(path)} is declared twice, first in line {first}"))
        problems += [Problem(name, number, *each) for each in wrong]
        if path not in declared:
            declared[path] = _declared(row, known, number, not wrong)
    return declared


def _rows(file: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, line) of those that say something."""
    for number, line in enumerate(_lines(file), 1):
        if line.split() and not line.lstrip().startswith(b"#"):
            yield number, line


def _complaints(row: re.Match[bytes], known: Accounts) -> Iterator[tuple[int, str]]:
    """(column, what is wrong there) of a line `path mode owner group`."""
    _, mode, owner, group = row.groups()
    if not re.fullmatch(rb"[0-7]{3,4}", mode):
        yield row.start(2) + 1, f"{show_path(mode)} is no mode; write it in octal, as 0640"
    unknown = "is not in the reference's etc/{}; write its number"
    if _id(owner, known.users) is None:
        yield row.start(3) + 1, f"user {show_path(owner)} {unknown.format('passwd')}"
    if _id(group, known.groups) is None:
        yield row.start(4) + 1, f"group {show_path(group)} {unknown.format('group')}"


def _declared(row: re.Match[bytes], known: Accounts, number: int, is_right: bool) -> Mode:
    """What a line says; of one that is wrong, that it is there."""
    if not is_right:
        return Mode(0, 0, 0, number)
    uid, gid = _id(row[3], known.users), _id(row[4], known.groups)
    return Mode(int(row[2], 8), uid or 0, gid or 0, number)


def _id(name: bytes, known: dict[bytes, int]) -> int | None:
    if name.isdigit():
        return int(name) if int(name) < 2**32 - 1 else None
    return known.get(name)


def _lines(name: bytes) -> list[bytes]:
    try:
        return read(name).split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput.at(show_path(name), f"cannot be read: {error.strerror}") from None


def _ids(tree: Tree, path: bytes) -> dict[bytes, int]:
    """name -> number of a file like /etc/passwd; root is 0 even where there is none."""
    found = {b"root": 0}
    entry = tree.get(resolve(tree, path))
    text = read_content(entry) if entry and entry.type == FILE else b""
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and fields[2].isdigit():
            found[fields[0]] = int(fields[2])
    return found
