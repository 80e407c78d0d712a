"""A DHCPv6 client that asks on eth0 for cards by their MACs, and prints what each is offered, as JSON.

dhcp6_client.py MAC[=uefi|=ipxe]…: as such firmware it is told a boot file, too (RFC 5970)
"""

from __future__ import annotations

import ipaddress
import json
import socket
import sys

SOLICIT, ADVERTISE = 1, 2  # RFC 8415: messages, and options below
CLIENT_ID, IA_NA, IA_ADDRESS, WANTED, USER_CLASS, BOOT_FILE, ARCHITECTURE = 1, 3, 5, 6, 15, 59, 61


def option(code: int, held: bytes) -> bytes:
    return code.to_bytes(2, "big") + len(held).to_bytes(2, "big") + held


def options(held: bytes) -> dict[int, bytes]:
    found = {}
    while held:
        code, size = (int.from_bytes(held[at : at + 2], "big") for at in (0, 2))
        found[code], held = held[4 : 4 + size], held[4 + size :]
    return found


def says(firmware: str) -> bytes:
    """What such firmware says besides: what it wants, and what it is."""
    if not firmware:
        return b""
    said = option(WANTED, BOOT_FILE.to_bytes(2, "big")) + option(ARCHITECTURE, b"\0\7")
    return said + (option(USER_CLASS, b"\0\4iPXE") if firmware == "ipxe" else b"")


def asked(wire: socket.socket, card: str) -> str:
    """The address that a card is offered, by a DUID of its own (type 3); "" where there is none.

    The boot file's URL behind it, where it is told one.
    """
    mac, _, firmware = card.partition("=")
    duid = b"\0\3\0\1" + bytes.fromhex(mac.replace(":", ""))
    message = bytes([SOLICIT, 0, 0, 1])
    message += option(CLIENT_ID, duid) + option(IA_NA, b"\0\0\0\1" + bytes(8))
    wire.sendto(message + says(firmware), ("ff02::1:2", 547))
    answer = wire.recv(2048)
    assert answer[0] == ADVERTISE
    told = options(answer[4:])
    given = options(told[IA_NA][12:])
    address = str(ipaddress.IPv6Address(given[IA_ADDRESS][:16])) if IA_ADDRESS in given else ""
    return f"{address} {told.get(BOOT_FILE, b'').decode()}".strip()


def main(*cards: str) -> None:
    index = socket.if_nametoindex("eth0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as wire:
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        wire.bind(("::", 546))
        wire.settimeout(10)
        print(json.dumps([asked(wire, card) for card in cards]))


if __name__ == "__main__":
    main(*sys.argv[1:])
