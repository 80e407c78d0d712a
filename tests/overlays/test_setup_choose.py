"""setup.sh and machines of several disks: which one is the node's, and what is said of the others."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loop_disk import MIB, PARTS, SETUP, Node, command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for loop devices and mounts")
MOUNTS = "grep $ROOT /proc/mounts | cut -d' ' -f2,3; "
UDEVADM = """\
#!/bin/sh
for word; do
  case $word in --name=*) echo "ID_SERIAL_SHORT=$(cat {folder}/serial.${{word#--name=/dev/}})" ;; esac
done
"""


class Machine(Node):
    """A node with further disks: each has a serial number of its own, which is the name of its image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        (tools / "udevadm").write_text(UDEVADM.format(folder=self.folder))
        (tools / "udevadm").chmod(0o755)
        self.before = f"mount -t overlay tools -o lowerdir={tools}:/usr/sbin /usr/sbin"
        self.added: list[str] = []

    def attach(self) -> str:
        disk = super().attach()
        (self.folder / f"serial.{disk[5:]}").write_text(f"{self.image.stem.upper()}\n")
        return disk

    def add(self, name: str) -> str:
        """A further disk, blank or of an image that is there."""
        image = self.folder / f"{name}.img"
        if not image.exists():
            command("truncate", "-s", str(self.mib * MIB), image)
        disk = command("losetup", "-f", "--show", image).strip()
        self.added.append(disk)
        (self.folder / f"serial.{disk[5:]}").write_text(f"{name.upper()}\n")
        return disk

    def remove(self) -> None:
        while self.added:
            command("losetup", "-d", self.added.pop())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Machine]:
    node = Machine(tmp_path)
    yield node
    node.remove()


def digest(image: Path) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()


def blank(image: Path) -> bool:
    return not any(image.read_bytes())


def test_the_nodes_own_disk_is_found_whatever_it_is_called_today(node: Machine):
    """The layout names the other one, which is blank."""
    node.boot("echo job >home/own")
    other = node.add("other")
    node.unnamed = ("{}",)
    assert node.boot("cat home/own", disks=other) == "job\n"
    assert node.degraded == "" and blank(node.folder / "other.img")
    assert sorted((node.data / "disks").read_text().split()[2::4]) == ["DISK", "OTHER"]


def test_a_disk_that_the_layout_does_not_name_is_never_claimed(node: Machine):
    other = node.add("other")
    node.unnamed = (other,)
    node.boot()
    assert node.state[2] == "COMMITTED" and blank(node.folder / "other.img")
    node.required = "no"
    node.fresh()
    node.boot(disk=False)
    assert "no disk" in node.console and blank(node.folder / "other.img")


def test_a_blank_disk_is_not_claimed_while_the_nodes_own_may_still_come(node: Machine):
    node.boot("echo job >home/own")
    other, late = node.add("other"), node.folder / "late"
    whole = f"losetup -nO NAME,SIZELIMIT -j {node.image} | awk '$2 == 0 {{ print $1 }}'"
    come = subprocess.Popen(
        ["sh", "-c", f"sleep 3; until [ -b {late} ]; do ln -sfn $({whole}) {late}; sleep 1; done"]
    )
    said = node.boot("cat home/own", disks=f"{other} {late}", env={"WAIT": "20"})
    come.wait()
    assert (said, node.degraded) == ("job\n", "") and blank(node.folder / "other.img")


def test_a_blank_replacement_of_a_dead_disk_is_claimed(node: Machine):
    node.boot("echo job >home/own")
    node.fresh()
    node.boot("ls home/own")
    assert (node.state[2], node.degraded) == ("COMMITTED", "")


@pytest.mark.parametrize("name", ["wn001", "wn007"], ids=["of this node", "of another"])
def test_of_several_that_are_ours_none_is_written_to_until_one_is_picked(node: Machine, name: str):
    node.name = name
    node.boot("echo first >home/own")
    command("cp", node.image, node.folder / "twin.img")
    node.name = "wn001"
    before, twin = node.digest(), node.add("twin")
    assert node.boot(MOUNTS, disks="{} " + twin).count(" tmpfs") == 3
    assert (
        node.digest() == before
        and (node.folder / "twin.img").read_bytes() == node.image.read_bytes()
    )
    assert (
        "several disks are ours: " in node.degraded
        and "match: {serial: …} picks one" in node.degraded
    )
    for serial in ("DISK", "TWIN"):
        assert (
            f"serial {serial}, : ours, COMMITTED, of {name}; wipe: force:{serial} takes it"
            in node.console
        )
    node.match = ("serial DISK",)
    assert node.boot("cat home/own", disks=twin + " {}") == "first\n" and node.degraded == ""


