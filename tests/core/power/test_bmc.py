"""What is done at a BMC that does not always answer."""

from __future__ import annotations

import pytest

from tasks.core.base.errors import Refused
from tasks.core.power.bmc import OFF, ON, Patience, act

SILENT = "no answer by IPMI"


class SharedCard:
    """A BMC that says nothing so many times, once its node is off."""

    def __init__(self, silent: int):
        self.power, self.silent = ON, silent
        self.told: list[str] = []

    def state(self) -> str:
        return self.power

    def switch(self, to: str) -> None:
        if self.power == OFF and self.silent:
            self.silent -= 1
            raise Refused(SILENT)
        self.told.append(to)
        self.power = to


def test_a_node_is_not_left_off_because_its_bmc_was_silent_for_a_moment():
    shared = SharedCard(silent=3)
    said = act(shared, "cycle", Patience(within=5, every=0.01, rest=0), lambda text: None)
    assert said == "on, after off" and shared.told == [OFF, ON]


def test_a_node_that_stays_off_is_said_to_be_off():
    shared, notes = SharedCard(silent=1000), []
    with pytest.raises(Refused, match=f"^switched off, not on again: {SILENT}$"):
        act(shared, "cycle", Patience(within=0.05, every=0.01, rest=0), notes.append)
    assert shared.power == OFF and "switched off, not on again" in notes
