"""Repair: published releases made what they were again. Nothing else ever changes a root of one.

Owners, modes and attributes are mended in place; bytes come by one rename from another release of
the server, or from whoever has them. What was there keeps a name until a prune, for nodes that run
may have it open. What no manifest names stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from itertools import chain
from collections.abc import Iterable, Iterator, Mapping, Sequence
from stat import S_ISDIR, S_ISREG
from types import MappingProxyType
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import digest_file, read, sync_folder, write_atomic
from ..base.text import counted, shown_path
from ..checkout.clone import Earlier
from ..checkout.drift import is_as_said, possible
from ..checkout.writer import Changed, finish_entry, is_like, link, make_entry
from ..deploy.prune import releases_of
from ..plan.state import BuiltRelease, load_built
from ..release import Release
from ..scan.ctimes import Ctimes, note_ctime, read_ctimes, write_ctimes
from ..scan.folder import OPEN_FOLDER, Folder
from ..scan.seen import dump_seen
from ..scan.stat import note_stat
from ..store import journal, kept
from ..store.operation import held, recorded
from ..store.paths import Targets
from ..store.served import note_served, readable_content
from ..store.tftp import make_folder, replace_files
from ..tree.model import DIR, FILE, LINK, Entry, Tree, parent
from .verify import BootPart, Tell, boot_parts, not_compared, of_release, unheard

LARGEST = 64 << 20  # bytes of a file that another machine lends
_NEW = b"repaired"  # what is made, until it is renamed to its place


class Repaired(NamedTuple):
    """What became of the roots of a server."""

    mended: list[str]  # a line each
    left: list[str]  # what is not mended, and why
    # Digests of files whose bytes nobody had -> the releases that lack them
    missing: dict[str, list[str]]
    roots: list[str]  # the releases whose root was changed


class Lent(NamedTuple):
    """Files that no release of the server has, by digest."""

    paths: Mapping[str, str] = MappingProxyType({})  # of the build, if it is on this machine
    data: Mapping[str, bytes] = MappingProxyType({})  # what came from elsewhere


class WantedRepair(NamedTuple):
    """What is to be mended, and by whom."""

    image: str  # "": all
    full: bool  # every byte is read
    author: journal.Record


def repair_server(
    targets: Targets,
    wanted: WantedRepair,
    lent: Lent,
    tell: Tell = unheard,
) -> Repaired:
    """Mend published releases."""
    done = Repaired([], [], {}, [])
    with held(targets, "repair", wanted.author):
        found = dict(_harmed(targets, wanted, tell, done))
        if not found:
            return done
        record = {**wanted.author, "action": journal.REPAIR, "repaired": sorted(found)}
        with recorded(targets, record):
            sources = _Sources(targets, lent)
            for id, (names, parts) in found.items():
                _mend_release(targets, id, names, sources, done)
                _mend_boot_parts(targets, parts, sources, done)
    return done


def _harmed(
    targets: Targets, wanted: WantedRepair, tell: Tell, done: Repaired
) -> Iterator[tuple[str, tuple[dict[bytes, list[str]], list[BootPart]]]]:
    """The releases that are not as they were, with the names of the root and the boot parts."""
    for id, release in releases_of(targets, wanted.image).items():
        names = _damaged(targets, id, wanted.full, tell, done)
        parts = _damaged_parts(targets, release, wanted.full)
        if names or parts:
            yield id, (names, parts)


def _damaged_parts(targets: Targets, release: Release, full: bool) -> list[BootPart]:
    return [part for part in boot_parts(targets, release, full) if part.findings]


def _mend_boot_parts(
    targets: Targets, parts: Iterable[BootPart], sources: _Sources, done: Repaired
) -> None:
    """Mend kernels and initrds: of a release that is not what is built no deploy does."""
    for part in parts:
        what = ", ".join(finding.what for finding in part.findings)
        data = sources.read(part.digest)
        if data is None:
            done.missing.setdefault(part.digest, []).append(os.path.dirname(part.name))
            continue
        try:
            replace_files(targets, {part.name: data})
            note_served(targets, [part.name])
            done.mended.append(f"{targets.tftp}/{part.name}: {what}")
        except OSError as error:
            done.left.append(f"{targets.tftp}/{part.name}: {error.strerror}")


def _damaged(
    targets: Targets, id: str, full: bool, tell: Tell, done: Repaired
) -> dict[bytes, list[str]]:
    """The names of a release that are not as its manifest says, with what is wrong."""
    found: dict[bytes, list[str]] = {}
    try:
        for drift in of_release(targets, id, full, tell):
            found.setdefault(drift.path, []).append(drift.what)
    except (Refused, OSError) as error:
        root = f"{targets.nfs}/{id}"
        done.left.append(f"{root}: {not_compared(error, root)}")
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
    """Mend a root, and then what is wrong in folders that were not there before."""
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
                done.missing.setdefault(entry.digest, []).append(root.id)
                continue
            except OSError as error:  # it is immutable, say: the others are mended
                why = str(error.strerror)
            if why:
                done.left.append(f"{where}: {why}")
            else:
                mended.append(path)
                done.roots.append(root.id)
                done.mended.append(f"{where}: {', '.join(found[path])}")
    finally:
        root.note(mended, set(found).difference(mended))


class _Nowhere(Exception):
    """Nobody who was asked has the bytes of a file."""


class _Sources:
    """Where the bytes of a file are, by digest: what was lent, and files of all releases."""

    def __init__(self, targets: Targets, lent: Lent):
        self.targets, self.lent = targets, lent
        self._paths: dict[str, list[str]] = {}

    def of(self, digest: str) -> list[str]:
        """The files that should be of that digest."""
        if not self._paths:
            for id, release in kept.published(self.targets).items():
                for name, part in release.boot_files.items():
                    self._paths.setdefault(part, []).append(f"{self.targets.boot(id)}/{name}")
            for root, tree in _trees(self.targets):
                for path, entry in tree.items():
                    if entry.type == FILE:
                        file = os.path.join(root, os.fsdecode(path))
                        self._paths.setdefault(entry.digest, []).append(file)
        built = [self.lent.paths[digest]] if digest in self.lent.paths else []
        return self._paths.get(digest, []) + built

    def read(self, digest: str) -> bytes | None:
        """The bytes of that digest; None where nobody who was asked has them."""
        lent = [self.lent.data[digest]] if digest in self.lent.data else []
        for data in chain(map(readable_content, self.of(digest)), lent):
            if data is not None and hashlib.sha256(data).hexdigest() == digest:
                return data
        return None


def _trees(targets: Targets) -> Iterator[tuple[str, Tree]]:
    """The folder and the tree of each release whose manifest is not damaged."""
    for id in kept.published(targets):
        with contextlib.suppress(Refused, OSError):
            yield targets.root(id), kept.load_kept(targets, id)


def lend(targets: Targets, digests: Iterable[str]) -> dict[str, bytes]:
    """The bytes of those files that are on a server, by digest."""
    sources = _Sources(targets, Lent())
    found = dict[str, bytes]()
    for digest in digests:
        for path in sources.of(digest):
            found |= bytes_of({digest: path})
    return found


def built_paths(releases: Iterable[BuiltRelease], digests: Iterable[str]) -> dict[str, str]:
    """Where those files are in what was built, by digest."""
    missing, found = set(digests), dict[str, str]()
    for digest, path in chain.from_iterable(map(_built_files, releases)):
        if digest in missing - found.keys():
            with contextlib.suppress(OSError):
                if digest_file(path) == digest:
                    found[digest] = path
    return found


def _built_files(built: BuiltRelease) -> Iterator[tuple[str, str]]:
    """Every file of a build: digest, path."""
    for name, digest in built.release.boot_files.items():
        yield digest, built.path(name)
    for entry in load_built(built).values():
        if entry.source:
            yield entry.digest, os.fsdecode(entry.source)


def bytes_of(paths: Mapping[str, str]) -> dict[str, bytes]:
    """The bytes of files that are what their digests say, and not too large, by digest."""
    found = {}
    for digest, path in paths.items():
        with contextlib.suppress(OSError):
            if os.path.getsize(path) <= LARGEST and digest_file(path) == digest:
                found[digest] = read(path)
    return found


class _Root:
    """A published root that is mended."""

    def __init__(self, targets: Targets, id: str, folder: Folder, sources: _Sources):
        self.targets, self.id, self.folder, self.sources = targets, id, folder, sources
        self.before: Earlier = kept.earlier(targets, id)
        self.tree = possible(kept.load_kept(targets, id), kept.made_by(targets, id))

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
        data = self.sources.lent.data.get(entry.digest)
        if data is None or hashlib.sha256(data).hexdigest() != entry.digest:
            raise _Nowhere
        make_entry(fd, _NEW, plain._replace(data=data))
        _flush(fd)

    def _take(self, fd: int, entry: Entry, source: bytes) -> bool:
        """Link a file of a release, or copy one, where it is what it should be.

        What is built is copied: a build goes on, and would change both.
        """
        try:
            status = os.lstat(source)
            is_ours = source.startswith(os.fsencode(self.targets.nfs_root) + b"/")
            if is_ours and is_like(status, entry) and is_as_said(entry, status, source):
                above = os.open(os.path.dirname(source), OPEN_FOLDER)
                try:
                    if link(above, os.path.basename(source), fd, _NEW):
                        return True
                finally:
                    os.close(above)
            make_entry(fd, _NEW, entry._replace(source=source))
            _flush(fd)
            return True
        except (OSError, Changed) as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_NEW, dir_fd=fd)
            if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
                raise  # not the source's fault
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
            data = dump_seen(stats, self.before.record.inodes)
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
    if done.missing:
        files = counted(len(done.missing), "file")
        ids = ", ".join(sorted(set(chain.from_iterable(done.missing.values()))))
        yield (
            f"the bytes of {files} are nowhere: publish {ids} anew, which is to build it again"
            " and to repair again; or deploy another one, and reboot the nodes"
        )
    if done.roots:
        ids = ", ".join(sorted(set(done.roots)))
        yield f"reboot the nodes that run {ids}: they may have the damaged files open still"
