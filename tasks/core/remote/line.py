"""The line between whoever asks and a server: what both of its ends know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..base.errors import Refused
from .options import Values

MARK = "plugnode:"  # begins a line that is ours; what a login shell says does not
SILENCE = 30  # seconds without a word from whoever asked
CORE = "core.zip"  # the packages, in a run's folder

# Of a plan as text: titles and what stands below (see plan/text.py).
Sections = Sequence[Sequence[str]]


class Unseen(Refused):
    """Some server wants to have been told that what is done was seen; none was changed."""


class Answer(NamedTuple):
    """How a server's work ended."""

    done: Values  # what it gave
    shown: Sections = ()  # what it showed before it changed anything
    failure: str = ""  # one line; then `done` is empty
