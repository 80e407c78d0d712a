"""After any change of a reference, the root is what a build from nothing would make of it."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from tasks.core.checkout import staged
from tasks.core.scan import reader
from tasks.core.tree.model import FILE
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit
from tests.support.trees import load_staged

KEY = subprocess.run(["openssl", "genrsa", "1024"], capture_output=True, check=True).stdout
HOST_KEY = b"a host key, known by its place\n"


def settle() -> None:
    """Let the clock of the file system move on from what was just written."""
    time.sleep(0.05)


@pytest.fixture
def reference(reference: pathlib.Path) -> pathlib.Path:
    sample_site.put(reference / "etc/ssh/ssh_host_rsa_key", HOST_KEY, 0o600)
    sample_site.put(reference / "etc/security/opasswd", b"", 0o600)
    sample_site.put(reference / "etc/yum.conf", b"")
    sample_site.put(reference / "var/log/empty.log", b"")
    sample_site.put(reference / "etc/motd", b"of the reference\n")
    sample_site.put(reference / "opt/app/data", b"data of an application\n" * 2)
    settle()
    return reference


# --- through the commands


def edit(top: pathlib.Path, change: str, path: str) -> None:
    """Change a reference, in one of the ways that there are."""
    file = top / path
    match change.split():
        case ["write", *words]:
            file.write_bytes(" ".join(words).encode() + b"\n")
        case ["append", *words]:
            file.write_bytes(file.read_bytes() + b"x")
        case ["replace", *words]:  # as editors do
            sample_site.put(top / "new", " ".join(words).encode(), file.stat().st_mode & 0o7777)
            os.replace(top / "new", file)
        case ["secret"]:
            file.write_bytes(KEY)
        case ["copy", other]:
            file.write_bytes((top / other).read_bytes())
        case ["empty"]:
            file.write_bytes(b"")
        case ["touch"]:
            os.utime(file)
        case ["mode", mode]:
            file.chmod(int(mode, 8))
        case ["owner", number]:
            os.chown(file, int(number), 0)
        case ["label"]:
            os.setxattr(file, "user.label", b"x")
        case ["unlabel"]:
            os.removexattr(file, "user.label")
        case ["link", other]:
            os.link(top / other, file)
        case ["symlink", other]:
            file.unlink(missing_ok=True)
            file.symlink_to(other)
        case ["folder"]:
            file.mkdir()
        case ["remove"]:
            shutil.rmtree(file) if file.is_dir() else file.unlink()


CHANGES = [  # in this order, each after a build of the one before
    ("write longer than it was", "usr/share/0/file7"),
    ("write again", "usr/share/0/file7"),
    ("replace by another file", "usr/share/1/file107"),
    ("empty", "usr/share/1/file107"),
    ("write bytes of a node's own", "var/lib/data"),
    ("touch", "usr/share/2/file207"),
    ("mode 0600", "usr/share/2/file207"),
    ("write and after that bytes", "usr/share/2/file207"),
    ("owner 7", "usr/share/2/file208"),
    ("label", "usr/share/2/file209"),
    ("write what is labelled", "usr/share/2/file209"),
    ("unlabel", "usr/share/2/file209"),
    ("label", "usr/share/1"),
    ("unlabel", "usr/share/1"),
    ("remove", "usr/share/2/file209"),  # a label is read each time, with all of its folder
    ("link usr/share/0/file1", "usr/share/1/linked"),
    ("write by one of two names", "usr/share/0/file1"),
    ("remove", "usr/share/1/linked"),
    ("write what has one name again", "usr/share/0/file1"),
    ("folder", "usr/share/new"),
    ("write a new file", "usr/share/new/file"),
    ("write a new file's bytes", "usr/share/new/file"),
    ("remove", "usr/share/new"),
    ("symlink file1", "usr/share/0/file2"),
    ("write root:x:0:0:root:/root:/bin/sh", "etc/passwd"),
    ("write server:/other /other nfs ro 0 0", "etc/fstab"),
    ("write what an overlay hides", "etc/motd"),
    ("append a byte", "boot/vmlinuz-6.1.0-9-amd64"),
    ("copy etc/ssh/ssh_host_rsa_key", "opt/app/data"),
    ("write data that is no secret any more", "opt/app/data"),
    ("write another host key, known by its place", "etc/ssh/ssh_host_rsa_key"),
    ("write the hash of an earlier password", "etc/security/opasswd"),
    ("write proxy_password=sesame", "etc/yum.conf"),
    ("write what a node logged", "var/log/empty.log"),
    ("secret", "opt/app/data"),
    ("write data that is no secret any more", "opt/app/data"),
    ("write the last of all", "usr/share/0/file7"),
]


def outcome(doit: Doit) -> dict[str, object]:
    """What a build of the root leaves, whether it could or not."""
    process = doit.start("root")
    out = process.communicate()[0]
    assert "Traceback" not in out
    complaints = [line for line in out.splitlines() if "private key" in line]
    folder = doit.build / "worker"
    if process.returncode:
        return {"status": process.returncode, "complaints": complaints}
    root = reader.scan(str(folder / "root")).tree
    return {
        "status": 0,
        "root": {path: (entry.content, entry.inode) for path, entry in root.items()},
        "manifest": (folder / "root.mtree").read_text(),
        "labels": (folder / "root.xattrs").read_text(),
        "notes": json.loads((folder / "notes.json").read_text()),
        "decided": decided(doit),
        "entries": {
            path: entry.content
            for path, entry in load_staged(staged.staged_paths(str(folder))).items()
        },
        "stamps": fitting_stamps(folder),
    }


def decided(doit: Doit) -> dict[str, object]:
    """What the build noted of the image."""
    with open(doit.build / ".noted/worker.state", "rb") as state:
        found: dict[str, object] = json.loads(state.readline())
    return found


def fitting_stamps(folder: pathlib.Path) -> dict[bytes, bool]:
    """Of each file, whether it is known when it last changed."""
    root = os.fsencode(folder / "root")
    fits = {}
    for path, entry in load_staged(staged.staged_paths(str(folder))).items():
        if entry.type == FILE:
            fits[path] = entry.stamp == os.lstat(os.path.join(root, path)).st_ctime_ns
    return fits


def test_after_any_change_the_root_is_what_a_build_from_nothing_makes(doit, reference):
    sample_site.put(doit.folder / "overlays/site/etc/motd", b"of the site\n")
    sample_site.write(doit.site, reference, overlays="site")
    assert outcome(doit)["status"] == 0
    settle()
    for change, path in CHANGES:
        edit(reference, change, path)
        settle()
        anew = Doit(doit.folder)
        anew.build = doit.folder / "anew"
        shutil.rmtree(anew.build, ignore_errors=True)
        ours, theirs = outcome(doit), outcome(anew)
        assert ours["status"] == (3 if change == "secret" else 0), (change, path)
        assert ours.keys() == theirs.keys(), (change, path)
        for what in ours:
            assert ours[what] == theirs[what], (change, path, what)


def test_other_overlays_and_settings_are_seen_with_a_change_of_bytes(built, reference):
    sample_site.put(built.folder / "overlays/site/usr/share/0/file7", b"of the site\n")
    sample_site.write(built.site, reference, overlays="site")
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built("root")
    assert (built.build / "worker/root/usr/share/0/file7").read_text() == "of the site\n"


def with_key(text: str) -> str:
    return text.replace("overlays: []", "overlays: []\n    keep: [/etc/ssl/private/web.key]")


def with_disk(text: str) -> str:
    """A node's disk is mounted on a folder that no root has."""
    disk = "{devices: [/dev/vda], partitions: [{mount: /nosuch, size: 100M, fs: ext4}]}"
    return text.replace("ip: 172.24.10.10}", f"ip: 172.24.10.10, disk: {disk}}}")


