"""Power cuts of the first boot as the disk sees them; tests/stress/power_cuts.py makes as many as asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.crash_replay import Cut, Write, available, crash, in_order, record, reordered
from tests.support.loop_disk import SAME, Node

pytestmark = pytest.mark.skipif(bool(available()), reason=available())


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[Write]:
    folder = tmp_path_factory.mktemp("log")
    return record(folder / "first", Node(folder / "blank").image)


def test_any_instant_of_the_first_boot_can_be_the_last(log: list[Write], tmp_path: Path):
    blank, node = Node(tmp_path / "blank").image, Node(tmp_path / "node")
    cuts = [*in_order(log, len(log) // 6), *reordered(log, 6, seed=2)]
    assert [cut for cut in cuts if not recovers(node, blank, cut, log)] == []


def recovers(node: Node, blank: Path, cut: Cut, log: list[Write]) -> bool:
    crash(blank, cut.of(log), node.image)
    return node.boot(SAME) == "SAME\n" and node.state[2] == "COMMITTED" and not node.degraded
