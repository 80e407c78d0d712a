"""QEMU's command line: what a node is plugged together of."""

from __future__ import annotations

from dataclasses import replace

from tasks.core.lab import qemu

NODE = qemu.Machine("52:54:00:aa:00:01", None, "/tmp")


def test_a_node_with_cards_that_have_no_cable_waits_until_the_cables_are_out():
    assert "-S" not in qemu.arguments(NODE, "qmp")
    node = qemu.Machine(NODE.mac, None, "/tmp", strangers=("s",), unplugged=("u", "v", "w"))
    words = qemu.arguments(node, "qmp")
    assert "-S" in words
    macs = [card.partition("mac=")[2].split(",")[0] for card in words if "mac=" in card]
    assert macs == ["s", "u", NODE.mac, "v", "w"]
    out = [f"id={name},netdev=" for name in qemu.unplugged_cards(node)]
    cards = [next(card for card in words if name in card) for name in out]
    assert [card.rpartition("mac=")[2][0] for card in cards] == ["u", "v", "w"]


def test_firmware_that_is_to_boot_by_http_is_told_not_to_try_pxe(tmp_path):
    node = qemu.Machine(NODE.mac, None, str(tmp_path), firmware="uefi")
    told = [
        word for word in qemu.arguments(replace(node, by_http=True), "q") if "PXESupport" in word
    ]
    assert [word.rpartition("=")[2] for word in told] == ["no", "no"]
    assert not [word for word in qemu.arguments(node, "q") if "PXESupport" in word]
