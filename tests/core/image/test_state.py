"""What is kept of a decision is what was decided; what is not to be understood is not known."""

from __future__ import annotations

import pytest

from tasks.core.base.errors import Problem
from tasks.core.image.state import ImageState, load_state, save_state

DISKS = {"folders": ["", "var"], "programs": ["mkfs.ext4"], "bytes": {"var": 7}}


@pytest.mark.parametrize(
    "state",
    [
        ImageState(),
        ImageState((Problem("site.yaml", 7, 3, "kernel: no such file"),)),
        ImageState((), DISKS, "digest"),
    ],
)
def test_what_was_decided_is_kept(tmp_path, state):
    path = str(tmp_path / "worker.json")
    save_state(path, state)
    assert load_state(path, pytest.fail) == state


def test_nothing_is_known_where_nothing_was_kept(tmp_path):
    assert load_state(str(tmp_path / "worker.json"), pytest.fail) == ImageState()


@pytest.mark.parametrize(
    "held", ["", "[]", '{"problems": []}', '{"problems": [1], "startable": ""}']
)
def test_what_is_damaged_is_said_and_not_known(tmp_path, held):
    path, said = tmp_path / "worker.json", []
    path.write_text(held)
    assert load_state(str(path), said.append) == ImageState()
    assert said == [f"{path}: damaged; it is made anew"]
