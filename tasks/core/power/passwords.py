"""Passwords of BMCs, read when they are needed: from a file, a command or the environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from ..base.errors import Refused
from ..base.files import content
from ..base.ssh import last_of
from ..base.text import readable
from ..site.model import Node, Password

LIMIT = 60  # seconds for a command


class Passwords:
    """Those that nodes share are read once, before any BMC is asked."""

    def __init__(self, nodes: Iterable[Node]):
        self.shared: dict[Password, str] = {}
        self.wrong: list[str] = []  # of each that cannot be read, why
        for wanted in dict.fromkeys(node.management.password for node in nodes):
            if not wanted or is_of_each(wanted):
                continue
            try:
                self.shared[wanted] = read_password(wanted)
            except Refused as error:
                self.wrong.append(str(error))

    def of(self, node: Node) -> str:
        wanted = node.management.password or Password()
        if wanted in self.shared:
            return self.shared[wanted]
        return read_password(wanted, node.name)


def is_of_each(password: Password) -> bool:
    return "$NODE" in (password.command or "") or "${NODE" in (password.command or "")


def read_password(wanted: Password, node: str = "") -> str:
    """The first line of what it is in. Raises Refused."""
    if wanted.command:
        place, text = "its command", _printed(wanted.command, node)
    elif wanted.env:
        if wanted.env not in os.environ:
            raise Refused(f"password: no variable {wanted.env} in the environment; export it")
        place, text = wanted.env, os.environ[wanted.env]
    else:
        place, text = wanted.file or "", _in_file(wanted.file or "")
    first = text.partition("\n")[0].rstrip("\r")
    if not first or "\0" in first:
        raise Refused(f"password: {place}: there is none in it; it is the first line there")
    return first


def _in_file(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
        text = (content(path) or b"").decode()
    except OSError as error:
        why = f"{error.strerror}; put it there, for its owner alone"
        raise Refused(f"password: {path}: {why}") from None
    except UnicodeDecodeError:
        raise Refused(f"password: {path}: it is no text") from None
    if mode & 0o077:
        raise Refused(f"password: {path}: others may read it; chmod 600 {path}")
    return text


def _printed(command: str, node: str) -> str:
    try:
        done = subprocess.run(
            ["sh", "-c", command],
            env={**os.environ, "NODE": node},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"password: its command did not end in {LIMIT} seconds") from None
    if done.returncode:
        said = last_of(list(map(readable, done.stderr.splitlines())))
        raise Refused(f"password: its command: {said} (exit status {done.returncode})")
    return done.stdout
