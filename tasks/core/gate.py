"""The gate: no private key and no usable password hash leaves in an export, wherever the reference has it.

The table of `scrub` takes what is known by its place; here the bytes decide. What a package ships is public: a file
whose digest the reference's own package database has passes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import NamedTuple

from .errors import BadInput
from .files import digest_file
from .overlay import show
from .patterns import Patterns
from .scan import Judge
from .scrub import is_kept
from .tree import FILE, Entry, Tree, read

HUGE = 64 << 20  # of a longer file, this much is looked at
SHORTEST = 32  # no secret is shorter
TESTS = ("lib/python[23].*/test/**", "lib64/python[23].*/test/**")  # Python's own, wherever it was built
PUBLIC = (  # samples by their place: for roots of rpm, whose database may hold a digest in two pieces
    "/usr/share/doc/**",
    "/usr/share/man/**",
    "/usr/lib*/python*/*-packages/**/test*/**",
    "/usr/share/perl*/**/t/**",
    "/usr/share/**/examples/**",
)
REMEDY = "remove it from the reference, list it in `exclude`, or allow it by `keep`"

_BODY = rb"""(?:[\s"'+,]|\\+[rnt]?|[A-Z][A-Za-z-]+:[ ][^\n\\]{0,80}(?:\n|\\n))*[A-Za-z0-9+/]{24}"""
_PEM = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----" + _BODY)
_WIREGUARD = re.compile(rb"^\s*PrivateKey\s*=\s*[A-Za-z0-9+/]{43}=\s*$", re.MULTILINE)
_END = rb"(?![./A-Za-z0-9])"
_HASH = re.compile(  # crypt(5), as long as they really are, so that a sample with dots is none
    rb"\$(?:(?:1|apr1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}"
    rb"|5\$(?:rounds=\d+\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}"
    rb"|6\$(?:rounds=\d+\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
    rb"|2[abxy]\$\d\d\$[./A-Za-z0-9]{53}"
    rb"|g?y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}"
    rb"|7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43})" + _END
)
_GRUB = re.compile(rb"grub\.pbkdf2\.sha512\.\d+\.[0-9A-F]{64,}\.[0-9A-F]{64,}")
_DES = re.compile(  # the rest of a line of shadow, or of an old passwd
    rb":[./A-Za-z0-9]{13}:(?:\d*:\d*:\d*:\d*:\d*:\d*:\d*|\d+:\d+:[^:\n]*:[^:\n]*:[^:\n]*)$", re.MULTILINE
)
_DER_KEY = re.compile(  # after the outer SEQUENCE: PKCS#1, PKCS#8 and SEC 1 (RFC 8017, 5958, 5915)
    rb"\x02\x01(?:\x00\x02[\x40-\x82]|[\x00\x01]\x30.{1,2}\x06[\x03-\x0b]|\x01\x04[\x1c-\x42])", re.DOTALL
)
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x7f]|\x80|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03\x30", re.DOTALL)
_KEY_BAGS = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02")


class Find(NamedTuple):
    """A file that must not leave, and the rule that says so: never its content."""

    path: str
    rule: str

    def __str__(self) -> str:
        return f"/{self.path}: {self.rule}; {REMEDY}"


def gate(tree: Tree, keep: Iterable[str], known: MutableMapping[str, str]) -> list[Find]:
    """What of a staged tree must not be exported, sorted by path; a path is as in the reference, with /var.

    `known` has verdicts by digest of the content ("" is fine, else the rule); files of which it has none are read, and
    added to it. `keep`: paths, or folders, that pass.
    """
    allowed = frozenset(os.fsencode(name.strip("/")) for name in keep)
    suspects = [(path, rule) for path, rule in _suspects(tree, known) if not is_kept(_in_reference(path), allowed)]
    labels = [(path, rule) for path, rule in _labels(tree) if not is_kept(_in_reference(path), allowed)]
    if suspects:
        shipped = _Shipped(tree)
        suspects = [(path, rule) for path, rule in suspects if not shipped.has(path)]
    return sorted(Find(show(_in_reference(path)), rule) for path, rule in suspects + labels)


def judge() -> Judge:
    """Who looks for secrets in what is read."""
    return Judge(digest_file(__file__), verdict)


def verdict(data: bytes) -> str:
    """The rule that the bytes of one file break, of which no more than `HUGE` are looked at; "" if none."""
    if len(data) < SHORTEST:
        return ""
    return next((rule for rule, breaks in RULES if breaks(data)), "")


def _suspects(tree: Tree, known: MutableMapping[str, str]) -> Iterator[tuple[bytes, str]]:
    for path, entry in tree.items():
        if entry.type != FILE or entry.size < SHORTEST:
            continue
        rule = known.get(entry.digest)
        if rule is None:
            rule = known[entry.digest] = _verdict_of(entry)
        if rule:
            yield path, rule


def _labels(tree: Tree) -> Iterator[tuple[bytes, str]]:
    """The same of extended attributes, which are exported as well; no package ships any."""
    for path, entry in tree.items():
        for name, value in entry.xattrs:
            if len(value) >= SHORTEST and (rule := verdict(value)):
                yield path, f"its extended attribute {name} {rule}"


def _verdict_of(entry: Entry) -> str:
    if entry.data is not None:
        return verdict(entry.data)
    try:
        with open(entry.source, "rb") as file:
            return verdict(file.read(HUGE).ljust(SHORTEST, b"\0"))
    except OSError as error:
        raise BadInput.at(show(entry.source), f"cannot be read: {error.strerror}") from None


def _in_reference(path: bytes) -> bytes:
    return b"var/" + path[7:] if path.startswith(b"var.ro/") else path


class _Shipped:
    """What the package databases of a root list: dpkg's md5sums, rpm's digests, RECORD of Python packages."""

    def __init__(self, tree: Tree):
        self._tree = tree
        records = (entry for path, entry in tree.items() if _RECORDS.fullmatch(path))
        self._records = [read(entry) for entry in records if entry.type == FILE]
        is_dpkg = any(path.endswith(b"lib/dpkg/status") for path in tree)
        self._places = Patterns(TESTS if is_dpkg else TESTS + PUBLIC)

    def has(self, path: bytes) -> bool:
        compiled = _COMPILED.fullmatch(path)
        if compiled and compiled[1] + compiled[2] + b".py" in self._tree:
            return self.has(compiled[1] + compiled[2] + b".py")
        return self._places.excludes(path, False) or self._lists(self._tree[path])

    def _lists(self, entry: Entry) -> bool:
        data = read(entry)
        sha256 = hashlib.sha256(data).digest()
        wanted = (
            hashlib.md5(data, usedforsecurity=False).hexdigest().encode(),
            sha256.hex().encode(),
            b"sha256=" + base64.urlsafe_b64encode(sha256).rstrip(b"="),
        )
        return any(word in record for record in self._records for word in wanted)


_COMPILED = re.compile(  # Python's, of 3 (PEP 3147) and of 2
    rb"(.*?)(?:__pycache__/)?([^/]+?)(?:\.[a-z]+-\d+(?:\.opt-\d)?)?\.py[co]", re.DOTALL
)
_RECORDS = re.compile(  # dpkg's (configuration files are in `status`), Python's, rpm's old and new ones
    rb"(?:.*/)?lib/dpkg/(?:status|info/[^/]+\.md5sums)|.*\.dist-info/RECORD"
    rb"|(?:.*/)?(?:lib|sysimage)/rpm/(?:Packages(?:\.db)?|rpmdb\.sqlite)",
    re.DOTALL,
)


def _is_text(data: bytes) -> bool:
    return b"\0" not in data[:8192]


def _is_program(data: bytes) -> bool:
    """Libraries carry keys for their self-tests, and prelink changes their digests."""
    return data[:4] == b"\x7fELF"


def _pem(data: bytes) -> bool:
    return not _is_program(data) and b"PRIVATE KEY" in data and bool(_PEM.search(data))


def _binary_key(data: bytes) -> bool:
    if data[:14] == b"openssh-key-v1" or data[:20] == b"PuTTY-User-Key-File-":
        return True
    body = _der_body(data)
    return body is not None and bool(_DER_KEY.match(data, body))


def _der_body(data: bytes) -> int | None:
    """Where the content of the one DER SEQUENCE begins that is the whole file; None if the file is not one."""
    if data[0] != 0x30:
        return None
    length, count = data[1], 0
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[2 : 2 + count], "big")
    return 2 + count if 1 <= len(data) - length - count - 1 <= 2 and count < 5 else None


