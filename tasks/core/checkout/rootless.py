"""What an ordinary user can put on disk of a tree: no owners, no devices, nothing that gives rights."""

from __future__ import annotations

import contextlib
import os
import stat

from ..tree.model import BLOCK, CHAR, DIR, FILE, Entry, Tree

_RIGHTS = "security."  # attributes that only root sets


def privileged(folder: str) -> bool:
    """May this process give files away and make device nodes in `folder`? (Root in some containers may not.)"""
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


def without_privileges(tree: Tree) -> tuple[Tree, str]:
    """The tree as this user can make it, and one line that says what is missing of the true one."""
    owners = sum(entry.uid != os.geteuid() or entry.gid != os.getegid() for entry in tree.values())
    devices = sum(entry.type in (CHAR, BLOCK) for entry in tree.values())
    goal = {path: _own(entry) for path, entry in tree.items() if entry.type not in (CHAR, BLOCK)}
    kept = f"{owners} owners and {devices} device nodes are only in the manifest"
    return goal, f"not root: {kept}; `doit deploy` as root makes them"


def _own(entry: Entry) -> Entry:
    """Ours, and never closed to us: a build must be able to change and read it again."""
    ours = {DIR: 0o700, FILE: 0o600}.get(entry.type, 0)
    mode = entry.mode if entry.type not in (DIR, FILE) else entry.mode & 0o777 | ours
    kept = tuple(pair for pair in entry.xattrs if not pair[0].startswith(_RIGHTS))
    return entry._replace(mode=mode, uid=os.geteuid(), gid=os.getegid(), xattrs=kept)
