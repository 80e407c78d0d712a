"""Single files of a server: what its disk gives of them, and what a TFTP server may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..base.files import content, digest_file
from ..release import Release
from ..scan.ctimes import is_known, note_ctime, read_ctimes, write_ctimes
from .paths import Targets


def readable_content(path: str) -> bytes | None:
    """The bytes of a file; None where there is none, or its disk does not give them."""
    try:
        return content(path)
    except PermissionError:
        raise
    except OSError:
        return None


def contents_of(targets: Targets, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Those of some files below tftp_root that are there, each with its bytes."""
    for name in names:
        path = targets.served(name)
        data = None if os.path.islink(path) else readable_content(path)
        if data is not None:
            yield name, data


def served_size(path: str) -> int:
    """The size of a file that everybody may read; -1 where there is none such."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    return status.st_size if status.st_mode == stat.S_IFREG | 0o644 else -1


def is_served(targets: Targets, name: str, size: int, digest: str) -> bool:
    """Is a file below tftp_root of that size and sha256, and may everybody read it?

    It is read unless it is known not to have changed since it was put there.
    """
    file = ServedFile(targets.served(name), targets.boot_ctimes)
    return file.is_right(size, digest)


def root_file_of(targets: Targets, release: Release) -> ServedFile:
    """Where the root file of a release lies, that has one: by HTTP, or beside its tree."""
    folder = targets.fetched if release.is_fetched else targets.mounted
    return ServedFile(folder(release.id, release.root_name), targets.http_ctimes)


def incoming_root_file(targets: Targets, release: Release) -> str:
    """The folder where it is written before, on the file system of its place."""
    if release.is_fetched:
        return os.path.join(targets.incoming_http, release.id)
    return os.path.join(targets.incoming_roots, os.path.basename(targets.mounted(release.id)))


class ServedFile(NamedTuple):
    """A large file that nodes fetch, and the list by which its like are known not to change."""

    path: str
    ctimes: str

    def is_right(self, size: int, digest: str) -> bool:
        """Is it of that size and sha256, and may everybody read it?"""
        if served_size(self.path) != size:
            return False
        try:
            return self.is_unchanged() or digest_file(self.path) == digest
        except OSError:
            return False

    def is_unchanged(self) -> bool:
        """Is it known to be as it was put there?"""
        return is_known(read_ctimes(self.ctimes), os.lstat(self.path))

    def note(self) -> None:
        """Note that it is what it shall be."""
        ctimes = read_ctimes(self.ctimes)
        note_ctime(ctimes, os.lstat(self.path))
        write_ctimes(self.ctimes, ctimes)


def is_unchanged(targets: Targets, name: str) -> bool:
    """Is a kernel or initrd known to be as it was put there?"""
    return ServedFile(targets.served(name), targets.boot_ctimes).is_unchanged()


def note_served(targets: Targets, names: Iterable[str]) -> None:
    """Note that some files below tftp_root, kernels and initrds, are what they shall be."""
    ctimes = read_ctimes(targets.boot_ctimes)
    for name in names:
        note_ctime(ctimes, os.lstat(targets.served(name)))
    write_ctimes(targets.boot_ctimes, ctimes)


def mode_of(path: str) -> int | None:
    """The permissions of a file; None where there is none."""
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
