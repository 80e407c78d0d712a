"""The files of exports(5): what a server gives to whom over NFS, in one file a site."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..base.files import content
from ..base.text import unescape_octal
from ..store.paths import Targets

MAIN = "/etc/exports"  # the admin's; nothing of ours is ever in it
FOLDER = "/etc/exports.d"  # read besides
SHARED = f"{FOLDER}/plugnode.exports"  # what every site wrote before each had a file of its own
FORMER = b"""\
#
# Exported before: nodes that run may have it mounted. `doit prune` ends it.
"""


class Export(NamedTuple):
    """A folder for one client, which is a network, an address, a name, or `*`."""

    path: str
    client: str
    options: str

    @property
    def fsid(self) -> str:
        found = re.search(r"(?:^|,)fsid=([^,]*)", self.options)
        return found[1] if found else ""

    @property
    def line(self) -> bytes:
        path = self.path if re.fullmatch(r"[\w.+@/-]+", self.path) else f'"{self.path}"'
        return os.fsencode(f"{path} {self.client}({self.options})\n")

    def __str__(self) -> str:
        return f"{self.path} {self.client}"


class ExportEntry(NamedTuple):
    """A line of an exports file: one folder for some clients; none in a comment."""

    text: bytes  # with the lines that continue it
    exports: tuple[Export, ...]

    @property
    def path(self) -> str:
        return self.exports[0].path if self.exports else ""


class ExportsFound(NamedTuple):
    """What a server exports by its files."""

    files: Mapping[str, bytes]  # in the order in which exportfs(8) reads them
    folders: frozenset[str]  # of the paths that they name, those that are there


NONE = ExportsFound({}, frozenset())


def file_of(site: str) -> str:
    return f"{FOLDER}/plugnode-{site}.exports"


def site_of(path: str) -> str:
    """The site whose exports file that is; "" where it is none's."""
    found = re.fullmatch(rf"{FOLDER}/plugnode-(.+)\.exports", path)
    return found[1] if found else ""


def fsid_of(site: str, path: str) -> str:
    """`fsid=` of a site's folder, a UUID (exports(5)): the same for ever, on all its servers."""
    import uuid  # it brings platform along, and most runs ask for none

    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"plugnode:{site}:{path}"))


def fewest_prefixes(addresses: Iterable[str]) -> list[str]:
    """The fewest networks that hold these addresses and no others, as exports(5) has them.

    All are IPv4's, or all IPv6's.
    """
    single = map(ipaddress.ip_network, addresses)
    found = ipaddress.collapse_addresses(single)  # type: ignore[type-var]
    return [str(one).removesuffix(f"/{one.max_prefixlen}") for one in found]


def read_exports(targets: Targets) -> ExportsFound:
    """The exports files of a server that can be read."""
    found = {}
    for path in _files_of(targets):
        data = _read(targets.at(path))
        if data is not None:
            found[path] = data
    named = set[str]()
    for data in found.values():
        named |= {export.path for export in exports_of(data)}
    folders = {path for path in named if os.path.isdir(targets.at(path))}
    return ExportsFound(found, frozenset(folders))


def _files_of(targets: Targets) -> list[str]:
    """The files that exportfs(8) reads, in its order."""
    try:
        names = sorted(os.listdir(targets.at(FOLDER)))
    except (FileNotFoundError, PermissionError):
        names = []
    read = [name for name in names if name.endswith(".exports") and name[0] != "."]
    return [MAIN, *(f"{FOLDER}/{name}" for name in read)]


def _read(path: str) -> bytes | None:
    try:
        return content(path)
    except (PermissionError, IsADirectoryError):
        return None


def entries(data: bytes) -> Iterator[ExportEntry]:
    """Each line, with those that continue it."""
    text = b""
    for line in data.splitlines(keepends=True):
        text += line
        if not line.rstrip(b"\r\n").endswith(b"\\"):
            yield _entry(text)
            text = b""
    if text:
        yield _entry(text)


def _entry(text: bytes) -> ExportEntry:
    return ExportEntry(text, tuple(_exports(os.fsdecode(text))))


def exports_of(data: bytes) -> list[Export]:
    """What an exports file gives to whom."""
    return [export for entry in entries(data) for export in entry.exports]


def all_of(found: ExportsFound) -> list[Export]:
    """What all exports files of a server give to whom."""
    return [export for data in found.files.values() for export in exports_of(data)]


def _exports(text: str) -> Iterator[Export]:
    joined = re.sub(r"\\\r?\n", " ", text)
    without_comments = re.sub(r"(^|\s)#.*", "", joined)
    words = re.findall(r'"[^"]*"|\S+', without_comments)
    if not words:
        return
    path, defaults = _path(words[0]), ""
    for word in words[1:] or ["*"]:  # without a client: for everybody
        if word.startswith("-"):
            defaults = word[1:]
            continue
        client, _, own = word.rstrip(")").partition("(")
        options = ",".join(filter(None, (defaults, own)))
        yield Export(path, client or "*", options)


def _path(word: str) -> str:
    written = os.fsencode(word.strip('"'))
    plain = os.fsdecode(unescape_octal(written))
    return plain.rstrip("/") or "/"


def present(data: bytes) -> bytes:
    """A site's file without what it exports of before."""
    return data.partition(FORMER)[0]


def former(data: bytes) -> list[Export]:
    """What a site's file exports of before."""
    return exports_of(data.partition(FORMER)[2])


def without(data: bytes, ended: Iterable[Export]) -> bytes:
    """A site's file without these of before."""
    gone = {str(export) for export in ended}
    kept = [export for export in former(data) if str(export) not in gone]
    return present(data) + as_former(kept)


def as_former(exports: Iterable[Export]) -> bytes:
    """The end of a site's file: what it exports of before."""
    lines: dict[str, bytes] = {}
    for export in exports:  # the first one of a client
        lines.setdefault(str(export), export.line)
    if not lines:
        return b""
    return FORMER + b"".join(sorted(lines.values()))
