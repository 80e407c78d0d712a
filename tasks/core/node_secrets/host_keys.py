"""ssh host keys that are kept: made once for a node, wherever it keeps its state."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from ..base.errors import Refused
from ..base.files import content
from ..base.programs import find_program
from ..base.ssh import public_keys
from ..base.text import readable
from .store import SecretsStore


def make_host_keys(store: SecretsStore, nodes: Iterable[str]) -> list[str]:
    """Make the Ed25519 keys that are not there: the nodes that got one. Raises Refused."""
    program = find_program("ssh-keygen")
    if program is None:
        raise Refused("no ssh-keygen, which makes ssh host keys: install openssh-client")
    made = []
    for node in nodes:
        path = store.host_key(node)
        if public_host_key(store, node) and os.path.exists(path):
            continue
        new = f"{path}.new"
        for left in (new, f"{new}.pub"):
            if os.path.lexists(left):
                os.unlink(left)
        words = ["-q", "-t", "ed25519", "-N", "", "-C", node, "-f", new]
        _run(program, words, new)
        os.replace(new, path)
        os.replace(f"{new}.pub", f"{path}.pub")
        made.append(node)
    return made


def _run(program: str, words: list[str], path: str) -> None:
    done = subprocess.run([program, *words], capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = readable(done.stderr.decode(errors="replace").strip())
        raise Refused(f"{path}: ssh-keygen makes no key there: {said or 'no reason given'}")


def public_host_key(store: SecretsStore, node: str) -> str:
    """A node's key as known_hosts has it, without its comment; "" where it has none yet."""
    found = public_keys(content(f"{store.host_key(node)}.pub") or b"")
    return " ".join(found[0].split()[:2]) if found else ""
