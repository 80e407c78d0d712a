"""Making a real folder what a tree says, step by step."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_ISREG
from typing import NamedTuple

from ..base.process import has_two_processors, in_two
from ..scan.content import attributes, digest_of
from ..scan.folder import OPEN_FOLDER, Folder
from ..tree.diff import Changes
from ..tree.model import BLOCK, CHAR, DIR, FIFO, FILE, LINK, Entry, Tree, parent

# ns: the mtime of what no file of the inputs gives one to; 2001, which no tool takes for a mistake
EPOCH = 10**18

_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    DIR: S_IFDIR,
    FILE: S_IFREG,
    LINK: S_IFLNK,
    CHAR: S_IFCHR,
    BLOCK: S_IFBLK,
    FIFO: S_IFIFO,
}
_BLOCK = 1 << 26
_MANY = 1_000  # files: copying fewer takes no longer than to fork

# copy_file_range(2) is not for these two files
_NO_COPY = (
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
)
# On another file system, of too many names already, of a kind that has one only, or gone: then it
# is copied.
_NO_LINK = (
    errno.EXDEV,
    errno.EMLINK,
    errno.EPERM,
    errno.EOPNOTSUPP,
    errno.ENOENT,
)

# Gives a file that may be hard-linked: its folder, its name.
Lender = Callable[[Entry], "tuple[int, bytes] | None"]
Progress = Callable[[int, int], None]  # steps done, of how many
Steps = list[tuple[bytes, Entry]]


class Done(NamedTuple):
    """What was made of non-folders."""

    linked: int  # names that became links to lent files
    copied: int  # files written
    size: int  # of those
    stamps: dict[bytes, int]  # those of one name -> ctime in ns
    made: set[bytes]  # all that was named and not removed, and the folders that this disturbed
    written: set[bytes]  # the names of files whose bytes we wrote: these are what they shall be


def perform_changes(
    changes: Changes,
    tree: Tree,
    folder: Folder,
    lend: Lender | None = None,
    progress: Progress | None = None,
) -> Done:
    """Do the steps to `tree`. A file for which `lend` has an equal one becomes a hard link of that.

    Raises OSError where the folder is not what the steps begin with, Changed where a source is not
    what it was.
    """
    touched = [step for step in changes.touched if step[1].type != DIR]
    replaced = [*changes.changed, *touched]
    gone = [*changes.removed, *(path for path, _ in replaced)]
    added = {path for path, _ in changes.added if path}
    disturbed = _above([*gone, *added], tree)
    _make_room(folder, disturbed - added, gone)

    made = [*changes.added, *replaced]
    done = _Maker(folder, lend).make(made, progress)
    folders = disturbed | _folders(changes)
    _finish(folder, folders, tree)
    return done._replace(made=folders.union(path for path, _ in made))


def _above(paths: Iterable[bytes], tree: Tree) -> set[bytes]:
    """The folders of a tree in which these are or were; what was one may be something else now."""
    above = set(map(parent, filter(None, paths)))
    return {path for path in above if path in tree and tree[path].type == DIR}


def _make_room(folder: Folder, disturbed: set[bytes], gone: list[bytes]) -> None:
    for path in disturbed:
        stop_inheritance(folder.at(path))
    for path in gone:
        above, _, name = path.rpartition(b"/")
        remove_entry(folder.at(above), name)
    folder.close_inner()


def _finish(folder: Folder, paths: set[bytes], tree: Tree) -> None:
    for path in sorted(paths):
        finish_entry(folder.at(path), tree[path])


def _folders(changes: Changes) -> set[bytes]:
    steps = (*changes.added, *changes.touched)
    return {path for path, entry in steps if entry.type == DIR}


def lend_from(folder: Folder, is_fit: Callable[[Entry, bytes, bytes], bool]) -> Lender:
    """Give who lends the files of a folder that entries have as their source.

    `is_fit(entry, path, file)` says whether the file is to be had for the entry: `path` is where it
    is below the folder, `file` how to open it. Mode, owner, size are looked at when it is linked.
    """
    start = folder.path + b"/"

    def lend(entry: Entry) -> tuple[int, bytes] | None:
        if entry.type != FILE or entry.data is not None or not entry.source.startswith(start):
            return None
        path = entry.source[len(start) :]
        above, _, name = path.rpartition(b"/")
        try:
            fd = folder.at(above)
            file = _path_at(fd, name)
            return (fd, name) if is_fit(entry, path, file) else None
        except OSError:  # it is gone; to copy it says so
            return None

    return lend


def _path_at(fd: int, name: bytes) -> bytes:
    """Give a path for calls that take no descriptor of a folder."""
    return b"/proc/self/fd/%d/%s" % (fd, name)


def _unheard(done: int, all: int) -> None:
    pass


def _sorted(steps: Steps) -> tuple[Steps, Steps, Steps]:
    """Folders, files of one name, and the rest, each in their order."""
    folders, files, others = Steps(), Steps(), Steps()
    for step in steps:
        _, entry = step
        if entry.type == DIR:
            folders.append(step)
        elif entry.type == FILE and not entry.inode:
            files.append(step)
        else:
            others.append(step)
    return folders, files, others


class _Maker:
    """Makes entries under free names; folders stay closed to others until they are finished."""

    def __init__(self, folder: Folder, lend: Lender | None):
        self.folder = folder
        self.lend = lend
        self.first: dict[int, bytes] = {}  # the names of one file: where its first one is
        self.linked = self.copied = self.size = 0
        self.stamps: dict[bytes, int] = {}
        self.written: set[bytes] = set()
        self.progress: Progress = _unheard
        self.all = 0

    def make(self, steps: Steps, progress: Progress | None) -> Done:
        """Make folders first, and last the files of several names, which are links."""
        folders, files, rest = _sorted(steps)
        self.progress = progress or _unheard
        self.all = len(steps)
        self._make(folders)
        if len(files) < _MANY or self.lend or not has_two_processors():
            rest = files + rest
        else:
            self._make_in_two(files, len(folders))
        self._make(rest, self.all - len(rest))
        self.progress(self.all, self.all)
        return Done(
            self.linked,
            self.copied,
            self.size,
            self.stamps,
            set(),
            self.written,
        )

    def _make(self, steps: Steps, before: int = 0) -> None:
        for number, (path, entry) in enumerate(steps, before):
            self._tell(number)
            self._step(path, entry)

    def _make_in_two(self, files: Steps, before: int) -> None:
        """Make files of one name each, by two processes."""

        def make(number: int) -> int:
            path, entry = files[number]
            self._tell(before + number)
            self._step(path, entry)
            return self.stamps[path]

        for (path, entry), stamp in zip(files, in_two(make, len(files), self._hush)):
            if stamp is None:  # the helper did not, or not all of it
                self._remove(path)
                self._step(path, entry)
            elif path not in self.stamps:
                self.stamps[path] = stamp
                self._note_written(path, entry)

    def _hush(self) -> None:
        self.progress = _unheard

    def _remove(self, path: bytes) -> None:
        above, _, name = path.rpartition(b"/")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.folder.at(above))

    def _tell(self, number: int) -> None:
        if not number & 255:
            self.progress(number, self.all)

    def _step(self, path: bytes, entry: Entry) -> None:
        try:
            self._put(path, entry)
        except OSError as error:
            whole = os.path.join(self.folder.path, path)
            raise OSError(error.errno, error.strerror, whole) from error

    def _put(self, path: bytes, entry: Entry) -> None:
        if not path:  # the folder itself
            return
        above, _, name = path.rpartition(b"/")
        fd = self.folder.at(above)
        if entry.type == DIR:
            os.mkdir(name, 0o700, dir_fd=fd)
        elif entry.inode in self.first:
            first = self.first[entry.inode]
            _link(self.folder.root, first, fd, name)
            if first in self.written:
                self.written.add(path)
        else:
            self._first_name(fd, name, path, entry)

    def _first_name(self, fd: int, name: bytes, path: bytes, entry: Entry) -> None:
        if entry.inode:
            self.first[entry.inode] = path
        lent = self.lend(entry) if self.lend else None
        stamp = _linked(*lent, fd, name, entry) if lent else 0
        if stamp:
            self.linked += 1
        else:
            stamp = make_entry(fd, name, entry)
            self._note_written(path, entry)
        if entry.type == FILE and not entry.inode:
            self.stamps[path] = stamp

    def _note_written(self, path: bytes, entry: Entry) -> None:
        if entry.type == FILE:
            self.copied += 1
            self.size += entry.size
            self.written.add(path)


def _linked(source: int, known_as: bytes, fd: int, name: bytes, entry: Entry) -> int:
    """Make a name a link to a lent file; give its ctime, which that has moved.

    0 where that cannot be, or where it is another file.
    """
    if not link(source, known_as, fd, name):
        return 0
    status = os.lstat(name, dir_fd=fd)
    if is_like(status, entry):
        return status.st_ctime_ns
    os.unlink(name, dir_fd=fd)
    return 0


def link(source: int, known_as: bytes, fd: int, name: bytes) -> bool:
    """Give a file of one folder a name in another; False where that cannot be, and a copy can."""
    try:
        _link(source, known_as, fd, name)
        return True
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise


def _link(source: int, known_as: bytes, fd: int, name: bytes) -> None:
    os.link(known_as, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)


class Changed(Exception):
    """A file is not any more what its entry says. `path` is bytes."""

    def __init__(self, path: bytes):
        self.path = os.fsdecode(path)
        super().__init__(self.path)


def stop_inheritance(fd: int) -> None:
    """Without its default ACL a folder gives none to what is made in it."""
    with contextlib.suppress(OSError):
        os.removexattr(fd, "system.posix_acl_default")


def remove_entry(fd: int, name: bytes) -> None:
    """Remove a name; of a folder that holds more than is known of, everything below it, too."""
    try:
        os.unlink(name, dir_fd=fd)
    except IsADirectoryError:
        inner = os.open(name, OPEN_FOLDER, dir_fd=fd)
        try:
            for below in os.listdir(inner):
                remove_entry(inner, os.fsencode(below))
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=fd)


def make_entry(fd: int, name: bytes, entry: Entry) -> int:
    """Make an entry, no folder, under a free name; give a file's ctime in ns, else 0."""
    if entry.type == FILE:
        return _file(fd, name, entry)
    return _special(fd, name, entry)


