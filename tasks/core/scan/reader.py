"""A real folder read into a Tree: what is in it, with the digests of all files; and whether it is still the same.

Nothing is ever written to the folder. What was read is remembered in an index (a file of the build), so that a file
whose status is unchanged is not read again.
"""

from __future__ import annotations

import errno
import marshal
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG
from typing import Any, NamedTuple

from ..base.errors import BadInput, Problem
from ..tree.model import (
    DIR,
    FILE,
    LINK,
    TYPES,
    Entry,
    Tree,
    is_but_for_bytes,
    parent,
    without_collection,
)
from .content import READ_SIZE, attributes, read_through
from .folder import Folder
from .index import Attributes, Index, IndexRecord, IndexRecords, Item, load_index, save_index
from .walk import OWNED_ROW, ROW, Known, Listing, Row, Skip, Walk, racy

_FILE = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
)  # never waits where a file became a fifo
_KIND = 0o170000
_OVERLAP = 4 << 10  # what is judged with the next block, too
_TRIES = 3  # to read a file that is written to


class Judge(NamedTuple):
    """What is asked of the bytes of every file while they are read for their digest."""

    by: str  # names the rules: what others said of a file does not count
    verdict: Callable[[bytes], str] = lambda data: ""  # of 64 MiB of a file


NOBODY = Judge("")


class Scan(NamedTuple):
    """What a folder holds. `signature` is None where it is being changed: it is to be scanned again next time."""

    tree: Tree
    verdicts: dict[str, str]  # digest of a file -> what the judge said of it
    signature: str | None
    sockets: tuple[bytes, ...]  # left out: they mean nothing without their process
    mounts: tuple[bytes, ...]  # folders of other file systems, taken without their content


class Renewal(NamedTuple):
    """What has changed in a folder since its index was written, where that is nothing but bytes of files."""

    files: Tree  # those with other bytes
    before: Tree  # as they were
    folders: Tree  # those that hold them
    since: str  # the signature at that time
    signature: str  # now


class Walked(NamedTuple):
    """A walk that was taken, for a scan to go on from."""

    signature: (
        str | None
    )  # a digest over the status of everything: it differs after any change; None: not to be told
    start: int = 0
    before: Index = Index()
    folders: Sequence[Listing | bytes] = ()  # as Walk gives them; none without an index


def signature(root: str | bytes, index: str | None = None, *how: Any, **more: Any) -> str | None:
    """The signature of a look."""
    return look(root, index, *how, **more).signature


def look(
    root: str | bytes,
    index: str | None = None,
    skip: Skip | None = None,
    also: tuple[bytes, ...] = (),
    rules: str = "",
) -> Walked:
    """The status of everything in a folder, and what of it is new; no file is read.

    `index` (a file that `scan` wrote) makes it faster, and changes nothing; `rules` says in words what `skip` does,
    by which an index of other rules is known. There is no signature where something was changed within the clock's
    grain, or cannot be read; `scan` then says what.
    """
    with without_collection():
        before = _load(index, skip, rules)
        for _ in range(2):
            walk = Walk(os.fsencode(root), before.known, skip, also)
            try:
                folders = list(walk)
            except OSError:
                return Walked(None)
            if not walk.racy:
                return Walked(
                    walk.digest.hexdigest(), walk.start, before, folders if before.known else ()
                )
            if not walk.settle():
                return Walked(None)
    return Walked(None)


def _load(index: str | None, skip: Skip | None, rules: str) -> Index:
    """Nothing is known where something is skipped and no words say what."""
    return load_index(index, rules) if bool(skip) == bool(rules) else Index()


