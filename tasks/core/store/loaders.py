"""The programs that firmware fetches first, from the distribution's packages."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import NamedTuple

from ..base.boot_programs import AMD64, ARM64


class Loader(NamedTuple):
    """A file of tftp_root, and where distributions put it."""

    name: str
    places: tuple[str, ...]  # globs below a root: the first that exists
    packages: str  # Debian's, then EL's
    serves: str  # what does not boot without it
    arch: str = AMD64


GRUB_ARM64 = (
    "usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed",
    "boot/efi/EFI/*/grubaa64.efi",
)
GRUB = ("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "boot/efi/EFI/*/grubx64.efi")
LOADERS = (
    Loader(
        "pxelinux.0",
        ("usr/lib/PXELINUX/pxelinux.0", "usr/share/syslinux/pxelinux.0", "*tftpboot/pxelinux.0"),
        "pxelinux, on EL syslinux-tftpboot",
        "BIOS nodes",
    ),
    Loader(
        "ldlinux.c32",  # pxelinux.0 needs it before it reads anything else
        (
            "usr/lib/syslinux/modules/bios/ldlinux.c32",
            "usr/share/syslinux/ldlinux.c32",
            "*tftpboot/ldlinux.c32",
        ),
        "syslinux-common, on EL syslinux-tftpboot",
        "BIOS nodes",
    ),
    Loader(
        "grubnetx64.efi",
        GRUB,
        "grub-efi-amd64-signed, on EL grub2-efi-x64",
        "DHCP files kept by hand",
    ),
    Loader(
        "shimx64.efi",
        (
            "usr/lib/shim/shimx64.efi.signed",
            "usr/lib/shim/shimx64.efi.signed.latest",  # Ubuntu's, before update-alternatives
            "boot/efi/EFI/*/shimx64.efi",
        ),
        "shim-signed, on EL shim-x64",
        "UEFI nodes",
    ),
    Loader(
        "grubx64.efi",
        GRUB,
        "grub-efi-amd64-signed, on EL grub2-efi-x64",
        "UEFI nodes",
    ),  # what shim starts
    Loader(
        "mmx64.efi",  # shim's MokManager
        ("usr/lib/shim/mmx64.efi.signed", "usr/lib/shim/mmx64.efi", "boot/efi/EFI/*/mmx64.efi"),
        "shim-helpers-amd64-signed, on EL shim-x64",
        "UEFI nodes with Secure Boot and keys of the site",
    ),
    Loader(
        "undionly.kpxe",
        ("usr/lib/ipxe/undionly.kpxe", "usr/share/ipxe/undionly.kpxe"),
        "ipxe, on EL ipxe-bootimgs-x86",
        "BIOS nodes that boot by iPXE",
    ),
    Loader(
        "ipxe.efi",
        ("usr/lib/ipxe/ipxe.efi", "usr/share/ipxe/ipxe-x86_64.efi", "usr/share/ipxe/ipxe.efi"),
        "ipxe, on Ubuntu grub-ipxe, too, on EL ipxe-bootimgs-x86",
        "UEFI nodes that boot by iPXE",
    ),
    Loader(
        "shimaa64.efi",
        ("usr/lib/shim/shimaa64.efi.signed", "boot/efi/EFI/*/shimaa64.efi"),
        "shim-signed, on EL shim-aa64, in a reference for arm64",
        "arm64 nodes",
        ARM64,
    ),
    Loader(
        "grubaa64.efi",
        GRUB_ARM64,
        "grub-efi-arm64-signed, on EL grub2-efi-aa64, in a reference for arm64",
        "arm64 nodes",
        ARM64,
    ),
    Loader(
        "mmaa64.efi",
        ("usr/lib/shim/mmaa64.efi.signed", "boot/efi/EFI/*/mmaa64.efi"),
        "shim-helpers-arm64-signed, on EL shim-aa64, in a reference for arm64",
        "arm64 nodes with Secure Boot and keys of the site",
        ARM64,
    ),
)


def find_loaders(
    roots: Iterable[str],
    named: Iterable[tuple[str, str]] = (),
    archs: Iterable[str] = (AMD64,),
) -> dict[str, str]:
    """Name below tftp_root -> the file to copy there, of loaders for these processors.

    `named` (an image's `loaders`) wins over what `roots` hold.
    """
    roots = list(roots)
    found = {}
    for loader in _for(archs):
        path = first_loader(roots, loader.places)
        if path:
            found[loader.name] = path
    return found | dict(named)


def first_loader(roots: Iterable[str], places: tuple[str, ...]) -> str:
    """The first file at one of the places below one of the roots; "" where there is none."""
    for root in roots:
        for place in places:
            pattern = os.path.join(glob.escape(root), place)
            for path in sorted(glob.glob(pattern)):
                file = _resolved(root, path)
                if os.path.isfile(file):
                    return file
    return ""


def _resolved(root: str, path: str) -> str:
    """The file that a symlink of an unpacked root leads to: from `/` it leads on in that root."""
    for _ in range(40):  # more than any system follows
        if not os.path.islink(path):
            return path
        link = os.readlink(path)
        start = root if link.startswith("/") else os.path.dirname(path)
        path = os.path.join(start, link.lstrip("/"))
    return ""


def missing_loaders(found: Iterable[str], archs: Iterable[str] = (AMD64,)) -> list[str]:
    """One line for each loader that is neither here nor on the server (`found`).

    It names the package that has it.
    """
    known = set(found)
    return [_missing(loader) for loader in _for(archs) if loader.name not in known]


def _for(archs: Iterable[str]) -> list[Loader]:
    wanted = set(archs)
    return [loader for loader in LOADERS if loader.arch in wanted]


def _missing(loader: Loader) -> str:
    remedy = f"install {loader.packages}, or name one under `loaders:`"
    return f"no {loader.name} for {loader.serves}: {remedy}"
