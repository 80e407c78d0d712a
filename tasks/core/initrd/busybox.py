"""The busybox of an initrd, one static program that has everything, and other programs of a root.

Looked into, never run.
"""

from __future__ import annotations

import os
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
OWN = (*NETWORK_ROOT, "dmesg", "insmod", "mdev", "mknod", "switch_root")
ROOT_FILE = ("losetup", "sha256sum", "wc", "wget")  # of a root that is one file
DISK = ("dd", "df", "sync")  # of one that is kept on the node's disk
PACKAGES = {"dmsetup": "dmsetup (EL: device-mapper)"}  # of other programs
FOLDERS = (b"sbin/", b"usr/sbin/", b"bin/", b"usr/bin/")
# Where the dynamic linker looks by itself
LIBRARIES = (b"lib64/", b"usr/lib64/", b"lib/", b"usr/lib/")
MULTIARCH = (b"", b"x86_64-linux-gnu/", b"aarch64-linux-gnu/")
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


# Others, with their libraries


def with_libraries(tree: Tree, name: str) -> list[bytes]:
    """The paths of a program of a root and of all that it loads; none where any is missing."""
    found: dict[bytes, bytes] = {}  # name -> path
    todo = [name.encode()]
    while todo:
        wanted = todo.pop()
        if wanted in found:
            continue
        path = _place(tree, wanted)
        if path is None:
            return []
        found[wanted] = path
        todo += elf.loads(read_content(tree[resolve(tree, path)]))
    return sorted(found.values())


def _place(tree: Tree, name: bytes) -> bytes | None:
    """Where a program or a library is: a path, or a name to be looked for."""
    places = [name.lstrip(b"/")] if name.startswith(b"/") else list(_places(name))
    for path in places:
        entry = tree.get(resolve(tree, path))
        if entry is not None and entry.type == FILE:
            return path
    return None


def _places(name: bytes) -> Iterator[bytes]:
    if b".so" not in name:
        yield from (folder + name for folder in FOLDERS)
        return
    for folder in LIBRARIES:
        yield from (folder + below + name for below in MULTIARCH)
