"""A boot server as commit 1ab4ab3 left it is taken over: no release moved, no export lost, no file foreign."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import time
from typing import NamedTuple

import pytest

from tasks.core.deploy.prune import DAY
from tests.support import earlier_site
from tests.support.commands import Doit
from tests.support.deploy_kit import snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners of a root")
FSID = "fsid=f020367c-fa77-5c80-b43b-fc8b095da68f"  # what nodes have in their file handles
OTHERS = "/srv/data 10.0.0.0/8(ro)\n"  # a line of an admin's in the file of then


class Left(NamedTuple):
    """What an earlier version left, and what today's says and does about it."""

    doit: Doit
    first: str  # the release that wn002 is pinned to
    second: str  # what the others boot
    said: dict[str, str]
    roots: dict[str, dict]  # as they were before
    loaders: list[str]  # paths

    @property
    def dest(self) -> pathlib.Path:
        return self.doit.folder / "dest"

    def __call__(self, *words: str, **more) -> str:
        return self.doit(*words, f"destdir={self.dest}", **more)

    def boots(self, label: str) -> str:
        """The release that a boot file names."""
        text = (self.dest / f"tftpboot/plugnode/{label}.cfg").read_text()
        return re.search(r"KERNEL (\S+)/vmlinuz", text)[1]

    def root(self, release: str) -> pathlib.Path:
        return self.dest / "opt/nfs_export" / release


@pytest.fixture(scope="module")
def left(tmp_path_factory) -> Left:
    """The server, looked at and then deployed to by today's version, with the site of then."""
    folder = earlier_site.unpack(tmp_path_factory.mktemp("earlier"))
    with open(folder / "dest/etc/exports.d/plugnode.exports", "a") as file:
        file.write(OTHERS)
    held = Left(Doit(folder), *releases(folder), {}, {}, earlier_site.loaders(folder))
    for release in (held.first, held.second):
        held.roots[release] = snapshot(str(held.root(release)))
    held.said["status"] = held("status")
    held.said["verify"] = held("verify", status=1)
    held.said["plan"] = held("plan")
    held.said["deploy"] = held("deploy")
    return held


def releases(folder: pathlib.Path) -> list[str]:
    """The pinned one, and the other."""
    kept = sorted(path.stem for path in (folder / "dest/opt/nfs_export/.plugnode").glob("*.json"))
    ids = [name for name in kept if name.startswith("worker-")]
    pinned = re.search(r'"release": "([^"]+)"', (folder / "site.yaml").read_text())[1]
    return [pinned, *(id for id in ids if id != pinned)]


def test_it_is_read_as_what_it_is(left: Left):
    status = left.said["status"]
    assert f"worker boots {left.second}" in status and f"wn002 pinned to {left.first}" in status
    assert status.count("deploy worker-") == 2 and "!" not in status
    *wrong, count = left.said["verify"].splitlines()
    assert wrong == [f"{path}: missing" for path in left.loaders], "the fixture has no loaders"
    assert count == f"ERROR: {len(wrong)} differences from what was deployed"


def test_a_plan_calls_nothing_foreign_and_removes_no_more_than_the_old_file_of_exports(left: Left):
    plan = left.said["plan"]
    assert f"~ worker: {left.second} -> worker-" in plan
    assert f"compared with {left.second}" in plan
    assert "not Plugnode's" not in plan and "that is lost" not in plan and "new node" not in plan
    assert "+ 3 nodes" not in plan and "0 to remove." in plan


def test_no_release_is_moved(left: Left):
    assert left.boots(left.first) == left.first
    now = left.boots("worker")
    assert now not in (left.first, left.second)
    for release, before in left.roots.items():
        assert snapshot(str(left.root(release))) == before
    assert left("verify", "--full") == "ok: as it was deployed, every byte\n"


def test_no_export_is_lost_and_lines_of_others_stay(left: Left):
    exports = left.dest / "etc/exports.d"
    assert (exports / "plugnode.exports").read_text().endswith(OTHERS)
    own = [
        line
        for path in sorted(exports.iterdir())
        for line in path.read_text().splitlines()
        if line.startswith("/opt/nfs_export ")
    ]
    assert len(own) == 1 and FSID in own[0] and "172.24.10.0/24(" in own[0]


def test_a_rollback_goes_back_to_what_the_earlier_version_deployed(left: Left):
    now = left.boots("worker")
    said = left("rollback")
    assert said == f"worker: nodes boot {left.second} from now on, not {now}\n"
    text = (left.dest / "tftpboot/plugnode/worker.cfg").read_text()
    assert "/site.img,site-" in text and text.count("/names.img") == 1, "its scripts need names.img"
    left("deploy", "--again")
    assert left.boots("worker") == now


def test_prune_keeps_what_is_booted_and_pinned_and_for_a_day_site_data_that_nothing_names(
    left: Left,
):
    came(left, days=0)
    said = left("prune")
    assert "removed worker" not in said and "removed site" not in said
    came(left, days=2)
    said = left("prune")
    assert "removed worker" not in said and "removed site" in said
    for release in left.roots:
        assert left.root(release).is_dir()
    assert left("plan") == "no changes\n"


def came(left: Left, days: int) -> None:
    """Have all site data come so long ago; the fixture's own days pass."""
    moment = time.time() - days * DAY
    for folder in (left.dest / "tftpboot").glob("site-*"):
        os.utime(folder, (moment, moment))


def test_a_deploy_is_right_where_all_that_was_kept_of_it_is_gone(left: Left):
    """The caches of an earlier version, too, save work and nothing else."""
    kept = left.dest / "opt/nfs_export/.plugnode"
    for pattern in ("*.seen", "ctimes", "boot-ctimes"):
        for path in kept.glob(pattern):
            path.unlink()
    shutil.rmtree(kept / "incoming", ignore_errors=True)
    assert left("plan") == "no changes\n"
