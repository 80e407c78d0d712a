"""A real folder that holds everything a root file system can, for the tests of trees."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

NAMES = [
    b"a b",
    b"new\nline",
    b"tab\t",
    "umlaut-ü".encode(),
    b"latin-\xe4",
    b"#hash",
    b"a=b",
    b"back\\slash",
    b"-rf",
    b"[glob]*?",
    b"x" * 255,
]


def make(root: Path) -> Path:
    """Everything below `root`; needs root rights, and a file system with ACLs and `user.` attributes."""
    top = os.fsencode(root)
    os.makedirs(top)
    os.chmod(top, 0o755)
    for part in (names, links, specials, modes, attributes, sparse):
        part(top)
    return root


def write(path: bytes, data: bytes = b"data\n", mode: int = 0o644) -> None:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def names(top: bytes) -> None:
    for name in NAMES:
        write(top + b"/" + name, name)
    for name in (b"a", b"a-b", b"a/c"):  # a-b sorts between a and a/c
        os.mkdir(top + b"/" + name)
    write(top + b"/a/c/empty", b"")


def links(top: bytes) -> None:
    write(top + b"/one", b"shared")
    os.link(top + b"/one", top + b"/a/two")
    os.link(top + b"/one", top + b"/three")
    targets = {
        b"absolute": b"/etc/passwd",
        b"up": b"../../../etc",
        b"dangling": b"no such",
        b"loop": b"loop",
        b"raw": b"\xff = #\\\n",
    }
    for name, target in targets.items():
        os.symlink(target, top + b"/" + name)
    os.symlink(b"a", top + b"/inside")
    os.lchown(top + b"/up", 7, 8)


def specials(top: bytes) -> None:
    os.mkfifo(top + b"/fifo", 0o600)
    os.mknod(top + b"/null", 0o020666, os.makedev(1, 3))
    os.mknod(top + b"/disk", 0o060660, os.makedev(259, 1048575))
    os.chmod(top + b"/null", 0o666)
    os.chown(top + b"/disk", 0, 6)
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(".", os.O_RDONLY)
        os.chdir(top)
        listener.bind("socket")
        os.fchdir(here)
        os.close(here)


def modes(top: bytes) -> None:
    for name, mode in {
        b"setuid": 0o4755,
        b"setgid": 0o2711,
        b"closed": 0o000,
        b"group": 0o640,
    }.items():
        write(top + b"/" + name, name)
        os.chown(top + b"/" + name, 1, 2)
        os.chmod(top + b"/" + name, mode)
    for name, mode in {
        b"tmp": 0o1777,
        b"shared-folder": 0o2775,
        b"readonly": 0o555,
        b"none": 0o000,
    }.items():
        os.mkdir(top + b"/" + name)
        write(top + b"/" + name + b"/file")
        os.chown(top + b"/" + name, 3, 4)
        os.chmod(top + b"/" + name, mode)


def attributes(top: bytes) -> None:
    write(top + b"/capable", b"#!/bin/true", 0o755)
    subprocess.run(["setcap", "cap_net_raw+ep", top + b"/capable"], check=True)
    write(top + b"/labelled")
    os.setxattr(top + b"/labelled", b"user.with=equals", b"\0\xff")
    os.setxattr(top + b"/labelled", "user.empty", b"")
    os.setxattr(top, "user.of-the-root", b"1")
    write(top + b"/acl")
    subprocess.run(["setfacl", "-m", "u:12:rw,g:13:r", top + b"/acl"], check=True)
    os.mkdir(top + b"/acl-folder")
    subprocess.run(["setfacl", "-d", "-m", "u:12:rwx", top + b"/acl-folder"], check=True)
    write(top + b"/acl-folder/inherits")


def sparse(top: bytes) -> None:
    with open(top + b"/sparse", "wb") as file:
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(50 << 20)
