"""Shadows: files of others that a loader takes before ours, and folders that TFTP servers may not enter."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..base.nodeset import fold_nodes
from .paths import Targets

Facts = dict[str, str]


class Search(NamedTuple):
    """Where a loader looks for a node's own file: a folder of tftp_root, and how names begin there."""

    loader: str
    folder: str
    start: str
    by_address: bool  # by the machine's UUID and by parts of its address, too


SEARCHES = (
    Search("pxelinux", "pxelinux.cfg", "", True),
    Search("GRUB", "grub", "grub.cfg-", True),
    Search("GRUB of EL", "", "grub.cfg-", True),  # looks where it came from
    Search("iPXE", "", "boot.ipxe-", False),
)
FIRST = {"autoexec.ipxe": "iPXE", "grub.cfg": "GRUB of EL"}  # taken by every node's loader
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEX = re.compile(r"[0-9A-F]{1,8}")


def shadowing(
    targets: Targets, ours: Collection[str], nodes: Mapping[str, Facts]
) -> list[tuple[str, str]]:
    """Each file that is not ours and that a node's loader takes instead of ours, and what to say of it."""
    shadows = [
        (name, loader, "every node")
        for name, loader in FIRST.items()
        if os.path.isfile(targets.served(name))
    ]
    for search in SEARCHES:
        shadows += _of(search, targets, ours, nodes)
    return [
        (f"{targets.tftp}/{name}", f"not Plugnode's, and {loader} takes it before ours: {who}")
        for name, loader, who in shadows
        if name not in ours
    ]


def _of(
    search: Search, targets: Targets, ours: Collection[str], nodes: Mapping[str, Facts]
) -> Iterator[tuple[str, str, str]]:
    for name in _names(targets.served(search.folder)):
        path = os.path.join(search.folder, name)
        if (
            name.startswith(search.start)
            and path not in ours
            and os.path.isfile(targets.served(path))
        ):
            if who := _taken_by(search, name[len(search.start) :], ours, nodes):
                yield path, search.loader, who


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # there is none, or it is none
        return []


def _taken_by(search: Search, key: str, ours: Collection[str], nodes: Mapping[str, Facts]) -> str:
    """The nodes whose loader asks for a file of that key, and has not found one of ours by then."""
    if search.by_address and UUID.fullmatch(key):
        return "the node of that UUID"
    if search.by_address and HEX.fullmatch(key):
        own = os.path.join(search.folder, search.start)
        reached = {name: facts for name, facts in nodes.items() if own + _by_mac(facts) not in ours}
        return fold_nodes(
            name for name, facts in reached.items() if _by_address(facts).startswith(key)
        )
    return fold_nodes(name for name, facts in nodes.items() if key == _by_mac(facts))


def _by_mac(facts: Facts) -> str:
    return "01-" + facts.get("mac", "").lower().replace(":", "-")


def _by_address(facts: Facts) -> str:
    parts = facts.get("ip", "").split(".")
    return "".join(f"{int(part):02X}" for part in parts if part.isdigit())


# --- folders


def closed(targets: Targets, names: Iterable[str]) -> list[str]:
    """Of folders below tftp_root ("" is itself) those that not everybody may enter: a TFTP server is nobody's user."""
    return [name for name in dict.fromkeys(names) if not _is_open(targets.served(name))]


def _is_open(folder: str) -> bool:
    try:
        status = os.stat(folder)
    except OSError:
        return True
    return not stat.S_ISDIR(status.st_mode) or bool(status.st_mode & stat.S_IXOTH)


def folders(names: Iterable[str]) -> list[str]:
    """The folders of tftp_root that lead to these files, the outer ones first; without itself."""
    found: set[str] = set()
    for name in names:
        while name := os.path.dirname(name):
            found.add(name)
    return sorted(found)


def looked_at(targets: Targets) -> list[str]:
    """Every file below tftp_root that could be a node's own, by its name, whosever it is."""
    found = [name for name in FIRST if os.path.isfile(targets.served(name))]
    for search in SEARCHES:
        names = [
            name for name in _names(targets.served(search.folder)) if name.startswith(search.start)
        ]
        found += [os.path.join(search.folder, name) for name in names]
    return [name for name in dict.fromkeys(found) if os.path.isfile(targets.served(name))]
