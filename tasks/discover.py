"""Cards that asked for an address and are no node's, and lines of site.yaml for them.

leases, logs of DHCP servers, or a list ──> discover ──> a table, or site.yaml
"""

from __future__ import annotations

import glob
import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from .base.console import say
from .base.desired import targets
from .base.rule import Task, command
from .base.settings import Run, this_run
from .core.base.errors import BadInput, Refused

if TYPE_CHECKING:
    from .core.discover.asked import Asked
    from .core.importer.imported import ImportedNode
    from .core.site.model import Site

WRITE = {
    "name": "write",
    "long": "write",
    "type": str,
    "default": "",
    "help": "append lines for these names to site.yaml: wn[041-080]",
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
    "help": "a list of a BMC or switch (CSV: mac,name), or a log, instead of this machine's logs",
}
LOGS = ("syslog", "daemon.log", "messages", "dnsmasq.log", "kea/*.log", "dhcpd.log")
SYSLOG = ("dhcpd", "dnsmasq-dhcp", "dnsmasq", "kea-dhcp4")


def task_discover() -> Task:
    """list cards that asked for an address and are no node's; --write=wn[041-080] adds them"""
    task = command(discover, this_run, params=[WRITE, GROUPS, FROM], knows="destdir")
    return {**task, "pos_arg": "words"}


def discover(
    run: Run, write: str, groups: str, source: str, words: list[str] | None = None
) -> None:
    from .core.discover.asked import unknown

    files = list(filter(None, (source,)))
    for word in words or ():
        if word.startswith("-"):
            raise Refused(f"{word}: options stand before files")
        files.append(word)
    asked = chain.from_iterable(map(in_file, files)) if files else on_this_machine(run)
    found = unknown(asked, known_cards(run.site))
    if write:
        return write_nodes(run, write, groups, found)
    for line in table(run.site, found):
        print(line)
    if not found:
        say("nobody asked whose card is no node's")


def known_cards(site: Site) -> Iterator[str]:
    for node in site.nodes:
        yield from node.macs
        yield from (interface.mac for interface in node.interfaces)


def on_this_machine(run: Run) -> Iterator[Asked]:
    """By the logs and leases of this machine's servers."""
    from .core.dhcp.leases import leases_seen
    from .core.discover.asked import Asked, asked_in_log

    at = targets(run).at
    for name in LOGS:
        for path in sorted(glob.glob(at(f"/var/log/{name}"))):
            yield from asked_in_log(text_of(path))
    if not run.settings.destdir and shutil.which("journalctl"):
        words = [f"--identifier={name}" for name in SYSLOG]
        argv = ["journalctl", "--quiet", "--no-pager", "--output=short-iso", *words]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
        yield from asked_in_log(done.stdout)
    for lease in leases_seen(at):
        yield Asked(lease.mac, subnet=f"{lease.ip}/32")
    for server in run.site.servers:
        if server.ssh:
            say(f"! {server.name} is another machine: copy its log here, and give it with --from=")


def in_file(path: str) -> Iterator[Asked]:
    """A list of MACs and names, or a log of any server."""
    from .core.discover.asked import Asked, asked_in_log

    asked = list(asked_in_log(text_of(path)))
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
    read_csv(path, text_of(path), found)
    for note in found.notes:
        say(f"! {note}")
    if not any(node.macs for node in found.nodes.values()):
        raise BadInput.at(path, "neither a DHCP server's log nor a list of mac,name")
    return list(found.nodes.values())


def text_of(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
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
        words = (one.mac, one.time or "-", network.subnet, one.relay or "-", one.name)
        mac, time, subnet, relay, name = words
        yield f"{mac}  {time:<19}  {subnet:<18}  {relay:<15}  {vendor}{by_class} {name}".rstrip()


def write_nodes(run: Run, write: str, groups: str, found: list[Asked]) -> None:
    """Append the nodes to the site file. Raises Refused where there is nothing to append."""
    from .core.base.nodeset import BadRange, expand_nodes, fold_nodes
    from .core.discover.append import append_nodes, replace
    from .core.discover.choose import new_nodes

    try:
        names = expand_nodes(write)
    except BadRange as error:
        raise Refused(f"--write={write}: {error}") from None
    if not found:
        raise Refused("nobody asked whose card is no node's: nothing is written")
    nodes = new_nodes(run.site, names, found)
    more = f", groups: [{groups.replace(',', ', ')}]" if groups else ""
    path = run.settings.site
    replace(path, append_nodes(path, run.paths.folders, nodes, more))
    print(f"{path}: {fold_nodes(node.name for node in nodes)} added; `git diff` shows it")
    if len(found) > len(nodes):
        say(f"! {len(found) - len(nodes)} more cards asked; give as many names")