def scan(
    root: str | bytes,
    index: str | None = None,
    skip: Skip | None = None,
    also: tuple[bytes, ...] = (),
    owned: bool = False,
    rules: str = "",
    looked: Walked | None = None,
    judge: Judge = NOBODY,
    progress: Callable[[int], None] = lambda names: None,
) -> Scan:
    """Everything in a folder, on its own file system and on those at the paths in `also`.

    `skip(path, is_folder)` leaves out what is excluded, unread; `rules` says in words what it does. `owned` is for a
    snapshot of the build's own, from which is hard-linked: there a file is known by its mtime, for links move its
    ctime. `looked` is a look at it with the same index: it saves a walk. `progress` hears how many names are read.
    Raises BadInput with every file that cannot be read, or that changes while it is read.
    """
    top = os.fsencode(os.path.abspath(root))
    with without_collection():
        before = looked.before if looked and looked.folders else _load(index, skip, rules)
        if before.judge != judge.by:
            before, looked = Index(), None
        known, records = before.known, before.records
        for _ in range(2):
            reader = _Reader(top, known, records, owned, judge, progress)
            if looked and looked.folders:
                result = reader.go_on(looked)
                break
            walk = Walk(top, known, skip, also, OWNED_ROW if owned else ROW)
            result = reader.read(walk)
            if not walk.racy or not walk.settle():
                break
            known, records = reader.known, reader.records
        if index:
            save_index(
                index, rules, Index(reader.known, reader.records, judge.by, result.signature)
            )
    return result


def rescan(
    looked: Walked, root: str | bytes, index: str, rules: str, judge: Judge
) -> Renewal | None:
    """What is new by a look at a folder that is not owned, read and put into its index; the rest is not visited.

    None, and nothing written, where more has changed than bytes of files that have one name, where the judge has
    something to say of them, or where it cannot be told. Raises BadInput as `scan` does.
    """
    known, records, by, since = looked.before
    if since is None or by != judge.by:
        return None
    listings = [seen for seen in looked.folders if not isinstance(seen, bytes)]
    if len(records) != len(looked.folders) or any(seen.path not in records for seen in listings):
        return None  # a folder came or went
    if not all(known[seen.path][3] for seen in listings):
        return None  # what it was is not known as a whole
    top = os.fsencode(os.path.abspath(root))
    with without_collection():
        old, new = (_Reader(top, known, records, False, judge, whole=False) for _ in range(2))
        for seen in listings:
            old.put(seen.path, *marshal.loads(records[seen.path]))
        signature = new.go_on(looked).signature
        changed = new.only_bytes_since(old)
        if (
            changed is None
            or signature is None
            or any(new.verdicts[new.tree[path].digest] for path in changed)
        ):
            return None
        save_index(index, rules, Index(new.known, new.records, judge.by, signature))
    files = {path: new.tree[path] for path in changed}
    folders = {path: new.tree[path] for path in set(map(parent, changed))}
    return Renewal(files, {path: old.tree[path] for path in changed}, folders, since, signature)


