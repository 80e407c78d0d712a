"""One damaged thing stops only what needs it: one line with its path, never a traceback; and rollback works."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import random
import re
import subprocess
import time

import pytest

from tasks.core.base.errors import Refused
from tasks.core.deploy.prune import DAY, Rules, prune_server
from tasks.core.deploy.rollback import RollbackChoice, rollback_server
from tasks.core.inspect import verify
from tasks.core.inspect.status import server_status, status_text
from tasks.core.plan import rolled_back
from tasks.core.remote import operations
from tasks.core.scan.seen import SeenRoot
from tasks.core.store import journal
from tasks.core.store.kept import damaged, published
from tasks.core.store.ours import read_ours
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import AUTHOR, boot_files, build, run, want
from tests.support.killed_steps import boots, every_kill, wrong

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


class Server:
    """Three releases of one image, deployed one after the other."""

    def __init__(self, folder: pathlib.Path):
        self.dest = folder / "dest"
        self.targets = Targets("/tftpboot", "/opt/nfs_export", str(self.dest))
        self.goals = [want(build(folder / str(n), files=9, file7=b"%d\n" % n)) for n in range(3)]
        for goal in self.goals:
            run(self.targets, goal)
        self.ids = [goal.releases[0].release.id for goal in self.goals]

    def kept(self, name: str) -> pathlib.Path:
        return pathlib.Path(
            self.targets.kept(name.replace("FIRST", self.ids[0]).replace("LAST", self.ids[2]))
        )

    def rollback(self, release: str = "") -> None:
        rollback_server(
            self.targets, RollbackChoice(["worker"], release=release), boot_files, AUTHOR
        )

    def deploy(self) -> None:
        def settle():
            return rolled_back.stay(
                self.targets, lambda one, label, site: boot_files(one, site), self.goals[2], False
            )

        run(self.targets, settle)

    def boots(self) -> str:
        assert not wrong(self.dest)
        ((release, _),) = boots(self.dest)
        return release

    def verify(self) -> list[str]:
        return [*map(str, verify.of_server(self.targets))]


@pytest.fixture
def server(tmp_path) -> Server:
    return Server(tmp_path)


def garbage(path: pathlib.Path) -> None:
    path.write_bytes(random.Random(1).randbytes(400))


def folder(path: pathlib.Path) -> None:
    path.unlink()
    (path / "inner").mkdir(parents=True)


def fifo(path: pathlib.Path) -> None:
    """Who opens it waits for somebody who writes."""
    path.unlink()
    os.mkfifo(path)


def unreadable(path: pathlib.Path) -> None:
    """As on a disk that fails: this process's memory has nothing at byte 0, and says so with EIO."""
    subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", path], check=True)


@pytest.fixture
def harm(server):
    """Damage of a kind; what was mounted for it goes in the end."""
    yield lambda kind, name: kind(server.kept(name))
    unmount(server.dest)


def unmount(folder: pathlib.Path) -> None:
    """Whatever is mounted below it."""
    found = subprocess.run(
        ["findmnt", "-rno", "TARGET"], capture_output=True, text=True
    ).stdout.splitlines()
    for place in (line.replace("\\x20", " ") for line in found):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", place], check=True)


KEPT = [
    "FIRST.json",
    "LAST.json",
    "FIRST.mtree",
    "LAST.mtree",
    "LAST.xattrs",
    "LAST.seen",
    "files",
    "nodes.json",
]


@root_only
@pytest.mark.parametrize("kind", [garbage, folder, fifo, unreadable])
@pytest.mark.parametrize("name", [*KEPT, "journal.jsonl"])
def test_whatever_of_what_is_kept_is_damaged_rollback_works_and_nothing_ends_in_a_traceback(
    server, harm, kind, name
):
    harm(kind, name)
    path = str(server.kept(name))
    found = [line for line in server.verify() if path in line]
    assert found or name.endswith("seen") or name == "journal.jsonl" and kind is not folder
    with one_line(path):
        status_text(server_status(server.targets, time.time()))
    with one_line(path):
        run(server.targets, server.goals[2])
    with one_line(path):
        prune_server(server.targets, Rules(3, 0, time.time()), AUTHOR)
    with (
        one_line(path) if kind is unreadable else contextlib.nullcontext()
    ):  # nothing can be put over what is mounted
        server.rollback(server.ids[1])
    assert server.boots() == server.ids[1]


@contextlib.contextmanager
def one_line(path: str):
    """It works, or what stops it is one line that names the path."""
    try:
        yield
    except (Refused, OSError) as error:
        said = operations.failure(error)
        assert path in said and "\n" not in said


