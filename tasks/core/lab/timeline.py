"""A boot as it went: the stages that a node came through and when, and whether it is right.

events of `run.power_on` ──> BootTimeline ──> table, checks, or what is known of a failure
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..site.model import Partition
from .qemu import NO_INIT_RUNS
from .run import MOVED, READY, BootEvent


class Stage(NamedTuple):
    """A stage by its name, and the event that says it is reached.

    The pattern's group is shown beside it.
    """

    name: str
    kind: str
    pattern: str = "()"


# The names are those that the node's own console uses.
STAGES = (
    Stage("power", "power", "(.*)"),
    Stage("dhcp", "dhcp", "(.*)"),
    Stage(
        "loader",
        "file",
        r"^(pxelinux\.0|[\w.-]+\.kpxe|(?:plugnode/[\w.-]+/)?[\w.-]+\.efi|boot\.ipxe)$",
    ),
    Stage("kernel", "file", r"^(.*/vmlinuz)$"),
    Stage("initrd", "file", r"^(.*/initrd\.img)$"),
    Stage("site", "file", r"^(.*/(?:site|signed)\.img)$"),
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
    Stage("ready", "console", rf"{READY} ?(.*)"),
)
# Kinds of events that are the same to stages
SHOWN_AS = {"reached": "console", "tftp": "file", "http": "file"}
NONE = "none"  # of a node's units have failed
# Of files that loaders ask for and that need not be there
USUAL_TFTP_ERRORS = re.compile(
    r"pxelinux\.cfg/(01-|[0-9A-F]+:)|\.lst:|cfg-01-|ipxe-01-|User aborted"
)


MEASURED = (4, 7, 9, 11)  # PCRs that overlays/initrd/meet-site tells


class Reached(NamedTuple):
    stage: str
    at: float  # seconds since power-on
    tftp: int  # bytes until then
    http: int
    nfs: int
    calls: int  # of NFS
    text: str


class Spent(NamedTuple):
    stage: str
    at: float  # seconds since power-on
    seconds: float
    tftp: int  # bytes
    http: int
    nfs: int
    calls: int  # of NFS


@dataclass
class BootTimeline:
    """What one node told so far, after one switching on."""

    stages: list[Reached] = field(default_factory=list)
    # "name" -> "wn001", "mount /var" -> "/dev/sda1 ext4 rw"
    facts: dict[str, str] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    console: deque[str] = field(default_factory=lambda: deque(maxlen=400))
    tftp_errors: list[str] = field(default_factory=list)
    ended: str = ""  # why it did not come where it should
    sshd: str | None = None  # what answered, "" for nothing; None: nobody looked
    reported: str | None = None  # what its server was told of it, "" for nothing; None: none hears
    off: str = ""  # "by itself" | "hung" | "cut"

    @property
    def ready(self) -> bool:
        return any(reached.stage == "ready" for reached in self.stages)

    def feed(self, event: BootEvent) -> Reached | None:
        """Take an event in; the stage that the node came to by it, if it did."""
        kind: str = event["kind"]
        text: str = event["text"]
        if kind in ("console", "reached"):  # what was waited for may be a line without its end
            self.console.append(text)
            self._fact(text)
        elif kind == "tftp error" and not USUAL_TFTP_ERRORS.search(text):
            self.tftp_errors.append(text)
        elif kind in ("ended", "sshd", "off"):
            setattr(self, kind, text)
        return self._stage(SHOWN_AS.get(kind, kind), event)

    def _fact(self, line: str) -> None:
        if found := re.search(r"plugnode: initrd: measured (PCR \d+) ([0-9A-Fa-f]+)$", line):
            self.facts[found[1]] = found[2]
        found = re.search(r"plugnode: node: ((?:mount |fill )?\S+) (.*)", line)
        if found and found[1] == "degraded":
            self.degraded.append(found[2])
        elif found:
            self.facts[found[1]] = found[2]

    def _stage(self, kind: str, event: BootEvent) -> Reached | None:
        """Note the first stage that is new by this event."""
        known = {reached.stage for reached in self.stages}
        for stage in STAGES:
            if stage.kind != kind or stage.name in known:
                continue
            if found := re.search(stage.pattern, event["text"]):
                moved = {what: event[what] for what in MOVED}
                reached = Reached(stage.name, event["at"], **moved, text=found[1])
                self.stages.append(reached)
                return reached
        return None


def line(reached: Reached) -> str:
    """A stage as it comes: `  12.3 s  address    172.24.10.100 from 172.24.10.1`."""
    return f"{reached.at:7.1f} s  {reached.stage:<10} {reached.text}".rstrip()


def table(boot: BootTimeline) -> str:
    """Each stage: when it was reached, and what it took until the next."""
    kb = f"{'TFTP kB':>9} {'HTTP kB':>9} {'NFS kB':>9}"
    head = f"{'stage':<10} {'at s':>7} {'took s':>7} {kb} {'NFS calls':>9}"
    last = boot.stages[-1]
    whole = Spent("all", 0, last.at, last.tftp, last.http, last.nfs, last.calls)
    rows = [_row(each, f"{each.at:.1f}") for each in spent(boot)]
    return "\n".join([head, *rows, _row(whole, "")])


def _row(took: Spent, at: str) -> str:
    kb = [f"{bytes / 1000:9.0f}" for bytes in (took.tftp, took.http, took.nfs)]
    moved = f"{' '.join(kb)} {took.calls:9}"
    return f"{took.stage:<10} {at:>7} {took.seconds:7.1f} {moved}"


def spent(boot: BootTimeline) -> Iterator[Spent]:
    """What each stage took until the next; the last took nothing."""
    following = [*boot.stages[1:], boot.stages[-1]]
    for now, after in zip(boot.stages, following):
        yield Spent(
            now.stage,
            now.at,
            seconds=round(after.at - now.at, 2),
            tftp=after.tftp - now.tftp,
            http=after.http - now.http,
            nfs=after.nfs - now.nfs,
            calls=after.calls - now.calls,
        )


# --- is it right


@dataclass(frozen=True)
class Expected:
    """What a node has to be."""

    name: str
    address: str
    release: str  # its id
    root: str  # "172.24.10.1:/opt/nfs_export/worker-3f9a1c2b4d5e"
    partitions: tuple[Partition, ...]
    sshd: bool
    powers_off: bool  # by the power button
    units: bool = True  # systemd's: the node says which have failed
    writable: bool = False  # what is written to the root stays in memory
    lockdown: bool = False  # the kernel was verified, so it takes nothing unsigned afterwards
    measured: bool = False  # a TPM has measured what the firmware started


class Check(NamedTuple):
    holds: bool
    what: str
    found: str


def checks(boot: BootTimeline, expected: Expected) -> Iterator[Check]:
    """Every check with what was found."""
    yield from _identity_checks(boot.facts, expected)
    yield from _disk_checks(boot.facts, expected.partitions)
    yield Check(not boot.degraded, "nothing degraded", "; ".join(boot.degraded))
    if expected.units:
        failed = boot.facts.get("failed", "the node does not say")
        yield Check(failed == NONE, "no unit failed", "" if failed == NONE else failed)
    yield from _secure_checks(boot.facts, expected)
    if expected.sshd:
        yield Check(bool(boot.sshd), "sshd answers", boot.sshd or "nothing")
    if boot.reported is not None:
        yield Check(bool(boot.reported), "boot reported", boot.reported or "nothing")
    if expected.powers_off and boot.off != "cut":
        yield _equal("power button switches it off", boot.off, "by itself")


def _secure_checks(facts: Mapping[str, str], expected: Expected) -> Iterator[Check]:
    if expected.lockdown:
        found = facts.get("lockdown", "nothing")
        yield _equal("kernel lockdown (Secure Boot)", found, "integrity", "confidentiality")
    if expected.measured:
        yield _measured(facts)


def _measured(facts: Mapping[str, str]) -> Check:
    """Each of the TPM's registers that tells of the boot, by its first digits: none is zero."""
    values = {pcr: facts.get(f"PCR {pcr}", "").lower() for pcr in MEASURED}
    holds = all(value.strip("0") for value in values.values())
    shown = [f"PCR {pcr} {value[:16] or '-'}" for pcr, value in values.items()]
    return Check(holds, "measured", ", ".join(shown))


