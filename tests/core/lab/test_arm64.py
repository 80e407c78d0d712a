"""A node with an ARM processor as a virtual machine: what it is made of."""

from __future__ import annotations

import os

import pytest

from tasks import boot
from tasks.base.settings import Run, Settings
from tasks.core.base.errors import Refused
from tasks.core.lab import qemu
from tasks.core.site.load import read_site

SITE = """\
site: mixed
network: {subnet: 172.24.10.0/24}
servers: {boot1: {ip: 172.24.10.1}}
images: {worker: {reference: {path: .}}, arm: {reference: {path: .}, arch: arm64}}
nodes:
  wn001: {mac: "52:54:00:00:00:01", ip: 172.24.10.101, image: worker}
  arm001: {mac: "52:54:00:00:00:02", ip: 172.24.10.102, image: arm}
"""


def test_its_firmware_is_uefi_and_a_pcs_what_was_asked_for(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    site = read_site(str(tmp_path / "site.yaml"), ())[0]
    pc, arm = site.nodes

    def firmware(node, asked: str = "") -> str:
        return boot.with_firmware(Run(Settings(firmware=asked), site), node).settings.firmware

    assert [firmware(pc), firmware(pc, "secure"), firmware(arm)] == ["bios", "secure", "uefi"]
    with pytest.raises(Refused, match="arm001 is arm64, whose firmware here is UEFI"):
        firmware(arm, "bios")


def test_its_flash_is_as_large_as_the_board_has_it(tmp_path, monkeypatch):
    for name in ("code", "variables"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    pair = (str(tmp_path / "code"), str(tmp_path / "variables"))
    monkeypatch.setattr(qemu, "AAVMF", (("/nowhere", "/nowhere"), pair))
    node = qemu.Machine("52:54:00:00:00:02", None, str(tmp_path), firmware="uefi", arch="arm64")
    words = qemu.arguments(node, "/qmp")
    assert words[:3] == ["qemu-system-aarch64", "-M", "virt"]
    files = [word.partition("file=")[2] for word in words if "if=pflash" in word]
    assert [os.path.getsize(file) for file in files] == [64 << 20, 64 << 20]
    monkeypatch.setattr(qemu, "AAVMF", ())
    with pytest.raises(Refused, match="install qemu-efi-aarch64, on EL edk2-aarch64"):
        qemu.arguments(node, "/qmp")
