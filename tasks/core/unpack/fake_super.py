"""What rsync's --fake-super left, made the tree and the claims of who is not root.

It writes what only root can keep as attributes `user.rsync.*` of each file (xattrs.c and acls.c of
rsync 3): `%stat` is type and mode, device, owner; `%aacl` and `%dacl` are ACLs; others attributes
under their own names. A symlink is a file with its target in it, and devices are empty files.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator

from ..base.files import read
from ..scan.content import is_kept
from .acls import ACCESS, DEFAULT
from .claims import DEVICES, Claim, Claims, paths_here
from .tar import ArchiveTrouble

_PREFIX = "user.rsync."
_STAT = re.compile(rb"([0-7]+) (\d+),(\d+) (\d+):(\d+)\0?")
_ACLS = {"%aacl": ACCESS, "%dacl": DEFAULT}
_NONE = 0x80  # rights of a usual row that is not there
_IS_USER = 1 << 31  # in the rights of a row about somebody
_NOBODY = 0xFFFFFFFF  # whom a usual row is about
_MASK = 0x10
_USUAL = (0x01, 0x04, _MASK, 0x20)  # tags of posix_acl_xattr.h: owner, group, mask, others
_A_USER, _A_GROUP = 0x02, 0x08


class Builder:
    """Who runs rsync: of files that are this user's on the node, too, it writes nothing down."""

    def __init__(self) -> None:
        self.uid, self.gid = os.geteuid(), os.getegid()

    def settle(self, names: list[bytes], noted: Claims | None) -> list[str]:
        """Work of `confined`, on all below the root folder. Raises ArchiveTrouble."""
        assert noted
        done = set[int]()
        for path in list(paths_here()):
            names[:] = [path]
            if os.lstat(path).st_ino not in done:  # a file has several names, and one of each
                self._settle(path, noted)
                if os.path.lexists(path):
                    done.add(os.lstat(path).st_ino)
        return []

    def _settle(self, path: bytes, noted: Claims) -> None:
        """Make of one file what it stands for."""
        mode, held = os.lstat(path).st_mode, dict(_attributes(path))
        claim = Claim(stat.S_IMODE(mode), self.uid, self.gid)
        if "%stat" in held:
            mode, claim = _claim(path, held["%stat"])
        _make(path, mode)
        others = {name: held[name].hex() for name in held if is_kept(name)}
        noted.note(path, claim._replace(xattrs=others))
        for name, key in _ACLS.items():
            if name in held:
                noted.put(path, key, _acl(held[name], mode))


def _attributes(path: bytes) -> Iterator[tuple[str, bytes]]:
    """What rsync wrote down of a file: taken away from it."""
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(_PREFIX):
            yield name.removeprefix(_PREFIX), os.getxattr(path, name, follow_symlinks=False)
            os.removexattr(path, name, follow_symlinks=False)


def _claim(path: bytes, said: bytes) -> tuple[int, Claim]:
    """Mode with its type, and the claim."""
    found = _STAT.fullmatch(said)
    if found is None:
        raise ArchiveTrouble(f"rsync wrote down {said!r} of {os.fsdecode(path)}")
    mode, numbers = int(found[1], 8), list(map(int, found.groups()[1:]))
    major, minor, uid, gid = numbers
    kind = DEVICES.get(stat.S_IFMT(mode))
    return mode, Claim(stat.S_IMODE(mode), uid, gid, [kind, major, minor] if kind else None)


def _make(path: bytes, mode: int) -> None:
    """What is no device can be what it is; sockets are of nobody by now."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    if stat.S_ISLNK(mode):
        target = read(os.fsdecode(path))
        os.unlink(path)
        os.symlink(target, path)
    elif stat.S_ISFIFO(mode):
        os.unlink(path)
        os.mkfifo(path)
    elif stat.S_ISSOCK(mode):
        os.unlink(path)


def _acl(said: bytes, mode: int) -> bytes:
    """An ACL as the kernel has it (posix_acl_xattr.h); what the mode says rsync leaves out."""
    usual, named = list(struct.unpack("<4L", said[:16])), struct.iter_unpack("<LL", said[16:])
    rows = []
    for id, rights in named:
        rows.append((_A_USER if rights & _IS_USER else _A_GROUP, rights & 7, id))
    shown = [mode >> 6 & 7, mode >> 3 & 7, mode >> 3 & 7, mode & 7]
    has_mask = usual[2] != _NONE or bool(rows)
    for tag, rights, known in zip(_USUAL, usual, shown):
        if tag != _MASK or has_mask:
            rows.append((tag, known if rights == _NONE else rights, _NOBODY))
    return struct.pack("<L", 2) + b"".join(struct.pack("<HHL", *row) for row in sorted(rows))
