"""Stays: an image that was rolled back stays there until somebody says otherwise, or its build is another release."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ..release import Release
from ..store import journal
from ..store.kept import published
from ..store.paths import Targets
from .state import Desired, Standing

Render = Callable[
    [Release, str, str], Mapping[str, bytes]
]  # release, label, site id -> its boot files


class Held(NamedTuple):
    """An image whose build is a release that a rollback left."""

    image: str
    left: str  # the release of the build
    now: str  # the release that the rollback chose, "" where the server has it no more
    rollback: journal.Record

    def __str__(self) -> str:
        who = journal.author_named(self.rollback).removesuffix(", ") or "somebody"
        return f"{self.left}, which {who} left by a rollback at {self.rollback['time']}"


def stay(targets: Targets, render: Render, goal: Desired, again: bool) -> Desired:
    """The goal, in which images that were rolled back stay at what they boot, with the newest site data."""
    known, releases, files, lines = published(targets), list(goal.releases), dict(goal.files), []
    for number, held in _held(targets, goal, known):
        if again or not held.now:
            lines.append(f"{held.image} goes back to {held}")
            continue
        lines.append(f"{held.image} stays at {held.now}; deploy --again would go back to {held}")
        releases[number] = Standing(known[held.now], targets.boot(held.now))
        files |= render(known[held.now], held.image, goal.site_id)
    return dataclasses.replace(goal, releases=tuple(releases), files=files, held=tuple(lines))


def _held(
    targets: Targets, goal: Desired, known: Mapping[str, Release]
) -> Iterator[tuple[int, Held]]:
    """With its place among the releases of the goal."""
    records = journal.read_journal(targets.kept("journal.jsonl"))
    for number, built in enumerate(goal.releases):
        image, id = built.release.image, built.release.id
        left = journal.left(records, image)
        if id in left:
            now = journal.history(records, image)[-1]
            yield number, Held(image, id, now if now in known else "", left[id])
