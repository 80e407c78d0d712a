"""A release takes over from an earlier one only what is known to be what its name says."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

import pytest

from tasks.core.checkout import drift
from tasks.core.deploy.prune import Rules, prune_server
from tasks.core.inspect import verify
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import AUTHOR, build, run, served, want

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sets capabilities")
FILE = "usr/lib0/file7"


class Server:
    """A boot server, and releases of an image that differ in one small file."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.targets = Targets("/tftpboot", "/opt/nfs_export", str(folder / "dest"))
        self.goals = []
        self.deploy()

    def deploy(self) -> pathlib.Path:
        """Deploy one release more, and give its root."""
        number = len(self.goals)
        built = build(self.folder / str(number), files=40, file3=b"%d\n" % number)
        self.goals.append(want(built))
        run(self.targets, self.goals[-1])
        return self.root(number)

    def root(self, number: int) -> pathlib.Path:
        return pathlib.Path(self.targets.root(self.goals[number].releases[0].release.id))

    def boot(self, name: str) -> pathlib.Path:
        return pathlib.Path(self.targets.boot(self.root(-1).name), name)

    def drift(self) -> list[str]:
        """What verify says of the roots, without `--full`."""
        return [str(found) for found in verify.of_server(self.targets)]

    def prune(self) -> list[str]:
        verdicts = prune_server(self.targets, Rules(0, 0, time.time()), AUTHOR)
        return [verdict.id for verdict in verdicts if verdict.removed]


@pytest.fixture
def server(tmp_path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def read_files(monkeypatch) -> list[bytes]:
    """Every file of a root whose bytes were compared with its manifest."""
    read: list[bytes] = []
    digest = drift.digest_file
    monkeypatch.setattr(drift, "digest_file", lambda file: read.append(file) or digest(file))
    return read


def other_byte(file: pathlib.Path) -> None:
    """As a disk does it, or an admin who gives the time back."""
    status = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"X")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def capability(file: pathlib.Path) -> None:
    subprocess.run(["setcap", "cap_net_raw+ep", file], check=True)


def acl(file: pathlib.Path) -> None:
    """One that leaves the mode as it is."""
    mode = file.stat().st_mode & 0o7777
    subprocess.run(["setfacl", "-m", "u:9:r", file], check=True)
    file.chmod(mode)


HARM = pytest.mark.parametrize("harm", [other_byte, capability, acl])


@HARM
def test_a_file_that_was_changed_in_a_published_root_is_not_inherited(server, harm):
    harm(server.root(0) / FILE)
    second = server.deploy()
    assert served(server.targets)[0] == second.name  # all of it read
    assert [line for line in server.drift() if second.name in line] == []


@HARM
def test_verify_sees_it_without_reading_everything(server, harm, read_files):
    assert server.drift() == [] and read_files == []
    harm(server.root(0) / FILE)
    (line,) = server.drift()
    assert FILE in line and len(read_files) == 1


@HARM
def test_so_it_is_after_the_first_release_was_pruned(server, harm, read_files):
    second = server.deploy()
    assert server.prune() == [server.root(0).name]
    read_files.clear()
    assert server.drift() == [] and read_files == []
    harm(second / FILE)
    third = server.deploy()
    assert served(server.targets)[0] == third.name
    assert any(FILE in line and second.name in line for line in server.drift())


def test_where_nothing_was_touched_a_deploy_reads_only_what_is_new(server, read_files):
    server.deploy()
    made = {b"file3"}
    assert {os.path.basename(file) for file in read_files} <= made
    read_files.clear()
    server.deploy()
    assert {os.path.basename(file) for file in read_files} <= made
    read_files.clear()
    run(server.targets, server.goals[-1])
    assert read_files == []


@pytest.mark.parametrize("name", ["ctimes", "boot-ctimes"])
@pytest.mark.parametrize("data", [None, b"", b"damaged"])
def test_a_release_without_a_record_is_read_once(server, read_files, name, data):
    record = pathlib.Path(server.targets.kept(name))
    record.unlink()
    if data is not None:
        record.write_bytes(data)
    other_byte(server.root(0) / FILE)
    second = server.deploy()
    assert served(server.targets)[0] == second.name
    read_files.clear()
    server.deploy()
    assert len(read_files) <= 1


@pytest.mark.parametrize("name", ["vmlinuz", "initrd.img"])
def test_a_kernel_or_initrd_edited_at_the_same_size_is_mended(server, name):
    other_byte(server.boot(name))
    assert any(name in line for line in server.drift())
    assert run(server.targets, server.goals[-1]).boots
    assert served(server.targets)[0] == server.root(-1).name
    assert server.drift() == []
    assert not run(server.targets, server.goals[-1]).changed


def test_verify_sees_an_edited_kernel_of_a_release_that_nobody_boots(server):
    first = server.boot("vmlinuz")
    server.deploy()
    other_byte(first)
    assert [line.split(": ")[1] for line in server.drift()] == ["content (sha256)"]
