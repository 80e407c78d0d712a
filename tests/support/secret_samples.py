"""Secrets of every form that the search knows, made by the programs that make them, and their dress."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import pathlib
import sqlite3
import struct
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator

Make = Callable[[pathlib.Path], bytes]


def run(*argv: str, cwd: pathlib.Path, given: bytes = b"") -> bytes:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, input=given).stdout


def written(at: pathlib.Path, name: str, *argv: str) -> bytes:
    """What a program writes to a file."""
    run(*argv, cwd=at)
    return (at / name).read_bytes()


# ---- forms ---------------------------------------------------------------------------------------------------------


def dropbear(kind: str) -> Make:
    return lambda at: written(at, "key", "dropbearkey", "-t", kind, "-f", "key")


def wireguard(at: pathlib.Path) -> bytes:
    return b"[Interface]\nPrivateKey = " + run("wg", "genkey", cwd=at) + b"ListenPort = 51820\n"


def wireguard_psk(at: pathlib.Path) -> bytes:
    return b"[Peer]\nPublicKey = x\nPresharedKey=" + run("wg", "genpsk", cwd=at)


@contextlib.contextmanager
def gpg_home(at: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder of gpg's with a key; its agent ends with it."""
    home = at / "gpg"
    home.mkdir(mode=0o700)
    words = ["--batch", "--passphrase", "", "--quick-gen-key", "me@example.org", "ed25519"]
    try:
        run("gpg", "--homedir", str(home), *words, cwd=at)
        yield home
    finally:
        run("gpgconf", "--homedir", str(home), "--kill", "gpg-agent", cwd=at)


def gpg_keyring(at: pathlib.Path) -> bytes:
    with gpg_home(at) as home:
        return run("gpg", "--homedir", str(home), "--batch", "--export-secret-keys", cwd=at)


def gpg_agent(at: pathlib.Path) -> bytes:
    with gpg_home(at) as home:
        return next((home / "private-keys-v1.d").iterdir()).read_bytes()


def dnssec(at: pathlib.Path) -> bytes:
    run("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "example.org", cwd=at)
    return next(at.glob("*.private")).read_bytes()


def der(at: pathlib.Path) -> bytes:
    return run("openssl", "genpkey", "-algorithm", "ED25519", "-outform", "DER", cwd=at)


def ceph(at: pathlib.Path) -> bytes:
    """As CryptoKey::encode of Ceph's auth/Crypto.h has it: type, seconds, nanoseconds, length."""
    head = struct.pack("<HIIH", 1, 1700000000, 5, 16)
    return base64.b64encode(head + os.urandom(16)) + b"\n"


def ceph_keyring(at: pathlib.Path) -> bytes:
    return b"[client.wn]\n\tkey = " + ceph(at)


def ceph_json(at: pathlib.Path) -> bytes:
    key = ceph(at).strip()
    return b'[{"entity":"client.wn","key":"' + key + b'"}]'


def nvme_chap(at: pathlib.Path) -> bytes:
    secret = base64.b64encode(os.urandom(36))
    return b'"dhchap_key":"DHHC-1:00:' + secret + b':"'


def nvme_tls(at: pathlib.Path) -> bytes:
    secret = base64.b64encode(os.urandom(36))
    return b"NVMeTLSkey-1:01:" + secret + b":\n"


def borg(at: pathlib.Path) -> bytes:
    repository = os.urandom(32).hex()
    key = base64.encodebytes(os.urandom(300))
    return b"BORG_KEY %b\n%b" % (repository.encode(), key)


def credentials(at: pathlib.Path) -> bytes:
    return b"# nas\nusername=wn\npassword=geheim\ndomain = GRID\n"


def netrc(at: pathlib.Path) -> bytes:
    return b"# enroot\nmachine nvcr.io login $oauthtoken\n  password geheim\n"


def encrypted_der(at: pathlib.Path) -> bytes:
    (at / "k.der").write_bytes(der(at))
    words = ["-topk8", "-inform", "DER", "-in", "k.der", "-outform", "DER", "-passout", "pass:x"]
    return run("openssl", "pkcs8", *words, cwd=at)


def certificate_and_key(at: pathlib.Path) -> bytes:
    words = [
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=x",
        "-keyout",
        "k.pem",
        "-outform",
        "DER",
    ]
    cert = run("openssl", "req", *words, cwd=at)
    return cert + run("openssl", "rsa", "-in", "k.pem", "-outform", "DER", cwd=at)


def jwk(at: pathlib.Path) -> bytes:
    key = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "oct", "kid": "slurm", "alg": "HS256", "k": key}]}).encode()


