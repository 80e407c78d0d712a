"""A release's root: a new, complete folder made from a staged tree, that shares equal files with an earlier release."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from .apply import plan
from .errors import Refused
from .folder import Changed, Folder
from .ordinary import as_ordinary, privileged
from .perform import Lender, Progress, perform
from .staged import lender
from .tree import Entry, Tree, without_collection


class Published(NamedTuple):
    linked: int  # names that are hard links into the earlier release
    copied: int  # files that were copied
    bytes: int  # of those
    note: str  # what this user could not put on disk, one line; "" as root


def publish(
    tree: Tree,
    folder: str | bytes,
    previous: tuple[Tree, str | bytes] | None = None,
    progress: Progress | None = None,
    own: str | None = None,
) -> Published:
    """Make `folder`, which must not exist, with everything that the tree says; flushing it to disk is the caller's.

    `tree` is what `staged.load` gives. What is equal in `previous` (a folder, and the tree of what is right in it)
    becomes a hard link of that; where none can be made (another file system, too many names) it is copied.
    Sources below `own`, a folder that nobody else writes to, may become hard links as well.
    Raises Refused where a staged file is not any more what the manifest says; the folder is then to be removed.
    """
    above = os.path.dirname(os.path.abspath(os.fsdecode(folder)))
    able = privileged(above)
    goal, note = (tree, "") if able else as_ordinary(tree)
    os.mkdir(folder, 0o700)
    with contextlib.ExitStack() as stack:
        new = stack.enter_context(Folder(folder))
        loans: list[Lender] = []
        if previous:
            was = previous[0] if able else as_ordinary(previous[0])[0]
            loans.append(_Loan(was, stack.enter_context(Folder(previous[1]))))
        if own:
            loans.append(lender(stack.enter_context(Folder(own))))
        try:
            with without_collection():
                done = perform(plan({}, goal), goal, new, _first_of(loans), progress)
        except Changed as error:
            raise Refused(
                f"{error.path}: changed after it was staged; remove the root.mtree beside it and build again"
            ) from None
    return Published(done.linked, done.copied, done.size, note)


def _first_of(lenders: list[Lender]) -> Lender:
    return lambda path, entry: next((file for lend in lenders if (file := lend(path, entry))), None)


class _Loan:
    """Lends what is equal in an earlier release, by what its tree says."""

    def __init__(self, tree: Tree, folder: Folder):
        self.tree, self.folder = tree, folder

    def __call__(self, path: bytes, entry: Entry) -> tuple[int, bytes] | None:
        known = self.tree.get(path)
        if known is None or known[:9] != entry[:9]:
            return None
        above, _, name = path.rpartition(b"/")
        try:
            return self.folder.at(above), name
        except OSError:  # it has no such folder any more
            return None
