"""Rollback, prune, repair and deploy killed at every step that changes a disk.

With trees of FILES files; the campaign `tests.stress.kills` asks for more than there are by default.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from tasks.core.base.errors import Refused
from tasks.core.deploy import rollback
from tasks.core.deploy.prune import DAY, Rules, prune_server
from tasks.core.inspect import repair, verify
from tasks.core.nodes import ask
from tasks.core.plan import rolled_back
from tasks.core.store.paths import Targets
from tests.support import sample_site
from tests.support.deploy_kit import AUTHOR, boot_files, build, run, want
from tests.support.killed_steps import boots, every_kill, listed, wrong

FILES = int(os.environ.get("PLUGNODE_TEST_FILES", "3"))


class Server:
    """A server to which three releases of one image were deployed, each with site data of its own."""

    def __init__(self, folder: pathlib.Path):
        self.dest = folder / "dest"
        self.targets = Targets("/tftpboot", "/opt/nfs_export", str(self.dest))
        self.goals = []
        for number in range(3):
            built = build(folder / str(number), files=FILES, file2=b"%d\n" % number)
            self.goals.append(want(built, site_img=b"site %d" % number))
            run(self.targets, self.goals[-1])
        self.ids = [goal.releases[0].release.id for goal in self.goals]
        self.sites = [goal.site_id for goal in self.goals]

    def deploy(self, number: int = 2, again: bool = False) -> None:
        def settle():
            return rolled_back.stay(
                self.targets,
                lambda one, label, site: boot_files(one, site),
                self.goals[number],
                again,
            )

        run(self.targets, settle)

    def rollback(self) -> None:
        rollback.rollback_server(
            self.targets, rollback.RollbackChoice(["worker"]), boot_files, AUTHOR
        )

    def prune(self, keep: int = 3) -> None:
        prune_server(self.targets, Rules(keep, 0, time.time() + 2 * DAY), AUTHOR)

    def harm(self) -> None:
        """A byte that releases share, a mode, a symlink and a file of the release that nodes boot."""
        root = pathlib.Path(self.targets.root(self.ids[2]))
        with open(root / "usr/lib0/file1", "r+b") as file:
            file.write(b"X")
        (root / "etc").chmod(0o700)
        (root / "bin").unlink()
        (root / "bin").symlink_to("/tmp")
        (root / "usr/lib0/file0").unlink()

    def repair(self) -> None:
        wanted = repair.WantedRepair("", True, AUTHOR)
        missing = repair.repair_server(self.targets, wanted, repair.Lent()).missing
        built = [each for goal in self.goals for each in goal.releases]
        paths = repair.built_paths(built, missing)
        repair.repair_server(self.targets, wanted, repair.Lent(paths))

    def boots(self) -> set[tuple[str, str]]:
        return boots(self.dest)

    def is_right(self) -> bool:
        """By whoever knows nothing of ours, by sha256sum's list, and by verify."""
        found = [
            *wrong(self.dest),
            *listed(self.dest),
            *map(str, verify.of_server(self.targets, full=True)),
        ]
        assert not found, found
        return len(self.boots()) == 1


OTHERS = ("deploy", "prune")
NEXT = (*OTHERS, "rollback")


@pytest.fixture
def server():
    """In memory: what is waited for is no disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Server(pathlib.Path(folder))


def test_a_rollback_killed_at_any_step_and_run_again_ends_at_the_release_that_the_first_one_chose(
    server,
):
    for step in every_kill(server.dest, server.rollback):
        assert not wrong(server.dest), step
        server.rollback()
        assert server.is_right() and server.boots() == {(server.ids[1], server.sites[2])}, step
    assert step > 15, "a rollback makes more steps than that"


@pytest.mark.parametrize("then", OTHERS)
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
    assert ends[0] == server.ids[2] and ends[-1] == server.ids[1], (
        "one kill came before it began, one after"
    )
    assert sorted(ends, reverse=ends[0] > ends[-1]) == ends, (
        "from one step on it is ended by whoever comes"
    )


@pytest.mark.parametrize("then", NEXT)
def test_a_prune_killed_at_any_step_is_ended_by_the_next_command_of_any_kind(server, then):
    server.rollback()
    for step in every_kill(server.dest, lambda: server.prune(keep=0)):
        assert not wrong(server.dest), step
        with contextlib.suppress(
            Refused
        ):  # a rollback: then there is nothing any more to go back to
            getattr(server, then)()
        assert server.is_right(), step
    assert step > 40, "a prune makes more steps than that"


@pytest.mark.parametrize("then", NEXT)
def test_a_repair_killed_at_any_step_leaves_names_whole_or_harmed_and_is_ended_by_itself(
    server, then
):
    server.harm()
    harmed = set(map(str, verify.of_server(server.targets, full=True)))
    for step in every_kill(server.dest, server.repair):
        assert set(map(str, verify.of_server(server.targets, full=True))) <= harmed, step
        getattr(server, then)()
        server.repair()
        assert server.is_right(), step
    assert step > 30, "a repair makes more steps than that"


@pytest.mark.parametrize("then", NEXT)
def test_a_deploy_killed_at_any_step_leaves_what_any_next_command_makes_right(server, then):
    server.rollback()
    before, after = (server.ids[1], server.sites[2]), (server.ids[0], server.sites[0])
    for step in every_kill(server.dest, lambda: server.deploy(0)):
        assert not wrong(server.dest) and server.boots() <= {before, after}, step
        getattr(server, then)()
        assert server.is_right(), step
        server.deploy(0, again=True)
        assert server.is_right() and server.boots() == {after}, step


# --- new site data on a node, by `push`

OLD = {
    "hosts": "old hosts\n",
    "nodes": "wn001 gone\n",
    "site": "old\n",
    "layouts/gone": "table dos\n",
}
NEW = {
    "hosts": "new hosts\n",
    "nodes": "wn001 disk\n",
    "site": "new\n",
    "layouts/disk": "table gpt\n",
}
KILL = 'trap \'[ "$((++count))" -ne "$AT" ] || kill -9 "$$"\' DEBUG\n'


def push(folder: pathlib.Path, new: pathlib.Path, at: int) -> int:
    """What `push` runs on a node, killed before its command `at`; its exit status."""
    script = KILL + ask.TAKE.replace("/run/plugnode", str(folder))
    with open(new, "rb") as tar:
        return subprocess.run(
            ["bash", "-c", script], stdin=tar, env={**os.environ, "AT": str(at)}
        ).returncode


def test_a_push_killed_at_any_command_leaves_whole_files_and_the_next_one_ends_it(tmp_path):
    for name, files in (("node", OLD), ("new", NEW)):
        sample_site.fill(tmp_path / name, {path: text.encode() for path, text in files.items()})
    tar, node = tmp_path / "new.tar", tmp_path / "node"
    subprocess.run(["tar", "-cf", tar, "-C", tmp_path / "new", "."], check=True)
    shutil.copytree(node, tmp_path / "before")
    step = 1
    while push(node, tar, step) == -signal.SIGKILL:
        found = held(node)
        assert all(found[name] in (OLD[name], NEW[name]) for name in ("hosts", "nodes", "site")), (
            step
        )
        assert f"layouts/{found['nodes'].split()[1]}" in found, (
            "a node finds the layout that it is told"
        )
        assert push(node, tar, 0) == 0 and held(node) == NEW, step
        shutil.rmtree(node)
        shutil.copytree(tmp_path / "before", node)
        step += 1
    assert step > 12, "it has more commands than that"


def held(folder: pathlib.Path) -> dict[str, str]:
    """Every file below a folder, by its path: text."""
    names = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in names}
