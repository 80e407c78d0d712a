"""Reach: nodes that run, over ssh, many at once, by ClusterShell's Task.

A node's ssh host keys are made on its own disk at its first boot, so nobody can know them before: the first key that a
name shows is kept in a file of ours, and only that one is taken from then on (ssh_config(5): accept-new).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ClusterShell.Event import EventHandler
from ClusterShell.Worker.Popen import WorkerPopen

from ..base.nodeset import fold_nodes
from ..base.ssh import explain, ssh_command
from ..base.text import readable
from ..remote import parallel
from ..site.model import Node

NODE_FANOUT = 64  # nodes at once
CONNECT, LIMIT = 5, 120  # seconds for a connection, and for all of it
NO_DATA = 66  # exit status of a script: EX_NOINPUT of sysexits.h
BEGIN = "plugnode:"  # a line; before it a login shell may greet

# What a node is asked by standard input or prints; POSIX sh of any node, EL5's too.
ENTER = f'cd /run/plugnode 2>/dev/null || {{ echo "no /run/plugnode" >&2; exit {NO_DATA}; }}; '
TAKE = (  # a tar of site data: all of it is there before the first name leads to it; a layout goes when none does
    "set -eu; umask 022; " + ENTER + "for old in .new.*; do "
    'kill -0 "${old#.new.}" 2>/dev/null || rm -rf "$old"; done; '  # of one that was killed
    'new=.new.$$; trap \'rm -rf "$new"\' EXIT; mkdir -p "$new" layouts; tar -xf - -C "$new"; gone=; '
    'for file in layouts/*; do [ -f "$new/$file" ] || gone="$gone $file"; done; '
    'mv -f "$new"/layouts/* layouts/; for name in site nodes hosts; do mv -f "$new/$name" "$name"; done; rm -f $gone'
)
_RELEASE = re.compile(r"[\w.-]+-[0-9a-f]{12}", re.ASCII)
RUNS = "set -eu; " + ENTER + "cat release; [ ! -s degraded ] || echo degraded"


class Replies(NamedTuple):
    """Of each node by name: what it printed, or one line that says why it did not."""

    said: dict[str, str]
    failed: dict[str, str]


class Runs(NamedTuple):
    """What a node says of itself."""

    release: str
    degraded: bool


def runs(text: str) -> Runs | None:
    """A node's answer to RUNS; None where it is none."""
    release, *more = text.split("\n")
    if not _RELEASE.fullmatch(release) or more not in ([], ["degraded"]):
        return None
    return Runs(release, bool(more))


def ask(nodes: Iterable[Node], script: str, known_hosts: str, given: str = os.devnull) -> Replies:
    """Run a shell script on nodes, as root, with the file `given` as standard input."""
    asked = [_Asked(node.name) for node in nodes]
    for node, handler in zip(nodes, asked):
        words = [*ssh(node, known_hosts), f"echo; echo {BEGIN}; {script}"]
        parallel.begin(words, node.name, handler, LIMIT, given)
    parallel.finish(NODE_FANOUT)
    failed = {each.name: each.failure for each in asked if each.failure}
    return Replies({each.name: "\n".join(each.said) for each in asked if not each.failure}, failed)


def ssh(node: Node, known_hosts: str) -> list[str]:
    """By its address, for no resolver need know it; its key by its name, which stays when the address does not."""
    ours = f'"{os.path.abspath(known_hosts)}" ~/.ssh/known_hosts'
    options = {
        "HostName": node.ip, "HostKeyAlias": node.name, "UserKnownHostsFile": ours,
        "StrictHostKeyChecking": "accept-new", "ConnectTimeout": str(CONNECT), "LogLevel": "ERROR",
    }  # fmt: skip
    return [
        *ssh_command(*(f"-o{name}={value}" for name, value in options.items())),
        "-T",
        "--",
        f"root@{node.name}",
    ]


class _Asked(EventHandler):  # type: ignore[misc]
    """One node's words."""

    def __init__(self, name: str):
        self.name, self.failure = name, ""
        self.said: list[str] = []
        self.words: list[str] = []

    def ev_read(self, worker: WorkerPopen, node: str, sname: str, msg: bytes) -> None:
        line = readable(msg.decode(errors="replace"))
        if sname != worker.SNAME_STDOUT:
            self.words = [*self.words[-30:], line]
        elif line == BEGIN:
            self.said = []
        else:
            self.said = [*self.said[:30], line]

    def ev_hup(self, worker: WorkerPopen, node: str, rc: int) -> None:
        if rc == NO_DATA:
            self.failure = "it runs, but has no /run/plugnode: it was not booted by Plugnode"
        elif rc:
            self.failure = reason(rc, self.words)

    def ev_close(self, worker: WorkerPopen, timedout: bool) -> None:
        if timedout:
            self.failure = f"did not answer in {LIMIT} seconds"


def reason(status: int, words: list[str]) -> str:
    """Why a node could not be asked; the same words for every node that has the same trouble. NODE is its name."""
    text = "\n".join(words)
    for pattern, meaning in NODE_MEANINGS:
        if found := re.search(pattern, text):
            return meaning.format(*found.groups())
    return explain("", "NODE", status, words).removeprefix(": ")


NODE_MEANINGS = (
    (r"HOST IDENTIFICATION HAS CHANGED", "its host key is not the one that it had: its disk was made anew, or another "
     "machine answers; make sure, then ssh-keygen -R NODE -f KNOWN_HOSTS"),
    (r"(No route to host|Connection refused|Connection timed out|Network is unreachable|Connection reset)", "{0}"),
)  # fmt: skip


def folded(words: Mapping[str, str], known_hosts: str = "") -> list[str]:
    """A line for all the nodes of the same words: `wn[003-007]: No route to host`."""
    groups: dict[str, list[str]] = {}
    for name, text in words.items():
        groups.setdefault(text, []).append(name)
    return [
        f"{fold_nodes(names)}: {text.replace('NODE', fold_nodes(names)).replace('KNOWN_HOSTS', known_hosts)}"
        for text, names in groups.items()
    ]
