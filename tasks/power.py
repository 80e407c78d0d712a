"""Nodes by their BMCs: power, what they boot from next, the serial console.

site.yaml `management:`, `interfaces:` ──> BMCs, so many at once ──> what is so then, folded
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base.console import say
from .base.options import JSON, flag, option, read_options, seconds, whole
from .base.rule import beside, command, takes
from .base.settings import Run, this_run
from .core.base.errors import BadInput, Problem, Refused
from .core.base.text import counted
from .core.power.bmc import WORDS, Note, Patience
from .push import said_of

if TYPE_CHECKING:
    from .core.nodes.ask import Replies
    from .core.power.passwords import Passwords
    from .core.power.window import Many
    from .core.site.model import Node

ASKS_ALONE = "status"  # changes nothing: without node= it is of all that have a BMC
AT_ONCE = 32  # BMCs
ANSWERS = 60  # seconds that a BMC may take besides, whatever it is asked
OPTIONS = (
    option("at_once", str(AT_ONCE), "how many BMCs are asked at a time"),
    option("within", "60s", "until then a node must be as it was told"),
    JSON,
)
TAKE = {
    "name": "take",
    "long": "take",
    "help": "end the session of whoever has the console open",
    **flag,
}


def task_power() -> dict[str, Any]:
    """switch nodes by their BMCs: `power on|off|cycle|status|pxe node=wn[003-007],@gpu`"""
    return beside(takes(WORDS, command(power, this_run, params=OPTIONS, knows="node")))


def power(run: Run, words: Sequence[str], as_json: bool, **options: str) -> None:
    word = word_of(run, words)
    checks = {"at_once": whole, "within": seconds}
    at_once, within = read_options(run.settings.site, options, checks)
    asked = wanted_nodes(run, word)
    many = at_bmcs(run, asked, (word, Patience(within)), int(at_once))
    try:
        many.run([node.name for node in asked])
    finally:
        show(in_order(asked, many.replies), as_json)
    refuse_missed(many.replies, len(asked))


def word_of(run: Run, words: Sequence[str]) -> str:
    """What is to be done. Raises BadInput."""
    if len(words) == 1 and words[0] in WORDS:
        return words[0]
    given = " ".join(["power", *words])
    raise BadInput.at(run.settings.site, f"{given}: write one of {', '.join(WORDS)}")


def wanted_nodes(run: Run, word: str) -> list[Node]:
    """Those that `node=` names; nobody switches all of them by leaving a word out."""
    from .core.power.connect import has_bmc

    if run.settings.node:
        return run.nodes
    if word != ASKS_ALONE:
        what = f"power {word}: of which nodes? node=wn[003-007],@gpu, say; node=@* is all"
        raise BadInput.at(run.settings.site, what)
    found = list(filter(has_bmc, run.site.nodes))
    if not found:
        what = "no node has a BMC that can be asked; see management: in docs/site.md"
        raise BadInput.at(run.settings.site, what)
    return found


class AtOne:
    """What is done at the BMC of one node, by its name. Raises Refused."""

    def __init__(self, asked: Iterable[Node], passwords: Passwords, doing: tuple[str, Patience]):
        self.nodes = {node.name: node for node in asked}
        self.passwords, self.doing = passwords, doing

    def __call__(self, name: str, note: Note) -> str:
        from .core.power.bmc import act
        from .core.power.connect import address_of, connect

        node = self.nodes[name]
        address_of(node)  # of one that has no BMC no password is asked for
        bmc = connect(node, self.passwords.of(node))
        try:
            return act(bmc, *self.doing, note)
        finally:
            bmc.close()


def at_bmcs(run: Run, asked: Sequence[Node], doing: tuple[str, Patience], at_once: int) -> Many:
    """Work at the BMCs of nodes, to be run. Raises BadInput where a password cannot be read."""
    from .core.power.window import Many, Window

    word, patience = doing
    limit = ANSWERS + WORDS[word].waits * (patience.within + ANSWERS)
    window = Window(at_once, limit)
    return Many(window, AtOne(asked, passwords_of(run, asked), doing), say)


def cycled(run: Run, asked: Sequence[Node]) -> Mapping[str, str]:
    """Cycle the power of nodes; why that of others was not. Raises BadInput."""
    many = at_bmcs(run, asked, ("cycle", Patience()), AT_ONCE)
    try:
        return many.run([node.name for node in asked]).failed
    except KeyboardInterrupt:
        for line in said_of(many.replies.failed):
            say(line)
        raise


def passwords_of(run: Run, asked: Sequence[Node]) -> Passwords:
    """Raises BadInput for what of this machine BMCs need, and is not there."""
    from .core.power.connect import wrong_certificates
    from .core.power.passwords import Passwords

    found = Passwords(asked)
    wrong = [*wrong_certificates(asked), *found.wrong]
    if wrong:
        file = run.settings.site
        raise BadInput(Problem(file, 1, 1, f"management: {each}") for each in wrong)
    return found


def in_order(asked: Iterable[Node], replies: Replies) -> Replies:
    """The same as the site lists its nodes, not as they answered."""
    parts: list[dict[str, str]] = [{}, {}]
    for node in asked:
        for part, given in zip(parts, replies):
            if node.name in given:
                part[node.name] = given[node.name]
    return type(replies)(*parts)


def show(replies: Replies, as_json: bool) -> None:
    """Print what is so, and what failed: nodes of the same fate together, or one a line."""
    if not as_json:
        print(*said_of(replies.said), *said_of(replies.failed), sep="\n")
        return
    found = [{"node": name, "power": said} for name, said in replies.said.items()]
    found += [{"node": name, "failed": why} for name, why in replies.failed.items()]
    lines = ",\n".join(map(json.dumps, sorted(found, key=lambda one: one["node"])))
    print(f"[\n{lines}\n]")


def refuse_missed(replies: Replies, of: int) -> None:
    """Raises Refused where some failed."""
    if replies.failed:
        raise Refused(f"{len(replies.failed)} of {counted(of, 'node')} failed")


def task_console() -> dict[str, Any]:
    """open the serial console of a node by its BMC, until Ctrl-]; `node=wn001`"""
    return beside(command(console, this_run, params=[TAKE], knows="node"))


def console(run: Run, take: bool) -> None:
    from .core.power.connect import address_of
    from .core.power.console import LEAVE, Console
    from .core.power.ipmi import Ipmi

    node = one_node(run)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused("a console needs a terminal")
    address = address_of(node)
    password = passwords_of(run, [node]).of(node)
    if node.management.protocol == "redfish":
        refuse_without_sol(node, address, password)
    line = Console(Ipmi(address, node.management, password), take)
    say(f"console of {node.name}; {LEAVE}")
    left = line.interact()
    say("" if left else f"its BMC ended the console of {node.name}")


def one_node(run: Run) -> Node:
    asked = run.nodes if run.settings.node else []
    if len(asked) == 1:
        return asked[0]
    raise BadInput.at(run.settings.site, "console: of one node; node=wn001, say")


def refuse_without_sol(node: Node, address: str, password: str) -> None:
    """Raises Refused where the BMC says that there is another way than IPMI."""
    from .core.power.console import other_ways
    from .core.power.redfish import Redfish

    bmc = Redfish(address, node.management, password)
    try:
        other = other_ways(bmc.console(), address, node.management.user or "")
    finally:
        bmc.close()
    if other:
        raise Refused(other)
