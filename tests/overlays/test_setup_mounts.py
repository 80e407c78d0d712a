"""setup.sh and what it mounts: modes, owners and options; file systems that are damaged, or newer than the release."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tasks.core.rootfs import transforms
from tasks.core.scan.reader import scan
from tasks.core.tree.model import read_content
from tests.support.loop_disk import SAME, Node, command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for loop devices and mounts")
MOUNTS = "grep $ROOT /proc/mounts | cut -d' ' -f2,3; "
VAR = ("/var", "24", "ext4", "pn-var", "/var.ro")
SCRATCH = ("/scratch", "rest", "ext4", "pn-scratch", "-")
XFS = (VAR, ("/scratch", "rest", "xfs", "pn-scratch", "-"))
LOOK = "stat -c '%a %u:%g' scratch; "


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """One with a /scratch for everybody."""
    node = Node(tmp_path, layout=(VAR, SCRATCH))
    (node.root / "scratch").mkdir()
    (node.root / "scratch").chmod(0o1777)
    os.chown(node.root / "scratch", 12, 34)
    return node


@pytest.mark.parametrize("disk", [True, False], ids=["on a disk", "in memory"])
def test_a_mount_point_looks_like_the_folder_of_the_root_that_it_covers(node: Node, disk: bool):
    node.required = "no"
    for _ in range(2):
        assert node.boot(LOOK, disk=disk) == "1777 12:34\n"
    node.more = ("mode /scratch 2770",)
    assert node.boot(LOOK, disk=disk) == "2770 12:34\n" and node.degraded == ""


def test_what_an_earlier_release_mounted_with_a_mode_of_its_own_is_put_right(node: Node):
    (node.root / "scratch").chmod(0o755)
    assert node.boot(LOOK) == "755 12:34\n"
    (node.root / "scratch").chmod(0o1777)
    assert node.boot(LOOK) == "1777 12:34\n"


@pytest.mark.parametrize("disk", [True, False], ids=["on a disk", "in memory"])
def test_a_filled_one_is_as_the_folder_that_fills_it_unless_the_site_says_its_mode(
    node: Node, disk: bool
):
    (node.root / "var.ro").chmod(0o711)
    (node.root / "var").chmod(0o700)
    node.required = "no"
    assert node.boot("stat -c %a var", disk=disk) == "711\n"
    node.more = ("mode /var 751", "mode /tmp 1770")
    assert node.boot("stat -c %a var tmp", disk=disk) == "751\n1770\n"


def test_mount_options_of_the_site_hold_on_the_disk_and_as_far_as_they_can_in_memory(node: Node):
    show = "grep \"$ROOT/scratch\" /proc/mounts | cut -d' ' -f4; "
    node.more = ("options /scratch noatime,nosuid,commit=30",)
    assert {"noatime", "nosuid", "commit=30"} <= set(node.boot(show).strip().split(","))
    node.required = "no"
    in_memory = set(node.boot(show, disk=False).strip().split(","))
    assert {"noatime", "nosuid"} <= in_memory and "commit=30" not in in_memory
    assert node.degraded == ""


def test_a_mount_point_that_is_a_link_is_mounted_once(node: Node):
    """What is mounted there is so where the link leads to, and in memory nothing lies above it."""
    (node.root / "data").mkdir()
    (node.root / "scratch").rename(node.root / "data/scratch")
    (node.root / "scratch").symlink_to("data/scratch")
    said = node.boot(MOUNTS + "echo job >scratch/own")
    assert said.count("/data/scratch ext4") == 1 and "/data/scratch tmpfs" not in said
    assert node.boot("cat scratch/own") == "job\n" and node.degraded == ""
    node.required = "no"
    assert node.boot(MOUNTS, disk=False).count("/data/scratch tmpfs") == 1


def test_options_that_no_file_system_knows_leave_the_disk_alone_and_say_so(node: Node):
    node.boot("echo job >scratch/own")
    node.more = ("options /scratch nosuchoption",)
    assert f"{node.root}/scratch tmpfs" in node.boot(MOUNTS)
    assert "/scratch: " in node.degraded and "nosuchoption" in node.console
    node.more = ()
    assert node.boot("cat scratch/own") == "job\n"


# File systems that are not as they should be


def damage_xfs(node: Node, seed: int) -> None:
    """The headers of every allocation group, and a log that was not replayed."""
    node.boot(
        "mkdir scratch/j; seq 200 | while read i; do echo $i >scratch/j/$i; done; sync; touch scratch/last"
    )
    offset, _ = node.partitions()[1]
    with open(node.image, "r+b") as file:
        groups = 4
        blocks = int.from_bytes(read(file, offset + 84, 4), "big")
        for group in range(groups):
            for sector in (1, 2):
                file.seek(offset + group * blocks * 4096 + sector * 512 + 4)
                file.write(random.Random(seed).randbytes(200))


def read(file, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def test_an_admin_can_have_a_broken_xfs_repaired_too(node: Node):
    node.layout, node.mib = XFS, 420
    node.fresh()
    damage_xfs(node, 1)
    assert f"{node.root}/scratch tmpfs" in node.boot(MOUNTS)
    assert "does not mount; plugnode.fsck=repair?" in node.console and "/scratch: " in node.degraded
    node.cmdline = "quiet plugnode.fsck=repair"
    said = node.boot(MOUNTS + "cat scratch/j/77")
    assert f"{node.root}/scratch xfs" in said and said.endswith("77\n") and node.degraded == ""
    assert "xfs_repair, as the kernel command line says" in node.console


def test_an_xfs_whose_first_superblock_is_gone_is_repaired_from_another(node: Node):
    node.layout, node.mib = XFS, 420
    node.fresh()
    node.boot("echo job >scratch/own")
    offset, _ = node.partitions()[1]
    with open(node.image, "r+b") as file:
        file.seek(offset)
        file.write(bytes(512))
    assert f"{node.root}/scratch tmpfs" in node.boot(MOUNTS)
    node.cmdline = "quiet plugnode.fsck=repair"
    assert node.boot("cat scratch/own") == "job\n" and node.degraded == ""


def feature(node: Node, number: int, what: str) -> None:
    """Give a partition a feature of the future."""
    offset, size = node.partitions()[number]
    part = command(
        "losetup", "-f", "--show", "-o", str(offset), "--sizelimit", str(size), node.image
    ).strip()
    try:
        command("debugfs", "-w", "-R", f"feature {what}", part)
    finally:
        command("losetup", "-d", part)


@pytest.mark.parametrize("repair", ["", " plugnode.fsck=repair"])
@pytest.mark.parametrize("what", ["FEATURE_C15", "FEATURE_I31", "FEATURE_R30"])
def test_a_file_system_of_a_newer_release_is_said_to_be_one(node: Node, what: str, repair: str):
    node.release = "worker-0123456789ab"
    node.boot("echo job >scratch/own")
    feature(node, 1, what)
    before = node.image.read_bytes()[node.partitions()[1][0] :]
    node.release, node.cmdline = "worker-000000000000", f"quiet{repair}"
    assert f"{node.root}/scratch tmpfs" in node.boot(MOUNTS)
    assert (
        "features that this release does not know, of worker-0123456789ab: go back" in node.degraded
    )
    assert "unsupported feature" in node.console and "plugnode.fsck=repair?" not in node.console
    assert node.image.read_bytes()[node.partitions()[1][0] :] == before


def test_what_fsck_says_is_on_the_console_and_in_the_log(node: Node):
    node.boot()
    offset, size = node.partitions()[1]
    with open(node.image, "r+b") as file:
        file.seek(offset + 1024)
        file.write(bytes(1024))
    node.boot()
    assert "no sound ext4 labelled pn-scratch" in node.degraded
    node.cmdline = "plugnode.fsck=repair"
    node.boot()
    for text in (node.console, (node.data / "setup.log").read_text()):
        assert "Bad magic number in super-block" in text


def test_what_mkfs_says_is_on_the_console_and_in_the_log(node: Node):
    tools = node.folder / "tools"
    tools.mkdir()
    (tools / "mkfs.ext4").write_text(
        '#!/bin/sh\n[ "$1" = -n ] || { echo first; echo second >&2; exit 3; }\n'
    )
    (tools / "mkfs.ext4").chmod(0o755)
    node.before = f"mount -t overlay tools -o lowerdir={tools}:/usr/sbin /usr/sbin"
    node.boot()
    assert "mkfs.ext4 failed (3)" in node.console and "first second" in node.console
    assert "first\nsecond\n" in (node.data / "setup.log").read_text()


# ---- a folder's archive


def packed(node: Node) -> None:
    """What the build lays beside /var.ro."""
    large = node.root / "var.ro/lib/large"
    large.write_bytes(random.randbytes(transforms.PACKED_FILE + 1))
    var = scan(str(node.root / "var.ro")).tree
    root = {b"/".join([b"var.ro", path]).rstrip(b"/"): entry for path, entry in var.items()}
    root = transforms.pack(root, ["/var.ro"])
    for name in ("var.ro.tar.gz", "var.ro.rest"):
        (node.root / name).write_bytes(read_content(root[name.encode()]))


@pytest.mark.parametrize("disk", [True, False], ids=["on a disk", "in memory"])
def test_var_is_filled_of_one_archive_and_a_list_of_what_is_not_in_it(node: Node, disk: bool):
    packed(node)
    assert (node.root / "var.ro.rest").read_text() == "lib/large\n"
    (node.root / "var.ro/log/wtmp").unlink()  # it is in the archive
    node.required = "no"
    assert node.boot("cp -a var/log/wtmp var.ro/log/; " + SAME, disk=disk) == "SAME\n"


@pytest.mark.parametrize("disk", [True, False], ids=["on a disk", "in memory"])
def test_where_the_archive_is_no_good_the_folder_is_copied(node: Node, disk: bool):
    packed(node)
    whole = (node.root / "var.ro.tar.gz").read_bytes()
    (node.root / "var.ro.tar.gz").write_bytes(whole[: len(whole) // 2])
    node.required = "no"
    assert node.boot(SAME, disk=disk) == "SAME\n" and node.degraded == ""


@pytest.mark.parametrize(("name", "has"), [("1.2.3.4:/roots/x", True), ("root.erofs", False)])
def test_programs_get_their_capabilities_above_a_root_that_came_over_nfs(
    node: Node, name: str, has: bool
):
    """Another lower file system carries them itself."""
    (node.root / "etc/plugnode").mkdir(parents=True)
    (node.root / "etc/plugnode/capabilities").write_text("cap_net_raw=ep\t/ping it\n")
    (node.root / "ping it").write_bytes(b"")
    node.required = "no"
    layers = "lowerdir=$ROOT,upperdir=/mnt/u,workdir=/mnt/w"
    node.before = (
        f"mount -t tmpfs x /mnt; mkdir /mnt/u /mnt/w; mount -t overlay -o {layers} {name} $ROOT"
    )
    said = node.boot('getcap "ping it" | wc -l', disk=False)
    assert said.strip() == str(int(has)) and os.listxattr(node.root / "ping it") == []