def private_jwk(at: pathlib.Path) -> bytes:
    part = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    return json.dumps(
        {"kty": "EC", "crv": "P-256", "x": part, "y": part, "d": part}, indent=1
    ).encode()


def openvpn(at: pathlib.Path) -> bytes:
    """As openvpn(8) describes `--genkey secret`, and as it stands inline in a configuration."""
    lines = b"".join(os.urandom(16).hex().encode() + b"\n" for _ in range(16))
    key = (
        b"-----BEGIN OpenVPN Static key V1-----\n"
        + lines
        + b"-----END OpenVPN Static key V1-----\n"
    )
    return b"client\n<tls-auth>\n#\n# 2048 bit OpenVPN static key\n#\n" + key + b"</tls-auth>\n"


def ssha(at: pathlib.Path) -> bytes:
    salt = os.urandom(8)
    return b"{SSHA}" + base64.b64encode(hashlib.sha1(b"geheim" + salt).digest() + salt)


def samba(at: pathlib.Path) -> bytes:
    return b"root:0:%b:%b:[U          ]:LCT-5F3E1B2C:\n" % (
        b"X" * 32,
        os.urandom(16).hex().upper().encode(),
    )


def pbkdf2(at: pathlib.Path) -> bytes:
    key = base64.b64encode(hashlib.pbkdf2_hmac("sha256", b"geheim", b"salt", 1000))
    return b"password: pbkdf2_sha256$600000$Wj4tYbc0Fa1r$" + key


def passlib(at: pathlib.Path) -> bytes:
    key = (
        base64.b64encode(hashlib.pbkdf2_hmac("sha512", b"geheim", b"salt", 1000))
        .rstrip(b"=")
        .replace(b"+", b".")
    )
    return b"hash=$pbkdf2-sha512$25000$tbb2vpcyJiRkrPVeq5VyTg$" + key


def argon2(at: pathlib.Path) -> bytes:
    return run("argon2", "saltsalt", "-id", "-e", cwd=at, given=b"geheim")


FORMS: dict[str, Make] = {
    "dropbear, RSA": dropbear("rsa"),
    "dropbear, ed25519": dropbear("ed25519"),
    "dropbear, ECDSA": dropbear("ecdsa"),
    "WireGuard": wireguard,
    "WireGuard, PresharedKey": wireguard_psk,
    "WireGuard, a bare key": lambda at: run("wg", "genkey", cwd=at),
    "WireGuard, in NetworkManager": lambda at: b"[wireguard]\nprivate-key=" + run("wg", "genkey", cwd=at),
    "age": lambda at: run("age-keygen", cwd=at),
    "OpenPGP, a binary keyring": gpg_keyring,
    "OpenPGP, gpg-agent's": gpg_agent,
    "DNSSEC": dnssec,
    "TSIG": lambda at: (  # as tsig-keygen(8) prints it
        b'key "ddns" {\n\talgorithm hmac-sha256;\n\tsecret "' + base64.b64encode(os.urandom(32)) + b'";\n};\n'
    ),
    "TSIG, on a command line": lambda at: b"nsupdate -y hmac-sha512:ddns:" + base64.b64encode(os.urandom(64)),
    "NVMe over TCP, DH-HMAC-CHAP": nvme_chap,
    "NVMe over TCP, TLS": nvme_tls,
    "Ceph, a bare key": ceph,
    "Ceph, a keyring": ceph_keyring,
    "Ceph, JSON": ceph_json,
    "Borg": borg,
    "credentials of a CIFS mount": credentials,
    "netrc": netrc,
    "DER, encrypted": encrypted_der,
    "DER, bytes after it": lambda at: der(at) + b"\n\0\0 padding",
    "DER, behind its certificate": certificate_and_key,
    "JWK, symmetric": jwk,
    "JWK, private": private_jwk,
    "OpenVPN, static": openvpn,
    "{SSHA}": lambda at: b"rootpw\t" + ssha(at),
    "{SSHA} in LDIF": lambda at: b"dn: cn=x\nuserPassword:: " + base64.b64encode(ssha(at)) + b"\nsn: x\n",
    "{SHA} of htpasswd": lambda at: run("htpasswd", "-nbs", "me", "geheim", cwd=at),
    "DES of htpasswd": lambda at: run("htpasswd", "-nbd", "me", "geheim", cwd=at),
    "htpasswd with a comment": lambda at: b"# users\n\n" + run("htpasswd", "-nbd", "me", "geheim", cwd=at),
    "htdigest": lambda at: b"me:realm:" + hashlib.md5(b"me:realm:x").hexdigest().encode() + b"\n",
    "argon2": argon2,
    "PBKDF2 of Django": pbkdf2,
    "PBKDF2 of passlib": passlib,
    "$sha1$": lambda at: b"root:$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq:",
    "$md5$": lambda at: b"root:$md5,rounds=5000$GUBv0xjJ$$mSwgIswdjlTY0YxV7HBVm0:",
    "BSDi": lambda at: b"root:_J9..CCCCXBrJUJV154M:0:0:root:/root:/bin/sh\n",
    "smbpasswd": samba,
    "PostgreSQL's SCRAM": lambda at: (
        b"SCRAM-SHA-256$4096:" + base64.b64encode(os.urandom(16)) + b"$" + base64.b64encode(os.urandom(32))
        + b":" + base64.b64encode(os.urandom(32))
    ),
}  # fmt: skip


