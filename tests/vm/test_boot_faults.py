"""Worker nodes for which something is not as it should be: each says what, at which stage, in bounded time."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.archive import cpio
from tasks.core.base.files import digest_file
from tasks.core.lab.run import PowerState
from tests.support import el5_site
from tests.support.el5_site import right
from tests.support.vm_site import Grid, disk, firmware, told

grid, machine = el5_site.grid, el5_site.machine  # fixtures
pytestmark = [pytest.mark.vm, pytest.mark.network, pytest.mark.timeout(3000)]

PANIC = "Kernel panic"


def test_a_foreign_disk_is_never_touched_and_the_node_comes_up_in_memory(
    grid: Grid, machine, tmp_path: Path
):
    path = disk(tmp_path)
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", path], check=True)
    before = digest_file(path)
    node = machine("wn010", disk=path)
    cut = PowerState((replace(node, firmware="uefi"),), until="setup: DEGRADED")
    first, again = grid.boot(tmp_path, cut, PowerState((node,)))
    assert digest_file(path) == before
    assert first.off == "cut"
    right(again, "wn010")
    assert again.facts["mount /var"] == "plugnode tmpfs rw"
    assert any("/dev/vda is not touched" in why for why in again.degraded)


def test_a_node_without_its_disk_says_so_and_takes_no_work(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None, extra="plugnode.wait=2")
    powers = [
        PowerState((each,), until="setup: FAILED: .* again in")
        for each in (node, replace(node, firmware="uefi"))
    ]
    for story in grid.boot(tmp_path, *powers):
        assert not story.ended and "ready" not in [reached.stage for reached in story.stages]
        assert told(story, "setup: FAILED: (no disk.*)")[0].startswith(
            "no disk: none of /dev/sda /dev/hda /dev/vda"
        )


def test_a_stranger_gets_nothing(grid: Grid, machine, tmp_path: Path):
    stranger = replace(firmware(machine("wn010", disk=None), "bios"), mac="52:54:00:ff:ff:ff")
    (story,) = grid.boot(tmp_path, PowerState((stranger,), seconds=60))
    assert {"dhcp", "loader"}.isdisjoint(reached.stage for reached in story.stages)
    assert story.ended


def test_a_kernel_that_is_not_served_is_named(grid: Grid, machine, tmp_path: Path):
    kernel, _, _ = grid.boot_lines("light")
    path = grid.served / "tftpboot" / kernel
    away = path.rename(tmp_path / "vmlinuz")
    try:
        node = firmware(machine("wn010", disk=None), "bios")
        (story,) = grid.boot(
            tmp_path, PowerState((node,), until=r"vmlinuz\.\.\..*failed", seconds=60)
        )
    finally:
        away.rename(path)
    assert not story.ended
    assert f"{kernel}: File not found" in story.tftp_errors


def test_secure_boot_refuses_a_kernel_that_nobody_signed(grid: Grid, machine, tmp_path: Path):
    kernel, _, _ = grid.boot_lines("light")
    path = grid.served / "tftpboot" / kernel
    signed = path.read_bytes()
    path.write_bytes(without_signature(signed))
    try:
        node = firmware(machine("wn010", disk=None), "secure")
        (story,) = grid.boot(tmp_path, PowerState((node,), until="bad shim signature"), dhcp="kea")
    finally:
        path.write_bytes(signed)
    assert not story.ended
    assert "linux" not in [reached.stage for reached in story.stages]


def without_signature(kernel: bytes) -> bytes:
    """A PE32+ program as it was before it was signed: no certificate table (PE format, data directory 4)."""
    start = struct.unpack_from("<I", kernel, 0x3C)[0] + 4 + 20  # of the optional header
    assert kernel[start : start + 2] == b"\x0b\x02"
    at, size = struct.unpack_from("<II", kernel, start + 112 + 4 * 8)
    assert at + size == len(kernel) and size
    bare = bytearray(kernel[:at])
    struct.pack_into("<II", bare, start + 112 + 4 * 8, 0, 0)
    return bytes(bare)


def test_an_nfs_server_that_is_down_is_named_and_the_node_starts_over(
    grid: Grid, machine, tmp_path: Path
):
    node = machine("wn010", disk=None, extra="plugnode.wait=5")
    (story,) = grid.boot(
        tmp_path, PowerState((node,), until="initrd: reboot in", died=PANIC), nfs=False
    )
    assert not story.ended
    assert len(told(story, "initrd: root 172.24.10.1:.*: (.*); waiting")) == 3
    (reason,) = told(story, "plugnode: initrd: FAILED at (.*)")
    assert reason.startswith("root: cannot mount 172.24.10.1:/opt/nfs_export/light-")


def test_a_path_that_is_not_exported_is_named(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None, extra="plugnode.wait=2")
    kernel, initrd, words = node.direct
    node = replace(
        node, direct=(kernel, initrd, words.replace("/opt/nfs_export/", "/opt/elsewhere/"))
    )
    (story,) = grid.boot(tmp_path, PowerState((node,), until="initrd: reboot in", died=PANIC))
    assert not story.ended
    (reason,) = told(story, "plugnode: initrd: FAILED at (.*)")
    assert reason.startswith("root: cannot mount 172.24.10.1:/opt/elsewhere/light-")
    assert reason.endswith(": Permission denied: does the server export it to this address?")


def test_a_card_without_its_driver_is_said_to_be_missing(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None, nic="pcnet", extra="plugnode.wait=2")
    (story,) = grid.boot(tmp_path, PowerState((node,), until="initrd: reboot in", died=PANIC))
    assert not story.ended
    (reason,) = told(story, "plugnode: initrd: FAILED at (.*)")
    assert "no network card with the MAC 52:54:00:aa:00:10" in reason and "initrd.modules" in reason


def test_an_initrd_without_its_nfs_module_says_what_the_kernel_lacks(
    grid: Grid, machine, tmp_path: Path
):
    """The build never makes one (tests/core/initrd/test_build.py); a module that does not load ends the same."""
    node = machine("wn010", disk=None, extra="plugnode.wait=2")
    kernel, initrds, words = node.direct
    Path(initrds).write_bytes(without(Path(initrds).read_bytes(), b"/nfs.ko"))
    (story,) = grid.boot(tmp_path, PowerState((node,), until="initrd: reboot in", died=PANIC))
    assert not story.ended
    assert told(story, "initrd: modules: (nfs) not loaded")
    (reason,) = told(story, "plugnode: initrd: FAILED at (.*)")
    assert reason.startswith("root: cannot mount 172.24.10.1:/opt/nfs_export/light-")
    assert reason.endswith(
        ": No such device: this kernel has no NFS, or the initrd lacks its module"
    )


def without(image: bytes, name: bytes) -> bytes:
    """An initrd, its first part less a file."""
    tree = cpio.read_image(image, "initrd").tree
    return cpio.write_newc({path: entry for path, entry in tree.items() if not path.endswith(name)})


def test_debugging_gives_a_shell_where_it_failed(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", disk=None, extra="plugnode.debug nfsroot=nowhere")
    (story,) = grid.boot(tmp_path, PowerState((node,), until="plugnode.debug: a shell", died=PANIC))
    assert not story.ended
    assert told(story, "FAILED at (.*)")[0].startswith(
        "root: nfsroot=nowhere on the kernel command line is not"
    )
