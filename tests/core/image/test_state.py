"""What is kept of a decision is what was decided; what is not to be understood is not known."""

from __future__ import annotations

import pytest

from tasks.core.base.errors import Problem
from tasks.core.image.state import ImageState, load_known, load_state, save_state
from tasks.core.scan import reader
from tasks.core.scan.index import NOTHING_KNOWN, dump_index

DISKS = {
    "folders": ["", "var"],
    "programs": ["mkfs.ext4"],
    "bytes": {"var": 7},
    "mounts": ["/home"],
}


@pytest.mark.parametrize(
    "state",
    [
        ImageState(),
        ImageState((Problem("site.yaml", 7, 3, "kernel: no such file"),)),
        ImageState((), DISKS, "digest"),
    ],
)
def test_what_was_decided_is_kept(tmp_path, state):
    path = str(tmp_path / "worker.state")
    save_state(path, state)
    assert load_state(path, pytest.fail) == state


def test_nothing_is_known_where_nothing_was_kept(tmp_path):
    assert load_state(str(tmp_path / "worker.state"), pytest.fail) == ImageState()


@pytest.mark.parametrize(
    "held", ["", "[]", '{"problems": []}', '{"problems": [1], "startable": ""}']
)
def test_what_is_damaged_is_said_and_not_known(tmp_path, held):
    path, said = tmp_path / "worker.state", []
    path.write_text(held)
    assert load_state(str(path), said.append) == ImageState()
    assert said == [f"{path}: damaged; it is made anew"]


@pytest.mark.parametrize("cut", [None, 20, 1])
def test_what_is_known_of_files_is_kept_behind_it_and_lost_where_it_is_damaged(tmp_path, cut):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("a")
    nothing = reader.Walked(None)
    _, known = reader.scan_on(tmp_path / "root", nothing, reader.EVERYTHING)
    path, state = tmp_path / "worker.state", ImageState((), DISKS, "digest")
    save_state(str(path), state, dump_index("", known))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut] if cut else data)
    found = load_known(str(path), "")
    assert (found.known == known.known) is (cut is None)
    assert (found == NOTHING_KNOWN) is (cut is not None)
    assert load_state(str(path), pytest.fail) == state
