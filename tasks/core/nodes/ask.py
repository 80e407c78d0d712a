"""Ask: nodes that run, over ssh, many at once, by ClusterShell's Task.

A node's ssh host keys are made on its own disk at its first boot, so nobody can know them before:
the first key that a name shows is kept in a file of ours, and only that one is taken from then on
(ssh_config(5): accept-new).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ClusterShell.Event import EventHandler
from ClusterShell.Worker.Popen import WorkerPopen

from ..base.nodeset import fold_alike
from ..base.ssh import Meanings, explain, last_of, ssh_command
from ..base.text import readable
from ..release import ID_END
from ..remote import parallel
from ..site.model import Node

NODE_FANOUT = 64  # nodes at once
CONNECT, LIMIT = 5, 120  # seconds for a connection, and for all of it
FETCHING = 1800  # seconds: a root file, from a server that many others ask
OF_SSH = 255  # its own exit status, where there is none of the script (ssh(1))
NO_DATA = 66  # exit status of a script: EX_NOINPUT of sysexits.h
BEGIN = "plugnode:"  # a line; before it a login shell may greet

# What a node is asked by standard input or prints; POSIX sh of any node, EL5's too.
ENTER = f'cd /run/plugnode 2>/dev/null || {{ echo "no /run/plugnode" >&2; exit {NO_DATA}; }}; '
# A tar of site data: all of it is there before the first name leads to it; a layout goes when none
# does, and the folder of one that was killed.
TAKE = (
    "set -eu; umask 022; " + ENTER + "for old in .new.*; do "
    'kill -0 "${old#.new.}" 2>/dev/null || rm -rf "$old"; done; '
    "new=.new.$$; trap 'rm -rf \"$new\"' EXIT; "
    'mkdir -p "$new" layouts; tar -xf - -C "$new"; gone=; '
    "for file in layouts/* templates/* facts; do "
    '[ ! -f "$file" ] || [ -f "$new/$file" ] || gone="$gone $file"; done; '
    'mv -f "$new"/layouts/* layouts/; '
    '[ ! -d "$new/templates" ] || { mkdir -p templates; mv -f "$new"/templates/* templates/; }; '
    '[ ! -f "$new/facts" ] || mv -f "$new/facts" facts; '
    'for name in site nodes hosts; do mv -f "$new/$name" "$name"; done; rm -f $gone; '
    "[ ! -s /etc/plugnode/node_files ] || sh /etc/setup.sh fill_node_files; "
    "[ ! -s /etc/plugnode/secrets ] || sh /etc/setup.sh take_secrets"
)
RUNS = (
    "set -eu; " + ENTER + "cat release; [ ! -s degraded ] || echo degraded; "
    "[ ! -s disks ] || cat disks"
)
MOST_LINES = 90  # of what a node says
_DISK = re.compile(r"(/dev/\S+) (\d+) (\S.*) (\S+)", re.ASCII)
# The line must not be cut before it has said so.
NEXT_IMAGE = (  # the initrd of a root that is kept on the disk has put it there
    "set -eu; " + ENTER + "[ -f fetch/next-image ] || "
    "{ echo 'it was not booted with root: disk' >&2; exit 1; }; "
    "exec /run/plugnode/fetch/bin/busybox sh /run/plugnode/fetch/next-image"
)
# $whose upgrade a node is in, which it knows until it boots: one alone is the first to say so
CLAIM = "set -eu; " + ENTER + '(set -C; echo "$whose" >upgrade) 2>/dev/null || :; cat upgrade'
UNCLAIM = "set -eu; " + ENTER + "rm -f upgrade"
REBOOT = (
    "PATH=$PATH:/sbin:/usr/sbin; command -v shutdown >/dev/null || "
    "{ echo 'it has no shutdown' >&2; exit 1; }; "
    "nohup sh -c 'sleep 1; exec shutdown -r now' </dev/null >/dev/null 2>&1 &"
)
_RELEASE = re.compile(rf"[\w.-]+{ID_END}", re.ASCII)

# What ssh says -> what it means to an admin; NODE and KNOWN_HOSTS are filled in by `folded`.
NODE_MEANINGS: Meanings = (
    (
        r"HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that it had: its disk was made anew, or another machine "
        "answers; make sure, then ssh-keygen -R NODE -f KNOWN_HOSTS",
    ),
    (
        r"(No route to host|Connection refused|Connection timed out|Network is unreachable"
        r"|Connection reset)",
        "{0}",
    ),
)


class Replies(NamedTuple):
    """Of each node by name: what it printed, or one line that says why it did not."""

    said: dict[str, str]
    failed: dict[str, str]


class NodeDisk(NamedTuple):
    """A disk that a node has, in the words of its setup.sh: `-` for what it does not say."""

    device: str
    mib: int
    serial: str
    transport: str

    def __str__(self) -> str:
        return f"{self.device} {self.mib} MiB, serial {self.serial}, {self.transport}"


class Runs(NamedTuple):
    """What a node says of itself."""

    release: str
    degraded: bool
    disks: tuple[NodeDisk, ...] = ()


def runs(text: str) -> Runs | None:
    """A node's answer to RUNS; None where it is none."""
    release, *more = text.split("\n")
    is_degraded = more[:1] == ["degraded"]
    found = [_DISK.fullmatch(line) for line in more[is_degraded:]]
    if not _RELEASE.fullmatch(release) or None in found:
        return None
    disks = [NodeDisk(each[1], int(each[2]), each[3], each[4]) for each in found if each]
    return Runs(release, is_degraded, tuple(disks))


