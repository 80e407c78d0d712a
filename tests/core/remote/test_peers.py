"""Who is sent a root file, and who is told where else to fetch it: whatever comes when."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tasks.core.remote import peers
from tasks.core.remote.bandwidth import Bandwidth
from tasks.core.remote.peers import GATHER, SLOW, Peers

FILE, SIZE = "worker-0123456789ab", 300_000_000


class Talk:
    """The talk with a server, and what it was told."""

    def __init__(self, number: int):
        self.server, self.address, self.open = f"boot{number}", f"10.0.0.{number}", True
        self.told: list[str] | None = None

    def tell_peers(self, addresses: Sequence[str]) -> None:
        assert self.told is None, "it has asked once"
        self.told = list(addresses)


class Servers:
    def __init__(self, count: int, others: Sequence[str] = (), bits: int = 0):
        self.talks = [Talk(number) for number in range(1, count + 1)]
        self.bandwidth = Bandwidth(bits, count, 32)
        self.peers = Peers(self.talks, others, self.bandwidth)

    def want(self, *numbers: int) -> None:
        for number in numbers:
            self.peers.want(self.talks[number - 1], FILE, SIZE)

    def have(self, number: int) -> None:
        self.peers.have(self.talks[number - 1], FILE)

    def close(self, number: int) -> None:
        self.talks[number - 1].open = False
        self.peers.go_on()

    @property
    def told(self) -> list[list[str] | None]:
        return [talk.told for talk in self.talks]


@pytest.fixture
def later(monkeypatch):
    """Has time go by."""
    skipped = [0.0]
    now = time.monotonic
    monkeypatch.setattr(peers.time, "monotonic", lambda: now() + skipped[0])

    def skip(seconds: float) -> None:
        skipped[0] += seconds

    return skip


def test_a_server_alone_is_sent_it_at_once():
    alone = Servers(1)
    alone.want(1)
    assert alone.told == [[]]


def test_when_all_have_come_one_is_sent_it_and_the_others_are_told_of_that_one():
    three = Servers(3)
    three.want(1, 2)
    assert three.told == [None, None, None], "the third may have it"
    three.want(3)
    assert three.told == [[], None, None] and three.bandwidth.waiting == 2
    three.have(1)
    assert three.told == [[], ["10.0.0.1"], ["10.0.0.1"]] and three.bandwidth.waiting == 0


def test_nobody_is_sent_what_another_one_has():
    three = Servers(3)
    three.want(1, 2)
    three.have(3)
    assert three.told == [["10.0.0.3"], ["10.0.0.3"], None]


def test_a_server_that_does_not_come_is_waited_for_for_seconds(later):
    three = Servers(3)
    three.want(2, 3)
    three.peers.go_on()
    assert three.told == [None, None, None]
    later(GATHER + 1)
    three.peers.go_on()
    assert three.told == [None, [], None]


def test_where_the_first_one_ends_without_it_the_next_one_is_sent_it():
    three = Servers(3)
    three.want(1, 2, 3)
    three.close(1)
    assert three.told == [[], [], None]
    three.close(2)
    assert three.told == [[], [], []]


def test_one_that_has_gone_while_it_waited_is_told_nothing():
    three = Servers(3)
    three.want(1, 2, 3)
    three.close(2)
    three.have(1)
    assert three.told == [[], None, ["10.0.0.1"]] and three.bandwidth.waiting == 0


@pytest.mark.parametrize(("bits", "rate"), [(0, SLOW), (8_000_000, None)])
def test_where_the_first_one_is_slow_another_one_is_sent_it_too(later, bits, rate):
    three = Servers(3, bits=bits)
    three.want(1, 2, 3)
    three.bandwidth.begin("boot1", others_wait=True)
    rate = rate or three.bandwidth.rates["boot1"] / 2
    later(SIZE / rate - 5)
    three.peers.go_on()
    assert three.told == [[], None, None]
    later(10)
    three.peers.go_on()
    assert three.told == [[], [], None]
    three.peers.go_on()
    assert three.told == [[], [], None], "one more, not all"
    three.have(2)
    assert three.told == [[], [], ["10.0.0.2"]]


def test_those_that_fetch_are_spread_over_those_that_have_it():
    many = Servers(10)
    for number in (1, 2, 3, 4):
        many.have(number)
    many.want(5, 6, 7, 8)
    firsts = {told[0] for told in many.told if told}
    assert len(firsts) == 4
    assert {len(told) for told in many.told if told} == {peers.TELL}


def test_servers_that_are_not_asked_are_tried_by_the_first_one_alone():
    two = Servers(2, others=["10.0.0.8", "10.0.0.9"])
    two.want(1, 2)
    assert two.told == [["10.0.0.8", "10.0.0.9"], None]
    two.have(1)
    assert two.told[1] == ["10.0.0.1"]
