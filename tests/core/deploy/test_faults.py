"""Deploy under kill -9, on full disks, and twice at once."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from tasks.core.base.errors import Refused
from tasks.core.deploy.rollback import RollbackChoice, rollback_server
from tasks.core.inspect import verify
from tasks.core.store import operation
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import AUTHOR, boot_files, build, run, served, want
from tests.support.killed_deploys import _is_finished, kill
from tests.support.killed_steps import boots, wrong


@pytest.fixture
def targets(tmp_path: pathlib.Path) -> Targets:
    return Targets("/tftpboot", "/opt/nfs_export", str(tmp_path / "dest"))


@pytest.fixture
def mount(tmp_path: pathlib.Path):
    """A file system of its own, of so many bytes or inodes."""
    folders = []

    def make(folder: pathlib.Path, options: str) -> pathlib.Path:
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"may not mount: {done.stderr.strip()}")
        folders.append(folder)
        return folder

    yield make
    for folder in reversed(folders):
        subprocess.run(["umount", folder], check=True)


def test_killed_at_any_moment_what_is_served_is_old_or_new_and_a_second_run_finishes(
    tmp_path, targets
):
    ends = kill(tmp_path, targets, 20)
    assert {"old", "new"} <= set(ends), "no kill came before the end, or none after it"


def test_a_second_deploy_at_the_same_time_says_who_is_at_it(tmp_path, targets):
    built = build(tmp_path / "build")
    with operation.held(targets, "deploy", AUTHOR):
        with pytest.raises(Refused, match=rf"pid {os.getpid()} on \S+ since 20\d\d-.* is at it"):
            run(targets, want(built))
    assert not os.path.exists(targets.served("plugnode"))


def test_too_little_space_is_said_before_anything_is_copied(tmp_path, targets, mount):
    mount(pathlib.Path(targets.nfs_root), "size=1m")
    with pytest.raises(
        Refused, match=r"nfs_export: needs 1\.\d MiB, \d+\.\d KiB free; nothing was changed"
    ):
        run(targets, want(build(tmp_path / "build")))
    assert os.listdir(targets.nfs_root) == [".plugnode"] and not os.listdir(targets.tftp_root)


def test_too_few_inodes_are_said_before_anything_is_copied(tmp_path, targets, mount):
    mount(pathlib.Path(targets.nfs_root), "size=9m,nr_inodes=100")
    with pytest.raises(Refused, match=r"needs 3\d\d inodes, \d\d free; nothing was changed"):
        run(targets, want(build(tmp_path / "build")))


@pytest.mark.parametrize("scarce", ["bytes", "names"])
def test_a_disk_that_is_full_at_any_write_leaves_the_old_and_is_finished_when_there_is_room(
    tmp_path, targets, mount, monkeypatch, scarce
):
    """With room for one page, or one name, more each time: every write that needs one is refused once.

    The preflight is told that all fits, as if somebody else filled the disk meanwhile.
    """
    dest = mount(tmp_path / "dest", "size=4m,nr_inodes=800")
    old, new = (
        build(tmp_path / str(n), files=12, **{f"file{f}": b"%d\n" % n * 40 for f in range(9)})
        for n in (1, 2)
    )
    goal = want(new, site_img=b"site 2" * 999)
    run(targets, want(old))
    monkeypatch.setattr("tasks.core.deploy.preflight.check_room_for", lambda *_: None)
    refused = 0
    for room in range(200):
        with no_room_but(dest, scarce, room):
            try:
                run(targets, goal)
                break
            except Refused as error:
                said = rf"{dest}/[^:\n]+: No space left on device; [^\n]*"
                assert re.fullmatch(said, str(error)), error
        refused += 1
        ends = served(targets)
        assert {one[0] for one in (ends if isinstance(ends, list) else [ends])} <= {
            old.release.id,
            new.release.id,
        }
    assert refused > 8, "a deploy needs more than that"
    _is_finished(targets, goal)


@pytest.mark.parametrize("scarce", ["bytes", "names"])
def test_a_rollback_on_a_full_disk_says_where_and_leaves_the_old_or_the_new(
    tmp_path, targets, mount, scarce
):
    dest = mount(tmp_path / "dest", "size=4m,nr_inodes=800")
    ids = []
    for number in range(2):
        run(targets, want(built := build(tmp_path / str(number), files=12, file7=b"%d\n" % number)))
        ids.append(built.release.id)
    for room in range(99):
        with no_room_but(dest, scarce, room):
            try:
                rollback_server(targets, RollbackChoice(["worker"]), boot_files, AUTHOR)
                break
            except Refused as error:
                said = rf"{dest}/[^:\n]+: No space left on device; [^\n]*"
                assert re.fullmatch(said, str(error)), error
        assert not wrong(dest) and {release for release, _ in boots(dest)} <= set(ids)
    assert room > 1 and served(targets)[0] == ids[0]
    assert not list(verify.of_server(targets))


@contextlib.contextmanager
def no_room_but(dest: pathlib.Path, scarce: str, room: int):
    """Somebody else has taken all but so many pages, or names."""
    free = os.statvfs(dest)
    ballast = dest / "ballast"
    ballast.mkdir()
    if scarce == "bytes":
        (ballast / "bytes").write_bytes(
            b"\0" * max(0, os.statvfs(dest).f_bavail - room) * free.f_frsize
        )
    else:
        for number in range(max(0, os.statvfs(dest).f_favail - room)):
            (ballast / str(number)).touch()
    try:
        yield
    finally:
        shutil.rmtree(ballast)
