"""A site's exports file merged with what its server exports already.

A node that runs holds on to a path, an address that may have it, and file handles in which the
export's fsid is. So what is exported stays exported, with its fsid, in whichever file it stood: a
site's new file is merged with what the server has. Only prune ends an export.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .exports import (
    SHARED,
    Export,
    ExportEntry,
    ExportsFound,
    as_former,
    entries,
    exports_of,
    fsid_of,
    present,
    site_of,
)

Entries = list[ExportEntry]
Files = Mapping[str, bytes]  # the exports files of a server
Taken = Mapping[str, Entries]  # of files, the lines that are a site's


class MergedExports(NamedTuple):
    """A site's exports file, merged with what the server has."""

    data: bytes
    after: tuple[tuple[str, bytes | None], ...] = ()  # files that lose lines to it then; None: all
    warnings: tuple[str, ...] = ()


class _Former(NamedTuple):
    """What a site exported before and does not now."""

    kept: list[Export]  # stays exported
    gone: set[str]  # the paths that are not there any more


def merge_exports(path: str, data: bytes, nfs: str, found: ExportsFound) -> MergedExports:
    """Merge what a site with this nfs_root wants its file `path` to be: a pure function."""
    files = found.files
    taken = dict(_of_site(path, nfs, files))
    others = _others(files, taken)
    doubled = set(map(str, itertools.chain(*others.values())))
    desired = _as_exported(data, path, files)
    now = exports_of(desired)
    before = exported_by_site(path, nfs, found)
    former = _former(before, now, found.folders | {nfs}, doubled)
    merged = _beside(desired, doubled) + as_former(former.kept)
    warnings = list(_doubled(others, nfs))
    if merged != files.get(path):
        warnings += _stays(former)
        warnings += _changed(now, before)
        warnings += _unnamed(now, nfs)
    losing = tuple(_losing(path, files, taken))
    return MergedExports(merged, losing, tuple(warnings))


def exported_by_site(path: str, nfs: str, found: ExportsFound) -> list[Export]:
    """What a site exports already, by its own file `path` and others."""
    exports = list[Export]()
    for _, lines in _of_site(path, nfs, found.files):
        for entry in lines:
            exports += entry.exports
    return exports


def _losing(path: str, files: Files, taken: Taken) -> Iterator[tuple[str, bytes | None]]:
    """The files, but for the site's own, that lose lines to it."""
    for name, lines in taken.items():
        if name != path:
            yield name, _rest(files[name], lines)


def _former(
    before: list[Export],
    now: list[Export],
    folders: frozenset[str],
    doubled: set[str],
) -> _Former:
    """What becomes of exports that nobody wants now. `folders`: of paths, those that are there."""
    kept, gone = list[Export](), set[str]()
    for export in before:
        if any(_covers(one, export) for one in now):
            continue
        if export.path not in folders:
            gone.add(export.path)
        elif str(export) not in doubled:
            kept.append(export)
    return _Former(kept, gone)


def _of_site(own: str, nfs: str, files: Files) -> Iterator[tuple[str, Entries]]:
    """The lines of a site in all files, its own first: of its nfs_root, or its own before."""
    for path in sorted(files, key=lambda path: (path != own, path != SHARED, path)):
        lines = [entry for entry in entries(files[path]) if entry.exports]
        if path == SHARED:
            site = site_of(own)
            lines = [entry for entry in lines if entry.path == nfs or _is_of(site, entry)]
        elif path != own:
            lines = _of_earlier_name(files[path], nfs, lines) if site_of(path) else []
        if lines:
            yield path, lines


def _is_of(site: str, entry: ExportEntry) -> bool:
    return any(export.fsid == fsid_of(site, export.path) for export in entry.exports)


def _of_earlier_name(data: bytes, nfs: str, lines: Entries) -> Entries:
    """Of another site's file: all of it where its nfs_root is ours, which was named so before."""
    paths = {export.path for export in exports_of(present(data))}
    if nfs in paths:
        return lines
    return [entry for entry in lines if entry.path == nfs]


