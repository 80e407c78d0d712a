"""Rollback, prune and deploy killed at every step that changes a disk; bench/kills.py does the same of larger trees."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
import time

import pytest
from deploying import AUTHOR, boot_files, build, run, want
from kills import boots, every_kill, listed, wrong

from tasks.core import place, rollback, stays, verify
from tasks.core.errors import Refused
from tasks.core.prune import DAY, prune
from tasks.core.targets import Targets


class Server:
    """A server to which three releases of one image were deployed, each with site data of its own."""

    def __init__(self, folder: pathlib.Path, files: int = 3):
        self.dest = folder / "dest"
        self.targets = Targets("/tftpboot", "/opt/nfs_export", str(self.dest))
        self.goals = []
        for number in range(3):
            built = build(folder / str(number), files=files, file2=b"%d\n" % number)
            self.goals.append(want(built, site_img=b"site %d" % number))
            run(self.targets, self.goals[-1])
        self.ids = [goal.releases[0].release.id for goal in self.goals]
        self.sites = [goal.site_id for goal in self.goals]

    def deploy(self, number: int = 2, again: bool = False) -> None:
        def settle():
            return stays.stay(self.targets, lambda one, label, site: boot_files(one, site), self.goals[number], again)

        run(self.targets, settle)

    def rollback(self) -> None:
        rollback.rollback(self.targets, ["worker"], "", "", boot_files, AUTHOR)

    def prune(self, keep: int = 3) -> None:
        prune(self.targets, keep, 0, AUTHOR, time.time() + 2 * DAY)

    def boots(self) -> set[tuple[str, str]]:
        return boots(self.dest)

    def is_right(self) -> bool:
        """By whoever knows nothing of ours, by sha256sum's list, and by verify."""
        found = [*wrong(self.dest), *listed(self.dest), *map(str, verify.of_server(self.targets, full=True))]
        assert not found, found
        return len(self.boots()) == 1


@pytest.fixture
def server():
    """In memory: what is waited for is no disk."""
    place._earlier.cache_clear()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Server(pathlib.Path(folder))


def test_a_rollback_killed_at_any_step_and_run_again_ends_at_the_release_that_the_first_one_chose(server):
    for step in every_kill(server.dest, server.rollback):
        assert not wrong(server.dest), step
        server.rollback()
        assert server.is_right() and server.boots() == {(server.ids[1], server.sites[2])}, step
    assert step > 15, "a rollback makes more steps than that"


@pytest.mark.parametrize("then", ["deploy", "prune"])
def test_a_rollback_killed_at_any_step_is_ended_by_the_next_command_of_another_kind(server, then):
    ends = []
    for step in every_kill(server.dest, server.rollback):
        torn = len(server.boots()) > 1
        getattr(server, then)()
        assert server.is_right(), step
        (end,) = server.boots()
        ends.append(end[0])
        assert end[0] == server.ids[1] or not torn
        server.rollback()
        assert server.is_right() and server.boots() != {(server.ids[2], server.sites[2])}, step
    assert ends[0] == server.ids[2] and ends[-1] == server.ids[1], "one kill came before it began, one after"
    assert sorted(ends, reverse=ends[0] > ends[-1]) == ends, "from one step on it is ended by whoever comes"


@pytest.mark.parametrize("then", ["deploy", "prune", "rollback"])
def test_a_prune_killed_at_any_step_is_ended_by_the_next_command_of_any_kind(server, then):
    server.rollback()
    for step in every_kill(server.dest, lambda: server.prune(keep=0)):
        assert not wrong(server.dest), step
        with contextlib.suppress(Refused):  # a rollback: then there is nothing any more to go back to
            getattr(server, then)()
        assert server.is_right(), step
    assert step > 40, "a prune makes more steps than that"


@pytest.mark.parametrize("then", ["deploy", "prune", "rollback"])
def test_a_deploy_killed_at_any_step_leaves_what_any_next_command_makes_right(server, then):
    server.rollback()
    before, after = (server.ids[1], server.sites[2]), (server.ids[0], server.sites[0])
    for step in every_kill(server.dest, lambda: server.deploy(0)):
        assert not wrong(server.dest) and server.boots() <= {before, after}, step
        getattr(server, then)()
        assert server.is_right(), step
        server.deploy(0, again=True)
        assert server.is_right() and server.boots() == {after}, step
