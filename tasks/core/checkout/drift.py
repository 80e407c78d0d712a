"""A folder compared with its manifest: type, mode, owner, size, link, device, and bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import Owner, digest_file
from ..base.text import shown_path
from ..scan.content import attributes
from ..scan.ctimes import Ctimes, note_ctime
from ..scan.stat import ChangedPath, Stats, changed_paths, note_stat, unknown_stats
from ..tree.model import DIR, FILE, LINK, TYPES, Entry, Tree
from .rootless import without_privileges

KINDS = {**TYPES, stat.S_IFSOCK: "socket"}


class Drift(NamedTuple):
    """One name that is not as its manifest says; `path` is b"" for the folder itself."""

    path: bytes
    what: str  # "missing", "added", "mode 0600, not 0644", …

    def __str__(self) -> str:
        return f"{shown_path(self.path)}: {self.what}"


Reads = Callable[[bytes], bool]  # is the content of this path compared, too?


def drift(tree: Tree, root: str, reads: Reads) -> Iterator[Drift]:
    """Give every difference of the folder `root` from its manifest, folder by folder.

    Compares type, mode, owner, size, link and device; and, of the names that `reads` says, digest
    and attributes.
    """
    return _compared(tree, root, changed_paths(unknown_stats(tree), root, {}), reads)


def drift_of(
    suspects: list[ChangedPath], load: Callable[[Collection[bytes]], Tree], root: str
) -> Iterator[Drift]:
    """As `drift`, of the paths of a folder that are not known to be as they were.

    `load` gives what of the tree is asked for.
    """
    tree = load([path for path, _ in suspects])
    return _compared(tree, root, suspects, always)


def always(path: bytes) -> bool:
    return True


def _compared(tree: Tree, root: str, found: Iterable[ChangedPath], reads: Reads) -> Iterator[Drift]:
    top = os.fsencode(root)
    for path, status in found:
        if path not in tree:
            yield Drift(path, "added")
        elif status is None:
            yield Drift(path, "missing")
        else:
            file = os.path.join(top, path) if path else top
            for what in _differences(tree[path], status, file, reads(path)):
                yield Drift(path, what)


def _differences(entry: Entry, status: os.stat_result, file: bytes, read: bool) -> Iterator[str]:
    kind, mode = KINDS[stat.S_IFMT(status.st_mode)], stat.S_IMODE(status.st_mode)
    if kind != entry.type:
        yield f"{kind}, not {entry.type}"
        return
    if kind != LINK and mode != entry.mode:  # Linux: a symlink has no mode of its own
        yield f"mode {mode:04o}, not {entry.mode:04o}"
    if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        yield f"owner {status.st_uid}:{status.st_gid}, not {entry.uid}:{entry.gid}"
    if kind == LINK and os.readlink(file) != entry.link:
        yield f"link to {shown_path(os.readlink(file))}, not {shown_path(entry.link)}"
    if entry.device and status.st_rdev != os.makedev(*entry.device):
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        yield "device {}:{}, not {}:{}".format(major, minor, *entry.device)
    if kind == FILE and status.st_size != entry.size:
        yield f"size {status.st_size}, not {entry.size}"
    elif kind != LINK and read:
        yield from _content(entry, file)


def _content(entry: Entry, file: bytes) -> Iterator[str]:
    try:
        if entry.type == FILE and digest_file(file) != entry.digest:
            yield "content (sha256)"
        if attributes(file) != entry.xattrs:
            yield "extended attributes"
    except PermissionError:
        yield "cannot be read; verify as root"
    except OSError as error:
        yield f"cannot be read: {error.strerror}"


def must_equal(tree: Tree, root: str, reads: Reads = always) -> None:
    """Raise Refused with the first differences."""
    found = list(drift(tree, root, reads))
    if found:
        first = "; ".join(map(str, found[:3]))
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise Refused(f"{root} is not what its manifest says: {first}{more}")


def is_as_said(entry: Entry, status: os.stat_result, file: bytes) -> bool:
    """Is a name, all of it, what its manifest says?"""
    return not any(_differences(entry, status, file, read=True))


def must_be_made(
    tree: Tree,
    root: str | bytes,
    stats: Stats,
    ctimes: Ctimes,
    written: Collection[bytes] = (),
) -> None:
    """Look at what of a folder was made just now, and note its status. All above is in `stats`.

    It is read back, but for what was `written` by us, whose bytes are known. Its files are known
    afterwards: their ctimes are noted, too. Raises Refused where something is not what the
    manifest says.
    """
    top = os.fsencode(root)
    for path in sorted(tree):
        file = top + b"/" + path if path else top
        status = os.lstat(file)
        note_stat(stats, path, status)
        for what in _differences(tree[path], status, file, read=path not in written):
            raise Refused(
                f"{os.fsdecode(file)} did not become what its manifest says: {what}; "
                "is the disk sound?"
            )
        if tree[path].type != DIR:
            note_ctime(ctimes, status)


def possible(tree: Tree, made_by: Owner | None) -> Tree:
    """Give the tree as it could be published: by root, or by another user, whose all is then."""
    return without_privileges(tree, made_by)[0] if made_by else tree