def test_what_was_decided_and_never_staged_is_decided_again(doit, reference):
    sample_site.put(reference / "etc/ssl/private/web.key", KEY, 0o600)
    sample_site.write(doit.site, reference)
    text = doit.site.read_text()
    doit.site.write_text(with_key(text))
    settle()
    doit("root")
    assert (doit.build / "worker/root/etc/ssl/private/web.key").exists()
    doit.site.write_text(
        with_disk(text)
    )  # not kept any more: examined, and refused for another reason
    doit("root", status=3)
    doit.site.write_text(text)
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    doit("root")
    assert not (doit.build / "worker/root/etc/ssl/private/web.key").exists()


@pytest.mark.parametrize(
    "change", [with_disk, lambda text: text.replace("overlays: []", "local_files: [/etc/hosts]")]
)
def test_a_setting_that_was_refused_and_taken_back_leaves_nothing(built, reference, change):
    settle()
    built()
    text, before = built.site.read_text(), decided(built)
    built.site.write_text(change(text))
    built("root", status=3)
    built.site.write_text(text)
    edit(reference, "write 7", "usr/share/0/file7")
    settle()
    built("root")
    assert decided(built) == before
    built.site.write_text(with_disk(text))
    assert "no folder /nosuch" in built("root", status=3)


def test_an_overlay_that_was_examined_and_not_staged_is_staged_with_the_next_change(
    built, reference
):
    sample_site.put(built.folder / "overlays/site/etc/motd", b"of the site\n")
    sample_site.write(built.site, reference, overlays="site")
    settle()
    built("examine")
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built("root")
    assert (built.build / "worker/root/etc/motd").read_text() == "of the site\n"


