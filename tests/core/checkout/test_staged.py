"""Making a real folder from a tree: exactly it, whatever was there, whoever kills us, and nothing outside it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tasks.core.base.errors import BadInput, Refused
from tasks.core.checkout import staged, writer
from tasks.core.checkout.staged import checkout
from tasks.core.scan.reader import ScanOptions, scan
from tasks.core.tree import mtree
from tasks.core.tree.diff import changes_between
from tasks.core.tree.model import (
    BLOCK,
    CHAR,
    DIR,
    FILE,
    directory,
    generated_file,
    symlink,
)
from tests.support import all_file_types
from tests.support.commands import REPOSITORY, as_nobody
from tests.support.small_trees import trees
from tests.support.trees import applied, contents, load_staged


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return all_file_types.make(tmp_path_factory.mktemp("staged") / "root")


@pytest.fixture
def place(tmp_path):
    return staged.staged_paths(str(tmp_path / "image"))


def on_disk(place) -> dict:
    return contents(scan(place.folder).tree)


# --- the algebra


@settings(max_examples=60, deadline=None)
@given(trees(), trees())
def test_a_plan_applied_to_a_tree_gives_the_other_one(old, new):
    assert contents(applied(changes_between(old, new), old)) == contents(new)
    assert not changes_between(new, new)


@settings(max_examples=60, deadline=None)
@given(trees(), trees())
def test_steps_go_parents_first_when_adding_and_children_first_when_removing(old, new):
    steps = changes_between(old, new)
    now = dict(old)
    for path in steps.removed:
        del now[path]
        assert not any(other.startswith(path + b"/") for other in now)
    for path, entry in steps.added:
        assert path == b"" or now[path.rpartition(b"/")[0]].type == DIR
        now[path] = entry


@settings(max_examples=40, deadline=None)
@given(some.lists(trees(), min_size=1, max_size=4))
def test_a_folder_holds_each_tree_that_is_staged_into_it(tmp_path_factory, sequence):
    top = tmp_path_factory.mktemp("staging", numbered=True)
    place = staged.staged_paths(str(top))
    for tree in sequence:
        checkout(place, tree)
        assert on_disk(place) == contents(tree)
        assert contents(load_staged(place)) == contents(tree)
    assert not checkout(place, sequence[-1]).plan
    shutil.rmtree(top)


# --- everything that a root file system holds


def test_everything_is_staged(whole, place):
    tree = scan(whole).tree
    checkout(place, tree)
    assert on_disk(place) == contents(tree)
    assert Path(place.manifest).read_bytes() == mtree.dump(tree)


def test_rsync_finds_no_difference(whole, place):
    checkout(place, scan(whole).tree)
    command = [
        "rsync",
        "-anciHAX",
        "--no-times",
        "--exclude=/socket",
        "--delete",
        f"{whole}/",
        f"{place.folder}/",
    ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_sparse_files_stay_sparse(whole, place):
    checkout(place, scan(whole).tree)
    assert (
        os.stat(place.folder + "/sparse").st_blocks * 512
        <= os.stat(whole / "sparse").st_blocks * 512
        < 1 << 20
    )


def test_times_of_files_are_kept_and_generated_ones_have_a_fixed_one(whole, place):
    os.utime(whole / "a b", ns=(5, 1234567890123456789))
    os.utime(whole / "a", ns=(5, 1134567890123456789))
    checkout(place, scan(whole).tree | {b"a/generated": generated_file(b"")})
    assert os.stat(place.folder + "/a b").st_mtime_ns == 1234567890123456789
    assert os.stat(place.folder + "/a").st_mtime_ns == 1134567890123456789
    assert os.stat(place.folder + "/a/generated").st_mtime_ns == writer.EPOCH


def test_the_umask_changes_nothing(whole, place):
    tree = scan(whole).tree
    before = os.umask(0o277)
    try:
        checkout(place, tree)
    finally:
        os.umask(before)
    assert on_disk(place) == contents(tree)


def test_an_acl_of_the_build_folder_is_not_inherited(whole, place):
    os.makedirs(os.path.dirname(place.folder))
    subprocess.run(["setfacl", "-d", "-m", "u:99:rwx", os.path.dirname(place.folder)], check=True)
    tree = scan(whole).tree
    checkout(place, tree)
    assert on_disk(place) == contents(tree)
    tree[b"acl-folder/new"] = generated_file(b"in a folder whose default ACL would give it one")
    checkout(place, tree)
    assert on_disk(place) == contents(tree)


def test_only_what_changed_is_touched(whole, place):
    tree = scan(whole).tree
    checkout(place, tree)
    before = {
        name: os.lstat(place.folder + "/" + name).st_ino
        for name in ("a b", "setuid", "one", "fifo")
    }
    tree[b"a b"] = generated_file(b"other")
    tree[b"setuid"] = tree[b"setuid"]._replace(mode=0o755)
    steps = checkout(place, tree).plan
    assert (steps.removed, steps.added) == ((), ())
    assert [path for path, _ in steps.changed] == [b"a b"] and [
        path for path, _ in steps.touched
    ] == [b"setuid"]
    after = {name: os.lstat(place.folder + "/" + name).st_ino for name in before}
    assert {name for name in before if before[name] != after[name]} <= {"a b", "setuid"}
    assert on_disk(place) == contents(tree)


def test_nothing_to_do_leaves_every_file_alone(whole, place):
    tree = scan(whole).tree
    checkout(place, tree)
    before = [os.stat(path).st_mtime_ns for path in place]
    assert not checkout(place, tree).plan
    assert [os.stat(path).st_mtime_ns for path in place] == before


# --- a snapshot that the build owns


def test_files_of_an_owned_snapshot_are_linked_where_their_metadata_is_the_same(whole, place):
    scanned = scan(whole, options=ScanOptions(owned=True)).tree
    tree = dict(scanned)
    tree[b"group"] = tree[b"group"]._replace(mode=0o600)
    tree[b"labelled"] = tree[b"labelled"]._replace(xattrs=())
    before = contents(scan(whole).tree)
    checkout(place, tree, owned=scanned)
    assert on_disk(place) == contents(tree)
    assert os.path.samefile(place.folder + "/a b", whole / "a b") and os.path.samefile(
        place.folder + "/one", whole / "one"
    )
    assert not os.path.samefile(place.folder + "/group", whole / "group")
    assert not os.path.samefile(place.folder + "/labelled", whole / "labelled")
    tree[b"a b"] = tree[b"a b"]._replace(
        mode=0o600, data=b"patched", size=7, digest=generated_file(b"patched").digest
    )
    checkout(place, tree, owned=scanned)
    assert on_disk(place) == contents(tree)
    assert contents(scan(whole).tree) == before, "the snapshot was changed"


def test_a_reference_that_the_build_does_not_own_is_never_linked(whole, place):
    checkout(place, scan(whole).tree)
    ours = {
        os.lstat(os.path.join(top, name)).st_ino
        for top, _, names in os.walk(place.folder)
        for name in names
    }
    theirs = {
        os.lstat(os.path.join(top, name)).st_ino
        for top, _, names in os.walk(whole)
        for name in names
    }
    assert not ours & theirs


# --- nothing outside


@pytest.mark.parametrize("target", [b"{host}", b"../../host", b"../../../host", b"/"])
def test_no_symlink_leads_a_write_outside(tmp_path, place, target):
    host = tmp_path / "host"
    host.mkdir()
    (host / "canary").write_bytes(b"alive")
    target = target.replace(b"{host}", os.fsencode(host))
    checkout(
        place, {b"": directory(), b"etc": symlink(target), b"file": symlink(target + b"/canary")}
    )
    with pytest.raises(OSError):
        checkout(
            place,
            {b"": directory(), b"etc": symlink(target), b"etc/canary": generated_file(b"dead")},
        )
    checkout(
        place,
        {
            b"": directory(),
            b"etc": directory(),
            b"etc/canary": generated_file(b"x"),
            b"file": generated_file(b"x"),
        },
    )
    assert os.listdir(host) == ["canary"] and (host / "canary").read_bytes() == b"alive"


def test_a_folder_swapped_for_a_symlink_is_not_followed(tmp_path, place):
    host = tmp_path / "host"
    host.mkdir()
    (host / "canary").write_bytes(b"alive")
    tree = {
        b"": directory(),
        b"etc": directory(),
        b"etc/canary": generated_file(b"old"),
        b"etc/gone": generated_file(b""),
    }
    checkout(place, tree)
    shutil.rmtree(place.folder + "/etc")
    os.symlink(host, place.folder + "/etc")
    tree = {b"": directory(), b"etc": directory(), b"etc/canary": generated_file(b"new")}
    checkout(place, tree)
    assert on_disk(place) == contents(tree)
    assert os.listdir(host) == ["canary"] and (host / "canary").read_bytes() == b"alive"


def test_a_root_that_is_a_symlink_is_replaced_not_followed(tmp_path, place):
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "canary").touch()
    os.makedirs(os.path.dirname(place.folder))
    os.symlink(tmp_path / "host", place.folder)
    checkout(place, {b"": directory()})
    assert (tmp_path / "host" / "canary").exists() and not os.path.islink(place.folder)


# --- what others do meanwhile


def test_a_source_that_changed_since_it_was_read_is_named(whole, place, tmp_path):
    shutil.copy(whole / "a b", tmp_path / "file")
    tree = {b"": directory(), b"file": scan(tmp_path).tree[b"file"]}
    (tmp_path / "file").write_bytes(b"A B")
    with pytest.raises(
        BadInput, match=f"^{tmp_path}/file:1:1: changed while the root was staged; build again"
    ):
        checkout(place, tree)
    os.unlink(tmp_path / "file")
    with pytest.raises(BadInput, match="changed while"):
        checkout(place, tree)
    with pytest.raises(Refused, match="root.mtree: not there; build the image first"):
        load_staged(place)


def test_a_source_that_was_only_touched_is_not_refused(place, tmp_path):
    (tmp_path / "file").write_bytes(b"bytes")
    tree = {b"": directory(), b"file": scan(tmp_path).tree[b"file"]}
    os.chmod(tmp_path / "file", 0o600)
    checkout(place, tree)
    assert on_disk(place) == contents(tree)


DAMAGE = {
    "a file is gone": lambda top: os.unlink(top + "/a b"),
    "a folder is gone": lambda top: shutil.rmtree(top + "/a"),
    "other bytes": lambda top: all_file_types.write(os.fsencode(top) + b"/group", b"GROUP"),
    "a file too many": lambda top: all_file_types.write(os.fsencode(top) + b"/a/extra"),
    "a folder for a file": lambda top: (os.unlink(top + "/a b"), os.mkdir(top + "/a b")),
    "a mode": lambda top: os.chmod(top + "/group", 0o777),
    "a socket": lambda top: os.mknod(top + "/a/s", 0o140644),
    "no folder at all": lambda top: shutil.rmtree(top),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_without_a_manifest_the_folder_is_read_and_repaired(whole, place, what):
    tree = scan(whole).tree
    checkout(place, tree)
    DAMAGE[what](place.folder)
    os.unlink(place.manifest)
    checkout(place, tree)
    assert on_disk(place) == contents(tree) and not scan(place.folder).sockets


@pytest.mark.parametrize("what", ["a file is gone", "a folder for a file", "a folder is gone"])
def test_a_folder_that_is_not_what_its_manifest_says_is_repaired_when_it_is_in_the_way(
    whole, place, what
):
    tree = scan(whole).tree
    checkout(place, tree)
    DAMAGE[what](place.folder)
    tree[b"a b"] = generated_file(b"changed")
    tree[b"a/c/empty"] = generated_file(b"changed")
    checkout(place, tree)
    assert on_disk(place) == contents(tree)


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_damaged_record_beside_the_folder_is_not_trusted(whole, place, part):
    tree = scan(whole).tree
    checkout(place, tree)
    DAMAGE["other bytes"](place.folder)
    os.truncate(place[part], os.path.getsize(place[part]) - 1)
    checkout(place, tree)
    assert on_disk(place) == contents(tree) and load_staged(place).keys() == tree.keys()


STAGE = """
import sys
from tasks.core.checkout import staged
from tasks.core.scan.reader import ScanOptions, scan
source, image, *owned = sys.argv[1:]
tree = scan(source, options=ScanOptions(owned=bool(owned))).tree
staged.checkout(staged.staged_paths(image), tree, tree if owned else None)
"""


@pytest.mark.parametrize("owned", [False, True])
def test_killed_at_any_moment_the_next_run_makes_the_exact_tree(whole, tmp_path, owned):
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", whole, other], check=True)
    for number in range(0, 3_000, 2):  # so many are made by two processes
        all_file_types.write(os.fsencode(other) + b"/a/%03d" % number, b"%d" % number)
    shutil.rmtree(other / "readonly")
    os.unlink(other / "a" / "two")
    all_file_types.write(os.fsencode(other) + b"/readonly", b"a file now")
    place, random_ = staged.staged_paths(str(tmp_path / "image")), random.Random(owned)
    trees = [contents(scan(folder).tree) for folder in (whole, other)]
    for turn in range(8):
        source = (whole, other)[turn % 2]
        words = [sys.executable, "-c", STAGE, source, tmp_path / "image", *["owned"] * owned]
        child = subprocess.Popen(words, cwd=REPOSITORY, start_new_session=True)
        time.sleep(random_.uniform(0.1, 0.4))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if turn % 4 == 3:
            subprocess.run(words, cwd=REPOSITORY, check=True)
            assert on_disk(place) == trees[turn % 2]
    checkout(place, scan(whole).tree)
    assert on_disk(place) == trees[0]
    assert [contents(scan(folder).tree) for folder in (whole, other)] == trees, (
        "a source was changed"
    )


# --- made by two processes


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """As many files as two processes share."""
    top = tmp_path_factory.mktemp("many") / "root"
    for number in range(2_000):
        folder = top / f"{number // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_text(f"{number}" * 100)
        (folder / f"{number}").chmod(0o600 + number % 64)
    os.link(top / "0" / "0", top / "19" / "linked")
    all_file_types.make(top / "whole")
    return top


def test_two_processes_make_exactly_the_tree(many, place):
    tree = scan(many).tree
    checkout(place, tree)
    assert on_disk(place) == contents(tree)
    stamps = staged.staged_manifest(place).stamps
    files = {path for path, entry in tree.items() if entry.type == FILE}
    assert stamps == {
        path: os.lstat(os.path.join(os.fsencode(place.folder), path)).st_ctime_ns for path in files
    }
    assert not checkout(place, tree).plan


@pytest.mark.parametrize("number", range(0, 2_000, 390))
def test_a_source_that_changed_is_named_whoever_meets_it(many, place, number):
    tree = scan(many).tree
    source = many / f"{number // 100}" / f"{number}"
    before = source.read_text()
    source.write_text("other")
    with pytest.raises(BadInput) as found:
        checkout(place, tree)
    source.write_text(before)
    assert str(found.value).startswith(f"{source}:1:1: changed while the root was staged")
    checkout(place, scan(many).tree)
    assert on_disk(place) == contents(tree)


def test_a_disk_that_is_full_is_said_once(many, tmp_path):
    tree, disk = scan(many).tree, tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)
    try:
        with pytest.raises(OSError, match="No space left on device") as found:
            checkout(staged.staged_paths(str(disk / "image")), tree)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert os.fsencode(found.value.filename).startswith(os.fsencode(disk / "image" / "root"))


# --- without root rights


def test_an_ordinary_user_stages_what_he_can_and_the_manifest_says_all(whole, tmp_path):
    tree = scan(whole).tree
    readable = tmp_path / "source"
    subprocess.run(["cp", "-a", whole, readable], check=True)
    for top, _, files in os.walk(os.fsencode(readable)):
        os.chmod(top, os.stat(top).st_mode | 0o555)
        for name in files:
            path = top + b"/" + name
            if os.path.isfile(path) and not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | 0o444)
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == 0 and len(path.parts) > 2:
            path.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    command = as_nobody(
        sys.executable,
        "-c",
        STAGE.replace("staged.checkout(", "print(staged.checkout(").rstrip() + ".note)",
        readable,
        home,
    )
    tree = scan(readable).tree
    place = staged.staged_paths(str(home))
    for _ in range(2):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("not root: ") and done.stdout.count("\n") == 1
        assert Path(place.manifest).read_bytes() == mtree.dump(tree)
        made = scan(place.folder).tree
        assert made.keys() == tree.keys()
        devices = [path for path, entry in tree.items() if entry.type in (CHAR, BLOCK)]
        assert devices and {(made[path].type, made[path].size) for path in devices} == {(FILE, 0)}
        assert {entry.uid for entry in made.values()} == {65534}
        assert not any(entry.mode & 0o6000 for entry in made.values())
        os.unlink(place.manifest)  # the second time the folder is read again, and found right


def test_a_new_owner_is_in_the_manifest_of_an_ordinary_user(place, monkeypatch):
    monkeypatch.setattr(staged, "privileged", lambda folder: False)
    tree = {b"": directory(), b"file": generated_file(b"")}
    checkout(place, tree)
    checkout(place, tree | {b"file": generated_file(b"", uid=5)})
    assert b"./file type=file mode=644 uid=5 " in Path(place.manifest).read_bytes()
