"""Who has asked for an address, by what DHCP servers log and lease."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from ..base.text import readable
from .leases import leases_seen

LOGS = ("syslog", "daemon.log", "messages", "dnsmasq.log", "kea/*.log", "dhcpd.log")
SYSLOG = ("dhcpd", "dnsmasq-dhcp", "dnsmasq", "kea-dhcp4")
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
    """A card that asked, as far as it is known; "" what is not. Times as 2026-11-29 13:00:06."""

    mac: str
    first: str = ""  # the time when it asked
    last: str = ""
    subnet: str = ""
    relay: str = ""
    vendor_class: str = ""
    name: str = ""  # by a list

    def and_then(self, later: Asked) -> Asked:
        """The same card, asking again; of another server it may be earlier."""
        pairs = zip(later, self)
        known = Asked(*(new or old for new, old in pairs))
        first = min(filter(None, (self.first, later.first)), default="")
        return known._replace(first=first, last=max(self.last, later.last))


def asked_here(at: Callable[[str], str], with_journal: bool) -> list[Asked]:
    """Every card that asked a DHCP server of this machine, by its logs and leases.

    `at`: where a path of it lies here.
    """
    found = [Asked(lease.mac, subnet=f"{lease.ip}/32") for lease in leases_seen(at)]
    for name in LOGS:
        for path in sorted(glob.glob(at(f"/var/log/{name}"))):
            if os.path.isfile(path):
                with open(path, errors="replace") as file:
                    found += asked_in_log(file)
    if with_journal and shutil.which("journalctl"):
        found += asked_in_log(_journal())
    return each_once(found)


def _journal() -> Iterator[str]:
    words = [f"--identifier={name}" for name in SYSLOG]
    argv = ["journalctl", "--quiet", "--no-pager", "--output=short-iso", *words]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    return iter(done.stdout.splitlines())


def read_asked(values: Iterable[str]) -> Asked:
    """What a server told of a card, which is to stand in a site.yaml. Raises ValueError."""
    one = Asked(*values)
    if not re.fullmatch(_MAC, one.mac):
        raise ValueError(f"{one.mac!r} is none")
    for said, meant in ((one.subnet, _subnet(one.subnet)), (one.relay, _relay(one.relay))):
        if said and not meant:
            raise ValueError(f"{said!r} is none")
    return one._replace(subnet=_subnet(one.subnet))


def asked_in_log(lines: Iterable[str], now: datetime | None = None) -> Iterator[Asked]:
    """Who asks by each line of any server's log, written before `now`, the local time."""
    now = now or datetime.now()
    for line in lines:
        for pattern in LINES:
            if found := pattern.search(line.rstrip("\r\n")):
                stamp = TIME.search(line)
                yield _asked(found, _in_full(stamp[0], now) if stamp else "")
                break


def _asked(found: re.Match[str], time: str) -> Asked:
    """A stranger's name stands in the line, too: what looks like an address need be none."""
    words = {name: readable(word or "") for name, word in found.groupdict().items()}
    relay, subnet = _relay(words.pop("via", "")), _subnet(words.pop("subnet", ""))
    return Asked(**words, first=time, last=time, relay=relay, subnet=subnet)


def _relay(text: str) -> str:
    """The address; "" where it is none."""
    try:
        return str(IPv4Address(text))
    except ValueError:
        return ""


def _subnet(text: str) -> str:
    """The network of an address and its prefix; "" where it is none."""
    try:
        return str(IPv4Network(text, strict=False))
    except ValueError:
        return ""


@lru_cache(maxsize=None)  # a busy server asks for the same second again and again
def _in_full(stamp: str, now: datetime) -> str:
    """A time with its year: syslog says none, it is the last one in which that was not to come."""
    if not stamp or stamp[0].isdigit():
        return stamp.replace("T", " ")
    for year in range(now.year, now.year - 8, -1):  # 29 February is in one of eight at the least
        with contextlib.suppress(ValueError):
            time = datetime.strptime(f"{year} {stamp}", "%Y %b %d %H:%M:%S")
            if time <= now + timedelta(days=1):
                return str(time)
    return ""


def each_once(asked: Iterable[Asked]) -> list[Asked]:
    """Each card once, with all that is known of it."""
    found: dict[str, Asked] = {}
    for one in asked:
        before = found.get(one.mac)
        found[one.mac] = before.and_then(one) if before else one
    return list(found.values())


def unknown(asked: Iterable[Asked], known: Iterable[str]) -> list[Asked]:
    """Each card once that no node has: in the order in which they first asked, if that is known."""
    nodes = set(known)
    cards = each_once(one for one in asked if one.mac not in nodes)
    return sorted(cards, key=lambda one: (not one.first, one.first))
