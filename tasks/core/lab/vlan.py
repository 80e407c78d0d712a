"""A switch's port, native VLAN and all: one that a node's VLAN reaches tagged and untagged.

This machine's kernel may know no VLANs (seen), so frames go through here, between QEMU's socket
and a tap on the bridge. Firmware asks untagged, the system that it loads tags: what is for the node
goes as it last spoke itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import threading

from .network import BRIDGE, RUN, sh

TUNSETIFF = 0x400454CA  # linux/if_tun.h, as the next
TAP_OF_FRAMES_ALONE = 0x0002 | 0x1000  # IFF_TAP, IFF_NO_PI
ETHERTYPE = b"\x81\x00"  # IEEE 802.1Q
FRAME = 65536


def port_ends(number: int) -> tuple[str, str]:
    """The sockets of the port that a machine is plugged into: the port's and QEMU's."""
    return f"{RUN}/port{number}.sock", f"{RUN}/card{number}.sock"


def start_port(number: int, vlan: int) -> None:
    """Have a port at work until this process ends. `vlan`: its number, 1 to 4094."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    name = f"port{number}"
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP_OF_FRAMES_ALONE))
    sh("ip", "link", "set", name, "master", BRIDGE, "up")
    own, card = port_ends(number)
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    wire.bind(own)
    threading.Thread(target=_relay, args=(tap, wire, card, vlan), daemon=True).start()


def _relay(tap: int, wire: socket.socket, card: str, vlan: int) -> None:
    tag = ETHERTYPE + struct.pack(">H", vlan)
    is_tagging = False
    while True:
        ready, _, _ = select.select([tap, wire.fileno()], [], [])
        if wire.fileno() in ready:
            frame = wire.recv(FRAME)
            is_tagging = frame[12:14] == ETHERTYPE
            if not is_tagging:
                os.write(tap, frame)
            elif struct.unpack(">H", frame[14:16])[0] & 0xFFF == vlan:
                os.write(tap, frame[:12] + frame[16:])
        if tap in ready:
            frame = os.read(tap, FRAME)
            whole = frame[:12] + tag + frame[12:] if is_tagging else frame
            with contextlib.suppress(OSError):  # nobody is plugged in
                wire.sendto(whole, card)
