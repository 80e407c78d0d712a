"""What is public because a distribution ships it: files of its packages that others may read.

A package of the site's own may hold a key of the site, and a file that is closed to others may be
one that was put there after the package. Where a package is from, dpkg's database says by its
maintainer and rpm's by its vendor.

A digest is sooner made than a search: a file that a distribution lists is not searched while a
reference is read, and only where it turns out not to be public.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, product
from typing import NamedTuple

from ..base.errors import BadInput
from ..scan.reader import PUT_OFF
from ..scan.walk import Skip
from ..tree.filter import Patterns
from ..tree.model import FILE, Entry, Tree, parent, parents, read_content

LONGEST = 1 << 30  # bytes of a database: a longer one, of holes perhaps, is none
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
# Where packages are listed: in a root itself below these folders, in one that lies in it anywhere
_ABOVE = ("var", "usr/lib")
_STATUS = ("lib/dpkg/status",)
_SUMS = ("lib/dpkg/info/*.md5sums",)  # PACKAGE.md5sums, or PACKAGE:PROCESSOR.md5sums
_RPM = ("lib/rpm/rpmdb.sqlite", "sysimage/rpm/rpmdb.sqlite")
_OLD_RPM = (
    "lib/rpm/Packages",
    "lib/rpm/Packages.db",
    "sysimage/rpm/Packages",
    "sysimage/rpm/Packages.db",
)
_WHEEL = ("*.dist-info/RECORD",)
_NAME = re.compile(rb"^Package:[ \t]*(\S+)", re.MULTILINE)
_MD5 = re.compile(rb"\b[0-9a-f]{32}\b")
_SHA256 = re.compile(rb"[0-9a-f]{64}")
_VENDOR, _FILE_DIGESTS = 1011, 1035  # rpmtag.h


class Listed(NamedTuple):
    """Digests of files that a distribution's packages list, in hexadecimal digits."""

    md5s: frozenset[str] = frozenset()  # dpkg's
    sha256s: frozenset[str] = frozenset()  # rpm's

    def put_off(self, data: bytes, sha256: str) -> str:
        """The verdict on a file that is listed, until all of a tree is known; "" on another.

        It says the digest of dpkg's. That of rpm's is the file's own.
        """
        if sha256 in self.sha256s:
            return PUT_OFF
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() if self.md5s else ""
        return PUT_OFF + md5 if md5 in self.md5s else ""

    def lists(self, verdict: str, sha256: str) -> bool:
        """Whether a file on which that was said is listed."""
        md5 = verdict.removeprefix(PUT_OFF)
        return md5 in self.md5s if md5 else sha256 in self.sha256s


NOTHING_LISTED = Listed()


class Shipped:
    """The package databases of a root: dpkg's, rpm's, and what Python's packages list.

    Each is read when it is first asked.
    """

    def __init__(self, tree: Tree):
        self._tree = tree
        self._open = {b"": True}  # folders that all users may enter

    @cached_property
    def _places(self) -> Patterns:
        is_dpkg = any(self._named(_STATUS))
        return Patterns(TESTS if is_dpkg else TESTS + PUBLIC)

    @cached_property
    def _listed_places(self) -> Patterns:
        return Patterns(LISTED)

    @cached_property
    def _of_dpkg(self) -> list[bytes]:
        return list(self._dpkg_records())

    @cached_property
    def _of_rpm(self) -> list[bytes]:
        headers = map(_headers, map(self._read, self._paths(_RPM)))
        return list(chain.from_iterable(headers))

    @cached_property
    def _of_distribution(self) -> list[bytes]:
        """Of an old database of rpm's, whose packages lie in pieces, all of it."""
        old = map(self._read, self._paths(_OLD_RPM))
        return [*self._of_dpkg, *self._of_rpm, *old]

    @cached_property
    def _of_anybody(self) -> list[bytes]:
        return [self._read(path) for path in self._paths(_WHEEL) + self._paths(_SUMS)]

    @cached_property
    def listed(self) -> Listed:
        """What is listed of the distribution; of old databases of rpm, which are slow, nothing."""
        md5s = _MD5.findall(b"\n".join(self._of_dpkg))
        digests = chain.from_iterable(_strings(header, _FILE_DIGESTS) for header in self._of_rpm)
        sha256s = filter(_SHA256.fullmatch, digests)  # a folder has none
        return Listed(_as_text(md5s), _as_text(sha256s))

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
        """The same of a file whose search was put off."""
        return self.listed.lists(verdict, self._tree[path].digest) and self._is_open(path)

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

    def _named(self, places: Iterable[str]) -> Iterator[bytes]:
        """All that lies at such places; most names do not even end so."""
        is_there = Patterns(places).excludes
        ends = tuple(os.fsencode(re.split("[*/]", place)[-1]) for place in places)
        for path in self._tree:
            if path.endswith(ends) and is_there(path, False):
                yield path

    def _paths(self, places: Iterable[str]) -> list[bytes]:
        found = []
        for path in self._named(places):
            entry = self._tree[path]
            if entry.type == FILE and entry.size <= LONGEST:
                found.append(path)
        return found

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
            package = os.path.basename(path).removesuffix(b".md5sums").partition(b":")[0]
            if package in names:
                yield self._read(path)


def _as_text(words: Iterable[bytes]) -> frozenset[str]:
    return frozenset(map(bytes.decode, words))


def listed_in(folder: str, skip: Skip | None) -> Listed:
    """What the distribution lists by its database in a folder.

    Nothing where `skip` leaves that out: nobody could tell later what is public.
    """
    top, tree = os.fsencode(folder), {}
    for name in _databases_in(top):
        path = os.path.join(top, name)
        if os.path.isfile(path) and not (skip and _is_left_out(name, skip)):
            tree[name] = Entry(FILE, 0o644, 0, 0, os.path.getsize(path), source=path)
    try:
        return Shipped(tree).listed
    except BadInput:  # who reads all of the folder says what cannot be read
        return NOTHING_LISTED


def _databases_in(top: bytes) -> Iterator[bytes]:
    """Those of a root that are read in no time, by their names in it."""
    for above, place in product(_ABOVE, (*_STATUS, *_SUMS, *_RPM)):
        yield from glob.glob(os.fsencode(f"{above}/{place}"), root_dir=top)


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


def _headers(database: bytes) -> Iterator[bytes]:
    """Those of a distribution's packages, in rpm's database; none where it is damaged."""
    memory = contextlib.closing(sqlite3.connect(":memory:"))
    with memory as held, contextlib.suppress(sqlite3.Error):
        held.deserialize(database[:18] + b"\1\1" + database[20:])  # without its log
        for (header,) in held.execute("SELECT blob FROM Packages"):
            if isinstance(header, bytes) and any(map(VENDORS.search, _strings(header, _VENDOR))):
                yield header


def _strings(header: bytes, tag: int) -> list[bytes]:
    """The strings of an rpm header's tag.

    That is counts of entries and bytes, entries of tag, type, offset, count, then the bytes.
    """

    def number(start: int) -> int:
        return int.from_bytes(header[start : start + 4], "big")

    end = 8 + 16 * number(0)
    for at in range(8, min(end, len(header)), 16):
        if number(at) == tag:
            count = number(at + 12)
            return header[end + number(at + 8) :].split(b"\0", count)[:count]
    return []
