"""Worker nodes of EL5's shape, booted for real: firmware, DHCP, TFTP, kernel, initrd, NFS root, disk."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.lab.run import PowerState
from tests.support import el5_site
from tests.support.el5_site import NODES, on_disk, right
from tests.support.vm_site import Grid, firmware, told

grid, machine = el5_site.grid, el5_site.machine  # fixtures
pytestmark = [pytest.mark.vm, pytest.mark.network, pytest.mark.timeout(3000)]


def test_the_origins_node_boots_and_boots_again(grid: Grid, machine, tmp_path: Path):
    """A nash image, pcnet with mii and pcnet32, an IDE disk as /dev/sda, ext3, NFSv3 over TCP, nolock."""
    node = machine("wn200", nic="pcnet", bus="ide")
    console = machine("wn200", nic="pcnet", bus="ide", disk=node.disk, extra="plugnode.debug")
    first, again = grid.boot(tmp_path, PowerState((node,)), PowerState((console,), then="poweroff"))
    right(first, "wn200")
    on_disk(first, "/dev/sda")
    assert told(first, "^(Plugnode network root)$")
    assert told(first, r"initrd: network (.*)") == [f"eth0 {NODES['wn200'][0]} pcnet32"]
    right(again, "wn200")
    on_disk(again, "/dev/sda", boots=2)
    assert told(again, "probe: uuids (.*)") == told(first, "probe: uuids (.*)")
    assert "format" not in [stage.stage for stage in again.stages]
    assert again.off == "by itself"  # root at the console said poweroff


def test_a_bios_boots_by_pxelinux_from_kea_to_nvme(grid: Grid, machine, tmp_path: Path):
    node = firmware(machine("wn100", bus="nvme"), "bios")
    (story,) = grid.boot(tmp_path, PowerState((node,)), dhcp="kea")
    right(story, "wn100")
    on_disk(story, "/dev/nvme0n1p")
    stages = {reached.stage: reached for reached in story.stages}
    assert stages["loader"].text == "pxelinux.0"
    assert stages["start"].tftp > sum(
        (grid.served / "tftpboot" / name).stat().st_size for name in files(grid, "light")
    )
    assert stages["start"].nfs == 0 < stages["ready"].nfs


HTTP = "/srv/http/plugnode"


def test_uefi_boots_by_grub_from_dnsmasq_and_a_root_in_memory_keeps_the_disk(
    grid: Grid, machine, tmp_path: Path
):
    """The second time it is another node, which fetches its root by HTTP and has no NFS server."""
    node = firmware(machine("wn100"), "uefi")
    (tmp_path / "another").mkdir()  # with firmware of its own
    fetching = firmware(machine("wn150", disk=node.disk, work=str(tmp_path / "another")), "uefi")
    (first,) = grid.boot(tmp_path, PowerState((node,)), dhcp="dnsmasq")
    (again,) = grid.boot(tmp_path, PowerState((fetching,)), dhcp="dnsmasq", nfs=False, http=HTTP)
    for boots, (name, story) in enumerate((("wn100", first), ("wn150", again)), 1):
        right(story, name)
        on_disk(story, "/dev/vda", boots)
        assert [reached.text for reached in story.stages if reached.stage == "loader"] == [
            "shimx64.efi"
        ]
    assert "format" not in [reached.stage for reached in again.stages]
    assert again.stages[-1].nfs == 0
    release = again.facts["release"]
    size = (grid.served / HTTP.strip("/") / release / "root.erofs").stat().st_size
    assert told(again, "initrd: root root.erofs: (.*), its sha256 is right") == [
        f"{size} bytes from http://172.24.10.1/{release}/root.erofs"
    ]


def test_a_root_on_the_disk_is_fetched_once_and_boots_when_no_server_has_it_any_more(
    grid: Grid, machine, tmp_path: Path
):
    """By BIOS twice; the second time there is no HTTP server and no NFS server."""
    node = firmware(machine("wn160"), "bios")
    (first,) = grid.boot(tmp_path, PowerState((node,)), nfs=False, http=HTTP)
    (again,) = grid.boot(tmp_path, PowerState((node,)), nfs=False)
    release = first.facts["release"]
    right(first, "wn160", root=f"ram:{release}")
    right(again, "wn160", root=f"disk:{release}")
    for boots, story in enumerate((first, again), 1):
        on_disk(story, "/dev/vda", boots, numbers=(1, 2, 4))
    assert told(first, r"setup: keep (\S+)\.[0-9a-f]{64}\.erofs on /dev/vda3") == [release]
    assert again.facts["root"].endswith(" bytes on /dev/vda3 from here, its sha256 is right")


def test_a_card_with_ipxe_boots_by_boot_ipxe_to_sata(grid: Grid, machine, tmp_path: Path):
    node = firmware(machine("wn200", nic="e1000", bus="sata"), "ipxe")
    (story,) = grid.boot(tmp_path, PowerState((node,)), http=HTTP)
    right(story, "wn200")
    on_disk(story, "/dev/sda")
    assert story.stages[-1].tftp == 0  # the card is iPXE: it fetches all of it by HTTP
    requests = re.findall("GET /([^ ]*) ", (tmp_path / "nginx.log").read_text())
    kernel, initrds, _ = grid.boot_lines("worker")
    assert requests[0] == "boot.ipxe" and requests[-3:] == [kernel, *initrds]
    card = f"eth0 {NODES['wn200'][0]} e1000"
    assert told(story, r"initrd: network (\w+ [0-9a-f:]{17} .*)") == [card]


def files(grid: Grid, image: str) -> list[str]:
    kernel, initrds, _ = grid.boot_lines(image)
    return [kernel, *initrds]


def test_two_nodes_at_once_whose_addresses_begin_alike_have_their_own_names(
    grid: Grid, machine, tmp_path: Path
):
    """172.24.10.10 is a prefix of 172.24.10.100."""
    nodes = machine("wn010"), machine("wn100", number=1)
    for name, story in zip(("wn010", "wn100"), grid.boot(tmp_path, PowerState(nodes))):
        right(story, name)
        on_disk(story, "/dev/vda")


def test_a_disk_that_comes_to_another_node_with_a_new_release_keeps_its_data_and_no_name(
    grid: Grid, machine, tmp_path: Path
):
    (before,) = grid.boot(tmp_path, PowerState((machine("wn100", bus="ide"),)))
    on_disk(before, "/dev/sda")
    brought = grid.folder / "overlays/probe/var/lib/site/brought"
    brought.parent.mkdir(parents=True, exist_ok=True)
    brought.write_text("by the new release\n")
    grid.deploy()
    (after,) = grid.boot(
        tmp_path, PowerState((machine("wn010", bus="ide", disk=str(tmp_path / "wn100.img")),))
    )
    brought.unlink()
    right(after, "wn010")
    on_disk(after, "/dev/sda", boots=2)
    assert told(after, "probe: (var .*)") == ["var lacks"]
    assert after.facts["release"] != before.facts["release"]
    assert told(after, "probe: uuids (.*)") == told(before, "probe: uuids (.*)")
    assert told(after, "probe: brought (.*)") == ["by the new release"] and not told(
        before, "probe: brought (.*)"
    )
    assert told(after, "setup: (this disk was .*);") == ["this disk was wn100's"]
    assert told(after, "made ssh host key: (.*)") == told(before, "made ssh host key: (.*)") != []


def test_nfs_version_4_by_the_card_that_the_loader_names(grid: Grid, machine, tmp_path: Path):
    node = machine("wn010", strangers=("52:54:00:ff:00:01",), bus="scsi")
    kernel, initrd, words = node.direct
    node = replace(node, direct=(kernel, initrd, words.replace("vers=3", "vers=4.2")))
    (story,) = grid.boot(tmp_path, PowerState((node,)))
    assert story.facts["mount /"].endswith(" nfs4 ro")
    assert story.facts["address"] == "172.24.10.10 eth1"
    assert story.facts["name"] == "wn010"
