"""A plan: what a deploy changes on a server, and for whom."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile

from .state import BuiltRelease


_CARD = re.compile(r"01(-[0-9a-f]{2}){6}$")  # ends a loader's file of one network card
_HUNK = re.compile(r"([-+])(\d+)")  # where a hunk of a diff begins
_BLOB = re.compile(r"(?<=/secrets/)[a-z0-9-]+\.age$")  # ends a node's secrets


@dataclass(frozen=True)
class FileChange:
    """A file that a plan writes or removes; `path` as the server knows it."""

    path: str
    before: bytes | None
    after: bytes | None  # None: removed
    found: str = ""  # "edited by hand" or "not Plugnode's": what is lost
    reload: str = ""  # the command by which a daemon reads it again

    @property
    def sign(self) -> str:
        """One of `+`, `-` and `~`: the file is new, goes, or changes."""
        if self.before is None:
            return "+"
        return "-" if self.after is None else "~"

    @property
    def place(self) -> str:
        """The path; of a file of one card, or node, what all such paths begin with."""
        return _BLOB.sub("", _CARD.sub("", self.path))

    @property
    def is_blob(self) -> bool:
        """Is it the secrets of a node, of which only that node can read anything?"""
        return bool(_BLOB.search(self.path))

    def diff(self) -> list[str]:
        """The lines of a unified diff, without its header; sizes only where it is no text."""
        if self.is_blob:
            return []
        before, after = self.before or b"", self.after or b""
        try:
            old = before.decode().splitlines()
            new = after.decode().splitlines()
        except UnicodeDecodeError:
            return [f"~ {len(before)} -> {len(after)} bytes"]
        return list(_unified(old, new))


CONTEXT = 2  # lines around what differs
SEEN = 100  # lines of such an end: the longest piece that both have is where they are laid together


def _unified(old: list[str], new: list[str]) -> Iterator[str]:
    """The lines of a unified diff; difflib is slow, and sees little of ends that are alike."""
    first = _alike(old, new)
    start = max(0, first - SEEN)
    backwards = old[first:][::-1], new[first:][::-1]
    end = max(0, _alike(*backwards) - SEEN)
    old, new = old[start : len(old) - end], new[start : len(new) - end]

    lines = difflib.unified_diff(old, new, lineterm="", n=CONTEXT)
    for line in islice(lines, 2, None):  # without the names of the files
        yield _moved(line, start) if line.startswith("@@") else line


def _moved(hunk: str, lines: int) -> str:
    """The head of a hunk that begins so many lines later."""
    return _HUNK.sub(lambda at: f"{at[1]}{int(at[2]) + lines}", hunk, count=2)


def _alike(one: list[str], other: list[str]) -> int:
    """How many lines both begin with."""
    pairs = zip(one, other)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@dataclass(frozen=True)
class ReleaseChange:
    """An image whose nodes run another release from their next boot on."""

    image: str
    before: str | None
    after: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class NodesReassigned:
    """Nodes that run another release for a reason of their own: a pin, or another image."""

    before: str | None
    after: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class NodeChanges:
    """The nodes whose facts are not as they were deployed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[tuple[str, tuple[str, ...]], ...] = ()  # name, and the fields that differ

    def by_fields(self) -> dict[tuple[str, ...], list[str]]:
        """The changed nodes by what changed of them."""
        found: dict[tuple[str, ...], list[str]] = {}
        for name, fields in self.changed:
            found.setdefault(fields, []).append(name)
        return found


FileChanges = tuple[FileChange, ...]


@dataclass(frozen=True)
class Plan:
    """What a deploy does, in its order."""

    roots: tuple[BuiltRelease, ...] = ()  # trees to publish below nfs_root
    boots: tuple[BuiltRelease, ...] = ()  # kernels and initrds to publish below tftp_root
    site_img: bool = False
    signed: tuple[str, ...] = ()  # releases and site data whose signature is written
    loaders: Mapping[str, str] = field(default_factory=dict)  # name -> why one is signed anew
    files: FileChanges = ()  # generated files, boot files that are new among them
    boot_files: FileChanges = ()  # the commit points
    stale: FileChanges = ()
    opened: tuple[str, ...] = ()  # folders below tftp_root that TFTP servers may enter from then on
    services: FileChanges = ()
    moves: tuple[ReleaseChange, ...] = ()
    switches: tuple[NodesReassigned, ...] = ()
    nodes: NodeChanges = NodeChanges()
    site_files: FileChanges = ()  # of what site.img holds
    by_hand: FileChanges = ()  # generated files for an admin to carry
    warnings: tuple[str, ...] = ()  # what an admin should know before it is done
    by_id: tuple[str, ...] = ()  # why a deploy does it by its id alone, a line each
    held: tuple[str, ...] = ()  # what becomes of images that a rollback took back, a line each
    unfinished: bool = False  # an earlier deploy was killed after its last change

    @property
    def changed(self) -> bool:
        """Is there anything to do?"""
        published = self.roots or self.boots or self.site_img or self.signed or self.loaders
        return bool(published or self.changes or self.by_hand or self.opened)

    @property
    def changes(self) -> FileChanges:
        """Every generated file that is written or removed."""
        return self.files + self.boot_files + self.stale + self.services
