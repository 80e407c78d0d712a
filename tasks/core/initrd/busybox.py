"""The busybox of an initrd, one static program that has everything, and other programs of a root.

Looked into, never run.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Iterable, Iterator

from ..archive import elf
from ..base.errors import BadInput
from ..base.files import read
from ..base.boot_programs import AMD64, ARM64
from ..tree.model import FILE, Tree, read_content, resolve

X86, X86_64, AARCH64 = 3, 62, 183  # e_machine (elf(5))
MACHINES = {AMD64: X86_64, ARM64: AARCH64}
PLACES = (
    b"bin/busybox",
    b"sbin/busybox",
    b"usr/bin/busybox",
    b"usr/sbin/busybox",
    b"bin/busybox.static",
    b"usr/lib/initramfs-tools/bin/busybox",
    b"sbin/busybox.anaconda",
)
# Where the reference has none
HERE = ("/bin/busybox", "/usr/sbin/busybox", "/sbin/busybox", "/bin/busybox.static")
INSTALL = "apt install busybox-static, or dnf install busybox"
OF_REFERENCE = "the reference needs one (busybox-static)"
# Every applet that the scripts of overlays/initrd/ run
NETWORK_ROOT = """
cat chroot cp grep head ifconfig ip ls md5sum mkdir mount printf
readlink reboot rm route sh sleep tail tr udhcpc umount uname
""".split()
OWN = ("dmesg", "insmod", "mdev", "mknod", "switch_root")  # of an image of nothing else
VLAN = ("vconfig",)
ROOT_FILE = ("losetup", "sha256sum", "wc", "wget")  # of a root that is one file
DISK = ("dd", "df", "sync")  # of one that is kept on the node's disk
SIGNED = ("tftp",)  # of one whose loader is uki
UNPACK = ("cpio", "gunzip")  # where site data is signed
CHECK_SITE = ("chroot", *UNPACK, "reboot", "sleep")  # of an image that others made
PACKAGES = {"dmsetup": "dmsetup (EL: device-mapper)"}  # of other programs that must be there
# Not worth a refusal
NICE = frozenset("cp dmesg grep head ip ls mdev printf umount uname".split())


def pick(
    tree: Tree, named: str, machine: int, applets: Iterable[str], where: str
) -> tuple[bytes, str]:
    """(the program, where it comes from).

    It is the path `named`, or with "auto" the reference's, else this machine's. Raises BadInput at
    `where`, with what is wrong with each.
    """
    problems = []
    for name, data in _candidates(tree, named):
        problem = _problem(data, machine, applets)
        if problem is None:
            return data, name
        problems.append(f"{name} {problem}")
    what = "; ".join(problems) or "none found"
    install = OF_REFERENCE if machine == AARCH64 else INSTALL
    text = f"busybox: {what}; {install}, or give a path to a static one"
    raise BadInput.about(("initrd", "busybox"), where, text)


def _candidates(tree: Tree, named: str) -> Iterator[tuple[str, bytes]]:
    if named != "auto":
        yield named, _read(named)
        return
    for place in dict.fromkeys(resolve(tree, place) for place in PLACES):
        if place in tree and tree[place].type == FILE:
            yield f"{place.decode(errors='replace')} of the reference", read_content(tree[place])
    for path in HERE:
        if os.path.isfile(path):
            yield f"{path} of this machine", _read(path)


def _read(path: str) -> bytes:
    try:
        return read(path)
    except OSError:
        return b""


def _problem(data: bytes, machine: int, applets: Iterable[str]) -> str | None:
    """What keeps a program from being the busybox of an initrd, None for nothing."""
    if not data:
        return "is missing or empty"
    if data[:4] != b"\x7fELF":
        return "is not a program"
    runnable = {X86, X86_64} if machine == X86_64 else {machine}
    if processor(data) not in runnable:
        return "is made for another processor than the kernel"
    if _is_dynamic(data):
        return "is dynamically linked"
    needed = [name for name in applets if name not in NICE]
    lacking = [name for name in needed if b"\0%s\0" % name.encode() not in data]
    return f"lacks applet {', '.join(lacking)}" if lacking else None


def processor(program: bytes) -> int:
    """The e_machine of a program or a kernel module."""
    return int.from_bytes(program[18:20], "little")


def _is_dynamic(data: bytes) -> bool:
    """Whether a program asks for an interpreter (PT_INTERP, elf(5))."""
    wide = data[4] == 2
    table = int.from_bytes(data[32:40] if wide else data[28:32], "little")
    size = int.from_bytes(data[54:56] if wide else data[42:44], "little")
    count = int.from_bytes(data[56:58] if wide else data[44:46], "little")
    headers = range(table, table + size * count, size or 1)
    return any(int.from_bytes(data[at : at + 4], "little") == 3 for at in headers)


def mounts_nfs_itself(data: bytes) -> bool:
    """Whether its `mount` makes the binary options that NFS took before Linux 2.6.23 (nfs(5))."""
    return b"nolock" in data


# Others, with what they load


def with_libraries(tree: Tree, name: str) -> dict[bytes, bytes]:
    """A program of a root and all that it loads: path -> bytes; none where any is missing."""

    def read(path: bytes) -> bytes | None:
        entry = tree.get(resolve(tree, path))
        return read_content(entry) if entry is not None and entry.type == FILE else None

    return elf.with_libraries(read, name)


# What checks signatures in an initrd, in OpenSSH since 8.1, and a word that it has since then
CHECKER, KNOWS_SIGNATURES = "ssh-keygen", b"check-novalidate"
# glibc before 2.34 opens it to look up whose process this is, which ssh-keygen asks
LOOKS_UP = "libnss_files.so.2"


def checker(tree: Tree, machine: int, where: str) -> dict[str, bytes]:
    """ssh-keygen with all that it loads, by path below a root of its own.

    It is the reference's, else this machine's: none has secrets of either. Raises BadInput.
    """
    for find in (partial(with_libraries, tree), _with_libraries_here):
        found = find(CHECKER)
        program = next((path for path in found if path.endswith(b"/ssh-keygen")), b"")
        data = found.pop(program, b"")
        if KNOWS_SIGNATURES in data and processor(data) == machine:
            libraries = {**found, **find(LOOKS_UP)}
            named = {os.fsdecode(path): library for path, library in libraries.items()}
            return {"bin/ssh-keygen": data, **named}
    what = "`trust:` needs ssh-keygen of OpenSSH 8.1 in the initrd, of the nodes' processor"
    remedy = "install openssh-client on the reference (EL: openssh)"
    raise BadInput.at(where, f"{what}; {remedy}")


def _with_libraries_here(name: str) -> dict[bytes, bytes]:
    return elf.with_libraries(lambda path: _read("/" + os.fsdecode(path)) or None, name)
