"""What a server keeps of its releases: those that are there, and what was written down of each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial

from ..base.errors import Refused
from ..base.files import Owner, clear, content, read_regular
from ..checkout.clone import Earlier
from ..release import ID_END, Release, ends_as_id, id_of, parse_release
from ..scan.ctimes import Ctimes, is_known, note_ctime, read_ctimes, unlink_noted, write_ctimes
from ..scan.seen import SeenRoot
from ..tree.manifest import Manifest, read_manifest
from ..tree.model import Tree
from .nodes import undamaged_nodes
from .ours import damaged_ours
from .paths import Targets
from .tftp import make_folder

# Of a release, below .plugnode: <release>.json, …
KEPT = ("json", "mtree", "xattrs", "seen", "note", "sig", "efi")
_DIGESTED = ("json", "mtree", "xattrs")  # the first has the digests of the others


_State = tuple[int, ...]  # by which a file is seen to be another one


def earlier(targets: Targets, release: str) -> Earlier:
    """A release on the server, as its manifest says and as it looked when it was whole.

    Raises Refused where manifest or attributes are not those of that release: links to its files
    could be anything.
    """
    states = [_state(f"{targets.kept(release)}.{kind}") for kind in KEPT]
    return _earlier(targets, release, tuple(states))


def _state(path: str) -> _State:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=1)  # plan, its text and publishing look at the same one
def _earlier(targets: Targets, release: str, states: tuple[_State, ...]) -> Earlier:
    """Read it once, as long as the `states` of what is kept are the same."""
    seen = seen_of(targets, release, {})
    record = record_of(targets, release, {})._replace(inodes=seen.inodes)
    return Earlier(targets.root(release), record, seen.stats, note_of(targets, release))


def record_of(targets: Targets, release: str, ctimes: Ctimes) -> Manifest:
    """The manifest of a release, without what names share a file.

    Raises Refused where it is not that of the release, which `ctimes` tells or its digest.
    """
    kept = targets.kept(release)
    manifest, xattrs = (read_regular(f"{kept}.{kind}") for kind in ("mtree", "xattrs"))
    record = Manifest(manifest, xattrs, {})
    if not all(_is_known(ctimes, f"{kept}.{kind}") for kind in _DIGESTED):
        _refuse_another(kept, record)
    return record


def note_kept(targets: Targets, release: str, ctimes: Ctimes) -> None:
    """Note that what is kept of a release was just written: it need not be digested again."""
    for kind in (*_DIGESTED, "seen"):
        note_ctime(ctimes, os.lstat(f"{targets.kept(release)}.{kind}"))


def _is_known(ctimes: Ctimes, path: str) -> bool:
    """Is it what was written, by its ctime? Asked when it was read."""
    try:
        return is_known(ctimes, os.lstat(path))
    except FileNotFoundError:
        return False


def note_of(targets: Targets, release: str) -> str:
    """What could not be put on disk of a release, by who published it; "" as root."""
    return (content(targets.kept(f"{release}.note")) or b"").decode()


def made_by(targets: Targets, release: str) -> Owner | None:
    """The user and group that published it with what they could put on disk; None as root."""
    try:
        status = os.stat(targets.kept(f"{release}.note"))
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_gid


def seen_of(targets: Targets, release: str, ctimes: Ctimes) -> SeenRoot:
    """How a release looked when it was whole; nothing where that cannot be read."""
    path = targets.kept(f"{release}.seen")
    try:
        data = content(path) or b""
        return SeenRoot(data, is_sound=_is_known(ctimes, path))
    except OSError:
        return SeenRoot(b"")


def _refuse_another(kept: str, record: Manifest) -> None:
    """Raises Refused where manifest or attributes are not what the release says."""
    data = content(f"{kept}.json")
    if not data:  # a build that stands for a server has none
        return
    release = parse_release(data)
    held = {
        "mtree": (record.mtree, release.root),
        "xattrs": (record.xattrs, release.xattrs),
    }
    remedy = f"remove both, and deploy {release.id} again: its tree is compared with it then"
    for kind, (text, digest) in held.items():
        if hashlib.sha256(text).hexdigest() != digest:
            raise Refused(f"{kept}.{kind} is not what {kept}.json says; {remedy}")


def load_kept(targets: Targets, release: str) -> Tree:
    """The tree of a release on the server."""
    try:
        return read_manifest(earlier(targets, release).record)
    except ValueError as error:
        raise Refused(f"{targets.kept(release)}.mtree or .xattrs: {error}") from None


def is_whole(targets: Targets, id: str) -> bool:
    """Is all of a release, or of site data, where it was before anything of it was removed?"""
    parts = [targets.boot(id)]
    if not is_site_data(id):
        parts += [targets.root(id), targets.kept(f"{id}.json")]
    return all(map(os.path.exists, parts))


def remove_release(targets: Targets, id: str, boot: bool = True) -> None:
    """Take a release, or site data, away by renames: no half of it is ever there.

    What is kept of it goes last. Without `boot` its kernel, initrd and what is fetched stay: they
    are another's, too.
    """
    folders = {}
    if boot:
        folders[targets.boot(id)] = targets.incoming_files
        folders[targets.fetched(id)] = targets.incoming_http
    folders[targets.mounted(id)] = targets.incoming_roots
    folders[targets.root(id)] = targets.incoming_roots
    for folder, incoming in folders.items():
        if os.path.isdir(folder):
            make_folder(targets, incoming)
            gone = os.path.join(incoming, f"{os.path.basename(folder)}.pruned")
            os.rename(folder, gone)
            if incoming == targets.incoming_roots:
                clear_noted(targets, gone)
            else:
                clear(gone)
    _unlink((targets.kept(f"{id}.{kind}") for kind in KEPT), targets)


def clear_noted(targets: Targets, folder: str) -> None:
    """Remove a folder of nfs_root, if it is there; what releases share of it is known as before."""
    if os.path.lexists(folder):
        with noted(targets) as ctimes:
            clear(folder, partial(unlink_noted, ctimes))


@contextmanager
def noted(targets: Targets) -> Iterator[Ctimes]:
    """What is known of the server's files, and is written as it is then at the end, any end."""
    ctimes = read_ctimes(targets.ctimes)
    try:
        yield ctimes
    except BaseException:
        with suppress(OSError):  # the disk is full, say, and that is what is told
            write_ctimes(targets.ctimes, ctimes)
        raise
    write_ctimes(targets.ctimes, ctimes)


