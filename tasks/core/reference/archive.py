"""A reference that is a tar archive, in any compression that libarchive reads.

Unpacked by a child process that has made the new tree its root folder: no name in the archive
(`..`, absolute ones, links that lead elsewhere) means anything outside of it. Owners, modes, links,
devices, holes, ACLs and attributes are kept.
"""

from __future__ import annotations

import locale
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NoReturn

from ..base.errors import BadInput, Refused
from ..base.files import digest_file
from ..base.process import Say, die_with_parent
from ..site.model import Image, Reference
from .acls import Acls
from .kind import Facts, ReferenceKind, where
from .snapshot import Snapshot

_BLOCK = 512  # tar's; an archive ends with blocks of zeros
_TOLD = 3  # of many complaints
Work = Callable[[list[bytes]], list[str]]  # gives complaints; the list has the newest name
Choose = Callable[[Iterable[Any]], Iterable[Any]]  # of the entries of an archive
BAD = 3  # the child's exit status: the archive is not what it should be


def _take(image: Image, snapshot: Snapshot, say: Say) -> Facts | None:
    """Unpack the archive; None where the snapshot is of these very bytes."""
    path = image.reference.where
    try:
        digest = digest_file(path)
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    if snapshot.facts().get("sha256") == digest and os.path.isdir(snapshot.tree):
        return None
    say(f"{path}: unpacking")
    for warning in unpack(path, snapshot.begin()):
        say(f"{path}: {warning}")
    return {"sha256": digest}


def unpack(path: str, folder: str) -> list[str]:
    """Unpack into an empty folder; what could not be kept, a line each.

    Raises BadInput where the archive is wrong, Refused where this machine is.
    """
    archive = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return confined(path, folder, partial(_unpack_here, archive))
    finally:
        os.close(archive)


def confined(path: str, folder: str, work: Work) -> list[str]:
    """Do work on archives that are open in a child whose root folder is `folder`.

    Gives what could not be kept, a line each. Raises BadInput where what is at `path` is wrong,
    Refused where this machine is.
    """
    import libarchive.extract  # noqa: F401  # loaded before the child has another root folder

    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(work, folder, said)
    os.close(said)
    with open(heard, encoding="utf-8", errors="replace") as pipe:
        lines = pipe.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == BAD:
        raise BadInput.at(path, f"{lines[-1]}; mend the archive, or name another")
    if status:
        reason = lines[-1] if lines else f"unpacking it ended with status {status}"
        raise Refused(f"{path}: {reason}")
    return lines


def _in_child(work: Work, folder: str, said: int) -> NoReturn:
    """All that the child does; it never returns."""
    status = 1
    try:
        die_with_parent()
        warnings = _confined(work, folder)
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


def _confined(work: Work, folder: str) -> list[str]:
    # names are bytes: in a locale of UTF-8 libarchive would compose those of pax
    locale.setlocale(locale.LC_CTYPE, "C")
    os.chroot(folder)
    os.chdir("/")
    os.umask(0)

    heard = _Warnings()
    logging.getLogger("libarchive").handlers = [heard]
    heard.lines += work(heard.names)

    more = len(heard.lines) - _TOLD
    if more > 0:
        return [*heard.lines[:_TOLD], f"and {more} more such complaints"]
    return heard.lines


def _unpack_here(archive: int, names: list[bytes]) -> list[str]:
    """Unpack into the root folder; `names` has the newest entry's."""
    told, is_plain = extract_here(archive, names)
    if not names:
        raise ArchiveTrouble("there is nothing in it")
    if is_plain and not _ends_as_tar(archive):
        raise ArchiveTrouble(f"truncated: it has no end{_at(names)}")
    return told


def extract_here(
    archive: int, names: list[bytes], choose: Choose = lambda entries: entries
) -> tuple[list[str], bool]:
    """Unpack those of the entries that `choose` gives into the root folder.

    Gives what could not be kept, and whether the archive is in no compression.
    """
    import libarchive
    from libarchive import extract, ffi
    from libarchive.exception import ArchiveError

    acls = Acls()
    try:
        with libarchive.fd_reader(archive, format_name="tar") as entries:
            # all at once: folders get their times at the end
            extract.extract_entries(choose(_noting(entries, acls, names)), _flags())
            is_plain = ffi.filter_count(entries._pointer) == 1
    except ArchiveError as error:
        raise ArchiveTrouble(f"{_meaning(_text(error.msg))}{_at(names)}") from None
    return list(acls.set_all()), is_plain


def _flags() -> int:
    """What of its entries is kept, and that no name leads elsewhere."""
    from libarchive import extract

    flags: int = (
        extract.EXTRACT_OWNER
        | extract.EXTRACT_PERM
        | extract.EXTRACT_TIME
        | extract.EXTRACT_XATTR
        | extract.EXTRACT_SPARSE
        | extract.EXTRACT_UNLINK
        | extract.EXTRACT_SECURE_NODOTDOT
    )
    return flags


def _noting(entries: Iterable[Any], acls: Acls, names: list[bytes]) -> Iterator[Any]:
    """The entries, the name of the newest in `names`, and their ACLs noted."""
    from libarchive import ffi

    for entry in entries:
        names[:] = [ffi.entry_pathname(entry._entry_p) or b"?"]
        acls.note(names[0], entry._entry_p)
        yield entry


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


def _label(reference: Reference) -> str:
    return f"archive {os.path.basename(reference.where.rstrip('/'))}"


def _files(reference: Reference) -> list[str]:
    return [reference.where]


ARCHIVE = ReferenceKind("archive", describe=where, label=_label, take=_take, files=_files)
