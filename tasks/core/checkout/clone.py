"""A release's root: a new, complete folder that shares equal names with an earlier release.

First the earlier release, but for what is known to differ, by hard links and without a look at any
manifest; then the steps from there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from stat import S_IMODE
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import naming
from ..scan.content import attributes
from ..scan.ctimes import Ctimes, note_ctime
from ..scan.folder import Folder
from ..scan.stat import (
    Stat,
    Stats,
    drop_stat,
    is_known_as,
    is_moved,
    looks_as,
    stat_of_folder,
    stat_of_name,
)
from ..tree import xattrs
from ..tree.diff import Changes, changes_between
from ..tree.manifest import NOTHING, Manifest, difference, read_manifest
from ..tree.model import DIR, FILE, Entry, Tree, parent
from .drift import is_as_said
from .rootless import as_possible, privileged, without_privileges
from .writer import (
    Changed,
    Done,
    Progress,
    finish_entry,
    lend_from,
    link,
    perform_changes,
    stop_inheritance,
)


class Earlier(NamedTuple):
    """A release that is there; one whose record is NOTHING stands for none."""

    folder: str
    record: Manifest
    stats: Stats
    note: str = ""  # as below
    difference: tuple[Tree, Tree] | None = None  # to what is published now, where it is known
    ctimes: Ctimes | None = None  # of the server's releases; what is linked is noted in it


class Published(NamedTuple):
    linked: int  # names that are hard links into the earlier release
    copied: int  # files that were copied
    size: int  # bytes of those
    note: str  # what this user could not put on disk, one line; "" as root
    made: Tree  # all that was made anew, and every folder in which something was
    written: set[bytes]  # of that, the files whose bytes are known to be right
    stats: Stats  # of all the rest


# Have the bytes of these files; it gives a folder whose files may be linked to.
Fetch = Callable[[list[bytes]], "str | None"]


def publish(
    manifest: Manifest,
    folder: str | bytes,
    earlier: Earlier | None = None,
    fetch: Fetch = lambda paths: None,
    progress: Progress | None = None,
) -> Published:
    """Make `folder`, which must not exist, with all of a staged root.

    Flushing it to disk is the caller's. `manifest` is what `staged_manifest` gives. What is equal
    in the earlier release, and is known to be what it was, becomes a hard link of that; where none
    can be made (another file system, too many names) it is copied. Raises Refused where a staged
    file is not any more what the manifest says; the folder is then to be removed.
    """
    able = privileged(os.path.dirname(os.path.abspath(os.fsdecode(folder))))
    os.mkdir(folder, 0o700)
    with Folder(folder) as new:
        stop_inheritance(new.root)
        base = _base(earlier, able) or _nothing(earlier, folder)
        shared = _share(base, new)
        before, goal = _difference(base, manifest, shared.lost, able)
        changes = changes_between(before, goal)
        done = _perform(changes, goal, new, fetch, progress)
        note = "" if able else without_privileges(read_manifest(manifest))[1]
    return _published(shared.without(changes.removed), done, goal, note)


def _published(shared: _Shared, done: Done, goal: Tree, note: str) -> Published:
    made = {path: goal[path] for path in done.made}
    return Published(
        shared.linked,
        done.copied,
        done.size,
        note,
        made,
        done.written,
        shared.stats,
    )


def _base(earlier: Earlier | None, able: bool) -> Earlier | None:
    """None unless its status is known, and it was made as this one will be: by root, or not."""
    if earlier and earlier.stats and bool(earlier.note) != able:
        return earlier
    return None


def _nothing(earlier: Earlier | None, folder: str | bytes) -> Earlier:
    """Stands for none, in a folder that is empty; from none all differs, which may be known."""
    difference = earlier.difference if earlier and earlier.record is NOTHING else None
    return Earlier(os.fsdecode(folder), NOTHING, {}, difference=difference)


def _difference(
    earlier: Earlier, manifest: Manifest, lost: set[bytes], able: bool
) -> tuple[Tree, Tree]:
    """Give of both trees what differs, as it can be made; of the earlier one without the lost."""
    trees = earlier.difference
    if trees is None or not lost <= trees[0].keys():
        trees = difference(earlier.record, manifest, lost)
    before, goal = trees
    before = {path: entry for path, entry in before.items() if path not in lost}
    return as_possible(before, able)[0], as_possible(goal, able)[0]


def _perform(
    changes: Changes, goal: Tree, new: Folder, fetch: Fetch, progress: Progress | None
) -> Done:
    steps = (*changes.added, *changes.changed, *changes.touched)
    received = fetch([path for path, entry in steps if entry.type == FILE])
    with contextlib.ExitStack() as stack:
        lend = lend_from(stack.enter_context(Folder(received)), _is_whole) if received else None
        try:
            with naming(new.path):
                return perform_changes(changes, goal, new, lend, progress)
        except Changed as error:
            raise Refused(
                f"{error.path}: changed after it was staged; "
                "remove the root.mtree beside it and build again"
            ) from None


def _is_whole(entry: Entry, path: bytes, file: bytes) -> bool:
    """What came to a folder of its own may lack attributes."""
    return attributes(file) == entry.xattrs


class _Shared(NamedTuple):
    stats: Stats
    lost: set[bytes]  # what is not any more as it was published, or cannot be linked
    linked: int

    def without(self, removed: Iterable[bytes]) -> _Shared:
        """Forget the status of what was removed again."""
        for path in removed:
            drop_stat(self.stats, path)
        return self


def _share(earlier: Earlier, new: Folder) -> _Shared:
    """Fill the new folder with an earlier release: its folders made anew, all else by links."""
    stats: Stats = {}
    mtimes: dict[bytes, int] = {}
    folders = _folders(earlier)
    lender = _Lender(earlier)
    with Folder(earlier.folder) as old:
        for path in earlier.stats:
            source = _inner(old, path)
            if source is None:
                continue
            mtimes[path] = os.fstat(source).st_mtime_ns
            with naming(os.path.join(new.path, path)):
                fd = _made(new, path)
                linked = lender.link(path, source, fd)
                finish_entry(fd, folders[path], mtimes[path])
            stats[path] = stat_of_folder(os.fstat(fd)), linked
    _note_outer(stats, new, mtimes)
    return _Shared(stats, _lost(earlier.stats, stats), lender.linked)


def _lost(before: Stats, stats: Stats) -> set[bytes]:
    """What is not in the new folder."""
    lost = set(before.keys() - stats)
    for path, (_, names) in before.items():
        linked = stats[path][1] if path in stats else {}
        lost |= _below(path, names.keys() - linked)
    return lost


def _note_outer(stats: Stats, new: Folder, mtimes: dict[bytes, int]) -> None:
    """Finish folders again that changed when others were made in them.

    By their mtimes fontconfig knows its caches, and systemd that /usr was updated.
    """
    for path in sorted(set(map(parent, stats))):
        fd = new.at(path)
        os.utime(fd, ns=(mtimes[path], mtimes[path]))
        stats[path] = stat_of_folder(os.fstat(fd)), stats[path][1]


def _inner(folder: Folder, path: bytes) -> int | None:
    try:
        return folder.at(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _below(folder: bytes, names: Iterable[bytes]) -> set[bytes]:
    start = folder + b"/" if folder else b""
    return {start + name for name in names}


def _made(new: Folder, path: bytes) -> int:
    above, _, name = path.rpartition(b"/")
    if path:
        os.mkdir(name, 0o700, dir_fd=new.at(above))
    return new.at(path)


class _Lender:
    """Links files of an earlier release into a new one: those that are what their names say.

    That is known by their ctime, else by reading them.
    """

    def __init__(self, earlier: Earlier):
        self.earlier = earlier
        self.ctimes: Ctimes = {} if earlier.ctimes is None else earlier.ctimes
        self.unlike = _by_folder(_replaced(earlier)) if earlier.stats else {}
        self.moved: set[bytes] = set()  # folders that may be others: no ctime says what is there
        self.linked = 0

    @cached_property
    def tree(self) -> Tree:
        tree = read_manifest(self.earlier.record)
        return as_possible(tree, able=not self.earlier.note)[0]

    def link(self, folder: bytes, source: int, fd: int) -> dict[bytes, Stat]:
        """Link all that may be of one folder, open as `source`, into another; give that.

        Not what is known to differ: to remove that name again would move the ctime of a file that
        the earlier release has.
        """
        own, names = self.earlier.stats[folder]
        if is_moved(folder, own, os.fstat(source), self.moved):
            self.moved.add(folder)
        linked, lstat, unlike = {}, os.lstat, self.unlike.get(folder, ())
        for name, before in names.items():
            if name in unlike:
                continue
            try:
                status = lstat(name, dir_fd=source)
                if not looks_as(before, status) or not self._is_sound(folder, name, status):
                    continue
                if link(source, name, fd, name):
                    linked[name] = stat_of_name(status)
                    note_ctime(self.ctimes, lstat(name, dir_fd=fd))
            except FileNotFoundError:
                pass
        self.linked += len(linked)
        return linked

    def _is_sound(self, folder: bytes, name: bytes, status: os.stat_result) -> bool:
        before = self.earlier.stats[folder][1][name]
        if is_known_as(before, status, self.ctimes) and folder not in self.moved:
            return True
        return self._is_whole(folder, name, status)

    def _is_whole(self, folder: bytes, name: bytes, status: os.stat_result) -> bool:
        path = folder + b"/" + name if folder else name
        file = os.path.join(os.fsencode(self.earlier.folder), path)
        entry = self.tree.get(path)
        return entry is not None and is_as_said(entry, status, file)


def _replaced(earlier: Earlier) -> Iterator[bytes]:
    """What is known to be none of what is published now, or another file there."""
    if earlier.difference:
        before, goal = (as_possible(tree, able=not earlier.note)[0] for tree in earlier.difference)
        changes = changes_between(before, goal)
        yield from changes.removed
        yield from (path for path, _ in (*changes.changed, *changes.touched))


def _by_folder(paths: Iterable[bytes]) -> dict[bytes, set[bytes]]:
    """The names that lead there, by the folder that they are in."""
    found: dict[bytes, set[bytes]] = {}
    for path in paths:
        above, _, name = path.rpartition(b"/")
        found.setdefault(above, set()).add(name)
    return found


def _folders(earlier: Earlier) -> Tree:
    """Give the folders of a release, without a look at its manifest."""
    attributes = xattrs.parse_xattrs(earlier.record.xattrs)
    tree: Tree = {}
    for path, ((mode, uid, gid, _), _) in earlier.stats.items():
        own = attributes.get(path, ())
        tree[path] = Entry(DIR, S_IMODE(mode), uid, gid, xattrs=own)
    return as_possible(tree, able=not earlier.note)[0]