def test_a_token_with_its_serial_number_picks_one_of_several_and_wipes_it_once(node: Machine):
    node.boot("echo first >home/own")
    command("cp", node.image, node.folder / "twin.img")
    before, twin = node.digest(), node.add("twin")
    node.wipe = "force:DISK"
    assert "No such file" in node.boot(
        "cat home/own 2>&1; echo again >home/own", disks=twin + " {}"
    )
    assert node.boot("cat home/own", disks="{} " + twin) == "again\n" and node.degraded == ""
    assert (
        node.digest() != before
        and (node.folder / "twin.img").read_bytes()[:MIB].count(b"COMMITTED") == 1
    )


@pytest.mark.parametrize("what", ["foreign", "ours"])
def test_a_serial_number_that_two_disks_have_takes_neither(node: Machine, what: str):
    """Both namespaces of an NVMe disk have the number of the whole, as have both halves of a dual-actuator one."""
    if what == "ours":
        node.boot("echo mine >home/own")
    else:
        command("mkfs.ext4", "-qF", node.image)
    other = node.add("other")
    command("mkfs.ext4", "-qF", other)
    (node.folder / f"serial.{other[5:]}").write_text("DISK\n")
    before, kept = node.digest(), digest(node.folder / "other.img")
    node.wipe = "force:DISK"
    said = node.boot("cat home/own", disks=other + " {}")
    assert digest(node.folder / "other.img") == kept
    assert (said == "mine\n") if what == "ours" else (node.digest() == before)
    assert f"force:DISK is of several disks, {other} " in node.degraded, node.console
    assert "force:DISK takes it" not in node.console
    assert "No such file" in node.boot("cat home/own 2>&1") and node.degraded == ""
    assert digest(node.folder / "other.img") == kept and "format" in node.console


def volume_group(image: Path) -> None:
    """By LVM itself, which looks at no other disk."""
    disk = command("losetup", "-f", "--show", image).strip()
    only = f'devices{{use_devicesfile=0 filter=["a|^{disk}$|","r|.*|"]}}'
    try:
        command("pvcreate", "-qff", "-y", "--config", only, "--driverloaded", "n", disk)
        command("vgcreate", "-q", "--config", only, "--driverloaded", "n", "centos", disk)
    finally:
        command("losetup", "-d", disk)


