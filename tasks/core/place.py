"""Place: folders and files appear on a server whole or not at all, and are on its disk when they do.

A folder is written beside its place, read back, flushed with its whole file system, and renamed. Flushing once is
enough and is needed: without it a power cut can leave a name that leads to empty files.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import stat
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple

from . import journal
from .errors import Refused
from .files import content, naming, sync_folder, write_atomic
from .plan import Built, There, current
from .record import NOTHING, Record, difference
from .record import read as read_record
from .release import parse as parse_release
from .targets import Targets, stay_inside
from .tree import Tree, without_collection

if TYPE_CHECKING:
    from .looks import Looks
    from .publish import Earlier

Say = Callable[[str], None]
KEPT = ("json", "mtree", "xattrs", "seen", "note")  # of a release, below .plugnode: <release>.json, …


def make_folder(targets: Targets, folder: str) -> None:
    """A folder that everybody may read, whatever the umask; those above it too."""
    stay_inside(targets, folder)
    if not os.path.isdir(folder):
        make_folder(targets, os.path.dirname(folder))
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
            os.chmod(folder, 0o755)


def open_folder(targets: Targets, name: str) -> None:
    """Let everybody into a folder below tftp_root."""
    folder = targets.served(name)
    stay_inside(targets, folder)
    os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | 0o755)


# --- the tree that nodes mount


def publish_root(there: There, built: Built, say: Say) -> None:
    """Put a release's tree in place. What is equal in a release that is there are links to that."""
    from . import verify
    from .publish import publish
    from .running import NowAndThen

    targets, id = there.targets, built.release.id
    if os.path.lexists(targets.root(id)):
        return adopt(targets, built)
    like, own = nearest(there, built), list[str]()

    def bring(paths: list[bytes]) -> str | None:
        own.extend(filter(None, [built.bring(paths, like)]))
        return own[0] if own else None

    make_folder(targets, targets.incoming_roots)
    new = os.path.join(targets.incoming_roots, id)
    tell = NowAndThen(say)
    published = publish(
        recorded(built), new, earlier(targets, like) if like else None, bring,
        lambda done, all: tell(f"publishing {id}: {done:,} of {all:,}"),
        _differing(targets, like, built) if like else None,
    )  # fmt: skip
    if published.note:
        say(published.note)
    verify.must_be_made(published.made, new, published.looks)
    _keep(targets, built, published.note, published.looks)
    sync(targets.nfs_root)
    os.rename(new, targets.root(id))
    sync_folder(targets.nfs_root)
    for folder in own:
        clear(folder)


def must_be_free(targets: Targets, built: Built) -> None:
    """A folder that has the release's name, and of which nothing is kept, holds the release. Raises Refused."""
    from . import verify

    root = targets.root(built.release.id)
    if not os.path.lexists(root):
        return
    try:
        verify.must_equal(load_built(built), root)
    except Refused as error:
        raise Refused(f"{error}; it is in the place of {built.release.id}: move it away") from None


def adopt(targets: Targets, built: Built) -> None:
    """Take such a folder for the release that it holds."""
    from . import verify

    must_be_free(targets, built)
    looks: Looks = {}
    verify.must_be_made(load_built(built), targets.root(built.release.id), looks)
    _keep(targets, built, "", looks)


def _keep(targets: Targets, built: Built, note: str, looks: Looks) -> None:
    """What plan, verify and rollback need of a release when its build is gone. The .json, last, says that all is."""
    from .looks import dump

    written = recorded(built)
    kept = {"mtree": written.manifest, "xattrs": written.labels, "seen": dump(looks, written.inodes)}
    if note:
        kept["note"] = note.encode()
    kept["json"] = built.release.dump()
    for kind, data in kept.items():
        write_atomic(targets.kept(f"{built.release.id}.{kind}"), data)


