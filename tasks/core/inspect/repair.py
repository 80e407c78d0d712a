"""Repair: published roots made what their manifests say again. Nothing else ever changes one.

Owners, modes and attributes are mended in place; bytes come from another release of the server, or
from whoever has them, by one rename. What was there keeps a name until a prune, for nodes that run
may have it open. What no manifest names stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import digest_file, read, sync_folder, write_atomic
from ..base.text import counted, shown_path
from ..checkout.clone import Earlier
from ..checkout.drift import is_as_said, possible
from ..checkout.writer import Changed, finish_entry, is_like, link, make_entry
from ..deploy.prune import releases_of
from ..plan.state import BuiltRelease, load_built
from ..scan.ctimes import Ctimes, note_ctime, read_ctimes, write_ctimes
from ..scan.folder import OPEN_FOLDER, Folder
from ..scan.stat import dump_stats, note_stat
from ..store import journal, kept
from ..store.operation import held, recorded
from ..store.paths import Targets
from ..store.tftp import make_folder
from ..tree.model import DIR, FILE, LINK, Entry, Tree, parent
from .verify import Tell, of_release, unheard

LARGEST = 64 << 20  # bytes of a file that another machine lends
_NEW = b"repaired"  # what is made, until it is renamed to its place


class Repaired(NamedTuple):
    """What became of the roots of a server."""

    mended: list[str]  # a line each
    left: list[str]  # what is not mended, and why
    missing: dict[str, int]  # digests of files whose bytes no release there has -> their sizes
    releases: list[str]  # that were changed


class WantedRepair(NamedTuple):
    """What is to be mended, and by whom."""

    image: str  # "": all
    full: bool  # every byte is read
    author: journal.Record


def repair_server(
    targets: Targets,
    wanted: WantedRepair,
    lent: Mapping[str, bytes],
    tell: Tell = unheard,
) -> Repaired:
    """Mend published roots. `lent`: the bytes of files that others had, by digest."""
    done = Repaired([], [], {}, [])
    with held(targets, "repair", wanted.author):
        found = {}
        for id in releases_of(targets, wanted.image):
            if paths := _damaged(targets, id, wanted.full, tell, done):
                found[id] = paths
        if not found:
            return done
        record = {**wanted.author, "action": "repair", "repaired": sorted(found)}
        with recorded(targets, record):
            sources = _Sources(targets, lent)
            for id, paths in found.items():
                _mend_release(targets, id, paths, sources, done)
    return done


def _damaged(
    targets: Targets, id: str, full: bool, tell: Tell, done: Repaired
) -> dict[bytes, list[str]]:
    """The names of a release that are not as its manifest says, with what is wrong."""
    found: dict[bytes, list[str]] = {}
    try:
        for drift in of_release(targets, id, full, tell):
            found.setdefault(drift.path, []).append(drift.what)
    except Refused as error:
        done.left.append(f"{targets.nfs}/{id}: not compared: {error}")
        return {}
    is_added = all(what == ["added"] for what in found.values())
    return {} if is_added else found


def _mend_release(
    targets: Targets,
    id: str,
    found: dict[bytes, list[str]],
    sources: _Sources,
    done: Repaired,
) -> None:
    """Mend a release, and then what is wrong in folders that were not there before."""
    done.releases.append(id)
    tried = set[bytes]()
    while found:
        with Folder(targets.root(id)) as folder:
            _mend_names(_Root(targets, id, folder, sources), found, done)
        tried |= found.keys()
        now = _damaged(targets, id, False, unheard, done)
        found = {path: what for path, what in now.items() if path not in tried}


def _mend_names(root: _Root, found: Mapping[bytes, Sequence[str]], done: Repaired) -> None:
    """Mend names, what is above first."""
    mended = list[bytes]()
    try:
        for path in sorted(found):
            below = f"/{shown_path(path)}" if path else ""
            where = f"{root.targets.nfs}/{root.id}{below}"
            entry = root.tree.get(path)
            if entry is None:  # no manifest names it
                continue
            try:
                why = root.mend(path, entry)
            except _Nowhere:
                done.missing[entry.digest] = entry.size
                continue
            if why:
                done.left.append(f"{where}: {why}")
            else:
                mended.append(path)
                done.mended.append(f"{where}: {', '.join(found[path])}")
    finally:
        root.note(mended, set(found).difference(mended))


class _Nowhere(Exception):
    """Nobody who was asked has the bytes of a file."""


class _Sources:
    """Where the bytes of a file are, by digest: what was lent, and files of all releases."""

    def __init__(self, targets: Targets, lent: Mapping[str, bytes]):
        self.targets, self.lent = targets, lent
        self._paths: dict[str, list[str]] = {}

    def of(self, digest: str) -> list[str]:
        """The files that should be of that digest."""
        if not self._paths:
            for root, tree in _trees(self.targets):
                for path, entry in tree.items():
                    if entry.type == FILE:
                        file = os.path.join(root, os.fsdecode(path))
                        self._paths.setdefault(entry.digest, []).append(file)
        return self._paths.get(digest, [])


def _trees(targets: Targets) -> Iterator[tuple[str, Tree]]:
    """The folder and the tree of each release whose manifest is not damaged."""
    for id in kept.published(targets):
        with contextlib.suppress(Refused, OSError):
            yield targets.root(id), kept.load_kept(targets, id)


def lend(targets: Targets, digests: Iterable[str]) -> dict[str, bytes]:
    """The bytes of those files that are on a server, by digest."""
    sources = _Sources(targets, {})
    found = {}
    for digest in digests:
        for path in sources.of(digest):
            with contextlib.suppress(OSError):
                if os.path.getsize(path) <= LARGEST and digest_file(path) == digest:
                    found[digest] = read(path)
                    break
    return found


def built_files(releases: Iterable[BuiltRelease], digests: Iterable[str]) -> dict[str, bytes]:
    """The bytes of those files that are in what was built, by digest."""
    missing, found = set(digests), {}
    for built in releases:
        for entry in load_built(built).values():
            if entry.digest in missing and entry.digest not in found and entry.size <= LARGEST:
                with contextlib.suppress(OSError):
                    data = read(entry.source) if entry.data is None else entry.data
                    if hashlib.sha256(data).hexdigest() == entry.digest:
                        found[entry.digest] = data
    return found


class _Root:
    """A published root that is mended."""

    def __init__(self, targets: Targets, id: str, folder: Folder, sources: _Sources):
        self.targets, self.id, self.folder, self.sources = targets, id, folder, sources
        self.before: Earlier = kept.earlier(targets, id)
        self.tree = possible(kept.load_kept(targets, id), self.before.note)

    def mend(self, path: bytes, entry: Entry) -> str:
        """Make a name what the manifest says; why that cannot be, or "". Raises _Nowhere."""
        above = parent(path)
        try:
            fd = self.folder.at(above) if path else self.folder.root
        except OSError as error:
            return f"its folder is not mended: {error.strerror}"
        name = os.path.basename(path) or b"."
        status = _status(fd, name)
        if entry.type == DIR:
            return self._mend_folder(fd, name, entry, status)
        if status and S_ISDIR(status.st_mode):
            return f"a folder is in the place of a {entry.type}: move it away"
        if status and self._has_content(path, entry, status):
            _finish(fd, name, entry, status)
        else:
            self._replace(fd, name, entry, status)
        return ""

    def _mend_folder(
        self, fd: int, name: bytes, entry: Entry, status: os.stat_result | None
    ) -> str:
        if status and not S_ISDIR(status.st_mode):
            self._set_aside(fd, name, status)
            os.unlink(name, dir_fd=fd)
            status = None
        if status is None:
            os.mkdir(name, 0o700, dir_fd=fd)
        inner = os.open(name, OPEN_FOLDER, dir_fd=fd)
        try:
            finish_entry(inner, entry, status.st_mtime_ns if status else None)
            os.fsync(inner)
        finally:
            os.close(inner)
        return ""

    def _has_content(self, path: bytes, entry: Entry, status: os.stat_result) -> bool:
        """Is a file of the right bytes there, or a symlink that leads where it shall?"""
        file = os.path.join(self.folder.path, path)
        if entry.type == LINK:
            return os.path.islink(file) and os.readlink(file) == entry.link
        if entry.type != FILE or not S_ISREG(status.st_mode) or status.st_size != entry.size:
            return False
        with contextlib.suppress(OSError):
            return digest_file(file) == entry.digest
        return False

    def _replace(self, fd: int, name: bytes, entry: Entry, status: os.stat_result | None) -> None:
        """Make it anew beside the releases, and rename it to its place."""
        make_folder(self.targets, self.targets.incoming_roots)
        with Folder(self.targets.incoming_roots) as incoming:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_NEW, dir_fd=incoming.root)
            self._make(incoming.root, entry)
            if status:
                self._set_aside(fd, name, status)
            os.rename(_NEW, name, src_dir_fd=incoming.root, dst_dir_fd=fd)
        os.fsync(fd)

    def _make(self, fd: int, entry: Entry) -> None:
        """Make the new one. Raises _Nowhere."""
        plain = entry._replace(source=b"", data=None, inode=0, stamp=0)
        if entry.type != FILE:
            make_entry(fd, _NEW, plain)
            return
        paths = self.sources.of(entry.digest)
        if any(self._take(fd, plain, os.fsencode(path)) for path in paths):
            return
        if entry.digest not in self.sources.lent:
            raise _Nowhere
        make_entry(fd, _NEW, plain._replace(data=self.sources.lent[entry.digest]))
        _flush(fd)

    def _take(self, fd: int, entry: Entry, source: bytes) -> bool:
        """Link, or copy, a file of a release, where it is what it should be."""
        try:
            status = os.lstat(source)
            if is_like(status, entry) and is_as_said(entry, status, source):
                above = os.open(os.path.dirname(source), OPEN_FOLDER)
                try:
                    if link(above, os.path.basename(source), fd, _NEW):
                        return True
                finally:
                    os.close(above)
            make_entry(fd, _NEW, entry._replace(source=source))
            _flush(fd)
            return True
        except (OSError, Changed):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_NEW, dir_fd=fd)
            return False

    def _set_aside(self, fd: int, name: bytes, status: os.stat_result) -> None:
        """Give what is there another name, for nodes that have it open; a prune removes it."""
        folder = self.targets.replaced
        make_folder(self.targets, folder)
        with Folder(folder) as aside, contextlib.suppress(FileExistsError):
            known_as = b"%d" % status.st_ino
            link(fd, name, aside.root, known_as)
        sync_folder(folder)

    def note(self, mended: Iterable[bytes], left: Iterable[bytes]) -> None:
        """Write down that what was mended is known from now on, and how it looks."""
        ctimes = read_ctimes(self.targets.ctimes)
        stats = self.before.stats
        unknown = set(map(parent, left)) | set(left)
        for path in sorted(mended):
            self._note(path, ctimes)
            for name in (path, parent(path)):
                if name not in unknown and parent(name) in stats:
                    status = os.lstat(os.path.join(self.folder.path, name))
                    note_stat(stats, name, status)
        write_ctimes(self.targets.ctimes, ctimes)
        if stats:
            seen = self.targets.kept(f"{self.id}.seen")
            data = dump_stats(stats, self.before.record.inodes)
            write_atomic(seen, data)

    def _note(self, path: bytes, ctimes: Ctimes) -> None:
        file = os.path.join(self.folder.path, path)
        status = os.lstat(file)
        if self.tree[path].type != DIR and is_as_said(self.tree[path], status, file):
            note_ctime(ctimes, status)


def _flush(fd: int) -> None:
    """Flush the new file to disk: its name must not come before its bytes."""
    new = os.open(_NEW, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
    try:
        os.fsync(new)
    finally:
        os.close(new)


def _status(fd: int, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return None


def _finish(fd: int, name: bytes, entry: Entry, status: os.stat_result) -> None:
    """Give what has the right content its owner, mode and attributes, in place."""
    if entry.type == LINK:
        os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        return
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        finish_entry(file, entry, status.st_mtime_ns)
        os.fsync(file)
    finally:
        os.close(file)


def advice(done: Repaired) -> Iterator[str]:
    """What an admin does then, a line each."""
    releases = ", ".join(sorted(set(done.releases)))
    if done.missing:
        files = counted(len(done.missing), "file")
        yield (
            f"the bytes of {files} are nowhere: publish {releases} anew, which is "
            "to build it again and to repair again; or deploy another one, and reboot the nodes"
        )
    if done.mended:
        yield (f"reboot the nodes that run {releases}: they may have the damaged files open still")
