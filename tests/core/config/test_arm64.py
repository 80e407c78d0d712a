"""A site of nodes with both processors: each firmware is told its own loader, by every DHCP server."""

from __future__ import annotations

import os

import pytest

from tasks.core.config import render
from tasks.core.site.load import read_site
from tests.support import dhcp_client

SITE = """\
site: mixed
network: {{subnet: 172.24.10.0/24}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
  worker: {{reference: {{path: .}}}}
  arm: {{reference: {{path: .}}, arch: arm64}}
groups: {{arm: {{image: arm, arch: arm64}}}}
nodes:
  wn001: {{mac: "52:54:00:00:00:01", ip: 172.24.10.101, image: worker}}
  wn002: {{mac: "52:54:00:00:00:02", ip: 172.24.10.102, groups: [arm]}}
  wn003: {{mac: "52:54:00:00:00:03", ip: 172.24.10.103, groups: [arm], loader: grub}}
  wn004: {{mac: "52:54:00:00:00:04", ip: 172.24.10.104, groups: [arm], loader: ipxe}}
deploy: {{tftp_root: {folder}, http: nginx}}
"""
ARM64, PC = "0x5d:000b", "0x5d:0007"
BY_HTTP = ["0x5d:0013", "HTTPClient:Arch:00019:UNDI:003001"]
IPXE = "0x4d:69505845"
FILES = [  # the last digit of the card, what it sends, the file that it is named
    (1, [PC], "shimx64.efi"),
    (1, [ARM64], "shimaa64.efi"),
    (2, [ARM64], "shimaa64.efi"),
    (2, [], "pxelinux.0"),
    (2, BY_HTTP, "http://172.24.10.1/ipxe-arm64.efi"),
    (2, [ARM64, IPXE], "http://172.24.10.1/boot.ipxe"),
    (3, [ARM64], "grubaa64.efi"),
    (3, [PC], "grubnetx64.efi"),
    (4, [ARM64], "ipxe-arm64.efi"),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
def test_a_real_client_of_either_processor_gets_the_right_loader(server, tmp_path):
    (tmp_path / "site.yaml").write_text(SITE.format(folder=tmp_path))
    for path, data in render.render_configs(read_site(str(tmp_path / "site.yaml"), ())[0]).items():
        if "/" not in path:
            (tmp_path / path).write_bytes(data)
    asked = [{"mac": f"52:54:00:00:00:0{digit}", "options": words} for digit, words, _ in FILES]
    answers, _ = dhcp_client.shake(tmp_path, server, asked, "172.24.10.1/24")
    named = [answer.get("bootfile") or answer.get("boot_file") for answer in answers]
    assert named == [file for *_, file in FILES]


def test_a_site_without_arm64_says_nothing_of_it(tmp_path):
    (tmp_path / "site.yaml").write_text(
        SITE.format(folder=tmp_path).replace(", arch: arm64", "").replace("http: nginx", "")
    )
    files = render.render_configs(read_site(str(tmp_path / "site.yaml"), ())[0])
    assert not [name for name, data in files.items() if b"aa64" in data or b"00:0b" in data]
