"""What goes over the wire of a lab: addresses by DHCP, files by TFTP and HTTP, bytes and calls.

Watched on the bridge itself, what it only forwards too: it is the same whichever server runs, here
or behind a router, and however little that one logs.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Callable

ETH_P_ALL = 3
IPV4 = b"\x08\x00"
TCP, UDP = 6, 17
DHCP_SERVER, DHCP_CLIENT, TFTP = 67, 68, 69
NFS = {2049, 20048}
HTTP = {80}
NOT_TFTP = {DHCP_SERVER, DHCP_CLIENT, 53, 111, 123, 5353}
READ_REQUEST = b"\0\1"
ASKS_FOR_FILE = re.compile(rb"GET /+(\S+) HTTP/1")
TFTP_ERROR = re.compile(rb"\x00\x05..[\x20-\x7e]{4,}\0", re.DOTALL)
NFS_CALL = bytes.fromhex("00000000 00000002 000186a3")
SOL_PACKET, ADD_MEMBERSHIP, PROMISCUOUS = 263, 1, 1  # packet(7), linux/if_packet.h
SEEN = 600  # bytes of each packet that are looked at: a whole DHCP answer

# (mac, "dhcp" | "tftp" | "tftp error" | "http", address, file, or file and why)
Tell = Callable[[str, str, str], None]


class Capture:
    """Watches a bridge from when it is made; `tell` is called from a thread of its own.

    `macs`: the nodes' cards.
    """

    def __init__(self, bridge: str, macs: Iterable[str], tell: Tell):
        self.tell = tell
        self.nodes = {bytes.fromhex(mac.replace(":", "")) for mac in macs}
        # (mac, "tftp" | "http" | "nfs") -> bytes, both ways; "calls" of NFS
        self.count: Counter[tuple[str, str]] = Counter()
        self.asked: dict[str, str] = {}  # mac -> the file that it wanted last
        self.socket = listen(bridge)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        buffer = bytearray(SEEN)
        while True:
            length = self.socket.recv_into(buffer, 0, socket.MSG_TRUNC)
            frame = bytes(buffer[: min(length, SEEN)])
            if length > 34 and frame[12:14] == IPV4:
                destination, source = frame[:6], frame[6:12]
                to_node = source not in self.nodes
                mac = _mac(destination if to_node else source)
                self._packet(mac, frame[14:], length, to_node)

    def _packet(self, mac: str, packet: bytes, length: int, to_node: bool) -> None:
        """Count an IPv4 packet; a later fragment has no ports, and is TFTP's or nobody's."""
        protocol = packet[9]
        words = packet[0] & 15
        body = packet[words * 4 :]
        ports = {_number(body[0:2]), _number(body[2:4])}
        if protocol == TCP:
            self._tcp(mac, ports, length)
            if not to_node:
                self._asked(mac, ports, _stream(body))
        elif protocol == UDP and DHCP_CLIENT in ports:
            self._dhcp(body[8:])
        elif protocol == UDP and not ports & NOT_TFTP:
            self.count[mac, "tftp"] += length
            self._tftp(mac, body[8:], asked=TFTP in ports and not to_node)

    def _tcp(self, mac: str, ports: set[int], length: int) -> None:
        for what, known in (("nfs", NFS), ("http", HTTP)):
            self.count[mac, what] += length * bool(ports & known)

    def _asked(self, mac: str, ports: set[int], stream: bytes) -> None:
        """Count calls of NFS; tell a file that is asked for by HTTP."""
        if ports & NFS:
            self.count[mac, "calls"] += calls_of_nfs(stream)
        elif ports & HTTP and (found := ASKS_FOR_FILE.match(stream)):
            self.tell(mac, "http", found[1].decode("utf-8", "replace"))

    def _dhcp(self, message: bytes) -> None:
        """Tell an acknowledgment (RFC 2131): it names the card and its address."""
        is_reply = message[:1] == b"\x02"
        if is_reply and b"\x35\x01\x05" in message[236:]:
            address = socket.inet_ntoa(message[16:20])
            self.tell(_mac(message[28:34]), "dhcp", address)

    def _tftp(self, mac: str, message: bytes, asked: bool) -> None:
        """Tell a read request by the file's name, an error by its text (RFC 1350)."""
        if asked and message[:2] == READ_REQUEST:
            name = _text(message[2:]).lstrip("/")
            self.asked[mac] = name
            self.tell(mac, "tftp", name)
        elif not asked and TFTP_ERROR.match(message):
            name = self.asked.get(mac, "?")
            self.tell(mac, "tftp error", f"{name}: {_text(message[4:])}")


def listen(bridge: str) -> socket.socket:
    """A socket that hears every packet of a bridge: promiscuous, it has the forwarded too."""
    every = socket.htons(ETH_P_ALL)
    heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    heard.bind((bridge, 0))
    request = struct.pack("iHH8x", socket.if_nametoindex(bridge), PROMISCUOUS, 0)
    heard.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)
    return heard


def _text(message: bytes) -> str:
    """What stands before the first NUL."""
    return message.split(b"\0")[0].decode("utf-8", "replace")


def _stream(segment: bytes) -> bytes:
    """What a TCP segment carries, behind its header (RFC 9293: the header's length in words)."""
    words = segment[12] >> 4
    return segment[words * 4 :]


def calls_of_nfs(stream: bytes) -> int:
    """How many records begin here and call NFS.

    A record of RFC 5531: its length, an xid, 0 for a call, 2, the program.
    """
    calls = 0
    while len(stream) >= 20:
        calls += stream[8:20] == NFS_CALL
        length = _number(stream[:4]) & 0x7FFFFFFF
        stream = stream[4 + length :]
    return calls


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _mac(six: bytes) -> str:
    return six.hex(":")
