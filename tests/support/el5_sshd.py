"""The EL5-like reference with an sshd, which root logs in to by a key."""

from __future__ import annotations

from pathlib import Path

from tests.support import el5_root
from tests.support.netns import run
from tests.support.unpacked_root import kept_root, unpack

START = """\
#!/bin/bash
mkdir -p /run/sshd
exec /usr/sbin/sshd -f /dev/null
"""


def reference(cache: Path) -> Path:
    el5 = el5_root.reference(cache)
    return kept_root(cache, "sshd", Path(__file__), lambda tree: make(tree, el5))


def overlay(key: str) -> dict[str, str]:
    """What has its nodes start it, and let a public key in."""
    return {"etc/rc.d/rc3.d/S55sshd": START, "root/.ssh/authorized_keys": key}


def make(tree: Path, el5: Path) -> None:
    unpack(tree, ["openssh-server"], ["etc", "var", "usr/share"])
    run("cp", "-a", f"{el5}/.", tree)
    shadow = tree / "etc/shadow"
    shadow.write_text(shadow.read_text().replace("root:!!:", "root:*:"))  # "!" locks it for sshd
    with open(tree / "etc/passwd", "a") as accounts:
        accounts.write("sshd:x:98:99::/run/sshd:/sbin/nologin\n")
