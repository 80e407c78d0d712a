"""The serial of a DNS zone: it grows when, and only when, something else in the zone changes."""

from __future__ import annotations

import re
import time

_LINE = re.compile(rb"^(\s*)(\d+)(\s*; serial)$", re.MULTILINE)


def continued(data: bytes, before: bytes | None, now: int | None = None) -> bytes:
    """A file as it follows on the one before it; only a zone has a line with its serial.

    The serial of a zone that is new is the time in seconds (`now`), which is beyond that of a build
    elsewhere.
    """
    new = _LINE.search(data)
    if not new:
        return data
    old = _LINE.search(before or b"")
    if before and old and _LINE.sub(rb"", before) == _LINE.sub(rb"", data):
        return data if int(new[2]) == int(old[2]) else _with(data, int(old[2]))
    seconds = int(time.time()) if now is None else now
    least = max(int(new[2]), seconds)
    return _with(data, max(least, int(old[2]) + 1) if old else least)


def _with(data: bytes, serial: int) -> bytes:
    return _LINE.sub(rb"\g<1>%d\g<3>" % serial, data, count=1)
