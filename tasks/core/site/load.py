"""Reads and validates `site.yaml`: its text, each part by itself, then the rules across parts.

All problems are said at once.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ..base.errors import BadInput, Problem
from . import constraints, nodes, resolve, schema, validate
from .model import Site
from .strict_yaml import Path, YamlSource, shown_value

Folders = tuple[str, ...]


class Written(NamedTuple):
    """A site as it was written, and was found to be right."""

    source: YamlSource
    said: schema.Section
    members: list[nodes.Member]


def read_written(path: str, folders: Folders, content: bytes | None = None) -> Written:
    """The site as written, each node by itself. Raises BadInput with every problem.

    Overlays are looked up below `folders` (`overlays/<name>`).
    """
    source = YamlSource(path, content)
    complaints = _Complaints(source)
    said = validate.validate_site(schema.SiteFile, source.data, complaints)
    members = nodes.members(said.nodes or {}, complaints)
    constraints.constraint_problems(said, members, _folder(path), folders, complaints)
    complaints.end()
    return Written(source, said, members)


def read_site(
    path: str, folders: Folders, content: bytes | None = None
) -> tuple[Site, resolve.Needs]:
    """The site, and what must exist on this machine for it to stay right. Raises BadInput."""
    _, said, members = read_written(path, folders, content)
    site = resolve.resolve_site(said, members, _folder(path))
    return site, resolve.needs(said, _folder(path), folders)


def _folder(path: str) -> str:
    return os.path.dirname(path) or "."


class _Where(NamedTuple):
    path: Path
    key: bool  # with the key, not with its value
    hint: str


class _Complaints:
    """Collects problems; several of one kind at one place (a range's addresses) become one line."""

    def __init__(self, source: YamlSource):
        self.source = source
        self.found: dict[_Where, list[str]] = {}

    def __call__(
        self,
        path: Path,
        what: str,
        hint: str,
        value: object = None,
        key: bool = False,
    ) -> None:
        if value and isinstance(value, str):
            what = f"{what} ({shown_value(value)})"
        here = self.found.setdefault(_Where(path, key, hint), [])
        if (text := f"{what}; {hint}") not in here:  # of nodes of several groups, say
            here.append(text)

    def line(self, path: Path) -> int:
        """The line of a key, for messages that name two places."""
        line, _ = self.source.place(path, key=True)
        return line

    def end(self) -> None:
        """Raise BadInput if there was anything to complain about."""
        problems = list(self.source.problems)
        for where, said in self.found.items():
            problems.append(self._problem(where, said))
        if problems:
            raise BadInput(problems)

    def _problem(self, where: _Where, said: list[str]) -> Problem:
        message = said[0]
        if len(said) > 1:
            message += f" (and {len(said) - 1} more here)"
        return self.source.problem(where.path, message, where.key)
