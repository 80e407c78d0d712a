"""After any change of a reference the root is what a build from nothing makes, renewed or not."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from tasks.core.checkout.staged import staged_paths
from tasks.core.image.state import ImageState, load_state
from tasks.core.scan.reader import scan
from tasks.core.tree.model import FILE
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit
from tests.support.package_databases import OF_DEBIAN, sums_of
from tests.support.trees import contents, load_staged

KEY = subprocess.run(["openssl", "genrsa", "1024"], capture_output=True, check=True).stdout
HOST_KEY = b"a host key, known by its place\n"
README, SHIPPED = "usr/share/doc/x/README", b"as a package of Debian ships it\n"
FILE_7, FILE_8 = "usr/share/0/file7", "usr/share/0/file8"


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
    sample_site.put(reference / "srv/fill/skeleton", b"fills nodes' own\n")
    sample_site.put(reference / "var/lib/dpkg/status", OF_DEBIAN)
    sample_site.put(reference / "var/lib/dpkg/info/x.md5sums", sums_of(SHIPPED, README))
    sample_site.put(reference / README, SHIPPED)
    settle()
    return reference


def edit(top: pathlib.Path, change: str, path: str) -> None:
    """Change a reference, in one of the ways that there are."""
    file = top / path
    match change.split():
        case ["write", *words]:
            file.write_bytes(" ".join(words).encode() + b"\n")
        case ["append", *_]:
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
            file.unlink(missing_ok=True)
            os.link(top / other, file)
        case ["symlink", other]:
            file.unlink(missing_ok=True)
            file.symlink_to(other)
        case ["folder"]:
            file.mkdir()
        case ["remove"]:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    settle()


CHANGES = [  # in this order, each after a build of the one before; and whether the root is renewed
    ("write longer than it was", FILE_7, True),
    ("write again", FILE_7, True),
    ("replace by another file", "usr/share/1/file107", True),
    ("empty", "usr/share/1/file107", False),
    ("write what was empty", "usr/share/1/file107", False),
    ("write bytes of a node's own", "var/lib/data", False),
    ("write what fills a disk, and more", "srv/fill/skeleton", False),
    ("touch", "usr/share/2/file207", True),
    ("mode 0600", "usr/share/2/file207", False),
    ("write and after that bytes", "usr/share/2/file207", True),
    ("owner 7", "usr/share/2/file208", False),
    ("label", "usr/share/2/file209", False),
    ("write what is labelled", "usr/share/2/file209", False),
    ("unlabel", "usr/share/2/file209", False),
    ("mode 0700", "usr/share/1", False),
    ("mode 0755", "usr/share/1", False),
    ("label", "usr/share/1", False),
    ("unlabel", "usr/share/1", False),
    ("remove", "usr/share/2/file209", False),
    ("link usr/share/0/file1", "usr/share/1/linked", False),
    ("write by one of two names", "usr/share/0/file1", False),
    ("replace one of two names", "usr/share/0/file1", False),
    ("link usr/share/0/file1", "usr/share/1/linked", False),
    ("remove", "usr/share/1/linked", False),
    ("write what has one name again", "usr/share/0/file1", True),
    ("link usr/share/0/file3", "usr/share/0/file4", False),
    ("copy usr/share/0/file5", "usr/share/0/file6", True),
    ("link usr/share/0/file5", "usr/share/0/file6", False),  # as hardlink(1) does
    ("copy usr/share/0/file8", "usr/share/0/file9", True),
    ("folder", "usr/share/new", False),
    ("write a new file", "usr/share/new/file", False),
    ("write a new file's bytes", "usr/share/new/file", True),
    ("remove", "usr/share/new", False),
    ("symlink file1", "usr/share/0/file2", False),
    ("write root:x:0:0:root:/root:/bin/sh", "etc/passwd", False),
    ("write server:/other /other nfs ro 0 0", "etc/fstab", False),
    ("write what an overlay hides", "etc/motd", False),
    ("write what an overlay has", "etc/motd", False),
    ("append a byte", "boot/vmlinuz-6.1.0-9-amd64", False),
    ("copy etc/ssh/ssh_host_rsa_key", "opt/app/data", False),
    ("write data that is no secret any more", "opt/app/data", False),
    ("write another host key, known by its place", "etc/ssh/ssh_host_rsa_key", False),
    ("write the hash of an earlier password", "etc/security/opasswd", False),
    ("write proxy_password=sesame", "etc/yum.conf", False),
    ("write what a node logged", "var/log/empty.log", False),
    ("secret", "opt/app/data", False),
    ("write data that is no secret any more", "opt/app/data", False),
    ("append to what a package ships", README, True),
    (f"replace {SHIPPED.decode().strip()}", README, True),
    ("append to what packages list", "var/lib/dpkg/info/x.md5sums", False),
    ("append to what is known of packages", "var/lib/dpkg/status", False),
    ("write the last of all", FILE_7, True),
]

# doit, saying so when all steps of staging are taken
TOLD = """
import sys
from tasks.core.rootfs import stage
steps = stage.stage
def told(*words):
    print("ALL STEPS")
    return steps(*words)
