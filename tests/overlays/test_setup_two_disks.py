"""setup.sh with two disks, each with a layout of its own: real loop devices. Arrays are tried in virtual machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.loop_disk import LAYOUT, SAME
from tests.support.two_disks import ALL_MOUNTED, MOUNTS, TwoDisks

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for loop devices and mounts")
OWN = "cat var/lib/own scratch/own | tr '\\n' ' '; "


@pytest.fixture
def node(tmp_path: Path) -> TwoDisks:
    return TwoDisks(tmp_path)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_each_layout_has_its_disk_wherever_it_stands_in_the_list_later(node: TwoDisks, shell: str):
    node.shell = shell
    said = node.boot(f"{MOUNTS}{SAME}echo mine >var/lib/own; echo data >scratch/own")
    assert said == f"{ALL_MOUNTED}SAME\n" and not node.degraded, node.console
    committed = node.states
    assert [[*words[:1], *words[2:4], *words[6:8]] for words in committed] == [
        ["PLUGNODE2", "COMMITTED", "-", "pn-var", "-"],
        ["PLUGNODE2", "COMMITTED", "-", "pn-scratch", "-"],
    ]
    node.several = (1, 0)
    assert node.boot(MOUNTS + OWN) == f"{ALL_MOUNTED}mine data " and not node.degraded
    assert node.states == committed and "format" not in node.console


def test_a_nodes_only_disk_of_before_is_that_of_the_first_layout(node: TwoDisks):
    node.several = ()
    before = Only(node.folder)
    before.boot("echo mine >var/lib/own")
    assert not before.degraded, before.console
    node.several = (0, 1)
    assert node.boot(f"{MOUNTS}cat var/lib/own") == f"{ALL_MOUNTED}mine\n" and not node.degraded
    assert [words[0] for words in node.states] == ["PLUGNODE1", "PLUGNODE2"]


class Only(TwoDisks):
    """The node when its site knew one disk."""

    several = ()

    def site_data(self, disk: str) -> None:
        super().site_data(disk.split(" ")[0])


def test_a_disk_of_a_layout_that_is_gone_is_no_others(node: TwoDisks):
    node.boot("echo data >scratch/own")
    node.several = (0,)
    node.boot()
    left = node.states[1]
    node.several = ()  # one disk, and both are named
    assert node.boot(MOUNTS) == "/home ext4 /tmp ext3 /var ext4 " and not node.degraded
    assert node.states[1] == left and "pn-scratch" in left


def test_a_foreign_disk_costs_its_own_layout_and_no_other(node: TwoDisks):
    with open(node.image, "r+b") as file:
        file.seek(64 << 20)
        file.write(b"somebody's")
    assert node.boot(MOUNTS) == "/home ext4 /scratch tmpfs /spool tmpfs /tmp ext3 /var ext4 "
    assert "is not touched, FOREIGN" in node.degraded and node.states[1] == []


def test_a_wipe_is_of_all_disks_but_one_by_a_serial_number_is_of_no_other(node: TwoDisks):
    mine = "echo mine >var/lib/own; echo data >scratch/own"
    node.boot(mine)
    node.wipe = "force:NOBODYS"
    assert node.boot(OWN) == "mine data " and "format" not in node.console
    node.wipe = "t1"
    assert node.boot(MOUNTS) == ALL_MOUNTED and not node.degraded
    assert node.boot("ls var/lib/own scratch/own 2>/dev/null") == ""
    tokens = [words[3] for words in node.states]
    assert tokens[0] == tokens[1] != "-"


class Nested(TwoDisks):
    """One disk is mounted below a folder of the other, which has no such folder at first."""

    layouts = (
        LAYOUT,
        (
            ("/home/scratch", "24", "ext4", "pn-scratch", "-"),
            ("/home/z", "rest", "ext4", "pn-z", "-"),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scratch", "z"):
            (self.root / "home" / name).mkdir(exist_ok=True)
        (self.root / "home/scratch").chmod(0o1777)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
@pytest.mark.parametrize("several", [(0, 1), (1, 0)], ids=["outer first", "inner first"])
def test_a_disk_is_mounted_below_another_whichever_is_served_first(
    tmp_path: Path, several: tuple[int, ...], shell: str
):
    node = Nested(tmp_path, shell=shell)
    node.several = several
    mounts = "/home ext4 /home/scratch ext4 /home/z ext4 /tmp ext3 /var ext4 "
    look = "stat -c %a home/scratch; "
    mine = "echo job >home/scratch/own; echo user >home/own; echo z >home/z/own"
    assert node.boot(MOUNTS + look + mine) == f"{mounts}1777\n" and not node.degraded
    shown = "cat home/scratch/own home/own home/z/own 2>/dev/null | tr '\\n' ' '"
    assert node.boot(MOUNTS + look + shown) == f"{mounts}1777\njob user z " and not node.degraded
    node.boot("touch var/wipe")
    assert node.boot(MOUNTS + shown).startswith(mounts + "job z ") and not node.degraded


def test_memory_does_not_cover_a_disk_that_is_mounted_below_it(tmp_path: Path):
    node = Nested(tmp_path)
    node.boot("echo job >home/scratch/own")
    with open(node.image, "r+b") as file:
        file.write(b"somebody's".ljust(1 << 20))
    assert "/home tmpfs /home/scratch ext4 " in node.boot(MOUNTS + "cat home/scratch/own")
    assert node.boot("cat home/scratch/own") == "job\n"
