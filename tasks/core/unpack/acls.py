"""ACLs of a tar archive's entries, which name users as the packed root's own passwd knows them.

So they are set when all is unpacked; and a folder's default is not given to what is unpacked there.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_TYPES = {ACCESS: 0x100, DEFAULT: 0x200}  # archive_entry_acl(3)'s numbers
_NFS4 = 0x3C00  # all of its types
# archive_entry_acl(3)'s number -> posix_acl_xattr.h's
_TAGS = {10001: 0x02, 10002: 0x01, 10003: 0x08, 10004: 0x04, 10005: 0x10, 10006: 0x20}
_USER, _GROUP, _NOBODY = 0x02, 0x08, 0xFFFFFFFF
_VERSION = 2


class _Grant(NamedTuple):
    tag: int
    bits: int
    id: int  # -1: only the name is known
    name: bytes


Put = Callable[[bytes, str, bytes], None]  # path, name and value of an attribute


def _put(path: bytes, key: str, value: bytes) -> None:
    os.setxattr(path, key, value, follow_symlinks=False)


class Acls:
    """What entries say, by path; the last entry of a path counts."""

    def __init__(self, put: Put = _put) -> None:
        self._put = put
        self._raw: dict[bytes, dict[str, bytes]] = {}
        self._named: dict[bytes, dict[str, list[_Grant]]] = {}
        self._lost: list[bytes] = []

    def note(self, path: bytes, entry: Any) -> None:
        """Keep what an entry says until all is unpacked."""
        path = os.path.normpath(path)
        self._raw.pop(path, None)
        self._named.pop(path, None)
        if raw := dict(_raw_acls(entry)):
            self._raw[path] = raw
        kinds = _library().archive_entry_acl_types(entry)
        if kinds & _NFS4:
            self._lost.append(path)
        found = {key: list(_grants(entry, kind)) for key, kind in _TYPES.items() if kinds & kind}
        if any(found.values()):
            self._named[path] = found

    def set_all(self) -> Iterator[str]:
        """Set them below the folder that is the root now; what could not be kept, a line each."""
        for path in self._lost:
            yield f"{_text(path)}: its NFSv4 ACL is not kept"
        for path, raw in self._raw.items():
            yield from self._set(path, raw)
        if not self._named:
            return
        users, groups = _ids("etc/passwd"), _ids("etc/group")
        for path, found in self._named.items():
            try:
                packed = {key: _packed(grants, users, groups) for key, grants in found.items()}
            except KeyError as error:
                yield f"{_text(path)}: its ACL is not kept: no {error.args[0]}"
            else:
                yield from self._set(path, packed)

    def _set(self, path: bytes, attributes: dict[str, bytes]) -> Iterator[str]:
        for key, value in attributes.items():
            try:
                self._put(path, key, value)
            except OSError as error:
                yield f"{_text(path)}: its ACL is not kept: {error.strerror}"


def _packed(grants: list[_Grant], users: dict[bytes, int], groups: dict[bytes, int]) -> bytes:
    """An ACL as its extended attribute. Raises KeyError with the name that nobody has."""
    rows = [(grant.tag, _id_of(grant, users, groups), grant.bits) for grant in grants]
    value = struct.pack("<I", _VERSION)
    for tag, number, bits in sorted(rows):
        value += struct.pack("<HHI", tag, bits, number)
    return value


def _id_of(grant: _Grant, users: dict[bytes, int], groups: dict[bytes, int]) -> int:
    if grant.tag not in (_USER, _GROUP):
        return _NOBODY
    if grant.id >= 0:
        return grant.id
    what, known = ("user", users) if grant.tag == _USER else ("group", groups)
    if grant.name not in known:
        file = "passwd" if grant.tag == _USER else "group"
        raise KeyError(f"{what} {_text(grant.name)} in the archive's /etc/{file}")
    return known[grant.name]


def _ids(path: str) -> dict[bytes, int]:
    """Names and numbers of passwd or group; none where it is no file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return {}
        with open(path, "rb") as file:
            return dict(_rows(file))
    except OSError:
        return {}


def _rows(lines: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    for line in lines:
        words = line.rstrip().split(b":")
        if len(words) > 2 and words[2].isdigit():
            yield words[0], int(words[2])


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


# What libarchive's own binding for Python does not have


def _library() -> Any:
    from libarchive import ffi

    library = ffi.libarchive
    library.archive_entry_acl_types.argtypes = [ctypes.c_void_p]
    library.archive_entry_acl_reset.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.archive_entry_xattr_reset.argtypes = [ctypes.c_void_p]
    return library


def _grants(entry: Any, kind: int) -> Iterator[_Grant]:
    library = _library()
    library.archive_entry_acl_reset(entry, kind)
    numbers = [ctypes.c_int() for _ in range(4)]
    name = ctypes.c_char_p()
    places = [ctypes.byref(each) for each in (*numbers, name)]
    pointer = ctypes.c_void_p(entry)
    # a warning is of a name that is in no charset: it comes as it is
    while library.archive_entry_acl_next(pointer, kind, *places) in (0, -20):
        _, bits, tag, number = (each.value for each in numbers)
        yield _Grant(_TAGS.get(tag, 0), bits & 7, number, name.value or b"")


def _raw_acls(entry: Any) -> Iterator[tuple[str, bytes]]:
    """ACLs that are packed as extended attributes, which libarchive leaves out."""
    for key, value in attributes_of(entry):
        if key in _TYPES:
            yield key, value


def attributes_of(entry: Any) -> Iterator[tuple[str, bytes]]:
    """The extended attributes of an entry."""
    library = _library()
    library.archive_entry_xattr_reset(entry)
    name, value, size = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_size_t()
    places = [ctypes.byref(each) for each in (name, value, size)]
    pointer = ctypes.c_void_p(entry)
    while library.archive_entry_xattr_next(pointer, *places) == 0:
        key = (name.value or b"").decode(errors="replace")
        yield key, ctypes.string_at(value.value or 0, size.value) if size.value else b""
