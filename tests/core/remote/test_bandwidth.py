"""What all servers together are sent: shares of a bandwidth, whatever begins and ends when."""

from __future__ import annotations

import random

import pytest

from tasks.core.remote.bandwidth import TICK, Bandwidth, Words


@pytest.mark.parametrize("seed", range(20))
def test_all_together_are_never_sent_more_than_the_whole(seed):
    chance = random.Random(seed)
    left = chance.randint(1, 60)
    bandwidth = Bandwidth(10_000_000, left, 32)
    idle = [f"boot{number}" for number in range(left)]  # neither sent files nor done
    for _ in range(300):
        begun = min(len(idle), 32 - len(bandwidth.rates))
        bandwidth.waiting = chance.randint(0, max(0, begun - 1))
        if idle and len(bandwidth.rates) < 32 and chance.random() < 0.6:
            (word,) = bandwidth.begin(idle.pop(), others_wait=chance.random() < 0.5)
            assert int(word.removeprefix("--bwlimit=")) > 0
        elif bandwidth.rates and chance.random() < 0.9:
            server = chance.choice([*bandwidth.rates])
            bandwidth.end(server)
            idle.append(server)
        elif idle:
            bandwidth.one_is_done(idle.pop())
        told = sum(bandwidth.rates.values())
        beside = max(0, min(bandwidth.left, 32) - len(bandwidth.rates)) * bandwidth.share
        assert told + beside <= 10_000_000 / 8


def test_the_last_server_has_all_of_it():
    bandwidth = Bandwidth(400_000_000, 2, 32)
    before = bandwidth.share
    bandwidth.begin("boot1")
    bandwidth.one_is_done("boot1")
    assert bandwidth.share == pytest.approx(2 * before, abs=1)
    assert bandwidth.share * 8 == pytest.approx(400_000_000, rel=0.07)


def test_who_is_sent_what_others_wait_for_has_their_shares_but_one_for_the_next():
    bandwidth = Bandwidth(400_000_000, 16, 32)
    share = bandwidth.share
    bandwidth.waiting = 15
    bandwidth.begin("boot1", others_wait=True)
    assert bandwidth.rates["boot1"] == pytest.approx(15 * share, rel=0.001)
    bandwidth.waiting = 14
    bandwidth.begin("boot2", others_wait=True)
    assert bandwidth.rates["boot2"] == pytest.approx(share, rel=0.1)


class Line(list):
    """What was written to it, piece by piece."""

    write = list.append


def test_words_go_in_pieces_of_a_tick_and_whole_where_there_is_no_limit():
    line, bandwidth = Line(), Bandwidth(10_000_000, 1, 32)
    words = Words(line, bandwidth)
    words.add(b"a" * 250_000)
    words.add(b"b")
    assert line == []
    while words.waiting:
        words.go_on()
    assert b"".join(line) == b"a" * 250_000 + b"b"
    assert {len(piece) for piece in line[:-1]} == {int(bandwidth.share * TICK)}

    line = Line()
    Words(line, Bandwidth(0, 1, 32)).add(b"a" * 250_000)
    assert line == [b"a" * 250_000]