stage.stage = told
from doit.__main__ import main
sys.exit(main())
"""


def run(doit: Doit, *words: str, status: int = 0) -> bool:
    """Build the root; whether all steps were taken for it."""
    argv = [sys.executable, "-c", TOLD, *words, f"site={doit.site}", f"build={doit.build}"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return "ALL STEPS" in done.stdout


def outcome(doit: Doit) -> dict[str, object]:
    """What there is of a root that was built."""
    folder = doit.build / "worker"
    place = staged_paths(str(folder))
    tree = load_staged(place)
    files = {path: entry for path, entry in tree.items() if entry.type == FILE}
    return {
        "root": contents(scan(place.folder).tree),
        "tree": contents(tree),
        "notes": json.loads((folder / "notes.json").read_text()),
        "labels": (folder / "root.xattrs").read_text(),
        "manifest": (folder / "root.mtree").read_text(),
        "decided": decided(doit),
        "stamps": [path for path in files if files[path].stamp != changed(folder, path)],
    }


def decided(doit: Doit) -> ImageState:
    """What the build noted of the image."""
    return load_state(str(doit.build / ".noted/worker.state"), print)


def times(file: pathlib.Path) -> tuple[int, int]:
    """When a file was changed, and its folder."""
    return file.stat().st_mtime_ns, file.parent.stat().st_mtime_ns


def changed(folder: pathlib.Path, path: bytes) -> int:
    return os.lstat(os.path.join(os.fsencode(folder / "root"), path)).st_ctime_ns


def with_fill(text: str) -> str:
    """Nodes' disks have a folder of their own, which one of the root fills."""
    part = "{mount: /var, size: 1G, fs: ext4}, {mount: /mnt, size: 1G, fs: ext4, fill: /srv/fill}"
    disk = f"disk: {{devices: [/dev/vda], partitions: [{part}]}}"
    return text.replace("disk: {devices: [/dev/vda]}", disk)


def test_after_any_change_the_root_is_what_a_build_from_nothing_makes(doit, reference):
    sample_site.put(doit.folder / "overlays/site/etc/motd", b"of the site\n")
    sample_site.put(reference / "sbin/mkfs.ext4", b"#!/bin/sh\n", 0o755)
    sample_site.write(doit.site, reference, overlays="site")
    doit.site.write_text(with_fill(doit.site.read_text()))
    assert run(doit, "root")
    for change, path, renewed in CHANGES:
        edit(reference, change, path)
        status = 3 if change == "secret" else 0
        assert run(doit, "root", status=status) == (not renewed), (change, path)
        anew = Doit(doit.folder)
        anew.build = doit.folder / "anew"
        shutil.rmtree(anew.build, ignore_errors=True)
        run(anew, "root", status=status)
        if status:
            continue
        ours, theirs = outcome(doit), outcome(anew)
        for what in ours:
            assert ours[what] == theirs[what], (change, path, what)
        assert not ours["stamps"]
        if renewed and change != "touch":
            assert times(doit.build / "worker/root" / path) == times(reference / path)


