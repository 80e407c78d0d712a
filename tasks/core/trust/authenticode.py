"""Who has signed a program that firmware starts, as the program itself tells: RSA and SHA-256.

The Windows Authenticode Portable Executable Signature Format says what is signed; RFC 5652 what a
signature is made of, RFC 5280 a certificate, RFC 8017 (8.2) a signature of RSA. No other program is
asked: boot servers have none that knows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from .uki import signature_of, signed_part

NOT_SIGNED, CHANGED = "nobody has signed it", "it has changed since it was signed"

_ENTRY = 8  # bytes before a signature, in the table of a program's certificates
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")  # 1.2.840.113549.1.9.4
_OF_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo, to its digest
_TAGGED, _SET, _TIME_OF_2_DIGITS = 0xA0, b"\x31", 0x17


class Signer(NamedTuple):
    """Who has signed a program."""

    certificate: str  # its fingerprint, sha256 as hex digits
    ends: str  # 2036-11-26T23:55:20Z, when that certificate does
    is_good: bool  # by the key of that certificate, and not a byte has changed since


def fingerprint(certificate: bytes) -> str:
    """Of a certificate, DER: as `openssl x509 -fingerprint -sha256` shows it, without colons."""
    return sha256(certificate).hexdigest()


def read_signer(program: bytes) -> tuple[Signer | None, str]:
    """Who has signed a program, and why that does not count; "" where it does."""
    try:
        table = signature_of(program)
        if not table:
            return None, NOT_SIGNED
        size = struct.unpack_from("<I", table)[0]
        signer = _signer(program, _Value.all(table[_ENTRY:size])[0])
    except (IndexError, ValueError, struct.error):  # of what is no program, or no such signature
        return None, CHANGED
    return signer, "" if signer.is_good else CHANGED


class _Value(NamedTuple):
    """Something in DER, with its tag and length, and without."""

    tag: int
    whole: bytes
    body: bytes

    @classmethod
    def all(cls, data: bytes) -> list[_Value]:
        """Those that stand behind each other."""
        found, at = [], 0
        while at < len(data):
            start, size = at + 2, data[at + 1]
            if size & 0x80:  # so many bytes have the length
                start += size & 0x7F
                size = int.from_bytes(data[at + 2 : start], "big")
            if start + size > len(data):
                raise ValueError("cut short")
            found.append(cls(data[at], data[at : start + size], data[start : start + size]))
            at = start + size
        return found

    @property
    def inside(self) -> list[_Value]:
        return self.all(self.body)

    @property
    def number(self) -> int:
        return int.from_bytes(self.body, "big")


class _Certificate(NamedTuple):
    whole: bytes
    names: bytes  # its issuer, and the number that it has there
    ends: str
    key: _Value


def _signer(program: bytes, message: _Value) -> Signer:
    """`message`: CMS's ContentInfo, of SignedData."""
    _, content, *more = message.inside[1].inside[0].inside[1:]
    *others, infos = more
    info = infos.inside[0].inside
    (by,) = [each for each in _certificates(others) if each.names == info[1].body]
    told = content.inside[1].inside[0]
    attributes, signature = info[3], info[5]
    is_good = (
        told.inside[1].inside[1].body == sha256(signed_part(program)).digest()
        and _digest_in(attributes) == sha256(told.body).digest()
        and _is_by(by.key, _SET + attributes.whole[1:], signature.body)
    )
    return Signer(fingerprint(by.whole), by.ends, is_good)


def _certificates(values: list[_Value]) -> Iterator[_Certificate]:
    """Those that a signature brings."""
    for each in values[0].inside:
        stated = [value for value in each.inside[0].inside if value.tag != _TAGGED]
        number, _, issuer, validity, _, key, *_ = stated
        ends = _time(validity.inside[1])
        yield _Certificate(each.whole, issuer.whole + number.whole, ends, key)


def _time(value: _Value) -> str:
    text = value.body.decode("ascii")
    if value.tag == _TIME_OF_2_DIGITS:  # RFC 5280, 4.1.2.5.1
        text = ("19" if text >= "50" else "20") + text
    day, hour = f"{text[:4]}-{text[4:6]}-{text[6:8]}", f"{text[8:10]}:{text[10:12]}:{text[12:14]}"
    return f"{day}T{hour}Z"


def _digest_in(attributes: _Value) -> bytes:
    """That of what was signed."""
    for kind, values in (each.inside for each in attributes.inside):
        if kind.body == _MESSAGE_DIGEST:
            return values.inside[0].body
    raise ValueError("it says of nothing that it is signed")


def _is_by(key: _Value, data: bytes, signature: bytes) -> bool:
    """RSASSA-PKCS1-v1_5: RFC 8017, 8.2.2."""
    modulus, exponent = _Value.all(key.inside[1].body[1:])[0].inside
    size = (modulus.number.bit_length() + 7) // 8
    number = int.from_bytes(signature, "big")
    found = pow(number, exponent.number, modulus.number)

    digest = _OF_SHA256 + sha256(data).digest()
    padding = b"\xff" * (size - len(digest) - 3)
    return found.to_bytes(size, "big") == b"\0\1" + padding + b"\0" + digest
