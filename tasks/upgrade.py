"""Nodes led to the release that they would boot, some at a time, without killing jobs.

servers, nodes ──> who runs another release ──> drained, rebooted, looked at, undrained ──> journal
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from .base.console import say
from .base.options import flag, option, read_options, seconds, whole
from .base.rule import command
from .base.servers import everywhere, refuse_failed, states_of
from .base.settings import Run, this_run
from .core.base.errors import BadInput, Refused
from .core.base.text import counted
from .power import cycled
from .push import hear, said_of
from .status import next_releases

if TYPE_CHECKING:
    from .core.nodes.ask import Heard
    from .core.operate.schedulers import Scheduler
    from .core.operate.upgrade import Bounds, Outcome
    from .core.remote.line import Answer


OPTIONS = (
    option("at_once", "1", "how many nodes may be away from work at a time"),
    option("failed", "1", "begin no other node once so many have failed"),
    option("idle_within", "24h", "a node that still has jobs then is let go: 90s, 30m, 24h"),
    option("boot_within", "30m", "a node that is not back then has failed"),
    {
        "name": "no_drain",
        "long": "no-drain",
        "help": "reboot nodes whatever they do, and ask no scheduler",
        **flag,
    },
)


def task_upgrade():
    """reboot nodes that run another release than they would boot, drained; `node=@rack3`"""
    return command(upgrade, this_run, params=OPTIONS, knows="node destdir")


class Gathered(NamedTuple):
    """What servers and nodes said."""

    names: list[str]  # of all nodes that are asked for
    answers: Mapping[str, Answer]
    heard: Heard
    wanted: Mapping[str, str]  # the release that each would boot, where that is known


def upgrade(run: Run, no_drain: bool, **words: str) -> None:
    from .core.operate.ledger import Ledger
    from .core.operate.upgrade import Rolling

    limits = bounds(run, words)
    scheduler = scheduler_of(run, no_drain)
    known = ask(run)
    ledger = Ledger(run.paths.path("upgrade.json"))
    answered = {*known.heard.runs, *ledger.nodes} & known.wanted.keys()
    rolling = Rolling(known.wanted, (scheduler, OverSsh(run), ledger), limits, say)
    try:
        late = rolling.resume(known.heard)
        say(f"to upgrade: {len(late)} of {counted(len(known.names), 'node')}")
        rolling.run(late)
    finally:
        show(rolling.outcome, known)
        note(run, rolling.outcome)
    refuse_failed(run, known.answers)
    refuse_missed(rolling.outcome, len(known.names) - len(answered))


def bounds(run: Run, words: Mapping[str, str]) -> Bounds:
    """What the options say. Raises BadInput, with a line for each that is wrong."""
    from .core.operate.upgrade import Bounds

    checks = {
        "at_once": whole,
        "failed": whole,
        "idle_within": seconds,
        "boot_within": seconds,
    }
    at_once, failed, idle, boot = read_options(run.settings.site, words, checks)
    return Bounds(int(at_once), int(failed), idle, boot)


def scheduler_of(run: Run, no_drain: bool) -> Scheduler:
    """Who keeps jobs off nodes. Raises Refused where nobody is known to."""
    from .core.base.programs import find_program
    from .core.operate.schedulers import Hooks, NoScheduler, Slurm

    if no_drain:
        return NoScheduler()
    if run.site.upgrade:
        return Hooks(run.site.upgrade)
    if find_program("scontrol") and find_program("squeue"):
        return Slurm()
    needs = "Slurm's scontrol and squeue are not here, and the site has no `upgrade:` commands"
    raise Refused(f"nobody can drain nodes: {needs}; or --no-drain, whatever they do")


def ask(run: Run) -> Gathered:
    from .core.remote.options import StatusOptions

    answers = everywhere(run, StatusOptions())
    following = next_releases(run.site, states_of(answers))
    names = [node.name for node in run.nodes]
    wanted = {name: following[name] for name in names if name in following}
    return Gathered(names, answers, hear(run), wanted)


class OverSsh:
    """Nodes, as they are asked and rebooted by ssh, and their power by their BMCs."""

    def __init__(self, run: Run):
        self.run = run
        self.nodes = {node.name: node for node in run.nodes}
        self.known_hosts = run.paths.known_hosts
        author = run.author()
        build = os.path.abspath(run.settings.build)
        self.whose = f"{author['who']} on {author['host']}, in {build}"

    def hear(self, names: Collection[str]) -> Heard:
        from .core.nodes import ask

        return ask.hear([self.nodes[name] for name in names], self.known_hosts)

    def claim(self, names: Collection[str]) -> Mapping[str, str]:
        """One that does not answer is nobody's: its reboot fails, or it has none to lose."""
        from .core.nodes import ask

        script = f"whose={shlex.quote(self.whose)}; {ask.CLAIM}"
        said = ask.ask([self.nodes[name] for name in names], script, self.known_hosts).said
        return {name: whose for name, whose in said.items() if whose != self.whose}

    def unclaim(self, names: Collection[str]) -> None:
        from .core.nodes import ask

        ask.ask([self.nodes[name] for name in names], ask.UNCLAIM, self.known_hosts)

    def reboot(self, names: Collection[str]) -> Mapping[str, str]:
        from .core.nodes import ask

        asked = [self.nodes[name] for name in names]
        return ask.named(ask.ask(asked, ask.REBOOT, self.known_hosts).failed, self.known_hosts)

    def has_power(self, node: str) -> bool:
        from .core.power.connect import has_bmc

        return has_bmc(self.nodes[node])

    def cycle(self, names: Collection[str]) -> Mapping[str, str]:
        """By then it is no time for a bad password to end it: it is a failure of each."""
        try:
            return cycled(self.run, [self.nodes[name] for name in names])
        except BadInput as error:
            return dict.fromkeys(names, error.problems[0].message)


def note(run: Run, outcome: Outcome) -> None:
    """Leave a record of what was done in the journals of the servers."""
    from .core.base.nodeset import fold_nodes
    from .core.remote.options import RecordOptions
    from .core.store import journal

    touched = [*outcome.upgraded, *outcome.failed]
    if not touched:
        return
    result = journal.DONE
    if outcome.failed:
        result = f"failed: {fold_nodes(outcome.failed)}"
    record = {"action": journal.UPGRADE, "nodes": fold_nodes(touched), "result": result}
    for server, answer in everywhere(run, RecordOptions({**run.author(), **record})).items():
        if answer.failure:
            say(f"{server}: no record in its journal: {answer.failure}")


def show(outcome: Outcome, known: Gathered) -> None:
    """Print what became of nodes, those of the same fate together."""
    said = {name: f"runs {known.wanted[name]}" for name in outcome.upgraded}
    said |= {name: f"failed: {why}" for name, why in outcome.failed.items()}
    said |= {name: f"left: {why}" for name, why in outcome.left.items()}
    for line in [*said_of(said), *known.heard.unheard]:
        print(line)


def refuse_missed(outcome: Outcome, unknown: int) -> None:
    """Raises Refused where nodes are not upgraded that should be."""
    parts = []
    for count, what in (
        (len(outcome.failed), "failed"),
        (len(outcome.left), "were left"),
        (unknown, "could not be asked"),
    ):
        if count:
            parts.append(f"{count} {what}")
    if parts:
        raise Refused(f"of the nodes {', '.join(parts)}; the same again goes on from here")