@pytest.mark.parametrize("changed", [("7",), ("7", "8")])
def test_what_another_run_examined_is_staged(built, reference, changed):
    for number in changed:
        edit(reference, f"write other bytes {number}", f"usr/share/0/file{number}")
        settle()
        built("examine")
    built("root")
    root = built.build / "worker/root/usr/share/0"
    for number in changed:
        assert (root / f"file{number}").read_text() == f"other bytes {number}\n"


def same_as_from_nothing(doit: Doit) -> None:
    """What is named by its bytes is what a build in another folder makes."""
    anew = Doit(doit.folder)
    anew.build = doit.folder / "anew"
    anew()
    for name in ("root.mtree", "initrd.img", "vmlinuz", "initrd.json", "release.json"):
        assert (doit.build / "worker" / name).read_bytes() == (
            anew.build / "worker" / name
        ).read_bytes(), name
    assert decided(doit) == decided(anew)


def test_what_has_changed_since_it_was_examined_is_decided_again(built, reference):
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built("examine")
    edit(reference, "write other bytes", "usr/share/0/file8")
    settle()
    built("-s", "root:worker")  # doit's own word for: that alone
    built()
    same_as_from_nothing(built)


KILLED = """
import os, signal, sys
from tasks.core.checkout import staged
stage = staged.checkout
def then_killed(*words):
    stage(*words)
    os.kill(os.getpid(), signal.SIGKILL)
staged.checkout = then_killed
from doit.__main__ import main
sys.exit(main())
"""


def test_a_build_that_is_killed_when_a_root_was_staged_leaves_no_old_initrd(built, reference):
    edit(reference, "append a byte", "lib/modules/6.1.0-9-amd64/kernel/fs/nfs/nfs.ko")
    settle()
    words = [sys.executable, "-c", KILLED, f"site={built.site}", f"build={built.build}"]
    assert subprocess.run(words, cwd=REPOSITORY, capture_output=True).returncode == -9
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built()
    same_as_from_nothing(built)


LATE = """
import os, sys, tasks.examine
accept = tasks.examine.accept
def then_comes_a_key(*words):
    accept(*words)
    with open(os.environ["LATE"], "w") as file:
        file.write(os.environ["KEY"])
tasks.examine.accept = then_comes_a_key
from doit.__main__ import main
sys.exit(main())
"""


def test_a_key_that_comes_after_all_was_accepted_is_in_no_root(built, reference):
    file = reference / "usr/share/0/file7"
    file.write_text("other bytes, and more of them\n")
    settle()
    words = [sys.executable, "-c", LATE, "root", f"site={built.site}", f"build={built.build}"]
    environment = {**os.environ, "LATE": str(file), "KEY": KEY.decode()}
    done = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    said = done.stderr + done.stdout
    assert done.returncode == 3 and "changed while the root was staged" in said, said
    assert not (built.build / "worker/root.mtree").exists()
    assert "holds a private key" in built(status=3)


def test_what_a_root_is_made_of_without_an_examination_is_looked_through_as_well(built, reference):
    before = (built.build / "worker/root.mtree").read_bytes()
    (reference / "usr/share/0/file7").write_bytes(KEY)
    settle()
    assert "holds a private key" in built("-s", "root:worker", status=3)
    assert (built.build / "worker/root.mtree").read_bytes() == before


def test_a_root_that_was_changed_by_hand_is_made_whole_again(built, reference):
    settle()
    built()
    (built.build / "worker/root.mtree").write_text("#mtree\n. type=dir mode=755 uid=0 gid=0\n")
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built("root")
    tree = load_staged(staged.staged_paths(str(built.build / "worker")))
    assert {
        path: entry.content
        for path, entry in reader.scan(str(built.build / "worker/root")).tree.items()
    } == {path: entry.content for path, entry in tree.items()}
    assert (built.build / "worker/root/usr/share/0/file7").read_text() == "other bytes\n"
