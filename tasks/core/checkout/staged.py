"""The staged root on disk: a folder, and beside it its manifest, which is there only while the folder is what it says.

The manifest is removed before the folder is touched and written after everything else. So after a crash there is none;
the folder is then read again with the digests of all its files, and whatever is not right is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
from typing import NamedTuple

from ..base.errors import BadInput, Refused
from ..base.files import write_atomic
from ..scan.folder import Folder
from ..scan.reader import scan
from ..tree import mtree
from ..tree.diff import Changes, changes_between, deep_order
from ..tree.manifest import Manifest, difference, entries_of, is_same, manifest_of, read_manifest
from ..tree.model import FILE, Entry, Tree, is_but_for_bytes, without_collection
from .rootless import privileged, without_privileges
from .writer import Changed, Lender, Progress, perform_changes

_FORMAT = "plugnode staged 2"


class StagedPaths(NamedTuple):
    """Where a staged root is: paths."""

    folder: str
    manifest: str
    xattrs: str
    record: str  # private: what a manifest has no words for


def staged_paths(folder: str) -> StagedPaths:
    """The place in an image's folder, `build/<image>`."""
    return StagedPaths(
        *(
            os.path.join(folder, name)
            for name in ("root", "root.mtree", "root.xattrs", "root.index")
        )
    )


class CheckedOut(NamedTuple):
    plan: Changes  # what was changed
    note: str  # what this user could not put on disk, one line; "" as root


class _Kept(NamedTuple):
    """What was recorded of the folder, which is all there."""

    manifest: bytes
    labels: bytes
    of: str  # names what it was made of; "" for unknown
    note: str
    facts: bytes  # inodes and stamps of the record, marshalled: most are never asked for
    newer: dict[bytes, int]  # stamps of files that were renewed since

    def record(self, place: StagedPaths) -> Manifest:
        inodes, stamps = marshal.loads(self.facts)
        return Manifest(self.manifest, self.labels, inodes, _source(place), stamps | self.newer)


def checkout(
    place: StagedPaths,
    tree: Tree,
    owned: Tree | None = None,
    progress: Progress | None = None,
    of: str = "",
) -> CheckedOut:
    """Make the folder equal to the tree, changing only what differs, and write its manifest, attributes and index.

    Files of `owned`, a scan of a folder of the build's own, become hard links of those where they are to be the same.
    Without root rights the folder holds what an ordinary user can make; the manifest has the true values.
    `of` names what the tree was made of, by which `renew` knows it again. Raises BadInput where a source changed since
    it was read.
    """
    os.makedirs(os.path.dirname(place.folder), exist_ok=True)
    with without_collection():
        able = privileged(os.path.dirname(place.folder))
        goal, note = (tree, "") if able else without_privileges(tree)
        new, kept = manifest_of(tree), _kept(place, able)
        before = kept.record(place) if kept else None
        if kept and before and is_same(before, new):
            _record(place, kept._replace(of=of), able)
            return CheckedOut(Changes((), (), (), ()), note)
        steps = _difference(before, new, goal, able) if before else _repair(place, goal)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.manifest)
        steps, stamps = _do(place, steps, goal, owned, progress)
        facts = marshal.dumps((new.inodes, _stamps(place, goal, before, steps, stamps)))
        _record(place, _Kept(new.mtree, new.xattrs, of, note, facts, {}), able)
    return CheckedOut(steps, note)


def update_bytes(
    place: StagedPaths,
    files: Tree,
    folders: Tree,
    since: str,
    of: str,
    progress: Progress | None = None,
) -> CheckedOut | None:
    """`stage_into` for a tree in which nothing but the bytes of these files is new; `folders` are those they are in.

    None, and nothing is done, where the folder is not what was staged of `since`, or is not as it was left. What is
    done takes as long as what is new, not as what there is.
    """
    with without_collection():
        able = privileged(os.path.dirname(place.folder))
        kept = _kept(place, able)
        if not kept or kept.of != since:
            return None
        goal = entries_of(Manifest(kept.manifest, kept.labels, {}), [*files, *folders])
        if not all(
            path in goal and is_but_for_bytes(goal[path], new) for path, new in files.items()
        ):
            return None
        goal = {
            path: goal[path]._replace(source=folder.source) for path, folder in folders.items()
        } | files
        goal = goal if able else without_privileges(goal)[0]
        steps = Changes((), (), tuple((path, goal[path]) for path in deep_order(files)), ())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.manifest)
        try:
            stamps = _perform(place, steps, goal, None, progress)
        except _DISTURBED:
            return None
        manifest = mtree.replaced(kept.manifest, files)
        _record(place, kept._replace(manifest=manifest, of=of, newer=kept.newer | stamps), able)
    return CheckedOut(steps, kept.note)


# what is met where somebody else changed the folder
_DISTURBED = (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError)


