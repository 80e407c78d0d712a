"""The forms of keys and password hashes that are known by their bytes alone: one table of recognisers.

Each has hints: bytes of which some are in every file that holds it. To look for them costs little, and in most files
there are none; what they are a part of is then looked at by an expression or by its parts. docs/secrets.md lists all.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

SHORTEST = 16  # no secret is shorter: a line of htpasswd
SHORTEST_BINARY = 32
SMALL = 64 << 10  # no file that is nothing but a key, or but lines of accounts, is longer
CATALOGUE = (
    b"\xde\x12\x04\x95",
    b"\x95\x04\x12\xde",
)  # gettext's: translations, an eighth of a root


class Form(NamedTuple):
    """A kind of secret, and how it is known."""

    rule: str  # what is said of a file that holds one
    hints: tuple[
        bytes, ...
    ]  # one of them is in every such file; none: it is known by how the file begins
    holds: Callable[[bytes], bool]  # asked of the whole file, or of what is around a hint:
    before: int = 0  # bytes
    after: int = 0  # from the hint's beginning on; 0 for the whole file


def rule_of(data: bytes) -> str:
    """What the bytes of one file are or hold that must not leave, in words; "" for nothing that is known."""
    if len(data) < SHORTEST or is_opaque(data):
        return ""
    is_binary = data[0] in STARTS and len(data) >= SHORTEST_BINARY
    forms = (BY_START if is_binary else ()) + SMALL_FILES
    found = next((form.rule for form in forms if form.holds(data)), "")
    return found or next(filter(None, (_by_hint(hint, data) for hint in HINTS if hint in data)), "")


def _by_hint(hint: bytes, data: bytes) -> str:
    """The rule of a form that this is a hint of, and that is there."""
    whole, around = HINTS[hint]
    for form in whole:
        if form.holds(data):
            return form.rule
    at = data.find(hint) if around else -1
    while at >= 0:
        for form in around:
            if form.holds(data[max(0, at - form.before) : at + form.after]):
                return form.rule
        at = data.find(hint, at + len(hint))
    return ""


def is_opaque(data: bytes) -> bool:
    """Programs and libraries carry keys for their self-tests, and prelink changes their digests; core dumps do not.

    Nor are translations looked into.
    """
    if data[:4] != b"\x7fELF":
        return data.startswith(CATALOGUE)
    return int.from_bytes(data[16:18], "big" if data[5] == 2 else "little") != _CORE


_CORE = 4  # elf.h: ET_CORE


# ---- keys in text --------------------------------------------------------------------------------------------------

# A key is still one behind comment signs, quotes, list dashes or a diff's plus, with its line ends escaped as JSON, C,
# XML, HTML or a URL do, or percent-encoded.
_SPACE = rb"(?:[ +]|%20)"
_LETTER = rb"(?:[A-Za-z0-9+/]|%2[BFbf]|\\+/|&#(?:43|47|x2[BFbf]);)"
_HEADER = (  # Proc-Type: 4,ENCRYPTED
    rb"[A-Z][A-Za-z-]+(?::|%3A)" + _SPACE + rb"(?:[^\n\\%&<]|%2C|%3A){0,100}"
)
_BREAK = (
    rb"""(?:[\s"'`+,#>|*;!:.-]|//|\\+(?:[rnt]|u000[ADad]|x0[ADad]|01[25])?|%0[ADad]|%20|&#(?:1[03]|32|x0?[ADad]);"""
    rb"""|&quot;|&nbsp;|<[Bb][Rr] ?/?>|""" + _HEADER + rb")*"
)
_PEM = re.compile(
    rb"-{4,5} ?BEGIN" + _SPACE + rb"(?:[A-Z0-9]+" + _SPACE + rb"){0,3}PRIVATE" + _SPACE + rb"KEY"
    rb"(?:" + _SPACE + rb"BLOCK)? ?-{4,5}"
    rb"(?:" + _BREAK + rb"(" + _LETTER + rb"{24,})"
    rb"|(?:(?:[^\n-]|-(?!----)){0,100}\n){1,4}[^\n]{0,24}?\b([A-Za-z0-9+/]{40,}))"  # any words around each line
)  # fmt: skip
_OPENVPN = re.compile(rb"BEGIN OpenVPN [A-Za-z0-9 -]{6,40}-----" + _BREAK + _LETTER + rb"{32}")
_PUTTY = re.compile(rb"\APrivate-Lines: *\d+" + _BREAK + _LETTER + rb"{24}")
_WIREGUARD = re.compile(
    rb"\A(?:rivate|hared)[-_]?[Kk]ey[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9+/]{43}=(?![A-Za-z0-9+/=])"
)
_DNSSEC = re.compile(
    rb"\APrivate-key-format: v1[^:]*\n(?:[^:\n]+:[^\n]*\n)*?[ \t]*(?:\w*Key|Private\w+[^:\n]*): *[\w+/]"
)
_SECRET = rb"secret:?\s+[\"']?[A-Za-z0-9+/]{16,}={0,2}(?![A-Za-z0-9+/=.])"
_TSIG = re.compile(
    rb"hmac-(?:md5|sha)[^{}]{0,200}?\b"
    + _SECRET
    + rb"|\b"
    + _SECRET
    + rb"[^{}]{0,200}?hmac-(?:md5|sha)"
    rb"|hmac-(?:md5|sha)[\w.-]*:[\w.-]+[: ][A-Za-z0-9+/]{20,}={0,2}"
)
_AGE = re.compile(rb"AGE-SECRET-KEY-(?:[A-Z0-9]+-)?1[02-9A-Z]{40,}")
_JWK = re.compile(rb"[\"'](?:d|k)\\?[\"']\s*:\s*\\?[\"'][A-Za-z0-9_-]{20,}")
_AGENT = re.compile(rb"(?:\A|^Key:\s*)\((?:\d+:)?(?:protected-)?private-key", re.MULTILINE)
_SIGNING = re.compile(
    rb"untrusted comment:[^\n]*\n(?:RWRTY0|RWQAAE|RWRCS)[A-Za-z0-9+/]{60}"
)  # minisign's, signify's


def _pem(data: bytes) -> bool:
    if b"BEGIN" not in data:
        return False
    return any(is_random(match[1] or match[2]) for match in _PEM.finditer(data))


def is_random(text: bytes) -> bool:
    """A word or a path of that length has no digits, or no capitals."""
    return all(re.search(kind, text) for kind in (rb"[0-9]", rb"[A-Z]", rb"[a-z]"))


def _bare_key(data: bytes) -> bool:
    """`wg genkey > FILE`. A public one has the same length: a private one is clamped (RFC 7748), one in 16 of those."""
    if len(data) > 46 or not re.fullmatch(rb"[A-Za-z0-9+/]{43}=\s*", data):
        return False
    key = base64.b64decode(data)
    return key[0] & 7 == 0 and key[31] & 0xC0 == 0x40


def _signing(data: bytes) -> bool:
    return bool(_SIGNING.match(data))


# ---- keys in binary ------------------------------------------------------------------------------------------------

_DER_KEY = re.compile(  # after the outer SEQUENCE: PKCS#1, PKCS#8 and SEC 1 (RFC 8017, 5958, 5915)
    rb"\x02\x01(?:\x00\x02[\x40-\x82]|[\x00\x01]\x30.{1,2}\x06[\x03-\x0b]|\x01\x04[\x1c-\x42])"
    rb"|\x30(?:[\x00-\x7f]|\x81.|\x82..)\x06(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05[\x01-\x0d]"  # PKCS#8, encrypted:
    rb"|\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01[\x01-\x06])",  # RFC 8018 and RFC 7292
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
_SSH_PUBLIC = {
    b"ssh-rsa": 2,
    b"ssh-dss": 4,
    b"ssh-ed25519": 1,
    b"ecdsa-sha2": 2,
}  # fields after the name (RFC 4253)
_TICKETS = b"\x05\x04\x00\x0c\x00\x01\x00\x08"  # MIT's credential cache file format, as both Kerberos write it


def _binary_key(data: bytes) -> bool:
    return data.startswith(_SSH_STARTS) or _der_key(data) or _dropbear(data) or _openpgp(data)


def _der_key(data: bytes) -> bool:
    """Whether one of the DER SEQUENCEs that the file begins with is a key: it may stand behind its certificate."""
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
    """Where the content of the DER SEQUENCE at a place begins and ends; (0, 0) where there is none."""
    if data[at : at + 1] != b"\x30" or at + 2 > len(data):
        return 0, 0
    length, count = data[at + 1], 0
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[at + 2 : at + 2 + count], "big")
    body = at + 2 + count
    return (body, body + length) if count < 5 and length else (0, 0)


def _dropbear(data: bytes) -> bool:
    """ssh's strings, as of a public key, with the private numbers after them (dropbear's signkey.c)."""
    if data[:3] != b"\0\0\0" or len(data) > SMALL:
        return False
    fields, at = list[bytes](), 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return False
        fields.append(data[at + 4 : end])
        at = end
    public = next(
        (count for name, count in _SSH_PUBLIC.items() if fields and fields[0].startswith(name)), 0
    )
    if fields and fields[0] == b"ssh-ed25519":
        return len(fields) == 2 and len(fields[1]) == 64  # both halves in one
    return bool(public) and at == len(data) and len(fields) > 1 + public


def _openpgp(data: bytes) -> bool:
    """Whether it begins with a secret key packet, of whatever version (RFC 4880 and 9580, 4.2 and 5.5)."""
    first = data[0]
    if first in (0x94, 0x95, 0x96):
        body = 1 + (1 << (first & 3))
        length = int.from_bytes(data[1:body], "big")
    elif first == 0xC5:
        size = 1 if data[1] < 192 else 2 if data[1] < 224 else 5
        body, length = 1 + size, len(data) - 1
    else:
        return False
    version, created, algorithm = data[body], data[body + 1], data[body + 5]
    return (
        version in (4, 5, 6)
        and created >= _NINETIES
        and algorithm in _ALGORITHMS
        and 32 < length < len(data)
    )


_NINETIES = 0x2A  # the first byte of a time since 1992
_ALGORITHMS = {1, 2, 3, 16, 17, 18, 19, 20, 22, 25, 26, 27, 28}  # of public keys


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
    return (
        0 < abs(size) <= len(data) - 6
        and 0 < components < 8
        and len(name) == realm > 0
        and name.isascii()
    )


# ---- password hashes -----------------------------------------------------------------------------------------------

_SALT = rb"[./A-Za-z0-9]"
_B64 = rb"[./A-Za-z0-9+=]"
_END = rb"(?![./A-Za-z0-9])"
_HASH = re.compile(  # crypt(5) and its kin, as long as they really are, so that a sample with dots is none
    rb"\$(?:(?:1|apr1)\$" + _SALT + rb"{1,8}\$" + _SALT + rb"{22}" + _END
    + rb"|5\$(?:rounds=\d+\$)?" + _SALT + rb"{1,16}\$" + _SALT + rb"{43}" + _END
    + rb"|6\$(?:rounds=\d+\$)?" + _SALT + rb"{1,16}\$" + _SALT + rb"{86}" + _END
    + rb"|2[abxy]\$\d\d\$" + _SALT + rb"{53}" + _END
    + rb"|g?y\$" + _SALT + rb"+\$" + _SALT + rb"{1,86}\$" + _SALT + rb"{43}" + _END
    + rb"|7\$" + _SALT + rb"{11,97}\$" + _SALT + rb"{43}" + _END
    + rb"|argon2(?:id|i|d)\$(?:v=\d+\$)?m=\d+,t=\d+,p=\d+\$" + _B64 + rb"{8,}\$" + _B64 + rb"{16,}"
    + rb"|pbkdf2(?:-sha\d+)?\$\d+\$" + _B64 + rb"{8,}\$" + _B64 + rb"{20,}"
    + rb"|scrypt\$ln=\d+,r=\d+,p=\d+\$" + _B64 + rb"{8,}\$" + _B64 + rb"{20,}"
    + rb"|bcrypt-sha256\$[a-z0-9=,]+\$" + _SALT + rb"{22}\$" + _SALT + rb"{31}"
    + rb"|sha1\$\d+\$" + _SALT + rb"{1,64}\$" + _SALT + rb"{28}" + _END
    + rb"|md5[,$](?:rounds=\d+\$)?" + _SALT + rb"{1,16}\$\$?" + _SALT + rb"{22}" + _END
    + rb"|[PH]\$" + _SALT + rb"{31}" + _END + rb"|S\$" + _SALT + rb"{52}" + _END  # phpass
    + rb"|(?:NT|3\$)\$[0-9a-f]{32}" + _END
    + rb"|\d{3,8}\$[\w./+=-]{4,64}\$[A-Za-z0-9+/]{27,}="  # pbkdf2_sha256$ of Django
    + rb"|[A-Za-z0-9]{4,64}\$[0-9a-f]{64,128}" + _END  # scrypt: and pbkdf2: of Werkzeug
    + rb"|\d{3,8}:[A-Za-z0-9+/=]{16,}\$[A-Za-z0-9+/]{27,}=:[A-Za-z0-9+/]{27,}=)"  # SCRAM-SHA-256$ of PostgreSQL
)  # fmt: skip
_LDAP = re.compile(  # RFC 2307's schemes, and those that came later
    rb"\{(?:(?i:S?SHA(?:-?(?:256|384|512))?|S?MD5|PBKDF2[A-Z0-9-]*|PKCS5S2)\}[A-Za-z0-9+/.$]{22,}"
    rb"|(?i:CRYPT)\}(?:" + _SALT + rb"{13}|_" + _SALT + rb"{19})" + _END + rb")"
)
_LDIF = re.compile(rb":: (e[01][A-Za-z0-9+/]{16,}={0,2})")  # `{` in base64
_GRUB = re.compile(rb"grub\.pbkdf2\.sha512\.\d+\.[0-9A-F]{64,}\.[0-9A-F]{64,}")
_DES = re.compile(  # the rest of a line of shadow, of an old passwd, or of pwdump
    rb":(?:(?:" + _SALT + rb"{13}|_" + _SALT + rb"{19}):"
    rb"(?:\d*:\d*:\d*:\d*:\d*:\d*:\d*|\d+:\d+:[^:\n]*:[^:\n]*:[^:\n]*)|\d+:[0-9A-Fa-f]{32}:[0-9A-Fa-f]{32}:::)\r?$",
    re.MULTILINE,
)
_SAMBA = re.compile(rb":(?:[0-9A-F]{32}:X{32}|[0-9A-FX]{32}:[0-9A-F]{32}):\[[A-Z ]+\]:LCT-")
# `htpasswd -d`, `htdigest`: too short to be known but as all that a file holds
_HTPASSWD = re.compile(
    rb"[^:\s#]{1,64}:(?:(" + _SALT + rb"{13}|_" + _SALT + rb"{19})|[^:\n]{1,64}:[0-9a-f]{32})"
)
_HTPASSWD_START = re.compile(rb"(?:(?:#[^\n]*)?\n)*" + _HTPASSWD.pattern)


def _hash(data: bytes) -> bool:
    return bool(_HASH.search(data) or _LDAP.search(data))


def _ldif(data: bytes) -> bool:
    joined = data.replace(b"\r", b"").replace(b"\n ", b"")
    return any(_hash(_decoded(match[1])) for match in _LDIF.finditer(joined))


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text[: len(text) & ~3])
    except binascii.Error:
        return b""


