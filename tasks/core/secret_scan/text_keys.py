"""Keys in text: PEM and its like, in whatever dress.

A key is still one behind comment signs, quotes, list dashes or a diff's plus, with its line ends
escaped as JSON, C, XML, HTML or a URL do, or percent-encoded.
"""

from __future__ import annotations

import base64
import re

from .form import SHORT, Form, having, in_short, is_random

_SPACE = rb"(?:[ +]|%20)"
_LETTER = rb"(?:[A-Za-z0-9+/]|%2[BFbf]|\\+/|&#(?:43|47|x2[BFbf]);)"
_HEADER = (  # Proc-Type: 4,ENCRYPTED
    rb"[A-Z][A-Za-z-]+(?::|%3A)" + _SPACE + rb"(?:[^\n\\%&<]|%2C|%3A){0,100}"
)
_END_OF_LINE = rb"\\+(?:[rnt]|u000[ADad]|x0[ADad]|01[25])?|%0[ADad]|%20|&#(?:1[03]|32|x0?[ADad]);"
_SIGN = rb"""[\s"'`+,#>|*;!:.-]|//"""
_BREAK = (
    rb"(?:" + _SIGN + rb"|" + _END_OF_LINE + rb"|&quot;|&nbsp;|<[Bb][Rr] ?/?>|" + _HEADER + rb")*"
)
_PEM = re.compile(
    rb"-{4,5} ?BEGIN"
    + (_SPACE + rb"(?:[A-Z0-9]+" + _SPACE + rb"){0,3}PRIVATE" + _SPACE + rb"KEY")
    + (rb"(?:" + _SPACE + rb"BLOCK)? ?-{4,5}")
    + (rb"(?:" + _BREAK + rb"(" + _LETTER + rb"{24,})")
    # or any words around each line
    + rb"|(?:(?:[^\n-]|-(?!----)){0,100}\n){1,4}[^\n]{0,80}?\b([A-Za-z0-9+/]{40,}))"
)
_OPENVPN = re.compile(rb"BEGIN OpenVPN [A-Za-z0-9 -]{6,40}-----" + _BREAK + _LETTER + rb"{32}")
_PUTTY = re.compile(rb"\APrivate-Lines: *\d+" + _BREAK + _LETTER + rb"{24}")
_WIREGUARD = re.compile(
    rb"\A(?:rivate|hared)[-_]?[Kk]ey[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9+/]{43}=(?![A-Za-z0-9+/=])"
)
_DNSSEC = re.compile(
    rb"\APrivate-key-format: v1[^:]*\n(?:[^:\n]+:[^\n]*\n)*?"
    rb"[ \t]*(?:\w*Key|Private\w+[^:\n]*): *[\w+/]"
)
_SECRET = rb"secret:?\s+[\"']?[A-Za-z0-9+/]{16,}={0,2}(?![A-Za-z0-9+/=.])"
_TSIG = re.compile(
    (rb"hmac-(?:md5|sha)[^{}]{0,200}?\b" + _SECRET)
    + (rb"|\b" + _SECRET + rb"[^{}]{0,200}?hmac-(?:md5|sha)")
    + rb"|hmac-(?:md5|sha)[\w.-]*:[\w.-]+[: ][A-Za-z0-9+/]{20,}={0,2}"
)
_AGE = re.compile(rb"AGE-SECRET-KEY-(?:[A-Z0-9]+-)?1[02-9A-Z]{40,}")
_JWK = re.compile(rb"[\"'](?:d|k)\\?[\"']\s*:\s*\\?[\"'][A-Za-z0-9_-]{20,}")
_AGENT = re.compile(rb"(?:\A|^Key:\s*)\((?:\d+:)?(?:protected-)?private-key", re.MULTILINE)
# minisign's, signify's
_SIGNING = re.compile(rb"untrusted comment:[^\n]*\n(?:RWRTY0|RWQAAE|RWRCS)[A-Za-z0-9+/]{60}")
_STORAGE = re.compile(rb"(?:DHHC-1:0[0-3]|NVMeTLSkey-1:0[0-2]):[A-Za-z0-9+/]{40,}={0,2}:")
_CEPH = re.compile(rb"key[\"']?\s*[=:]\s*[\"']?(AQ[A-Za-z0-9+/]{36}==)")
_BORG = re.compile(rb"BORG_KEY [0-9a-f]{64}\s+[A-Za-z0-9+/]{40}")
_MOUNT = re.compile(
    rb"(?i:\s*(?:(?:user(?:name)?|dom(?:ain)?|pass(?:word)?)\s*=[^\n]*|[#;][^\n]*)?)"
)
_NETRC = {b"machine", b"login", b"password", b"account"}  # each with a value: netrc(5)


