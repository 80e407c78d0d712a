"""What firmware can start, known by its first bytes: nothing else is served as a loader.

And the processors that it is for, and whom it trusts: an X.509 certificate.
"""

from __future__ import annotations

import binascii
import os
import re
import stat
from collections.abc import Iterator

from .files import content

AMD64, ARM64 = "amd64", "arm64"  # as Debian calls them

# At which byte what stands in a file
_STARTS = (
    (0, b"MZ"),  # EFI's programs
    (0, b"\x7fELF"),  # syslinux's modules (.c32), GRUB's (.mod)
    (0, b"\xb8\xff\x4c\xcd\x21"),  # modules of older syslinux
    (0, b"\xb8\xfe\x4c\xcd\x21"),
    (0x202, b"HdrS"),  # what is started like Linux: memdisk, ipxe.lkrn, memtest
    # What PXE jumps into has no mark; it begins by a jump, or by clearing a flag
    (0, b"\xea"),  # pxelinux.0, undionly.kpxe
    (0, b"\xb2\x7f\xea"),  # GRUB's
    (0, b"\xeb"),
    (0, b"\xe9"),
    (0, b"\xfa"),
    (0, b"\xfc"),
)
_LENGTH = 0x206
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def refused_loader(path: str) -> tuple[str, str] | None:
    """What is wrong with a file that all are to be served as a loader, and what to do; or None.

    One that is not there is another question.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "is no file", "name a boot program"
        if not status.st_mode & stat.S_IROTH:
            return "not readable by all, and TFTP gives it to everybody", "chmod a+r it, or a copy"
        with open(path, "rb") as file:
            start = file.read(_LENGTH)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read: {error.strerror}", "correct the path, or its modes"
    if any(_matches(start)):
        return None
    return "no boot program", "name one of EFI, PXE, syslinux or GRUB"


def is_loader(path: str) -> bool:
    return os.path.isfile(path) and is_no_refused_loader(path)


def is_no_refused_loader(path: str) -> bool:
    """Whether a path is a loader, or nothing at all."""
    return refused_loader(path) is None


def _matches(start: bytes) -> Iterator[bool]:
    for at, mark in _STARTS:
        yield start.startswith(mark, at)


def is_certificate(path: str) -> bool:
    return os.path.isfile(path) and bool(certificate_of(content(path) or b""))


def certificate_of(data: bytes) -> bytes:
    """The first certificate of a PEM file, as DER; b"" where it has none."""
    found = _PEM.search(data)
    try:
        return binascii.a2b_base64(found[1]) if found else b""
    except binascii.Error:
        return b""
