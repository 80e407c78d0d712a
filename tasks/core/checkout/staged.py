"""The staged root on disk: a folder, and its manifest, which is there while the folder is that.

The manifest is removed before the folder is touched and written after everything else. So after a
crash there is none; the folder is then read again with the digests of all its files, and whatever
is not right is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
from typing import NamedTuple

from ..base.errors import BadInput, Refused
from ..base.files import read, unlink_if_there, write_atomic
from ..scan.folder import Folder
from ..scan.reader import scan
from ..tree import mtree
from ..tree.diff import Changes, changes_between, deep_order
from ..tree.manifest import Manifest, difference, entries_of, is_same, manifest_of
from ..tree.model import FILE, Entry, Tree, parent
from .rootless import as_possible, privileged, stand_ins
from .writer import Changed, Progress, lend_from, perform_changes

_FORMATS = {True: "plugnode staged 5", False: "plugnode staged 6"}  # by root, and not
_NOTHING = Changes((), (), (), ())

# What is met where somebody else changed the folder.
_DISTURBED = (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError)


class StagedPaths(NamedTuple):
    """Where a staged root is."""

    folder: str
    manifest: str
    xattrs: str
    record: str  # private: what a manifest has no words for


def staged_paths(folder: str) -> StagedPaths:
    """Give the place in an image's folder, `build/<image>`."""
    return StagedPaths(
        folder=os.path.join(folder, "root"),
        manifest=os.path.join(folder, "root.mtree"),
        xattrs=os.path.join(folder, "root.xattrs"),
        record=os.path.join(folder, "root.index"),
    )


class CheckedOut(NamedTuple):
    plan: Changes  # what was changed
    note: str  # what this user could not put on disk, one line; "" as root


class _Recorded(NamedTuple):
    """What was recorded of the folder, which is all there."""

    mtree: bytes
    xattrs: bytes
    note: str
    facts: bytes  # inodes and stamps of the manifest, marshalled: most are never asked for
    basis: bytes  # what the tree was decided of, in its maker's words; b"": not known

    def manifest(self, paths: StagedPaths) -> Manifest:
        inodes, stamps = marshal.loads(self.facts)
        folder = _source(paths)
        return Manifest(self.mtree, self.xattrs, inodes, folder, stamps)


def checkout(
    paths: StagedPaths,
    tree: Tree,
    owned: Tree | None = None,
    progress: Progress | None = None,
    basis: bytes = b"",
) -> CheckedOut:
    """Make the folder equal to the tree, changing only what differs, and write what is beside it.

    Files of `owned`, a scan of a folder of the build's own, become hard links of those where they
    are to be the same. `basis` is kept for `basis_of`. Without root rights the folder holds what
    an ordinary user can make, and an empty file for each device; the manifest has the true values.
    Raises BadInput where a source changed since it was read.
    """
    folder = os.path.dirname(paths.folder)
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o700)  # it holds programs that run as root, whoever starts them
    able = privileged(folder)
    goal, note = _as_staged(tree, able)
    new, recorded = manifest_of(tree), _recorded(paths, able)
    before = recorded.manifest(paths) if recorded else None
    if recorded and before and is_same(before, new):
        _record(paths, recorded._replace(basis=basis), able)
        return CheckedOut(_NOTHING, note)
    job = _Job(paths, goal, able, owned, progress)
    changes, facts = job.make(before, new)
    _record(paths, _Recorded(new.mtree, new.xattrs, note, facts, basis), able)
    return CheckedOut(changes, note)


def basis_of(paths: StagedPaths) -> bytes:
    """Give what the staged tree was decided of; b"" where that is not known."""
    try:
        form, *_, basis = marshal.loads(read(paths.record))
    except (OSError, EOFError, ValueError, TypeError):
        return b""
    return bytes(basis) if form in _FORMATS.values() else b""


def renew(paths: StagedPaths, since: bytes, basis: bytes, before: Tree, after: Tree) -> str | None:
    """Give files of the staged root other bytes, and their folders the mtimes of the sources'.

    Gives the note of `CheckedOut`; None where what is staged was not decided of `since`, or is not
    as it was left: `checkout` is then to make it. Raises BadInput where a source changed since it
    was read.
    """
    able = privileged(os.path.dirname(paths.folder))
    recorded = _recorded(paths, able)
    if recorded is None or recorded.basis != since:
        return None
    try:
        text = mtree.replaced(recorded.mtree, before, after)
    except ValueError:
        return None
    known = recorded.manifest(paths)
    stamps = _rewrite(paths, known, after, able)
    if stamps is None:
        return None
    facts = marshal.dumps((known.inodes, {**(known.stamps or {}), **stamps}))
    _record(paths, recorded._replace(mtree=text, facts=facts, basis=basis), able)
    return recorded.note


def _rewrite(
    paths: StagedPaths, known: Manifest, files: Tree, able: bool
) -> dict[bytes, int] | None:
    """Make these files anew, and give their stamps; None where somebody changed the folder."""
    goal, _ = _as_staged(_with_folders(known, files), able)
    changed = tuple((path, goal[path]) for path in files)
    unlink_if_there(paths.manifest)
    try:
        return _Job(paths, goal, able, None, None).perform(_NOTHING._replace(changed=changed))
    except _DISTURBED:
        return None


