"""The DHCP servers that there are: the one list of them, and each by the words that mean it."""

from __future__ import annotations

from .dnsmasq import DNSMASQ
from .isc import ISC
from .kea import KEA
from .server import DhcpServer

SERVERS = (ISC, KEA, DNSMASQ)
BY_WORD: dict[str, DhcpServer] = {}  # `isc` and `dhcpd` are one
for _server in SERVERS:
    BY_WORD |= {_server.name: _server, _server.daemon: _server}


def _either(words: list[str]) -> str:
    *others, last = [f"`{word}`" for word in words]
    return f"{', '.join(others)} or {last}"


EACH_NAME = _either([server.name for server in SERVERS])  # "`isc`, `kea` or `dnsmasq`"
EACH_PATH = _either([server.path for server in SERVERS])