def sweep_kept(targets: Targets) -> None:
    """Remove what is kept of releases whose tree is not there: an earlier prune was killed."""
    left = filter(partial(_is_left, targets), os.listdir(targets.kept("")))
    _unlink(map(targets.kept, left), targets)


def _is_left(targets: Targets, name: str) -> bool:
    """Is it kept of a release whose tree is not there?"""
    found = re.fullmatch(rf"(.+{ID_END})\.(\w+)", name)
    if found is None or found[2] not in KEPT:
        return False
    root, boot = targets.root(found[1]), targets.boot(found[1])
    return not os.path.lexists(boot if is_site_data(found[1]) else root)


def _unlink(paths: Iterable[str], targets: Targets) -> None:
    """Remove those of them that are there, and forget them."""
    there = list(filter(os.path.lexists, paths))
    if there:
        with noted(targets) as ctimes:
            for path in there:
                unlink_noted(ctimes, os.fsencode(path))


def published(targets: Targets) -> dict[str, Release]:
    """Every release whose tree is on the server, by id.

    Those of which what is kept is damaged are not among them.
    """
    return {id: said for id, said in _releases(targets) if isinstance(said, Release)}


def damaged(targets: Targets) -> dict[str, str]:
    """The files of those we keep that are not as they were written -> what that means.

    It stops only what needs them.
    """
    found = {f"{id}.json": said for id, said in _releases(targets) if isinstance(said, str)}
    if undamaged_nodes(targets) is None:
        found["nodes.json"] = "is damaged; the next deploy takes every node for a new one"
    if damaged_ours(targets):
        what = "is damaged; the next deploy writes it anew, and leaves what earlier ones wrote"
        found["files"] = what
    if os.path.isdir(targets.journal):
        found["journal.jsonl"] = "is a folder: nothing can be deployed; move it away"
    return {targets.kept(name): what for name, what in found.items()}


def _releases(targets: Targets) -> Iterator[tuple[str, Release | str]]:
    """Of each release what is kept of it, or why that cannot be read."""
    try:
        names = sorted(os.listdir(targets.kept("")))
    except FileNotFoundError:
        return
    for name in names:
        id, ending = os.path.splitext(name)
        if ending == ".json" and ends_as_id(id) and os.path.isdir(targets.root(id)):
            yield id, _release(targets, id)


def site_data(targets: Targets) -> list[str]:
    """Every site data on the server."""
    try:
        names = sorted(os.listdir(targets.tftp_root))
    except FileNotFoundError:
        return []
    ids = filter(is_site_data, names)
    return [id for id in ids if os.path.isfile(targets.boot(id) + "/site.img")]


def is_site_data(id: str) -> bool:
    """Is it site data that has this id, and no release?"""
    return re.fullmatch(f"site{ID_END}", id) is not None


def _release(targets: Targets, id: str) -> Release | str:
    path = targets.kept(f"{id}.json")
    try:
        found = parse_release(read_regular(path))
        if not found.id == id_of(found) == id:
            raise ValueError("what it says has another id")
        return found
    except PermissionError:
        raise
    except OSError as error:
        why = error.strerror
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        why = str(error)
    return f"is damaged ({why}); a deploy of {id} mends it, or move it and {targets.root(id)} away"