def _special(fd: int, name: bytes, entry: Entry) -> int:
    """A symlink, device or fifo."""
    if entry.type == LINK:
        os.symlink(entry.link, name, dir_fd=fd)
        os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        return 0
    device = os.makedev(*(entry.device or (0, 0)))
    os.mknod(name, _KINDS[entry.type] | 0o600, device, dir_fd=fd)
    os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
    os.chmod(name, entry.mode, dir_fd=fd)  # of what was made a moment ago: no symlink
    for key, value in entry.xattrs:
        os.setxattr(_path_at(fd, name), key, value, follow_symlinks=False)
    return 0


def _file(fd: int, name: bytes, entry: Entry) -> int:
    new = os.open(name, _NEW, entry.mode & 0o777, dir_fd=fd)
    try:
        if entry.data is None:
            mtime = _copy(entry, new)
        else:
            mtime = _write(new, entry.data)
        os.utime(new, ns=(mtime, mtime))
        status = os.fstat(new)
        # seldom: most files are root's, and of a plain mode
        if entry.xattrs or not is_like(status, entry):
            os.fchown(new, entry.uid, entry.gid)  # clears setuid and capabilities: before both
            os.fchmod(new, entry.mode)
            for key, value in entry.xattrs:
                os.setxattr(new, key, value)
            status = os.fstat(new)
        return status.st_ctime_ns
    finally:
        os.close(new)


