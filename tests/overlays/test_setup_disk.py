"""setup.sh for real: on loop devices, in a mount namespace, under each of its shells."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.foreign_disks import FOREIGN, MOUNTS, SIZE, _random, _write
from tests.support.loop_disk import MIB, SAME, SHELLS, Node, add_partition, command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for loop devices and mounts")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a node after its first boot."""
    node = Node(tmp_path_factory.mktemp("complete"))
    node.boot("echo mine >var/lib/own")
    assert node.state[2] == "COMMITTED"
    return node.image


@pytest.fixture
def settled(node: Node, complete: Path) -> Node:
    """A node that was set up before, with a file of its own in /var."""
    node.take(complete)
    return node


# Blank, complete


@pytest.mark.parametrize("shell", SHELLS)
def test_a_blank_disk_becomes_var_tmp_and_home_and_stays_so(tmp_path: Path, shell: str):
    node = Node(tmp_path, shell=shell)
    said = node.boot(
        SAME
        + MOUNTS
        + "stat -c %a tmp; cat var/network; echo mine >var/lib/own; echo job >home/own"
    )
    assert said.splitlines() == [
        "SAME", f"{node.root}/home ext4", f"{node.root}/tmp ext3", f"{node.root}/var ext4",
        "1777", "NETWORKING=yes", "HOSTNAME=wn001",
    ]  # fmt: skip
    assert (node.root / "proc/sys/kernel/hostname").read_text() == "wn001\n"
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    said = node.boot(SAME + "cat var/lib/own home/own")
    assert said.splitlines() == ["SAME", "mine", "job"]
    assert "format" not in node.console
    assert node.console.endswith(
        "setup: done: wn001, 172.24.10.100, /dev/" + node.console.rpartition("/dev/")[2]
    )


@pytest.mark.parametrize("table", ["gpt", "dos"])
def test_partitions_start_at_one_mib_and_are_as_large_as_the_site_says(tmp_path: Path, table: str):
    node = Node(tmp_path, table=table)
    node.boot()
    rows = [
        row.split(":")[1]
        for row in command("sfdisk", "-d", node.image).splitlines()
        if "start=" in row
    ]
    found = [tuple(int(value.split("=")[1]) * 512 for value in row.split(",")[:2]) for row in rows]
    assert found == node.partitions()
    assert command("blkid", "-p", "-s", "PTTYPE", "-o", "value", node.image).strip() == table


def test_more_than_four_partitions_of_a_dos_table_are_logical_and_clear_of_each_other(
    tmp_path: Path,
):
    rows = [(f"/m{n}", "8", "ext4", f"pn-m{n}", "-") for n in range(5)]
    node = Node(tmp_path, table="dos", layout=(*rows, ("/home", "rest", "ext4", "pn-home", "-")))
    disk = node.attach()
    node.verb("write_table", disk, disk=disk)
    node.detach()
    dump = [line for line in command("sfdisk", "-d", node.image).splitlines() if "start=" in line]
    assert [line.split(" :")[0][-1] for line in dump] == list("1234567") and "type=5" in dump[3]
    assert (node.data / "setup/partitions").read_text().split("\n")[3].startswith("5 /m3 8 ")
    assert "No errors detected" in command("sfdisk", "-V", node.image)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A folder for disks of any size, of which next to nothing is there."""
    folder = tmp_path / "large"
    folder.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=512M", "large", folder)
    yield folder
    command("umount", folder)


TIB = 1 << 20  # MiB
LARGE = (
    ("/var", "40", "ext4", "v", "-"),
    ("swap", str(TIB), "swap", "s", "-"),
    ("/home", "rest", "ext4", "h", "-"),
)
AWKS = ("mawk", "gawk", "busybox")


@pytest.mark.parametrize("awk", AWKS)
@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("table", ["gpt", "dos"])
def test_a_disk_of_many_tib_is_partitioned_whatever_the_awk(
    large: Path, awk: str, sector: int, table: str
):
    reach = {"gpt": 64, "dos": sector // 256}[table]  # TiB
    awk_here = command("readlink", "-f", command("which", "awk").strip()).strip()
    for tib in (1, 2, 3, 16, 30):
        if tib > reach:
            continue
        layout = LARGE if tib > 1 else (LARGE[0], LARGE[2])
        node = Node(large / str(tib), tib * TIB, layout, table, sector=sector)
        node.before = (
            f"cp -L $(which {awk}) {node.folder}/awk; mount --bind {node.folder}/awk {awk_here}"
        )
        disk = command("losetup", "-f", "--show", "-b", str(sector), node.image).strip()
        try:
            node.verb("write_table", disk, disk=disk)
            dump = command("sfdisk", "-d", disk).splitlines()
        finally:
            command("losetup", "-d", disk)
        assert [place(row, sector) for row in dump if "start=" in row] == node.partitions(), (
            tib,
            dump,
        )


def place(row: str, sector: int) -> tuple[int, int]:
    """(offset, size) in bytes of a line of sfdisk's dump."""
    start, size = (int(value.split("=")[1]) for value in row.split(":")[1].split(",")[:2])
    return start * sector, size * sector