def _pem(data: bytes) -> bool:
    if b"BEGIN" not in data:
        return False
    return any(is_random(match[1] or match[2]) for match in _PEM.finditer(data))


def _bare_key(data: bytes) -> bool:
    """`wg genkey > FILE`.

    A public one has the same length: a private one is clamped (RFC 7748), one in 16 of those.
    """
    if len(data) > 46 or not re.fullmatch(rb"[A-Za-z0-9+/]{43}=\s*", data):
        return False
    key = base64.b64decode(data)
    return key[0] & 7 == 0 and key[31] & 0xC0 == 0x40


def _ceph(data: bytes) -> bool:
    """A key of cephx: type, time, and the length of what is random."""
    return any(map(_is_ceph, _CEPH.findall(data)))


def _bare_ceph(data: bytes) -> bool:
    """`ceph auth get-key … > FILE`, which a mount's `secretfile=` names."""
    return bool(re.fullmatch(rb"AQ[A-Za-z0-9+/]{36}==\s*", data[:64])) and _is_ceph(data)


def _is_ceph(text: bytes) -> bool:
    key = base64.b64decode(text)
    return key[:2] == b"\1\0" and key[10:12] == b"\x10\0"


def _credentials(data: bytes) -> bool:
    """What a mount's `credentials=` names (mount.cifs(8)), or a netrc(5), and nothing else."""
    if len(data) > SHORT or b"pass" not in data:
        return False
    if all(map(_MOUNT.fullmatch, data.splitlines())):
        return bool(re.search(rb"(?mi:^\s*pass(?:word)?[ \t]*=[ \t]*\S)", data))
    words = re.sub(rb"(?m:^\s*#.*)", b"", data).split()
    names = set(words[::2])
    return words[:1] == [b"machine"] and b"password" in names and names <= _NETRC


def _signing(data: bytes) -> bool:
    return bool(_SIGNING.match(data))


_in_ceph = in_short(b"AQ", holds=_ceph)
_in_borg = in_short(b"BORG_KEY ", holds=having(_BORG))
_in_nvme = in_short(b"-1:0", holds=having(_STORAGE))
_WIREGUARD_RULE = "holds a private key of WireGuard, or a shared one"
BY_HINT = (
    Form("holds a private key (PEM)", (b"PRIVATE",), _pem, 80, 2000),
    Form("holds a static key of OpenVPN", (b"BEGIN OpenVPN",), having(_OPENVPN), 0, 1000),
    Form(_WIREGUARD_RULE, (b"rivate", b"hared"), having(_WIREGUARD), 0, 100),
    Form("holds a private key of PuTTY", (b"rivate",), having(_PUTTY), 1, 400),
    Form("holds a private key of DNSSEC", (b"rivate",), having(_DNSSEC), 1, 3000),
    Form("is a private key of gpg-agent", (b"rivate",), having(_AGENT), 30, 100),
    Form("holds a key of DNS updates (TSIG)", (b"hmac-",), having(_TSIG), 400, 500),
    Form("holds a private key of age", (b"AGE-SECRET-KEY-",), having(_AGE), 0, 200),
    Form("holds a private JSON Web Key", (b'"kty',), having(_JWK), 3000, 3000),
)
SMALL_FILES = (
    Form("is a private key of WireGuard", (), _bare_key),
    Form("is a private key that signs", (), _signing),
    Form("is a key of Ceph", (), _bare_ceph),
    Form("holds a key of Ceph", (), _in_ceph),
    Form("holds a key of Borg", (), _in_borg),
    Form("holds a secret of NVMe over a network", (), _in_nvme),
    Form("holds the password of a mount, or of other machines", (), _credentials),
)