class Heard(NamedTuple):
    """What nodes say that they run; why it is not known of others, as `folded` takes it."""

    runs: dict[str, Runs]
    failed: dict[str, str]
    known_hosts: str

    @property
    def reasons(self) -> dict[str, str]:
        """Why it is not known of each other."""
        return named(self.failed, self.known_hosts)

    @property
    def unheard(self) -> list[str]:
        """The same, a line for all of the same reason."""
        return folded(self.failed, self.known_hosts)


def hear(nodes: Iterable[Node], known_hosts: str) -> Heard:
    """Ask nodes what they run."""
    replies = ask(nodes, RUNS, known_hosts)
    heard = Heard({}, dict(replies.failed), known_hosts)
    for name, text in replies.said.items():
        if one := runs(text):
            heard.runs[name] = one
        else:
            heard.failed[name] = "what it says that it runs is no release"
    return heard


def ask(
    nodes: Iterable[Node],
    script: str,
    known_hosts: str,
    given: str = os.devnull,
    limit: float = LIMIT,
) -> Replies:
    """Run a shell script on nodes, as root, with the file `given` as standard input.

    Each has `limit` seconds.
    """
    asked = []
    for node in nodes:
        words = [*ssh(node, known_hosts), f"echo; echo {BEGIN}; {script}"]
        asked.append(_Asked(node.name, limit))
        parallel.begin(parallel.Job(words, node.name, limit, given), asked[-1])
    parallel.finish(NODE_FANOUT)

    replies = Replies({}, {})
    for each in asked:
        if each.failure:
            replies.failed[each.name] = each.failure
        else:
            replies.said[each.name] = "\n".join(each.said)
    return replies


def ssh(node: Node, known_hosts: str) -> list[str]:
    """The command that reaches a node by its address, for no resolver need know it.

    Its key it has by its name, which stays when the address does not.
    """
    options = {
        "HostName": node.ip,
        "HostKeyAlias": node.name,
        "UserKnownHostsFile": f'"{os.path.abspath(known_hosts)}" ~/.ssh/known_hosts',
        "StrictHostKeyChecking": "accept-new",
        "ConnectTimeout": str(CONNECT),
        "LogLevel": "ERROR",
    }
    words = [f"-o{name}={value}" for name, value in options.items()]
    return [*ssh_command(*words), "-T", "--", f"root@{node.name}"]


class _Asked(EventHandler):  # type: ignore[misc]
    """One node's words."""

    def __init__(self, name: str, limit: float):
        self.name, self.failure, self.limit = name, "", limit
        self.said: list[str] = []
        self.words: list[str] = []

    def ev_read(self, worker: WorkerPopen, node: str, sname: str, msg: bytes) -> None:
        if len(msg) > parallel.LONGEST:
            self.failure = "what it says does not end"
            worker.abort()
            return
        line = readable(msg.decode(errors="replace"))
        if sname != worker.SNAME_STDOUT:
            self.words = [*self.words[-30:], line]
        elif line == BEGIN:
            self.said = []
        else:
            self.said = [*self.said[: MOST_LINES - 1], line]

    def ev_hup(self, worker: WorkerPopen, node: str, rc: int) -> None:
        if rc == NO_DATA:
            self.failure = "it runs, but has no /run/plugnode: it was not booted by Plugnode"
        elif rc == OF_SSH:
            self.failure = explain("NODE", rc, self.words, NODE_MEANINGS)
        elif rc:  # the node answers: what it says of others' connections is not about its own
            self.failure = f"{last_of(self.words)} (exit status {rc})"

    def ev_close(self, worker: WorkerPopen, timedout: bool) -> None:
        if timedout:
            self.failure = f"did not answer in {self.limit:g} seconds"


def named(failed: Mapping[str, str], known_hosts: str) -> dict[str, str]:
    """Why nodes did not answer, each line about its node alone."""
    return {name: _filled(text, name, known_hosts) for name, text in failed.items()}


def folded(words: Mapping[str, str], known_hosts: str = "") -> list[str]:
    """A line for all the nodes of the same words: `wn[003-007]: No route to host`."""
    lines = []
    for nodes, text in fold_alike(words):
        lines.append(f"{nodes}: {_filled(text, nodes, known_hosts)}")
    return lines


def _filled(text: str, nodes: str, known_hosts: str) -> str:
    return text.replace("NODE", nodes).replace("KNOWN_HOSTS", known_hosts)
