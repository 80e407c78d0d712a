"""Signatures of releases and of site data: made and checked by ssh-keygen -Y (OpenSSH 8.1)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import content, read, write_atomic
from ..base.programs import ask_program, find_program
from ..base.ssh import last_of, public_keys

# PROTOCOL.sshsig of OpenSSH: what a key has signed for another purpose is no signature here
NAMESPACE = "plugnode"
SIGNER = "plugnode"  # whoever has the key; ssh-keygen asks for a name
PUBLIC = ".pub"


class Trusted(NamedTuple):
    """Who must have signed what a server is to hold."""

    keys: Sequence[str] = ()  # as lines of a .pub file; none: nobody need have
    signatures: Mapping[str, bytes] = {}  # by the id of a release, or of site data
    # Whoever asks can make those that are lacking, and does before a deploy
    makes_them: bool = False


NOBODY = Trusted()


def is_good(data: bytes, signature: bytes, keys: Iterable[str]) -> bool:
    """Whether one of these keys has signed the data."""
    with TemporaryDirectory() as folder:
        known, file = os.path.join(folder, "known"), os.path.join(folder, "signature")
        lines = [f'{SIGNER} namespaces="{NAMESPACE}" {key}\n' for key in keys]
        write_atomic(known, "".join(lines).encode())
        write_atomic(file, signature)
        words = ["verify", "-f", known, "-I", SIGNER, "-n", NAMESPACE, "-s", file]
        status, _ = _ask(words, data)
    return status == 0


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
