"""Exports: what a boot server gives to whom over NFS, as exports(5) says it, in one file a site.

A node that runs holds on to a path, an address that may have it, and file handles in which the
export's fsid is. So what is exported stays exported, with its fsid, in whichever file it stood: a
site's new file is merged with what the server has. Only prune ends an export.
"""

from __future__ import annotations

import ipaddress
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..base.files import content
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


class Settled(NamedTuple):
    """A site's exports file, merged with what the server has."""

    data: bytes
    after: tuple[tuple[str, bytes | None], ...] = ()  # files that lose lines to it then; None: all
    warnings: tuple[str, ...] = ()


NONE = ExportsFound({}, frozenset())
Taken = Mapping[str, list[ExportEntry]]  # of files, the lines that are a site's


def file_of(site: str) -> str:
    return f"{FOLDER}/plugnode-{site}.exports"


def site_of(path: str) -> str:
    """The site whose exports file that is; "" where it is none's."""
    found = re.fullmatch(rf"{FOLDER}/plugnode-(.+)\.exports", path)
    return found[1] if found else ""


def fsid_of(site: str, path: str) -> str:
    """`fsid=` of a site's folder, a UUID (exports(5)): the same for ever, on every server of it."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"plugnode:{site}:{path}"))


def read_exports(targets: Targets) -> ExportsFound:
    """The exports files of a server that can be read."""
    try:
        names = sorted(os.listdir(targets.at(FOLDER)))
    except (FileNotFoundError, PermissionError):
        names = []
    paths = [f"{FOLDER}/{name}" for name in names if name.endswith(".exports") and name[0] != "."]
    files = {path: _read(targets.at(path)) for path in (MAIN, *paths)}
    found = {path: data for path, data in files.items() if data is not None}
    named = {export.path for data in found.values() for export in exports_of(data)}
    return ExportsFound(found, frozenset(path for path in named if os.path.isdir(targets.at(path))))


def _read(path: str) -> bytes | None:
    try:
        return content(path)
    except (PermissionError, IsADirectoryError):
        return None


# --- a file


def entries(data: bytes) -> Iterator[ExportEntry]:
    """Each line, with those that continue it."""
    text = b""
    for line in data.splitlines(keepends=True):
        text += line
        if not line.rstrip(b"\r\n").endswith(b"\\"):
            yield ExportEntry(text, tuple(_exports(os.fsdecode(text))))
            text = b""
    if text:
        yield ExportEntry(text, tuple(_exports(os.fsdecode(text))))


def exports_of(data: bytes) -> list[Export]:
    return [export for entry in entries(data) for export in entry.exports]


def _exports(text: str) -> Iterator[Export]:
    bare = re.sub(r"(^|\s)#.*", "", re.sub(r"\\\r?\n", " ", text))
    words = re.findall(r'"[^"]*"|\S+', bare)
    if not words:
        return
    path, defaults = _path(words[0]), ""
    for word in words[1:] if len(words) > 1 else ["*"]:  # without a client: for everybody
        if word.startswith("-"):
            defaults = word[1:]
            continue
        client, _, options = word.rstrip(")").partition("(")
        yield Export(path, client or "*", ",".join(filter(None, (defaults, options))))


def _path(word: str) -> str:
    plain = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word.strip('"'))
    return plain.rstrip("/") or "/"


def all_of(found: ExportsFound) -> list[Export]:
    return [export for data in found.files.values() for export in exports_of(data)]


def now(data: bytes) -> bytes:
    """A site's file without what it has of before."""
    return data.partition(FORMER)[0]


def former(data: bytes) -> list[Export]:
    """What a site's file has of before."""
    return exports_of(data.partition(FORMER)[2])


def without(data: bytes, ended: Iterable[Export]) -> bytes:
    """A site's file without these of before."""
    gone = {str(export) for export in ended}
    return now(data) + _before(export for export in former(data) if str(export) not in gone)


def _before(exports: Iterable[Export]) -> bytes:
    lines: dict[str, bytes] = {}
    for export in exports:  # the first one of a client
        lines.setdefault(str(export), export.line)
    return FORMER + b"".join(sorted(lines.values())) if lines else b""


# --- merged with what is there


def settle(path: str, data: bytes, nfs: str, found: ExportsFound) -> Settled:
    """The file `path` that a site with this nfs_root wants to be `data`: a pure function."""
    taken = dict(_of_site(path, nfs, found.files))
    held, others = mine(path, nfs, found), _others(found.files, taken)
    new = b"".join(_as_exported(entry, path, found.files) for entry in entries(data))
    wanted = exports_of(new)
    left = [export for export in held if not any(_covers(one, export) for one in wanted)]
    gone = {export.path for export in left} - found.folders - {nfs}
    doubled = {str(export) for exports in others.values() for export in exports}
    kept = [export for export in left if export.path not in gone and str(export) not in doubled]
    new = b"".join(_beside(entry, doubled) for entry in entries(new)) + _before(kept)
    losing = {name: _rest(found.files[name], lines) for name, lines in taken.items()}
    losing.pop(path, None)
    told = [*_doubled(others, nfs)]
    if new != found.files.get(path):
        told += [*_left(kept, gone), *_changed(wanted, held), *_unnamed(wanted, nfs)]
    return Settled(new, tuple(losing.items()), tuple(told))


