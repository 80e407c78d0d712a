"""What can go wrong because of an input or a machine, as values that the stages put into words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing wrong with an input.

    Lines and columns count from 1; 1:1 where a file has no better place.
    """

    file: str
    line: int
    column: int
    message: str
    subject: tuple[str, ...] = ()  # the key of an image in site.yaml that it is about

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class BadInput(Exception):
    """Inputs that cannot be built, with every problem found: nothing was changed; exit status 3."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def at(cls, file: str, message: str, line: int = 1, column: int = 1) -> BadInput:
        return cls([Problem(file, line, column, message)])

    @classmethod
    def about(cls, subject: tuple[str, ...], file: str, message: str) -> BadInput:
        """A problem with a key of an image: whoever knows the site file says where it stands."""
        return cls([Problem(file, 1, 1, message, subject)])


class Refused(Exception):
    """A task says no: a failed check, drift, a lock that somebody holds.

    One line for the admin; exit status 1.
    """
