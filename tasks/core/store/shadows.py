"""Files of others below tftp_root that a loader takes before ours."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from ..base.nodeset import fold_nodes
from .nodes import NodeFacts, macs_of
from .paths import Targets


class Search(NamedTuple):
    """Where a loader looks for a node's own file."""

    loader: str
    folder: str  # of tftp_root
    start: str  # how names begin there
    by_address: bool  # by the machine's UUID and by parts of its address, too


SEARCHES = (
    Search("pxelinux", "pxelinux.cfg", "", True),
    Search("GRUB", "grub", "grub.cfg-", True),
    Search("GRUB of EL", "", "grub.cfg-", True),  # looks where it came from
    Search("iPXE", "", "boot.ipxe-", False),
)
FIRST = {  # taken by every node's loader
    "autoexec.ipxe": "iPXE",
    "grub.cfg": "GRUB of EL",
    "grub/x86_64-efi/grub.cfg": "GRUB of Debian",  # grub-mknetdir makes it
    "grub/arm64-efi/grub.cfg": "GRUB of Debian",
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEX = re.compile(r"[0-9A-F]{1,8}")


class _Shadow(NamedTuple):
    """A file that is not ours, and whose loader takes it."""

    name: str  # below tftp_root
    loader: str
    who: str


def shadowing(
    targets: Targets,
    ours: Collection[str],
    nodes: Mapping[str, NodeFacts],
) -> list[tuple[str, str]]:
    """Each file that is not ours and that a node's loader takes instead of ours.

    With each what to say of it.
    """
    found = []
    for name, loader in FIRST.items():
        if name not in ours and os.path.isfile(targets.served(name)):
            found.append(_Shadow(name, loader, "every node"))
    for search in SEARCHES:
        found += _of(search, targets, ours, nodes)
    return [(f"{targets.tftp}/{shadow.name}", _what(shadow)) for shadow in found]


def _what(shadow: _Shadow) -> str:
    return f"not Plugnode's, and {shadow.loader} takes it before ours: {shadow.who}"


def _of(
    search: Search,
    targets: Targets,
    ours: Collection[str],
    nodes: Mapping[str, NodeFacts],
) -> Iterator[_Shadow]:
    for path in _candidates(search, targets):
        if path in ours or not os.path.isfile(targets.served(path)):
            continue
        key = os.path.basename(path)[len(search.start) :]
        who = _taken_by(search, key, ours, nodes)
        if who:
            yield _Shadow(path, search.loader, who)


def _candidates(search: Search, targets: Targets) -> list[str]:
    """What lies where a loader looks, and begins as it looks for it."""
    found = []
    for name in _names(targets.served(search.folder)):
        if name.startswith(search.start):
            found.append(os.path.join(search.folder, name))
    return found


def looked_at(targets: Targets) -> list[str]:
    """Every file below tftp_root that could be a node's own, by its name, whosever it is."""
    found = list(FIRST)
    for search in SEARCHES:
        found += _candidates(search, targets)
    return [name for name in dict.fromkeys(found) if os.path.isfile(targets.served(name))]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # there is none, or it is none
        return []


def _taken_by(
    search: Search,
    key: str,
    ours: Collection[str],
    nodes: Mapping[str, NodeFacts],
) -> str:
    """The nodes whose loader asks for a file of that key, and has not found one of ours by then."""
    if search.by_address and UUID.fullmatch(key):
        return "the node of that UUID"
    if not (search.by_address and HEX.fullmatch(key)):
        return fold_nodes(name for name, facts in nodes.items() if key in _by_macs(facts))
    own = os.path.join(search.folder, search.start)
    names = []
    for name, facts in nodes.items():
        has_own = any(own + each in ours for each in _by_macs(facts))
        if not has_own and _by_address(facts).startswith(key):
            names.append(name)
    return fold_nodes(names)


def _by_macs(facts: NodeFacts) -> list[str]:
    return ["01-" + mac.lower().replace(":", "-") for mac in macs_of(facts)]


def _by_address(facts: NodeFacts) -> str:
    parts = facts.get("ip", "").split(".")
    return "".join(f"{int(part):02X}" for part in parts if part.isdigit())