def mine(path: str, nfs: str, found: ExportsFound) -> list[Export]:
    """What a site exports already, by its own file `path` and others."""
    taken = [entry for _, there in _of_site(path, nfs, found.files) for entry in there]
    return [export for entry in taken for export in entry.exports]


def _of_site(
    own: str, nfs: str, files: Mapping[str, bytes]
) -> Iterator[tuple[str, list[ExportEntry]]]:
    """The lines of a site in all files, its own first: of its nfs_root, or its own before."""
    for path in sorted(files, key=lambda path: (path != own, path != SHARED, path)):
        there = [entry for entry in entries(files[path]) if entry.exports]
        if path == SHARED:
            there = [entry for entry in there if entry.path == nfs or _is_of(site_of(own), entry)]
        elif path != own:
            there = _of_earlier_name(files[path], nfs, there) if site_of(path) else []
        if there:
            yield path, there


def _is_of(site: str, entry: ExportEntry) -> bool:
    return any(export.fsid == fsid_of(site, export.path) for export in entry.exports)


def _of_earlier_name(data: bytes, nfs: str, there: list[ExportEntry]) -> list[ExportEntry]:
    """Of another site's file: all of it where its nfs_root is ours, which was named so before."""
    paths = {export.path for export in exports_of(now(data))}
    return there if nfs in paths else [entry for entry in there if entry.path == nfs]


def _others(files: Mapping[str, bytes], taken: Taken) -> dict[str, list[Export]]:
    """What is exported by lines that are not this site's, by file."""
    rest = {path: _rest(data, taken.get(path, [])) for path, data in files.items()}
    return {path: exports_of(data) for path, data in rest.items() if data is not None}


def _rest(data: bytes, taken: list[ExportEntry]) -> bytes | None:
    """A file without lines that went elsewhere; None where it says nothing more."""
    texts = {entry.text for entry in taken}
    left = [entry for entry in entries(data) if entry.text not in texts]
    return b"".join(entry.text for entry in left) if any(entry.exports for entry in left) else None


def _as_exported(entry: ExportEntry, own: str, files: Mapping[str, bytes]) -> bytes:
    """A line with the fsid by which its folder is exported already."""
    first = sorted(files, key=lambda path: (path != own, path != SHARED, not site_of(path)))
    every = [export for path in first for export in exports_of(files[path])]
    there = [export.fsid for export in every if export.path == entry.path]
    if not there or all(export.fsid == there[0] for export in entry.exports):
        return entry.text
    bare = re.sub(rb",fsid=[^,)]*|fsid=[^,)]*,?", b"", entry.text)
    fsid = os.fsencode(f",fsid={there[0]}") if there[0] else b""
    return re.sub(rb"\)", fsid + b")", bare).replace(b"(,", b"(")


def _network(client: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(client, strict=False)
    except ValueError:
        return None


def _covers(one: Export, other: Export) -> bool:
    """Has whoever has `other` the same by `one`?"""
    if one.path != other.path:
        return False
    wide, narrow = _network(one.client), _network(other.client)
    return one.client in ("*", other.client) or bool(wide and narrow and narrow.subnet_of(wide))


def _beside(entry: ExportEntry, doubled: set[str]) -> bytes:
    """A line that exportfs(8) takes beside one for the same client: it compares their spelling."""
    text = entry.text
    for export in entry.exports:
        network = _network(export.client)
        if network and str(export) in doubled:
            short, long = f" {export.client}(", f" {network.with_netmask}("
            text = text.replace(os.fsencode(short), os.fsencode(long))
    return text if text.endswith(b"\n") else text + b"\n"


# --- what an admin should know


def _doubled(others: Mapping[str, list[Export]], nfs: str) -> Iterator[str]:
    for file, exports in others.items():
        clients = ", ".join(export.client for export in exports if export.path == nfs)
        if clients:
            yield f"{file} exports {nfs} to {clients}, too, and may decide how: remove that line"


def _left(kept: Iterable[Export], gone: Iterable[str]) -> Iterator[str]:
    why = "nodes may have it mounted"
    for export in sorted(kept):
        yield f"{export.path} stays exported to {export.client} until doit prune: {why}"
    for path in sorted(gone):
        yield f"{path} is not there, and no longer exported"


def _changed(wanted: Iterable[Export], held: Iterable[Export]) -> Iterator[str]:
    """Clients that get the same folder with other options; a fsid never differs."""
    for new in wanted:
        for old in held:
            if _covers(new, old) and _bare(new) != _bare(old):
                options = ",".join(sorted(_bare(new) ^ _bare(old)))
                yield f"{new.path} is exported to {old.client} otherwise than before: {options}"


def _bare(export: Export) -> set[str]:
    return {word for word in export.options.split(",") if not word.startswith("fsid=")}


def _unnamed(wanted: Iterable[Export], nfs: str) -> Iterator[str]:
    if any(export.path == nfs and not export.fsid for export in wanted):
        why = "with one, nodes that run would lose their root"
        yield f"{nfs} is exported without fsid= and stays so: {why}"
