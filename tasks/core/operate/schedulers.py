"""Schedulers: how jobs are kept off a node, and how one knows that it has none left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from ..base.errors import Refused
from ..base.nodeset import BadRange, hostlist, unfold
from ..base.programs import ask_program
from ..base.ssh import last_of
from ..base.text import readable
from ..site.model import Upgrade

LIMIT = 60  # seconds for one command
STAYS = "; it stays drained"
OURS = "plugnode: "  # how each reason of ours begins
# Why Slurm itself takes a node down that does not answer, or that has booted
OF_SLURM = ("Not responding", "Node unexpectedly rebooted")


class KeptFromJobs(NamedTuple):
    """A node that gets no jobs already, or that cannot be kept from them."""

    words: str  # how, for an admin
    reason: str = ""  # as it was given

    @property
    def is_ours(self) -> bool:
        """Whether an upgrade may have wanted it."""
        return self.reason.startswith((OURS, *OF_SLURM))


class Scheduler(Protocol):
    """Whoever sends jobs to nodes. Each may raise Refused, with one line that says why."""

    stays: str  # what is to be said of a node that has failed
    knows_jobs: bool  # whether that it says of none that it is busy means anything

    def held(self, nodes: Iterable[str]) -> Mapping[str, KeptFromJobs]:
        """Those of the nodes that get no jobs already."""

    def drain(self, node: str, reason: str) -> None:
        """Send it no job any more; or, where it is drained, give another reason."""

    def busy(self, nodes: Iterable[str]) -> Mapping[str, str]:
        """Those of the nodes that still have jobs -> what is said of them."""

    def undrain(self, node: str) -> None:
        """Send it jobs again."""


class NoScheduler:
    """Nodes are rebooted whatever they do."""

    stays, knows_jobs = "", False

    def held(self, nodes: Iterable[str]) -> Mapping[str, KeptFromJobs]:
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

    def held(self, nodes: Iterable[str]) -> Mapping[str, KeptFromJobs]:
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


SHOW = ("--all", "--oneliner", "show", "node")
UNKNOWN = KeptFromJobs("Slurm does not know it; name others by node=")


class _SlurmNode(NamedTuple):
    name: str
    states: list[str]  # the first is what it does, the others are flags (scontrol(1))
    reason: str

    @property
    def held(self) -> KeptFromJobs | None:
        reason = self.reason or "no reason given"
        how = ""
        if "DRAIN" in self.states:
            how = "drained by somebody else"
        elif "FAIL" in self.states:
            how = "set to fail by somebody else"
        elif self.states[0] == "DOWN" and self.reason:
            of_slurm = self.reason.startswith(OF_SLURM)
            how = "" if of_slurm else "down in Slurm"
        return KeptFromJobs(f"{how}: {reason}", self.reason) if how else None

    @property
    def busy(self) -> str:
        """What is said of one that has jobs, or gets some."""
        if self.states[0] not in ("IDLE", "DOWN") or "COMPLETING" in self.states:
            return "+".join(self.states).lower()
        return "" if "DRAIN" in self.states else "somebody has undrained it"


_SLURM_NODE = re.compile(
    r"^NodeName=(\S+) .*?\bState=(\S+)(?:.*? Reason=(.*?)(?: \[\S+@\S+\].*)?\s*$)?"
)


class Slurm:
    """Slurm, by its scontrol(1) and squeue(1)."""

    stays, knows_jobs = STAYS, True

    def held(self, nodes: Iterable[str]) -> Mapping[str, KeptFromJobs]:
        held = {}
        for name, node in _shown(nodes).items():
            one = node.held if node else UNKNOWN
            if one:
                held[name] = one
        return held

    def drain(self, node: str, reason: str) -> None:
        _ask("scontrol", "update", f"nodename={node}", "state=drain", f"reason={reason}")

    def busy(self, nodes: Iterable[str]) -> Mapping[str, str]:
        found, idle = {}, []
        for name, node in _shown(nodes).items():
            busy = node.busy if node else UNKNOWN.words
            if busy:
                found[name] = busy
            else:
                idle.append(name)
        for name in _with_suspended(idle):
            found[name] = "it has a job that is suspended"
        return found

    def undrain(self, node: str) -> None:
        """One that somebody has resumed by hand Slurm would not resume."""
        if self.held([node]):
            _ask("scontrol", "update", f"nodename={node}", "state=resume")


def _shown(nodes: Iterable[str]) -> dict[str, _SlurmNode | None]:
    """What Slurm says of each node; None of one that it does not know."""
    asked = list(nodes)
    status, said = ask_program("scontrol", *SHOW, hostlist(asked), within=LIMIT)
    if status and "not found" not in said:
        raise Refused(f"scontrol show: {_last(status, said)}")
    found = {node.name: node for node in slurm_nodes(said)}
    return {name: found.get(name) for name in asked}


def slurm_nodes(said: str) -> list[_SlurmNode]:
    """What `scontrol --oneliner show node` says of each."""
    found = []
    for line in said.splitlines():
        if match := _SLURM_NODE.match(line):
            name, states, reason = match.groups("")
            words = re.split(r"\W+", states.rstrip("*"))
            found.append(_SlurmNode(name, words, readable(reason)))
    return found


def _with_suspended(nodes: Iterable[str]) -> set[str]:
    """Those of the nodes that have a suspended job; by its state such a node is idle."""
    asked = {*nodes}
    if not asked:
        return asked
    words = ("--all", "--noheader", "--states=SUSPENDED", "--format=%N")
    said = _ask("squeue", *words, f"--nodelist={hostlist(asked)}")
    found: set[str] = set()
    try:
        for line in map(str.strip, said.splitlines()):
            if line and " " not in line:
                found |= unfold(line)
    except BadRange as error:
        raise Refused(f"squeue: {readable(str(error))}") from None
    return asked & found


def _ask(program: str, *words: str) -> str:
    status, said = ask_program(program, *words, within=LIMIT)
    if status:
        raise Refused(f"{program} {words[0].strip('-')}: {_last(status, said)}")
    return said


def _last(status: int, said: str) -> str:
    """The last line that a command said, or that it said none."""
    lines = list(map(readable, said.splitlines()))
    return last_of(lines) if any(lines) else f"exit status {status}"