class _Reader:
    """Turns a walk's listings into entries, and into what the next scan needs to know of them."""

    def __init__(
        self,
        root: bytes,
        known: Known,
        records: IndexRecords,
        owned: bool,
        judge: Judge,
        progress: Callable[[int], None] = lambda names: None,
        whole: bool = True,
    ):
        self.judge, self.progress = judge, progress
        self.whole = whole  # are entries made of what is as the index knows it?
        self.root, self.prefix = root, root.rstrip(b"/") + b"/"
        self.known_before, self.records_before = known, records
        self.owned, self.row = owned, OWNED_ROW if owned else ROW
        self.tree: Tree = {}
        self.verdicts: dict[str, str] = {}
        self.known: Known = {}
        self.records: dict[bytes, bytes | memoryview] = {}
        self.problems: list[Problem] = []
        self.sockets: list[bytes] = []
        self.mounts: list[bytes] = []
        self.first: dict[tuple[int, int], bytes] = {}  # (device, inode) -> the first name of a file
        self.others: dict[bytes, list[bytes]] = {}  # the first name of a file -> its other names
        self.steady = True  # did everything keep the status that the walk saw?

    def read(self, walk: Walk) -> Scan:
        walk.trouble = self.trouble
        try:
            self._take(walk, walk.start)
        except OSError as error:
            raise BadInput.at(os.fsdecode(walk.root), f"cannot be read: {error.strerror}") from None
        return self._end(None if walk.racy else walk.digest.hexdigest())

    def go_on(self, looked: Walked) -> Scan:
        """The same from a look: what is as the index knows it is not visited again."""
        self._take(looked.folders, looked.start)
        return self._end(looked.signature)

    def only_bytes_since(self, old: _Reader) -> list[bytes] | None:
        """The files that have other bytes than then; None where anything else is different, too."""
        if self.tree.keys() != old.tree.keys():
            return None
        if (self.others, self.sockets, self.mounts) != (old.others, old.sockets, old.mounts):
            return None
        changed = [
            path for path, entry in self.tree.items() if entry.content != old.tree[path].content
        ]
        same = all(is_but_for_bytes(old.tree[path], self.tree[path]) for path in changed)
        return changed if same and not any(self.tree[path].inode for path in changed) else None

    def _end(self, signature: str | None) -> Scan:
        if self.problems:
            raise BadInput(self.problems)
        self._join_names()
        signature = signature if self.steady else None
        return Scan(self.tree, self.verdicts, signature, tuple(self.sockets), tuple(self.mounts))

    def trouble(self, path: bytes, error: OSError) -> None:
        what = f"cannot be read: {error.strerror}; run as root, or exclude it"
        if error.errno in (
            errno.ENOENT,
            errno.ELOOP,
            errno.ENOTDIR,
        ):  # it was there, and of that kind, a moment ago
            what = "changed while it was read; try again, or exclude it"
        self.problems.append(Problem(os.fsdecode(self.prefix + path), 1, 1, what))

    def _take(self, folders: Iterable[Listing | bytes], start: int) -> None:
        """Entries of folders and of the names in them that are none, and what the index says of them."""

        with Folder(self.root) as place:
            for seen in folders:
                if isinstance(seen, bytes):
                    self.records[seen], self.known[seen] = (
                        self.records_before[seen],
                        self.known_before[seen],
                    )
                    if self.whole:
                        self.put(seen, *marshal.loads(self.records[seen]))
                    continue
                try:
                    fd = place.at(seen.path)
                except OSError as error:
                    self.trouble(seen.path, error)
                    continue
                self.steady = self.steady and self.row(os.fstat(fd)) == seen.row
                self.progress(len(self.tree))
                record = seen.device, seen.row, attributes(fd), dict(self._items(seen, fd))
                self.put(seen.path, *record)
                self._remember(seen, record, start)

    def _items(self, listing: Listing, fd: int) -> Iterator[tuple[bytes, Item]]:
        stored = self.records_before.get(listing.path)
        before: dict[bytes, Item] = marshal.loads(stored)[3] if stored else {}
        for name, row in zip(listing.names, listing.rows):
            if row[1] & _KIND != S_IFDIR or name in listing.mounts:
                path, known = listing.path + b"/" + name if listing.path else name, before.get(name)
                known = known if known and known[0] == row else None
                try:
                    yield name, self._item(fd, name, self.prefix + path, row, known)
                except OSError as error:
                    self.trouble(path, error)

    def _item(self, fd: int, name: bytes, path: bytes, row: Row, known: Item | None) -> Item:
        """What is to be known of a name that is no folder of this file system."""
        if known and known[5] is not None:
            return known
        kind = row[1] & _KIND
        if kind == S_IFREG:
            row, digest, verdict, found = self._open(fd, name, row, known)
            return row, b"", None, digest, verdict, found
        if kind == S_IFLNK:
            return row, os.readlink(name, dir_fd=fd), None, "", "", ()
        if kind in (S_IFCHR, S_IFBLK):
            device = os.lstat(name, dir_fd=fd).st_rdev
            return row, b"", (os.major(device), os.minor(device)), "", "", attributes(path)
        return row, b"", None, "", "", attributes(path) if kind == S_IFIFO else ()

    def _remember(self, listing: Listing, record: IndexRecord, start: int) -> None:
        """But for what may change and look as before, and for `user.` attributes, whose values may be secret."""
        device, row, found, items = record
        kept = {
            name: item[:5] + (None if _is_labelled(item[5]) else item[5],)
            for name, item in items.items()
            if not racy(item[0][0], start)
        }
        self.records[listing.path] = marshal.dumps(
            (device, row, () if _is_labelled(found) else found, kept)
        )
        stamp = 0 if racy(row[0], start) else hash(row)
        whole = record == (device, row, found, kept) and not _is_labelled(found)
        self.known[listing.path] = (
            stamp,
            listing.names,
            listing.places,
            listing.number if whole else 0,
        )

    def put(
        self, path: bytes, device: int, row: Row, found: Attributes, items: dict[bytes, Item]
    ) -> None:
        self.tree[path] = Entry(
            DIR, row[1] & 0o7777, row[2], row[3], xattrs=found, source=self.prefix + path
        )
        start = path + b"/" if path else b""
        for name, item in items.items():
            self._put_item(start + name, device, item)

    def _put_item(self, path: bytes, file_system: int, item: Item) -> None:
        (stamp, mode, uid, gid, size, _, inode), link, device, digest, verdict, found = item
        kind = TYPES.get(mode & _KIND)
        if kind is None:
            return self.sockets.append(path)
        if kind == FILE:
            self._note_name(path, (file_system, inode))
            self.verdicts[digest] = verdict
        if kind == DIR:
            self.mounts.append(path)
        is_file, bits = kind == FILE, 0o777 if kind == LINK else mode & 0o7777
        source, stamp = (self.prefix + path, 0 if self.owned else stamp) if is_file else (b"", 0)
        self.tree[path] = Entry(
            kind,
            bits,
            uid,
            gid,
            size if is_file else 0,
            link,
            device,
            digest,
            found or (),
            source,
            None,
            0,
            stamp,
        )

    def _open(
        self, folder: int, name: bytes, seen: Row, known: Item | None
    ) -> tuple[Row, str, str, Attributes]:
        """Status, digest, verdict and attributes of a file, all of one moment."""
        fd = os.open(name, _FILE, dir_fd=folder)
        try:
            for _ in range(_TRIES):
                status = os.fstat(fd)
                row = self.row(status)
                found = attributes(fd)
                digest, verdict = known[3:5] if known and row == seen else self._read(fd, status)
                if digest and row == self.row(os.fstat(fd)):
                    self.steady = self.steady and row == seen
                    return row, digest, verdict, found
        finally:
            os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "changed")

    def _read(self, fd: int, status: os.stat_result) -> tuple[str, str]:
        """Digest and verdict; the same bytes are judged once."""
        digest, start = read_through(fd, status)
        verdict = self.verdicts.get(digest)
        if verdict is None:
            blocks = chain([start], later_blocks(fd, status) if digest and self.judge.by else ())
            verdict = next(filter(None, map(self.judge.verdict, blocks)), "")
        return digest, verdict

    def _note_name(self, path: bytes, file: tuple[int, int]) -> None:
        first = self.first.setdefault(file, path)
        if first is not path:
            self.others.setdefault(first, []).append(path)

    def _join_names(self) -> None:
        """Give the names of one file a number that they share."""
        for number, first in enumerate(sorted(self.others), 1):
            for path in (first, *self.others[first]):
                self.tree[path] = self.tree[path]._replace(inode=number)


def _is_labelled(found: Attributes | None) -> bool:
    return any(name.startswith("user.") for name, _ in found or ())


def later_blocks(fd: int, status: os.stat_result) -> Iterator[bytes]:
    """What is behind a file's first 64 MiB, each time as much, with the end of what was before."""
    at = READ_SIZE - _OVERLAP
    while at + _OVERLAP < status.st_size and (block := os.pread(fd, READ_SIZE, at)):
        yield block
        at += READ_SIZE - _OVERLAP
