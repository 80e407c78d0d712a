"""A reference that is a running node, pulled by rsync over ssh.

The admin's ssh decides who may log in and which host keys are right (~/.ssh/config, known_hosts);
nothing is ever asked for. RSYNC_RSH names another ssh, or options for it. What secrets the node has
are left out on its own side.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..base.errors import Refused
from ..base.process import Program, Say, Throttle
from ..base.ssh import TRIES, VANISHED, explain, ssh_command
from ..base.text import readable, unescape_octal
from ..rootfs.scrub_rules import not_pulled, rule_for
from ..site.model import Image, Reference
from ..tree.filter import NEVER_COPIED, Patterns
from ..unpack.fake_super import Builder
from ..unpack.tar import confined
from .exclude import SEPARATE
from .kind import Facts, ReferenceKind, where
from .snapshot import Snapshot

KEPT_APART = frozenset("ext2 ext3 ext4 xfs btrfs jfs reiserfs f2fs zfs".split())
LOCAL = KEPT_APART | {"vfat"}

# -S: holes stay holes; -x: no file systems but those named; -R: sources keep their place below /./;
# modify-window: times are compared to the nanosecond, or a file that changed within the second of
# the last pull would look the same
COMMAND = [
    *("rsync", "-aHSxR8", "--numeric-ids", "--modify-window=-1"),
    *("--from0", "--exclude-from=-", "--info=progress2", "--no-motd"),
]
# ACLs and extended attributes, which rsync knows since 3.0 (EL5's first was 2.6.8)
ATTRIBUTES = ["-AX"]
MEANINGS = (
    (
        r"write xattr user\.rsync.*Operation not supported",
        "the build folder's file system keeps no attributes user.*, in which an ordinary user's "
        "rsync writes owners and devices down: build on ext4, xfs or btrfs, or as root",
    ),
)
_COMPLAINT = re.compile(r"(?:rsync: |rsync error: |file has vanished: ).*")
_PROGRESS = re.compile(r"^\s*([\d,]+)\s+\d+%\s+(\S+)\s+[\d:]+")


class RsyncSource(NamedTuple):
    """An rsync source in its parts: `start` + `path` is what rsync is told."""

    start: str
    path: str
    host: str | None  # None for an rsync daemon


def source_of(where: str) -> RsyncSource:
    """`user@host:/path`, `host::module/path` or `rsync://host/module/path`."""
    if where.startswith("rsync://"):
        host, _, path = where[8:].partition("/")
        return RsyncSource(f"rsync://{host}/", path.rstrip("/"), None)
    host, _, path = where.partition(":")
    if path.startswith(":"):
        return RsyncSource(f"{host}::", path[1:].rstrip("/"), None)
    return RsyncSource(f"{host}:", path.rstrip("/"), host)


def _take(image: Image, snapshot: Snapshot, say: Say) -> Facts:
    """Pull what changed since the last snapshot, which shares what did not by hard links."""
    name = image.reference.where
    say(f"{name}: looking at it")
    _pull(image, snapshot, say)
    if os.geteuid():
        confined(name, snapshot.incoming, Builder().settle, snapshot.claims, lambda: None)
    return {"exclude": image.exclude, "keep": image.keep, **snapshot.claimed()}


def _pull(image: Image, snapshot: Snapshot, say: Say) -> None:
    name = image.reference.where
    source = source_of(name)
    places = ["", *file_systems(source, image, say)]
    sources = [f"{source.start}{source.path}/./{place}" for place in places]

    options, status, words = [*ATTRIBUTES, *_alone()], VANISHED, [""]
    for _ in range(TRIES):
        snapshot.begin()
        command = [*COMMAND, *options, *_links(snapshot), "--", *sources, snapshot.incoming + "/"]
        status, words = _rsync(command, patterns(image), say)
        if ATTRIBUTES[0] in options and "unknown option" in "\n".join(words):
            without = "too old for ACLs and extended attributes; pulled without them"
            say(f"{name}: its rsync is {without}")
            options = _alone()
        elif status == VANISHED:
            say(f"{name}: changed while it was copied; once more")
        else:
            break
    if status:
        raise Refused(f"{name}: {explain(source.host, status, words, MEANINGS)}")


def _alone() -> list[str]:
    """Of who may give no file away: owners and devices are written down beside them."""
    return ["--fake-super"] if os.geteuid() else []


def _links(snapshot: Snapshot) -> list[str]:
    return [f"--link-dest={tree}" for tree in snapshot.earlier()]


def patterns(image: Image) -> list[str]:
    """Filter rules for rsync, secrets first, then what is excluded; the first that fits decides."""
    return [*not_pulled(image.keep), *(f"- {pattern}" for pattern in image.exclude)]


def _rsync(command: list[str], rules: list[str], say: Say) -> tuple[int, list[str]]:
    """rsync's exit status and what it complained of."""
    program = Program(
        command,
        given=b"".join(rule.encode() + b"\0" for rule in rules),
        environment={"RSYNC_RSH": shlex.join(ssh_command())},
    )
    tell = Throttle(say)
    words = []
    for line in map(readable, program.lines()):
        complaint = _COMPLAINT.search(line)  # it may come in the middle of a line of progress
        progress = _PROGRESS.match(line)
        if complaint:
            words.append(complaint[0])
        elif progress:
            size = int(progress[1].replace(",", "")) / 1e6
            tell(f"{size:,.0f} MB, {progress[2]}")
        elif line.strip():
            words.append(line)
    return program.status, words