def test_the_script_for_the_sfdisk_of_el5_names_no_label_and_starts_where_the_others_do(node: Node):
    disk = node.attach()
    script = node.verb("table_script", disk, "old", disk=disk)
    node.detach()
    assert script.splitlines() == [
        f"{at // 512},{size // 512},83" for at, size in node.partitions()
    ]


# Of this node's partition alone: /proc/swaps is the whole machine's, and other tests run
SWAPPED = """
swap=$(readlink -f "$ROOT/nodes/1")
grep -c "^$swap " /proc/swaps
swapoff "$swap"
grep -c "^$swap " /proc/swaps || :
"""


def test_swap_is_made_and_xfs_and_a_filled_partition_that_is_not_var(tmp_path: Path):
    layout = (
        ("swap", "8", "swap", "pn-swap", "-"),
        ("/var", "320", "xfs", "pn-var", "/var.ro"),
        ("/home", "16", "ext4", "pn-home", "/home.ro"),
    )
    node = Node(tmp_path, mib=350, layout=layout)
    (node.root / "home.ro/skel").mkdir(parents=True)
    said = node.boot(SAME + MOUNTS + "ls home" + SWAPPED)
    lines = said.splitlines()
    assert (
        lines[0] == "SAME"
        and f"{node.root}/var xfs" in lines
        and "skel" in lines
        and lines[-2:] == ["1", "0"]
    )


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_disk_is_never_touched_and_the_node_runs_in_memory(node: Node, kind: str):
    FOREIGN[kind](node.image)
    before = node.digest()
    said = node.boot(SAME + MOUNTS + "touch var/x home/x tmp/x")
    assert node.digest() == before
    assert said.splitlines() == [
        "SAME",
        *(f"{node.root}/{name} tmpfs" for name in ("home", "tmp", "var")),
    ]
    assert "FOREIGN" in node.degraded and "DEGRADED" in node.console
    assert (node.root / "proc/sys/kernel/hostname").read_text() == "wn001\n"


def test_a_disk_that_is_too_small_is_not_claimed(tmp_path: Path):
    for mib in (1, 30):
        node = Node(tmp_path / str(mib), mib=mib)
        before = node.digest()
        node.boot()
        assert node.digest() == before and node.degraded


def test_a_partition_too_small_for_what_fills_it_is_not_claimed(node: Node):
    (node.root / "var.ro/lib/large").write_bytes(random.randbytes(26 * MIB))
    node.boot()
    assert node.digest() == Node(node.folder / "blank").digest()
    assert "/var.ro has" in node.degraded


def test_what_fills_the_rest_of_a_disk_must_fit_there_too(tmp_path: Path):
    node = Node(
        tmp_path,
        layout=(
            ("/tmp", "8", "ext3", "pn-tmp", "-"),
            ("/var", "rest", "ext4", "pn-var", "/var.ro"),
        ),
    )
    (node.root / "var.ro/lib/large").write_bytes(random.randbytes(60 * MIB))
    node.boot()
    assert node.state == [] and "/var.ro has 60 MiB, its partition 5" in node.degraded


