"""Repair: a published root that was harmed is what its manifest says again, or it is said what is lacking."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
from collections.abc import Callable

import pytest

from tasks.core.deploy.prune import Rules, prune_server
from tasks.core.inspect import verify
from tasks.core.inspect.repair import (
    Lent,
    Repaired,
    WantedRepair,
    advice,
    built_paths,
    lend,
    repair_server,
)
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import AUTHOR, build, run, snapshot, want

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")


class Server:
    """A server with two releases, which share all but one file."""

    def __init__(self, folder: pathlib.Path):
        self.targets = Targets("/tftpboot", "/opt/nfs_export", str(folder / "dest"))
        self.built = [build(folder / word, files=5, file2=word.encode()) for word in ("a", "b")]
        for built in self.built:
            run(self.targets, want(built))
        self.old, self.new = (
            pathlib.Path(self.targets.root(built.release.id)) for built in self.built
        )

    def repair(self, paths: dict[str, str] | None = None, full: bool = False) -> Repaired:
        return repair_server(self.targets, WantedRepair("", full, AUTHOR), Lent(paths or {}))

    def found(self, full: bool = True) -> list[str]:
        return [str(each) for each in verify.of_server(self.targets, full)]

    @property
    def replaced(self) -> list[pathlib.Path]:
        folder = pathlib.Path(self.targets.replaced)
        return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Server:
    return Server(tmp_path)


def edited(path: pathlib.Path) -> None:
    """A byte is another one, in place: every name of the file has it."""
    with open(path, "r+b") as file:
        file.write(b"X")


def harmed_by_a_disk(path: pathlib.Path) -> None:
    """The same, where the time of modification tells nothing."""
    before = path.stat()
    edited(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def a_link_in_its_place(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


# What only the new release has, so that its bytes come from elsewhere
OWN = "usr/lib0/file2"
DAMAGES: list[Callable[[pathlib.Path], None]] = [
    edited,
    harmed_by_a_disk,
    a_link_in_its_place,
    pathlib.Path.unlink,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_bytes_come_from_what_is_built(server, damage):
    path = server.new / OWN
    mode = stat.S_IMODE(path.stat().st_mode)
    damage(path)
    first = server.repair()
    (digest,) = first.missing
    assert first.mended == [] and "publish worker-" in next(iter(advice(first)))
    done = server.repair(built_paths(server.built, first.missing))
    assert len(done.mended) == 1 and "reboot the nodes that run " in "".join(advice(done))
    assert server.found() == [] and stat.S_IMODE(path.stat().st_mode) == mode
    assert lend(server.targets, [digest]) == {digest: path.read_bytes()}
    edited(pathlib.Path(server.built[1].path("root")) / OWN)
    assert server.found() == [], "a build and a release share no file"


def test_what_another_server_lends_is_compared_with_its_digest(server):
    path = server.new / OWN
    right = path.read_bytes()
    edited(path)
    (digest,) = server.repair().missing
    wanted = WantedRepair("", False, AUTHOR)
    assert repair_server(server.targets, wanted, Lent({}, {digest: b"other"})).mended == []
    assert len(repair_server(server.targets, wanted, Lent({}, {digest: right})).mended) == 1
    assert path.read_bytes() == right and server.found() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_bytes_come_from_another_release_whose_name_for_them_is_not_harmed(server, damage):
    shutil.copy2(server.old / "usr/lib0/file4", server.old / "usr/lib0/copy")
    os.replace(server.old / "usr/lib0/copy", server.old / "usr/lib0/file4")
    damage(server.new / "usr/lib0/file4")
    assert server.repair().missing == {} and server.found() == []
    assert not server.replaced or (server.new / "usr/lib0/file4").stat().st_nlink == 2


def test_one_harmed_file_of_two_releases_is_mended_in_both_and_shared_again(server):
    names = [root / "usr/lib0/file4" for root in (server.old, server.new)]
    edited(names[0])
    harmed = names[0].stat().st_ino
    missing = server.repair().missing
    done = server.repair(built_paths(server.built, missing))
    assert len(done.mended) == 2 and server.found() == []
    assert names[0].stat().st_ino == names[1].stat().st_ino != harmed
    (kept,) = server.replaced
    assert kept.stat().st_ino == harmed and kept.read_bytes().startswith(b"X")
    prune_server(server.targets, Rules(3, 90, 0), AUTHOR)
    assert server.replaced == [] and server.found() == []


@root_only
def test_owners_modes_and_attributes_are_mended_in_place(server):
    path = server.new / "etc/shadow"
    inode = path.stat().st_ino
    path.chmod(0o644)
    os.chown(path, 5, 5)
    os.setxattr(path, "user.note", b"by hand")
    (server.new / "etc").chmod(0o777)
    os.chown(server.new / "bin", 7, 7, follow_symlinks=False)
    assert server.repair().missing == {} and server.found() == []
    assert path.stat().st_ino == inode and server.replaced == []


def test_a_folder_that_was_moved_away_comes_back_with_all_that_is_in_it(server):
    shutil.move(server.new / "usr", server.new.parent / ".plugnode/aside")
    (server.new / "usr").symlink_to("/tmp")
    before = os.listdir("/tmp")
    missing = server.repair().missing
    server.repair(built_paths(server.built, missing))
    assert server.found() == [] and os.listdir("/tmp") == before


def test_what_no_manifest_names_stays_and_a_folder_of_somebody_elses_is_not_removed(server):
    (server.new / "usr/foreign").write_bytes(b"of somebody else\n")
    assert server.repair().mended == []
    (server.new / OWN).unlink()
    (server.new / OWN).mkdir()
    (server.new / OWN / "held").write_bytes(b"of somebody else\n")
    done = server.repair(built_paths(server.built, {}))
    assert "a folder is in the place of a file: move it away" in done.left[0]
    assert (server.new / OWN / "held").exists() and (server.new / "usr/foreign").exists()
    assert len(server.found()) >= 2 == len(server.found(full=False)[:2])


def test_kernel_and_initrd_of_a_release_that_is_not_built_any_more_come_back(server):
    """From another release: the initrd is the same; from a build: whoever has one."""
    boot = pathlib.Path(server.targets.boot(server.built[0].release.id))
    edited(boot / "initrd.img")
    (boot / "vmlinuz").unlink()
    done = server.repair()
    assert len(done.mended) == 2 and server.found() == []
    for release in server.built:
        edited(pathlib.Path(server.targets.boot(release.release.id)) / "vmlinuz")
    missing = server.repair().missing
    assert list(missing) == [server.built[0].release.kernel]
    server.repair(built_paths(server.built, missing))
    assert server.found() == []


def test_where_nothing_is_harmed_nothing_is_touched(server):
    before = snapshot(server.targets.nfs_root)
    assert server.repair(full=True) == Repaired([], [], {}, [])
    after = snapshot(server.targets.nfs_root)
    lock = server.targets.kept("lock")
    assert {**before, lock: 0} == {**after, lock: 0}


def test_the_next_release_and_verify_take_over_what_was_mended(server, tmp_path):
    edited(server.new / "usr/lib0/file4")
    missing = server.repair().missing
    server.repair(built_paths(server.built, missing))
    assert server.found(full=False) == []
    newer = build(tmp_path / "c", files=5, file2=b"c")
    run(server.targets, want(newer))
    name = pathlib.Path(server.targets.root(newer.release.id)) / "usr/lib0/file4"
    assert name.stat().st_ino == (server.new / "usr/lib0/file4").stat().st_ino
    assert server.found() == []