def _identity_checks(facts: Mapping[str, str], expected: Expected) -> Iterator[Check]:
    yield _equal("host name", facts.get("name"), expected.name)
    yield _equal("address", facts.get("address", "").split(" ")[0], expected.address)
    yield _equal("release", facts.get("release"), expected.release)
    mounted = facts.get("mount /")
    if expected.writable:
        where = "over NFS" if ":/" in expected.root else "in memory"
        what = f"root {where}, written in memory"
        yield _equal(what, mounted, f"{expected.root} overlay rw")
        above = facts.get("above", "")
        yield Check(bool(above), "what is written above it", above or "the node does not say")
    else:
        roots = [f"{expected.root} {fs} ro" for fs in ("nfs", "nfs4")]
        yield _equal("root over NFS, read-only", mounted, *roots)


def _disk_checks(facts: Mapping[str, str], partitions: tuple[Partition, ...]) -> Iterator[Check]:
    for part in partitions:
        if part.mount.startswith("/"):
            yield _on_disk(part.mount, part.fs, facts.get(f"mount {part.mount}"))
        if part.fill:
            yield _filled(part.mount, part.fill, facts.get(f"fill {part.mount}"))


def _equal(what: str, found: str | None, *wanted: str) -> Check:
    found = found or "nothing"
    if found in wanted:
        return Check(True, what, found)
    return Check(False, what, f"{found}, not {wanted[0]}")


