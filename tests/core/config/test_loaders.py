"""`loader:` of nodes: what each DHCP server names, to real clients of every kind of firmware."""

from __future__ import annotations

import os

import pytest

from tasks.core.config import render
from tasks.core.site.load import read_site
from tests.support import dhcp_client

SITE = """\
site: loaders
network: {subnet: 172.24.10.0/24}
servers: {boot1: {ip: 172.24.10.1}}
images: {worker: {reference: {path: .}, loader: grub}}
groups: {old: {loader: pxelinux}, new: {loader: ipxe}}
nodes:
  wn001: {mac: "52:54:00:00:00:01", ip: 172.24.10.101}
  wn002: {mac: "52:54:00:00:00:02", ip: 172.24.10.102, groups: [new, old]}
  wn003: {mac: "52:54:00:00:00:03", ip: 172.24.10.103, groups: [old], loader: ipxe}
  wn004: {client_id: rack1-slot7, ip: 172.24.10.104, groups: [new]}
"""
IPXE = "0x4d:69505845"
FIRMWARE = (["0x5d:0000"], ["0x5d:0007"], ["0x5d:0000", IPXE], ["0x5d:0009", IPXE], [])
NAMED = {
    "grub": ["pxelinux.0", "grubnetx64.efi", "boot.ipxe", "grubnetx64.efi", "pxelinux.0"],
    "pxelinux": ["pxelinux.0", render.LOADERS["uefi"], "pxelinux.0", "boot.ipxe", "pxelinux.0"],
    "ipxe": ["undionly.kpxe", "ipxe.efi", "boot.ipxe", "boot.ipxe", "undionly.kpxe"],
}


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
def test_a_node_is_named_the_loader_that_its_image_group_or_itself_says(server, tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    site = read_site(str(tmp_path / "site.yaml"), ())[0]
    assert [node.loader for node in site.nodes] == ["grub", "pxelinux", "ipxe", "ipxe"]
    for path, data in render.render_configs(site).items():
        if "/" not in path:
            (tmp_path / path).write_bytes(data)
    asked = []
    for node in site.nodes:
        known_by = {"mac": node.mac or "52:54:00:00:00:99"}
        if not node.mac:
            known_by["client_id"] = b"rack1-slot7".hex()
        asked += [{**known_by, "options": options} for options in FIRMWARE]
    answers, _ = dhcp_client.shake(tmp_path, server, asked, "172.24.10.1/24")
    told = [answer.get("bootfile") or answer.get("boot_file") for answer in answers]
    assert told == NAMED["grub"] + NAMED["pxelinux"] + NAMED["ipxe"] * 2
