"""What a node's virtual machine is made of."""

from __future__ import annotations

import os

import pytest

from tasks.core.lab import machine
from tasks.core.site.model import Disk, Partition, Raid


@pytest.mark.parametrize(
    "devices, bus",
    [
        (("/dev/sda", "/dev/hda"), "sata"),
        (("/dev/hda",), "ide"),
        (("/dev/nvme*n1",), "nvme"),
        (("/dev/vd?",), "virtio"),
        (("/dev/disk/by-id/ata-*",), "sata"),
        ((), "sata"),
    ],
)
def test_a_disk_is_plugged_in_where_its_layout_looks_for_it(devices, bus):
    assert machine.bus(Disk(devices=devices)) == bus


@pytest.mark.parametrize(
    "kind, modules, card",
    [
        ("own", ["nfs", "e1000"], "e1000"),
        ("nash", ["pcnet32"], "pcnet"),
        ("own", ["e1000", "virtio_net"], "virtio"),
        ("own", ["tg3"], "virtio"),
        ("dracut", ["e1000"], "virtio"),
    ],
)
def test_the_card_is_one_that_the_initrd_has_the_driver_of(kind, modules, card):
    assert machine.card({"kind": kind, "modules": modules}) == card


def test_an_empty_disk_has_room_for_its_layout_and_nothing_of_the_last_boot(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(b"what another boot left")
    parts = (Partition("/var", 100 << 10, "ext4", "var"), Partition("/home", None, "ext4", "home"))
    assert machine.empty_disk(str(image), Disk(partitions=parts)) == str(image)
    assert image.stat().st_size == (100 << 30) + (64 << 20)
    assert image.stat().st_blocks == 0


def test_a_node_has_a_disk_for_each_that_its_layouts_take(tmp_path):
    scratch = Disk(("/dev/nvme0n1",), raid=Raid(level=0, devices=2))
    files = machine.empty_disks(f"{tmp_path}/disk", (Disk(("/dev/vda",)), scratch))
    assert [bus for _, bus in files] == ["virtio", "nvme", "nvme"]
    assert len({os.stat(path).st_ino for path, _ in files}) == 3


def test_a_root_has_systemd_wherever_the_distribution_put_it(tmp_path):
    assert not machine.has_systemd(str(tmp_path))
    place = tmp_path / "lib/systemd"
    place.mkdir(parents=True)
    (place / "systemd").symlink_to("/not/on/this/machine")
    assert machine.has_systemd(str(tmp_path))
