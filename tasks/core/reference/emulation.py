"""Packages for other processors, whose own programs this machine runs by QEMU's user mode.

Only there: in namespaces of their own, of which the kernel's list of interpreters (binfmt_misc) is
one since Linux 6.7. Nothing is registered on this machine. This module is a program, too:

    emulation.py COMMAND…    the command in a user namespace in which all ids are those of outside
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys

from ..base.boot_programs import AMD64, ARM64
from ..base.errors import Refused

NATIVE = {"x86_64": AMD64, "aarch64": ARM64}  # by what `uname -m` says
BINFMT = "/proc/sys/fs/binfmt_misc"
CLONE_NEWUSER = 0x10000000  # unshare(2)

# In namespaces of its own: once it is killed, every process and mount of it is gone. (In a chroot
# `/` may be no mount point, and cannot be made private: then its mounts stay, and the next pull
# names them.)
UNSHARE = [
    *("unshare", "--mount", "--propagation=unchanged", "--pid"),
    *("--fork", "--kill-child=KILL", "--"),
]
PRIVATE = "mount --make-rprivate / 2>/dev/null"
EXEC = 'exec "$@"'
CONFINED = [*UNSHARE, "sh", "-c", f"{PRIVATE}; {EXEC}", "sh"]

# How the kernel knows their programs by the first bytes, and under these by which bits (elf(5));
# F: it opens the interpreter now, for in a new root there is none
MAGIC = {ARM64: r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"}
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
EMULATORS = {ARM64: ("qemu-aarch64-static", "qemu-aarch64")}
NEEDED = "install qemu-user-static and arch-test"


def confined(arch: str) -> list[str]:
    """What stands before a command whose packages' scripts are for these processors.

    Raises Refused where this machine cannot run them.
    """
    if is_runnable(arch):
        return CONFINED
    for line in lacking_emulator(arch):
        raise Refused(line)
    entry = f":{arch}:M::{MAGIC[arch]}:{MASK}:{_emulator(arch)}:F"
    register = f"mount -t binfmt_misc none {BINFMT} && printf %s '{entry}' >{BINFMT}/register"
    failed = f"echo 'E: {BINFMT}: not of a namespace before Linux 6.7' >&2; exit 1"
    script = f"{PRIVATE}; {register} || {{ {failed}; }}; {EXEC}"
    return [sys.executable, "-m", __name__, *UNSHARE, "sh", "-c", script, "sh"]


def lacking_emulator(arch: str) -> list[str]:
    """A line that says what is to be installed, or none."""
    if is_runnable(arch) or (_emulator(arch) and shutil.which("arch-test")):
        return []
    return [f"packages for {arch} have programs that this machine cannot run: {NEEDED}"]


def _emulator(arch: str) -> str:
    found = filter(None, map(shutil.which, EMULATORS.get(arch, ())))
    return next(found, "")


def is_runnable(arch: str) -> bool:
    """Whether this machine runs such programs by itself, or has an emulator registered."""
    known = [f"{BINFMT}/{name}" for name in ("qemu-aarch64",) if arch == ARM64]
    return native() == arch or any(map(os.path.exists, known))


def native() -> str:
    """The processors of this machine."""
    return NATIVE.get(platform.machine(), "")


def main(command: list[str]) -> None:
    """Run it in a new user namespace, which who is outside gives its ids."""
    given, give = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.read(given, 1)
        _give_ids(os.getppid())
        os._exit(0)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "no user namespace")
    os.write(give, b"!")
    os.waitpid(helper, 0)
    os.execvp(command[0], command)


def _give_ids(pid: int) -> None:
    """Each id that there is here, by its own number."""
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/self/{kind}", encoding="ascii") as file:
            ranges = [line.split() for line in file]
        with open(f"/proc/{pid}/{kind}", "w", encoding="ascii") as file:
            file.write("".join(f"{first} {first} {count}\n" for first, _, count in ranges))


if __name__ == "__main__":
    main(sys.argv[1:])