def _others(files: Files, taken: Taken) -> dict[str, list[Export]]:
    """What is exported by lines that are not this site's, by file."""
    others = {}
    for path, data in files.items():
        rest = _rest(data, taken.get(path, []))
        if rest is not None:
            others[path] = exports_of(rest)
    return others


def _rest(data: bytes, taken: Entries) -> bytes | None:
    """A file without lines that went elsewhere; None where it says nothing more."""
    texts = {entry.text for entry in taken}
    left = [entry for entry in entries(data) if entry.text not in texts]
    if not any(entry.exports for entry in left):
        return None
    return b"".join(entry.text for entry in left)


def _as_exported(data: bytes, own: str, files: Files) -> bytes:
    """Lines with the fsids by which their folders are exported already."""
    return b"".join(_with_fsid(entry, own, files) for entry in entries(data))


def _with_fsid(entry: ExportEntry, own: str, files: Files) -> bytes:
    fsid = _fsid_now(entry.path, own, files)
    if fsid is None:
        return entry.text
    if all(export.fsid == fsid for export in entry.exports):
        return entry.text
    bare = re.sub(rb",fsid=[^,)]*|fsid=[^,)]*,?", b"", entry.text)
    option = os.fsencode(f",fsid={fsid}") if fsid else b""
    return bare.replace(b")", option + b")").replace(b"(,", b"(")


def _fsid_now(folder: str, own: str, files: Files) -> str | None:
    """The fsid of an exported folder, "" without one; None where it is not exported."""
    for path in sorted(files, key=lambda path: _trust(path, own)):
        for export in exports_of(files[path]):
            if export.path == folder:
                return export.fsid
    return None


def _trust(path: str, own: str) -> tuple[bool, bool, bool]:
    """The order in which files are asked: the site's own, what all wrote, other sites', others."""
    return path != own, path != SHARED, not site_of(path)


def _network(client: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(client, strict=False)
    except ValueError:
        return None


def _covers(one: Export, other: Export) -> bool:
    """Has whoever has `other` the same by `one`?"""
    if one.path != other.path:
        return False
    if one.client in ("*", other.client):
        return True
    wide, narrow = _network(one.client), _network(other.client)
    return bool(wide and narrow and narrow.subnet_of(wide))


def _beside(data: bytes, doubled: set[str]) -> bytes:
    """Lines that exportfs(8) takes beside some for the same clients: it compares their spelling."""
    return b"".join(_line_beside(entry, doubled) for entry in entries(data))


def _line_beside(entry: ExportEntry, doubled: set[str]) -> bytes:
    text = entry.text
    for export in entry.exports:
        network = _network(export.client)
        if network and str(export) in doubled:
            short = os.fsencode(f" {export.client}(")
            long = os.fsencode(f" {network.with_netmask}(")
            text = text.replace(short, long)
    return text if text.endswith(b"\n") else text + b"\n"


def _doubled(others: Mapping[str, list[Export]], nfs: str) -> Iterator[str]:
    for file, exports in others.items():
        clients = ", ".join(export.client for export in exports if export.path == nfs)
        if clients:
            yield f"{file} exports {nfs} to {clients}, too, and may decide how: remove that line"


def _stays(former: _Former) -> Iterator[str]:
    why = "nodes may have it mounted"
    for export in sorted(former.kept):
        yield f"{export.path} stays exported to {export.client} until doit prune: {why}"
    for path in sorted(former.gone):
        yield f"{path} is not there, and no longer exported"


def _changed(now: list[Export], before: list[Export]) -> Iterator[str]:
    """Clients that get the same folder with other options; a fsid never differs."""
    for new in now:
        for old in before:
            changed = _bare(new) ^ _bare(old)
            if changed and _covers(new, old):
                options = ",".join(sorted(changed))
                yield f"{new.path} is exported to {old.client} otherwise than before: {options}"


def _bare(export: Export) -> set[str]:
    words = export.options.split(",")
    return {word for word in words if not word.startswith("fsid=")}


def _unnamed(now: list[Export], nfs: str) -> Iterator[str]:
    if any(export.path == nfs and not export.fsid for export in now):
        why = "with one, nodes that run would lose their root"
        yield f"{nfs} is exported without fsid= and stays so: {why}"
