"""Who made a network card, by the first half of its address: IEEE's list, if it is here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# systemd's, and Debian's ieee-data
LISTS = (
    ("/usr/lib/udev/hwdb.d/20-OUI.hwdb", r"^OUI:{}\*\n ID_OUI_FROM_DATABASE=(.*)$"),
    ("/usr/share/ieee-data/oui.txt", r"^{}\s+\(base 16\)\s+(.*)$"),
)


def vendors_of(macs: Iterable[str]) -> dict[str, str]:
    """The first half of an address, six digits -> vendor; none for those that nobody registered."""
    wanted = {half(mac) for mac in macs}
    for path, pattern in LISTS:
        if wanted and os.path.isfile(path):
            with open(path, errors="replace") as file:
                text = file.read()
            found = {}
            for digits in wanted:
                line = re.search(pattern.format(digits), text, re.MULTILINE)
                if line:
                    found[digits] = line[1].strip()
            return found
    return {}


def half(mac: str) -> str:
    return mac.replace(":", "")[:6].upper()