IMPOSSIBLE = {  # what: TiB, table, bytes of a sector, the last partition, what is said of it
    "a dos table over 2 TiB": (
        3,
        "dos",
        512,
        ("rest", "ext4", "h"),
        "a dos table reaches 2097152 MiB, the layout",
    ),
    "the same by a fixed size": (
        3,
        "dos",
        512,
        ("2200000", "ext4", "h"),
        "a dos table reaches 2097152 MiB, the layout",
    ),
    "the same of larger sectors": (
        17,
        "dos",
        4096,
        ("rest", "ext4", "h"),
        "a dos table reaches 16777216 MiB",
    ),
    "ext3 over 16 TiB": (
        20,
        "gpt",
        512,
        ("rest", "ext3", "h"),
        "/home: no ext3 of 20971478 MiB: mkfs.ext3: Size of",
    ),
    "a label that xfs cannot hold": (
        1,
        "gpt",
        512,
        ("rest", "xfs", "pn-data-large"),
        "xfs takes labels of 12 char",
    ),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_made_on_a_disk_is_refused_while_it_is_blank(large: Path, what: str):
    tib, table, sector, (size, fs, label), reason = IMPOSSIBLE[what]
    layout = (
        ("/var", "40", "ext4", "pn-var", "/var.ro"),
        ("/home", size, fs, label, "-"),
    )
    node = Node(large / "node", tib * TIB, layout, table, sector=sector)
    assert node.boot(MOUNTS).count(" tmpfs") == 3
    assert reason in node.degraded
    assert "is not touched" in node.degraded
    assert node.state == []
    assert "claim" not in node.console


def test_a_rest_too_small_for_xfs_leaves_the_disk_blank(tmp_path: Path):
    node = Node(
        tmp_path,
        mib=340,
        layout=(("/tmp", "40", "ext4", "t", "-"), ("/var", "rest", "xfs", "v", "/var.ro")),
    )
    node.boot()
    assert node.state == [] and "/var has 298 MiB, xfs needs 300" in node.degraded
    node.mib = 342
    node.fresh()
    assert node.boot(SAME) == "SAME\n" and node.degraded == ""


def test_a_disk_that_is_full_before_var_is_filled_leaves_a_node_that_can_be_looked_at(node: Node):
    """More names than the file system has inodes, and next to no bytes; the next boot starts over."""
    many = node.root / "var.ro/lib/many"
    many.mkdir()
    for number in range(7000):
        (many / str(number)).touch()
    said = node.boot(MOUNTS + "ls var/lib/many | wc -l")
    assert f"{node.root}/var tmpfs" in said and said.endswith("7000\n")
    assert (
        "No space left" in node.console
        and "could not be provisioned; the next boot tries again" in node.degraded
    )
    assert (
        node.state[2] == "CLAIMING"
        and (node.root / "proc/sys/kernel/hostname").read_text() == "wn001\n"
    )
    command("rm", "-r", many)
    assert node.boot(SAME) == "SAME\n" and (node.state[2], node.degraded) == ("COMMITTED", "")


def test_a_disk_of_4096_byte_sectors_is_as_good(tmp_path: Path):
    node = Node(tmp_path, sector=4096)
    assert node.boot(SAME + "echo mine >var/lib/own") == "SAME\n"
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    assert node.boot("cat var/lib/own") == "mine\n" and "format" not in node.console


def over(file: Path, path: str) -> str:
    """A shell command that shows `file` where a machine has `path`."""
    return f"mount --bind {file} {path}"


@pytest.fixture
def disk(node: Node) -> Iterator[str]:
    """The node's own disk, attached, with room for partitions that the kernel knows."""
    command("mkfs.ext4", "-qF", node.image)
    yield command("losetup", "-f", "--show", "-P", node.image).strip()
    command("losetup", "-d", *command("losetup", "-nO", "NAME", "-j", node.image).split())


def test_a_foreign_disk_of_which_a_partition_is_mounted_says_so(node: Node, disk: str):
    add_partition(disk, 1, SIZE)
    assert "in use" not in node.verb("judge", disk, disk=disk)
    node.before = f"mount {disk}p1 {node.root}/var"
    assert (
        node.verb("judge", disk, disk=disk)
        == f"FOREIGN: it is in use: {disk}p1 on {node.root}/var\n"
    )


def test_a_disk_that_can_be_taken_out_is_none_of_ours(node: Node, disk: str):
    (node.folder / "removable").write_text("1\n")
    node.before = over(node.folder / "removable", f"/sys/block/{disk[5:]}/removable")
    assert (
        node.verb("unfit", disk, disk=disk)
        == "is removable; match: {removable: true} allows that\n"
    )
    node.more = ("allow removable",)
    assert node.verb("unfit", disk, disk=disk) == ""


def test_a_disk_that_cannot_be_written_and_a_part_of_a_disk_are_none_of_ours(node: Node, disk: str):
    read_only = command("losetup", "-r", "-f", "--show", node.image).strip()
    assert node.verb("unfit", read_only, disk=disk) == "is read-only\n"
    add_partition(disk, 1, SIZE)
    assert node.verb("unfit", f"{disk}p1", disk=disk) == "is no whole disk\n"


def test_a_disk_that_cannot_be_read_to_its_end_is_never_claimed(node: Node):
    """Half of the image is gone once it is attached: what lies there is an input/output error."""
    node.before = f"truncate -s {SIZE // 2} {node.image}"
    said = node.boot(MOUNTS)
    assert (
        said.count(" tmpfs") == 3 and "its last MiB is not empty, or not readable" in node.degraded
    )
    assert "claim" not in node.console and not any(node.image.read_bytes())


# No disk


def test_without_a_disk_a_node_runs_in_memory_where_the_site_allows_it(node: Node):
    node.required = "no"
    said = node.boot(SAME + MOUNTS, disk=False)
    assert said.splitlines() == [
        "SAME",
        *(f"{node.root}/{name} tmpfs" for name in ("home", "tmp", "var")),
    ]
    assert node.degraded == "" and "no disk" in node.console


def test_without_a_disk_that_the_site_requires_a_node_stops_and_says_so(node: Node):
    said = node.boot(MOUNTS, disk=False)
    assert said.splitlines() == ["reboot -f", "setup.sh failed: 9"]
    assert "plugnode: setup: FAILED: no disk: none of /dev/nosuchdisk*" in node.console


# Which disk


def whole(node: Node) -> str:
    """For a shell: the loop device of the disk, and not of a part of it, whose number may be lower."""
    return f"$(losetup -nO NAME,SIZELIMIT -j {node.image} | awk '$2 == 0 {{ print $1 }}')"


def test_a_disk_that_appears_late_is_waited_for(node: Node):
    late = node.folder / "late"
    link = f"ln -sfn {whole(node)} {late}"
    appear = subprocess.Popen(
        ["sh", "-c", f"sleep 2; until [ -b {late} ]; do {link}; sleep 1; done"]
    )
    said = node.boot(MOUNTS, disks=str(late), env={"WAIT": "6"})
    appear.wait()
    assert f"{node.root}/var ext4" in said and node.degraded == ""


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("serial S3*", True),
        ("serial X", False),
        ("size 32..128", True),
        ("size 1G..", False),
        ("transport sas", False),
        ("id ata-PLUGNODE_?", True),
        ("id ata-OTHER*", False),
    ],
)
def test_a_disk_that_does_not_match_is_none(node: Node, match: str, fits: bool):
    (node.root / "nodes/serial").write_text("S3R14L\n")
    by_id = node.root / "dev/disk/by-id"
    by_id.mkdir(parents=True)
    node.before = f"ln -s {whole(node)} {by_id}/ata-PLUGNODE_1"
    node.match, node.required = (match,), "no"
    node.boot()
    assert (node.state[2:3] == ["COMMITTED"]) is fits and node.degraded == ""
    assert fits or "no disk" in node.console