def test_other_overlays_and_settings_take_all_steps(built, reference):
    sample_site.put(built.folder / f"overlays/site/{FILE_7}", b"of the site\n")
    sample_site.write(built.site, reference, overlays="site")
    edit(reference, "write other bytes", FILE_7)
    assert run(built, "root")
    assert (built.build / "worker/root" / FILE_7).read_text() == "of the site\n"


def test_another_setting_of_the_initrd_is_looked_at_beside_other_bytes(built, reference):
    built.site.write_text(
        built.site.read_text().replace("base: none", "base: none, modules: [nosuch]")
    )
    edit(reference, "write other bytes", FILE_7)
    assert "nosuch" in built("root", status=3)


def test_an_overlay_that_was_examined_and_not_staged_is_staged_with_the_next_change(
    built, reference
):
    sample_site.put(built.folder / "overlays/site/etc/motd", b"of the site\n")
    sample_site.write(built.site, reference, overlays="site")
    settle()
    built("examine")
    edit(reference, "write other bytes", FILE_7)
    assert run(built, "root")
    assert (built.build / "worker/root/etc/motd").read_text() == "of the site\n"


def test_what_was_examined_and_not_staged_is_staged_with_the_next_change(built, reference):
    for number in (7, 8):
        edit(reference, f"write other bytes {number}", f"usr/share/0/file{number}")
        built("examine")
    assert run(built, "root")
    root = built.build / "worker/root/usr/share/0"
    texts = [(root / f"file{number}").read_text() for number in (7, 8)]
    assert texts == ["other bytes 7\n", "other bytes 8\n"]


def with_key(text: str) -> str:
    return text.replace("overlays: []", "overlays: []\n    keep: [/etc/ssl/private/web.key]")


def with_disk(text: str) -> str:
    """A node's disk is mounted on a folder that no root has."""
    disk = "{devices: [/dev/vda], partitions: [{mount: /nosuch, size: 100M, fs: ext4}]}"
    return text.replace("ip: 172.24.10.10}", f"ip: 172.24.10.10, disk: {disk}}}")


def test_what_was_decided_and_never_staged_is_no_root_to_renew(doit, reference):
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
    edit(reference, "write other bytes", FILE_7)
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
    edit(reference, "write 7", FILE_7)
    built("root")
    assert decided(built) == before
    built.site.write_text(with_disk(text))
    assert "no folder /nosuch" in built("root", status=3)


@pytest.mark.parametrize("change", [None, "write other bytes"])
@pytest.mark.parametrize("staged", [True, False])
def test_what_was_examined_of_other_settings_is_not_taken_for_what_was_staged(
    doit, reference, staged, change
):
    """An overlay brings what a disk is mounted on: with it a site is right, without it wrong."""
    sample_site.put(doit.folder / "overlays/site/data/keep", b"")
    sample_site.write(doit.site, reference, overlays="site" if staged else "")
    text = doit.site.read_text()
    if staged:
        text = with_disk(text).replace("/nosuch", "/data")
    doit.site.write_text(text)
    settle()
    doit("root")
    first, second = ("overlays: [site]", "overlays: []")[:: 1 if staged else -1]
    text = text if staged else with_disk(text).replace("/nosuch", "/data")
    doit.site.write_text(text.replace(first, second))
    doit("root" if staged else "examine", status=3 if staged else 0)
    doit.site.write_text(text)
    if change:
        edit(reference, change, FILE_7)
    doit("root", status=0 if staged else 3)


