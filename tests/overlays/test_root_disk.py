"""A root that is kept on the node's own disk: used where it is right, fetched where it is not, in memory where it cannot be."""

from __future__ import annotations

import os
import random

import pytest

from tests.support.kept_root import BAD, DOWN, GOOD, MIB, KeptNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices, and port 80")
OLD, NEW = "worker-000000000001", "worker-000000000002"


@pytest.fixture
def node(tmp_path):
    node = KeptNode(tmp_path)
    node.release(OLD)
    return node


def test_it_is_fetched_once_and_then_no_server_is_asked(node):
    name = node.boots(OLD)
    root, said = node.boot()
    assert root == OLD and f"from http://{GOOD}/{OLD}/root.erofs, its sha256 is right" in said
    facts = dict(line.split("=", 1) for line in node.read("told/plugnode/root").splitlines())
    assert facts["name"] == str(name) and facts["partition"].endswith("/nodes/sda1")
    assert facts["said"].startswith("root.erofs: ") and "bytes on" in facts["said"]
    node.boots(OLD, DOWN)
    root, said = node.boot()
    assert root == OLD and "from here, its sha256 is right" in said and "waiting" not in said


def test_a_file_that_was_cut_off_goes_on_and_one_that_is_damaged_anywhere_is_fetched_again(node):
    name = node.boots(OLD)
    node.boot()
    node.on_disk(f"truncate -s 1000000 {name}; sync")
    root, said = node.boot()
    assert root == OLD and "206" in node.read("access.log")
    for seed in range(4):
        at = random.Random(seed).randrange(2 * MIB)
        node.on_disk(f"printf damaged | dd of={name} bs=1 seek={at} conv=notrunc status=none; sync")
        root, said = node.boot()
        assert root == OLD and "not the file of this release: its sha256 is" in said
        assert f"from http://{GOOD}/" in said


def test_the_next_one_comes_beside_it_and_the_oldest_goes_when_there_is_no_room(node):
    first = node.boots(OLD)
    node.boot()
    node.release(NEW, 3 * MIB)
    second = node.boots(NEW)
    assert node.boot()[0] == NEW
    assert {str(first), str(second)} <= set(node.on_disk("ls").split())
    node.release("worker-000000000003", 4 * MIB)
    third = node.boots("worker-000000000003")
    assert node.boot()[0] == "worker-000000000003"
    assert set(node.on_disk("ls").split()) == {"lost+found", str(second), str(third)}


@pytest.mark.parametrize("server", [DOWN, BAD])
def test_where_no_server_gives_the_new_one_the_one_it_has_is_booted_and_it_says_so(node, server):
    node.boots(OLD)
    node.boot()
    node.release(NEW)
    node.boots(NEW, server)
    root, said = node.boot()
    assert root == OLD and node.read("told/plugnode/release") == OLD + "\n"
    (why,) = node.read("told/plugnode/degraded").splitlines()
    assert why.startswith(f"no server gives {NEW}/root.erofs: ")
    assert why.endswith(f"; this is {OLD}, which the disk has")


def test_one_of_another_kernel_or_that_is_damaged_is_not_booted(node):
    node.release(NEW, kernel="5.0-other")
    for name in (OLD, NEW):
        kept = node.boots(name)
        node.boot()
    assert kept.name.startswith(NEW)
    old = node.boots(OLD)
    node.on_disk(f"printf x | dd of={old} bs=1 seek=70000 conv=notrunc status=none; sync")
    node.release("worker-000000000003")
    node.boots("worker-000000000003", DOWN)
    root, said = node.boot()
    assert root == "" and "FAILED at root: no server gives worker-000000000003/root.erofs" in said


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("site", "no complete disk of this site has a partition pn-image"),
        ("CLAIMING", "no complete disk of this site has a partition pn-image"),
        ("label", "no complete disk of this site has a partition pn-other"),
        ("layout", "the node's disk layout has no partition `image`"),
        ("leave", "is to be left alone"),
        ("small", "has no room for"),
        ("damaged", "does not mount"),
    ],
)
def test_where_the_disk_has_no_such_place_the_root_is_kept_in_memory(tmp_path, how, why):
    state = how if how == "CLAIMING" else "COMMITTED"
    node = KeptNode(tmp_path, state, "another" if how == "site" else "grid")
    node.release(OLD, 11 * MIB if how == "small" else MIB)
    node.boots(OLD)
    if how in ("label", "layout"):
        node.layout("partition image 12 ext4 pn-other -\n" if how == "label" else "table gpt\n")
    if how == "leave":
        node.on_disk("touch leave; sync")
    if how == "damaged":
        with open(node.image, "r+b") as file:
            file.seek(MIB + 1024 + 4)
            file.write(b"\xff" * 32)
    before = node.image.read_bytes()
    root, said = node.boot()
    assert root == OLD and why in said and "it is kept in memory" in said
    assert "said=root.erofs: " in node.read("told/plugnode/root")
    if how not in ("leave", "small"):
        assert node.image.read_bytes() == before