def _key_store(data: bytes) -> bool:
    """PKCS#12 with a key in it (one of certificates only is a trust store), Java's JKS likewise."""
    if _PKCS12.match(data):
        return any(bag in data for bag in _KEY_BAGS)
    return data[:4] in (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce") and _has_java_key(data)


def _has_java_key(data: bytes) -> bool:
    """Java's JavaKeyStore.java: magic, version, count, then entries of a tag, alias, date; tags 1 and 3 are keys."""

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], "big")

    at = 12
    for _ in range(number(8, 4)):
        if number(at, 4) != 2:
            return number(at, 4) in (1, 3)
        at += 6 + number(at + 4, 2) + 8  # tag, alias, date
        at += 2 + number(at, 2) if number(4, 4) == 2 else 0  # the certificate's type
        at += 4 + number(at, 4)
    return False


def _keytab(data: bytes) -> bool:
    """MIT's keytab file format: 5, version, then records of a length, a count of components and the realm."""
    if data[:2] not in (b"\5\1", b"\5\2"):
        return False
    size, components, realm = struct.unpack_from(">iHH" if data[1] == 2 else "<iHH", data, 2)
    name = data[10 : 10 + realm]
    return 0 < abs(size) <= len(data) - 6 and 0 < components < 8 and len(name) == realm > 0 and name.isascii()


def _hash(data: bytes) -> bool:
    if not _is_text(data):
        return False
    return bool(_HASH.search(data) or _GRUB.search(data)) or any(map(_has_account, _DES.finditer(data)))


def _has_account(match: re.Match[bytes]) -> bool:
    """Whether what is before the hash is a name at a line's beginning."""
    before = match.string[max(0, match.start() - 34) : match.start()].rpartition(b"\n")[2]
    return bool(re.fullmatch(rb"[A-Za-z_][A-Za-z0-9_.-]*\$?", before))


def _wireguard(data: bytes) -> bool:
    return not _is_program(data) and b"PrivateKey" in data and bool(_WIREGUARD.search(data))


RULES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("holds a private key (PEM)", _pem),
    ("holds a private key", _binary_key),
    ("is a key store with a private key", _key_store),
    ("is a Kerberos keytab", _keytab),
    ("holds a private key of WireGuard", _wireguard),
    ("holds a usable password hash", _hash),
)