def nearest(there: There, built: Built) -> str | None:
    """The release that a new one is likely most like: what its image boots, what it booted, what any image boots."""
    image = built.release.image
    past = [current(there.files, image), *reversed(journal.history(there.records, image))]
    others = sorted(there.released, key=lambda id: there.released[id].image != image)
    known = (id for id in [*past, *others] if id and id in there.released and id != built.release.id)
    return next((id for id in known if _is_usable(there.targets, id)), None)


def _is_usable(targets: Targets, release: str) -> bool:
    """Is what is kept of a release whole? One of which it is not can be compared with nothing; verify says so."""
    try:
        return bool(earlier(targets, release))
    except (Refused, OSError):
        return False


@lru_cache(maxsize=4)  # plan, preflight and publishing look at the same one
def recorded(built: Built) -> Record:
    return built.record()


def load_built(built: Built) -> Tree:
    """The tree of a build, its bytes in build/<image>/root."""
    with without_collection():
        return read_record(recorded(built))


def earlier(targets: Targets, release: str) -> Earlier:
    """A release on the server, as its manifest says and as it looked when it was whole.

    Raises Refused where manifest or attributes are not those of that release: links to its files could be anything.
    """
    files = [f"{targets.kept(release)}.{kind}" for kind in ("seen", "note", "mtree", "xattrs", "json")]
    return _earlier(targets.root(release), *((path, _state(path)) for path in files))


