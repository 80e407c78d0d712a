"""Worker nodes for which something is not as it should be: each says what, at which stage, in bounded time."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import el5_site
import pytest
from el5_site import right
from tasks.core.boot import Power
from tasks.core.files import digest_file
from vms import Grid, disk, firmware, told

grid, machine = el5_site.grid, el5_site.machine  # fixtures
pytestmark = [pytest.mark.vm, pytest.mark.network, pytest.mark.timeout(600)]

PANIC = "Kernel panic"


def test_a_foreign_disk_is_not_touched_and_the_node_comes_up_in_memory(grid: Grid, machine, tmp_path: Path):
    path = disk(tmp_path)
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", path], check=True)
    before = digest_file(path)
    (story,) = grid.boot(tmp_path, Power((machine("wn010", disk=path),)))
    assert digest_file(path) == before
    right(story, "wn010")
    assert story.facts["mount /var"] == "plugnode tmpfs rw"
    assert any("/dev/vda is not touched" in why for why in story.degraded)


def test_a_node_without_its_disk_says_so_and_takes_no_work(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None, extra="plugnode.wait=2")
    (story,) = grid.boot(tmp_path, Power((node,), until="setup: FAILED: .* again in"))
    assert not story.ended and "ready" not in [reached.stage for reached in story.stages]
    assert told(story, "setup: FAILED: (no disk.*)")[0].startswith("no disk: none of /dev/sda /dev/hda /dev/vda")


def test_a_stranger_gets_nothing(grid: Grid, machine, tmp_path: Path):
    stranger = replace(firmware(machine("wn010", disk=None), "bios"), mac="52:54:00:ff:ff:ff")
    (story,) = grid.boot(tmp_path, Power((stranger,), seconds=60))
    assert {"dhcp", "loader"}.isdisjoint(reached.stage for reached in story.stages)
    assert story.ended


def test_a_kernel_that_is_not_served_is_named(grid: Grid, machine, tmp_path: Path):
    kernel, _, _ = grid.boot_lines("light")
    path = grid.served / "tftpboot" / kernel
    away = path.rename(tmp_path / "vmlinuz")
    try:
        node = firmware(machine("wn010", disk=None), "bios")
        (story,) = grid.boot(tmp_path, Power((node,), until=r"vmlinuz\.\.\..*failed", seconds=60))
    finally:
        away.rename(path)
    assert not story.ended
    assert f"{kernel}: File not found" in story.tftp_errors


def test_an_nfs_server_that_is_down_is_named_and_the_node_starts_over(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None)
    (story,) = grid.boot(tmp_path, Power((node,), until="initrd: reboot in", died=PANIC), nfs=False)
    assert not story.ended
    (reason,) = told(story, "plugnode: initrd: FAILED at (.*)")
    assert reason.startswith("root: cannot mount 172.24.10.1:/opt/nfs_export/light-")


def test_a_card_without_its_driver_is_said_to_be_missing(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None, nic="pcnet")
    (story,) = grid.boot(tmp_path, Power((node,), until="initrd: reboot in", died=PANIC))
    assert not story.ended
    (reason,) = told(story, "plugnode: initrd: FAILED at (.*)")
    assert "no network card with the MAC 52:54:00:aa:00:10" in reason and "initrd.modules" in reason


def test_debugging_gives_a_shell_where_it_failed(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None, extra="plugnode.debug nfsroot=nowhere")
    (story,) = grid.boot(tmp_path, Power((node,), until="plugnode.debug: a shell", died=PANIC))
    assert not story.ended
    assert told(story, "FAILED at (.*)")[0].startswith("root: nfsroot=nowhere on the kernel command line is not")