def file_systems(source: RsyncSource, image: Image, say: Say) -> list[str]:
    """The file systems besides the root's to pull, relative to the source, with a slash at the end.

    Those that `also` names; without it those of local disks at SEPARATE, as the node itself says,
    and a word of the others.
    """
    also = image.also
    if source.host is None:
        return _as_folders(also or ())
    mounted: dict[str, Mounted] = {}
    if also != ():
        mounted = dict(_mounts(source.host))

    found = []
    for path in _as_folders(SEPARATE if also is None else also):
        there = mounted.get(f"{source.path}/{path.rstrip('/')}")
        if there is not None and (also is not None or there.kind in LOCAL):
            found.append(path)
    left = [] if also else list(_left(source, mounted, image))
    if left:
        what = f"file systems of their own, which are not pulled: {', '.join(left)}"
        say(f"{source.host}: {what}; name under `also` those that nodes need")
    return found


def _left(source: RsyncSource, mounted: Mapping[str, Mounted], image: Image) -> Iterator[str]:
    """Local disks of which a root would have nothing, though their files may be of the system."""
    taken = [source.path or "/"]
    taken += [source.path + path for path in SEPARATE]
    devices = {mounted[place].device for place in taken if place in mounted}
    excluded = Patterns([*NEVER_COPIED, *image.exclude])
    for place, (device, kind) in mounted.items():
        if place in taken or kind not in KEPT_APART:
            continue
        if device in devices and kind != "btrfs":  # mounted twice; of btrfs a volume beside
            continue
        path = place.removeprefix(f"{source.path}/")
        if path == place:
            continue
        inside = os.fsencode(path) + b"/x"
        if excluded.first(inside, False) < 0 and not _is_scrubbed(inside):
            yield place


def _is_scrubbed(path: bytes) -> bool:
    rule = rule_for(path, False)
    return rule is not None and rule.removes


def _as_folders(paths: Iterable[str]) -> list[str]:
    return sorted({path.strip("/") + "/" for path in paths})


class Mounted(NamedTuple):
    """What a node has mounted somewhere."""

    device: str
    kind: str  # of file system


def _mounts(host: str) -> Iterator[tuple[str, Mounted]]:
    """What is mounted, by its place, from the node's /proc/mounts."""
    program = Program([*ssh_command(), "--", host, "echo; cat /proc/mounts"])
    lines = [readable(line) for line in program.lines() if line.strip()]
    if program.status:
        raise Refused(f"{host}: {explain(host, program.status, lines)}")
    for line in lines:
        words = line.split(" ")
        if len(words) >= 6:
            place = unescape_octal(words[1].encode()).decode(errors="replace")
            yield place, Mounted(words[0], words[2])


def _label(reference: Reference) -> str:
    return f"rsync from {reference.where}"


def _identity(image: Image) -> tuple[Any, ...]:
    """The reference, and which file systems of the node are pulled besides its root's."""
    return image.reference, image.also


KIND = ReferenceKind("rsync", describe=where, label=_label, take=_take, identity=_identity)
