"""A real folder read into a Tree: what is in it, with the digests of all files; and whether it is still the same.

Nothing is ever written to the folder. What was read is remembered in an index (a file of the build), so that a file
whose status is unchanged is not read again.
"""

from __future__ import annotations

import errno
import hashlib
import marshal
import os
import sys
from collections.abc import Iterable
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK, S_ISREG
from typing import Any, NamedTuple

from .errors import BadInput, Problem
from .files import write_atomic
from .tree import BLOCK, CHAR, DIR, FIFO, FILE, LINK, Entry, Tree, without_collection
from .walk import OWNED_ROW, ROW, Known, Listing, Row, Skip, Walk, racy

Attributes = tuple[tuple[str, bytes], ...]
Record = dict[str, tuple[int, int, str, Attributes]]  # file's name -> newest time, hash of its row, digest, attributes
Records = dict[str, bytes]  # folder -> its record, marshalled

# What is carried into a root. Others belong to the machine that is read: SELinux labels, overlayfs, NFSv4 ACLs.
CARRIED = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")

_ENCODING = sys.getfilesystemencoding()
_FORMAT = f"plugnode index 3 {sys.implementation.cache_tag} {_ENCODING}\n".encode()
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # never waits where a file became a fifo
_KIND = 0o170000
_BLOCK = 1 << 20
_TRIES = 3  # to read a file that is written to


class Scan(NamedTuple):
    """What a folder holds. `signature` is None where it is being changed: it is to be scanned again next time."""

    tree: Tree
    signature: str | None
    sockets: tuple[bytes, ...]  # left out: they mean nothing without their process
    mounts: tuple[bytes, ...]  # folders of other file systems, taken without their content


def signature(
    root: str | bytes,
    index: str | None = None,
    skip: Skip | None = None,
    also: tuple[bytes, ...] = (),
    rules: str = "",
) -> str | None:
    """A digest over the status of everything in a folder: it differs after any change of bytes, names or metadata.

    `index` (a file that `scan` wrote) makes it faster, and changes nothing; `rules` says in words what `skip` does,
    by which an index of other rules is known. None where it cannot be told: something was changed within the clock's
    grain, or cannot be read; `scan` then says what.
    """
    with without_collection():
        known, _ = _load(index, skip, rules)
        for _ in range(2):
            walk = Walk(os.fsencode(root), known, skip, also)
            try:
                digest = _digest(walk)
            except OSError:
                return None
            if not walk.racy:
                return digest
            if not walk.settle():
                return None
    return None


