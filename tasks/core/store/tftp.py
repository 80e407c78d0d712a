"""Files and small folders below tftp_root: each put in place by one rename; which of them are ours."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from typing import Any, Iterable, NamedTuple

from ..base.errors import Refused
from ..base.files import clear, content, read, sync, sync_folder, write_atomic
from . import journal
from .boot_files import readable_content
from .paths import Targets, stay_inside

_OURS = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>/[^\0]+)")


def ours_as_text(targets: Targets, digests: Mapping[str, str]) -> bytes:
    """Which files below tftp_root are ours, as sha256sum(1) reads it."""
    lines = (f"{digest}  {targets.tftp}/{name}\n" for name, digest in sorted(digests.items()))
    return "".join(lines).encode(errors="surrogateescape")


def make_folder(targets: Targets, folder: str) -> None:
    """A folder that everybody may read, whatever the umask; those above it too."""
    stay_inside(targets, folder)
    if not os.path.isdir(folder):
        make_folder(targets, os.path.dirname(folder))
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
            os.chmod(folder, 0o755)


def open_folder(targets: Targets, name: str) -> None:
    """Let everybody into a folder below tftp_root."""
    folder = targets.served(name)
    stay_inside(targets, folder)
    os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | 0o755)


def publish_folder(targets: Targets, name: str, files: Mapping[str, bytes]) -> None:
    """A folder of tftp_root, by one rename. One that is there and not whole is mended, file by file."""
    if os.path.isdir(targets.boot(name)):
        return replace_files(targets, {f"{name}/{file}": data for file, data in files.items()})
    new = os.path.join(targets.incoming_files, name)
    make_folder(targets, new)
    for file, data in files.items():
        write_atomic(os.path.join(new, file), data)
    sync(targets.tftp_root)
    os.rename(new, targets.boot(name))
    sync_folder(targets.tftp_root)


# --- files


def replace_files(targets: Targets, files: Mapping[str, bytes]) -> None:
    """Give files below tftp_root their new bytes: each by one rename, all flushed before the first, in their order."""
    if not files:
        return
    make_folder(targets, targets.incoming_files)
    new = {
        name: os.path.join(targets.incoming_files, f"{number}.new")
        for number, name in enumerate(files)
    }
    for name, data in files.items():
        make_folder(targets, os.path.dirname(targets.served(name)))
        write_atomic(new[name], data)
    sync(targets.tftp_root)
    for name in files:
        _rename(new[name], targets.served(name))
    for folder in sorted({os.path.dirname(targets.served(name)) for name in files}):
        sync_folder(folder)


def _rename(new: str, path: str) -> None:
    try:
        os.replace(new, path)
    except OSError as error:
        if (
            error.errno != errno.EXDEV
        ):  # the folder is a file system of its own, or a symlink to another
            raise
        write_atomic(path, read(new), durable=True)


# --- files that change together


class Commit(NamedTuple):
    """What changes together, in its order, and what the journal says of it."""

    files: Mapping[str, bytes]  # below tftp_root
    gone: Iterable[str]  # removed below tftp_root
    kept: Mapping[str, bytes]  # below .plugnode: what is so when all of it is done
    record: journal.Record


def commit(targets: Targets, work: Commit) -> None:
    """Do it. From one rename on all of it will be done: by us, or else by whoever holds the lock next."""
    refuse_folders(map(targets.served, work.files))
    stay_inside(targets, targets.incoming_files)
    begun = os.path.join(targets.incoming_files, "begun")
    make_folder(targets, begun)
    for number, data in enumerate([*work.files.values(), *work.kept.values()]):
        write_atomic(os.path.join(begun, str(number)), data)
    names = {"files": list(work.files), "gone": list(work.gone), "kept": list(work.kept)}
    write_atomic(os.path.join(begun, "list"), json.dumps({**names, "record": work.record}).encode())
    sync(targets.tftp_root)
    os.rename(begun, targets.commit)
    sync_folder(targets.incoming_files)
    carry_out(targets)
    forget(targets)


def refuse_folders(paths: Iterable[str]) -> None:
    """Raises Refused where a folder is in the place of a file."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            raise Refused(
                f"{path} is a folder, and a file is to be there: move it away; no boot file was changed"
            )


def carry_out(targets: Targets) -> journal.Record | None:
    """End what was committed, by us or by one that was killed; what the journal says of it. None: nothing was."""
    work = _committed(targets)
    if work is None:
        return None
    new = [
        os.path.join(targets.commit, str(number))
        for number in range(len(work["files"] + work["kept"]))
    ]
    for path, name in zip(new, work["files"]):
        make_folder(targets, os.path.dirname(targets.served(name)))
        if os.path.lexists(path):
            _rename(path, targets.served(name))
    for folder in sorted({os.path.dirname(targets.served(name)) for name in work["files"]}):
        sync_folder(folder)
    remove_files(targets, work["gone"])
    for path, name in zip(new[len(work["files"]) :], work["kept"]):
        _put_aside(targets.kept(name))
        write_atomic(targets.kept(name), read(path), durable=True)
    record: journal.Record = work["record"]
    return record


def _committed(targets: Targets) -> dict[str, Any] | None:
    """What was committed; None where nothing was, or not by us: others may be able to write to tftp_root."""
    try:
        status = os.lstat(targets.commit)
        work: dict[str, Any] = json.loads(content(os.path.join(targets.commit, "list")) or b"")
        names = [*work["files"], *work["gone"]]
        whole = isinstance(work["record"], dict) and set(work["kept"]) <= {"files", "nodes.json"}
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    inside = all(os.path.normpath(f"/{name}") == f"/{name}" for name in names)
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return work if whole and inside and ours else None


def _put_aside(path: str) -> None:
    """A folder that is in the place of a file that we keep."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rename(path, f"{path}.{time.time_ns()}.folder")


def forget(targets: Targets) -> None:
    """What was committed need not be ended any more."""
    done = os.path.join(targets.incoming_files, "done")
    clear(done)
    os.rename(targets.commit, done)
    clear(done)


def remove_files(targets: Targets, names: Iterable[str]) -> None:
    """Remove files below tftp_root, where they are there, and their folders where that leaves them empty."""
    for name in names:
        folder = os.path.dirname(targets.served(name))
        stay_inside(targets, folder)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(targets.served(name))
        with contextlib.suppress(OSError):
            if folder != targets.tftp_root:
                os.rmdir(folder)


def read_ours(targets: Targets) -> dict[str, str]:
    """Name below tftp_root -> sha256 of what earlier deploys wrote there (the format of sha256sum(1))."""
    pairs = [_OURS.fullmatch(line) for line in _lines_of_ours(targets)]
    root = targets.tftp + "/"
    paths = {
        found["path"]: found["digest"]
        for found in pairs
        if found and _is_inside(found["path"], root)
    }
    return {path.removeprefix(root): digest for path, digest in paths.items()}


def damaged_ours(targets: Targets) -> bool:
    path = targets.kept("files")
    unread = os.path.lexists(path) and readable_content(path) is None
    return unread or not all(map(_OURS.fullmatch, _lines_of_ours(targets)))


def _lines_of_ours(targets: Targets) -> list[str]:
    text = (readable_content(targets.kept("files")) or b"").decode(errors="surrogateescape")
    return text.split("\n")[:-1] if text.endswith("\n") else text.split("\n") if text else []


def _is_inside(path: str, root: str) -> bool:
    return path.startswith(root) and os.path.normpath(path) == path
