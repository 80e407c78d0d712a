"""Hosts: the names that a reference knows others by in its own /etc/hosts, which the generated file replaces."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..tree.model import FILE, Circle, Tree, read_content, resolve

_NOBODYS = re.compile(
    r"127\.|0\.|255\.|::1$|::$|f[ef]0", re.IGNORECASE
)  # loopback, broadcast, multicast, link-local
_OWN_NAME = re.compile(rb"^HOSTNAME=[\"']?([^\"'\s]+)", re.MULTILINE)


def lines(text: bytes) -> list[list[str]]:
    """What hosts(5) says: an address and its names each, without comments."""
    words = [line.partition("#")[0].split() for line in text.decode(errors="replace").splitlines()]
    return [line for line in words if len(line) > 1]


def others(tree: Tree) -> list[str]:
    """The names that a root's etc/hosts has for other machines, in its order."""
    own, names = own_names(tree), list[str]()
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
    return read_content(tree[real]) if real in tree and tree[real].type == FILE else b""


def lost(names: Iterable[str], generated: bytes) -> list[str]:
    """Those names that the generated file has not."""
    there = {name.lower() for line in lines(generated) for name in line[1:]}
    return [name for name in names if name.lower() not in there]


def told(names: list[str], most: int = 10) -> str:
    """One line about names that are lost."""
    count = f"{len(names)} name{'s' * (len(names) != 1)}"
    listed = ", ".join(names[:most]) + (
        f", and {len(names) - most} more" if len(names) > most else ""
    )
    return f"etc/hosts of the reference has {count} that the nodes' lacks: {listed}; add them under `hosts:`"
