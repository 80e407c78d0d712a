"""What frames a change of a server: the lock, and the journal's record of how it began and ended."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from ..base import files
from ..base.errors import Refused
from ..base.files import locked, sweep
from . import boot_files, journal, kept, tftp
from .paths import Targets, stay_inside

# --- what frames a deploy, a rollback and a prune


@contextlib.contextmanager
def held(targets: Targets, what: str, author: journal.Record) -> Iterator[journal.Record]:
    """Alone on this server; what a killed one had begun is ended and what else it left is gone when it begins.

    Gives what the journal says of what was ended. Raises Refused, naming who is at it.
    """
    tftp.make_folder(targets, targets.kept(""))
    with locked(targets.kept("lock"), at_work(targets, what), journal.author_named(author)):
        _clear(targets)
        ended = _end(targets)
        try:
            yield ended
        finally:
            _clear(targets)


def at_work(targets: Targets, what: str) -> str:
    return f"{what} to {targets.nfs_root}"


def _end(targets: Targets) -> journal.Record:
    """End what one that was killed had begun: files on their way to their places, and releases on their way out.

    Nobody is stopped by what cannot be ended: whoever needs it comes upon it again.
    """
    path, record = targets.kept("journal.jsonl"), journal.Record()
    with contextlib.suppress(OSError, Refused):
        record = tftp.carry_out(targets) or _removed(
            targets, journal.begun(journal.read_journal(path))
        )
        if record:
            journal.append(path, {**record, "result": journal.DONE})
    _clear(targets, all=True)
    return record


def _removed(targets: Targets, record: journal.Record) -> journal.Record:
    """The end of a prune that was killed: what is half gone goes. What it had not come to stays, for it was stopped."""
    if "removed" not in record:
        return {}
    booted = {
        id for data in boot_files.read_files(targets).values() for id in boot_files.named(data)
    }
    gone = [
        id for id in record["removed"] if boot_files.is_id(id) and not kept.is_whole(targets, id)
    ]
    for id in gone:
        if id not in booted:
            kept.remove_release(targets, id)
    return {**record, "removed": gone}


def _clear(targets: Targets, all: bool = False) -> None:
    """Remove what was being written; what was committed only when it is `all`."""
    sweep(targets.kept(""))
    stay_inside(targets, targets.incoming_files)
    stay_inside(targets, targets.incoming_roots)
    with contextlib.suppress(OSError, Refused):  # below a mount point: the next one tries it again
        files.clear(targets.incoming_roots)
    with contextlib.suppress(OSError, Refused):
        if all or not os.path.lexists(targets.commit):
            files.clear(targets.incoming_files)


@contextlib.contextmanager
def recorded(targets: Targets, record: journal.Record) -> Iterator[None]:
    """Journal that work started, and how it ended. A disk that is full or fails is said in one line.

    A rollback is done though the journal cannot be written: nodes must boot.
    """
    path = targets.kept("journal.jsonl")
    with _in_one_line(targets):
        _note(path, record, journal.STARTED)
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):
                _clear(targets)
                journal.append(
                    path, {**record, "result": f"failed: {str(error) or type(error).__name__}"}
                )
            raise
        _clear(targets)
        _note(path, record, journal.DONE)  # the last step: before it the same again goes on


def _note(path: str, record: journal.Record, result: str) -> None:
    try:
        journal.append(path, {**record, "result": result})
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
        raise Refused(
            f"{where}: {error.strerror}; nodes boot as before or as they shall; mend it and run it again"
        ) from None