def test_an_examination_of_what_has_changed_since_is_no_renewal(built, reference):
    edit(reference, "write other bytes", FILE_7)
    built("examine")
    edit(reference, "write other bytes", FILE_8)
    built("-s", "root:worker")  # doit's own word for: that alone
    built()
    same_as_from_nothing(built)


def same_as_from_nothing(doit: Doit) -> None:
    """What is named by its bytes is what a build in another folder makes."""
    anew = Doit(doit.folder)
    anew.build = doit.folder / "anew"
    anew()
    for name in ("root.mtree", "initrd.img", "vmlinuz", "initrd.json", "release.json"):
        ours, theirs = doit.build / "worker" / name, anew.build / "worker" / name
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert decided(doit) == decided(anew)


KILLED = """
import os, signal, sys
from tasks.core.checkout import staged
name = os.environ["STAGES"]
stage = getattr(staged, name)
def then_killed(*words):
    assert stage(*words) is not None
    os.kill(os.getpid(), signal.SIGKILL)
setattr(staged, name, then_killed)
from doit.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "stages, change, path",
    [
        ("checkout", "append a byte", "lib/modules/6.1.0-9-amd64/kernel/fs/nfs/nfs.ko"),
        ("renew", "write other bytes", FILE_7),
    ],
)
def test_a_build_that_is_killed_when_a_root_was_staged_leaves_nothing_old(
    built, reference, stages, change, path
):
    edit(reference, change, path)
    words = [sys.executable, "-c", KILLED, f"site={built.site}", f"build={built.build}"]
    env = {**os.environ, "STAGES": stages}
    done = subprocess.run(words, cwd=REPOSITORY, env=env, capture_output=True)
    assert done.returncode == -9, done.stderr
    edit(reference, "write other bytes", FILE_8)
    built()
    same_as_from_nothing(built)


@pytest.mark.parametrize("name", ["root.mtree", "root.index", "notes.json"])
def test_a_root_whose_record_was_changed_by_hand_is_made_whole_again(built, reference, name):
    settle()
    before = (built.build / "worker/notes.json").read_text()
    damaged = "#mtree\n. type=dir mode=755 uid=0 gid=0\n" if name != "notes.json" else "{}"
    (built.build / "worker" / name).write_text(damaged)
    edit(reference, "write other bytes", FILE_7)
    built()
    same_as_from_nothing(built)
    assert (built.build / "worker/notes.json").read_text() == before
    folder = built.build / "worker/root"
    tree = load_staged(staged_paths(str(folder.parent)))
    assert contents(scan(str(folder)).tree) == contents(tree)


def test_a_staged_folder_that_somebody_changed_is_repaired(built, reference):
    (built.build / "worker/root" / FILE_7).unlink()
    edit(reference, "write other bytes", FILE_7)
    assert run(built, "root")
    assert (built.build / "worker/root" / FILE_7).read_text() == "other bytes\n"


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


@pytest.mark.parametrize("staged", [True, False])
def test_a_key_that_comes_after_all_was_accepted_is_in_no_root(built, reference, staged):
    if not staged:
        (built.build / "worker/root.mtree").unlink()
    edit(reference, "write other bytes, and more of them", FILE_7)
    words = [sys.executable, "-c", LATE, "root", f"site={built.site}", f"build={built.build}"]
    env = {**os.environ, "LATE": str(reference / FILE_7), "KEY": KEY.decode()}
    done = subprocess.run(words, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert done.returncode == 3, done.stdout + done.stderr
    told = "changed while the root was staged" if staged else "holds a private key"
    assert told in done.stderr + done.stdout
    assert not (built.build / "worker/root.mtree").exists()
    assert "holds a private key" in built(status=3)


def test_what_a_root_is_made_of_without_an_examination_is_looked_through_as_well(built, reference):
    before = (built.build / "worker/root.mtree").read_bytes()
    edit(reference, "secret", FILE_7)
    assert "holds a private key" in built("-s", "root:worker", status=3)
    assert (built.build / "worker/root.mtree").read_bytes() == before