@pytest.fixture
def second(tmp_path: Path) -> Iterator[str]:
    """Another disk of the node, blank."""
    command("truncate", "-s", str(SIZE), tmp_path / "second.img")
    disk = command("losetup", "-f", "--show", tmp_path / "second.img").strip()
    yield disk
    command("losetup", "-d", disk)


def test_the_disk_that_is_ours_is_taken_before_a_blank_one(settled: Node, second: str):
    said = settled.boot("cat var/lib/own", disks=second + " {}")
    assert (said, settled.degraded) == ("mine\n", "")


def test_two_disks_that_are_ours_are_both_left_alone(settled: Node, second: str):
    command("cp", settled.image, second)
    before = settled.digest()
    assert settled.boot(MOUNTS, disks=second + " {}").count(" tmpfs") == 3
    assert settled.digest() == before and "several disks are ours" in settled.degraded


# What the root lacks


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("mkfs.ext4", "e2fsprogs"),
        ("fsck.ext4", "e2fsprogs"),
        ("mkfs.xfs", "xfsprogs"),
        ("mkswap", "util-linux"),
        ("sfdisk", "fdisk"),
        ("blkid", "util-linux"),
    ],
)
def test_without_a_program_that_the_layout_needs_a_blank_disk_stays_blank(
    tmp_path: Path, path: str, package: str
):
    layout = (
        ("swap", "8", "swap", "s", "-"),
        ("/var", "320", "xfs", "v", "/var.ro"),
        ("/home", "16", "ext4", "h", "-"),
    )
    node = Node(tmp_path, mib=350, layout=layout, before=hidden(path))
    assert node.boot(MOUNTS).splitlines() == [
        f"{node.root}/{name} tmpfs" for name in ("home", "tmp", "var")
    ]
    assert f"this root lacks {path}: add " in node.degraded and package in node.degraded
    assert node.state == []


