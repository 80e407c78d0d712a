"""Files and small folders below tftp_root: put in place, removed, and open to everybody."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Mapping

from ..base.errors import Refused
from ..base.files import read, sync, sync_folder, write_atomic
from .paths import Targets, stay_inside


def make_folder(targets: Targets, folder: str) -> None:
    """Make a folder that everybody may read, whatever the umask; those above it too."""
    stay_inside(targets, folder)
    if not os.path.isdir(folder):
        make_folder(targets, os.path.dirname(folder))
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
            os.chmod(folder, 0o755)


def make_private(targets: Targets, folder: str) -> None:
    """Make a folder that no local user may enter, or close ours; those above it are everybody's."""
    make_folder(targets, folder)
    with contextlib.suppress(PermissionError):  # somebody else's
        os.chmod(folder, 0o700)


def open_folder(targets: Targets, name: str) -> None:
    """Let everybody into a folder below tftp_root."""
    folder = targets.served(name)
    stay_inside(targets, folder)
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    os.chmod(folder, mode | 0o755)


def closed_folders(targets: Targets, names: Iterable[str]) -> list[str]:
    """Those of folders below tftp_root ("" is itself) that not everybody may enter.

    A TFTP server is nobody's user.
    """
    return [name for name in dict.fromkeys(names) if is_closed(targets.served(name))]


def is_closed(folder: str) -> bool:
    """Is that a folder which not everybody may enter?"""
    try:
        status = os.stat(folder)
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    return not status.st_mode & stat.S_IXOTH


def folder_of(targets: Targets, name: str) -> str:
    """The folder that holds a file below tftp_root."""
    return os.path.dirname(targets.served(name))


def folders_of(names: Iterable[str]) -> list[str]:
    """The folders of tftp_root that lead to these files, the outer ones first; without itself."""
    found: set[str] = set()
    for name in names:
        while name := os.path.dirname(name):
            found.add(name)
    return sorted(found)


def publish_folder(targets: Targets, name: str, files: Mapping[str, bytes]) -> None:
    """Make a folder of tftp_root, by one rename.

    One that is there and not whole is mended, file by file.
    """
    if os.path.isdir(targets.boot(name)):
        below = {f"{name}/{file}": data for file, data in files.items()}
        return replace_files(targets, below)
    new = os.path.join(targets.incoming_files, name)
    make_folder(targets, new)
    for file, data in files.items():
        write_atomic(os.path.join(new, file), data)
    sync(targets.tftp_root)
    os.rename(new, targets.boot(name))
    sync_folder(targets.tftp_root)


def replace_files(targets: Targets, files: Mapping[str, bytes]) -> None:
    """Give files below tftp_root their new bytes: each by one rename, in their order.

    All are flushed before the first is renamed.
    """
    if not files:
        return
    make_folder(targets, targets.incoming_files)
    new = []
    for number, (name, data) in enumerate(files.items()):
        make_folder(targets, folder_of(targets, name))
        path = os.path.join(targets.incoming_files, f"{number}.new")
        write_atomic(path, data)
        new.append(path)
    sync(targets.tftp_root)
    for path, name in zip(new, files):
        put_in_place(path, targets.served(name))
    sync_folders(targets, files)


def put_in_place(new: str, path: str) -> None:
    """Rename a file to its place."""
    try:
        os.replace(new, path)
    except OSError as error:
        # Its folder can be a file system of its own, or a symlink to another
        if error.errno != errno.EXDEV:
            raise
        write_atomic(path, read(new), durable=True)


def sync_folders(targets: Targets, names: Iterable[str]) -> None:
    """Flush the folders that hold these files below tftp_root."""
    folders = {folder_of(targets, name) for name in names}
    for folder in sorted(folders):
        sync_folder(folder)


def refuse_folders(paths: Iterable[str]) -> None:
    """Raises Refused where a folder is in the place of a file."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            remedy = "move it away; no boot file was changed"
            raise Refused(f"{path} is a folder, and a file is to be there: {remedy}")


def remove_files(targets: Targets, names: Iterable[str]) -> None:
    """Remove those of some files that are there, and their folders where that leaves them empty."""
    for name in names:
        folder = folder_of(targets, name)
        stay_inside(targets, folder)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(targets.served(name))
        with contextlib.suppress(OSError):
            if folder != targets.tftp_root:
                os.rmdir(folder)
