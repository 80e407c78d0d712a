"""Reports of boots: datagrams of syslog that nodes send, and the file that keeps them on a server.

Whoever can send a datagram may have written a line of it. So a line is taken only from the address
of a node of the site, by that node's name, and where every word of it has its form.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..store.nodes import NodeFacts
from ..store.paths import RELEASE_ID, Targets

# UDP: SELinux lets syslog have it, and what a server hears by 514 already stays whose it is
SYSLOG_PORT = 20514
LARGEST = 17 << 20  # bytes of a file that are read; rsyslog stops at 16 MiB
MOST_REASONS = 8

_NUMBER = r"[0-9]{1,7}(?:\.[0-9]{1,3})?"
_STAGE = rf"[a-z]{{1,12}}:{_NUMBER}"
_SAID = re.compile(  # see overlays/worker/etc/plugnode/report.sh
    rf" ?(ready|stopped)=({_NUMBER}) release=({RELEASE_ID})"
    rf" stages=((?:{_STAGE}(?:,{_STAGE}){{0,23}})?)(?: degraded=([ -~]{{1,400}}))?",
    re.ASCII,
)
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})[.0-9]*(Z|\+00:00)")


class BootReport(NamedTuple):
    """What a node said of its boot."""

    at: str  # "2026-11-29T14:02:10Z": when its server heard it
    ready: bool  # or it stopped
    seconds: float  # since its kernel started
    release: str
    stages: Mapping[str, float]  # by name, in their order: the seconds that each took
    degraded: tuple[str, ...]  # why it is, or why it stopped

    @property
    def slowest(self) -> str:
        """The stage that took longest, "" where none is known."""
        return max(self.stages, key=lambda name: self.stages[name], default="")


def boots_log(site: str) -> str:
    """The file as a server knows it; an older one is beside it, with `.1` at its end."""
    return f"/var/log/plugnode/{site}.log"


def read_boots(
    targets: Targets, site: str, nodes: Mapping[str, NodeFacts]
) -> dict[str, BootReport]:
    """The last boot of each node, by its name. `nodes`: those of the site."""
    name_of = {facts["ip"]: name for name, facts in nodes.items() if "ip" in facts}
    found = {}
    path = targets.at(boots_log(site))
    for file in (f"{path}.1", path):
        for line in _lines(file):
            address, report = _read_line(line)
            if report and address in name_of:
                found[name_of[address]] = report
    return found


def _lines(path: str) -> Iterator[bytes]:
    """The whole lines at the end of a file, if it is one."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    with open(number, "rb") as file:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            return
        skipped = max(0, status.st_size - LARGEST)
        file.seek(skipped)
        if skipped:
            file.readline()
        yield from file.read(LARGEST).splitlines()


def _read_line(line: bytes) -> tuple[str, BootReport | None]:
    """The address that a line came from, and what it reports; None where it is no report."""
    try:
        written = json.loads(line.decode(errors="replace"))
        at, address, said = (str(written[key]) for key in ("at", "from", "said"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", None
    time, words = _TIME.fullmatch(at), _SAID.fullmatch(said)
    if not time or not words:
        return "", None
    return address, _report(f"{time[1]}Z", words)


def _report(at: str, words: re.Match[str]) -> BootReport | None:
    """What a node says; None where its stages go back in time."""
    seconds = float(words[2])
    begins = [("kernel", 0.0), *_begins(words[4]), ("", seconds)]
    stages: dict[str, float] = {}
    for (name, begin), (_, end) in zip(begins, begins[1:]):
        if end < begin:
            return None
        if words[4] and end > begin:
            stages[name] = round(stages.get(name, 0) + end - begin, 2)
    return BootReport(at, words[1] == "ready", seconds, words[3], stages, _reasons(words[5]))


def _begins(text: str) -> Iterator[tuple[str, float]]:
    """Each stage that a node names, and when it began."""
    for stage in filter(None, text.split(",")):
        name, _, begin = stage.partition(":")
        yield name, float(begin)


def _reasons(text: str | None) -> tuple[str, ...]:
    """Why a node is degraded, each on a line."""
    parts = map(str.strip, (text or "").split(";"))
    return tuple(filter(None, parts))[:MOST_REASONS]


def plain_report(report: BootReport) -> dict[str, Any]:
    """As JSON has it."""
    return {**report._asdict(), "stages": dict(report.stages), "degraded": list(report.degraded)}
