"""Tar archives unpacked, in any compression that libarchive reads.

Unpacked by a child process that has made the new tree its root folder: no name in the archive
(`..`, absolute ones, links that lead elsewhere) means anything outside of it. Owners, modes, links,
devices, holes, ACLs and attributes are kept.
"""

from __future__ import annotations

import errno
import locale
import logging
import os
import select
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from ..base.errors import BadInput, Refused
from ..base.process import Say, Throttle, become_root_alone, die_with_parent
from ..base.text import human
from .acls import Acls
from .claims import Claims

_BLOCK = 512  # tar's; an archive ends with blocks of zeros
_TOLD = 3  # of many complaints
_DEEPEST = 512  # folders above a name: shutil.rmtree goes down by recursion
_MOST = 4_000_000  # entries of an archive; a whole system has some 100,000
_OF_THIS_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_PATH_MAX = 4096  # bytes, the last of them 0: of Linux
# Gives complaints; the list has the newest name, and what only root can keep is noted
Work = Callable[[list[bytes], Claims | None], list[str]]
Choose = Callable[[Iterable[Any]], Iterable[Any]]  # of the entries of an archive


def silent(text: str) -> None:
    """Who wants to hear nothing."""


BAD = 3  # the child's exit status: the archive is not what it should be


def unpack(path: str, folder: str, claims: str = "", say: Say = silent) -> list[str]:
    """Unpack into an empty folder; what could not be kept, a line each.

    Where this is not root, what only root can keep is written to the file `claims`. `say` is told
    how far it is, every few seconds. Raises BadInput where the archive is wrong, Refused where this
    machine is.
    """
    archive = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    waiting = partial(how_far, path, [archive], Throttle(say))
    try:
        return confined(path, folder, partial(_unpack_here, archive), claims, waiting)
    finally:
        os.close(archive)


def how_far(path: str, archives: Sequence[int], tell: Say) -> None:
    """Tell how much is read: where a child is in a file, who opened that for it is, too."""
    read = sum(os.lseek(archive, 0, os.SEEK_CUR) for archive in archives)
    all = sum(os.fstat(archive).st_size for archive in archives)
    tell(f"{path}: unpacking, {human(read)} of {human(all)} read")


def confined(
    path: str, folder: str, work: Work, claims: str, waiting: Callable[[], None]
) -> list[str]:
    """Do work on archives that are open in a child whose root folder is `folder`.

    Where this is not root, what only root can keep is written to the file `claims`. `waiting` is
    called each second. Gives what could not be kept, a line each. Raises BadInput where what is at
    `path` is wrong, Refused where this machine is.
    """
    import libarchive.extract  # noqa: F401  # loaded before the child has another root folder

    heard, said = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        die_with_parent(parent)
        _in_child(work, folder, claims if os.geteuid() else "", said)
    os.close(said)
    lines = _lines(heard, waiting)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == BAD:
        raise BadInput.at(path, f"{lines[-1]}; mend the archive, or name another")
    if status:
        reason = lines[-1] if lines else f"unpacking it ended with status {status}"
        raise Refused(f"{path}: {reason}")
    return lines


def _lines(heard: int, waiting: Callable[[], None]) -> list[str]:
    """What comes of a pipe, until its other end is closed."""
    with open(heard, encoding="utf-8", errors="replace") as pipe:
        while not select.select([heard], [], [], 1)[0]:
            waiting()
        return pipe.read().splitlines()


def _in_child(work: Work, folder: str, claims: str, said: int) -> NoReturn:
    """All that the child does; it never returns."""
    status = 1
    try:
        if claims:
            become_root_alone()
        warnings = _confined(work, folder, claims)
        _report(said, warnings)
        status = 0
    except ArchiveTrouble as error:
        status = BAD
        _report(said, [str(error)])
    except OSError as error:
        _report(said, [str(error)])
    except BaseException:
        _report(said, [" ".join(traceback.format_exc().split())])
    finally:
        os._exit(status)


class ArchiveTrouble(Exception):
    """The archive is not what it should be."""


