"""Programs that firmware starts by a key of the site: signed by sbsign, and checked by sbverify."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from ..base.errors import Refused
from ..base.files import read, write_atomic
from ..base.programs import find_program
from ..base.ssh import last_of
from .uki import without_signature

PKCS11 = "pkcs11:"  # how a key's name begins that is on a token (RFC 7512)


def is_key_at_hand(key: str) -> bool:
    """Can this machine be asked to sign with it: is it a file here, or on a token?"""
    return key.startswith(PKCS11) or os.path.isfile(key)


def sign_program(program: bytes, certificate: str, key: str) -> bytes:
    """The program, signed. `key`: a file in PEM, or a PKCS#11 URI. Raises Refused."""
    engine = ["--engine", "pkcs11"] if key.startswith(PKCS11) else []
    with TemporaryDirectory() as folder:
        file, signed = os.path.join(folder, "program"), os.path.join(folder, "signed")
        write_atomic(file, program)
        words = [*engine, "--key", key, "--cert", certificate, "--output", signed, file]
        status, said = _ask("sbsign", words)
        if status or not os.path.isfile(signed):
            raise Refused(f"{key}: {_reason(said)}; nothing is signed")
        made = read(signed)
        if not _is_good(signed, certificate):
            raise Refused(f"{key}: {certificate} is of another key; nothing is signed")
    if without_signature(made) != program:
        raise Refused("sbsign made another program of it; nothing is signed")
    return made


def _reason(said: str) -> str:
    """What sbsign's last line says; of OpenSSL's, …:error:CODE:library:function:REASON:…, that."""
    last = last_of(said.splitlines())
    _, _, error = last.partition(":error:")
    words = error.split(":")
    return words[3] if len(words) > 3 else last


def is_signed(signed: bytes, program: bytes, certificate: str) -> bool:
    """Is that this program, with a good signature by the key of this certificate?"""
    if not is_same_program(signed, program):
        return False
    with TemporaryDirectory() as folder:
        file = os.path.join(folder, "signed")
        write_atomic(file, signed)
        return _is_good(file, certificate)


def is_same_program(signed: bytes, program: bytes) -> bool:
    """Are both the same, whoever has signed them, if anybody?"""
    try:
        return without_signature(signed) == without_signature(program)
    except ValueError:
        return False


def _is_good(file: str, certificate: str) -> bool:
    status, _ = _ask("sbverify", ["--cert", certificate, file])
    return status == 0


def _ask(name: str, words: Sequence[str]) -> tuple[int, str]:
    """Exit status of a program of sbsigntool, and what it said. Raises Refused where none is."""
    program = find_program(name)
    if program is None:
        raise Refused(f"no {name}, for Secure Boot: install sbsigntool, on EL sbsigntools")
    done = subprocess.run(
        [program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    if done.returncode < 0:
        said = f"{name} was ended by {signal.Signals(-done.returncode).name}"
    return done.returncode, said
