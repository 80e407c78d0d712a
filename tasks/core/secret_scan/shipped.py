"""What is public because a distribution ships it: files of its packages that others may read.

A package of the site's own may hold a key of the site, and a file that is closed to others may be
one that was put there after the package. Where a package is from, dpkg's database says by its
maintainer and rpm's by its vendor.

An md5 is sooner made than a search: a file that dpkg lists is not searched while a reference is
read, and only where it turns out not to be public. Its verdict until then says its md5.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator
from functools import cached_property

from ..base.errors import BadInput
from ..scan.reader import PUT_OFF
from ..scan.walk import Skip
from ..tree.filter import Patterns
from ..tree.model import FILE, Entry, Tree, parent, parents, read_content

OTHERS_READ, OTHERS_ENTER = 0o004, 0o001
MAINTAINERS = re.compile(
    rb"^(?:Original-)?Maintainer:.*@(?:[\w.-]+\.)?"
    rb"(?:debian\.(?:org|net)|ubuntu\.com|canonical\.com|devuan\.org)>?\s*$",
    re.MULTILINE,
)
VENDORS = re.compile(
    rb"Red Hat|CentOS|Fedora|Rocky|AlmaLinux|Oracle America|Scientific Linux|SUSE|CERN|Fermilab"
    rb"|Amazon",
    re.IGNORECASE,
)
# CPython's own, wherever it was built
TESTS = ("lib/python[23].*/test/**", "lib64/python[23].*/test/**")
# where some package lists the file
LISTED = ("*-packages/**/test*/**", "/usr/share/doc/**", "/usr/share/man/**")
# samples by their place: for roots of rpm, whose old database may hold a digest in two pieces
PUBLIC = (
    "/usr/share/doc/**",
    "/usr/share/man/**",
    "/usr/lib*/python*/*-packages/**/test*/**",
    "/usr/share/perl*/**/t/**",
    "/usr/share/**/examples/**",
)

_COMPILED = re.compile(  # Python's, of 3 (PEP 3147) and of 2
    rb"(.*?)(?:__pycache__/)?([^/]+?)(?:\.[a-z]+-\d+(?:\.opt-\d)?)?\.py[co]", re.DOTALL
)
_STATUS = re.compile(rb"(?:.*/)?lib/dpkg/status", re.DOTALL)
_SUMS = re.compile(rb"(?:.*/)?lib/dpkg/info/([^/:]+)(?::[^/]+)?\.md5sums", re.DOTALL)
_RPM = re.compile(rb"(?:.*/)?(?:lib|sysimage)/rpm/(?:Packages(?:\.db)?|rpmdb\.sqlite)", re.DOTALL)
_WHEEL = re.compile(rb".*\.dist-info/RECORD", re.DOTALL)
_NAME = re.compile(rb"^Package:[ \t]*(\S+)", re.MULTILINE)
_DATABASE = b"var/lib/dpkg"
_MD5 = re.compile(rb"\b[0-9a-f]{32}\b")
_VENDOR = 1011  # rpmtag.h


class Shipped:
    """The package databases of a root: dpkg's, rpm's, and what Python's packages list.

    Each is read when it is first asked.
    """

    def __init__(self, tree: Tree):
        self._tree = tree
        self._open = {b"": True}  # folders that all users may enter

    @cached_property
    def _places(self) -> Patterns:
        is_dpkg = any(map(_STATUS.fullmatch, self._tree))
        return Patterns(TESTS if is_dpkg else TESTS + PUBLIC)

    @cached_property
    def _listed_places(self) -> Patterns:
        return Patterns(LISTED)

    @cached_property
    def _of_dpkg(self) -> list[bytes]:
        return list(self._dpkg_records())

    @cached_property
    def _of_distribution(self) -> list[bytes]:
        return [*self._of_dpkg, *self._rpm_records()]

    @cached_property
    def _of_anybody(self) -> list[bytes]:
        return [self._read(path) for path in self._paths(_WHEEL) + self._paths(_SUMS)]

    @cached_property
    def md5s(self) -> frozenset[bytes]:
        """Of the files that dpkg lists of the distribution, in hexadecimal digits."""
        return frozenset(_MD5.findall(b"\n".join(self._of_dpkg)))

    def has(self, path: bytes) -> bool:
        """Whether a file is a distribution's, as it was shipped, and open to all users there."""
        if not self._is_open(path):
            return False
        source = _source_of(path)
        if source and source in self._tree:
            return self.has(source)
        if self._places.excludes(path, False):
            return True
        digests = _digests(self._read(path))
        if _is_in(self._of_distribution, digests):
            return True
        is_sample = self._listed_places.excludes(path, False)
        return is_sample and _is_in(self._of_anybody, digests)

    def has_unsearched(self, path: bytes, verdict: str) -> bool:
        """The same of a file that was not searched, by the verdict that `of_listed` gave then."""
        return verdict[len(PUT_OFF) :].encode() in self.md5s and self._is_open(path)

    def _is_open(self, path: bytes) -> bool:
        return bool(self._tree[path].mode & OTHERS_READ) and self._is_entered(parent(path))

    def _is_entered(self, folder: bytes) -> bool:
        """Whether all users may enter a folder, and those above it."""
        known = self._open.get(folder)
        if known is None:
            entry = self._tree.get(folder)
            is_open = entry is None or bool(entry.mode & OTHERS_ENTER)
            known = self._open[folder] = is_open and self._is_entered(parent(folder))
        return known

    def _paths(self, expression: re.Pattern[bytes]) -> list[bytes]:
        return [
            path
            for path, entry in self._tree.items()
            if entry.type == FILE and expression.fullmatch(path)
        ]

    def _read(self, path: bytes) -> bytes:
        return read_content(self._tree[path])

    def _dpkg_records(self) -> Iterator[bytes]:
        """What lists files of the distribution by their md5."""
        names = set[bytes]()
        for path in self._paths(_STATUS):
            for stanza in self._read(path).split(b"\n\n"):
                name = _NAME.search(stanza)
                if name and MAINTAINERS.search(stanza):
                    names.add(name[1])
                    yield stanza  # its configuration files
        for path in self._paths(_SUMS):
            name = _SUMS.fullmatch(path)
            if name and name[1] in names:
                yield self._read(path)

    def _rpm_records(self) -> Iterator[bytes]:
        """What lists them by a digest of rpm's."""
        for path in self._paths(_RPM):
            yield from _of_vendors(self._read(path))


