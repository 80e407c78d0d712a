"""What a secret is: read, or told by a command, when it is deployed and at no other time."""

from __future__ import annotations

import os
import subprocess

from ..base.errors import Refused
from ..site.model import Secret

MOST = 65_536  # bytes: a node has it in memory
PATIENCE = 60  # seconds for a command; who unlocks a store by hand does so before


def read_secret(secret: Secret, folder: str) -> bytes:
    """Its bytes. Commands run in `folder`. Raises Refused, never with a word of what it is."""
    data = _of_file(secret) if secret.source.file else _of_command(secret, folder)
    if not data:
        raise Refused(f"secrets.{secret.name}: what it comes from gives nothing")
    if len(data) > MOST:
        raise Refused(f"secrets.{secret.name}: more than {MOST} bytes; it is no key")
    return data


def _of_file(secret: Secret) -> bytes:
    path = secret.source.file or ""
    try:
        with open(path, "rb") as file:
            return file.read(MOST + 1)
    except OSError as error:
        raise Refused(f"secrets.{secret.name}: {path}: {error.strerror}") from None


def _of_command(secret: Secret, folder: str) -> bytes:
    """What the command prints; what it complains of might say what it read."""
    program, remedy = secret.source.command[0], "run it by hand to see why"
    try:
        done = subprocess.run(
            secret.source.command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        said = f"{program} has not ended in {PATIENCE} seconds; {remedy}"
        raise Refused(f"secrets.{secret.name}: {said}") from None
    except OSError as error:
        where = os.path.join(folder, program) if "/" in program else program
        raise Refused(f"secrets.{secret.name}: {where}: {error.strerror}") from None
    if done.returncode:
        said = f"{program} ended with exit status {done.returncode}; {remedy}"
        raise Refused(f"secrets.{secret.name}: {said}")
    return done.stdout
