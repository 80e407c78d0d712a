"""Kernel command lines: what each kind of initrd needs to find its root, and what loaders make of a line."""

from __future__ import annotations

import re
from typing import NamedTuple

# How an initrd is told its root, by the kind of initrd. The legacy form is the kernel's own (nfsroot.rst); dracut's is
# dracut.cmdline(7)'s; initramfs-tools mounts NFS only with boot=nfs (initramfs-tools(7)), by klibc's nfsmount, which
# calls proto=tcp just tcp. The last two have udev, which renames eth0 unless it is told not to (systemd-udevd(8)).
LEGACY = "ip=dhcp root=/dev/nfs nfsroot={server}:{path},ro,vers=3,proto=tcp,nolock"
NETWORK_ROOTS = {
    "nash": LEGACY,
    "own": LEGACY,
    "dracut": "ip=dhcp rd.neednet=1 root=nfs:{server}:{path}:ro,vers=3,proto=tcp,nolock net.ifnames=0 biosdevname=0",
    "initramfs-tools": "boot=nfs ip=dhcp root=/dev/nfs nfsroot={server}:{path},ro,vers=3,tcp,nolock net.ifnames=0",
}


def network_root(kind: str, server_ip: str, path: str, cmdline: str) -> str:
    """The kernel arguments that give a node its root over NFS, followed by the image's own."""
    return " ".join(
        (NETWORK_ROOTS[kind].format(server=server_ip, path=path) + " " + cmdline).split()
    )


class Serial(NamedTuple):
    unit: str
    speed: str


def serial_console(cmdline: str) -> Serial | None:
    """The serial line that the kernel talks on, for the loader to do the same: the last `console=ttyS…`.

    Without a speed it is 9600, as in the kernel (Documentation/admin-guide/serial-console.rst).
    """
    found = re.findall(r"(?:^| )console=ttyS([0-9]+)(?:,([0-9]+))?", cmdline)
    return Serial(found[-1][0], found[-1][1] or "9600") if found else None


def line_limit(kernel_version: str) -> int:
    """Bytes of command line that an x86 kernel takes: COMMAND_LINE_SIZE less its end, 256 until 2.6.21, then 2048."""
    numbers = tuple(int(number) for number in re.findall(r"[0-9]+", kernel_version)[:3])
    return 255 if numbers < (2, 6, 22) else 2047


def grub_words(arguments: str) -> str:
    """Kernel arguments for GRUB's shell, which expands `*`, `?` and `[…]`: such words are quoted."""
    return " ".join(
        word if re.fullmatch(r"[\w.,:=/@%+~-]+", word, re.ASCII) else f"'{word}'"
        for word in arguments.split()
    )
