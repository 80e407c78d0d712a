"""What all servers together are sent: shares of a bandwidth, whatever begins and ends when."""

from __future__ import annotations

import random

import pytest

from tasks.core.remote.bandwidth import TICK, Bandwidth, Words


def of_rsync(bandwidth: Bandwidth) -> int:
    """KiB a second, as rsync takes it."""
    (word,) = bandwidth.of_rsync
    return int(word.removeprefix("--bwlimit="))


@pytest.mark.parametrize("seed", range(20))
def test_all_together_are_never_sent_more_than_the_whole(seed):
    chance = random.Random(seed)
    servers, at_once = chance.randint(1, 60), 32
    bandwidth = Bandwidth(10_000_000, servers, at_once)
    waiting, rates = servers, []  # rates: what those at work were told
    while waiting or rates:
        if waiting and len(rates) < at_once and chance.random() < 0.6:
            waiting -= 1
            rates.append(of_rsync(bandwidth))
        elif rates and chance.random() < 0.5:
            rates.pop(chance.randrange(len(rates)))
            bandwidth.one_is_done()
        elif rates:
            rates[chance.randrange(len(rates))] = of_rsync(bandwidth)  # its next files
        assert sum(rates) * 1024 <= 10_000_000 / 8


def test_the_last_server_has_all_of_it():
    bandwidth = Bandwidth(400_000_000, 2, 32)
    before = bandwidth.share
    bandwidth.one_is_done()
    assert bandwidth.share == pytest.approx(2 * before, abs=1)
    assert bandwidth.share * 8 == pytest.approx(400_000_000, rel=0.07)


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