# ---- dress ---------------------------------------------------------------------------------------------------------


def pem(at: pathlib.Path) -> bytes:
    return run("openssl", "genrsa", "2048", cwd=at)


def before_each_line(prefix: bytes) -> Callable[[bytes], bytes]:
    return lambda key: b"".join(prefix + line for line in key.splitlines(keepends=True))


def kubeconfig(key: bytes) -> bytes:
    return (
        b"users:\n- name: default\n  user:\n    client-key-data: " + base64.b64encode(key) + b"\n"
    )


DRESSES: dict[str, Callable[[bytes], bytes]] = {
    "# before each line": before_each_line(b"# "),
    "> before each line": before_each_line(b"> "),
    "- before each line": before_each_line(b"- "),
    "+ before each line": before_each_line(b"+"),
    " . before each line": before_each_line(b" ."),
    "// before each line": before_each_line(b"  // "),
    "REM before each line": before_each_line(b"REM "),
    "a number before each line": before_each_line(b"  12  "),
    "a log's words before each line": before_each_line(
        b"2026-12-01T08:00:00Z wn-ref cloud-init[812]: "
    ),
    "echo around each line": lambda key: key.replace(b"\n", b"' >> /etc/key\necho '"),
    "no armour": lambda key: b"key: " + b"".join(key.splitlines()[1:-1]),
    "UTF-32": lambda key: key.decode().encode("utf-32"),
    "\\n": lambda key: key.replace(b"\n", b"\\n"),
    "\\\\n": lambda key: key.replace(b"\n", b"\\\\n"),
    "&#10;": lambda key: key.replace(b"\n", b"&#10;"),
    "<br>": lambda key: key.replace(b"\n", b"<br>\n"),
    "HTML": lambda key: html.escape(key.decode()).replace("\n", "&#xA;").encode(),
    "a URL": lambda key: urllib.parse.quote(key.decode(), safe="").encode(),
    "a form": lambda key: urllib.parse.urlencode({"key": key.decode()}).encode(),
    "JSON of PHP": lambda key: json.dumps({"key": key.decode()}).replace("/", "\\/").encode(),
    "UTF-16": lambda key: key.decode().encode("utf-16"),
    "UTF-16, no mark": lambda key: key.decode().encode("utf-16-be"),
    "base64": base64.b64encode,
    "base64, in lines": base64.encodebytes,
    "a kubeconfig": kubeconfig,
    "a Secret of Kubernetes": lambda key: (
        b"data:\n  config: " + base64.b64encode(kubeconfig(key)) + b"\n"
    ),
    "MIME": lambda key: (
        b"Content-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(b"Hello,\n" + key)
        + b"--x--\n"
    ),
    "SQLite": lambda key: database(key.decode()),
    "a core dump": lambda key: core(key),
}


def database(text: str) -> bytes:
    with sqlite3.connect(":memory:") as held:
        held.execute("CREATE TABLE users (name TEXT, secret TEXT)")
        held.execute("INSERT INTO users VALUES ('me', ?)", (text,))
        held.commit()
        return held.serialize()


def core(memory: bytes) -> bytes:
    """An ELF header of type ET_CORE (elf(5)), and memory behind it."""
    return b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHI", 4, 62, 1) + bytes(4096) + memory