def _state(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    except FileNotFoundError:
        return ()


@lru_cache(maxsize=1)  # plan, summary and publishing look at the same one
def _earlier(root: str, *kept: tuple[str, tuple[int, ...]]) -> Earlier:
    from .looks import parse
    from .publish import Earlier

    seen, note, manifest, labels, said = (path for path, _ in kept)
    with without_collection():
        looked, inodes = parse(_seen(seen))
    record = Record(read(manifest), read(labels), inodes)
    if data := content(said):  # none of a build that stands for a server
        release = parse_release(data)
        for path, held, digest in ((manifest, record.manifest, release.root), (labels, record.labels, release.xattrs)):
            if hashlib.sha256(held).hexdigest() != digest:
                remedy = f"remove both, and deploy {release.id} again: its tree is compared with it then"
                raise Refused(f"{path} is not what {said} says; {remedy}")
    return Earlier(root, record, looked, (content(note) or b"").decode())


def _seen(path: str) -> bytes:
    """It saves work, and is as good as none where it cannot be read."""
    try:
        return content(path) or b""
    except OSError:
        return b""


def load_kept(targets: Targets, release: str) -> Tree:
    """The tree of a release on the server."""
    try:
        return read_record(earlier(targets, release).record)
    except ValueError as error:
        raise Refused(f"{targets.kept(release)}.mtree or .xattrs: {error}") from None


class Pair(NamedTuple):
    """What differs in a new tree and in the one on the server that it is most like."""

    before: Tree  # empty where there is none
    after: Tree


def load_pair(there: There, built: Built) -> Pair:
    """What a build has that the release nearest to it has not, and the reverse."""
    return _pair(there.targets, nearest(there, built), built)


def records(targets: Targets, like: str | None, built: Built) -> tuple[Record, Record]:
    """How a release on the server is written down, and a build."""
    return earlier(targets, like).record if like else NOTHING, recorded(built)


@lru_cache(maxsize=4)
def _differing(targets: Targets, like: str | None, built: Built) -> tuple[Tree, Tree]:
    try:
        with without_collection():
            return difference(*records(targets, like, built))
    except ValueError as error:
        raise Refused(f"{targets.kept(like or '')}.mtree or .xattrs: {error}") from None


@lru_cache(maxsize=4)
def _pair(targets: Targets, like: str | None, built: Built) -> Pair:
    before, after = _differing(targets, like, built)
    same = {path for path, entry in after.items() if path in before and before[path].content == entry.content}
    trees = ({path: entry for path, entry in tree.items() if path not in same} for tree in (before, after))
    return Pair(*trees)


# --- small folders of tftp_root


def publish_boot(targets: Targets, built: Built) -> None:
    """Kernel and initrd of a release."""
    said = {"vmlinuz": built.release.kernel, "initrd.img": built.release.initrd}
    files = {name: read(built.path(name)) for name in said}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != said[name]:
            raise Refused(f"{built.path(name)} is not what {built.path('release.json')} says; run doit again")
    publish_folder(targets, built.release.id, files)


def publish_folder(targets: Targets, name: str, files: Mapping[str, bytes]) -> None:
    """A folder of tftp_root, by one rename. One that is there and not whole is mended, file by file."""
    if os.path.isdir(targets.boot(name)):
        return replace_files(targets, {f"{name}/{file}": data for file, data in files.items()})
    new = os.path.join(targets.incoming_files, name)
    make_folder(targets, new)
    for file, data in files.items():
        write_atomic(os.path.join(new, file), data)
    sync(targets.tftp_root)
    os.rename(new, targets.boot(name))
    sync_folder(targets.tftp_root)


def is_whole(targets: Targets, id: str) -> bool:
    """Is all of a release, or of site data, where it was before anything of it was removed?"""
    parts = [] if id.startswith("site-") else [targets.root(id), targets.kept(f"{id}.json")]
    return all(map(os.path.exists, [targets.boot(id), *parts]))


def remove_release(targets: Targets, id: str, boot: bool = True) -> None:
    """Take a release, or site data, away by renames: no half of it is ever there. What is kept of it goes last.

    Without `boot` its kernel and initrd stay: they are another's, too.
    """
    folders = {targets.boot(id): targets.incoming_files} if boot else {}
    folders[targets.root(id)] = targets.incoming_roots
    for folder, incoming in folders.items():
        if os.path.isdir(folder):
            make_folder(targets, incoming)
            gone = os.path.join(incoming, f"{id}.pruned")
            os.rename(folder, gone)
            clear(gone)
    for kind in KEPT:
        if os.path.lexists(targets.kept(f"{id}.{kind}")):
            os.unlink(targets.kept(f"{id}.{kind}"))


def sweep_kept(targets: Targets) -> None:
    """Remove what is kept of releases whose tree is not there: an earlier prune was killed."""
    for name in os.listdir(targets.kept("")):
        found = re.fullmatch(r"(.+-[0-9a-f]{12})\.(\w+)", name)
        if found and found[2] in KEPT and not os.path.lexists(targets.root(found[1])):
            os.unlink(targets.kept(name))


# --- files


def replace_files(targets: Targets, files: Mapping[str, bytes]) -> None:
    """Give files below tftp_root their new bytes: each by one rename, all flushed before the first, in their order."""
    if not files:
        return
    make_folder(targets, targets.incoming_files)
    new = {name: os.path.join(targets.incoming_files, f"{number}.new") for number, name in enumerate(files)}
    for name, data in files.items():
        make_folder(targets, os.path.dirname(targets.served(name)))
        write_atomic(new[name], data)
    sync(targets.tftp_root)
    for name in files:
        _rename(new[name], targets.served(name))
    for folder in sorted({os.path.dirname(targets.served(name)) for name in files}):
        sync_folder(folder)


def _rename(new: str, path: str) -> None:
    try:
        os.replace(new, path)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the folder is a file system of its own, or a symlink to another
            raise
        write_atomic(path, read(new), durable=True)


# --- files that change together


class Commit(NamedTuple):
    """What changes together, in its order, and what the journal says of it."""

    files: Mapping[str, bytes]  # below tftp_root
    gone: Iterable[str]  # removed below tftp_root
    kept: Mapping[str, bytes]  # below .plugnode: what is so when all of it is done
    record: journal.Record


def commit(targets: Targets, work: Commit) -> None:
    """Do it. From one rename on all of it will be done: by us, or else by whoever holds the lock next."""
    refuse_folders(map(targets.served, work.files))
    stay_inside(targets, targets.incoming_files)
    begun = os.path.join(targets.incoming_files, "begun")
    make_folder(targets, begun)
    for number, data in enumerate([*work.files.values(), *work.kept.values()]):
        write_atomic(os.path.join(begun, str(number)), data)
    names = {"files": list(work.files), "gone": list(work.gone), "kept": list(work.kept)}
    write_atomic(os.path.join(begun, "list"), json.dumps({**names, "record": work.record}).encode())
    sync(targets.tftp_root)
    os.rename(begun, targets.commit)
    sync_folder(targets.incoming_files)
    carry_out(targets)
    forget(targets)


def refuse_folders(paths: Iterable[str]) -> None:
    """Raises Refused where a folder is in the place of a file."""
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            raise Refused(f"{path} is a folder, and a file is to be there: move it away; no boot file was changed")


def carry_out(targets: Targets) -> journal.Record | None:
    """End what was committed, by us or by one that was killed; what the journal says of it. None: nothing was."""
    work = _committed(targets)
    if work is None:
        return None
    new = [os.path.join(targets.commit, str(number)) for number in range(len(work["files"] + work["kept"]))]
    for path, name in zip(new, work["files"]):
        make_folder(targets, os.path.dirname(targets.served(name)))
        if os.path.lexists(path):
            _rename(path, targets.served(name))
    for folder in sorted({os.path.dirname(targets.served(name)) for name in work["files"]}):
        sync_folder(folder)
    remove_files(targets, work["gone"])
    for path, name in zip(new[len(work["files"]) :], work["kept"]):
        _put_aside(targets.kept(name))
        write_atomic(targets.kept(name), read(path), durable=True)
    record: journal.Record = work["record"]
    return record


def _committed(targets: Targets) -> dict[str, Any] | None:
    """What was committed; None where nothing was, or not by us: others may be able to write to tftp_root."""
    try:
        status = os.lstat(targets.commit)
        work: dict[str, Any] = json.loads(content(os.path.join(targets.commit, "list")) or b"")
        names = [*work["files"], *work["gone"]]
        whole = isinstance(work["record"], dict) and set(work["kept"]) <= {"files", "nodes.json"}
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    inside = all(os.path.normpath(f"/{name}") == f"/{name}" for name in names)
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return work if whole and inside and ours else None


def _put_aside(path: str) -> None:
    """A folder that is in the place of a file that we keep."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rename(path, f"{path}.{time.time_ns()}.folder")


def forget(targets: Targets) -> None:
    """What was committed need not be ended any more."""
    done = os.path.join(targets.incoming_files, "done")
    clear(done)
    os.rename(targets.commit, done)
    clear(done)


def remove_files(targets: Targets, names: Iterable[str]) -> None:
    """Remove files below tftp_root, where they are there, and their folders where that leaves them empty."""
    for name in names:
        folder = os.path.dirname(targets.served(name))
        stay_inside(targets, folder)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(targets.served(name))
        with contextlib.suppress(OSError):
            if folder != targets.tftp_root:
                os.rmdir(folder)


def read(path: str) -> bytes:
    with naming(path), open(path, "rb") as file:
        return file.read()


def sync(folder: str) -> None:
    """Flush all of a file system (syncfs(2), which Python does not have) and hear of it if that fails."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
    finally:
        os.close(fd)


def clear(folder: str) -> None:
    """Remove a folder and all in it, never following a symlink, never crossing into another file system."""
    try:
        device = os.lstat(folder).st_dev
    except FileNotFoundError:
        return
    _remove(os.fsencode(folder), device)


def _remove(path: bytes, device: int) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return os.unlink(path)
    if status.st_dev != device:
        raise Refused(f"{os.fsdecode(path)} is a mount point: unmount it, then run this again")
    if status.st_mode & 0o700 != 0o700 and os.geteuid():
        os.chmod(path, 0o700)
    for name in os.listdir(path):
        _remove(path + b"/" + name, device)
    os.rmdir(path)
