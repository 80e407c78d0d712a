"""An image that was rolled back: it stays where it is until somebody says otherwise.

Or until its build is another release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..release import Release
from ..store import journal
from ..store.kept import published
from ..store.paths import Targets
from .scope import Render
from .state import Desired, Standing


class Held(NamedTuple):
    """An image whose build is a release that a rollback left."""

    image: str
    left: str  # the release of the build
    now: str  # the release that the rollback chose, "" where the server has it no more
    rollback: journal.Record

    def __str__(self) -> str:
        who = journal.author_named(self.rollback).removesuffix(", ") or "somebody"
        return f"{self.left}, which {who} left by a rollback at {self.rollback['time']}"


def stay(targets: Targets, render: Render, desired: Desired, again: bool) -> Desired:
    """What is desired, but for images that were rolled back.

    Those stay at what they boot, with the newest site data.
    """
    known = published(targets)
    releases, files = list(desired.releases), dict(desired.files)
    lines = []
    for number, held in _held(targets, desired, known):
        if again or not held.now:
            lines.append(f"{held.image} goes back to {held}")
            continue
        lines.append(f"{held.image} stays at {held.now}; deploy --again would go back to {held}")
        release = known[held.now]
        releases[number] = Standing(release, targets.boot(release.id))
        files |= render(release, held.image, desired.site_id)
    return dataclasses.replace(
        desired,
        releases=tuple(releases),
        files=files,
        held=tuple(lines),
    )


def _held(
    targets: Targets, desired: Desired, known: Mapping[str, Release]
) -> Iterator[tuple[int, Held]]:
    """Each held image, with its place among the desired releases."""
    records = journal.read_journal(targets.journal)
    for number, built in enumerate(desired.releases):
        image, id = built.release.image, built.release.id
        left = journal.left(records, image)
        if id in left:
            now = journal.history(records, image)[-1]
            yield number, Held(image, id, now if now in known else "", left[id])
