"""Text in another dress: UTF-16, UTF-32, or base64 in all of a file or long pieces of it."""

from __future__ import annotations

import base64
import binascii
import re
import string
from collections.abc import Iterator

from .form import SMALL, is_random

_LETTERS = (string.ascii_letters + string.digits + "+/").encode()
_IS_LETTER = bytes(ord("a") if byte in _LETTERS else 0 for byte in range(256))
_LONG = b"a" * 60  # letters of base64: an encoder's line, or a whole value
_RUN = re.compile(
    rb"[A-Za-z0-9+/]{60,}(?:(?:\s|\\n)+[A-Za-z0-9+/]{60,})*(?:(?:\s|\\n)+[A-Za-z0-9+/]+)?"
)
_ALL = re.compile(rb"[A-Za-z0-9+/]{20,}[A-Za-z0-9+/\s]*={0,2}\s*")


def texts(data: bytes) -> Iterator[bytes]:
    """What a file says in another encoding."""
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        yield _utf8(data[: len(data) & ~3], "utf-32")
    elif _is_wide(data):
        yield _utf8(data[: len(data) & ~1], _width(data))
    elif len(data) < SMALL and _ALL.fullmatch(data):
        yield _decoded(data)
    else:
        yield from map(_decoded, _encoded(data))


def _utf8(data: bytes, encoding: str) -> bytes:
    return data.decode(encoding, "replace").encode()


def _is_wide(data: bytes) -> bool:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    start = data[:64]
    return start.count(0) == len(start) // 2 > 0 and _width(data) != ""


def _width(data: bytes) -> str:
    """UTF-16 of which half, by which half of its letters is empty."""
    if data[:2] == b"\xff\xfe" or not any(data[1:64:2]):
        return "utf-16-le"
    if data[:2] == b"\xfe\xff" or not any(data[0:64:2]):
        return "utf-16-be"
    return ""


def _encoded(data: bytes) -> Iterator[bytes]:
    """Long runs of base64's letters, each with those that follow it in the next lines."""
    letters = data.translate(_IS_LETTER)
    at = letters.find(_LONG)
    while at >= 0:
        found = _RUN.match(data, at)
        at = letters.find(_LONG, found.end() if found else at + len(_LONG))
        if found and is_random(found[0][:100]):
            yield found[0].replace(b"\\n", b"")


def _decoded(text: bytes) -> bytes:
    plain = b"".join(text.split()).rstrip(b"=")
    whole = plain[:-1] if len(plain) % 4 == 1 else plain
    try:
        return base64.b64decode(whole + b"=" * (-len(whole) % 4))
    except binascii.Error:
        return b""
