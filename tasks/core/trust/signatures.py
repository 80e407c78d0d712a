"""Signatures of releases and of site data: made and checked by ssh-keygen -Y (OpenSSH 8.1)."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import content, read, write_atomic
from ..base.programs import ask_program, find_program
from ..base.ssh import NAMESPACE, SIGNER, allowed_signers, fingerprint, fingerprint_of
from ..base.ssh import last_of, public_keys

PUBLIC = ".pub"
# A signature as ssh-keygen writes it; several may stand behind each other, each by another key
_BLOCK = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)-----END SSH SIGNATURE-----\n"
)
_START = struct.Struct(">6sLL")  # "SSHSIG", version, length of the public key behind it


class Trusted(NamedTuple):
    """Who must have signed what a server is to hold."""

    keys: Sequence[str] = ()  # as lines of a .pub file; none: nobody need have
    signatures: Mapping[str, bytes] = {}  # by the id of a release, or of site data
    # Whoever asks can make those that are lacking, and does before a deploy
    makes_them: bool = False
    # The fingerprint of that of Secure Boot; "": nothing is signed for it
    certificate: str = ""


NOBODY = Trusted()


def is_good(data: bytes, signature: bytes, keys: Iterable[str]) -> bool:
    """Whether one of these keys has signed the data. `signature`: one, or several."""
    with TemporaryDirectory() as folder:
        known, file = os.path.join(folder, "known"), os.path.join(folder, "signature")
        write_atomic(known, allowed_signers(keys))
        words = ["verify", "-f", known, "-I", SIGNER, "-n", NAMESPACE, "-s", file]
        for block in by_signer(signature).values():
            write_atomic(file, block)
            status, _ = _ask(words, data)
            if status == 0:
                return True
    return False


def by_signer(signature: bytes) -> dict[str, bytes]:
    """Each of the signatures that stand behind each other, by the fingerprint of its key.

    Whether any is good is another question. What is no signature is passed over.
    """
    found = {}
    for block in _BLOCK.finditer(signature):
        with contextlib.suppress(ValueError, struct.error):
            blob = base64.b64decode(block[1])
            magic, _, length = _START.unpack_from(blob)
            if magic == b"SSHSIG":
                found[fingerprint(blob[_START.size :][:length])] = block[0]
    return found


def merged(signature: bytes, more: bytes) -> bytes:
    """The signatures of both, of each key one; that of `more` where it is in both."""
    return b"".join({**by_signer(signature), **by_signer(more)}.values())


def is_by(key: str, signature: bytes) -> bool:
    """Whether one of the signatures is by this key: a private one, or the public one beside it."""
    public = content(key if key.endswith(PUBLIC) else key + PUBLIC) or b""
    known = {fingerprint_of(line) for line in public_keys(public)}
    signers = by_signer(signature).keys()
    return not signers.isdisjoint(known) if known else bool(signers)


def accepts(keys: str, signature: bytes) -> bool:
    """Whether an initrd takes what was signed. `keys`: those that its release says it knows."""
    return not keys or not by_signer(signature).keys().isdisjoint(keys.split(","))


def sign(things: Mapping[str, bytes], key: str) -> dict[str, bytes]:
    """The signature of each of these things, by their names, as `ssh-keygen -Y sign` writes it.

    `key` is a private key, or a public one whose private half lies beside it or is known to
    ssh-agent. Where it has a passphrase, that is asked for once, on the terminal. Raises Refused.
    """
    with TemporaryDirectory() as folder:
        files = {name: os.path.join(folder, name) for name in things}
        for name, file in files.items():
            write_atomic(file, things[name])
        words = ["sign", "-f", key, "-n", NAMESPACE, *files.values()]
        status, said = _ask(words)
        if status:
            raise Refused(f"{key}: {last_of(said.splitlines())}; nothing is signed")
        return {name: read(f"{file}.sig") for name, file in files.items()}


def is_at_hand(key: str) -> bool:
    """Whether this machine can sign with a public key: its private half is here."""
    if key.endswith(PUBLIC) and os.path.exists(key.removesuffix(PUBLIC)):
        return True
    if not (os.environ.get("SSH_AUTH_SOCK") and find_program("ssh-add")):
        return False
    _, said = ask_program("ssh-add", "-L")
    held = {tuple(line.split()[:2]) for line in said.splitlines()}
    known = public_keys(content(key) or b"")
    return any(tuple(line.split()[:2]) in held for line in known)


def _ask(words: Sequence[str], given: bytes = b"") -> tuple[int, str]:
    """Exit status of ssh-keygen, and what it said. Raises Refused where it has no signatures."""
    program = find_program("ssh-keygen")
    if program is None:
        raise Refused("no ssh-keygen, which checks signatures: install openssh-client")
    done = subprocess.run(
        [program, "-Y", *words],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    if "option -- Y" in said:
        raise Refused("ssh-keygen knows no signatures here: OpenSSH 8.1 or newer is needed")
    return done.returncode, said