def _write(new: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(new, left) :]
    return EPOCH


def _copy(entry: Entry, new: int) -> int:
    """Fill the new file with the entry's bytes; give their mtime.

    Raises Changed where they are others by now.
    """
    try:
        source = os.open(entry.source, _SOURCE)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Changed(entry.source) from error
    try:
        status = os.fstat(source)
        if not S_ISREG(status.st_mode) or status.st_size != entry.size:
            raise Changed(entry.source)
        _copy_bytes(source, new, status)
        # Before and after: while it was copied somebody could have written to it
        is_as_digested = {status.st_ctime_ns, os.fstat(source).st_ctime_ns} == {entry.stamp}
        if not is_as_digested and digest_of(new, os.fstat(new)) != entry.digest:
            raise Changed(entry.source)
        return status.st_mtime_ns
    finally:
        os.close(source)


def _copy_bytes(source: int, new: int, status: os.stat_result) -> None:
    if status.st_blocks * 512 >= status.st_size:
        return _copy_range(source, new, 0, status.st_size)
    os.ftruncate(new, status.st_size)  # it has holes, and keeps them
    end = 0
    while end < status.st_size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, new, start, end)


def _copy_range(source: int, new: int, start: int, end: int) -> None:
    """Copy within the kernel, as a reflink where it can; short where the source became so."""
    copy: Callable[[int, int, int, int], int] = _in_kernel
    while start < end:
        try:
            done = copy(source, new, min(end - start, _BLOCK), start)
        except OSError as error:
            if copy is _by_hand or error.errno not in _NO_COPY:
                raise
            copy = _by_hand
            continue
        if not done:
            return
        start += done


def _in_kernel(source: int, new: int, count: int, at: int) -> int:
    return os.copy_file_range(source, new, count, at, at)


def _by_hand(source: int, new: int, count: int, at: int) -> int:
    data = os.pread(source, min(count, 1 << 20), at)
    return os.pwrite(new, data, at)


def finish_entry(fd: int, entry: Entry, mtime: int | None = None) -> None:
    """Give a folder that is full its owner, mode, attributes and, moved by all that, its mtime.

    `mtime`, in ns, is its source's, where that is known.
    """
    os.fchown(fd, entry.uid, entry.gid)
    for key, _ in attributes(fd):
        os.removexattr(fd, key)
    os.fchmod(fd, entry.mode)
    for key, value in entry.xattrs:
        os.setxattr(fd, key, value)
    mtime = _mtime(entry.source) if mtime is None else mtime
    os.utime(fd, ns=(mtime, mtime))


def _mtime(source: bytes) -> int:
    try:
        return os.lstat(source).st_mtime_ns if source else EPOCH
    except OSError:
        return EPOCH


def is_like(status: os.stat_result, entry: Entry) -> bool:
    """Is that the status of what the entry says? (All but bytes, link and attributes.)"""
    return (
        status.st_mode == _KINDS[entry.type] | entry.mode
        and (status.st_uid, status.st_gid) == (entry.uid, entry.gid)
        and (entry.type != FILE or status.st_size == entry.size)
        and (not entry.device or status.st_rdev == os.makedev(*entry.device))
    )