def _on_disk(mount: str, fs: str, found: str | None) -> Check:
    device, *how = (found or "").split(" ")
    right = device.startswith("/dev/") and how[:2] == [fs, "rw"]
    return Check(right, f"{mount} on its disk", found or "nothing")


def _filled(mount: str, fill: str, found: str | None) -> Check:
    there, _, every = (found or "0 of 0").partition(" of ")
    names = f"{found or 'nothing'} names"
    return Check(there == every != "0", f"{mount} has what {fill} has", names)


def timings(boot: BootTimeline, found: Iterable[Check]) -> dict[str, Any]:
    """What a boot took and whether it was right, for other programs."""
    last = boot.stages[-1]
    stages = [stage._asdict() for stage in spent(boot)]
    checked = [check._asdict() for check in found]
    return {
        "seconds": last.at,
        "tftp_bytes": last.tftp,
        "http_bytes": last.http,
        "nfs_bytes": last.nfs,
        "nfs_calls": last.calls,
        "stages": stages,
        "holds": all(check["holds"] for check in checked),
        "checks": checked,
    }


# --- what is known of a failure

ENDINGS = {  # what a console ended with -> what that means
    NO_INIT_RUNS: "the kernel ran no /init of the initrd: is it there, a program of this machine's "
    "kind, and is there no other `rdinit=`?",
    # ticks are lost while QEMU's process has to wait
    "IO-APIC + timer doesn't work": "this machine has too much else to do: the emulated timer came "
    "too late; boot again, or with `no_timer_check` in `cmdline`",
}


def failure(boot: BootTimeline, logs: str, address: str, mac: str, lines: int = 15) -> str:
    """The stage reached, the console until it failed, and what the servers say of it."""
    last = boot.stages[-1] if boot.stages else Reached("power", 0, 0, 0, 0, 0, "")
    reached = f"`{last.stage}` ({last.at:.1f} s after power-on)"
    parts = [f"it came to the stage {reached}, then: {_explained(boot.ended)}"]
    parts += _listed("console:", _until_it_failed(boot)[-lines:])
    if boot.tftp_errors:
        parts += _listed("TFTP server:", boot.tftp_errors[-5:])
    for name in sorted(os.listdir(logs)):
        if name.endswith((".log", ".err")) and not name.startswith("console"):
            told = list(_that_matter(os.path.join(logs, name), (address, mac)))
            if told:
                parts += _listed(f"{name}:", told[-5:])
    return "\n".join(parts)


def _explained(ended: str) -> str:
    """What a console ended with, and what it means where that needs a word."""
    return ended + "".join(f"\nso {ENDINGS[words]}" for words in ENDINGS if words in ended)


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    return [title, *(f"    {line}" for line in lines)]


def _until_it_failed(boot: BootTimeline) -> list[str]:
    """The console's lines up to the one that ended it.

    A panic's reason stands before that, its call trace after.
    """
    lines = []
    for line in filter(None, boot.console):
        lines.append(line)
        if boot.ended and boot.ended in line:
            break
    return lines


# nfs-ganesha complains of what a lab has not: dbus, Kerberos, a recovery folder
WORDS = r"qemu|error|fail|denied|refused|not found|no such|no free|unknown|invalid"
MATTERS = re.compile(WORDS, re.IGNORECASE)
NOISE = re.compile(r"TIRPC|dbus|krb|keytab|gsh_rados|RADOS|recovery|reclaim|GRACE", re.IGNORECASE)


def _that_matter(path: str, names: Iterable[str]) -> Iterator[str]:
    with open(path, errors="replace") as log:
        for text in log:
            matters = MATTERS.search(text) or any(name in text for name in names)
            if matters and not NOISE.search(text):
                yield text.strip()[:240]
