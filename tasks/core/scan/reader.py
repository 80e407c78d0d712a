"""A real folder read into a Tree: all that is in it, with digests of its files; and what changed.

Nothing is ever written to the folder. What was read is remembered in an index (a file of the
build), so that a file whose status is unchanged is not read again.
"""

from __future__ import annotations

import errno
import marshal
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG
from typing import NamedTuple, TypeVar

from ..base.errors import BadInput, Problem
from ..base.process import has_two_processors, in_two
from ..tree.model import (
    DIR,
    FILE,
    LINK,
    TYPES,
    Entry,
    Tree,
)
from ..tree.xattrs import Attributes
from .content import HOLES_MAX, READ_SIZE, attributes, data_at, hole_size, read_through
from .folder import Folder
from .index import NOTHING_KNOWN, Index, IndexRecord, Item, load_index, save_index
from .walk import OWNED_ROW, ROW, Known, Listing, Row, Skip, Walk, racy

# Opening never waits where a file became a fifo.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)  # it was there, and of that kind, a moment ago
_OVERLAP = 4 << 10  # what is judged with the next block, too
_TRIES = 3  # to read a file that is written to
_MANY = 256  # folders: reading fewer takes no longer than to fork
_LARGE = 64 << 10  # bytes: reading less costs no more than asking whether it must be
# begins a verdict that is none yet: who knows all of a tree gives it, if it is needed
PUT_OFF = "="

Progress = Callable[[int], None]  # how many names are read
_Each = TypeVar("_Each")


class Judge(NamedTuple):
    """What is asked of the bytes of every file while they are read for their digest."""

    by: str  # names the rules: what others said of a file does not count
    # of 64 MiB of a file, and its sha256
    verdict: Callable[[bytes, str], str] = lambda data, digest: ""


NOBODY = Judge("")


class ScanOptions(NamedTuple):
    """What of a folder is scanned, and how."""

    skip: Skip | None = None  # what is left out, unread
    also: tuple[bytes, ...] = ()  # paths at which other file systems are entered
    rules: str = ""  # says in words what `skip` does: an index of other rules is not used
    owned: bool = False  # a snapshot of the build's own, hard-linked from: links move its ctimes
    judge: Judge = NOBODY
    unread: Callable[[bytes], bool] | None = None  # of which large files no bytes are wanted


EVERYTHING = ScanOptions()


class Scan(NamedTuple):
    """What a folder holds."""

    tree: Tree
    verdicts: dict[str, str]  # digest of a file -> what the judge said of it
    signature: str | None  # None: it is being changed, and to be scanned again next time
    sockets: tuple[bytes, ...]  # left out: they mean nothing without their process
    mounts: tuple[bytes, ...]  # folders of other file systems, taken without their content


class Walked(NamedTuple):
    """A walk that was taken, for a scan to go on from."""

    signature: str | None  # over the status of everything; None: it cannot be told
    before: Index = NOTHING_KNOWN  # what was known
    start: int = 0
    # As Walk gives them, until they are read; with none the scan takes a walk of its own
    folders: deque[Listing | bytes] = deque()


def look(
    root: str | bytes, before: Index = NOTHING_KNOWN, options: ScanOptions = EVERYTHING
) -> Walked:
    """Give the status of everything in a folder, and what of it is new; no file is read.

    `before` (of the last scan) makes it faster, and changes nothing. There is no signature where
    something was changed within the clock's grain, or cannot be read; a scan then says what.
    """
    for _ in range(2):
        walk = Walk(os.fsencode(root), before.known, options.skip, options.also)
        try:
            folders = deque(walk)
        except OSError:
            return Walked(None, before)
        if not walk.racy:
            return Walked(walk.digest.hexdigest(), before, walk.start, folders)
        if not walk.settle():
            return Walked(None, before)
    return Walked(None, before)


def _load(index: str | None, options: ScanOptions) -> Index:
    """Nothing is known where something is skipped and no words say what."""
    if bool(options.skip) != bool(options.rules):
        return NOTHING_KNOWN
    return load_index(index, options.rules)


def _unheard(names: int) -> None:
    pass


def scan(
    root: str | bytes,
    index: str | None = None,
    options: ScanOptions = EVERYTHING,
    progress: Progress = _unheard,
) -> Scan:
    """Read everything in a folder, on its own file system and on those that the options name.

    `index`: a file to remember it in. Raises BadInput with every file that cannot be read, or that
    changes while it is read.
    """
    found, known = scan_on(root, Walked(None, _load(index, options)), options, progress)
    if index:
        save_index(index, options.rules, known)
    return found


