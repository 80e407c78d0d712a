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


HTTP = "/srv/http/plugnode"


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


def test_two_nodes_at_once_whose_addresses_begin_alike_have_their_own_names(
    grid: Grid, machine, tmp_path: Path
):
    """172.24.10.10 is a prefix of 172.24.10.100. The one has NFS 4.2, by the second of its cards, which the loader names."""
    node = machine("wn010", strangers=("52:54:00:ff:00:01",), bus="scsi")
    kernel, initrd, words = node.direct
    node = replace(node, direct=(kernel, initrd, words.replace("vers=3", "vers=4.2")))
    other = firmware(machine("wn100", number=2, bus="nvme"), "bios")
    stories = grid.boot(tmp_path, PowerState((node, other)), dhcp="kea")
    for name, version, device, story in zip(
        ("wn010", "wn100"), ("nfs4", "nfs"), ("/dev/sda", "/dev/nvme0n1p"), stories
    ):
        right(story, name, version=version)
        on_disk(story, device)
    assert stories[0].facts["address"] == "172.24.10.10 eth1"
    by_pxelinux(grid, stories[1])


def by_pxelinux(grid: Grid, story) -> None:
    """It had kernel and initrds by TFTP, and after them its root by NFS."""
    stages = {reached.stage: reached for reached in story.stages}
    assert stages["loader"].text == "pxelinux.0"
    kernel, initrds, _ = grid.boot_lines("light")
    names = [kernel, *initrds]
    assert stages["start"].tftp > sum(
        (grid.served / "tftpboot" / name).stat().st_size for name in names
    )
    assert stages["start"].nfs == 0 < stages["ready"].nfs


def test_a_disk_that_goes_from_node_to_node_keeps_its_data_and_no_name(
    grid: Grid, machine, tmp_path: Path
):
    """From SATA and a card with iPXE to IDE and a new release, and on to UEFI and a root in memory, with no NFS server."""
    node = firmware(machine("wn200", nic="e1000", bus="sata"), "ipxe")
    (first,) = grid.boot(tmp_path, PowerState((node,)), http=HTTP)
    right(first, "wn200")
    on_disk(first, "/dev/sda")
    by_ipxe(grid, first, (tmp_path / "nginx.log").read_text())

    brought = grid.folder / "overlays/probe/var/lib/site/brought"
    brought.parent.mkdir(parents=True, exist_ok=True)
    brought.write_text("by the new release\n")
    grid.deploy()
    other = machine("wn010", bus="ide", disk=node.disk)
    (second,) = grid.boot(tmp_path, PowerState((other,)))
    brought.unlink()
    right(second, "wn010")
    on_disk(second, "/dev/sda", boots=2)
    assert second.facts["release"] != first.facts["release"]
    brought_by = "probe: brought (.*)"
    assert told(second, brought_by) == ["by the new release"] and not told(first, brought_by)
    assert told(second, "setup: (this disk was .*);") == ["this disk was wn200's"]

    fetching = firmware(machine("wn150", disk=node.disk), "uefi")
    (third,) = grid.boot(tmp_path, PowerState((fetching,)), dhcp="dnsmasq", nfs=False, http=HTTP)
    right(third, "wn150")
    on_disk(third, "/dev/vda", boots=3)
    loaders = [reached.text for reached in third.stages if reached.stage == "loader"]
    assert loaders == ["shimx64.efi"] and third.stages[-1].nfs == 0
    release = third.facts["release"]
    size = (grid.served / HTTP.strip("/") / release / "root.erofs").stat().st_size
    assert told(third, "initrd: root root.erofs: (.*), its sha256 is right") == [
        f"{size} bytes from http://172.24.10.1/{release}/root.erofs"
    ]
    for later in second, third:
        assert "format" not in [reached.stage for reached in later.stages]
        for words in "probe: uuids (.*)", "made ssh host key: (.*)":
            assert told(later, words) == told(first, words) != []


def by_ipxe(grid: Grid, story, requests: str) -> None:
    """The card is iPXE: it fetched all of it by HTTP."""
    assert story.stages[-1].tftp == 0
    kernel, initrds, _ = grid.boot_lines("worker")
    asked = re.findall("GET /([^ ]*) ", requests)
    assert asked[0] == "boot.ipxe" and asked[-3:] == [kernel, *initrds]
    card = f"eth0 {NODES['wn200'][0]} e1000"
    assert told(story, r"initrd: network (\w+ [0-9a-f:]{17} .*)") == [card]
