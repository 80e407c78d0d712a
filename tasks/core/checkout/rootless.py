"""What an ordinary user can put on disk of a tree: no owners, no devices, no rights."""

from __future__ import annotations

import contextlib
import os
import stat

from ..base.files import Owner
from ..tree.model import BLOCK, CHAR, DIR, FILE, Entry, Tree, generated_file

_RIGHTS = "security."  # attributes that only root sets


def privileged(folder: str) -> bool:
    """May this process give files away and make device nodes in `folder`?

    Root in some containers may not.
    """
    if os.geteuid():
        return False
    probe = os.path.join(folder, f".plugnode-{os.getpid()}")
    try:
        os.mknod(probe, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.chown(probe, 1, 1)
        return True
    except PermissionError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(probe)


def without_privileges(tree: Tree, owner: Owner | None = None) -> tuple[Tree, str]:
    """Give the tree as a user can make it, and one line that says what is missing of it.

    The user is the one that this process has, or the `owner`.
    """
    ours = owner or (os.geteuid(), os.getegid())
    owners, devices = 0, 0
    goal: Tree = {}
    for path, entry in tree.items():
        owners += (entry.uid, entry.gid) != ours
        if entry.type in (CHAR, BLOCK):
            devices += 1
        else:
            goal[path] = _own(entry, ours)
    kept = f"{owners} owners and {devices} device nodes are only in the manifest"
    return goal, f"not root: {kept}; `doit deploy` as root makes them"


def as_possible(tree: Tree, able: bool) -> tuple[Tree, str]:
    """Give the tree as it can be made, and one line of what is missing; "" where nothing is."""
    return (tree, "") if able else without_privileges(tree)


def stand_ins(tree: Tree) -> Tree:
    """Give an empty file for each device node: what says what it is (fakeroot) needs a name."""
    devices = (path for path, entry in tree.items() if entry.type in (CHAR, BLOCK))
    return dict.fromkeys(devices, _own(generated_file(b""), (os.geteuid(), os.getegid())))


def _own(entry: Entry, owner: Owner) -> Entry:
    """The owner's, and never closed to it: a build must be able to change and read it again."""
    mode = entry.mode
    if entry.type in (DIR, FILE):
        needed = 0o700 if entry.type == DIR else 0o600
        mode = mode & 0o777 | needed
    uid, gid = owner
    kept = tuple(pair for pair in entry.xattrs if not pair[0].startswith(_RIGHTS))
    return entry._replace(mode=mode, uid=uid, gid=gid, xattrs=kept)
