"""A folder in which nothing but bytes of files changed: only those files are read."""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Iterable, Iterator
from stat import S_ISREG
from typing import NamedTuple

from ..tree.model import Tree
from .folder import Folder
from .index import Index, IndexRecord, Item
from .reader import PUT_OFF, Progress, Reader, ScanOptions, Walked
from .walk import Listing, Row


class ChangedBytes(NamedTuple):
    """Files that have other bytes than when an index was written."""

    before: Tree
    after: Tree
    known: Index  # to the next scan


class _MoreChanged(Exception):
    """Names, types, modes, owners, attributes or links did, or are not known."""


def changed_bytes(
    root: str,
    looked: Walked,
    options: ScanOptions,
    is_plain: Callable[[bytes], bool],
    progress: Progress,
) -> ChangedBytes | None:
    """Read the files that changed between a look's index and the look.

    None where more than bytes did, or bytes of a file of which `is_plain(path)` is not so. Files
    have one name each, and of none the judge had anything to say, or has, or has put that off.
    """
    if not looked.folders or looked.before.judge != options.judge.by:
        return None
    listed = [seen for seen in looked.folders if not isinstance(seen, bytes)]
    reader = _going_on(Reader(os.fsencode(os.path.abspath(root)), looked.before, options, progress))
    try:
        for seen in listed:
            _must(all(map(is_plain, _changed(seen, looked.before))))
        before, after = _read(reader, listed, looked.start)
    except _MoreChanged:
        return None
    return ChangedBytes(before, after, reader.index(looked.signature))


def _going_on(reader: Reader) -> Reader:
    """One that knows what was known before."""
    reader.known = dict(reader.before.known)
    reader.records = dict(reader.before.records)
    return reader


def _must(be: bool) -> None:
    if not be:
        raise _MoreChanged


def _changed(seen: Listing, before: Index) -> Iterator[bytes]:
    """The files of a folder that have another status than the index knows."""
    device, row, _, items = _record(before, seen)
    _, names, places, number = before.known[seen.path]
    _must(number != 0)  # all is known of it: what is labelled is not
    _must((device, names, places) == (seen.device, seen.names, seen.places))
    _must(_rights(row) == _rights(seen.row))
    above = seen.path + b"/" if seen.path else b""
    for name, now in _no_folders(seen):
        _must(name in items)
        then = items[name][0]
        if then != now:
            _must(S_ISREG(now[1]) and _rights(then) == _rights(now))
            yield above + name


def _record(before: Index, seen: Listing) -> IndexRecord:
    _must(seen.path in before.known)
    record: IndexRecord = marshal.loads(before.records[seen.path])
    return record


def _rights(row: Row) -> Row:
    """Type, mode, owner and group."""
    return row[1:4]


def _no_folders(seen: Listing) -> Iterator[tuple[bytes, Row]]:
    """What an index has items of: all that is not walked into."""
    inner = {seen.names[place] for place in seen.places}.difference(seen.mounts)
    return ((name, row) for name, row in zip(seen.names, seen.rows) if name not in inner)


def _read(reader: Reader, listed: Iterable[Listing], start: int) -> tuple[Tree, Tree]:
    """The files with other bytes, as they were and are; the reader notes what it finds."""
    before: Tree = {}
    after: Tree = {}
    with Folder(reader.root) as root:
        for seen in listed:
            record = reader.read_folder(root, seen)
            if record is None or not reader.steady:
                raise _MoreChanged
            for path, then, now in _differing(seen, _record(reader.before, seen), record):
                _must(_has_one_name(reader.prefix + path))
                if then[3] != now[3]:
                    before[path] = reader.file(path, then)
                    after[path] = reader.file(path, now)
            reader.remember(seen, record, start)
    return before, after


def _differing(
    seen: Listing, then: IndexRecord, now: IndexRecord
) -> Iterator[tuple[bytes, Item, Item]]:
    """The files of a folder with another status, and what was known and is known of each."""
    _, _, attributes, items = then
    _must((attributes, items.keys()) == (now[2], now[3].keys()))
    above = seen.path + b"/" if seen.path else b""
    for name, item in now[3].items():
        known = items[name]
        if known != item:
            _must(item[5] == known[5] and not item[4] and not _is_said(known[4]))
            yield above + name, known, item


def _is_said(verdict: str) -> bool:
    return bool(verdict) and not verdict.startswith(PUT_OFF)


def _has_one_name(file: bytes) -> bool:
    try:
        return os.lstat(file).st_nlink == 1
    except OSError:
        return False
