"""DHCP options (RFC 2132) that a site may give besides those of its networks' own keys.

Options below 128 by the name that dhcpd (dhcp-options(5)) has for them; those from 128 on, which
sites and makers use as they like, by their number.
"""

from __future__ import annotations

from typing import NamedTuple

ADDRESSES, TEXT, NUMBER = "addresses", "text", "number"


class DhcpOption(NamedTuple):
    """An option as all three servers can be told it."""

    code: int
    name: str  # dhcpd's
    kind: str  # ADDRESSES | TEXT | NUMBER: what its values are
    values: tuple[str, ...]

    @property
    def is_named(self) -> bool:
        """Do the servers know it by themselves?"""
        return self.name in KNOWN

    def may_be(self, value: str) -> bool:
        """Whether it can have that value."""
        if self.kind == ADDRESSES:
            return _is_address(value)
        return self.kind == TEXT or value.lstrip("-").isdigit()


# Those that a boot server is asked for, less what keys and Plugnode itself say
KNOWN = {
    "time-offset": (2, NUMBER),
    "time-servers": (4, ADDRESSES),
    "log-servers": (7, ADDRESSES),
    "lpr-servers": (9, ADDRESSES),
    "default-ip-ttl": (23, NUMBER),
    "broadcast-address": (28, ADDRESSES),
    "nis-domain": (40, TEXT),
    "nis-servers": (41, ADDRESSES),
    "netbios-name-servers": (44, ADDRESSES),
    "font-servers": (48, ADDRESSES),
    "x-display-manager": (49, ADDRESSES),
    "tftp-server-name": (66, TEXT),
    "smtp-server": (69, ADDRESSES),
    "www-server": (72, ADDRESSES),
}
# From 128 on, those that Kea has a meaning of its own for, and 255, which ends a packet
TAKEN = (136, 137, 138, 141, 143, 146, 151, 152, 153, 154, 155, 156, 157, 159, 212, 213, 255)


def is_free(code: int) -> bool:
    """Whether no server gives the option with that number a meaning of its own."""
    return 128 <= code < 255 and code not in TAKEN


def option_of(name: str, values: tuple[str, ...]) -> DhcpOption:
    """The option that a site gives by that name or number; addresses where all values are such."""
    if name in KNOWN:
        code, kind = KNOWN[name]
        return DhcpOption(code, name, kind, values)
    kind = ADDRESSES if all(map(_is_address, values)) else TEXT
    return DhcpOption(int(name), f"plugnode-{name}", kind, values)


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)


def is_option(name: str) -> bool:
    """Whether a site may give an option by that name or number."""
    return name in KNOWN or (name.isascii() and name.isdigit() and is_free(int(name)))
