"""A root that is kept on the node's own disk: used where it is right, fetched where it is not, in memory where it cannot be."""

from __future__ import annotations

import os
import random

import pytest

from tests.support.kept_root import BAD, DOWN, GOOD, MIB, NEXT, KeptNode
from tests.support.loop_disk import LAYOUT, Node

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
    node.on_disk(f"touch -d 2020-01-01 {first}")  # not of the same second
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


def test_a_signed_file_starts_the_root_that_it_names_and_no_other(node):
    """What is on the disk and is called after its own sha256, root of a node has put there: it would outlive a reboot."""
    node.boots(OLD)
    node.boot()
    node.release(NEW)
    node.boots(NEW, DOWN)
    line = node.read("proc/cmdline").strip()
    node.write("proc/cmdline", f"{line} plugnode.site=worker\n")
    root, said = node.boot()
    assert root == "" and f"FAILED at root: no server gives {NEW}/root.erofs: " in said
    assert "; a signed file starts no other" in said
    node.boots(OLD, DOWN)
    line = node.read("proc/cmdline").strip()
    node.write("proc/cmdline", f"{line} plugnode.site=worker\n")
    root, said = node.boot()
    assert root == OLD and "from here, its sha256 is right" in said


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


@pytest.mark.parametrize("transport", ["rport-2:0-0", "session1", "nvme-fabrics", "end_device-0:0"])
def test_the_disk_of_another_node_that_both_see_on_a_network_is_left_to_it(node, transport):
    """A disk of the machine itself may have been another's: it was moved."""
    node.boots(OLD)
    place = node.root / f"sys/devices/{transport}/sda"
    place.mkdir(parents=True)
    (node.root / "sys/devices/sda/device").symlink_to(f"../{transport}/sda")
    mine, theirs = "172.24.10.10\twn011\t-\t-\tkept\t-\n", "172.24.10.9\twn010\t-\t-\tkept\t-\n"
    node.write("plugnode/nodes", mine + theirs)
    root, said = node.boot()
    assert root == OLD and ("kept in memory" in said) is (transport != "end_device-0:0")
    node.write("plugnode/nodes", mine)
    root, said = node.boot()
    assert root == OLD and "kept in memory" not in said


def test_a_node_that_works_fetches_the_next_one_and_keeps_what_it_runs(node):
    """By the initrd's busybox, with what the initrd has left in /run; the third release takes the first one's place."""
    names = {}
    for number, size in ((1, 2), (2, 5), (3, 3)):
        name = f"worker-00000000000{number}"
        if number > 1:
            node.release(name, size * MIB)
        names[number] = str(node.boots(name))
        (node.root / f"cmdline.{number}").write_text(node.read("proc/cmdline"))
    for runs, fetched, kept in ((1, 2, {1, 2}), (2, 3, {2, 3}), (3, 3, {2, 3})):
        node.write("proc/cmdline", node.read(f"cmdline.{runs}"))
        node.write("next.cmdline", node.read(f"cmdline.{fetched}"))
        said, _ = node.boot(then=NEXT)
        root, told = said.splitlines()
        assert root == f"worker-00000000000{runs}"
        place = "here" if runs == 3 else f"http://{GOOD}/worker-00000000000{fetched}/root.erofs"
        assert told.startswith(f"worker-00000000000{fetched}: ") and told.endswith(f"from {place}")
        assert set(node.on_disk("ls").split()) - {"lost+found"} == {names[n] for n in kept}


# --- setup.sh

IMAGE = ("image", "12", "ext4", "pn-image", "-")
NAME = f"{OLD}.{'0' * 64}.erofs"
LOOK = "cmp ../file run/plugnode/image/*.erofs && ls run/plugnode/image; "


@pytest.fixture
def keeping(tmp_path):
    """A node whose initrd has its root in memory, which is a file here."""
    node = Node(tmp_path, mib=96, layout=(LAYOUT[0], IMAGE, *LAYOUT[1:]))
    (tmp_path / "file").write_bytes(random.Random(1).randbytes(3 * MIB))
    facts = [f"device={tmp_path}/file", f"name={NAME}", f"bytes={3 * MIB}"]
    (tmp_path / "facts").write_text("\n".join(facts) + "\n")
    node.before = f"cp {tmp_path}/facts $ROOT/run/plugnode/root"
    return node


def test_the_first_boot_puts_the_root_that_is_in_memory_on_the_disk_once(keeping):
    said = keeping.boot(LOOK).split()
    assert said == ["lost+found", NAME] and not keeping.degraded, keeping.console
    assert f"keep {NAME} on " in keeping.console
    keeping.boot("truncate -s 1000 run/plugnode/image/*.erofs")
    assert "keep" not in keeping.console
    assert keeping.boot(LOOK).split() == said and "keep" in keeping.console


def test_under_a_root_that_is_on_the_disk_nothing_is_wiped_before_it_is_in_memory(keeping):
    keeping.boot("echo mine >var/lib/own")
    in_memory, before = keeping.before, keeping.state
    facts = f"partition={keeping.root}/nodes/2\nname={NAME}\n"
    (keeping.folder / "facts.disk").write_text(facts)
    keeping.before = f"cp {keeping.folder}/facts.disk $ROOT/run/plugnode/root"
    assert keeping.boot(LOOK + "cat var/lib/own").split()[-1] == "mine" and not keeping.degraded
    keeping.wipe = "again"
    assert "reboot -f" in keeping.boot()
    assert "this node starts again with its root in memory" in keeping.console
    assert keeping.state == before
    keeping.before = in_memory
    said = keeping.boot(LOOK + "cat var/lib/own || echo gone")
    assert said.split()[-1] == "gone" and "leave" not in said and keeping.state != before
