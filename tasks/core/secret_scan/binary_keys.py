"""Keys in binary: DER, key stores, keytabs and the like, each known by how the file begins."""

from __future__ import annotations

import re
import struct

from .form import SMALL, Form

_DER_KEY = re.compile(  # after the outer SEQUENCE: PKCS#1, PKCS#8 and SEC 1 (RFC 8017, 5958, 5915)
    rb"\x02\x01(?:\x00\x02[\x40-\x82]|[\x00\x01]\x30.{1,2}\x06[\x03-\x0b]|\x01\x04[\x1c-\x42])"
    # PKCS#8, encrypted: RFC 8018 and RFC 7292
    rb"|\x30(?:[\x00-\x7f]|\x81.|\x82..)\x06(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05[\x01-\x0d]"
    rb"|\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01[\x01-\x06])",
    re.DOTALL,
)
_PKCS12 = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x80|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03\x30", re.DOTALL
)
_KEY_BAGS = (
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02",
)
_SSH_STARTS = (b"openssh-key-v1", b"PuTTY-User-Key-File-", b"SSH PRIVATE KEY FILE FORMAT")
# fields after the name (RFC 4253)
_SSH_PUBLIC = {b"ssh-rsa": 2, b"ssh-dss": 4, b"ssh-ed25519": 1, b"ecdsa-sha2": 2}
# MIT's credential cache file format, as both Kerberos write it
_TICKETS = b"\x05\x04\x00\x0c\x00\x01\x00\x08"
_NINETIES = 0x2A  # the first byte of a time since 1992
_ALGORITHMS = {1, 2, 3, 16, 17, 18, 19, 20, 22, 25, 26, 27, 28}  # of public keys


def _binary_key(data: bytes) -> bool:
    return any(holds(data) for holds in (_ssh, _der_key, _dropbear, _openpgp))


def _ssh(data: bytes) -> bool:
    return data.startswith(_SSH_STARTS)


def _der_key(data: bytes) -> bool:
    """Whether one of the DER SEQUENCEs at its start is a key, behind its certificate, say."""
    at = 0
    for _ in range(16):
        body, end = _sequence(data, at)
        if not body or end > len(data):
            return False
        if _DER_KEY.match(data, body):
            return True
        at = end
    return False


def _sequence(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the DER SEQUENCE at a place begins and ends; (0, 0) for none."""
    if data[at : at + 1] != b"\x30" or at + 2 > len(data):
        return 0, 0
    length, count = data[at + 1], 0
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[at + 2 : at + 2 + count], "big")
    body = at + 2 + count
    return (body, body + length) if count < 5 and length else (0, 0)


def _dropbear(data: bytes) -> bool:
    """ssh's strings, as of a public key, with the private numbers after (dropbear's signkey.c)."""
    if data[:3] != b"\0\0\0" or len(data) > SMALL:
        return False
    (name, *numbers), rest = _strings(data)
    if name == b"ssh-ed25519":
        return len(numbers) == 1 and len(numbers[0]) == 64  # both halves in one
    for start, public in _SSH_PUBLIC.items():
        if name.startswith(start):
            return not rest and len(numbers) > public
    return False


def _strings(data: bytes) -> tuple[list[bytes], bytes]:
    """ssh's strings, each after its length, and what is left; an empty one where one is cut off."""
    found = []
    at = 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return [b""], data
        found.append(data[at + 4 : end])
        at = end
    return found or [b""], data[at:]


def _openpgp(data: bytes) -> bool:
    """Whether it begins with a secret key packet of any version (RFC 4880, RFC 9580: 4.2, 5.5)."""
    first = data[0]
    if first in (0x94, 0x95, 0x96):
        body = 1 + (1 << (first & 3))
        length = int.from_bytes(data[1:body], "big")
    elif first == 0xC5:
        body = 2 if data[1] < 192 else 3 if data[1] < 224 else 6
        length = len(data) - 1
    else:
        return False

    version, created, algorithm = data[body], data[body + 1], data[body + 5]
    if version not in (4, 5, 6) or algorithm not in _ALGORITHMS:
        return False
    return created >= _NINETIES and 32 < length < len(data)


def _key_store(data: bytes) -> bool:
    """PKCS#12 with a key in it (one of certificates only is a trust store), Java's JKS likewise."""
    if _PKCS12.match(data):
        return any(bag in data for bag in _KEY_BAGS)
    return data[:4] in (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce") and _has_java_key(data)


def _has_java_key(data: bytes) -> bool:
    """Java's JavaKeyStore.java: magic, version, count, then entries of a tag, alias, date.

    Tags 1 and 3 are keys.
    """

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
    """MIT's keytab file format: 5, version, then records of length, count of names, realm."""
    if data[:2] not in (b"\5\1", b"\5\2"):
        return False
    layout = ">iHH" if data[1] == 2 else "<iHH"
    size, components, length = struct.unpack_from(layout, data, 2)
    realm = data[10 : 10 + length]
    if not 0 < abs(size) <= len(data) - 6 or not 0 < components < 8:
        return False
    return len(realm) == length > 0 and realm.isascii()


def _tickets(data: bytes) -> bool:
    return data.startswith(_TICKETS)


BY_START = (
    Form("holds a private key", (), _binary_key),
    Form("is a key store with a private key", (), _key_store),
    Form("is a Kerberos keytab", (), _keytab),
    Form("is a cache of Kerberos tickets", (), _tickets),
)
STARTS = frozenset(b"\x00\x05\x30\x94\x95\x96\xc5\xce\xfeoPS")  # of those