def hidden(name: str) -> str:
    """A shell command by which this machine has no such program."""
    return over(Path("/dev/null"), command("which", name).strip())


@pytest.mark.parametrize(("path", "package"), [("fsck.ext4", "e2fsprogs"), ("blkid", "util-linux")])
def test_without_a_program_that_looks_at_a_disk_of_ours_it_is_left_alone(
    settled: Node, path: str, package: str
):
    settled.before = hidden(path)
    before = settled.digest()
    assert f"{settled.root}/var tmpfs" in settled.boot(MOUNTS)
    assert (
        f"this root lacks {path}: add " in settled.console
        and package in settled.console
        and settled.degraded
    )
    assert (
        settled.digest() == before or path == "fsck.ext4"
    )  # /tmp is ext3, which its own program looks at


def test_the_state_is_written_with_the_disks_own_cache_off(node: Node):
    """Before Linux 2.6.33 an fsync of a disk leaves what it wrote in there, and so what was written before it."""
    log, tools = node.folder / "log", node.folder / "tools"
    tools.mkdir()
    (tools / "hdparm").write_text(
        '#!/bin/sh\n[ "$1" != -I ] || { echo "   *    Write cache"; exit; }\n'
        "state=$(dd if=$3 bs=512 skip=2040 count=1 2>/dev/null | tr -d '\\0' | cut -d ' ' -f 3)\n"
        f"echo $2 $state >>{log}\n"
    )
    (tools / "hdparm").chmod(0o755)
    node.before = f"mount -t overlay tools -o lowerdir={tools}:/usr/sbin /usr/sbin"
    node.boot()
    assert node.state[2] == "COMMITTED"
    assert log.read_text().splitlines() == [
        "-W0", "-W1 CLAIMING", "-W0 CLAIMING", "-W1 CLAIMING", "-W0 CLAIMING", "-W1 COMMITTED",
    ]  # fmt: skip


# Wipe


@pytest.mark.parametrize("way", ["site", "command line", "/var/wipe"])
def test_a_wipe_is_done_once_and_remembered(settled: Node, way: str):
    ask(settled, way, "t1")
    assert settled.boot("cat var/lib/own").splitlines() == [
        "cat: var/lib/own: No such file or directory"
    ]
    ask(settled, way, "t1", here="again")
    assert settled.boot(SAME + "cat var/lib/own").splitlines() == ["SAME", "again"]
    ask(settled, way, "t2")
    assert "No such file" in settled.boot("cat var/lib/own")
    ask(settled, way, "t1", here="third")  # the change was reverted: done before, so not done again
    assert settled.boot("cat var/lib/own").splitlines() == ["third"]


def ask(node: Node, way: str, token: str, here: str = "") -> None:
    """A wish for a wipe, by that way; `here`: a file of the node's own is put on its disk before."""
    node.wipe = token if way == "site" else "-"
    node.cmdline = f"quiet plugnode.wipe={token}" if way == "command line" else "quiet"
    node.edit(
        f"[ '{way}' != /var/wipe ] || echo {token} >var/wipe; [ -z '{here}' ] || echo {here} >var/lib/own"
    )


def test_an_empty_wish_in_var_is_a_new_one_each_time(settled: Node):
    for _ in range(2):
        settled.edit("touch var/wipe var/lib/own")
        assert settled.boot("ls var/lib/own var/wipe 2>&1").count("No such file") == 2


def test_a_wipe_does_not_reach_a_foreign_disk_unless_forced_by_its_serial_number(node: Node):
    command("mkfs.ext4", "-qF", node.image)
    (node.root / "nodes/serial").write_text("S3R14L\n")
    before = node.digest()
    node.wipe, node.cmdline = (
        "t1",
        "plugnode.wipe=force plugnode.wipe=force: plugnode.wipe=force:other",
    )
    node.boot()
    assert node.digest() == before
    node.wipe = "force:S3R14L"
    node.boot()
    assert node.state[2] == "COMMITTED" and node.degraded == ""


