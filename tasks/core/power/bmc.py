"""One BMC: what it is told is done when it says so afterwards, not when it says that it will."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from ..base.errors import Refused

ON, OFF = "on", "off"
Note = Callable[[str], None]  # takes how far it is, for who is told when it is cut


class Bmc(Protocol):
    """What each protocol can do. Each may raise Refused, with one line that says why."""

    def state(self) -> str:
        """ON, OFF, or another word of its own."""

    def switch(self, to: str) -> None:
        """Tell it to switch power ON or OFF, at once."""

    def boot_from_network(self) -> None:
        """Have the node boot from the network once."""

    def boots_from(self) -> str:
        """What it says of the next boot: NETWORK, or another word; "" where it cannot say."""

    def close(self) -> None:
        """Leave no session behind."""


NETWORK = "network"


class Patience(NamedTuple):
    """Seconds."""

    within: float = 60  # until it must say that it is as it was told
    every: float = 2  # from one look to the next
    rest: float = 5  # that a node stays off in a cycle: its power supplies run empty


def act(bmc: Bmc, word: str, patience: Patience, note: Note) -> str:
    """Do what a word of `doit power` means; what is so then. Raises Refused."""
    return WORDS[word].do(_Work(bmc, patience, note))


class _Work:
    """A BMC that something is wanted of."""

    def __init__(self, bmc: Bmc, patience: Patience, note: Note):
        self.bmc, self.patience, self.note = bmc, patience, note

    def settled(self, ask: Callable[[], str], wanted: str, told: str) -> None:
        """Ask until it is so; while it is busy it may say nothing. Raises Refused."""
        end = time.monotonic() + self.patience.within
        while True:
            said = _heard(ask)
            if said == wanted:
                return
            if time.monotonic() >= end:
                seconds = f"{self.patience.within:g} seconds"
                raise Refused(f"was told {told} and took it, but {seconds} later: {said}")
            time.sleep(self.patience.every)

    def switch(self, to: str) -> None:
        self.note(f"told {to}")
        self.bmc.switch(to)
        self.settled(self.bmc.state, to, to)

    def on_again(self) -> None:
        """A BMC that shares its node's card says nothing for a while when that goes off."""
        self.note("switched off, not on again")
        time.sleep(self.patience.rest)
        end = time.monotonic() + self.patience.within
        while True:
            try:
                return self.switch(ON)
            except Refused as error:
                if time.monotonic() >= end:
                    raise Refused(f"switched off, not on again: {error}") from None
            time.sleep(self.patience.every)


def _heard(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except Refused as error:
        return str(error)


def _status(work: _Work) -> str:
    return work.bmc.state()


def _on(work: _Work) -> str:
    return _switched(work, ON)


def _off(work: _Work) -> str:
    return _switched(work, OFF)


def _switched(work: _Work, to: str) -> str:
    if work.bmc.state() == to:
        return f"{to}, as it was"
    work.switch(to)
    return to


def _cycle(work: _Work) -> str:
    """Off and on again, each looked at: of a cycle that a BMC does itself nothing can be seen."""
    if work.bmc.state() == OFF:
        work.switch(ON)
        return "on; it was off"
    work.switch(OFF)
    work.on_again()
    return "on, after off"


def _pxe(work: _Work) -> str:
    """Most BMCs can say what they were told; of one that cannot its word must do."""
    work.note("told to boot from the network")
    work.bmc.boot_from_network()
    if work.bmc.boots_from() not in ("", NETWORK):
        work.settled(work.bmc.boots_from, NETWORK, "to boot from the network")
    return "boots from the network next"


class Word(NamedTuple):
    """What a word of `doit power` does, and how often a BMC is waited for meanwhile."""

    do: Callable[[_Work], str]
    waits: int


WORDS: Mapping[str, Word] = {
    "on": Word(_on, waits=1),
    "off": Word(_off, waits=1),
    "cycle": Word(_cycle, waits=2),
    "status": Word(_status, waits=0),
    "pxe": Word(_pxe, waits=1),
}
