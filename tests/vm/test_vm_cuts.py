"""The plug is pulled at random moments of a virtual machine's first boot; tests/stress/vm_cuts.py pulls it more often."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY
from tests.support.vm_crash import STEPS, campaign, grid, moments

CACHE = Path(os.environ.get("PLUGNODE_TEST_CACHE", REPOSITORY / "build/test-cache"))
SEED = int(os.environ.get("PLUGNODE_TEST_SEED") or random.randrange(1 << 32))
CUTS = 6

pytestmark = [pytest.mark.vm, pytest.mark.network, pytest.mark.timeout(3000)]


def test_the_moments_are_those_of_the_seed_and_all_over_the_first_boot():
    for seed in range(20):
        assert moments(CUTS, seed) == moments(CUTS, seed) != moments(CUTS, seed + 1)
        at = sorted(STEPS.index(cut.step) for cut in moments(CUTS, seed))
        assert {
            after - before for before, after in itertools.pairwise([*at, at[0] + len(STEPS)])
        } <= {1, 2}
        assert {cut.step for cut in moments(len(STEPS), seed)} == set(STEPS)


def test_a_node_whose_power_is_cut_at_any_moment_of_its_first_boot_recovers_by_itself(
    tmp_path: Path,
):
    print(f"PLUGNODE_TEST_SEED={SEED} cuts at these moments again")
    outcomes = list(campaign(grid(tmp_path / "site", CACHE), tmp_path, moments(CUTS, SEED)))
    for outcome in outcomes:
        print(f"{outcome.cut.later:5.2f} s after {outcome.cut.step!r}: {outcome.left}")
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    assert {"CLAIMING", "COMMITTED"} <= {outcome.left for outcome in outcomes}
