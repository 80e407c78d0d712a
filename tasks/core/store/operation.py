"""What frames a deploy, a rollback and a prune: the lock, and how the work began and ended."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from ..base import files
from ..base.errors import Refused
from ..base.files import locked, sweep
from . import boot_files, journal, kept, tftp
from .commit import carry_out
from .paths import Targets, stay_inside


@contextlib.contextmanager
def held(targets: Targets, what: str, author: journal.Record) -> Iterator[journal.Record]:
    """Be alone on this server, and give what the journal says of work that was ended.

    What a killed one had begun is ended, and what else it left is gone, when this begins.
    Raises Refused, naming who is at it.
    """
    tftp.make_private(targets, targets.kept(""))
    who = journal.author_named(author)
    with locked(targets.kept("lock"), at_work(targets, what), who):
        _clear(targets)
        ended = _end(targets)
        try:
            yield ended
        finally:
            _clear(targets)


def at_work(targets: Targets, what: str) -> str:
    return f"{what} to {targets.nfs_root}"


def _end(targets: Targets) -> journal.Record:
    """End what one that was killed had begun.

    These are files on their way to their places, and releases on their way out. Nobody is stopped
    by what cannot be ended: whoever needs it comes upon it again.
    """
    record = journal.Record()
    with contextlib.suppress(OSError, Refused):
        record = carry_out(targets) or _end_prune(targets)
        if record:
            journal.append(targets.journal, {**record, "result": journal.DONE})
    _clear(targets, all=True)
    return record


def _end_prune(targets: Targets) -> journal.Record:
    """Remove what a prune that was killed had half removed, and give its record.

    What it had not come to stays, for it was stopped.
    """
    record = journal.begun(journal.read_journal(targets.journal))
    if "removed" not in record:
        return {}
    booted = set[str]()
    for data in boot_files.read_files(targets).values():
        booted |= boot_files.named(data)
    gone = [id for id in record["removed"] if _is_half_gone(targets, id)]
    for id in gone:
        if id not in booted:
            kept.remove_release(targets, id)
    return {**record, "removed": gone}


def _is_half_gone(targets: Targets, id: str) -> bool:
    return boot_files.is_id(id) and not kept.is_whole(targets, id)


def _clear(targets: Targets, all: bool = False) -> None:
    """Remove what was being written; what was committed only when it is `all`."""
    sweep(targets.kept(""))
    stay_inside(targets, targets.incoming_files)
    stay_inside(targets, targets.incoming_roots)
    stay_inside(targets, targets.incoming_http)
    with contextlib.suppress(OSError, Refused):  # below a mount point: the next one tries it again
        kept.clear_noted(targets, targets.incoming_roots)
    with contextlib.suppress(OSError, Refused):
        files.clear(targets.incoming_http)
    with contextlib.suppress(OSError, Refused):
        if all or not os.path.lexists(targets.commit):
            files.clear(targets.incoming_files)


@contextlib.contextmanager
def recorded(targets: Targets, record: journal.Record) -> Iterator[None]:
    """Journal that work started, and how it ended.

    A disk that is full or fails is said in one line. A rollback is done though the journal cannot
    be written: nodes must boot.
    """
    with _in_one_line(targets):
        _note(targets, record, journal.STARTED)
        try:
            yield
        except BaseException as error:
            result = f"failed: {str(error) or type(error).__name__}"
            with contextlib.suppress(OSError):
                _clear(targets)
                journal.append(targets.journal, {**record, "result": result})
            raise
        _clear(targets)
        # The last step: before it the same again goes on
        _note(targets, record, journal.DONE)


def _note(targets: Targets, record: journal.Record, result: str) -> None:
    try:
        journal.append(targets.journal, {**record, "result": result})
    except OSError:
        if not journal.is_rollback(record):
            raise


@contextlib.contextmanager
def _in_one_line(targets: Targets) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (None, errno.EBADF):  # no disk says that
            raise
        where = os.fsdecode(error.filename2 or error.filename or targets.nfs_root)
        remedy = "nodes boot as before or as they shall; mend it and run it again"
        raise Refused(f"{where}: {error.strerror}; {remedy}") from None
