"""A release's root: a new, complete folder made of a staged root, that shares equal names with an earlier release.

First the earlier release, all of it, by hard links and without a look at any manifest; then the steps from there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from stat import S_IMODE
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import naming
from ..scan.content import attributes
from ..scan.folder import Folder
from ..scan.stat import Stat, Stats, drop_stat, stat_of_folder, stat_of_name
from ..tree import xattrs
from ..tree.diff import Changes, changes_between
from ..tree.manifest import NOTHING, Manifest, difference, read_manifest
from ..tree.model import DIR, FILE, Entry, Tree, without_collection
from .rootless import privileged, without_privileges
from .writer import (
    Changed,
    Done,
    Lender,
    Progress,
    finish_entry,
    link,
    perform_changes,
    stop_inheritance,
)


class Earlier(NamedTuple):
    """A release that is there."""

    folder: str
    record: Manifest
    looks: Stats
    note: str = ""  # as below


class Published(NamedTuple):
    linked: int  # names that are hard links into the earlier release
    copied: int  # files that were copied
    bytes: int  # of those
    note: str  # what this user could not put on disk, one line; "" as root
    made: Tree  # all that was made anew, and every folder in which something was
    looks: Stats  # of all the rest


Bring = Callable[
    [list[bytes]], "str | None"
]  # have the bytes of these files; a folder whose files may be linked to


def publish(
    record: Manifest,
    folder: str | bytes,
    earlier: Earlier | None = None,
    bring: Bring = lambda paths: None,
    progress: Progress | None = None,
    differing: tuple[Tree, Tree] | None = None,
) -> Published:
    """Make `folder`, which must not exist, with all that is staged; flushing it to disk is the caller's.

    `record` is what `staged.recorded` gives. What is equal in the earlier release, and still looks as it did, becomes
    a hard link of that; where none can be made (another file system, too many names) it is copied. `differing`:
    `difference` of both, where it is known. Raises Refused where a staged file is not any more what the manifest says;
    the folder is then to be removed.
    """
    able = privileged(os.path.dirname(os.path.abspath(os.fsdecode(folder))))
    os.mkdir(folder, 0o700)
    with without_collection(), Folder(folder) as new:
        stop_inheritance(new.root)
        if earlier is None or not earlier.looks or bool(earlier.note) == able:
            # nothing is known of how it looked, or an ordinary user's is not what root's would be
            earlier, differing = Earlier(os.fsdecode(folder), NOTHING, {}), None
        shared = _share(earlier, new)
        if differing is None or shared.lost:
            differing = difference(earlier.record, record, shared.lost)
        before, goal = differing
        before = {path: entry for path, entry in before.items() if path not in shared.lost}
        note = "" if able else without_privileges(read_manifest(record))[1]
        if note:
            before, goal = without_privileges(before)[0], without_privileges(goal)[0]
        steps = changes_between(before, goal)
        done = _perform(steps, goal, new, bring, progress)
    for path in steps.removed:
        drop_stat(shared.looks, path)
    made = {path: goal[path] for path in done.made}
    return Published(shared.linked, done.copied, done.size, note, made, shared.looks)


def _perform(
    steps: Changes, goal: Tree, new: Folder, bring: Bring, progress: Progress | None
) -> Done:
    files = [
        path for path, entry in (*steps.added, *steps.changed, *steps.touched) if entry.type == FILE
    ]
    own = bring(files)
    with contextlib.ExitStack() as stack:
        lend = _lender(stack.enter_context(Folder(own))) if own else None
        try:
            with naming(new.path):
                return perform_changes(steps, goal, new, lend, progress)
        except Changed as error:
            raise Refused(
                f"{error.path}: changed after it was staged; remove the root.mtree beside it and build again"
            ) from None


def _lender(received: Folder) -> Lender:
    """Lends files that came to a folder of their own, where their attributes are those of the entry, too."""
    start = received.path + b"/"

    def lend(path: bytes, entry: Entry) -> tuple[int, bytes] | None:
        if entry.type != FILE or entry.data is not None or not entry.source.startswith(start):
            return None
        above, _, name = entry.source[len(start) :].rpartition(b"/")
        try:
            fd = received.at(above)
            return (
                (fd, name)
                if attributes(b"/proc/self/fd/%d/%s" % (fd, name)) == entry.xattrs
                else None
            )
        except OSError:  # it is gone; to copy it says so
            return None

    return lend


class _Shared(NamedTuple):
    looks: Stats
    lost: set[bytes]  # what is not any more as it was published, or cannot be linked
    linked: int


def _share(earlier: Earlier, new: Folder) -> _Shared:
    """Fill the new folder with an earlier release: its folders made anew, all else by links."""
    folders, looks, lost = _folders(earlier), Stats(), set[bytes]()
    with Folder(earlier.folder) as old:
        for path, (_, names) in earlier.looks.items():
            start = path + b"/" if path else b""
            try:
                source = old.at(path)
            except (FileNotFoundError, NotADirectoryError):
                lost |= {path, *(start + name for name in names)}
                continue
            with naming(os.path.join(new.path, path)):
                fd = _made(new, path)
                linked = _linked(source, names, fd)
                finish_entry(fd, folders[path], os.fstat(source).st_mtime_ns)
            lost |= {start + name for name in names.keys() - linked.keys()}
            looks[path] = stat_of_folder(os.fstat(fd)), linked
    return _Shared(looks, lost, sum(len(names) for _, names in looks.values()))


def _made(new: Folder, path: bytes) -> int:
    above, _, name = path.rpartition(b"/")
    if path:
        os.mkdir(name, 0o700, dir_fd=new.at(above))
    return new.at(path)


def _linked(source: int, names: dict[bytes, Stat], fd: int) -> dict[bytes, Stat]:
    """Those that still look as they did, and are links to that in the other folder now."""
    linked, lstat = {}, os.lstat
    for name, look in names.items():
        try:
            same = stat_of_name(lstat(name, dir_fd=source)) == look and link(source, name, fd, name)
        except FileNotFoundError:
            continue
        if same:
            linked[name] = look
    return linked


def _folders(earlier: Earlier) -> Tree:
    """The folders of a release, without a look at its manifest."""
    labels = xattrs.parse_xattrs(earlier.record.xattrs)
    tree = {
        path: Entry(DIR, S_IMODE(mode), uid, gid, xattrs=labels.get(path, ()))
        for path, ((mode, uid, gid, _), _) in earlier.looks.items()
    }
    return without_privileges(tree)[0] if earlier.note else tree