def _account(data: bytes) -> bool:
    return is_text(data) and any(map(_has_name, _DES.finditer(data)))


def _has_name(match: re.Match[bytes]) -> bool:
    """Whether what is before the hash is a name at a line's beginning."""
    before = match.string[max(0, match.start() - 34) : match.start()].rpartition(b"\n")[2]
    return bool(re.fullmatch(rb"[A-Za-z_][A-Za-z0-9_.-]*\$?", before))


def _htpasswd(data: bytes) -> bool:
    """Whether a file is nothing but names with hashes, and they look it."""
    if len(data) > SMALL or not _HTPASSWD_START.match(data):
        return False
    lines = [line for line in data.splitlines() if line.strip() and not line.startswith(b"#")]
    found = [_HTPASSWD.fullmatch(line.rstrip()) for line in lines]
    return all(match and (match[1] is None or _is_no_word(match[1])) for match in found)


def _is_no_word(text: bytes) -> bool:
    return bool(re.search(rb".[A-Z0-9./]", text) and re.search(rb"[a-z]", text))


def is_text(data: bytes) -> bool:
    return b"\0" not in data[:8192]


def _by(expression: re.Pattern[bytes]) -> Callable[[bytes], bool]:
    return lambda data: bool(expression.search(data))


BY_START = (
    Form("holds a private key", (), _binary_key),
    Form("is a key store with a private key", (), _key_store),
    Form("is a Kerberos keytab", (), _keytab),
    Form("is a cache of Kerberos tickets", (), lambda data: data.startswith(_TICKETS)),
)
STARTS = frozenset(b"\x00\x05\x30\x94\x95\x96\xc5\xce\xfeoPS")  # of those
SMALL_FILES = (
    Form("is a private key of WireGuard", (), _bare_key),
    Form("is a private key that signs", (), _signing),
    Form("holds usable password hashes", (), _htpasswd),
)
BY_HINT = (
    Form("holds a private key (PEM)", (b"PRIVATE",), _pem, 80, 2000),
    Form("holds a static key of OpenVPN", (b"BEGIN OpenVPN",), _by(_OPENVPN), 0, 1000),
    Form(
        "holds a private key of WireGuard, or a shared one",
        (b"rivate", b"hared"),
        _by(_WIREGUARD),
        0,
        100,
    ),
    Form("holds a private key of PuTTY", (b"rivate",), _by(_PUTTY), 1, 400),
    Form("holds a private key of DNSSEC", (b"rivate",), _by(_DNSSEC), 1, 3000),
    Form("is a private key of gpg-agent", (b"rivate",), _by(_AGENT), 30, 100),
    Form("holds a key of DNS updates (TSIG)", (b"hmac-",), _by(_TSIG), 400, 500),
    Form("holds a private key of age", (b"AGE-SECRET-KEY-",), _by(_AGE), 0, 200),
    Form("holds a private JSON Web Key", (b'"kty',), _by(_JWK), 3000, 3000),
    Form("holds a usable password hash", (b"$",), _by(_HASH)),
    Form("holds a usable password hash", (b"{",), _by(_LDAP)),
    Form("holds a usable password hash", (b":: e",), _ldif, 0, 600),
    Form("holds a usable password hash", (b"grub.pbkdf2",), _by(_GRUB), 0, 2000),
    Form("holds a usable password hash", (b":LCT-",), _by(_SAMBA), 120, 40),
    Form("holds a usable password hash", (b":",), _account),
)


def _with(hint: bytes, around: bool) -> list[Form]:
    return [form for form in BY_HINT if hint in form.hints and bool(form.after) == around]


# hint -> the forms that ask for the whole file then, and those that ask for what is around it
HINTS = {hint: (_with(hint, False), _with(hint, True)) for form in BY_HINT for hint in form.hints}
