"""Verify of many releases: what they share is looked at once, and no harm is missed by that."""

from __future__ import annotations

import marshal
import os
import pathlib
import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from tasks.core.inspect.verify import KnownFiles, of_release
from tasks.core.scan.seen import SeenRoot
from tasks.core.store.paths import Targets
from tests.support.commands import REPOSITORY
from tests.support.deploy_kit import build, run, want

LOOK = """
import sys
from tasks.core.inspect.verify import KnownFiles, of_release
from tasks.core.store.paths import Targets
targets = Targets("/tftpboot", "/opt/nfs_export", sys.argv[1])
known = KnownFiles(targets)
for id in sys.argv[2:]:
    assert not list(of_release(targets, id, known=known))
"""


class Server:
    """One with three releases, of which each has ten files that the one before has not."""

    def __init__(self, folder: pathlib.Path):
        self.targets = Targets("/tftpboot", "/opt/nfs_export", str(folder / "dest"))
        self.ids = []
        for number in range(3):
            changes = {f"file{n}": b"%d\n" % number for n in range(10 * number)}
            built = build(folder / str(number), **changes)
            run(self.targets, want(built))
            self.ids.append(built.release.id)

    def root(self, number: int) -> pathlib.Path:
        return pathlib.Path(self.targets.root(self.ids[number]))

    def drift(self, known: KnownFiles | None = None) -> dict[str, set[str]]:
        """Of each release, with what is known of those before it or, without, by itself."""
        found = {}
        for id in self.ids:
            found[id] = {str(each) for each in of_release(self.targets, id, known=known)}
        return found

    def both(self) -> dict[str, set[str]]:
        alone = self.drift()
        for _ in range(3):
            assert self.drift(KnownFiles(self.targets)) == alone
            self.ids.append(self.ids.pop(0))
        return alone


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_one_harmed_file_of_three_releases_is_told_of_all(server):
    file = server.root(2) / "usr/lib2/file250"
    status = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert server.both() == dict.fromkeys(server.ids, {"usr/lib2/file250: content (sha256)"})


def test_what_was_done_to_one_release_is_told_of_that_alone(server):
    root = server.root(1)
    (root / "usr/lib2/new").write_text("new")
    (root / "usr/lib2/file250").unlink()
    os.rename(root / "usr/lib1/file150", root / "usr/lib1/kept")  # two files change places
    os.rename(root / "usr/lib1/file151", root / "usr/lib1/file150")
    os.rename(root / "usr/lib1/kept", root / "usr/lib1/file151")
    found = server.both()
    assert found[server.ids[1]] == {"usr/lib2/new: added", "usr/lib2/file250: missing"} | {
        f"usr/lib1/file{n}: content (sha256)" for n in (150, 151)
    }
    assert found[server.ids[0]] == found[server.ids[2]] == set()


def test_folders_that_are_gone_moved_or_links_are_told(server):
    root = server.root(0)
    os.rename(root / "usr/lib1", root / "usr/away")
    (root / "usr/lib1").symlink_to(server.root(1) / "usr/lib1")
    os.rename(root / "empty folder", root / "usr/empty")
    os.rename(server.root(1) / "usr", server.root(1) / "etc/usr")
    (server.root(1) / "usr").symlink_to("usr")
    found = server.both()
    assert {"usr/lib1: link, not dir", "usr/away: added", "empty folder: missing"} <= found[
        server.ids[0]
    ]
    assert {"usr: link, not dir", "etc/usr: added"} <= found[server.ids[1]]
    assert found[server.ids[2]] == set()


def test_whatever_is_done_to_them_no_harm_is_missed(server):
    dice = random.Random(7)
    for _ in range(25):
        root = server.root(dice.randrange(3))
        files = sorted(path for path in root.rglob("file*") if path.is_file())
        one, other = dice.sample(files, 2)
        harm = dice.choice(HARMS)
        harm(one, other)
        server.both()
    assert all(server.drift().values())


HARMS = (
    lambda one, other: one.write_bytes(b"harmed"),
    lambda one, other: one.chmod(0o600),
    lambda one, other: one.unlink(),
    lambda one, other: os.replace(one, other),
    lambda one, other: (one.unlink(), os.link(other, one)),
    lambda one, other: one.with_name(f"{one.name}-more").write_bytes(b""),
    lambda one, other: one.parent.rename(one.parent.with_name(f"{one.parent.name}-")),
)


def test_of_a_further_release_only_names_that_are_new_are_looked_at(server, tmp_path):
    counts = [calls(server, tmp_path, ids)["newfstatat"] for ids in (server.ids[:1], server.ids)]
    assert counts == [300, 300 + 10 + 20]


def test_a_file_of_which_a_later_release_has_another_is_not_read_again(server, tmp_path):
    assert "openat" not in calls(server, tmp_path, server.ids)


def calls(server, folder, ids) -> Counter[str]:
    """The calls by which a verify of these looks at files, or opens them."""
    words = [sys.executable, "-c", LOOK, server.targets.destdir, *ids]
    out = folder / "calls"
    argv = ["strace", "-f", "-o", out, "-e", "trace=newfstatat,openat", *words]
    subprocess.run(argv, check=True, cwd=REPOSITORY)
    return Counter(re.findall(r'(\w+)\([^"]*"[^"]*file\d+"', out.read_text()))


def test_what_an_earlier_version_wrote_down_is_looked_at_in_each_release(server):
    """It did not say to which file a name leads."""
    for id in server.ids:
        path = server.targets.kept(f"{id}.seen")
        seen = SeenRoot(pathlib.Path(path).read_bytes())
        names = {}
        for folder, (own, inside) in seen.stats.items():
            names[folder] = own, {name: stat[:6] for name, stat in inside.items()}
        data = marshal.dumps(("plugnode looks 1", names, seen.inodes))
        pathlib.Path(path).write_bytes(data)
    known = KnownFiles(server.targets)
    assert not any(server.drift(known).values()) and not known.sound
    file = server.root(2) / "usr/lib2/file250"
    file.write_bytes(b"x" * file.stat().st_size)
    assert all(server.both().values())
