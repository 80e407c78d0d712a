"""Power cuts of a deploy: the boot files never name a torn tree. tests/stress/deploy_cuts.py makes as many as asked."""

from __future__ import annotations

import pytest

from tests.support.crash_replay import FLUSH, Cut, available, reordered
from tests.support.deploy_crash import Deploy, careless, end_of, finishes, record, record_rollback

pytestmark = pytest.mark.skipif(bool(available()), reason=available())


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    return record(tmp_path_factory.mktemp("deploy"))


def at_flushes(deploy: Deploy, count: int) -> list[Cut]:
    """At so many of its flushes, the last one among them."""
    flushes = [number + 1 for number, write in enumerate(deploy.log) if write.flags & FLUSH]
    return [Cut(at, at, ()) for at in flushes[:: -max(1, len(flushes) // count)]]


def test_whatever_instant_is_the_last_nodes_boot_the_old_or_the_new_whole_and_a_second_run_finishes(
    deploy, tmp_path
):
    ends = []
    for number, cut in enumerate([*at_flushes(deploy, 8), *reordered(deploy.log, 10, seed=3)]):
        ends.append(end_of(deploy, cut, tmp_path))
        if number % 4 == 0:
            assert finishes(deploy, tmp_path), cut
    assert {"old", "new"} <= set(ends) <= {"old", "new", "between"}


def test_a_rollback_whatever_its_last_instant_is_done_or_not_and_the_same_again_ends_it(tmp_path):
    rollback, ends = record_rollback(tmp_path), []
    for cut in [*at_flushes(rollback, 8), *reordered(rollback.log, 6, seed=3)]:
        ends.append(end_of(rollback, cut, tmp_path))
        assert finishes(rollback, tmp_path), cut
    assert {"old", "new"} <= set(ends) <= {"old", "new", "between"}


def test_a_deploy_that_flushes_nothing_is_found_out(tmp_path):
    """What the test above would miss if the disk that it cuts were too kind."""
    deploy = record(tmp_path / "careless", how=careless)
    cuts = [*at_flushes(deploy, 12), *reordered(deploy.log, 12, seed=3)]
    assert any(end_of(deploy, cut, tmp_path).startswith("torn") for cut in cuts)
