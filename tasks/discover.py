"""Cards that asked for an address and are no node's, and lines of site.yaml for them.

logs and leases of every server, or a list ──> discover ──> a table, or site.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from .base.console import say
from .base.rule import Task, command
from .base.servers import everywhere, refuse_failed
from .base.settings import Run, this_run
from .core.base.errors import BadInput, Refused

if TYPE_CHECKING:
    from .core.dhcp.asked import Asked
    from .core.discover.choose import Chosen
    from .core.importer.imported import ImportedNode
    from .core.remote.line import Answer
    from .core.site.model import Site

WRITE = {
    "name": "write",
    "long": "write",
    "type": str,
    "default": "",
    "help": "write these names with their cards into site.yaml: wn[041-080]",
}
GROUPS = {
    "name": "groups",
    "long": "groups",
    "type": str,
    "default": "",
    "help": "groups of the new nodes, by commas",
}
FROM = {
    "name": "source",
    "long": "from",
    "type": str,
    "default": "",
    "help": "a list of a BMC or switch (CSV: mac,name), or a log, instead of what servers heard",
}


def task_discover() -> Task:
    """list cards that asked for an address and are no node's; --write=wn[041-080] adds them"""
    task = command(discover, this_run, params=[WRITE, GROUPS, FROM], knows="server destdir")
    return {**task, "pos_arg": "words"}


def discover(
    run: Run, write: str, groups: str, source: str, words: list[str] | None = None
) -> None:
    from .core.dhcp.asked import unknown
    from .core.remote.options import AskedOptions

    files = list(filter(None, (source,)))
    for word in words or ():
        if word.startswith("-"):
            raise Refused(f"{word}: options stand before files")
        files.append(word)
    answers = {} if files else everywhere(run, AskedOptions())
    asked = chain.from_iterable(map(in_file, files)) if files else told(answers)
    found = unknown(asked, known_cards(run.site))
    if write:
        refuse_failed(run, answers)
        return write_nodes(run, write, groups, found)
    for line in table(run.site, found):
        print(line)
    refuse_failed(run, answers)
    if not found:
        say("nobody asked whose card is no node's")


def known_cards(site: Site) -> Iterator[str]:
    for node in site.nodes:
        yield from node.macs
        yield from (interface.mac for interface in node.interfaces)


def told(answers: Mapping[str, Answer]) -> Iterator[Asked]:
    """Who asked, by what servers said. Raises Refused where that is no card."""
    from .core.dhcp.asked import read_asked

    for server, answer in answers.items():
        for card in answer.done.get("cards", ()):
            try:
                yield read_asked(card)
            except ValueError as error:
                raise Refused(f"{server}: its answer is not understood ({error})") from None


def in_file(path: str) -> Iterator[Asked]:
    """A list of MACs and names, or a log of any server."""
    from .core.dhcp.asked import Asked, asked_in_log

    asked = list(asked_in_log(text_of(path).splitlines()))
    if asked:
        yield from asked
        return
    for node in listed(path):
        for mac in node.macs[:1]:
            yield Asked(mac, name=node.name)


def listed(path: str) -> list[ImportedNode]:
    from .core.importer.imported import Imported
    from .core.importer.tables import read_csv

    found = Imported()
    text = text_of(path)
    try:
        read_csv(path, text, found)
    except BadInput:
        if found.nodes:
            raise
    for note in found.notes:
        say(f"! {note}")
    if not any(node.macs for node in found.nodes.values()):
        raise BadInput.at(path, "neither a DHCP server's log nor a list of mac,name")
    return list(found.nodes.values())


def text_of(path: str) -> str:
    from .core.importer.imported import decoded

    try:
        with open(path, "rb") as file:
            return decoded(file.read())
    except OSError as error:
        raise BadInput.at(path, f"{error.strerror}; name a file") from None


def table(site: Site, found: list[Asked]) -> Iterator[str]:
    """A line a card, in columns."""
    from .core.discover.choose import network_of
    from .core.discover.vendors import half, vendors_of

    vendors = vendors_of(one.mac for one in found)
    for one in found:
        vendor = vendors.get(half(one.mac), "-")
        by_class = f" ({one.vendor_class})" if one.vendor_class else ""
        network = network_of(site, one)
        words = (one.mac, one.last or "-", network.subnet, one.relay or "-", one.name)
        mac, time, subnet, relay, name = words
        yield f"{mac}  {time:<19}  {subnet:<18}  {relay:<15}  {vendor}{by_class} {name}".rstrip()


def write_nodes(run: Run, write: str, groups: str, found: list[Asked]) -> None:
    """Put nodes, or cards of those that are there, into the site file. Raises Refused."""
    from .core.base.nodeset import BadRange, expand_nodes
    from .core.discover.append import replace, with_chosen
    from .core.discover.choose import choose

    try:
        names = expand_nodes(write)
    except BadRange as error:
        raise BadInput.at(run.settings.site, f"--write={write}: {error}") from None
    if not found:
        raise Refused("nobody asked whose card is no node's: nothing is written")
    chosen = choose(run.site, names, found)
    if groups and chosen.filled:
        first = next(iter(chosen.filled))
        raise Refused(f"--groups is for new nodes, and {first} is in site.yaml: nothing is written")
    more = f", groups: [{groups.replace(',', ', ')}]" if groups else ""
    path = run.settings.site
    replace(path, with_chosen(path, run.paths.folders, chosen, more))
    print(f"{path}: {written(chosen)}; `git diff` shows it")
    left = len(found) - len(chosen.new) - len(chosen.filled)
    if left:
        say(f"! {left} more cards asked; give as many names")


def written(chosen: Chosen) -> str:
    """What was: `wn[041-042] added, wn007 has its card`."""
    from .core.base.nodeset import fold_nodes

    parts = []
    if chosen.new:
        parts.append(f"{fold_nodes(node.name for node in chosen.new)} added")
    if chosen.filled:
        has = "has its card" if len(chosen.filled) == 1 else "have their cards"
        parts.append(f"{fold_nodes(chosen.filled)} {has}")
    return ", ".join(parts)
