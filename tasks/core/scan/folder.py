"""A real folder, reached by directory descriptors: no symlink of any tree is ever followed."""

from __future__ import annotations

import os

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A real folder, whose inner ones are reached name by name, and kept open down to the last."""

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
        """Give the descriptor of an inner folder, which lasts until the next call.

        Raises OSError if it is none (ENOTDIR, ELOOP).
        """
        here, fd = self._nearest(path)
        if here == path:
            return fd
        rest = path[len(here) :].lstrip(b"/")
        for name in rest.split(b"/"):
            fd = os.open(name, OPEN_FOLDER, dir_fd=fd)
            here = here + b"/" + name if here else name
            self._open.append((here, fd))
        return fd

    def _nearest(self, path: bytes) -> tuple[bytes, int]:
        """Close all that is open and does not lead to that folder; give the last that is left."""
        here, _ = self._open[-1]
        while here and here != path and not path.startswith(here + b"/"):
            os.close(self._open.pop()[1])
            here, _ = self._open[-1]
        return self._open[-1]

    def close_inner(self) -> None:
        """Close all but the root: what was open may be removed or replaced."""
        while len(self._open) > 1:
            os.close(self._open.pop()[1])
