"""Where nothing but bytes of files changed in a reference, the root is what a build from nothing would make of it."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tasks.core.checkout import staged
from tasks.core.rootfs import disks
from tasks.core.scan import reader
from tasks.core.tree import mtree
from tasks.core.tree.model import FILE, Entry, Tree, generated_file
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit
from tests.support.trees import trees

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


WITH_BYTES = ("write", "append", "replace", "empty", "copy", "secret", "touch")


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
        "offers": json.loads((doit.build / ".noted/worker.offers").read_text()),
        "entries": {
            path: entry.content
            for path, entry in staged.load_staged(staged.staged_paths(str(folder))).items()
        },
        "stamps": {
            path: entry.stamp == stamp(folder, path) for path, entry in loaded(folder).items()
        },
    }


def loaded(folder: pathlib.Path) -> Tree:
    return {
        path: entry
        for path, entry in staged.load_staged(staged.staged_paths(str(folder))).items()
        if entry.type == FILE
    }


def stamp(folder: pathlib.Path, path: bytes) -> int:
    return os.lstat(os.path.join(os.fsencode(folder / "root"), path)).st_ctime_ns


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
    assert renewed_files(doit) == {b"usr/share/0/file7"}, "the last change was one of bytes alone"


def renewed_files(doit: Doit) -> set[bytes]:
    """What was renewed since all steps were last taken."""
    kept = staged._kept(staged.staged_paths(str(doit.build / "worker")), able=not os.geteuid())
    assert kept
    return set(kept.newer)


@pytest.mark.parametrize(
    "change, path, renewed",
    [
        ("write other bytes", "usr/share/0/file7", {b"usr/share/0/file7"}),
        ("replace by another file", "var/lib/data", {b"var.ro/lib/data"}),
        ("mode 0600", "usr/share/0/file7", set()),
        ("write root:x:0:0:root:/root:/bin/sh", "etc/passwd", set()),
        ("copy etc/ssh/ssh_host_rsa_key", "opt/app/data", set()),
    ],
)
def test_only_where_bytes_alone_changed_no_step_is_taken_again(
    built, reference, change, path, renewed
):
    edit(reference, change, path)
    settle()
    built("root")
    assert renewed_files(built) == renewed


def test_other_overlays_and_settings_take_all_steps(built, reference):
    sample_site.put(built.folder / "overlays/site/usr/share/0/file7", b"of the site\n")
    sample_site.write(built.site, reference, overlays="site")
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built("root")
    assert (
        built.build / "worker/root/usr/share/0/file7"
    ).read_text() == "of the site\n" and not renewed_files(built)


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
    text, offers_then = built.site.read_text(), (built.build / ".noted/worker.offers").read_text()
    built.site.write_text(change(text))
    built("root", status=3)
    built.site.write_text(text)
    edit(reference, "write 7", "usr/share/0/file7")
    settle()
    built("root")
    assert (built.build / ".noted/worker.offers").read_text() == offers_then
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


@pytest.mark.parametrize(
    "changed, renewed", [(("7",), {b"usr/share/0/file7"}), (("7", "8"), set())]
)
def test_what_another_run_examined_is_renewed_where_no_other_examination_is_between(
    built, reference, changed, renewed
):
    for number in changed:
        edit(reference, f"write other bytes {number}", f"usr/share/0/file{number}")
        settle()
        built("examine")
    built("root")
    root = built.build / "worker/root/usr/share/0"
    assert [(root / f"file{number}").read_text() for number in changed] == [
        f"other bytes {n}\n" for n in changed
    ]
    assert renewed_files(built) == renewed


def same_as_from_nothing(doit: Doit) -> None:
    """What is named by its bytes is what a build in another folder makes."""
    anew = Doit(doit.folder)
    anew.build = doit.folder / "anew"
    anew()
    for name in ("root.mtree", "initrd.img", "vmlinuz", "initrd.json", "release.json"):
        assert (doit.build / "worker" / name).read_bytes() == (
            anew.build / "worker" / name
        ).read_bytes(), name
    assert (doit.build / ".noted/worker.parts").read_bytes() == (
        anew.build / ".noted/worker.parts"
    ).read_bytes()


def test_an_examination_of_what_has_changed_since_is_no_renewal(built, reference):
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built("examine")
    edit(reference, "write other bytes", "usr/share/0/file8")
    settle()
    built("-s", "root:worker")  # doit's own word for: that alone
    built()
    same_as_from_nothing(built)


@pytest.mark.parametrize("damage", [None, b"#mtree\n. type=dir mode=755 uid=0 gid=0\n"])
def test_what_an_initrd_can_be_made_of_is_written_anew_where_it_is_not_as_it_was(
    built, reference, damage
):
    parts = built.build / ".noted/worker.parts"
    parts.unlink()
    if damage is not None:
        parts.write_bytes(damage)
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
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
    """Where a root cannot be renewed, what it is made of instead is looked through as well."""
    (built.build / "worker/root.mtree").unlink()
    file = reference / "usr/share/0/file7"
    file.write_text("other bytes, and more of them\n")
    settle()
    words = [sys.executable, "-c", LATE, "root", f"site={built.site}", f"build={built.build}"]
    done = subprocess.run(
        words,
        cwd=REPOSITORY,
        env={**os.environ, "LATE": str(file), "KEY": KEY.decode()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3 and "holds a private key" in done.stderr + done.stdout
    assert not (built.build / "worker/root.mtree").exists()


def test_a_root_that_was_changed_by_hand_is_made_whole_again(built, reference):
    settle()
    built()
    (built.build / "worker/root.mtree").write_text("#mtree\n. type=dir mode=755 uid=0 gid=0\n")
    edit(reference, "write other bytes", "usr/share/0/file7")
    settle()
    built("root")
    tree = staged.load_staged(staged.staged_paths(str(built.build / "worker")))
    assert {
        path: entry.content
        for path, entry in reader.scan(str(built.build / "worker/root")).tree.items()
    } == {path: entry.content for path, entry in tree.items()}
    assert (built.build / "worker/root/usr/share/0/file7").read_text() == "other bytes\n"


# --- the pieces


@pytest.fixture
def scanned(reference: pathlib.Path, tmp_path: pathlib.Path) -> str:
    """An index of the reference."""
    index = str(tmp_path / "index")
    reader.scan(str(reference), index)
    return index


def renewal_of(
    reference: pathlib.Path, index: str, judge: reader.Judge = reader.NOBODY
) -> reader.Renewal | None:
    return reader.rescan(
        reader.look(str(reference), index), str(reference), index, reader.ScanOptions(judge=judge)
    )


def test_a_renewal_names_what_has_other_bytes_and_brings_the_index_up_to_date(
    reference, scanned, monkeypatch
):
    edit(reference, "write other bytes", "usr/share/0/file7")
    edit(reference, "touch", "usr/share/0/file8")
    settle()
    found = renewal_of(reference, scanned)
    assert found and set(found.files) == set(found.before) == {b"usr/share/0/file7"}
    assert set(found.folders) == {b"usr/share/0"} and found.since != found.signature
    monkeypatch.setattr(reader, "read_through", lambda *_: pytest.fail("a file was read"))
    again = reader.scan(str(reference), scanned)
    assert (
        again.signature == found.signature
        and again.tree[b"usr/share/0/file7"] == found.files[b"usr/share/0/file7"]
    )


@pytest.mark.parametrize(
    "change, path", [each for each in CHANGES[:20] if each[0].split()[0] not in WITH_BYTES]
)
def test_no_renewal_and_no_new_index_where_more_than_bytes_changed(
    reference, scanned, change, path
):
    sample_site.put(reference / "usr/share/new/file", b"x")
    os.link(reference / "usr/share/0/file1", reference / "usr/share/1/linked")
    if change.startswith(("link", "folder")):
        edit(reference, "remove", path)
    if change == "unlabel":
        edit(reference, "label", path)
    settle()
    reader.scan(str(reference), scanned)
    before = pathlib.Path(scanned).read_bytes()
    edit(reference, change, path)
    settle()
    assert renewal_of(reference, scanned) is None and pathlib.Path(scanned).read_bytes() == before


def test_bytes_by_one_of_two_names_are_no_renewal(reference, scanned):
    os.link(reference / "usr/share/0/file1", reference / "usr/share/1/linked")
    settle()
    reader.scan(str(reference), scanned)
    edit(reference, "write by one of two names", "usr/share/0/file1")
    settle()
    assert renewal_of(reference, scanned) is None


def test_what_the_judge_has_something_to_say_of_is_no_renewal(reference, tmp_path):
    judge, index = (
        reader.Judge("strict", lambda data: "bad" if b"evil" in data else ""),
        str(tmp_path / "index"),
    )
    reader.scan(str(reference), index, reader.ScanOptions(judge=judge))
    edit(reference, "write evil", "usr/share/0/file7")
    settle()
    assert renewal_of(reference, index, judge) is None
    assert renewal_of(reference, index) is None, "the index is another judge's"
    assert (
        "bad"
        in reader.scan(str(reference), index, reader.ScanOptions(judge=judge)).verdicts.values()
    )


def test_what_others_judged_is_read_and_judged_again(reference, tmp_path):
    index, heard = str(tmp_path / "index"), list[bytes]()
    reader.scan(str(reference), index, reader.ScanOptions(judge=reader.Judge("one")))
    two = reader.ScanOptions(judge=reader.Judge("two", lambda data: heard.append(data) or ""))
    reader.scan(str(reference), index, two)
    assert HOST_KEY in heard
    heard.clear()
    reader.scan(str(reference), index, two)
    assert not heard


def test_a_folder_that_was_staged_of_something_else_is_not_renewed(reference, tmp_path):
    place, tree = staged.staged_paths(str(tmp_path / "image")), reader.scan(str(reference)).tree
    staged.checkout(place, tree, of="one")
    new = {b"etc/motd": generated_file(b"new\n")}
    folders = {b"etc": tree[b"etc"]}
    before = sample_site.contents(tmp_path / "image")
    update = staged.Update(new, folders, since="one", of="three")
    other_mode = {b"etc/motd": generated_file(b"new\n", 0o600)}
    other_name = {b"etc/none": generated_file(b"new\n")}
    assert staged.update_bytes(place, update._replace(since="two")) is None
    assert staged.update_bytes(place, update._replace(files=other_mode)) is None
    assert staged.update_bytes(place, update._replace(files=other_name)) is None
    assert sample_site.contents(tmp_path / "image") == before
    assert staged.update_bytes(place, update)
    assert (tmp_path / "image/root/etc/motd").read_bytes() == b"new\n"
    assert staged.update_bytes(place, update) is None


def test_a_staged_folder_that_somebody_changed_is_given_up_and_repaired(reference, tmp_path):
    place, tree = staged.staged_paths(str(tmp_path / "image")), reader.scan(str(reference)).tree
    staged.checkout(place, tree, of="one")
    (tmp_path / "image/root/etc/motd").unlink()
    new = {b"etc/motd": generated_file(b"new\n")}
    update = staged.Update(new, {b"etc": tree[b"etc"]}, since="one", of="two")
    assert staged.update_bytes(place, update) is None
    staged.checkout(place, tree | new, of="two")
    assert reader.scan(place.folder).tree[b"etc/motd"].content == new[b"etc/motd"].content


@given(trees, some.data())
def test_lines_of_a_manifest_are_found_and_replaced_like_in_a_tree(tree, data):
    manifest = mtree.dump(tree)
    paths = data.draw(some.lists(some.sampled_from(sorted(tree)), unique=True))
    assert mtree.found(manifest, paths) == [mtree.line(path, tree[path]) for path in paths]
    assert not mtree.found(
        manifest, [path + b"\x01" for path in paths if path + b"\x01" not in tree]
    )
    new = {
        path: Entry(FILE, 0o600, 0, 0, size=data.draw(some.integers(0, 99)), digest="0" * 64)
        for path in paths
    }
    assert mtree.replaced(manifest, new) == mtree.dump(tree | new)


def test_what_disks_need_grows_with_the_files(reference):
    tree = reader.scan(str(reference)).tree
    has, path = disks.disk_support(tree), b"usr/share/0/file7"
    grown = tree | {
        path: tree[path]._replace(size=tree[path].size + 1000),
        b"etc/motd": generated_file(b""),
    }
    by = {path: 1000, b"etc/motd": -tree[b"etc/motd"].size}
    assert disks.grown_support(has, by) == disks.disk_support(grown) != has
