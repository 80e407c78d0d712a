"""Who has asked for an address, by what DHCP servers log and lease."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_MAC = r"(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5})"
_IP = r"\d+\.\d+\.\d+\.\d+"
LINES = tuple(
    re.compile(pattern)
    for pattern in (
        # dhcpd, of an interface or a relay; dnsmasq; Kea, whose lines name a subnet, or classes
        rf"DHCP(?:DISCOVER|REQUEST)(?: for {_IP}(?: \({_IP}\))?)? from {_MAC}(?: \([^)]*\))?"
        rf" via (?P<via>[\w.:-]+?)(?:: (?:network (?P<subnet>{_IP}/\d+))?.*)?$",
        rf"DHCP(?:DISCOVER|REQUEST)\((?P<via>[\w.-]+)\) (?:{_IP} )?{_MAC}\b",
        rf"\[hwtype=1 {_MAC}\].*?(?: in the subnet (?P<subnet>{_IP}/\d+)"
        r"|VENDOR_CLASS_(?P<vendor_class>[^,]+)|$)",
    )
)
TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)|([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)",
)


class Asked(NamedTuple):
    """A card that asked, as far as it is known; "" what is not."""

    mac: str
    time: str = ""  # of the last time, as the log has it
    subnet: str = ""
    relay: str = ""
    vendor_class: str = ""
    name: str = ""  # by a list

    def and_then(self, later: Asked) -> Asked:
        """The same card, asking again."""
        pairs = zip(later, self)
        return Asked(*(new or old for new, old in pairs))


def asked_in_log(text: str) -> Iterator[Asked]:
    """A line of any server's log after the other."""
    for line in text.splitlines():
        for pattern in LINES:
            found = pattern.search(line)
            if found:
                words = {name: word or "" for name, word in found.groupdict().items()}
                via = words.pop("via", "")
                time = TIME.search(line)
                relay = via if re.fullmatch(_IP, via) else ""
                yield Asked(**words, time=time[0] if time else "", relay=relay)
                break


def unknown(asked: Iterable[Asked], known: Iterable[str]) -> list[Asked]:
    """Each card once that no node has, in the order in which they first asked."""
    nodes = set(known)
    found: dict[str, Asked] = {}
    for one in asked:
        if one.mac not in nodes:
            before = found.get(one.mac)
            found[one.mac] = before.and_then(one) if before else one
    return list(found.values())
