"""Overlays: those that nobody lists; and which of a site's folders and files lie elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .errors import BadInput, Problem
from .text import show_path

# of a root, always the first; of the last two the one that the reference's init needs
BUILT_IN_OVERLAYS = ("worker", "sysvinit", "systemd")
UNLISTED_OVERLAYS = ("initrd", *BUILT_IN_OVERLAYS)
GIT = ".git"


def outside(path: str, folders: Iterable[str]) -> str:
    """Where a path leads that is in none of `folders`; "" for one that stays.

    A git checkout that one of them lies in counts with it: several sites of a repository share
    folders by links. Not git's own folder, in which there may be tokens.
    """
    real = os.path.realpath(path)
    for folder in folders:
        top = _checkout(os.path.realpath(folder))
        below = os.path.relpath(real, top).split(os.sep)
        if below[0] != os.pardir and GIT not in below:
            return ""
    return real


def refuse_outside(path: str, folders: Iterable[str]) -> None:
    """Raises BadInput for a path that leads out of all `folders`."""
    if problems := outside_problems([path], folders):
        raise BadInput(problems)


def refuse_link_out_of_checkout(path: str) -> None:
    """Raises BadInput for a link that leads out of the git checkout that it lies in.

    It may be a merge request's. In a folder that is in no checkout, who made it meant it.
    """
    folder = os.path.dirname(os.path.abspath(path))
    top = _checkout(os.path.realpath(folder))
    if os.path.lexists(os.path.join(top, GIT)):
        refuse_outside(path, [folder])


def outside_problems(paths: Iterable[str], folders: Iterable[str]) -> list[Problem]:
    """One for each path that leads out of all `folders`."""
    folders, problems = tuple(folders), []
    for path in paths:
        if real := outside(path, folders):
            what = f"leads to {show_path(os.fsencode(real))}, out of the site's folder"
            remedy = "put a copy in its place, a git submodule or a bind mount"
            where = show_path(os.fsencode(path))
            problems.append(Problem(where, 1, 1, f"{what}; {remedy}"))
    return problems


def _checkout(folder: str) -> str:
    """The git checkout that a folder lies in; the folder itself where it is in none."""
    above = folder
    while not os.path.lexists(os.path.join(above, GIT)):
        if above == os.path.dirname(above):
            return folder
        above = os.path.dirname(above)
    return above
