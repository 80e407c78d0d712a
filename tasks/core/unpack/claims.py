"""Claims: what an archive says of its entries that an ordinary user cannot put on a disk.

Owners, rights, devices and attributes are written down beside the tree, which is merely readable,
and stand over what a scan of it finds. So it is the tree that root would unpack.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..scan.content import is_kept
from ..tree.model import BLOCK, CHAR, LINK, Entry, Tree
from .acls import ACCESS, DEFAULT, attributes_of

DEVICES = {stat.S_IFCHR: CHAR, stat.S_IFBLK: BLOCK}
_CLASSES = {0x01: 6, 0x04: 3, 0x10: 3, 0x20: 0}  # of posix_acl_xattr.h: tag -> its place in a mode
_MASK, _NAMED = 0x10, (0x02, 0x08)


class Claim(NamedTuple):
    """What an entry is; a device has a type and numbers of its own."""

    mode: int
    uid: int = 0
    gid: int = 0
    device: list[Any] | None = None  # type, major, minor
    xattrs: dict[str, str] = {}  # name -> value, hex


class Claims:
    """Those of an archive's entries, by path; the last entry of a path counts."""

    def __init__(self) -> None:
        self._noted: dict[bytes, Claim] = {}

    def take(self, path: bytes, entry: Any) -> None:
        """Note an entry, and leave of it what this user can make."""
        from libarchive import ffi

        if ffi.entry_hardlink(entry) and not ffi.entry_size(entry):
            return  # another name of what is known
        kind, mode = stat.S_IFMT(ffi.entry_mode(entry)), ffi.entry_perm(entry)
        device = None
        if kind in DEVICES:
            device = [DEVICES[kind], ffi.entry_rdevmajor(entry), ffi.entry_rdevminor(entry)]
            ffi.entry_set_filetype(entry, stat.S_IFREG)
            ffi.entry_set_size(entry, 0)
        owner = ffi.entry_uid(entry), ffi.entry_gid(entry)
        self._noted[os.path.normpath(path)] = Claim(mode, *owner, device, _kept(entry))
        ffi.entry_set_perm(entry, possible(mode, kind == stat.S_IFDIR))

    def note(self, path: bytes, claim: Claim) -> None:
        """Note an entry that is there as far as this user can make it."""
        self._noted[os.path.normpath(path)] = claim

    def put(self, path: bytes, key: str, value: bytes) -> None:
        """Note an attribute; an ACL is the mode, too, as it is for the kernel (acl(5))."""
        claim = self._noted.get(os.path.normpath(path))
        if claim is None:
            return
        is_more = True
        if key == ACCESS:
            mode, is_more = _mode_of(value, claim.mode)
            claim = claim._replace(mode=mode)
        if is_more:
            claim = claim._replace(xattrs={**claim.xattrs, key: value.hex()})
        self._noted[os.path.normpath(path)] = claim

    def dump(self) -> bytes:
        """Those of all that was unpacked below the present folder, but for what the disk says."""
        by_inode = {}
        for path, claim in self._noted.items():
            if os.path.lexists(path):
                by_inode[os.lstat(path).st_ino] = claim
        found = {}
        for path in paths_here():
            status = os.lstat(path)
            plain = Claim(stat.S_IMODE(status.st_mode))
            claim = by_inode.get(status.st_ino, plain)
            if claim != plain and not (stat.S_ISLNK(status.st_mode) and not any(claim[1:])):
                found[os.fsdecode(path.removeprefix(b".").removeprefix(b"/"))] = claim
        return json.dumps(found).encode()


def _kept(entry: Any) -> dict[str, str]:
    """The attributes of an entry that come into a root; its ACLs are put when all is unpacked."""
    found = {}
    for key, value in attributes_of(entry):
        if is_kept(key) and key not in (ACCESS, DEFAULT):
            found[key] = value.hex()
    return found


def paths_here() -> Iterator[bytes]:
    """All below the present folder, and that."""
    yield b"."
    for above, folders, files in os.walk(b"."):
        for name in (*folders, *files):
            yield os.path.join(above, name)


def possible(mode: int, is_folder: bool) -> int:
    """Rights that leave a file readable to who makes it, a folder open."""
    return mode & 0o777 | (0o700 if is_folder else 0o600)


def _mode_of(acl: bytes, mode: int) -> tuple[int, bool]:
    """The mode that goes with an access ACL, and whether that says more than the mode."""
    rows = struct.iter_unpack("<HHI", acl[4:])
    bits = {tag: held for tag, held, _ in rows}
    is_more = _MASK in bits or any(tag in bits for tag in _NAMED)
    mode &= ~0o777
    for tag, place in _CLASSES.items():
        if tag in bits and not (tag == 0x04 and _MASK in bits):
            mode |= bits[tag] << place
    return mode, is_more


def claimed(tree: Tree, claims: Mapping[str, Any] | None) -> Tree:
    """A tree that was scanned, as its archive says that it is; None: as it was scanned."""
    if claims is None:
        return tree
    return {path: _claimed(entry, claims.get(os.fsdecode(path))) for path, entry in tree.items()}


def _claimed(entry: Entry, said: list[Any] | None) -> Entry:
    if said is None:
        return entry._replace(uid=0, gid=0)
    claim = Claim(*said)
    known = dict(entry.xattrs) | {key: bytes.fromhex(held) for key, held in claim.xattrs.items()}
    mode = entry.mode if entry.type == LINK else claim.mode
    xattrs = tuple(sorted(known.items()))
    entry = entry._replace(mode=mode, uid=claim.uid, gid=claim.gid, xattrs=xattrs)
    if claim.device is None:
        return entry
    kind, *numbers = claim.device
    major, minor = numbers
    return entry._replace(type=kind, device=(major, minor), size=0, digest="", source=b"", stamp=0)
