"""setup.sh and disks that something else has taken before it: udev's LVM, RAID, mappings; mounts and swap.

Mounts and swap are real. This kernel may have neither device mapper nor RAID: what stands on a disk is then told by
folders in place of sysfs's, and the programs that take it down are stand-ins, which say what they were asked.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loop_disk import MIB, SAME, Node, command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for loop devices and mounts")
MOUNTS = "grep $ROOT /proc/mounts | cut -d' ' -f2,3; "

# Of NAME, what it is called, its number, and what it stands on. A disk's name is that of its loop device.
STACK = """\
sys={folder}/sys
stand() {{
  mkdir -p $sys/$1/holders $sys/$1/slaves $sys/$1/dm
  echo "$2" >$sys/$1/dm/name
  echo "$3" >$sys/$1/dev
  name=$1
  shift 3
  for under; do
    if [ -d /sys/devices/virtual/block/$under ]; then
      ln -s /sys/devices/virtual/block/$under $sys/$name/slaves/
      mkdir -p {folder}/holders.$under
      ln -s $sys/$name {folder}/holders.$under/
      mountpoint -q /sys/devices/virtual/block/$under/holders ||
        mount --bind {folder}/holders.$under /sys/devices/virtual/block/$under/holders
    else
      ln -s /sys/block/$under $sys/$name/slaves/
      ln -s $sys/$name $sys/$under/holders/
    fi
  done
}}
rm -rf $sys {folder}/holders.*
cp -a /sys/block $sys
mount --bind $sys /sys/block
disk=$(losetup -nO NAME,SIZELIMIT -j {image} | awk '$2 == 0 {{ sub("/dev/", "", $1); print $1 }}')
"""
# What dmsetup and mdadm would do: forget the one that they are asked for
DMSETUP = """\
#!/bin/sh
echo "dmsetup $*" >>{folder}/log
for dev in /sys/block/*/dev; do
  [ "$(cat $dev)" != "$3:$5" ] || name=$(basename $(dirname $dev))
done
rm -rf {folder}/holders.*/$name /sys/block/*/holders/$name /sys/block/$name
"""
MDADM = """\
#!/bin/sh
echo "mdadm $*" >>{folder}/log
rm -rf {folder}/holders.*/${{2#/dev/}} /sys/block/*/holders/${{2#/dev/}} /sys/block/${{2#/dev/}}
"""


class Taken(Node):
    """A node whose disk something stands on."""

    def stands(self, script: str) -> None:
        """By lines `stand NAME CALLED MAJOR:MINOR UNDER…`; `$disk` is the node's own."""
        self.program("dmsetup", DMSETUP.format(folder=self.folder))
        self.program("mdadm", MDADM.format(folder=self.folder))
        self.before += "\n" + STACK.format(folder=self.folder, image=self.image) + script

    def program(self, name: str, text: str) -> None:
        """In place of this machine's in /usr/sbin, whose own is `real/NAME` there then."""
        tools = self.folder / "tools"
        (tools / "real").mkdir(parents=True, exist_ok=True)
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
        if real := shutil.which(name):
            shutil.copy(real, tools / "real" / name)
        self.before = f"mount -t overlay tools -o lowerdir={tools}:/usr/sbin /usr/sbin"

    @property
    def asked(self) -> list[str]:
        """What dmsetup and mdadm were told."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def node(tmp_path: Path) -> Taken:
    node = Taken(tmp_path)
    (node.root / "nodes/serial").write_text("S3R14L\n")
    return node


@pytest.fixture
def second(tmp_path: Path) -> Iterator[str]:
    """Another disk of the node, blank."""
    command("truncate", "-s", str(64 * MIB), tmp_path / "second.img")
    disk = command("losetup", "-f", "--show", tmp_path / "second.img").strip()
    yield disk
    command("losetup", "-d", disk)


LVM = "stand dm-9 centos-root 253:9 $disk"
STACKS = {  # what stands on the disk: in which order it is taken down
    "a volume": (LVM, ["dmsetup remove -j 253 -m 9"]),
    "two volumes": (
        f"{LVM}; stand dm-11 centos-swap 253:11 $disk",
        ["dmsetup remove -j 253 -m 11", "dmsetup remove -j 253 -m 9"],
    ),
    "an array": ("stand md127 - 9:127 $disk", ["mdadm --stop /dev/md127"]),
    "a mapping of a volume of an array": (
        "stand md127 - 9:127 $disk; stand dm-3 vg-lv 253:3 md127; stand dm-4 luks-1 253:4 dm-3",
        ["dmsetup remove -j 253 -m 4", "dmsetup remove -j 253 -m 3", "mdadm --stop /dev/md127"],
    ),
    "a thin volume, which stands on two": (
        "stand dm-1 vg-meta 253:1 $disk; stand dm-2 vg-data 253:2 $disk; stand dm-3 vg-thin 253:3 dm-1 dm-2",
        ["dmsetup remove -j 253 -m 3", "dmsetup remove -j 253 -m 1", "dmsetup remove -j 253 -m 2"],
    ),
}


@pytest.mark.parametrize("what", STACKS)
def test_a_foreign_disk_that_is_held_stays_as_it_is_and_the_node_comes_up_in_memory(
    node: Taken, what: str
):
    command("mkfs.ext4", "-qF", node.image)
    node.stands(STACKS[what][0])
    before = node.digest()
    said = node.boot(SAME + MOUNTS)
    assert said.splitlines() == [
        "SAME",
        *(f"{node.root}/{name} tmpfs" for name in ("home", "tmp", "var")),
    ]
    assert "is not touched, FOREIGN: it is in use: " in node.degraded and not node.asked
    assert node.digest() == before


@pytest.mark.parametrize("what", STACKS)
def test_what_stands_on_a_disk_is_taken_down_from_the_top_before_a_wipe_by_its_serial_number(
    node: Taken, what: str
):
    command("mkfs.ext4", "-qF", node.image)
    stack, asked = STACKS[what]
    node.stands(stack)
    node.wipe = "force:S3R14L"
    assert node.boot(SAME) == "SAME\n"
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    assert node.asked == asked


def test_an_array_that_udev_has_open_just_now_is_stopped_a_moment_later(node: Taken):
    """Else a set of our own that udev has put together was left alone, and its partitions came into memory."""
    command("mkfs.ext4", "-qF", node.image)
    node.stands("stand md127 - 9:127 $disk")
    busy = 'echo "mdadm $*" >>{0}/log\n[ -e {0}/looked ] || {{ touch {0}/looked; exit 1; }}\n'
    rest = MDADM.format(folder=node.folder).partition("/log\n")[2]
    (node.folder / "tools/mdadm").write_text("#!/bin/sh\n" + busy.format(node.folder) + rest)
    node.wipe = "force:S3R14L"
    assert node.boot(SAME) == "SAME\n"
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    assert node.asked == ["mdadm --stop /dev/md127"] * 2


def test_a_wipe_of_our_own_disk_takes_down_what_stands_on_it(node: Taken):
    node.boot("echo mine >var/lib/own")
    node.wipe = "t1"
    node.stands(LVM)
    assert "No such file" in node.boot("cat var/lib/own")
    assert (node.asked, node.degraded) == (["dmsetup remove -j 253 -m 9"], "")


def test_what_stands_on_another_disk_too_is_never_taken_down(node: Taken, second: str):
    command("mkfs.ext4", "-qF", node.image)
    node.wipe = "force:S3R14L"
    node.stands(f"stand dm-9 vg-wide 253:9 $disk {second[5:]}; stand dm-10 vg-own 253:10 $disk")
    before = node.digest()
    assert node.boot(MOUNTS).count(" tmpfs") == 3
    assert node.digest() == before and not node.asked and node.degraded
    assert "dm-9 (vg-wide) stands on loop" in node.console and "left alone" in node.console


BTRFS = """
disk=$(losetup -nO NAME,SIZELIMIT -j {image} | awk '$2 == 0 {{ print $1 }}')
mkfs.btrfs -qf {devices} >/dev/null 2>&1
mkdir -p {folder}/wide
mount -t btrfs {first} {folder}/wide
echo precious >{folder}/wide/file
sync"""


@pytest.mark.parametrize("wish", ["-", "force:S3R14L", "foreign:2026-12"])
def test_a_disk_of_a_btrfs_that_is_mounted_from_another_one_is_in_use(tmp_path: Path, wish: str):
    """/proc/mounts names one disk of several, and no other holds anything of them in sysfs."""
    node = Taken(tmp_path / "node", mib=256, wipe=wish)
    (node.root / "nodes/serial").write_text("S3R14L\n")
    command("truncate", "-s", str(256 * MIB), tmp_path / "wide.img")
    other = command("losetup", "-f", "--show", tmp_path / "wide.img").strip()
    words = {"image": node.image, "folder": tmp_path, "first": other, "devices": f"{other} $disk"}
    node.before = BTRFS.format(**words)
    try:
        said = node.boot(MOUNTS + f"cat {tmp_path}/wide/file; btrfs scrub start -B {tmp_path}/wide")
    finally:
        command("losetup", "-d", other)
    assert said.count(" tmpfs") == 3 and "precious" in said and "no errors found" in said
    assert node.state == [] and "it is in use: btrfs of loop" in node.console
    assert wish == "-" or "a btrfs stands on loop" in node.console


def test_a_btrfs_that_is_on_this_disk_alone_is_let_go_for_a_wipe(tmp_path: Path):
    node = Taken(tmp_path / "node", mib=256, wipe="force:S3R14L")
    (node.root / "nodes/serial").write_text("S3R14L\n")
    words = {"image": node.image, "folder": tmp_path, "first": "$disk", "devices": "$disk"}
    node.before = BTRFS.format(**words)
    assert node.boot(SAME) == "SAME\n"
    assert (node.state[2], node.degraded) == ("COMMITTED", "")


GROUP = {  # what stands on the disk: whether the word of a group takes it
    "a volume": (LVM, True),
    "one path of several": (f"{LVM}; echo mpath-3600508 >$sys/dm-9/dm/uuid", False),
    "a volume of two disks": (f"{LVM} {{second}}", False),
}


@pytest.mark.parametrize("what", GROUP)
def test_a_groups_word_takes_a_disk_in_use_only_if_all_of_it_is_on_that_disk(
    node: Taken, second: str, what: str
):
    command("mkfs.ext4", "-qF", node.image)
    stack, taken = GROUP[what]
    node.stands(stack.replace("{second}", second[5:]))
    node.wipe = "foreign:2026-12"
    before = node.digest()
    node.boot()
    assert (node.state[2:3] == ["COMMITTED"], bool(node.degraded)) == (taken, not taken)
    assert taken or (node.digest() == before and not node.asked)


def test_a_blank_disk_is_taken_before_one_that_is_in_use(node: Taken, second: str):
    command("mkfs.ext4", "-qF", second)
    node.stands(f"stand dm-9 vg-lv 253:9 {second[5:]}")
    assert node.boot(SAME, disks=second + " {}") == "SAME\n"
    assert (node.state[2], node.degraded, node.asked) == ("COMMITTED", "", [])


def test_a_foreign_disk_that_is_mounted_is_left_alone_and_let_go_for_a_wipe_by_its_serial_number(
    node: Taken,
):
    command("mkfs.ext4", "-qF", node.image)
    elsewhere = node.folder / "else where"
    elsewhere.mkdir()
    whole = f"$(losetup -nO NAME,SIZELIMIT -j {node.image} | awk '$2 == 0 {{ print $1 }}')"
    node.before = (
        f"mount -o ro,noload {whole} '{elsewhere}'; mount --bind '{elsewhere}' {node.root}/home"
    )
    before = node.digest()
    assert f"{node.root}/var tmpfs" in node.boot(MOUNTS)
    assert "FOREIGN: it is in use: /dev/loop" in node.degraded and node.digest() == before
    node.wipe = "force:S3R14L"
    assert node.boot(SAME) == "SAME\n" and node.degraded == ""


def test_swap_that_something_else_switched_on_goes_off_for_a_wipe(node: Taken):
    command("mkswap", node.image)
    whole = f"$(losetup -nO NAME,SIZELIMIT -j {node.image} | awk '$2 == 0 {{ print $1 }}')"
    node.before = f"swapon {whole}"
    node.wipe = "force:S3R14L"
    on = f'grep "^{whole} " /proc/swaps || :'  # of this disk alone: other tests have some, too
    assert node.boot(SAME + on) == "SAME\n" and node.degraded == ""


def test_swap_of_our_own_that_is_on_already_is_fine(node: Taken):
    """systemd switches on what has the right type."""
    node.layout = (
        ("swap", "8", "swap", "pn-swap", "-"),
        ("/var", "rest", "ext4", "pn-var", "/var.ro"),
    )
    off = "swapoff $ROOT/nodes/1"
    node.boot(off)
    node.before = 'swapon "$ROOT/nodes/1"'
    node.boot(off)
    assert node.degraded == "" and "failed" not in node.console


def test_a_volume_is_not_taken_for_another_whose_name_goes_on(node: Taken):
    (node.folder / "mounts").write_text(
        "/dev/mapper/vg-root2 /a ext4\n/dev/mapper/vg-root /b ext4\n/dev/md1p2 /c xfs\n"
    )
    lines = {
        device: node.verb("uses", device, str(node.folder / "mounts"), disk="").split()[1::3]
        for device in ("/dev/mapper/vg-root", "/dev/mapper/vg-", "/dev/md1", "/dev/md12")
    }
    assert lines == {
        "/dev/mapper/vg-root": ["/b"],
        "/dev/mapper/vg-": [],
        "/dev/md1": ["/c"],
        "/dev/md12": [],
    }


# What was there before


LOOK = """\
#!/bin/sh
case $* in *--no-reread*)
  for disk; do :; done
  cp --sparse=always {image} {folder}/seen.img
  flock -n -s $disk true || echo "the disk is locked" >{folder}/log ;;
esac
exec /usr/sbin/real/sfdisk "$@"
"""


def zapped(node: Taken) -> None:
    """A disk that was in use and zapped at both ends only, and whose discard leaves what was there."""
    with open(node.image, "r+b") as file:
        file.seek(MIB)
        file.write(random.Random(3).randbytes((node.mib - 2) * MIB))
    node.program("blkdiscard", "#!/bin/sh\nexit 1\n")


def zeros_at_the_ends(image: Path, table: Path) -> bool:
    """Whether what is empty in `image` is the ends of each partition of the disk `table`, a MiB each, and the gaps."""
    inner = set[int]()
    for start, size in partitions_in_mib(table):
        inner.update(range(start + 1, start + size - 1))
    data = image.read_bytes()
    whole = range(1, len(data) // MIB - 1)
    empty = {mib for mib in whole if not any(data[mib * MIB : (mib + 1) * MIB])}
    return len(inner) > 9 and empty == set(whole) - inner


def partitions_in_mib(table: Path) -> Iterator[tuple[int, int]]:
    """Where each begins, and how large it is, of sfdisk's words; an extended one is none."""
    for row in command("sfdisk", "-d", table).splitlines():
        said = dict(re.findall(r"(start|size|type)= *(\w+)", row))
        if "start" in said and said["type"] != "5":
            yield int(said["start"]) // 2048, int(said["size"]) // 2048


def test_before_there_is_a_table_nothing_is_left_where_a_partition_will_begin_or_end(node: Taken):
    zapped(node)
    node.program("sfdisk", LOOK.format(image=node.image, folder=node.folder))
    assert node.boot(SAME) == "SAME\n" and node.degraded == ""
    seen = node.folder / "seen.img"
    assert zeros_at_the_ends(seen, node.image)
    assert seen.read_bytes()[MIB - 4096 :].split(b" ")[2] == b"CLAIMING"
    assert node.asked == ["the disk is locked"]


def test_a_logical_partition_and_its_own_table_are_emptied_as_well(tmp_path: Path):
    rows = [(f"/m{number}", "4", "ext4", f"m{number}", "-") for number in range(5)]
    node = Taken(tmp_path, layout=(*rows, ("/home", "rest", "ext4", "pn-home", "-")), table="dos")
    zapped(node)
    disk = command("losetup", "-f", "--show", node.image).strip()
    try:
        node.verb("clear_partitions", disk, disk=disk)
        before = node.folder / "before.img"
        before.write_bytes(node.image.read_bytes())
        node.verb("write_table", disk, disk=disk)
    finally:
        command("losetup", "-d", disk)
    assert zeros_at_the_ends(before, node.image)


MKFS = """\
#!/bin/sh
if [ "$1" != -n ] && [ ! -e {folder}/came ]; then
  touch {folder}/came
  disk=$(ls -d {folder}/holders.loop*)
  mkdir -p {folder}/sys/dm-9/holders {folder}/sys/dm-9/slaves
  echo 253:9 >{folder}/sys/dm-9/dev
  ln -s /sys/devices/virtual/block/${{disk##*holders.}} {folder}/sys/dm-9/slaves/
  ln -s {folder}/sys/dm-9 $disk/
  echo "it is apparently in use by the system" >&2
  exit 1
fi
exec /usr/sbin/real/mkfs.ext4 "$@"
"""
EMPTY = """
mkdir {folder}/holders.$disk
mount --bind {folder}/holders.$disk /sys/devices/virtual/block/$disk/holders"""


def test_what_takes_a_new_partition_all_the_same_is_taken_down_and_the_partition_made(node: Taken):
    node.program("mkfs.ext4", MKFS.format(folder=node.folder))
    node.stands(EMPTY.format(folder=node.folder))
    assert node.boot(SAME) == "SAME\n" and (node.state[2], node.degraded) == ("COMMITTED", "")
    assert node.asked == ["dmsetup remove -j 253 -m 9"]
    assert "apparently in use by the system" in node.console


def test_what_takes_it_again_and_again_ends_the_boot_in_memory(node: Taken):
    node.program("mkfs.ext4", MKFS.format(folder=node.folder).replace("touch", ": "))
    node.stands(EMPTY.format(folder=node.folder))
    assert node.boot(MOUNTS).count(" tmpfs") == 3
    assert node.state[2] == "CLAIMING" and "the next boot tries again" in node.degraded
    assert len(node.asked) == 2