def scan_on(
    root: str | bytes, looked: Walked, options: ScanOptions, progress: Progress = _unheard
) -> tuple[Scan, Index]:
    """The same, from a look at the folder, which may save a walk; and what the next is to know."""
    top = os.fsencode(os.path.abspath(root))
    if looked.before.records and looked.before.judge != options.judge.by:
        looked = Walked(None)
    if looked.folders:
        reader = Reader(top, looked.before, options, progress)
        found = reader.go_on(looked)
    else:
        reader, found = _walk_and_read(top, looked.before, options, progress)
    return found, reader.index(found.signature)


def _walk_and_read(
    root: bytes, before: Index, options: ScanOptions, progress: Progress
) -> tuple[Reader, Scan]:
    """A second time, from what the first one knows, where something had just been changed."""
    for _ in range(2):
        reader = Reader(root, before, options, progress)
        walk = Walk(root, before.known, options.skip, options.also, reader.row)
        found = reader.read(walk)
        if not walk.racy or not walk.settle():
            break
        before = reader.index(None)
    return reader, found


class Reader:
    """Turns a walk's listings into entries, and into what the next scan needs to know of them."""

    def __init__(
        self,
        root: bytes,
        before: Index,
        options: ScanOptions,
        progress: Progress = _unheard,
    ):
        self.root, self.prefix = root, root.rstrip(b"/") + b"/"
        self.before = before
        self.options = options
        self.row = OWNED_ROW if options.owned else ROW
        self.progress = progress
        self.tree: Tree = {}
        self.verdicts: dict[str, str] = {}
        self.known: Known = {}
        self.records: dict[bytes, bytes | memoryview] = {}
        self.problems: list[Problem] = []
        self.sockets: list[bytes] = []
        self.mounts: list[bytes] = []
        # file system -> inode -> a file's first name
        self.first: dict[int, dict[int, bytes]] = defaultdict(dict)
        self.others: dict[bytes, list[bytes]] = {}  # the first name of a file -> its other names
        self.steady = True  # did everything keep the status that the walk saw?
        self.names = 0  # that were read

    def index(self, signature: str | None) -> Index:
        """Give what the next scan is to know."""
        return Index(self.known, self.records, self.options.judge.by, signature)

    def read(self, walk: Walk) -> Scan:
        walk.trouble = self.trouble
        try:
            self._take(walk, walk.start)
        except OSError as error:
            raise BadInput.at(os.fsdecode(walk.root), f"cannot be read: {error.strerror}") from None
        return self._end(None if walk.racy else walk.digest.hexdigest())

    def go_on(self, looked: Walked) -> Scan:
        """Read from a look: what is as the index knows it is not visited again."""
        self._take(_taken(looked.folders), looked.start)
        return self._end(looked.signature)

    def _end(self, signature: str | None) -> Scan:
        if self.problems:
            raise BadInput(self.problems)
        self._join_names()
        signature = signature if self.steady else None
        return Scan(
            self.tree,
            self.verdicts,
            signature,
            tuple(self.sockets),
            tuple(self.mounts),
        )

    def trouble(self, path: bytes, error: OSError) -> None:
        if error.errno in _GONE:
            what = "changed while it was read; try again, or exclude it"
        elif error.errno == errno.EFBIG:
            what = f"{error.strerror}; exclude it"
        else:
            what = f"cannot be read: {error.strerror}; run as root, or exclude it"
        file = os.fsdecode(self.prefix + path)
        self.problems.append(Problem(file, 1, 1, what))

    def _take(self, folders: Iterable[Listing | bytes], start: int) -> None:
        """Read folders, and the names in them that are none, and note what the index is to say."""
        with Folder(self.root) as root:
            for seen, record in self._records(root, folders):
                if isinstance(seen, bytes):
                    self._keep(seen)
                elif record:
                    self.put(seen.path, *record)
                    self.remember(seen, record, start)

    def _keep(self, path: bytes) -> None:
        """A folder that is as the index knows it."""
        self.records[path] = self.before.records[path]
        self.known[path] = self.before.known[path]
        self.put(path, *marshal.loads(self.records[path]))

    def _records(
        self, root: Folder, folders: Iterable[Listing | bytes]
    ) -> Iterator[tuple[Listing | bytes, IndexRecord | None]]:
        """Give folders with what is in them, if that is to be read, and can be."""
        if not self.before.known and has_two_processors():
            listed = deque(seen for seen in folders if not isinstance(seen, bytes))
            if len(listed) >= _MANY:
                yield from self._read_in_two(root, listed)
                return
            folders = listed
        for seen in folders:
            yield seen, None if isinstance(seen, bytes) else self.read_folder(root, seen)

    def _read_in_two(
        self, root: Folder, listed: deque[Listing]
    ) -> Iterator[tuple[Listing, IndexRecord | None]]:
        """The same of folders of which nothing is known."""
        before = list(accumulate((len(seen.names) for seen in listed), initial=0))

        def read(number: int) -> bytes:
            return self._packed(root, listed[number], before[number])

        found = deque(in_two(read, len(listed), self._hush))
        for seen, packed, names in zip(_taken(listed), _taken(found), before):
            yield seen, self._unpacked(packed or self._packed(root, seen, names))

    def _packed(self, root: Folder, seen: Listing, before: int) -> bytes:
        """All that was found in a folder, for another process. `before`: names read by now."""
        problems, steady = self.problems, self.steady
        self.problems, self.steady, self.names = [], True, before
        record = self.read_folder(root, seen)
        found = record, list(map(tuple, self.problems)), self.steady
        self.problems, self.steady = problems, steady
        return marshal.dumps(found)

    def _unpacked(self, packed: bytes) -> IndexRecord | None:
        record: IndexRecord | None
        record, problems, steady = marshal.loads(packed)
        self.problems += [Problem(*each) for each in problems]
        self.steady = self.steady and steady
        return record

    def _hush(self) -> None:
        self.progress = _unheard

    def read_folder(self, root: Folder, seen: Listing) -> IndexRecord | None:
        """Read the names of a folder that are new; None, and a problem, where that cannot be."""
        try:
            fd = root.at(seen.path)
        except OSError as error:
            self.trouble(seen.path, error)
            return None
        self.steady = self.steady and self.row(os.fstat(fd)) == seen.row
        self.names += len(seen.names)
        self.progress(self.names)
        return seen.device, seen.row, attributes(fd), dict(self._items(seen, fd))

    def _items(self, listing: Listing, fd: int) -> Iterator[tuple[bytes, Item]]:
        stored = self.before.records.get(listing.path)
        before: dict[bytes, Item] = marshal.loads(stored)[3] if stored else {}
        above = listing.path + b"/" if listing.path else b""
        for name, row in zip(listing.names, listing.rows):
            if S_IFMT(row[1]) == S_IFDIR and name not in listing.mounts:
                continue
            known = before.get(name)
            if known and (known[0] != row or _was_unread(known)):
                known = None
            try:
                yield name, self._item(fd, name, self.prefix + above + name, row, known)
            except OSError as error:
                self.trouble(above + name, error)

    def _is_unread(self, path: bytes, row: Row) -> bool:
        """Whether a file is a large one of which no bytes are wanted."""
        unread = self.options.unread
        if not unread or row[4] < _LARGE:
            return False
        return unread(path[len(self.prefix) :])

    def _item(self, fd: int, name: bytes, path: bytes, row: Row, known: Item | None) -> Item:
        """Give what is to be known of a name that is no folder of this file system."""
        if known and known[5] is not None:
            return known
        kind = S_IFMT(row[1])
        if kind == S_IFREG:
            if self._is_unread(path, row):
                return row, b"", None, "", "", attributes(path)
            return self._file_item(fd, name, row, known)
        if kind == S_IFLNK:
            return row, os.readlink(name, dir_fd=fd), None, "", "", ()
        if kind in (S_IFCHR, S_IFBLK):
            device = os.lstat(name, dir_fd=fd).st_rdev
            numbers = os.major(device), os.minor(device)
            return row, b"", numbers, "", "", attributes(path)
        return row, b"", None, "", "", attributes(path) if kind == S_IFIFO else ()

    def _file_item(self, fd: int, name: bytes, row: Row, known: Item | None) -> Item:
        row, digest, verdict, found = self._open(fd, name, row, known)
        return row, b"", None, digest, verdict, found

    def remember(self, listing: Listing, record: IndexRecord, start: int) -> None:
        """Note a folder for the next scan.

        Left out is what may change and have the same status, and `user.` attributes, whose values
        may be secret.
        """
        device, row, found, items = record
        kept = {}
        for name, item in items.items():
            if not racy(item[0][0], start):
                kept[name] = (*item[:5], None) if _is_labelled(item[5]) else item
        own = () if _is_labelled(found) else found
        self.records[listing.path] = marshal.dumps((device, row, own, kept))
        stamp = 0 if racy(row[0], start) else hash(row)
        is_whole = own == found and kept == items
        number = listing.number if is_whole else 0
        self.known[listing.path] = stamp, listing.names, listing.places, number

    def put(
        self, path: bytes, device: int, row: Row, found: Attributes, items: dict[bytes, Item]
    ) -> None:
        """Make entries of a folder and of all in it that is none."""
        _, mode, uid, gid, *_ = row
        source = self.prefix + path
        self.tree[path] = Entry(
            DIR,
            mode & 0o7777,
            uid,
            gid,
            xattrs=found,
            source=source,
        )
        start = path + b"/" if path else b""
        for name, item in items.items():
            self._put_item(start + name, device, item)

    def _put_item(self, path: bytes, file_system: int, item: Item) -> None:
        row, link, device, digest, verdict, found = item
        _, mode, uid, gid, _, _, inode = row
        kind = TYPES.get(S_IFMT(mode))
        if kind == FILE:
            self._note_name(path, self.first[file_system].setdefault(inode, path))
            self.verdicts[digest] = verdict
            self.tree[path] = self.file(path, item)
        elif kind is None:
            self.sockets.append(path)
        else:
            if kind == DIR:
                self.mounts.append(path)
            bits = 0o777 if kind == LINK else mode & 0o7777
            self.tree[path] = Entry(
                kind,
                bits,
                uid,
                gid,
                0,
                link,
                device,
                "",
                found or (),
            )

    def file(self, path: bytes, item: Item) -> Entry:
        """Give the entry of a file of which that is known."""
        row, _, _, digest, _, found = item
        stamp, mode, uid, gid, size, *_ = row
        return Entry(
            FILE,
            mode & 0o7777,
            uid,
            gid,
            size,
            digest=digest,
            xattrs=found or (),
            source=self.prefix + path,
            stamp=0 if self.options.owned else stamp,
        )

    def _open(
        self, folder: int, name: bytes, seen: Row, known: Item | None
    ) -> tuple[Row, str, str, Attributes]:
        """Give status, digest, verdict and attributes of a file, all of one moment."""
        fd = os.open(name, _FILE, dir_fd=folder)
        try:
            for _ in range(_TRIES):
                status = os.fstat(fd)
                row = self.row(status)
                found = attributes(fd)
                digest, verdict = known[3:5] if known and row == seen else self._judged(fd, status)
                if digest and row == self.row(os.fstat(fd)):
                    self.steady = self.steady and row == seen
                    return row, digest, verdict, found
        finally:
            os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "changed")

    def _judged(self, fd: int, status: os.stat_result) -> tuple[str, str]:
        """Give digest and verdict; the same bytes are judged once."""
        holes = hole_size(fd, status)
        if holes > HOLES_MAX:
            raise OSError(errno.EFBIG, f"has holes of {holes >> 30:,} GiB")
        digest, start = read_through(fd, status, lambda: self.progress(self.names))
        verdict = self.verdicts.get(digest) if digest else ""
        if verdict is None:
            later = later_blocks(fd, status) if self.options.judge.by else ()
            verdict_of = self.options.judge.verdict
            verdicts = (verdict_of(block, digest) for block in chain([start], later))
            verdict = self.verdicts[digest] = next(filter(None, verdicts), "")
        return digest, verdict

    def _note_name(self, path: bytes, first: bytes) -> None:
        if first is not path:
            self.others.setdefault(first, []).append(path)

    def _join_names(self) -> None:
        """Give the names of one file a number that they share."""
        for number, first in enumerate(sorted(self.others), 1):
            for path in (first, *self.others[first]):
                self.tree[path] = self.tree[path]._replace(inode=number)


def _taken(items: deque[_Each]) -> Iterator[_Each]:
    """Give each, and keep none: what was read of a folder takes the place of its listing."""
    while items:
        yield items.popleft()


def _was_unread(item: Item) -> bool:
    """Whether a file's bytes were not wanted when that was noted."""
    return S_IFMT(item[0][1]) == S_IFREG and not item[3]


def _is_labelled(found: Attributes | None) -> bool:
    return any(name.startswith("user.") for name, _ in found or ())


def later_blocks(fd: int, status: os.stat_result) -> Iterator[bytes]:
    """Give what is behind a file's first 64 MiB, each time as much, with the end of the last."""
    at = READ_SIZE - _OVERLAP
    while at + _OVERLAP < status.st_size and (block := os.pread(fd, READ_SIZE, at)):
        yield block
        at = max(at + READ_SIZE, data_at(fd, at + READ_SIZE)) - _OVERLAP
