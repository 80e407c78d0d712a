"""A real folder, reached by directory descriptors: no symlink of any tree is ever followed."""

from __future__ import annotations

import os

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A real folder, whose inner folders are reached name by name, and kept open from the root to the last one."""

    def __init__(self, path: str | bytes):
        self.path = os.fsencode(path)
        self._open: list[tuple[bytes, int]] = [(b"", os.open(path, OPEN_FOLDER & ~os.O_NOFOLLOW))]

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        for _path, fd in self._open:
            os.close(fd)
        self._open = []

    @property
    def root(self) -> int:
        return self._open[0][1]

    def at(self, path: bytes) -> int:
        """The descriptor of an inner folder, until the next call. Raises OSError if it is none (ENOTDIR, ELOOP)."""
        here, fd = self._open[-1]
        if here == path:
            return fd
        while here and not path.startswith(here + b"/"):
            os.close(self._open.pop()[1])
            here, fd = self._open[-1]
            if here == path:
                return fd
        for name in path[len(here) :].lstrip(b"/").split(b"/") if path else ():
            fd = os.open(name, OPEN_FOLDER, dir_fd=fd)
            here = here + b"/" + name if here else name
            self._open.append((here, fd))
        return fd

    def forget(self) -> None:
        """Close all but the root: what was open may be removed or replaced."""
        while len(self._open) > 1:
            os.close(self._open.pop()[1])
