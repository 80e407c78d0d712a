"""Password hashes that a log-in, a web server, a directory or a database would take."""

from __future__ import annotations

import base64
import binascii
import re

from .form import SMALL, Form, having, in_short, is_text

_RULE = "holds a usable password hash"
_SALT = rb"[./A-Za-z0-9]"
_B64 = rb"[./A-Za-z0-9+=]"
_END = rb"(?![./A-Za-z0-9])"
_WAYS = (  # crypt(5) and its kin, as long as they really are, so that a sample with dots is none
    rb"(?:1|apr1)\$" + _SALT + rb"{1,8}\$" + _SALT + rb"{22}" + _END,
    rb"5\$(?:rounds=\d+\$)?" + _SALT + rb"{1,16}\$" + _SALT + rb"{43}" + _END,
    rb"6\$(?:rounds=\d+\$)?" + _SALT + rb"{1,16}\$" + _SALT + rb"{86}" + _END,
    rb"2[abxy]\$\d\d\$" + _SALT + rb"{53}" + _END,
    rb"g?y\$" + _SALT + rb"+\$" + _SALT + rb"{1,86}\$" + _SALT + rb"{43}" + _END,
    rb"7\$" + _SALT + rb"{11,97}\$" + _SALT + rb"{43}" + _END,
    rb"argon2(?:id|i|d)\$(?:v=\d+\$)?m=\d+,t=\d+,p=\d+\$" + _B64 + rb"{8,}\$" + _B64 + rb"{16,}",
    rb"pbkdf2(?:-sha\d+)?\$\d+\$" + _B64 + rb"{8,}\$" + _B64 + rb"{20,}",
    rb"scrypt\$ln=\d+,r=\d+,p=\d+\$" + _B64 + rb"{8,}\$" + _B64 + rb"{20,}",
    rb"bcrypt-sha256\$[a-z0-9=,]+\$" + _SALT + rb"{22}\$" + _SALT + rb"{31}",
    rb"sha1\$\d+\$" + _SALT + rb"{1,64}\$" + _SALT + rb"{28}" + _END,
    rb"md5[,$](?:rounds=\d+\$)?" + _SALT + rb"{1,16}\$\$?" + _SALT + rb"{22}" + _END,
    rb"[PH]\$" + _SALT + rb"{31}" + _END,  # phpass
    rb"S\$" + _SALT + rb"{52}" + _END,
    rb"(?:NT|3\$)\$[0-9a-f]{32}" + _END,
    rb"\d{3,8}\$[\w./+=-]{4,64}\$[A-Za-z0-9+/]{27,}=",  # pbkdf2_sha256$ of Django
    rb"[A-Za-z0-9]{4,64}\$[0-9a-f]{64,128}" + _END,  # scrypt: and pbkdf2: of Werkzeug
    # SCRAM-SHA-256$ of PostgreSQL
    rb"\d{3,8}:[A-Za-z0-9+/=]{16,}\$[A-Za-z0-9+/]{27,}=:[A-Za-z0-9+/]{27,}=",
)
_HASH = re.compile(rb"\$(?:" + rb"|".join(_WAYS) + rb")")
# `$` as a shell takes it, docker compose or make: of the kinds that today's programs make
_DOLLAR = re.compile(rb"\\\$|\$\$")
_ESCAPED = (b"$6", b"$y", b"$2y", b"apr1")
_LDAP = re.compile(  # RFC 2307's schemes, and those that came later
    rb"\{(?:(?i:S?SHA(?:-?(?:256|384|512))?|S?MD5|PBKDF2[A-Z0-9-]*|PKCS5S2)\}[A-Za-z0-9+/.$]{22,}"
    rb"|(?i:CRYPT)\}(?:" + _SALT + rb"{13}|_" + _SALT + rb"{19})" + _END + rb")"
)
_LDIF = re.compile(rb":: (e[01][A-Za-z0-9+/]{16,}={0,2})")  # `{` in base64
_GRUB = re.compile(rb"grub\.pbkdf2\.sha512\.\d+\.[0-9A-F]{64,}\.[0-9A-F]{64,}")
_TWO = rb"(?:" + _SALT + rb"{13}|_" + _SALT + rb"{19})"  # DES, and BSDi's
_DES = re.compile(  # the rest of a line of shadow, of an old passwd, or of pwdump
    (rb":(?:" + _TWO + rb":")
    + rb"(?:\d*:\d*:\d*:\d*:\d*:\d*:\d*|\d+:\d+:[^:\n]*:[^:\n]*:[^:\n]*)"
    + rb"|\d+:[0-9A-Fa-f]{32}:[0-9A-Fa-f]{32}:::)\r?$",
    re.MULTILINE,
)
_SAMBA = re.compile(rb":(?:[0-9A-F]{32}:X{32}|[0-9A-FX]{32}:[0-9A-F]{32}):\[[A-Z ]+\]:LCT-")
# `htpasswd -d`, `htdigest`: too short to be known but as all that a file holds
_HTPASSWD = re.compile(
    rb"[^:\s#]{1,64}:(?:(" + _SALT + rb"{13}|_" + _SALT + rb"{19})|[^:\n]{1,64}:[0-9a-f]{32})"
)
_DPKG = re.compile(rb"[a-z0-9]+/noawait")  # `shim-signed:amd64/noawait`: who waits for a trigger
_HTPASSWD_START = re.compile(rb"(?:(?:#[^\n]*)?\n)*" + _HTPASSWD.pattern)


def _hash(data: bytes) -> bool:
    return bool(_HASH.search(data) or _LDAP.search(data))


def _escaped(data: bytes) -> bool:
    return bool(_HASH.search(_DOLLAR.sub(b"$", data)))


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
    """Whether two kinds of characters are in it, of which one is letters of a kind."""
    small = re.search(rb"[a-z]", text) and re.search(rb".[A-Z0-9./]", text)
    large = re.search(rb"[A-Z]", text) and re.search(rb".[0-9./]", text)
    return bool(small or large) and not _DPKG.fullmatch(text)


BY_HINT = (
    Form(_RULE, (b"$",), having(_HASH)),
    Form(_RULE, (b"{",), having(_LDAP)),
    Form(_RULE, (b":: e",), _ldif, 0, 600),
    Form(_RULE, (b"grub.pbkdf2",), having(_GRUB), 0, 2000),
    Form(_RULE, (b":LCT-",), having(_SAMBA), 120, 40),
    Form(_RULE, (b":",), _account),
)
SMALL_FILES = (
    Form("holds usable password hashes", (), _htpasswd),
    Form(_RULE, (), in_short(*_ESCAPED, holds=_escaped)),
)
