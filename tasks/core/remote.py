"""A reference that is a running node, pulled by rsync over ssh.

The admin's ssh decides who may log in and which host keys are right (~/.ssh/config, known_hosts); nothing is ever asked
for. RSYNC_RSH names another ssh, or options for it. What secrets the node has are left out on its own side.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import Iterable, NamedTuple

from .bounds import SEPARATE
from .errors import Refused
from .reference import Snapshot
from .running import NowAndThen, Program, Say
from .site import Image
from .text import readable

LOCAL = frozenset("ext2 ext3 ext4 xfs btrfs jfs reiserfs f2fs zfs vfat".split())

# -S: holes stay holes; -x: no file systems but those named; -R: sources keep their place below /./; modify-window:
# times are compared to the nanosecond, or a file that changed within the second of the last pull would look the same
RSYNC = [
    *("rsync", "-aHSxR8", "--numeric-ids", "--modify-window=-1"),
    *("--from0", "--exclude-from=-", "--info=progress2", "--no-motd"),
]
ATTRIBUTES = ["-AX"]  # ACLs and extended attributes, which rsync knows since 3.0 (EL5's first was 2.6.8)
VANISHED, TRIES = 24, 3  # rsync's exit status where files went away while they were copied

# ssh_config(5): what the far end could use of this machine, from its agent to its network, and commands
ALONE = (
    *("ForwardAgent=no", "ForwardX11=no", "GSSAPIDelegateCredentials=no", "ClearAllForwardings=yes", "Tunnel=no"),
    *("PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no"),
)
NO_AGENT = ("-a", "-x", "-k")  # for the -A, -X and -K of RSYNC_RSH
PATIENCE = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15")

# What a program says -> what it means to an admin, the first that fits. {host} and {0}… are filled in.
MEANINGS = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one that is known: it was installed anew, or "
     "another machine answers; make sure, then ssh-keygen -R {host}, and log in once"),
    (r"Host key verification failed", "its host key is not known here: log in once (ssh {host}) and compare it"),
    (r"Permission denied \([a-z]|Too many authentication failures", "it lets nobody in without a password: give it "
     "a key of this user (ssh-copy-id {host})"),
    (r"Could not resolve hostname [^:]*: (.*)", "its name is not known: {0}"),
    (r"(Connection refused|Connection timed out|No route to host|Network is unreachable|Connection reset.*|"
     r"Connection closed.*|Operation timed out|Timeout, server .* not responding)", "it cannot be reached: {0}"),
    (r"rsync: (?:command )?not found|rsync: No such file|exec.*rsync.*not found", "it has no rsync: install it there"),
    (r"is your shell clean|protocol version mismatch", "its login shell says something where only rsync may speak (a "
     "greeting in .bashrc, say): make it silent where there is no terminal"),
    (r"(No space left on device)", "{0} here, in the build folder"),
    (r"change_dir \"([^\"]*)\" .*failed: (.*) \(\d+\)", "{0}: {1}"),
)  # fmt: skip

_TROUBLE = re.compile(
    r'^(?:rsync: .*?"(?P<path>[^"]*)".* failed: (?P<why>.*) \(\d+\)|file has vanished: "(?P<gone>[^"]*)")'
)
_UNREAD = re.compile(r'^rsync: (?:\[\w+\] )?\w+ failed to open "(?P<path>[^"]*)": (?P<why>.*) \(\d+\)')
_COMPLAINT = re.compile(r"(?:rsync: |rsync error: |file has vanished: ).*")
_PROGRESS = re.compile(r"^\s*([\d,]+)\s+\d+%\s+(\S+)\s+[\d:]+")


class Source(NamedTuple):
    """An rsync source in its parts: `start` + `path` is what rsync is told. `host` is None for an rsync daemon."""

    start: str
    path: str
    host: str | None


def source_of(where: str) -> Source:
    """`user@host:/path`, `host::module/path` or `rsync://host/module/path`."""
    if where.startswith("rsync://"):
        host, _, path = where[8:].partition("/")
        return Source(f"rsync://{host}/", path.rstrip("/"), None)
    host, _, path = where.partition(":")
    if path.startswith(":"):
        return Source(f"{host}::", path[1:].rstrip("/"), None)
    return Source(f"{host}:", path.rstrip("/"), host)


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
            say(f"{image.reference.where}: its rsync is too old for ACLs and extended attributes; pulled without them")
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
    from .scrub import not_pulled

    return [*not_pulled(image.keep), *(f"- {pattern}" for pattern in image.exclude)]


def _rsync(
    command: list[str], source: Source, places: Iterable[str], snapshot: Snapshot, rules: list[str], say: Say
) -> tuple[int, list[str]]:
    """rsync's exit status and what it complained of."""
    links = [f"--link-dest={tree}" for tree in snapshot.earlier()]
    from_ = [f"{source.start}{source.path}/./{place}" for place in ("", *places)]
    program = Program(
        [*command, *links, "--", *from_, snapshot.incoming + "/"],
        given=b"".join(rule.encode() + b"\0" for rule in rules),
        environment={"RSYNC_RSH": shlex.join(shell())},
    )
    tell, words = NowAndThen(say), []
    for line in map(readable, program.lines()):
        if complaint := _COMPLAINT.search(line):  # it may come in the middle of a line of progress
            words.append(complaint[0])
        elif progress := _PROGRESS.match(line):
            tell(f"{int(progress[1].replace(',', '')) / 1e6:,.0f} MB, {progress[2]}")
        elif line.strip():
            words.append(line)
    return program.status, words


def shell(*options: str) -> list[str]:
    """How to reach a node or a server: ssh, or what RSYNC_RSH says; nothing is asked for, a dead line is noticed.

    Nothing of this machine is forwarded, whatever the configuration of ssh or RSYNC_RSH say. `options` are for ssh,
    which takes the first that it is told of each, but of flags the last.
    """
    program, *told = shlex.split(os.environ.get("RSYNC_RSH") or "ssh")
    if os.path.basename(program) != "ssh":
        return [program, *told]
    ours = (f"-o{option}" for option in PATIENCE)
    return [program, *(f"-o{option}" for option in ALONE), *told, *options, *ours, *NO_AGENT]


def file_systems(source: Source, also: tuple[str, ...] | None) -> list[str]:
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
    program = Program([*shell(), "--", host, "echo; cat /proc/mounts"])
    lines = [readable(line) for line in program.lines() if line.strip()]
    if program.status:
        raise Refused(explain(host, host, program.status, lines))
    for words in (line.split(" ") for line in lines):
        if len(words) >= 6:
            yield re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[1]), words[2]


def explain(where: str, host: str | None, status: int, words: list[str]) -> str:
    """One line for an admin: what stopped the pull, and what to do."""
    text = "\n".join(words)
    for pattern, meaning in MEANINGS:
        if found := re.search(pattern, text):
            return f"{where}: {meaning.format(*found.groups(), host=host)}"
    if status in (23, VANISHED):
        return f"{where}: {_files(words)}; log in as root there, or `exclude` them"
    last = next((line for line in reversed(words) if line.strip()), "no reason given")
    return f"{where}: {last} (exit status {status})"


def _files(words: list[str]) -> str:
    """Which files could not be pulled, the first few of them by name."""
    files = []
    for line in words:
        if found := _UNREAD.match(line) or _TROUBLE.match(line):
            parts = found.groupdict()
            files.append(f"{parts['gone']} (vanished)" if parts.get("gone") else f"{parts['path']} ({parts['why']})")
    if not files:
        return words[0] if words else "some files could not be pulled"
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"not pulled: {', '.join(files[:3])}{more}"