def _digest(listings: Iterable[Listing]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for listing in listings:
        _count(digest, listing)
    return digest.hexdigest()


def _count(digest: hashlib.blake2b, listing: Listing) -> None:
    """Add one folder. Its names need not go in: no name comes, goes or changes without the folder's own ctime.

    Numbers go in as hash(): 61 bits that no seed changes, at a tenth of a digest's cost.
    """
    top = () if listing.path else listing.row
    digest.update(b"%d " % hash((top, *listing.rows)))


def _load(index: str | None, skip: Skip | None, rules: str, whole: bool = False) -> tuple[Known, Records]:
    """The two parts of an index: what a walk needs, and with `whole` what a scan does."""
    try:
        with open(index or os.devnull, "rb") as file:
            if file.readline() != _FORMAT:
                return {}, {}
            by, known = marshal.loads(file.read(int.from_bytes(file.read(8), "big")))
            records = marshal.loads(file.read()) if whole else {}
    except (OSError, EOFError, ValueError, TypeError):
        return {}, {}
    return known if by == rules and bool(rules) == bool(skip) else {}, records


def _save(index: str, rules: str, known: Known, records: Records) -> None:
    walked = marshal.dumps((rules, known))
    write_atomic(index, _FORMAT + len(walked).to_bytes(8, "big") + walked + marshal.dumps(records))


def scan(
    root: str | bytes,
    index: str | None = None,
    skip: Skip | None = None,
    also: tuple[bytes, ...] = (),
    owned: bool = False,
    rules: str = "",
) -> Scan:
    """Everything in a folder, on its own file system and on those at the paths in `also`.

    `skip(path, is_folder)` leaves out what is excluded, unread; `rules` says in words what it does. `owned` is for a
    snapshot of the build's own, from which is hard-linked: there a file is known by its mtime, for links move its
    ctime. Raises BadInput with every file that cannot be read, or that changes while it is read.
    """
    top = os.fsencode(os.path.abspath(root))
    with without_collection():
        known, records = _load(index, skip, rules, whole=True)
        for _ in range(2):
            walk = Walk(top, known, skip, also, OWNED_ROW if owned else ROW)
            reader = _Reader(top, records, owned)
            result = reader.read(walk)
            if not walk.racy or not walk.settle():
                break
            known, records = reader.known, reader.records
        if index:
            _save(index, rules, reader.known, reader.records)
    return result


class _Reader:
    """Turns a walk's listings into entries, and into what the next scan needs to know of them."""

    def __init__(self, root: bytes, before: Records, owned: bool):
        self.prefix = root.rstrip(b"/") + b"/"
        self.before, self.owned, self.row = before, owned, OWNED_ROW if owned else ROW
        self.tree: Tree = {}
        self.known: Known = {}
        self.records: Records = {}
        self.problems: list[Problem] = []
        self.sockets: list[bytes] = []
        self.mounts: list[bytes] = []
        self.first: dict[tuple[int, int], bytes] = {}  # (device, inode) -> the first name of a file
        self.others: dict[bytes, list[bytes]] = {}  # the first name of a file -> its other names
        self.steady = True  # did everything keep the status that the walk saw?

    def read(self, walk: Walk) -> Scan:
        walk.trouble = self.trouble
        digest = hashlib.blake2b(digest_size=20)
        try:
            for listing in walk:
                _count(digest, listing)
                self._folder(listing, walk.start)
        except OSError as error:
            raise BadInput.at(os.fsdecode(walk.root), f"cannot be read: {error.strerror}") from None
        if self.problems:
            raise BadInput(self.problems)
        self._join_names()
        settled = self.steady and not walk.racy
        return Scan(self.tree, digest.hexdigest() if settled else None, tuple(self.sockets), tuple(self.mounts))

    def trouble(self, path: str, error: OSError) -> None:
        what = f"cannot be read: {error.strerror}; run as root, or exclude it"
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):  # it was there, and of that kind, a moment ago
            what = "changed while it was read; try again, or exclude it"
        self.problems.append(Problem(os.fsdecode(self.prefix) + path, 1, 1, what))

    def _folder(self, listing: Listing, start: int) -> None:
        """Entries of one folder and of the names in it that are none, and what the index says of it."""
        path = os.fsencode(listing.path)
        self._add(path, DIR, listing.row, xattrs=attributes(listing.fd), source=self.prefix + path)
        stored = self.before.get(listing.path, b"")
        before, record = marshal.loads(stored) if stored else Record(), Record()
        above = path + b"/" if path else b""
        for name, row in zip(listing.names, listing.rows):
            kind = row[1] & _KIND
            if kind == S_IFREG:
                self._file(listing, above + name.encode(_ENCODING, "surrogateescape"), name, row, before, record)
            elif kind != S_IFDIR or name in listing.mounts:
                self._other(listing, above + os.fsencode(name), name, row)
        if racy(max((known[0] for known in record.values()), default=0), start):
            record = {name: known for name, known in record.items() if not racy(known[0], start)}
        self.records[listing.path] = stored if record == before else marshal.dumps(record)
        stamp = 0 if racy(listing.row[0], start) else hash(listing.row)
        self.known[listing.path] = stamp, listing.names, listing.places

    def _add(self, path: bytes, kind: str, row: Row, **more: Any) -> None:
        self.tree[path] = Entry(kind, row[1] & 0o7777, row[2], row[3], **more)

    def _file(self, listing: Listing, path: bytes, name: str, row: Row, before: Record, record: Record) -> None:
        known = before.get(name)
        if known and known[1] != hash(row):
            known = None
        if known and not self.owned:
            _, _, digest, found = record[name] = known
        else:  # attributes do not move an mtime: those of a snapshot are read again
            try:
                row, digest, found = self._open(listing.fd, name, row, known[2] if known else "")
            except OSError as error:
                return self.trouble(os.fsdecode(path), error)
            if not any(label.startswith("user.") for label, _ in found):  # whose values may be secret: read each time
                record[name] = row[0], hash(row), digest, found
        self._note_name(path, (listing.device, row[6]))
        stamp = 0 if self.owned else row[0]
        self.tree[path] = Entry(
            FILE, row[1] & 0o7777, row[2], row[3], row[4], b"", None, digest, found, self.prefix + path, None, 0, stamp
        )

    def _open(self, folder: int, name: str, seen: Row, digest: str) -> tuple[Row, str, Attributes]:
        """Status, digest and attributes of a file, all of one moment."""
        fd = os.open(name, _FILE, dir_fd=folder)
        try:
            for _ in range(_TRIES):
                status = os.fstat(fd)
                row = self.row(status)
                found = attributes(fd)
                digest = digest if digest and row == seen else digest_of(fd, status)
                if digest and row == self.row(os.fstat(fd)):
                    self.steady = self.steady and row == seen
                    return row, digest, found
        finally:
            os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "changed")

    def _other(self, listing: Listing, path: bytes, name: str, row: Row) -> None:
        """What has no bytes: symlinks, devices, fifos, sockets, and folders of other file systems."""
        kind = row[1] & _KIND
        try:
            if kind == S_IFLNK:
                return self._add(
                    path, LINK, (0, 0o777, *row[2:]), link=os.fsencode(os.readlink(name, dir_fd=listing.fd))
                )
            if kind == S_IFSOCK:
                return self.sockets.append(path)
            if kind == S_IFDIR:
                self.mounts.append(path)
                return self._add(path, DIR, row)
            found = attributes(self.prefix + path)
            if kind == S_IFIFO:
                return self._add(path, FIFO, row, xattrs=found)
            device = os.lstat(name, dir_fd=listing.fd).st_rdev
            numbers = os.major(device), os.minor(device)
            self._add(path, {S_IFCHR: CHAR, S_IFBLK: BLOCK}[kind], row, device=numbers, xattrs=found)
        except OSError as error:
            self.trouble(os.fsdecode(path), error)

    def _note_name(self, path: bytes, file: tuple[int, int]) -> None:
        first = self.first.setdefault(file, path)
        if first is not path:
            self.others.setdefault(first, []).append(path)

    def _join_names(self) -> None:
        """Give the names of one file a number that they share."""
        for number, first in enumerate(sorted(self.others), 1):
            for path in (first, *self.others[first]):
                self.tree[path] = self.tree[path]._replace(inode=number)


def attributes(file: int | bytes) -> Attributes:
    """The extended attributes that are carried, sorted by name, of an open file or of a path (links not followed)."""
    try:
        names = os.listxattr(file) if isinstance(file, int) else os.listxattr(file, follow_symlinks=False)
        return tuple((name, _attribute(file, name)) for name in sorted(names) if name.startswith(CARRIED))
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without them
            return ()
        raise


def _attribute(file: int | bytes, name: str) -> bytes:
    return os.getxattr(file, name) if isinstance(file, int) else os.getxattr(file, name, follow_symlinks=False)


_EMPTY = hashlib.sha256().hexdigest()


def digest_of(fd: int, status: os.stat_result) -> str:
    """sha256 of an open file, hex; "" where it is no regular file, or ends before its size."""
    if not S_ISREG(status.st_mode):
        return ""
    if not status.st_size:
        return _EMPTY
    digest, left = hashlib.sha256(), status.st_size
    while left:
        block = os.pread(fd, min(left, _BLOCK), status.st_size - left)
        if not block:
            return ""
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