CONTENTS = {
    "ext4": (lambda image: command("mkfs.ext4", "-qF", image), "ext4"),
    "a volume group": (volume_group, "LVM2_member"),
    "a table": (lambda image: command("sfdisk", "-q", image, input="label: gpt\n,,\n"), "gpt"),
    "what nobody knows": (lambda image: image.write_bytes(b"?" * 64 * MIB), "nothing known"),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_a_disk_that_is_refused_is_told_with_all_others_and_with_the_token_that_takes_it(
    node: Machine, what: str
):
    make, word = CONTENTS[what]
    other = node.add("other")
    node.unnamed = (other,)
    make(node.image)
    node.boot()
    lines = [line for line in node.console.splitlines() if ": disk /dev/" in line]
    assert len(lines) == 2
    assert f"64 MiB, serial DISK, : {word}; wipe: force:DISK takes it" in lines[0]
    assert "64 MiB, serial OTHER, : nothing known; wipe: force:OTHER takes it" in lines[1]
    node.wipe = "force:DISK"
    node.boot()
    assert (node.state[2], node.degraded) == ("COMMITTED", "")


def test_a_blank_disk_is_taken_before_a_foreign_one_that_is_named_first(node: Machine):
    other = node.add("other")
    command("mkfs.ext4", "-qF", other)
    kept = digest(node.folder / "other.img")
    node.boot(disks=other + " {}")
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    assert digest(node.folder / "other.img") == kept
    node.fresh()
    node.wipe, node.layout = "force:OTHER", (("/var", "500", "ext4", "pn-var", "/var.ro"),)
    node.boot(disks="{} " + other)
    assert f"{other} has 64 MiB, the layout needs 503" in node.degraded, "a token says which"


def test_a_node_without_a_disk_says_why_each_one_is_none(node: Machine):
    node.match = ("size 1G..",)
    node.boot()
    assert "64 MiB, serial DISK, : nothing known; has 64 MiB, not 1G.." in node.console
    assert "FAILED: no disk" in node.console and blank(node.image)


@pytest.mark.parametrize("serial", ["5000C500A1", "ZC1Y2X3W"])
def test_a_scsi_disk_is_meant_by_what_lsblk_shows_and_by_what_udev_calls_short(
    node: Machine, serial: str
):
    both = "ID_SERIAL_SHORT=5000C500A1\\nID_SCSI_SERIAL=ZC1Y2X3W   "
    udevadm = node.folder / "tools/udevadm"
    udevadm.write_text(f'#!/bin/sh\nprintf "{both}\\n"\n')
    node.match = (f"serial {serial}",)
    node.boot("echo job >home/own")
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    node.match, node.wipe = (), f"force:{serial}"
    assert "No such file" in node.boot("cat home/own 2>&1") and node.degraded == ""
    assert " 5000C500A1 " in (node.data / "disks").read_text()
    command("sfdisk", "-q", "--wipe=always", node.image, input="label: gpt\n,,\n")
    assert "FOREIGN" in (node.boot() or node.degraded)


# Disks that several nodes see


@pytest.fixture(params=["dash", "busybox"])
def san(node: Machine, request: pytest.FixtureRequest) -> Machine:
    """A node whose disk is on a network."""
    node.shell = request.param
    node.parts = node.folder / "parts"
    shutil.copytree(PARTS, node.parts)
    with (node.parts / "disk.sh").open("a") as file:
        file.write("network_at() { echo fc; }\n")
    node.match = ("transport fc",)
    return node


def test_a_disk_on_a_network_is_taken_only_where_the_layout_means_that_network(san: Machine):
    for match in ((), ("transport scsi",), ("transport iscsi",)):
        san.match = match
        san.boot()
        assert blank(san.image)
    san.match = ()
    san.boot()
    assert "is on a network; match: {transport: fc} allows that" in san.console
    san.match = ("transport fc",)
    san.boot("echo job >home/own")
    assert (san.state[2], san.degraded) == ("COMMITTED", "")
    san.match = ()
    assert san.boot("cat home/own") == "job\n" and san.degraded == "", "its own, as before"


@pytest.mark.parametrize("state", ["complete", "claimed"])
def test_a_disk_on_a_network_that_another_node_has_is_never_taken(san: Machine, state: str):
    """Where both see it, and this one's own is gone: two nodes would write to one file system."""
    if state == "claimed":
        count = san.cut(0)
        san.fresh()
        san.cut(count // 2)
        assert san.state[2] == "CLAIMING"
    else:
        san.boot("echo theirs >home/own")
    before = san.digest()
    san.address, san.name = "172.24.10.7", "wn007"
    san.also = "172.24.10.100\twn001\t52:54:00:00:00:01\t-\tdefault\t-\n"
    assert "theirs" not in san.boot("cat home/own 2>&1") and san.digest() == before
    assert "of wn001; wipe: force:DISK takes it" in san.console


def test_a_token_gives_a_disk_on_a_network_to_another_node_once(san: Machine):
    san.boot("echo theirs >home/own")
    san.address, san.name = "172.24.10.7", "wn007"
    san.also = "172.24.10.100\twn001\t52:54:00:00:00:01\t-\tdefault\tforce:DISK\n"
    san.wipe = "force:DISK"
    assert "theirs" not in san.boot("cat home/own 2>&1; echo mine >home/own")
    assert (san.state[2], san.state[5], san.degraded) == ("COMMITTED", "wn007", "")
    assert san.boot("cat home/own") == "mine\n" and "format" not in san.console
    before = san.digest()
    san.address, san.name = "172.24.10.100", "wn001"
    san.also = "172.24.10.7\twn007\t52:54:00:00:00:07\t-\tdefault\tforce:DISK\n"
    san.boot()
    assert san.digest() == before, "a token of a whole group hands it round no further"


def test_a_disk_on_a_network_is_free_when_its_node_is_no_longer_in_the_site(san: Machine):
    san.boot("echo job >home/own")
    san.name = "wn101"
    assert san.boot("cat home/own") == "job\n" and san.degraded == ""


def test_of_two_nodes_that_claim_a_disk_on_a_network_at_once_one_makes_it(san: Machine):
    """The other's claim is written while this one waits whether there will be any."""
    with (san.parts / "provision.sh").open("a") as file:
        file.write('sleep() { (NODE=wn002 && write_state "$DISK" CLAIMING -); }\n')
    san.boot()
    assert (san.state[2], san.state[5]) == ("CLAIMING", "wn002")
    assert "was claimed by wn002 as well, and is left to it" in san.console
    assert "partition" not in san.console and "could not be provisioned" in san.degraded


# Second-hand machines


def test_a_group_can_have_the_foreign_disks_of_all_its_nodes_taken_once(node: Machine):
    command("mkfs.ext4", "-qF", node.image)
    node.wipe = "foreign:2026-12"
    node.boot("echo job >home/own")
    assert (node.state[2], node.degraded) == ("COMMITTED", "")
    assert node.boot("cat home/own") == "job\n" and "format" not in node.console


def test_a_groups_word_is_no_wish_to_wipe_a_disk_that_is_ours(node: Machine):
    node.boot("echo job >home/own")
    node.wipe, node.cmdline = "foreign:2026-12", "plugnode.wipe=foreign:2027-01"
    assert node.boot("cat home/own") == "job\n"
    assert "format" not in node.console and node.state[3] == "-"


def other_site(node: Machine) -> None:
    other = Node(node.folder / "elsewhere", site="elsewhere")
    other.boot()
    node.take(other.image)


def damaged(node: Machine) -> None:
    """Its own state sector is lost, and with it what was remembered."""
    node.boot("echo job >home/own")
    with open(node.image, "r+b") as file:
        file.seek(MIB - 4096)
        file.write(bytes(512))


def of_an_earlier_release(node: Machine) -> None:
    """The same, and nothing beside it; its file systems are there."""
    damaged(node)
    with open(node.image, "r+b") as file:
        file.seek(MIB - 4096)
        file.write(bytes(4096))


def one_of_two(node: Machine) -> None:
    command("mkfs.ext4", "-qF", node.image)


KEPT = {
    other_site: "is a disk of Plugnode",
    damaged: "was a disk of Plugnode",
    of_an_earlier_release: "was a disk of Plugnode",
    one_of_two: "is not the only one that devices and match mean",
}


@pytest.mark.parametrize("what", KEPT, ids=lambda what: what.__name__)
def test_a_groups_word_takes_no_disk_that_may_be_anybodys_data(node: Machine, what):
    what(node)
    before = node.digest()
    node.wipe = "foreign:2026-12"
    second = node.add("second") if what is one_of_two else ""
    if second:
        command("mkfs.ext4", "-qF", second)
    assert node.boot(MOUNTS, disks="{} " + second).count(" tmpfs") == 3
    assert node.digest() == before and KEPT[what] in node.console and node.degraded


# How long is waited


WAITS = {  # what is known after so many seconds: whether that is enough
    "the node's own, at once": (0, "mine /dev/sda", "", "/dev/sd?", True),
    "another's of the site, at once": (0, "ours /dev/sda", "", "/dev/sda", False),
    "another's of the site, after a while": (5, "ours /dev/sda", "", "/dev/sd?", True),
    "nothing": (29, "", "", "/dev/null", False),
    "all that the layout means, at once": (0, "", "{disk}", "{disk}", False),
    "all that the layout means, after a while": (5, "", "{disk}", "{disk}", True),
    "not all of it": (29, "", "{disk}", "{disk} /dev/nosuchdisk", False),
    "a pattern, which may mean more": (29, "", "{disk}", "/dev/loop*", False),
}


@pytest.mark.parametrize("what", WAITS)
def test_a_claim_waits_until_nothing_more_can_come(node: Machine, what: str):
    seconds, ours, disks, devices, enough = WAITS[what]
    disk = node.add("other")
    node.site_data("")
    layout = "".join(f"device {device}\n" for device in devices.format(disk=disk).split())
    work = node.data / "setup"
    work.mkdir()
    for name, text in (("ours", ours), ("disks", disks.format(disk=disk))):
        (work / name).write_text(text and text + "\n")
    (node.folder / "layout").write_text(layout)
    script = f"set -- :; . {SETUP}; LAYOUT_FILE={node.folder}/layout; if enough {seconds}; then echo yes; fi"
    env = {**os.environ, "ROOT": str(node.root), "PARTS": str(PARTS)}
    said = subprocess.run(
        ["dash", "-c", script, str(SETUP)], env=env, capture_output=True, text=True, check=True
    )
    assert said.stdout == ("yes\n" if enough else "")
