"""Hosts: the names that a reference has for others in an /etc/hosts that is replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..base.text import counted
from ..tree.model import FILE, Circle, Tree, read_content, resolve

# loopback, broadcast, multicast, link-local
_NOBODYS = re.compile(r"127\.|0\.|255\.|::1$|::$|f[ef]0", re.IGNORECASE)
_OWN_NAME = re.compile(rb"^HOSTNAME=[\"']?([^\"'\s]+)", re.MULTILINE)


def lines(text: bytes) -> list[list[str]]:
    """What hosts(5) says: an address and its names each, without comments."""
    found = []
    for line in text.decode(errors="replace").splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 1:
            found.append(words)
    return found


def others(tree: Tree) -> list[str]:
    """The names that a root's etc/hosts has for other machines, in its order."""
    own = own_names(tree)
    names: list[str] = []
    for address, *given in lines(_content(tree, b"etc/hosts")):
        if not _NOBODYS.match(address) and not own.intersection(given):
            names += given
    return list(dict.fromkeys(names))


def own_names(tree: Tree) -> set[str]:
    """What a root calls itself."""
    named = _OWN_NAME.findall(_content(tree, b"etc/sysconfig/network"))
    names = [*_content(tree, b"etc/hostname").split()[:1], *named]
    return {name.decode(errors="replace") for name in names}


def _content(tree: Tree, path: bytes) -> bytes:
    """A file's bytes, none where there is no such file."""
    try:
        real = resolve(tree, path)
    except Circle:
        return b""
    if real not in tree or tree[real].type != FILE:
        return b""
    return read_content(tree[real])


def lost(names: Iterable[str], generated: bytes) -> list[str]:
    """Those names that the generated file has not."""
    known: set[str] = set()
    for _, *given in lines(generated):
        known.update(name.lower() for name in given)
    return [name for name in names if name.lower() not in known]


def told(names: list[str], most: int = 10) -> str:
    """One line about names that are lost."""
    listed = ", ".join(names[:most])
    if len(names) > most:
        listed += f", and {len(names) - most} more"
    count = counted(len(names), "name")
    what = f"etc/hosts of the reference has {count} that the nodes' lacks"
    return f"{what}: {listed}; add them under `hosts:`"