def _confined(work: Work, folder: str, claims: str) -> list[str]:
    file = os.open(claims, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if claims else -1
    # names are bytes: in a locale of UTF-8 libarchive would compose those of pax
    locale.setlocale(locale.LC_CTYPE, "C")
    os.chroot(folder)
    os.chdir("/")
    os.umask(0o022)  # of folders that no entry brings: modes of entries are kept as they are

    noted = Claims() if claims else None
    heard = _Warnings()
    logging.getLogger("libarchive").handlers = [heard]
    heard.lines += work(heard.names, noted)
    if noted:
        with open(file, "wb") as written:
            written.write(noted.dump())

    more = len(heard.lines) - _TOLD
    if more > 0:
        return [*heard.lines[:_TOLD], f"and {more} more such complaints"]
    return heard.lines


def _unpack_here(archive: int, names: list[bytes], noted: Claims | None) -> list[str]:
    """Unpack into the root folder; `names` has the newest entry's."""
    told, is_plain = extract_here(archive, names, noted, _of_a_whole_root)
    if not names:
        raise ArchiveTrouble("there is nothing in it")
    if is_plain and not _ends_as_tar(archive):
        raise ArchiveTrouble(f"truncated: it has no end{_at(names)}")
    return told


def extract_here(
    archive: int, names: list[bytes], noted: Claims | None, choose: Choose
) -> tuple[list[str], bool]:
    """Unpack those of the entries that `choose` gives into the root folder.

    Gives what could not be kept, and whether the archive is in no compression.
    """
    import libarchive
    from libarchive import extract, ffi
    from libarchive.exception import ArchiveError

    acls = Acls(noted.put) if noted else Acls()
    flags = _flags(alone=noted is not None)
    try:
        with libarchive.fd_reader(archive, format_name="tar") as entries:
            # all at once: folders get their times at the end
            extract.extract_entries(choose(_noting(entries, acls, noted, names)), flags)
            is_plain = ffi.filter_count(entries._pointer) == 1
    except ArchiveError as error:
        said = f"{_meaning(_text(error.msg))}{_at(names)}"
        if error.errno in _OF_THIS_MACHINE:
            raise OSError(f"{said}: {os.strerror(error.errno)}") from None
        raise ArchiveTrouble(said) from None
    return list(acls.set_all()), is_plain


def _flags(alone: bool) -> int:
    """What of its entries is kept, and that no name leads elsewhere.

    `alone`: there are no other users.
    """
    from libarchive import extract

    flags: int = (
        extract.EXTRACT_PERM
        | extract.EXTRACT_TIME
        | extract.EXTRACT_SPARSE
        | extract.EXTRACT_UNLINK
        | extract.EXTRACT_SECURE_NODOTDOT
    )
    return flags if alone else flags | extract.EXTRACT_OWNER | extract.EXTRACT_XATTR


def _noting(
    entries: Iterable[Any], acls: Acls, claims: Claims | None, names: list[bytes]
) -> Iterator[Any]:
    """The entries, the name of the newest in `names`, and what is set later noted."""
    from libarchive import ffi

    room = _Room()
    for entry in entries:
        names[:] = [ffi.entry_pathname(entry._entry_p) or b"?"]
        _refuse_deep(names[0])
        room.take(0 if _has_holes(entry) else entry.size or 0)
        acls.note(names[0], entry._entry_p)
        if claims:
            claims.take(names[0], entry._entry_p)
        yield entry


class _Room:
    """What the root folder's file system can take, and what no archive of a root has more of."""

    def __init__(self) -> None:
        place = os.statvfs("/")
        self.bytes = self.free = place.f_bavail * place.f_frsize
        self.entries = _MOST

    def take(self, size: int) -> None:
        """Let one more entry in. Raises ArchiveTrouble where there is no room for it."""
        self.bytes -= size
        self.entries -= 1
        if self.bytes < 0:
            raise ArchiveTrouble(f"it holds more than the {human(self.free)} that are free here")
        if self.entries < 0:
            raise ArchiveTrouble(f"it holds more than {_MOST:,} files, which no root has")


def _has_holes(entry: Any) -> bool:
    from libarchive import ffi

    holes: int = ffi.libarchive.archive_entry_sparse_count(entry._entry_p)
    return holes > 0


def _of_a_whole_root(entries: Iterable[Any]) -> Iterator[Any]:
    """All entries; raises ArchiveTrouble at those of a container's image."""
    from libarchive import ffi

    for entry in entries:
        _refuse_container(ffi.entry_pathname(entry._entry_p) or b"?")
        yield entry


def _refuse_container(name: bytes) -> None:
    """Raises ArchiveTrouble at what only archives of container images have."""
    path = name.removeprefix(b"./")
    folder, _, last = path.rpartition(b"/")
    if path == b"oci-layout" or last == b"layer.tar" and b"/" not in folder:
        what = "an image of containers, as `docker save` writes it, and no root"
        raise ArchiveTrouble(f"{what}: `docker export` of a container of it gives one")
    if last.startswith(b".wh.") and not path.startswith(b"var/lib/"):
        what = f"one layer of an image of containers: {last.decode(errors='replace')} deletes"
        raise ArchiveTrouble(f"{what} what others have; `docker export` gives a whole root")


def _refuse_deep(name: bytes) -> None:
    """Raises ArchiveTrouble at a name that no system could use."""
    if len(name) >= _PATH_MAX or name.count(b"/") > _DEEPEST:
        start = name[:40].decode(errors="backslashreplace")
        folders, size = name.count(b"/"), len(name)
        raise ArchiveTrouble(f"{start}… is {folders} folders deep, and {size} bytes long")


def _at(names: list[bytes]) -> str:
    return f" (at {names[-1].decode(errors='backslashreplace')})" if names else ""


def _text(words: str | bytes | None) -> str:
    if isinstance(words, bytes):
        return words.decode(errors="replace")
    return words or "no reason given"


def _meaning(said: str) -> str:
    """libarchive's words, with ours before them where an archive was cut off."""
    if "runcated" in said or "nexpected end" in said or "Damaged tar" in said:
        return f"truncated or damaged: {said}"
    if "nrecognized archive format" in said:
        return "not a tar archive, or in a compression that libarchive does not read here"
    return said


def _ends_as_tar(archive: int) -> bool:
    """Whether the last block holds nothing but zeros.

    A plain tar that was cut between two files looks whole otherwise.
    """
    size = os.fstat(archive).st_size
    if size % _BLOCK or size < _BLOCK:
        return False
    return os.pread(archive, _BLOCK, size - _BLOCK) == bytes(_BLOCK)


class _Warnings(logging.Handler):
    """libarchive's warnings: what it could not keep, and of which entry."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.names: list[bytes] = []

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        # such names are kept byte by byte, which is what we want
        if "can't be converted from UTF-8" not in words:
            self.lines.append(f"{words}{_at(self.names)}")


def _report(said: int, lines: list[str]) -> None:
    text = "".join(" ".join(line.split()) + "\n" for line in lines)
    os.write(said, text.encode(errors="replace"))