def test_where_site_data_is_signed_the_kernel_command_line_asks_for_no_wipe(settled: Node):
    """The first boot makes what is wished for known to the disk, so it is another token each time."""
    settled.signed = True
    ask(settled, "command line", "t1", here="kept")
    assert settled.boot("cat var/lib/own") == "kept\n"
    assert "plugnode.wipe= of the kernel command line does not count" in settled.console
    settled.cmdline = "plugnode.wipe=force:any plugnode.wipe=foreign:any"
    assert settled.boot("cat var/lib/own") == "kept\n"
    ask(settled, "site", "t1")
    assert "No such file" in settled.boot("cat var/lib/own")
    ask(settled, "/var/wipe", "t2", here="own")
    assert "No such file" in settled.boot("cat var/lib/own")
    settled.signed = False
    ask(settled, "command line", "t3", here="own")
    assert "No such file" in settled.boot("cat var/lib/own")


def test_tokens_known_at_the_first_boot_are_no_wish_later(node: Node):
    node.wipe = "t0"
    node.boot("echo mine >var/lib/own")
    assert node.boot("cat var/lib/own") == "mine\n"


def test_the_sector_remembers_the_last_32_tokens(settled: Node):
    tokens = [f"{n:08x}" for n in range(32)]
    settled.verb("write_state", settled.attach(), "COMMITTED", ",".join(tokens), disk="")
    settled.detach()
    settled.wipe, settled.name = "new", "n" * 63
    settled.boot()
    assert settled.state[2] == "COMMITTED" and settled.state[3].split(",")[:-1] == tokens[1:]


# Damage


def test_a_new_release_adds_what_var_lacks_and_overwrites_nothing(settled: Node):
    settled.edit(
        "echo changed >var/lib/rpm/file3; rm -r var/spool; mkdir var/new; touch var/new/own"
    )
    fill = settled.root / "var.ro"
    (fill / "new/deep er").mkdir(parents=True)
    (fill / "new/deep er/file").write_text("1")
    (fill / "new/.hidden").write_text("2")
    (fill / "lib/rpm/file3").write_text("theirs")
    (fill / "lib/other").symlink_to("nowhere")
    settled.release = "worker-000000000002"
    said = settled.boot(
        "cat var/lib/own var/lib/rpm/file3 'var/new/deep er/file' var/new/.hidden; stat -c %u var/spool/mail;"
        "readlink var/lib/other; ls var/new/own; ls -A var | grep plugnode; cat var/.plugnode"
    )
    assert said.split() == [
        "mine",
        "changed",
        "128",
        "nowhere",
        "var/new/own",
        ".plugnode",
        "worker-000000000002",
    ]
    assert settled.degraded == ""
    settled.boot()
    assert "what is new" not in settled.console


def test_rules_that_apparmor_compiled_of_another_release_are_compiled_anew(settled: Node):
    """It compares times, and those of a release before, or of a generated file, may be older."""
    settled.edit("mkdir -p var/cache/apparmor/1 var/cache/man")
    assert settled.boot("ls var/cache") == "apparmor\nman\n"
    settled.release = "worker-000000000002"
    assert settled.boot("ls var/cache") == "man\n"


@pytest.mark.parametrize("name", ["home-a\\b.mount", "n\\nx", "c\\cz", "new\nline", "-rf", "* [x]"])
def test_a_new_release_adds_to_folders_of_any_name(node: Node, name: str):
    """dash's echo takes backslashes for its own, as systemd-escape writes them."""
    folder = node.root / "var.ro/lib" / name
    folder.mkdir()
    node.boot()
    (folder / "added").write_text("1")
    node.release = "worker-000000000002"
    assert node.boot("cat var/lib/*/added") == "1"


def test_a_full_var_boots_with_its_name_and_says_what_is_missing(settled: Node):
    settled.edit(
        "rm var/network; dd if=/dev/zero of=var/full bs=64k 2>/dev/null || :; touch var/network"
    )
    (settled.root / "var.ro/lib/news").write_bytes(random.randbytes(MIB))
    settled.release = "worker-000000000002"
    said = settled.boot(
        "cat var/network; ls var/lib/news var/.plugnode-new 2>&1 | grep -c 'No such'; cat var/lib/own"
    )
    assert said.splitlines() == ["NETWORKING=yes", "HOSTNAME=wn001", "2", "mine"]
    assert "lacks what is new" in settled.degraded


def test_an_unclean_file_system_is_checked_and_a_broken_one_is_left_alone(settled: Node):
    offset, size = settled.partitions()[0]
    _random(settled.image, offset + 400 * 1024, 64 * 1024)  # inode tables and bitmaps
    _write(bytes(1024), offset + 1024)(settled.image)  # the superblock
    before = settled.image.read_bytes()[MIB : offset + size]
    said = settled.boot(MOUNTS)
    assert f"{settled.root}/var tmpfs" in said and f"{settled.root}/home ext4" in said
    assert "/var" in settled.degraded and "format" not in settled.console
    assert settled.image.read_bytes()[MIB : offset + size] == before


