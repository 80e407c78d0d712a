"""Peers: of each root file, which servers others can fetch it from, and which wait until one can.

One of those that want it is sent it from here; the others are told of that server when it has
published the file. They wait no longer than is sensible: where that one ends, or is slow, the next
one is sent it, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .bandwidth import Bandwidth

GATHER = 10  # seconds in which all come to want it, or to say that they have it
SLOW = 1_000_000  # bytes a second that one must be sent, lest another one is, too
TELL = 3  # servers that one is told of


class Talk(Protocol):
    """The talk with one server."""

    server: str
    address: str  # at which others fetch from it
    open: bool

    def tell_peers(self, addresses: Sequence[str]) -> None:
        """Have it fetch a file from one of these, and where none gives it, ask for it here."""


@dataclass(eq=False)
class RootFile:
    """One that some want."""

    size: int = 0
    since: float = field(default_factory=time.monotonic)
    having: list[Talk] = field(default_factory=list)
    wanting: list[Talk] = field(default_factory=list)
    sent: dict[Talk, float] = field(default_factory=dict)  # since when


class Peers:
    """`others`: addresses of servers of the site that are not asked, and may have it."""

    def __init__(self, talks: Sequence[Talk], others: Iterable[str], bandwidth: Bandwidth):
        self.talks, self.others, self.bandwidth = talks, list(others), bandwidth
        self.files: dict[str, RootFile] = {}

    def want(self, talk: Talk, release: str, size: int) -> None:
        file = self._file(release)
        file.size = size
        file.wanting.append(talk)
        self.go_on()

    def have(self, talk: Talk, release: str) -> None:
        self._file(release).having.append(talk)
        self.go_on()

    def _file(self, release: str) -> RootFile:
        return self.files.setdefault(release, RootFile())

    def go_on(self) -> None:
        """Tell those whose time has come: whenever a server comes or goes, and now and then."""
        for file in self.files.values():
            file.wanting = [talk for talk in file.wanting if talk.open]
            if file.having:
                self._tell(file)
            elif file.wanting and self._is_time(file):
                self._begin(file)
        self.bandwidth.waiting = sum(len(file.wanting) for file in self.files.values())

    def _tell(self, file: RootFile) -> None:
        """Spread those that want it over those that have it."""
        told, file.wanting = file.wanting, []
        for talk in told:
            file.having.append(file.having.pop(0))
            talk.tell_peers([having.address for having in file.having[:TELL]])

    def _begin(self, file: RootFile) -> None:
        """Have one of them ask for it here, after a look at those that may have it."""
        talk = file.wanting.pop(0)
        file.sent[talk] = time.monotonic()
        talk.tell_peers(self.others[:TELL])

    def _is_time(self, file: RootFile) -> bool:
        sent = [talk for talk in file.sent if talk.open]
        if sent:
            return all(self._is_slow(file, talk) for talk in sent)
        here = {*file.wanting, *file.sent}
        all_came = all(talk in here for talk in self.talks if talk.open)
        return all_came or time.monotonic() - file.since > GATHER

    def _is_slow(self, file: RootFile, talk: Talk) -> bool:
        """Has it taken longer than it may, or twice as long as its part of the bandwidth takes?"""
        rate = min(SLOW, self.bandwidth.rates.get(talk.server, 2 * SLOW) / 2)
        return time.monotonic() - file.sent[talk] > file.size / rate
