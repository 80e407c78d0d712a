"""A reference that is a running node, pulled by rsync over ssh.

The admin's ssh decides who may log in and which host keys are right (~/.ssh/config, known_hosts); nothing is ever asked
for. RSYNC_RSH names another ssh, or options for it. What secrets the node has are left out on its own side.
"""

from __future__ import annotations

import re
import shlex
from typing import Iterable, NamedTuple

from ..base.errors import Refused
from ..base.process import Program, Say, Throttle
from ..base.ssh import TRIES, VANISHED, explain, ssh_command
from ..base.text import readable, unescape_octal
from ..rootfs.scrub import not_pulled
from ..site.model import Image
from .exclude import SEPARATE
from .snapshot import Snapshot

LOCAL = frozenset("ext2 ext3 ext4 xfs btrfs jfs reiserfs f2fs zfs vfat".split())

# -S: holes stay holes; -x: no file systems but those named; -R: sources keep their place below /./; modify-window:
# times are compared to the nanosecond, or a file that changed within the second of the last pull would look the same
RSYNC = [
    *("rsync", "-aHSxR8", "--numeric-ids", "--modify-window=-1"),
    *("--from0", "--exclude-from=-", "--info=progress2", "--no-motd"),
]
ATTRIBUTES = [
    "-AX"
]  # ACLs and extended attributes, which rsync knows since 3.0 (EL5's first was 2.6.8)
_COMPLAINT = re.compile(r"(?:rsync: |rsync error: |file has vanished: ).*")
_PROGRESS = re.compile(r"^\s*([\d,]+)\s+\d+%\s+(\S+)\s+[\d:]+")


class RsyncSource(NamedTuple):
    """An rsync source in its parts: `start` + `path` is what rsync is told. `host` is None for an rsync daemon."""

    start: str
    path: str
    host: str | None


def source_of(where: str) -> RsyncSource:
    """`user@host:/path`, `host::module/path` or `rsync://host/module/path`."""
    if where.startswith("rsync://"):
        host, _, path = where[8:].partition("/")
        return RsyncSource(f"rsync://{host}/", path.rstrip("/"), None)
    host, _, path = where.partition(":")
    if path.startswith(":"):
        return RsyncSource(f"{host}::", path[1:].rstrip("/"), None)
    return RsyncSource(f"{host}:", path.rstrip("/"), host)


def pull_remote(image: Image, snapshot: Snapshot, say: Say) -> None:
    """Pull what changed since the last snapshot; what did not is shared with it by hard links."""
    source = source_of(image.reference.where)
    say(f"{image.reference.where}: looking at it")
    places = file_systems(source, image.also)
    options, status, words = ATTRIBUTES, VANISHED, [""]
    for _ in range(TRIES):
        snapshot.begin()
        status, words = _rsync([*RSYNC, *options], source, places, snapshot, patterns(image), say)
        if options and any("unknown option" in line for line in words):
            say(
                f"{image.reference.where}: its rsync is too old for ACLs and extended attributes; pulled without them"
            )
            options = []
        elif status == VANISHED:
            say(f"{image.reference.where}: changed while it was copied; once more")
        else:
            break
    if status:
        raise Refused(explain(image.reference.where, source.host, status, words))
    snapshot.publish(image, say, exclude=image.exclude, keep=image.keep)


def patterns(image: Image) -> list[str]:
    """Filter rules for rsync, the first that fits decides: secrets, then what the image leaves out."""

    return [*not_pulled(image.keep), *(f"- {pattern}" for pattern in image.exclude)]


def _rsync(
    command: list[str],
    source: RsyncSource,
    places: Iterable[str],
    snapshot: Snapshot,
    rules: list[str],
    say: Say,
) -> tuple[int, list[str]]:
    """rsync's exit status and what it complained of."""
    links = [f"--link-dest={tree}" for tree in snapshot.earlier()]
    from_ = [f"{source.start}{source.path}/./{place}" for place in ("", *places)]
    program = Program(
        [*command, *links, "--", *from_, snapshot.incoming + "/"],
        given=b"".join(rule.encode() + b"\0" for rule in rules),
        environment={"RSYNC_RSH": shlex.join(ssh_command())},
    )
    tell, words = Throttle(say), []
    for line in map(readable, program.lines()):
        if complaint := _COMPLAINT.search(line):  # it may come in the middle of a line of progress
            words.append(complaint[0])
        elif progress := _PROGRESS.match(line):
            tell(f"{int(progress[1].replace(',', '')) / 1e6:,.0f} MB, {progress[2]}")
        elif line.strip():
            words.append(line)
    return program.status, words


def file_systems(source: RsyncSource, also: tuple[str, ...] | None) -> list[str]:
    """The file systems besides the root's to pull, relative to the source, each with a slash after it.

    Those that `also` names; without it those of local disks at SEPARATE, as the node itself says.
    """
    if source.host is None:
        return sorted(path.strip("/") + "/" for path in also or ())
    mounted = dict(_mounts(source.host)) if also != () else {}
    at = {mount[len(source.path) :] for mount in mounted if mount.startswith(source.path + "/")}
    wanted = {"/" + path.strip("/") for path in (SEPARATE if also is None else also)} & at
    local = {path for path in wanted if also is not None or mounted[source.path + path] in LOCAL}
    return sorted(path.strip("/") + "/" for path in local)


def _mounts(host: str) -> Iterable[tuple[str, str]]:
    """(mount point, type of file system), from the node's /proc/mounts."""
    program = Program([*ssh_command(), "--", host, "echo; cat /proc/mounts"])
    lines = [readable(line) for line in program.lines() if line.strip()]
    if program.status:
        raise Refused(explain(host, host, program.status, lines))
    for words in (line.split(" ") for line in lines):
        if len(words) >= 6:
            yield unescape_octal(words[1].encode()).decode(errors="replace"), words[2]