def _with_folders(known: Manifest, files: Tree) -> Tree:
    """Files, and the folders that they are in, with those of their sources."""
    sources = {parent(path): parent(entry.source) for path, entry in files.items()}
    folders = entries_of(known, sources)
    return files | {path: folders[path]._replace(source=sources[path]) for path in folders}


def _as_staged(tree: Tree, able: bool) -> tuple[Tree, str]:
    goal, note = as_possible(tree, able)
    return (goal if able else goal | stand_ins(tree)), note


class _Job(NamedTuple):
    """What is to be in the folder, and what may be linked from."""

    paths: StagedPaths
    goal: Tree
    able: bool  # to make all that a tree can hold
    owned: Tree | None
    progress: Progress | None

    def make(self, before: Manifest | None, new: Manifest) -> tuple[Changes, bytes]:
        """Make the folder what `new` says; give what was done, and what to record."""
        changes = self.difference(before, new) if before else self.repair()
        unlink_if_there(self.paths.manifest)
        changes, written = self.do(changes)
        stamps = self.stamps(before, changes, written)
        return changes, marshal.dumps((new.inodes, stamps))

    def do(self, changes: Changes) -> tuple[Changes, dict[bytes, int]]:
        """Do the steps, or those of a repair; give what was done, and stamps of files written."""
        try:
            return changes, self.perform(changes)
        except _DISTURBED:
            changes = self.repair()
            return changes, self.perform(changes)

    def perform(self, changes: Changes) -> dict[bytes, int]:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(Folder(self.paths.folder))
            lend = None
            if self.owned:
                snapshot = stack.enter_context(Folder(self.owned[b""].source.rstrip(b"/")))
                lend = lend_from(snapshot, self.is_as_scanned)
            try:
                return perform_changes(changes, self.goal, folder, lend, self.progress).stamps
            except Changed as error:
                raise BadInput.at(
                    error.path, "changed while the root was staged; build again"
                ) from None

    def is_as_scanned(self, entry: Entry, path: bytes, file: bytes) -> bool:
        """Is an entry still what the build's own snapshot has there?"""
        scanned = (self.owned or {}).get(path)
        return scanned is not None and (scanned is entry or scanned.content == entry.content)

    def repair(self) -> Changes:
        """Give the steps for a folder of which nothing is known: every byte of it is read."""
        folder = self.paths.folder
        if not os.path.isdir(folder) or os.path.islink(folder):
            unlink_if_there(folder)
            os.mkdir(folder, 0o700)
        found = scan(folder)
        changes = changes_between(found.tree, self.goal)
        removed = deep_order({*changes.removed, *found.sockets})
        return changes._replace(removed=tuple(reversed(removed)))

    def difference(self, old: Manifest, new: Manifest) -> Changes:
        """Give the steps from the last tree to this one, by the lines that differ.

        What is equal need not be parsed.
        """
        before, after = difference(old, new)
        before, _ = _as_staged(before, self.able)
        goal = {path: self.goal[path] for path in after if path in self.goal}
        return changes_between(before, goal)

    def stamps(
        self, before: Manifest | None, changes: Changes, written: dict[bytes, int]
    ) -> dict[bytes, int]:
        """Give when each staged file last changed, by which a later change of it is seen."""
        stamps = dict(before.stamps or {}) if before else {}
        for path, _ in (*changes.added, *changes.changed, *changes.touched):
            stamps.pop(path, None)
        stamps |= written

        files = {path for path, entry in self.goal.items() if entry.type == FILE}
        with Folder(self.paths.folder) as folder:
            for path in deep_order(files - stamps.keys()):
                above, _, name = path.rpartition(b"/")
                stamps[path] = os.lstat(name, dir_fd=folder.at(above)).st_ctime_ns
        return {path: stamp for path, stamp in stamps.items() if path in files}


def _recorded(paths: StagedPaths, able: bool) -> _Recorded | None:
    """Give what was recorded of the folder; None unless all is there and belongs together."""
    try:
        manifest, xattrs, record = map(read, paths[1:])
        form, digests, was_able, *facts = marshal.loads(record)
        head = _FORMATS[able], _digests(manifest, xattrs), able
        if (form, digests, was_able) != head or not os.path.isdir(paths.folder):
            return None
        return _Recorded(manifest, xattrs, *facts)
    except (OSError, EOFError, ValueError, TypeError):
        return None


def _digests(*parts: bytes) -> tuple[str, ...]:
    return tuple(hashlib.sha256(part).hexdigest() for part in parts)


def _record(paths: StagedPaths, new: _Recorded, able: bool) -> None:
    write_atomic(paths.xattrs, new.xattrs)
    facts = _FORMATS[able], _digests(new.mtree, new.xattrs), able, *new[2:]
    write_atomic(paths.record, marshal.dumps(facts))
    write_atomic(paths.manifest, new.mtree)


def staged_manifest(paths: StagedPaths) -> Manifest:
    """Give what is known of the staged root. Raises Refused where it was not completed."""
    try:
        recorded = _recorded(paths, True) or _recorded(paths, False)
        if recorded:
            return recorded.manifest(paths)
        # a build that was carried here may lack the record: the texts are all
        return Manifest(read(paths.manifest), read(paths.xattrs), {}, _source(paths))
    except FileNotFoundError as error:
        raise Refused(f"{error.filename}: not there; build the image first") from None


def _source(paths: StagedPaths) -> bytes:
    return os.fsencode(os.path.abspath(paths.folder))
