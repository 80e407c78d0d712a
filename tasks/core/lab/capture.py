"""What goes over the wire of a lab: addresses that DHCP gave, files that TFTP served, bytes and calls by node.

Watched on the bridge itself, so it is the same whichever server runs, and however little that one logs.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Callable

ETH_P_ALL = 3
TCP, UDP = 6, 17
DHCP_SERVER, DHCP_CLIENT, TFTP, NFS = 67, 68, 69, {2049, 20048}
NOT_TFTP = {DHCP_SERVER, DHCP_CLIENT, 53, 111, 123, 5353}
NFS_CALL = bytes.fromhex("00000000 00000002 000186a3")
SEEN = 600  # bytes of each packet that are looked at: a whole DHCP answer

Tell = Callable[
    [str, str, str], None
]  # (mac, "dhcp" | "tftp" | "tftp error", address, file, or file and why)


class Capture:
    """Watches an interface from when it is made; `tell` is called from a thread of its own."""

    def __init__(self, interface: str, tell: Tell):
        self.tell = tell
        self.count: Counter[tuple[str, str]] = (
            Counter()
        )  # (mac, "tftp" | "nfs") -> bytes, both ways; "calls" of NFS
        self.asked: dict[str, str] = {}  # mac -> the file that it wanted last
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((interface, 0))
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        buffer = bytearray(SEEN)
        while True:
            length, (_, _, direction, *_) = self.socket.recvfrom_into(buffer, 0, socket.MSG_TRUNC)
            frame = bytes(buffer[: min(length, SEEN)])
            if length > 34 and frame[12:14] == b"\x08\x00":
                to_node = direction == socket.PACKET_OUTGOING
                self._packet(
                    _mac(frame[0:6] if to_node else frame[6:12]), frame[14:], length, to_node
                )

    def _packet(self, mac: str, packet: bytes, length: int, to_node: bool) -> None:
        """An IPv4 packet; a later fragment has no ports, and is TFTP's or nobody's."""
        body = packet[(packet[0] & 15) * 4 :]
        ports = {int.from_bytes(body[0:2], "big"), int.from_bytes(body[2:4], "big")}
        if packet[9] == TCP and ports & NFS:
            self.count[mac, "nfs"] += length
            if not to_node:
                self.count[mac, "calls"] += sum(1 for _ in _calls(body[(body[12] >> 4) * 4 :]))
        elif packet[9] == UDP and DHCP_CLIENT in ports:
            self._dhcp(body[8:])
        elif packet[9] == UDP and not ports & NOT_TFTP:
            self.count[mac, "tftp"] += length
            self._tftp(mac, body[8:], asked=TFTP in ports and not to_node)

    def _dhcp(self, message: bytes) -> None:
        """RFC 2131: an acknowledgment names the node's hardware address and the address it gets."""
        if message[:1] == b"\x02" and b"\x35\x01\x05" in message[236:]:
            self.tell(_mac(message[28:34]), "dhcp", socket.inet_ntoa(message[16:20]))

    def _tftp(self, mac: str, message: bytes, asked: bool) -> None:
        """RFC 1350: a read request has the file's name, an error its text."""
        if asked and message[:2] == b"\0\1":
            self.asked[mac] = message[2:].split(b"\0")[0].decode("utf-8", "replace").lstrip("/")
            self.tell(mac, "tftp", self.asked[mac])
        elif not asked and re.match(rb"\x00\x05..[\x20-\x7e]{4,}\0", message, re.DOTALL):
            why = message[4:].split(b"\0")[0].decode()
            self.tell(mac, "tftp error", f"{self.asked.get(mac, '?')}: {why}")


def _calls(stream: bytes) -> Iterator[bytes]:
    """Each record that begins here and calls NFS (RFC 5531: a record's length, xid, 0 for a call, 2, the program)."""
    while len(stream) >= 20:
        if stream[8:20] == NFS_CALL:
            yield stream
        stream = stream[4 + (int.from_bytes(stream[:4], "big") & 0x7FFFFFFF) :]


def _mac(six: bytes) -> str:
    return six.hex(":")
