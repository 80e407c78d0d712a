"""Files of a server that change together: from one rename on all of it is done, whoever ends it."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..base.files import clear, content, read, sync, sync_folder, write_atomic
from . import journal
from .paths import Targets, stay_inside
from .tftp import (
    folder_of,
    make_folder,
    put_in_place,
    refuse_folders,
    remove_files,
    sync_folders,
)


class Commit(NamedTuple):
    """What changes together, in its order, and what the journal says of it."""

    files: Mapping[str, bytes]  # below tftp_root
    gone: Iterable[str]  # removed below tftp_root
    kept: Mapping[str, bytes]  # below .plugnode: what is so when all of it is done
    record: journal.Record


class _Listed(NamedTuple):
    """The names in a commit that was written; their bytes lie beside the list, by number."""

    files: list[str]
    gone: list[str]
    kept: list[str]
    record: journal.Record


def commit(targets: Targets, work: Commit) -> None:
    """Do it. From one rename on all of it will be done: by us, or by the next one."""
    refuse_folders(map(targets.served, work.files))
    stay_inside(targets, targets.incoming_files)
    begun = os.path.join(targets.incoming_files, "begun")
    make_folder(targets, begun)
    _write(begun, work)
    sync(targets.tftp_root)
    os.rename(begun, targets.commit)
    sync_folder(targets.incoming_files)
    carry_out(targets)
    _forget(targets)


def _write(folder: str, work: Commit) -> None:
    """Write a commit's bytes, by number, and its list."""
    contents = [*work.files.values(), *work.kept.values()]
    for number, data in enumerate(contents):
        write_atomic(os.path.join(folder, str(number)), data)
    listed = _Listed(
        files=list(work.files),
        gone=list(work.gone),
        kept=list(work.kept),
        record=work.record,
    )
    text = json.dumps(listed._asdict())
    write_atomic(os.path.join(folder, "list"), text.encode())


def carry_out(targets: Targets) -> journal.Record | None:
    """End what was committed, by us or by one that was killed.

    Gives what the journal says of it; None: nothing was committed.
    """
    listed = _committed(targets)
    if listed is None:
        return None
    count = len(listed.files) + len(listed.kept)
    new = [os.path.join(targets.commit, str(number)) for number in range(count)]
    for path, name in zip(new, listed.files):
        make_folder(targets, folder_of(targets, name))
        if os.path.lexists(path):
            put_in_place(path, targets.served(name))
    sync_folders(targets, listed.files)
    remove_files(targets, listed.gone)
    rest = new[len(listed.files) :]
    for path, name in zip(rest, listed.kept):
        _put_aside(targets.kept(name))
        write_atomic(targets.kept(name), read(path), durable=True)
    return listed.record


def _committed(targets: Targets) -> _Listed | None:
    """What was committed; None where nothing was.

    Nor where it was not by us: others may be able to write to tftp_root.
    """
    try:
        status = os.lstat(targets.commit)
        data = content(os.path.join(targets.commit, "list")) or b""
        said = json.loads(data)
        listed = _Listed(*(said[name] for name in _Listed._fields))
        names = [*listed.files, *listed.gone]
        whole = isinstance(listed.record, dict) and set(listed.kept) <= {"files", "nodes.json"}
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    inside = all(os.path.normpath(f"/{name}") == f"/{name}" for name in names)
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return listed if whole and inside and ours else None


def _put_aside(path: str) -> None:
    """Rename a folder that is in the place of a file that we keep."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rename(path, f"{path}.{time.time_ns()}.folder")


def _forget(targets: Targets) -> None:
    """Take what was committed away: it need not be ended any more."""
    done = os.path.join(targets.incoming_files, "done")
    clear(done)
    os.rename(targets.commit, done)
    clear(done)