@pytest.mark.parametrize("seed", range(6))
def test_a_committed_disk_that_is_damaged_anywhere_is_never_formatted(settled: Node, seed: int):
    chance = random.Random(seed)
    at = (
        chance.choice([0, MIB - 4096, MIB, SIZE - 33 * 512, chance.randrange(SIZE - MIB)])
        // 512
        * 512
    )
    size = chance.choice([512, 4096, 65536])
    _write(bytes(size) if seed % 2 else chance.randbytes(size), at)(settled.image)
    settled.boot(MOUNTS)
    assert "format" not in settled.console and "claim" not in settled.console


def test_an_admin_can_have_a_broken_file_system_repaired(settled: Node):
    settled.boot("mkdir var/gone")
    offset, _ = settled.partitions()[0]
    var = f"{settled.image}?offset={offset}"
    # A folder that is none, which fsck -p leaves to an admin. (So small a file system may have no
    # second superblock: Ubuntu makes all of them with blocks of 4 KiB.)
    for damage in ("set_inode_field gone mode 0", "set_super_value state 2"):
        subprocess.run(["debugfs", "-w", "-R", damage, var], check=True, capture_output=True)
    assert f"{settled.root}/var tmpfs" in settled.boot(MOUNTS)
    settled.cmdline = "quiet plugnode.fsck=repair"
    said = settled.boot("rmdir var/gone; " + SAME + "cat var/lib/own")
    assert (said, settled.degraded) == ("SAME\nmine\n", "")


def test_a_disk_of_ours_with_another_layout_is_used_as_far_as_its_labels_go(settled: Node):
    settled.layout = (*settled.layout[:2], ("/scratch", "rest", "ext4", "pn-scratch", "-"))
    (settled.root / "scratch").mkdir()
    said = settled.boot(MOUNTS + "cat var/lib/own")
    assert (
        f"{settled.root}/var ext4" in said
        and f"{settled.root}/scratch tmpfs" in said
        and said.endswith("mine\n")
    )
    assert "another layout" in settled.console and "pn-scratch" in settled.degraded


# Power cuts


def test_a_claim_is_finished_by_the_next_boot_whatever_the_rest_looks_like(settled: Node):
    site, layout = settled.state[1], settled.state[4]
    body = f"PLUGNODE1 {site} CLAIMING - {layout} wn001"
    sum_ = int(
        subprocess.run(
            ["cksum"], check=True, input=body, capture_output=True, text=True
        ).stdout.split()[0]
    )
    _random(settled.image, MIB, 2 * MIB)
    _write(f"{body} {sum_:08x}".encode().ljust(512, b"\0"), MIB - 4096)(settled.image)
    assert settled.boot(SAME + "ls var/lib/own 2>&1").startswith("SAME\nls: cannot access")
    assert (settled.state[2], settled.degraded) == ("COMMITTED", "")


def partitioned(image: Path) -> None:
    """By somebody else, with data in the first partition, which begins where ours does."""
    command("sfdisk", "-q", "--wipe=always", image, input="label: gpt\n,20M\n,,\n")
    command("mkfs.ext4", "-qF", "-E", f"offset={MIB}", image, "20M")


def dos_table(image: Path) -> None:
    command("sfdisk", "-q", "--wipe=always", image, input="label: dos\n,,\n")


def swap(image: Path) -> None:
    """On the whole disk."""
    command("wipefs", "-qa", image)
    command("mkswap", image)


ANEW = (partitioned, dos_table, swap)


