"""Schedulers: how jobs are kept off a node, and how one knows that it has none left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from ..base.errors import Refused
from ..base.programs import ask_program
from ..base.ssh import last_of
from ..base.text import readable
from ..site.model import Upgrade

LIMIT = 60  # seconds for one command
STAYS = "; it stays drained"


class Scheduler(Protocol):
    """Whoever sends jobs to nodes. Each may raise Refused, with one line that says why."""

    stays: str  # what is to be said of a node that has failed
    knows_jobs: bool  # whether that it says of none that it is busy means anything

    def drained(self, nodes: Iterable[str]) -> Mapping[str, str]:
        """Those of the nodes that are drained already -> the reason that was given."""

    def drain(self, node: str, reason: str) -> None:
        """Send it no job any more; or, where it is drained, give another reason."""

    def busy(self, nodes: Iterable[str]) -> Mapping[str, str]:
        """Those of the nodes that still have jobs -> what is said of them."""

    def undrain(self, node: str) -> None:
        """Send it jobs again."""


class NoScheduler:
    """Nodes are rebooted whatever they do."""

    stays, knows_jobs = "", False

    def drained(self, nodes: Iterable[str]) -> Mapping[str, str]:
        return {}

    def drain(self, node: str, reason: str) -> None:
        pass

    def busy(self, nodes: Iterable[str]) -> Mapping[str, str]:
        return {}

    def undrain(self, node: str) -> None:
        pass


class Hooks:
    """The commands of a site's `upgrade:`, which have $NODE, and $REASON of a drain."""

    stays, knows_jobs = STAYS, True

    def __init__(self, commands: Upgrade):
        self.commands = commands

    def drained(self, nodes: Iterable[str]) -> Mapping[str, str]:
        return {}

    def drain(self, node: str, reason: str) -> None:
        self._do("drain", node, reason)

    def busy(self, nodes: Iterable[str]) -> Mapping[str, str]:
        found = {}
        for node in nodes:
            status, said = ask_program("sh", "-c", self.commands.idle, within=LIMIT, NODE=node)
            if status:
                found[node] = _last(status, said)
        return found

    def undrain(self, node: str) -> None:
        self._do("undrain", node)

    def _do(self, key: str, node: str, reason: str = "") -> None:
        command = getattr(self.commands, key)
        status, said = ask_program("sh", "-c", command, within=LIMIT, NODE=node, REASON=reason)
        if status:
            raise Refused(f"upgrade: {key}: {_last(status, said)}")


class _SlurmNode(NamedTuple):
    name: str
    states: list[str]  # the first is what it does, the others are flags (scontrol(1))
    reason: str

    @property
    def is_drained(self) -> bool:
        return "DRAIN" in self.states

    @property
    def has_jobs(self) -> bool:
        return self.states[0] not in ("IDLE", "DOWN") or "COMPLETING" in self.states


_SLURM_NODE = re.compile(r"^NodeName=(\S+) .*?\bState=(\S+)(?:.*? Reason=(.*?)(?: \[\S+\])?\s*$)?")


class Slurm:
    """Slurm, by its scontrol(1)."""

    stays, knows_jobs = STAYS, True

    def drained(self, nodes: Iterable[str]) -> Mapping[str, str]:
        found = self._shown(nodes)
        return {node.name: node.reason for node in found if node.is_drained}

    def drain(self, node: str, reason: str) -> None:
        _scontrol("update", f"nodename={node}", "state=drain", f"reason={reason}")

    def busy(self, nodes: Iterable[str]) -> Mapping[str, str]:
        found = self._shown(nodes)
        return {node.name: "+".join(node.states).lower() for node in found if node.has_jobs}

    def undrain(self, node: str) -> None:
        _scontrol("update", f"nodename={node}", "state=resume")

    def _shown(self, nodes: Iterable[str]) -> list[_SlurmNode]:
        return slurm_nodes(_scontrol("--oneliner", "show", "node", ",".join(nodes)))


def slurm_nodes(said: str) -> list[_SlurmNode]:
    """What `scontrol --oneliner show node` says of each."""
    found = []
    for line in said.splitlines():
        if match := _SLURM_NODE.match(line):
            name, states, reason = match.groups("")
            found.append(_SlurmNode(name, re.split(r"\W+", states.rstrip("*")), reason))
    return found


def _scontrol(*words: str) -> str:
    status, said = ask_program("scontrol", *words, within=LIMIT)
    if status:
        raise Refused(f"scontrol {words[0].strip('-')}: {_last(status, said)}")
    return said


def _last(status: int, said: str) -> str:
    """The last line that a command said, or that it said none."""
    lines = list(map(readable, said.splitlines()))
    return last_of(lines) if any(lines) else f"exit status {status}"
