"""Images of initramfs-tools (Debian), used as they are: their own scripts mount NFS."""

from __future__ import annotations

import re

from ..tree.model import Tree, read_content
from .base_image import BaseImage
from .content import BuiltInitrd, Recipe
from .distribution import MadeElsewhere, Need, use_as_is
from .kind import InitrdKind

LISTED = b"conf/modules"  # of /etc/initramfs-tools/modules
IMAGE = MadeElsewhere(
    kind="initramfs-tools",
    needs=(
        Need((b"scripts/nfs",), "scripts/nfs"),
        Need((b"usr/bin/nfsmount", b"usr/sbin/nfsmount"), "nfsmount of klibc"),
        Need(
            (b"usr/bin/ipconfig", b"usr/sbin/ipconfig", b"usr/sbin/dhcpcd"),
            "ipconfig or dhcpcd",
        ),
    ),
    remedy="on the reference: apt install klibc-utils, "
    "`echo MODULES=most > /etc/initramfs-tools/conf.d/plugnode` "
    "(or list modules in /etc/initramfs-tools/modules), then update-initramfs -u -k {}",
)


def is_initramfs_tools(tree: Tree, init: bytes) -> bool:
    if b"scripts/functions" in tree and b"conf/arch.conf" in tree:
        return True
    return b"conf/initramfs.conf" in tree


def make_initramfs_tools(recipe: Recipe, base: BaseImage | None) -> BuiltInitrd:
    assert base
    return use_as_is(recipe, base, IMAGE)


def listed_modules(tree: Tree) -> list[str]:
    """The modules that an image loads by name."""
    text = read_content(tree[LISTED]).decode(errors="replace") if LISTED in tree else ""
    return re.findall(r"(?m)^\s*([\w-]+)", text)


INITRAMFS_TOOLS = InitrdKind(
    name="initramfs-tools",
    description="the distribution's, made by initramfs-tools",
    maker="initramfs-tools",
    recognises=is_initramfs_tools,
    make=make_initramfs_tools,
    has_udev=True,
    mounts_version_3_alone=True,
)