def _do(
    place: StagedPaths, steps: Changes, goal: Tree, owned: Tree | None, progress: Progress | None
) -> tuple[Changes, dict[bytes, int]]:
    """Do the steps, or those of a repair; what was done, and the stamps of files written."""
    try:
        return steps, _perform(place, steps, goal, owned, progress)
    except _DISTURBED:
        steps = _repair(place, goal)
        return steps, _perform(place, steps, goal, owned, progress)


def _perform(
    place: StagedPaths, steps: Changes, goal: Tree, owned: Tree | None, progress: Progress | None
) -> dict[bytes, int]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder(place.folder))
        lend = (
            _lender(stack.enter_context(Folder(owned[b""].source.rstrip(b"/"))), owned)
            if owned
            else None
        )
        try:
            return perform_changes(steps, goal, folder, lend, progress).stamps
        except Changed as error:
            raise BadInput.at(
                error.path, "changed while the root was staged; build again"
            ) from None


def _lender(snapshot: Folder, scanned: Tree) -> Lender:
    """Lends the files of a snapshot that the build owns, where an entry is still what was scanned."""
    start = snapshot.path + b"/"

    def lend(path: bytes, entry: Entry) -> tuple[int, bytes] | None:
        if entry.type != FILE or entry.data is not None or not entry.source.startswith(start):
            return None
        origin = entry.source[len(start) :]
        known = scanned.get(origin)
        if known is not entry and (known is None or known.content != entry.content):
            return None
        above, _, name = origin.rpartition(b"/")
        try:
            return snapshot.at(above), name
        except OSError:  # it is gone; to copy it says so
            return None

    return lend


def _repair(place: StagedPaths, goal: Tree) -> Changes:
    """The steps for a folder of which nothing is known: it is read, every byte of it."""
    if not os.path.isdir(place.folder) or os.path.islink(place.folder):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.folder)
        os.mkdir(place.folder, 0o700)
    found = scan(place.folder)
    steps = changes_between(found.tree, goal)
    return steps._replace(removed=tuple(deep_order({*steps.removed, *found.sockets})[::-1]))


def _difference(old: Manifest, new: Manifest, goal: Tree, able: bool) -> Changes:
    """The steps from the last tree to this one, by the lines that differ: what is equal need not be parsed."""
    before, after = difference(old, new)
    if not able:
        before = without_privileges(before)[0]
    return changes_between(before, {path: goal[path] for path in after if path in goal})


def _kept(place: StagedPaths, able: bool) -> _Kept | None:
    """What was recorded of the folder; None unless all of it is there and belongs together."""
    try:
        manifest, labels, index = map(_read, place[1:])
        form, digests, was_able, *facts = marshal.loads(index)
        if (form, digests, was_able) != (
            _FORMAT,
            _digests(manifest, labels),
            able,
        ) or not os.path.isdir(place.folder):
            return None
        return _Kept(manifest, labels, *facts)
    except (OSError, EOFError, ValueError, TypeError):
        return None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _digests(*parts: bytes) -> tuple[str, ...]:
    return tuple(hashlib.sha256(part).hexdigest() for part in parts)


def _stamps(
    place: StagedPaths, goal: Tree, kept: Manifest | None, steps: Changes, written: dict[bytes, int]
) -> dict[bytes, int]:
    """When each staged file last changed, by which a later change of it is seen."""
    stamps = dict(kept.stamps or {}) if kept else {}
    for path, _ in (*steps.added, *steps.changed, *steps.touched):
        stamps.pop(path, None)
    stamps |= written
    with Folder(place.folder) as folder:
        for path in deep_order(
            path for path, entry in goal.items() if entry.type == FILE and path not in stamps
        ):
            above, _, name = path.rpartition(b"/")
            stamps[path] = os.lstat(name, dir_fd=folder.at(above)).st_ctime_ns
    return {
        path: stamp for path, stamp in stamps.items() if path in goal and goal[path].type == FILE
    }


def _record(place: StagedPaths, new: _Kept, able: bool) -> None:
    write_atomic(place.xattrs, new.labels)
    facts = _FORMAT, _digests(new.manifest, new.labels), able, *new[2:]
    write_atomic(place.record, marshal.dumps(facts))
    write_atomic(place.manifest, new.manifest)


def staged_manifest(place: StagedPaths) -> Manifest:
    """What is known of the staged root. Raises Refused where it was not completed."""
    try:  # without the index, which a build that was carried here may lack, the texts are all
        kept = _kept(place, True) or _kept(place, False)
        return (
            kept.record(place)
            if kept
            else Manifest(_read(place.manifest), _read(place.xattrs), {}, _source(place))
        )
    except FileNotFoundError as error:
        raise Refused(f"{error.filename}: not there; build the image first") from None


def load_staged(place: StagedPaths) -> Tree:
    """The staged tree, with the files of the folder as sources. Raises Refused where it was not completed."""
    kept = staged_manifest(place)
    with without_collection():
        return read_manifest(kept)


def _source(place: StagedPaths) -> bytes:
    return os.fsencode(os.path.abspath(place.folder))