def of_listed(data: bytes, md5s: frozenset[bytes]) -> str:
    """The verdict that puts off the search of a file of which that is the md5; "" of another."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return PUT_OFF + md5 if md5.encode() in md5s else ""


def md5s_of(folder: str, skip: Skip | None) -> frozenset[bytes]:
    """Of the files that dpkg lists of the distribution, by its database in a folder.

    None where `skip` leaves that out: nobody could tell later what is public.
    """
    top, tree = os.fsencode(folder), {}
    for name in [_DATABASE + b"/status", *_lists(top)]:
        path = os.path.join(top, name)
        if os.path.isfile(path) and not (skip and _is_left_out(name, skip)):
            tree[name] = Entry(FILE, 0o644, 0, 0, source=path)
    try:
        return Shipped(tree).md5s
    except BadInput:  # who reads all of the folder says what cannot be read
        return frozenset()


def _lists(folder: bytes) -> list[bytes]:
    return glob.glob(_DATABASE + b"/info/*.md5sums", root_dir=folder)


def _is_left_out(path: bytes, skip: Skip) -> bool:
    return skip(path, False) or any(skip(above, True) for above in parents(path))


def _source_of(path: bytes) -> bytes:
    """The source of what Python compiled; b"" where it is nothing of the kind."""
    compiled = _COMPILED.fullmatch(path)
    return compiled[1] + compiled[2] + b".py" if compiled else b""


def _is_in(records: list[bytes], digests: tuple[bytes, ...]) -> bool:
    """Whether one of the records lists one of the digests."""
    return any(word in record for record in records for word in digests)


def _digests(data: bytes) -> tuple[bytes, ...]:
    """As dpkg, rpm and Python's packages write them."""
    sha256 = hashlib.sha256(data).digest()
    return (
        hashlib.md5(data, usedforsecurity=False).hexdigest().encode(),
        sha256.hex().encode(),
        b"sha256=" + base64.urlsafe_b64encode(sha256).rstrip(b"="),
    )


def _of_vendors(database: bytes) -> Iterator[bytes]:
    """The headers of a distribution's packages.

    Of an old database, whose packages lie in pieces, all of it.
    """
    if not database.startswith(b"SQLite format 3\0"):
        yield database
        return
    memory = contextlib.closing(sqlite3.connect(":memory:"))
    with memory as held, contextlib.suppress(sqlite3.Error):
        held.deserialize(database[:18] + b"\1\1" + database[20:])  # without its log
        for (header,) in held.execute("SELECT blob FROM Packages"):
            if VENDORS.search(_text(header, _VENDOR)):
                yield header


def _text(header: bytes, tag: int) -> bytes:
    """A string of an rpm header.

    That is counts of entries and bytes, entries of tag, type, offset, count, then the bytes.
    """

    def number(start: int) -> int:
        return int.from_bytes(header[start : start + 4], "big")

    end = 8 + 16 * number(0)
    for at in range(8, end, 16):
        if number(at) == tag:
            start = end + number(at + 8)
            return header[start:].partition(b"\0")[0]
    return b""
