"""Manifests, beside the programs that read and write the same."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tasks.core.scan.reader import scan
from tasks.core.tree import mtree, xattrs
from tasks.core.tree.manifest import difference, manifest_of, read_manifest
from tasks.core.tree.model import FILE, Entry
from tests.support import all_file_types
from tests.support.trees import trees

KEYWORDS = "--options=!all,type,mode,uid,gid,link,device,size,sha256"


@given(trees)
def test_a_tree_is_read_back_from_its_manifest_and_attributes(tree):
    assert read_manifest(manifest_of(tree)) == tree


@given(trees)
def test_a_manifest_does_not_depend_on_the_order_of_the_tree(tree):
    backwards = dict(reversed(tree.items()))
    assert (mtree.dump(backwards), xattrs.dump_xattrs(backwards)) == (
        mtree.dump(tree),
        xattrs.dump_xattrs(tree),
    )


@given(trees)
def test_folders_come_before_what_is_in_them(tree):
    paths = list(mtree.parse(mtree.dump(tree)))
    assert paths == sorted(paths)


@given(trees, some.data())
def test_lines_of_a_manifest_are_replaced_as_in_its_tree(tree, data):
    paths = data.draw(some.lists(some.sampled_from(sorted(tree)), unique=True))
    new = {
        path: Entry(FILE, 0o600, 0, 0, data.draw(some.integers(0, 99)), digest="0" * 64)
        for path in paths
    }
    before = {path: tree[path] for path in paths}
    assert mtree.replaced(mtree.dump(tree), before, new) == mtree.dump(tree | new)


@given(trees, some.data())
def test_a_line_that_is_not_as_it_was_is_not_replaced(tree, data):
    path = data.draw(some.sampled_from(sorted(tree)))
    other = tree[path]._replace(uid=tree[path].uid ^ 1)
    with pytest.raises(ValueError, match="not as it is"):
        mtree.replaced(mtree.dump(tree), {path: other}, tree)


@given(trees)
def test_a_line_that_is_not_there_is_not_replaced(tree):
    path = max(tree) + b"\1"
    with pytest.raises(ValueError, match="not as it is"):
        mtree.replaced(mtree.dump(tree), {path: tree[b""]}, {path: tree[b""]})


@given(trees, trees, some.booleans())
def test_what_differs_in_two_trees_is_told_of_their_manifests(old, new, alike):
    if alike:  # of as many names
        new = {path: new.get(path, entry) for path, entry in old.items()}
    before, after = difference(manifest_of(old), manifest_of(new))
    assert before.items() <= old.items()
    assert after.items() <= new.items()
    for path in old.keys() | new.keys():
        if old.get(path) != new.get(path):
            assert path in before or path in after


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return all_file_types.make(tmp_path_factory.mktemp("mtree") / "root")


@pytest.fixture
def manifest(whole, tmp_path):
    path = tmp_path / "root.mtree"
    path.write_bytes(mtree.dump(scan(whole).tree))
    return path


def test_the_manifest_says_what_bsdtar_says(whole, manifest):
    theirs = subprocess.run(
        ["bsdtar", "--format=mtree", KEYWORDS, "-cf", "-", "-C", whole, "."],
        capture_output=True,
        check=False,
    )
    assert fields(manifest.read_bytes()) == fields(theirs.stdout)


def fields(manifest: bytes) -> list[list[bytes]]:
    """Of every line its words, sorted; without sockets and ACLs, of which bsdtar gives another mode."""
    lines = map(bytes.split, manifest.splitlines())
    return sorted(
        [w[0], *sorted(w[1:])]
        for w in lines
        if b"type=socket" not in w and not w[0].startswith(b"./acl")
    )


def test_the_first_lines_and_the_order_of_words_are_as_promised(manifest):
    lines = manifest.read_bytes().split(b"\n")
    assert lines[:2] == [b"#mtree", b". type=dir mode=755 uid=0 gid=0"]
    assert b"./null type=char mode=666 uid=0 gid=0 device=native,1,3" in lines
    assert b"./raw type=link mode=777 uid=0 gid=0 link=\\377\\040\\075\\040\\043\\134\\012" in lines
    assert any(
        line.startswith(b"./a\\040b type=file mode=644 uid=0 gid=0 size=3 sha256digest=")
        for line in lines
    )


def test_bsdtar_lists_a_manifest(whole, manifest):
    listed = subprocess.run(
        ["bsdtar", "-tf", manifest],
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == len(scan(whole).tree)


def test_mtree_finds_the_folder_equal_to_its_manifest_and_names_what_is_not(whole, manifest):
    plain = [
        line for line in manifest.read_bytes().split(b"\n") if not set(b"*?[") & set(line)
    ]  # patterns to mtree
    manifest.write_bytes(b"\n".join(plain))
    assert mtree_of(whole, manifest) == ["extra: [glob]*?", "extra: socket"]
    os.chmod(whole / "one", 0o600)
    try:
        assert any(line.startswith("one") for line in mtree_of(whole, manifest))
    finally:
        os.chmod(whole / "one", 0o644)


def mtree_of(folder, manifest) -> list[str]:
    done = subprocess.run(
        ["mtree", "-f", manifest, "-p", folder],
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
    )
    assert not done.stderr
    return sorted(line for line in done.stdout.splitlines() if line.strip())


def test_getfattr_says_what_the_attributes_file_says(whole):
    command = ["getfattr", "-R", "-h", "-P", "-d", "-m", "-", "-e", "hex", "."]
    theirs = subprocess.run(command, cwd=whole, capture_output=True, check=True).stdout
    assert xattrs.parse_xattrs(theirs) == xattrs.parse_xattrs(xattrs.dump_xattrs(scan(whole).tree))
    assert sorted(theirs.split(b"\n\n")) == sorted(
        xattrs.dump_xattrs(scan(whole).tree).split(b"\n\n")
    )


@pytest.mark.parametrize(
    "damage",
    [b"", b"#mtree", b"#mtree\n. type=dir mode=755", b"#mtree\n. type=dir mode=9 uid=0 gid=0\n"],
)
def test_a_damaged_manifest_is_not_half_read(damage):
    with pytest.raises(ValueError):
        mtree.parse(damage)
