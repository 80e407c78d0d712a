"""A release's root: complete, exact, and sharing every file it can with the release before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from tasks.core.base.errors import Refused
from tasks.core.checkout import drift, staged
from tasks.core.checkout.clone import Earlier, publish
from tasks.core.checkout.staged import checkout
from tasks.core.scan.reader import scan
from tasks.core.scan.stat import changed_paths
from tasks.core.tree.manifest import NOTHING, difference
from tasks.core.tree.model import FILE, LINK, directory, generated_file, symlink
from tests.support import all_file_types
from tests.support.commands import REPOSITORY, as_nobody
from tests.support.small_trees import trees
from tests.support.trees import bytes_read, contents, load_staged


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return all_file_types.make(tmp_path_factory.mktemp("publish") / "root")


@pytest.fixture
def place(whole, tmp_path):
    made = staged.staged_paths(str(tmp_path / "image"))
    checkout(made, scan(whole).tree)
    return made


@pytest.fixture
def nfs(tmp_path):
    (tmp_path / "nfs").mkdir()
    return tmp_path / "nfs"


def released(place, folder, earlier: Earlier | None = None) -> Earlier:
    """Publish what is staged; what is known of it then."""
    record = staged.staged_manifest(place)
    ctimes = {} if earlier is None else earlier.ctimes
    done = publish(record, folder, earlier)
    drift.must_be_made(done.made, folder, done.stats, ctimes, done.written)
    return Earlier(str(folder), record, done.stats, done.note, ctimes=ctimes)


def test_a_release_is_exactly_its_manifest(place, nfs):
    tree = load_staged(place)
    done = publish(staged.staged_manifest(place), nfs / "one")
    assert contents(scan(nfs / "one").tree) == contents(tree)
    files = [entry for path, entry in tree.items() if entry.type == FILE]
    assert (done.linked, done.copied, done.note) == (
        0,
        len(files) - 2,
        "",
    )  # three names of one file
    assert done.size == sum(entry.size for entry in files) - 2 * len(b"shared")


def test_what_two_processes_copied_is_all_told(tmp_path, nfs):
    top, place = tmp_path / "many", staged.staged_paths(str(tmp_path / "image"))
    for number in range(1_500):
        folder = top / f"{number // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_text(f"{number}" * 100)
    os.link(top / "0" / "0", top / "linked")
    checkout(place, scan(top).tree)
    tree = load_staged(place)
    done = publish(staged.staged_manifest(place), nfs / "one")
    assert contents(scan(nfs / "one").tree) == contents(tree)
    assert done.written == {path for path, entry in tree.items() if entry.type == FILE}
    assert done.copied == 1_500 and done.made.keys() == tree.keys()
    assert done.size == sum(os.path.getsize(top / f"{n // 100}" / f"{n}") for n in range(1_500))


LIB = {b"": directory(), b"lib": directory(), b"lib/x": directory(), b"lib/x/y": directory()}
MERGED = {b"": directory(), b"lib": symlink(b"usr/lib")}


@settings(max_examples=60, deadline=None)
@example([LIB, MERGED, LIB])
@given(some.lists(trees(), min_size=2, max_size=4))
def test_each_release_of_a_row_is_what_was_staged_and_stays_that(row):
    with tempfile.TemporaryDirectory() as top:
        place = staged.staged_paths(f"{top}/image")
        releases = [Earlier("", NOTHING, {}, ctimes={})]
        for number, tree in enumerate(row):
            checkout(place, tree)
            base = releases[-1]
            parts = difference(base.record, staged.staged_manifest(place))
            releases.append(released(place, f"{top}/{number}", base._replace(difference=parts)))
            assert contents(scan(f"{top}/{number}").tree) == contents(load_staged(place))
        for one in releases[1:]:
            assert not list(changed_paths(one.stats, one.folder, releases[0].ctimes))


def test_a_name_that_leads_to_another_file_that_looks_the_same_is_none_of_the_release(place, nfs):
    tree = {b"": directory(), b"one": generated_file(b"1"), b"other": generated_file(b"2")}
    checkout(place, tree)
    before = released(place, nfs / "one", Earlier("", NOTHING, {}, ctimes={}))
    os.unlink(nfs / "one/other")
    os.link(nfs / "one/one", nfs / "one/other")
    released(place, nfs / "two", before)
    assert contents(scan(nfs / "two").tree) == contents(tree)
    assert b"other" in dict(changed_paths(before.stats, str(nfs / "one"), before.ctimes))


def test_folders_keep_the_times_that_they_have_in_the_build(place, nfs):
    for folder, _, _ in os.walk(place.folder):
        os.utime(folder, (10**9, 10**9))
    before = released(place, nfs / "one")
    released(place, nfs / "two", before)
    for folder, _, _ in os.walk(nfs):
        assert folder == str(nfs) or os.lstat(folder).st_mtime == 10**9, folder


def test_a_release_shares_no_inode_with_the_build(place, nfs):
    publish(staged.staged_manifest(place), nfs / "one")
    assert not inodes(nfs / "one") & inodes(place.folder)


def inodes(top) -> set[int]:
    return {
        os.lstat(os.path.join(folder, name)).st_ino
        for folder, _, names in os.walk(top)
        for name in names
    }


def test_equal_files_are_links_to_the_release_before(whole, place, nfs):
    before, tree = released(place, nfs / "one"), scan(whole).tree
    tree[b"a b"] = generated_file(b"changed")
    tree[b"setgid"] = tree[b"setgid"]._replace(uid=9)
    tree[b"new"] = generated_file(b"new")
    del tree[b"group"]
    checkout(place, tree)
    done = publish(staged.staged_manifest(place), nfs / "two", before)
    assert contents(scan(nfs / "two").tree) == contents(tree)
    assert done.copied == 3
    assert inodes(nfs / "two") - inodes(nfs / "one") == {
        os.lstat(nfs / "two" / name).st_ino for name in ("a b", "setgid", "new")
    }


def test_the_release_before_is_not_changed(place, nfs):
    one = released(place, nfs / "one")
    before = contents(scan(nfs / "one").tree)
    publish(staged.staged_manifest(place), nfs / "two", one)
    assert contents(scan(nfs / "one").tree) == before


def test_names_share_a_file_as_they_do_in_the_build(place, nfs):
    apart = {
        b"": directory(),
        b"a": generated_file(b"same"),
        b"b": generated_file(b"same"),
        b"c": generated_file(b"other"),
    }
    shared = apart | {name: generated_file(b"same")._replace(inode=1) for name in (b"a", b"b")}
    earlier = None
    for number, tree in enumerate((apart, shared, apart)):
        checkout(place, tree)
        earlier = released(place, nfs / str(number), earlier)
        assert contents(scan(nfs / str(number)).tree) == contents(tree)


def test_folders_that_changed_places_are_not_taken_for_each_other(place, nfs):
    """The files in them have the status that they had, and the ctime."""
    tree = {b"": directory(), b"changed": generated_file(b"1")}
    for name in (b"one", b"two"):
        tree |= {name: directory(), name + b"/inner": directory()}
        tree[name + b"/inner/file"] = generated_file(name)
    checkout(place, tree)
    first = released(place, nfs / "first")
    for old, new in (("one", "away"), ("two", "one"), ("away", "two")):
        (nfs / "first" / old).rename(nfs / "first" / new)
    checkout(place, tree | {b"changed": generated_file(b"2")})
    publish(staged.staged_manifest(place), nfs / "second", first)
    assert contents(scan(nfs / "second").tree) == contents(load_staged(place))


def test_what_is_gone_from_the_release_before_is_copied(place, nfs):
    one = released(place, nfs / "one")
    os.unlink(nfs / "one" / "a b")
    shutil.rmtree(nfs / "one" / "a")
    os.symlink("/etc", nfs / "one" / "a")
    publish(staged.staged_manifest(place), nfs / "two", one)
    assert contents(scan(nfs / "two").tree) == contents(load_staged(place))


def test_of_a_release_of_whose_looks_nothing_is_known_nothing_is_shared(place, nfs):
    """As releases were made before there were looks."""
    one = released(place, nfs / "one")
    done = publish(staged.staged_manifest(place), nfs / "two", one._replace(stats={}))
    assert done.linked == 0 and contents(scan(nfs / "two").tree) == contents(load_staged(place))
    assert not inodes(nfs / "one") & inodes(nfs / "two")


def test_across_file_systems_files_are_copied(place, nfs, tmp_path):
    one = released(place, nfs / "one")
    (tmp_path / "mount").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "mount"], check=True)
    try:
        done = publish(staged.staged_manifest(place), tmp_path / "mount" / "two", one)
        assert done.linked == 0
        assert contents(scan(tmp_path / "mount" / "two").tree) == contents(load_staged(place))
    finally:
        subprocess.run(["umount", tmp_path / "mount"], check=True)


def test_a_staged_file_that_was_edited_is_refused_by_name(place, nfs):
    tree = load_staged(place)
    all_file_types.write(os.fsencode(place.folder) + b"/a b", b"B A")
    with pytest.raises(
        Refused,
        match=f"^{place.folder}/a b: changed after it was staged; remove the root.mtree beside it",
    ):
        publish(staged.staged_manifest(place), nfs / "one")
    os.unlink(place.manifest)
    checkout(place, tree | {b"a b": generated_file(b"a b")})
    publish(staged.staged_manifest(place), nfs / "two")
    assert (nfs / "two" / "a b").read_bytes() == b"a b"


def test_a_file_that_is_written_to_while_it_is_copied_is_refused(place, nfs, monkeypatch):
    """It had the status that it shall have when that began."""
    copy = os.copy_file_range

    def late(source, *rest):
        if os.readlink(f"/proc/self/fd/{source}").endswith("/a b"):
            all_file_types.write(os.fsencode(place.folder) + b"/a b", b"B A")
        return copy(source, *rest)

    monkeypatch.setattr(os, "copy_file_range", late)
    with pytest.raises(Refused, match="/a b: changed after it was staged"):
        publish(staged.staged_manifest(place), nfs / "one")


def test_what_was_copied_is_read_once(place, nfs):
    size = 8 << 20
    checkout(place, {b"": directory(), b"large": generated_file(bytes(range(256)) * (size >> 8))})
    before = bytes_read()
    released(place, nfs / "one", Earlier("", NOTHING, {}, ctimes={}))
    assert round((bytes_read() - before) / size) == 1


def test_what_was_lent_is_read(place, nfs):
    """It came from another machine, by other programs."""
    checkout(place, {b"": directory(), b"file": generated_file(b"right")})
    all_file_types.write(os.fsencode(nfs) + b"/file", b"wrong")
    record = staged.staged_manifest(place)._replace(folder=os.fsencode(nfs))
    done = publish(record, nfs / "one", fetch=lambda paths: str(nfs))
    with pytest.raises(Refused, match=r"/file did not become what .*: content \(sha256\)"):
        drift.must_be_made(done.made, nfs / "one", done.stats, {}, done.written)


def test_root_publishes_true_owners_of_what_an_ordinary_user_staged(
    place, nfs, tmp_path, monkeypatch
):
    tree = load_staged(place)
    made = staged.staged_paths(str(tmp_path / "by-nobody"))
    monkeypatch.setattr(staged, "privileged", lambda folder: False)
    assert checkout(made, tree).note.startswith("not root: ")
    assert os.path.isfile(made.folder + "/null"), "an empty file stands for a device"
    publish(staged.staged_manifest(made), nfs / "one")
    assert contents(scan(nfs / "one").tree) == contents(tree)


def test_an_ordinary_user_publishes_into_a_folder_of_his_own(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == 0 and len(path.parts) > 2:
            path.chmod(0o755)
    code = (
        "import sys; from tasks.core.checkout import staged; from tasks.core.checkout.clone import publish;"
        "from tasks.core.tree.model import *;"
        "tree = {b'': directory(0o555), b'f': generated_file(b'x', 0o4555), b'l': symlink(b'f')};"
        "place = staged.staged_paths(sys.argv[1]); staged.checkout(place, tree);"
        "print(publish(staged.staged_manifest(place), sys.argv[1] + '/one').note)"
    )
    done = subprocess.run(
        as_nobody(sys.executable, "-c", code, home),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("not root: 3 owners")
    made = scan(home / "one").tree
    assert (made[b""].mode, made[b"f"].mode, made[b"l"].type) == (0o755, 0o755, LINK)


def test_nothing_is_inherited_from_the_folder_above(place, nfs):
    subprocess.run(["setfacl", "-d", "-m", "u:99:rwx", nfs], check=True)
    os.chown(nfs, 0, 77)
    os.chmod(nfs, 0o2755)
    tree = load_staged(place)
    publish(staged.staged_manifest(place), nfs / "one")
    assert contents(scan(nfs / "one").tree) == contents(tree)