@pytest.mark.parametrize("table", ["gpt", "dos"])
@pytest.mark.parametrize("make", ANEW, ids=lambda make: make.__name__)
@pytest.mark.parametrize("state", ["CLAIMING", "COMMITTED"])
def test_a_disk_of_ours_that_somebody_made_anew_is_foreign(
    node: Node, steps: int, state: str, make, table: str
):
    """Its state sector lies in a gap which those programs leave as it is."""
    node.table = table
    (node.root / "nodes/serial").write_text("S3R14L\n")
    if state == "COMMITTED":
        node.boot()
    else:
        node.cut(at=steps // 2)
    assert node.state[2] == state
    make(node.image)
    before = node.digest()
    for node.wipe in ("-", "t1", "foreign:t1"):
        assert node.boot(MOUNTS).count(" tmpfs") == 3
        assert node.digest() == before and "FOREIGN: somebody else has" in node.degraded
    node.wipe = "force:S3R14L"
    assert node.boot(SAME) == "SAME\n"
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    make(node.image)
    before = node.digest()
    node.boot()
    assert node.digest() == before, "that wish was done before"


@pytest.mark.parametrize("token", ["force:S3R14L", "foreign:t1"])
def test_a_foreign_disk_whose_claim_was_cut_is_ours_whatever_is_wished_then(node: Node, token: str):
    """Its old table is still there: what comes after the claim is the first that ends the node."""
    (node.root / "nodes/serial").write_text("S3R14L\n")
    partitioned(node.image)
    tools = node.folder / "tools"
    tools.mkdir()
    (tools / "blkdiscard").write_text("#!/bin/sh\nkill -9 0\n")
    (tools / "blkdiscard").chmod(0o755)
    node.before = f"mount -t overlay tools -o lowerdir={tools}:/usr/sbin /usr/sbin"
    node.wipe = token
    node.boot()
    table = command("sfdisk", "-d", node.image)
    assert node.state[2] == "CLAIMING" and "504C5547-4E4F" not in table and "label: gpt" in table
    node.before = ""
    node.wipe = "-"
    assert node.boot(SAME) == "SAME\n"
    assert (node.state[2], node.degraded) == ("COMMITTED", "")


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many commands the provisioning has."""
    return Node(tmp_path_factory.mktemp("steps")).cut(0)


@pytest.mark.parametrize("part", range(1, 13))
def test_killed_at_any_step_of_the_first_boot_a_node_recovers_by_itself(
    node: Node, steps: int, part: int
):
    assert node.cut(at=part * steps // 13) == part * steps // 13
    left = node.state[2:3]
    said = node.boot(SAME)
    assert (said, node.state[2], node.degraded) == ("SAME\n", "COMMITTED", ""), (left, node.console)


def test_the_name_is_that_of_the_very_address(node: Node):
    node.required = "no"
    for address, name in (
        ("172.24.10.1", "other"),
        ("172.24.10.10", "ten"),
        ("172.24.10.100", "wn001"),
    ):
        node.address, node.name = address, "wn001" if address.endswith("100") else name
        node.boot(disk=False)
        assert (node.root / "proc/sys/kernel/hostname").read_text() == name + "\n"


def test_ssh_host_keys_are_made_once_and_are_another_nodes_after_a_wipe(tmp_path: Path):
    node = Node(tmp_path, ssh=True)
    show = "cd var/lib/plugnode/ssh; stat -c '%a %n' *; cat ssh_host_ed25519_key.pub"
    first = node.boot(show)
    assert (
        first == node.boot(show)
        and "600 ssh_host_rsa_key\n" in first
        and "made" not in node.console
    )
    node.wipe = "new"
    wiped = node.boot(show)
    assert wiped.splitlines()[:6] == first.splitlines()[:6] and wiped != first
    node.name, node.wipe = "wn777", "new"
    assert node.boot(show) not in (first, wiped)
    assert "this disk was wn001's" in node.console


@pytest.mark.parametrize("why", ["no disk", "a foreign one"])
def test_a_node_whose_host_keys_are_new_at_each_boot_says_so(tmp_path: Path, why: str):
    node = Node(tmp_path, ssh=True, required="no")
    command("mkfs.ext4", "-qF", node.image)
    show = "cat var/lib/plugnode/ssh/ssh_host_ed25519_key.pub"
    first, again = (node.boot(show, disk=why != "no disk") for _ in range(2))
    assert first != again and "ssh host keys are new ones at each boot" in node.console
    node.fresh()
    assert node.boot(show) == node.boot(show) and "new ones at each boot" not in node.console


def test_local_files_stay_with_their_node_and_begin_anew_when_the_disk_is_anothers(node: Node):
    seed = node.root / "var.ro/lib/plugnode/files/etc"
    seed.mkdir(parents=True)
    (seed / "app.conf").write_text("as shipped\n")
    show = "cat var/lib/plugnode/files/etc/*; "
    assert node.boot(show + "echo own >var/lib/plugnode/files/etc/app.conf") == "as shipped\n"
    assert node.boot(show + "echo secret >var/lib/plugnode/files/etc/app.key") == "own\n"
    node.name = "wn777"
    assert node.boot(show) == "as shipped\n"