@pytest.mark.parametrize("kind", [garbage, folder])
def test_a_release_whose_facts_are_damaged_stops_no_other(server, harm, kind):
    harm(kind, "FIRST.json")
    path = f"{server.kept('FIRST.json')}"
    (line,) = server.verify()
    assert line.startswith(f"{path}: is damaged (")
    assert any(
        one.startswith(f"{path} is damaged (")
        for one in server_status(server.targets, time.time())["wrong"]
    )
    assert not run(server.targets, server.goals[2]).changed
    verdicts = prune_server(server.targets, Rules(0, 0, time.time() + 99 * DAY), AUTHOR)
    assert (server.ids[0], False, f"{path} is damaged") in [tuple(verdict) for verdict in verdicts]
    assert os.path.isdir(server.targets.root(server.ids[0])), "what is not known is not removed"
    with pytest.raises(Refused, match=re.escape(path)):
        server.rollback(server.ids[0])
    if kind is garbage:
        run(server.targets, server.goals[0])
        assert server.boots() == server.ids[0] and not server.verify()


def test_a_release_of_a_later_version_says_more_than_this_one_knows(server):
    path = server.kept("LAST.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"verity": "0" * 64}))
    assert not server.verify() and published(server.targets)[server.ids[2]].image == "worker"


VALUES = [
    None,
    True,
    5,
    1e400,
    "x",
    "2026-13-45T00:00:00Z",
    [],
    [1],
    [None],
    {},
    {"worker": 5},
    {"a": []},
]
NAMES = [
    "time",
    "who",
    "host",
    "git",
    "dirty",
    "action",
    "result",
    "releases",
    "left",
    "pinned",
    "removed",
    "site",
]


def test_lines_of_the_journal_of_any_shape_are_passed_over(server):
    sound = journal.read_journal(server.targets.kept("journal.jsonl"))[-1]
    lines = [json.dumps({**sound, name: value}) for name in NAMES for value in VALUES]
    lines += [
        json.dumps({key: value for key, value in sound.items() if key != name}) for name in NAMES
    ]
    lines += [
        "",
        "null",
        "5",
        '"x"',
        "[]",
        "{}",
        "[" * 99_999,
        '{"time": ',
        "\x00",
        '{"releases": {"worker": null}}',
    ]
    with open(server.targets.kept("journal.jsonl"), "ab") as file:
        file.write(b"\xff\xfe\n" + "\n".join(lines).encode() + b"\n")
    status_text(server_status(server.targets, time.time()))
    prune_server(server.targets, Rules(3, 0, time.time()), AUTHOR)
    server.rollback()
    run(server.targets, server.goals[0])
    assert server.boots() == server.ids[0] and not server.verify()


def test_what_is_known_of_looks_is_as_good_as_none_whatever_is_in_it(server):
    data = server.kept("LAST.seen").read_bytes()
    dice = random.Random(3)
    for _ in range(300):
        harmed = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            harmed[dice.randrange(len(harmed))] = dice.randrange(256)
        harmed = harmed[: dice.choice([len(data), dice.randrange(len(data))])]
        if harmed == data:  # a byte became the one that it was
            continue
        found = SeenRoot(bytes(harmed))
        assert (found.folders, found.stats, found.inodes) == ({}, {}, {})
    for harmed in (b"", b"N", data[:-1], b"\0" * 99):
        server.kept("LAST.seen").write_bytes(harmed)
        assert not server.verify()


def test_a_line_that_leads_out_of_tftp_root_is_none_of_ours(server):
    precious = server.dest / "precious"
    precious.write_text("not ours\n")
    files = server.kept("files")
    files.write_text(
        files.read_text()
        + f"{'0' * 64}  /tftpboot/../precious\n{'0' * 64}  /tftpboot/a\0b\nhalf a li"
    )
    assert not [name for name in read_ours(server.targets) if ".." in name or "\0" in name]
    assert list(damaged(server.targets)) == [str(files)]
    run(server.targets, server.goals[2])
    assert precious.read_text() == "not ours\n" and not server.verify()


@pytest.mark.parametrize("name", ["plugnode/worker.grub", "pxelinux.cfg/default", "boot.ipxe"])
def test_a_folder_in_the_place_of_a_file_is_one_line_before_anything_is_changed(server, name):
    folder(path := pathlib.Path(server.targets.served(name)))
    assert f"/tftpboot/{name}: dir, not file" in server.verify()
    before = boots(server.dest) if name != "plugnode/worker.grub" else None
    with pytest.raises(
        Refused, match=f"^{path} is a folder, and a file is to be there: move it away"
    ):
        run(server.targets, server.goals[0])
    if before:
        assert boots(server.dest) == before
        server.rollback()
        assert server.boots() == server.ids[1], "it does not need that one"
    else:
        with pytest.raises(Refused, match=f"^{path} is a folder"):
            server.rollback()
    path.joinpath("inner").rmdir()
    path.rmdir()
    run(server.targets, server.goals[0])
    assert server.boots() == server.ids[0] and not server.verify()


@root_only
def test_a_file_that_its_disk_does_not_give_is_named_by_verify_and_the_rest_is_compared(
    server, harm
):
    root = pathlib.Path(server.targets.root(server.ids[2]))
    unreadable(root / "usr/lib0/file3")
    pathlib.Path(server.targets.served("boot.ipxe")).write_text("edited\n")
    found = [*map(str, verify.of_server(server.targets, full=True))]
    assert any(
        line.startswith(f"/opt/nfs_export/{server.ids[2]}/usr/lib0/file3: ") for line in found
    ), found
    assert "/tftpboot/boot.ipxe: content (sha256)" in found


@root_only
def test_a_lock_that_is_a_symlink_is_refused_and_what_it_leads_to_stays(server):
    lock, precious = server.kept("lock"), server.dest / "precious"
    precious.write_text("not ours\n")
    lock.unlink()
    lock.symlink_to(precious)
    for do in (server.rollback, lambda: run(server.targets, server.goals[0])):
        with pytest.raises(Refused, match=f"^{lock} is a symlink"):
            do()
    assert precious.read_text() == "not ours\n" and server.boots() == server.ids[2]


def test_what_is_kept_of_a_release_that_is_half_pruned_is_swept(server):
    kept = {
        name: server.kept(name).read_bytes()
        for name in ("FIRST.mtree", "FIRST.xattrs", "FIRST.seen")
    }
    prune_server(server.targets, Rules(1, 0, time.time() + 99 * DAY), AUTHOR)
    for name, data in kept.items():  # as an earlier version left it that was killed
        server.kept(name).write_bytes(data)
    prune_server(server.targets, Rules(1, 0, time.time()), AUTHOR)
    assert not [name for name in os.listdir(server.targets.kept("")) if server.ids[0] in name]
    assert not server.verify()


def test_what_a_deploy_that_was_cut_off_brought_and_nobody_wants_any_more_is_pruned(
    server, tmp_path
):
    other = want(build(tmp_path / "other", files=9, file7=b"other\n"))
    id = other.releases[0].release.id
    for _ in every_kill(server.dest, lambda: run(server.targets, other)):
        if os.path.isdir(server.targets.boot(id)) and not os.path.exists(server.targets.root(id)):
            break
    assert not server.verify() and server.boots() == server.ids[2]
    prune_server(server.targets, Rules(3, 0, time.time()), AUTHOR)
    assert not os.path.exists(server.targets.boot(id)) and not server.verify()


@pytest.mark.parametrize("then", ["rollback", "deploy"])
def test_a_rollback_that_an_earlier_version_was_killed_in_is_ended_too(server, then):
    """It wrote the journal, and then one boot file after the other."""
    new = boot_files(server.goals[1].releases[0].release, server.goals[2].site_id)
    record = {
        **AUTHOR,
        "action": "rollback",
        "releases": {"worker": server.ids[1]},
        "result": journal.STARTED,
    }
    journal.append(server.targets.kept("journal.jsonl"), record)
    pathlib.Path(server.targets.served("plugnode/worker.cfg")).write_bytes(
        new["plugnode/worker.cfg"]
    )
    getattr(server, then)()
    assert server.boots() == server.ids[1] and not server.verify()
    server.rollback()
    assert server.boots() == server.ids[0] and not server.verify(), "that was one rollback, not two"


PLANTED = {
    "a name that leads out": {"files": ["../precious"]},
    "a file that is removed outside": {"gone": ["../precious"]},
    "a file of ours that is none": {"kept": ["journal.jsonl"]},
    "no list": {"files": 5},
    "half a list": {"record": None},
}


@pytest.mark.parametrize("what", [*PLANTED, "another's"])
def test_a_commit_that_is_none_of_ours_is_not_carried_out(server, what):
    """tftp_root may be one to which others can write."""
    precious, commit = server.dest / "precious", pathlib.Path(server.targets.commit)
    precious.write_text("not to be touched\n")
    commit.mkdir(parents=True)
    (commit / "0").write_text("planted\n")
    work = {
        "files": [],
        "gone": [],
        "kept": [],
        "record": {},
        **PLANTED.get(what, {"files": ["boot.ipxe"]}),
    }
    (commit / "list").write_text(json.dumps(work))
    if what == "another's":
        os.chown(commit, 65534, 65534)
    server.rollback()
    assert precious.read_text() == "not to be touched\n" and not commit.exists()
    assert server.boots() == server.ids[1] and not server.verify()


@root_only
@pytest.mark.usefixtures("harm")
def test_a_prune_that_a_mount_point_stopped_stops_nothing_else(server):
    place = pathlib.Path(server.targets.root(server.ids[0]), "empty folder")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    with pytest.raises(Refused, match="is a mount point"):
        prune_server(server.targets, Rules(0, 0, time.time() + 99 * DAY), AUTHOR)
    server.rollback(server.ids[1])
    assert server.boots() == server.ids[1], "it had not come to that one"
    run(server.targets, server.goals[2])
    assert server.boots() == server.ids[2]
    unmount(server.dest)
    prune_server(server.targets, Rules(0, 0, time.time() + 99 * DAY), AUTHOR)
    assert set(published(server.targets)) == {server.ids[2]} and not os.path.exists(
        server.targets.incoming_roots
    )


# --- through the commands


def test_a_damaged_state_of_doit_is_made_anew_with_one_line(built):
    state = built.build / ".doit.sqlite"
    clean = state.read_bytes()
    for harmed in (
        b"garbage",
        clean[:5000],
        clean[:4096] + bytes(len(clean) - 4096),
        clean[:100] + b"x" * 9999,
    ):
        state.write_bytes(harmed)
        out = built()
        assert out.count(".doit.sqlite") == 1 and "was damaged and is made anew" in out, out
        assert built() == ""


def test_a_folder_in_the_place_of_doits_state_is_one_line(built):
    state = built.build / ".doit.sqlite"
    state.unlink()
    state.mkdir()
    out = built(status=3)
    assert out.startswith(f"ERROR: {state}: ") and out.count("\n") == 1, out


@root_only
@pytest.mark.parametrize("held", [b"", b"garbage"])
def test_doits_state_that_was_begun_and_cannot_be_written_is_one_line(built, held):
    """In a checkout that is mounted read-only, say."""
    state = built.build / ".doit.sqlite"
    state.write_bytes(held)
    subprocess.run(["mount", "--bind", "-o", "ro", built.build, built.build], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", built.build], check=True)
    try:
        out = built("status", status=3)
        assert out.startswith("ERROR: ") and out.count("\n") == 1 and str(built.build) in out, out
    finally:
        subprocess.run(["umount", built.build], check=True)


@root_only
@pytest.mark.parametrize("room", [0, 300 << 10])
def test_a_build_folder_whose_disk_is_full_is_one_line_a_failure(built, reference, room):
    """doit's own state cannot be saved there either: neither what was done nor that it failed."""
    small = built.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64M", "none", small], check=True)
    try:
        built.build = small / "build"
        if not room:
            built()
            (reference / "etc/motd").write_text("new\n")
        with contextlib.suppress(OSError), open(small / "fill", "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        os.truncate(small / "fill", os.path.getsize(small / "fill") - room)
        out = built(status=2)
        assert f"ERROR: {small}/" in out and ": No space left on device\n" in out
        state = f"ERROR: {built.build / '.doit.sqlite'}: database or disk is full; the next run "
        assert (state in out) == bool(room)
        (small / "fill").unlink()
        assert built() and built() == ""
    finally:
        subprocess.run(["umount", small], check=True)


@root_only
def test_a_disk_that_fails_is_one_line_with_the_path(built, tmp_path):
    """A terminal whose other end is gone cannot be opened: EIO."""
    dest = f"destdir={tmp_path / 'dest'}"
    built("deploy", dest)
    path = tmp_path / "dest/opt/nfs_export/.plugnode/journal.jsonl"
    ours, theirs = os.openpty()
    subprocess.run(["mount", "--bind", os.ttyname(theirs), path], check=True)
    os.close(theirs)
    os.close(ours)
    try:
        for command in ("plan", "deploy", "prune"):
            out = built(command, dest, status=2)
            assert f"ERROR: {path}: {os.strerror(errno.EIO)}\n" in out, out
    finally:
        subprocess.run(["umount", path], check=True)
