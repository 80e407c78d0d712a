"""The story of a boot: which stages a node came through and when, what it said of itself, and whether that is right.

events of boot.power_on ──> Story ──> table, checks, or what is known of a failure
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..site.model import Disk
from .run import BootEvent


class Stage(NamedTuple):
    """A stage by its name, and the event that says it is reached; a group of the pattern is shown beside it."""

    name: str
    kind: str
    pattern: str = "()"


# The names are those that the node's own console uses.
STAGES = (
    Stage("power", "power", "(.*)"),
    Stage("dhcp", "dhcp", "(.*)"),
    Stage("loader", "tftp", r"^(pxelinux\.0|[\w.-]+\.kpxe|[\w.-]+\.efi|boot\.ipxe)$"),
    Stage("kernel", "tftp", r"^(.*/vmlinuz)$"),
    Stage("initrd", "tftp", r"^(.*/initrd\.img)$"),
    Stage("site", "tftp", r"^(.*/site\.img)$"),
    Stage("linux", "console", r"Linux version (\S+)"),
    Stage("start", "console", r"plugnode: initrd: start (.*)"),
    Stage("modules", "console", r"plugnode: initrd: modules (\d.*)"),
    Stage("network", "console", r"plugnode: initrd: network (\S+ \S+:\S+.*)"),
    Stage("address", "console", r"plugnode: initrd: address (\d.*)"),
    Stage("root", "console", r"plugnode: initrd: root (\S+:\S+)$"),
    Stage("identity", "console", r"plugnode: initrd: identity (.*)"),
    Stage("init", "console", r"plugnode: initrd: init (.*)"),
    Stage("disk", "console", r"plugnode: setup: (/dev/\S+: \d+ MiB.*)"),
    Stage("claim", "console", r"plugnode: setup: claim (.*)"),
    Stage("partition", "console", r"plugnode: setup: partition (.*)"),
    Stage("format", "console", r"plugnode: setup: format (.*)"),
    Stage("fill", "console", r"plugnode: setup: fill (.*)"),
    Stage("commit", "console", r"plugnode: setup: commit (.*)"),
    Stage("name", "console", r"plugnode: setup: name (.*)"),
    Stage("setup", "console", r"plugnode: setup: done: (.*)"),
    Stage("ready", "console", r"plugnode: node: ready ?(.*)"),
)
# Asked for, and need not be there
USUAL_SECONDS = re.compile(r"pxelinux\.cfg/(01-|[0-9A-F]+:)|\.lst:|cfg-01-|ipxe-01-|User aborted")


class Reached(NamedTuple):
    stage: str
    at: float  # seconds since power-on
    tftp: int  # bytes until then
    nfs: int
    calls: int  # of NFS
    text: str


class Spent(NamedTuple):
    stage: str
    at: float  # seconds since power-on
    seconds: float
    tftp: int  # bytes
    nfs: int
    calls: int  # of NFS


@dataclass
class BootTimeline:
    """What one node told so far, after one switching on."""

    stages: list[Reached] = field(default_factory=list)
    facts: dict[str, str] = field(
        default_factory=dict
    )  # "name" -> "wn001", "mount /var" -> "/dev/sda1 ext4 rw"
    degraded: list[str] = field(default_factory=list)
    console: deque[str] = field(default_factory=lambda: deque(maxlen=400))
    tftp_errors: list[str] = field(default_factory=list)
    ended: str = ""  # why it did not come where it should
    sshd: str | None = None  # what answered, "" for nothing; None: nobody looked
    off: str = ""  # "by itself" | "hung" | "cut"

    @property
    def ready(self) -> bool:
        return any(reached.stage == "ready" for reached in self.stages)

    def feed(self, event: BootEvent) -> Reached | None:
        """Take an event in; the stage that the node came to by it, if it did."""
        kind, text = event["kind"], event["text"]
        if kind == "reached":  # by a line that may not have ended yet
            kind = "console"
        if kind == "console":
            self.console.append(text)
            self._fact(text)
        elif kind == "tftp error" and not USUAL_SECONDS.search(text):
            self.tftp_errors.append(text)
        elif kind in ("ended", "sshd", "off"):
            setattr(self, kind, text)
        return self._stage(kind, event)

    def _fact(self, line: str) -> None:
        found = re.search(r"plugnode: node: ((?:mount |fill )?\S+) (.*)", line)
        if found and found[1] == "degraded":
            self.degraded.append(found[2])
        elif found:
            self.facts[found[1]] = found[2]

    def _stage(self, kind: str, event: BootEvent) -> Reached | None:
        known = {reached.stage for reached in self.stages}
        for stage in STAGES:
            if stage.kind == kind and stage.name not in known:
                if found := re.search(stage.pattern, event["text"]):
                    moved = event["tftp"], event["nfs"], event["calls"]
                    self.stages.append(Reached(stage.name, event["at"], *moved, found[1]))
                    return self.stages[-1]
        return None


def line(reached: Reached) -> str:
    """A stage as it comes: `  12.3 s  address    172.24.10.100 from 172.24.10.1`."""
    return f"{reached.at:7.1f} s  {reached.stage:<10} {reached.text}".rstrip()


def table(story: BootTimeline) -> str:
    """Each stage with when it was reached, and how long, how many bytes and calls of NFS it took until the next."""
    rows = [
        f"{'stage':<10} {'at s':>7} {'took s':>7} {'TFTP kB':>9} {'NFS kB':>9} {'NFS calls':>9}"
    ]
    for stage, at, *took in [*spent(story), ("all", None, *story.stages[-1][1:5])]:
        seconds, tftp, nfs, calls = took
        when = "" if at is None else f"{at:.1f}"
        rows.append(
            f"{stage:<10} {when:>7} {seconds:7.1f} {tftp / 1000:9.0f} {nfs / 1000:9.0f} {calls:9}"
        )
    return "\n".join(rows)


def spent(story: BootTimeline) -> Iterator[Spent]:
    """What each stage took until the next; the last took nothing."""
    for now, after in zip(story.stages, [*story.stages[1:], story.stages[-1]]):
        moved = after.tftp - now.tftp, after.nfs - now.nfs, after.calls - now.calls
        yield Spent(now.stage, now.at, round(after.at - now.at, 2), *moved)


# --- is it right


@dataclass(frozen=True)
class Expected:
    """What a node has to be."""

    name: str
    address: str
    release: str  # its id
    root: str  # "172.24.10.1:/opt/nfs_export/worker-3f9a1c2b4d5e"
    disk: Disk
    sshd: bool
    powers_off: bool  # by the power button


class Check(NamedTuple):
    holds: bool
    what: str
    found: str


def checks(story: BootTimeline, expected: Expected) -> Iterator[Check]:
    """Every check with what was found."""
    facts = story.facts
    yield _equal("host name", facts.get("name"), expected.name)
    yield _equal("address", facts.get("address", "").split(" ")[0], expected.address)
    yield _equal("release", facts.get("release"), expected.release)
    roots = [f"{expected.root} {fs} ro" for fs in ("nfs", "nfs4")]
    yield _equal("root over NFS, read-only", facts.get("mount /"), *roots)
    for part in expected.disk.partitions:
        if part.fs != "swap":
            yield _on_disk(part.mount, part.fs, facts.get(f"mount {part.mount}"))
        if part.fill:
            yield _filled(part.mount, part.fill, facts.get(f"fill {part.mount}"))
    yield Check(not story.degraded, "nothing degraded", "; ".join(story.degraded))
    if expected.sshd:
        yield Check(bool(story.sshd), "sshd answers", story.sshd or "nothing")
    if expected.powers_off and story.off != "cut":
        yield _equal("power button switches it off", story.off, "by itself")


def _equal(what: str, found: str | None, *wanted: str) -> Check:
    found = found or "nothing"
    return Check(found in wanted, what, found if found in wanted else f"{found}, not {wanted[0]}")


def _on_disk(mount: str, fs: str, found: str | None) -> Check:
    device, kind, access = ((found or "") + "   ").split(" ")[:3]
    right = device.startswith("/dev/") and kind == fs and access == "rw"
    return Check(right, f"{mount} on its disk", found or "nothing")


def _filled(mount: str, fill: str, found: str | None) -> Check:
    has, _, all = (found or "0 of 0").partition(" of ")
    return Check(has == all != "0", f"{mount} has what {fill} has", f"{found or 'nothing'} names")


def timings(story: BootTimeline, found: Iterable[Check]) -> dict[str, Any]:
    """What a boot took and whether it was right, for other programs; the stages until the node was ready."""
    last = story.stages[-1]
    return {
        "seconds": last.at,
        "tftp_bytes": last.tftp,
        "nfs_bytes": last.nfs,
        "nfs_calls": last.calls,
        "stages": [stage._asdict() for stage in spent(story)],
        "holds": all(check.holds for check in found),
        "checks": [check._asdict() for check in found],
    }


# --- what is known of a failure


def failure(story: BootTimeline, logs: str, address: str, mac: str, lines: int = 15) -> str:
    """The stage reached, the console until it failed, and what the servers say of it."""
    last = story.stages[-1] if story.stages else Reached("power", 0, 0, 0, 0, "")
    parts = [
        f"it came to the stage `{last.stage}` ({last.at:.1f} s after power-on), then: {story.ended}"
    ]
    parts += ["console:", *(f"    {line}" for line in _until_it_failed(story)[-lines:])]
    if story.tftp_errors:
        parts += ["TFTP server:", *(f"    {error}" for error in story.tftp_errors[-5:])]
    for name in sorted(os.listdir(logs)):
        if name.endswith((".log", ".err")) and not name.startswith("console"):
            told = list(_that_matter(os.path.join(logs, name), (address, mac)))[-5:]
            parts += [f"{name}:", *(f"    {line}" for line in told)] if told else []
    return "\n".join(parts)


def _until_it_failed(story: BootTimeline) -> list[str]:
    """The console's lines up to that which ended the story: a panic's reason is before it, its call trace after."""
    lines = [line for line in story.console if line]
    ends = [number for number, line in enumerate(lines, 1) if story.ended and story.ended in line]
    return lines[: ends[0]] if ends else lines


# nfs-ganesha complains of what a lab has not: dbus, Kerberos, a recovery folder
MATTERS = re.compile(
    r"qemu|error|fail|denied|refused|not found|no such|no free|unknown|invalid", re.IGNORECASE
)
NOISE = re.compile(r"TIRPC|dbus|krb|keytab|gsh_rados|RADOS|recovery|reclaim|GRACE", re.IGNORECASE)


def _that_matter(path: str, names: Iterable[str]) -> Iterator[str]:
    with open(path, errors="replace") as log:
        for text in log:
            if (MATTERS.search(text) or any(name in text for name in names)) and not NOISE.search(
                text
            ):
                yield text.strip()[:240]
