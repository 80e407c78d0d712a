"""Images of dracut and initramfs-tools, used as they are: what they must hold to mount an NFS root."""

from __future__ import annotations

from typing import NamedTuple

from ..base.errors import BadInput
from ..tree.model import FILE, Tree, read_content, resolve
from . import modules
from .base_image import BaseImage, holds, kind_of
from .content import BuiltInitrd, Recipe, known_modules

# Images whose udev loads drivers and which can mount NFS themselves: used as they are


class Need(NamedTuple):
    """Something an image must hold: one of these paths."""

    paths: tuple[bytes, ...]
    what: str


NEEDS = {
    "dracut": (
        Need((b"usr/sbin/nfsroot", b"usr/lib/nfs-lib.sh"), "dracut's module nfs"),
        Need((b"usr/sbin/netroot", b"usr/lib/net-lib.sh"), "dracut's module network"),
        Need((b"usr/sbin/mount.nfs", b"usr/bin/mount.nfs"), "mount.nfs"),
        Need(
            (b"etc/protocols", b"usr/etc/protocols"), "/etc/protocols"
        ),  # where mount.nfs looks up "tcp"
    ),
    "initramfs-tools": (
        Need((b"scripts/nfs",), "scripts/nfs"),
        Need((b"usr/bin/nfsmount", b"usr/sbin/nfsmount"), "nfsmount of klibc"),
        Need((b"usr/bin/ipconfig", b"usr/sbin/ipconfig", b"usr/sbin/dhcpcd"), "ipconfig or dhcpcd"),
    ),
}
REMEDIES = {
    "dracut": "on the reference: dnf install dracut-network nfs-utils (apt install dracut-network nfs-common netbase), "
    "`echo 'add_dracutmodules+=\" nfs \"' > /etc/dracut.conf.d/plugnode.conf`, then dracut -f --no-hostonly --kver {}",
    "initramfs-tools": "on the reference: apt install klibc-utils, "
    "`echo MODULES=most > /etc/initramfs-tools/conf.d/plugnode` (or list modules in /etc/initramfs-tools/modules), "
    "then update-initramfs -u -k {}",
}


# Seen: with systemd-networkd of dracut 059 the node gets its address, and nothing mounts the root then
NO_CALLER = (
    "a network module that mounts network roots (add_dracutmodules: network-legacy or network-manager; "
    "systemd-networkd does not before dracut 060)"
)


def make_as_is(order: Recipe, base: BaseImage | None) -> BuiltInitrd:
    """An image of today's distributions: nothing is changed, what it lacks is said."""
    assert base
    kind = kind_of(base)
    lacking = [
        need.what
        for need in NEEDS[kind]
        if not any(holds(base.image.tree, path) for path in need.paths)
    ]
    drivers = [
        *modules.present(known_modules(order), ["nfs", "nfsv3"]),
        *order.image.initrd.modules,
    ]
    lacking += [
        f"the kernel module {name}" for name in drivers if not _has_module(order, base, name)
    ]
    lacking += (
        [NO_CALLER] if kind == "dracut" and not _calls(base.image.tree, b"/sbin/netroot") else []
    )
    if lacking:
        remedy = REMEDIES[kind].format(order.kernel.version)
        what = f"cannot mount an NFS root, it lacks {', '.join(lacking)}"
        raise BadInput.at(base.name, f"{what}; {remedy}; or say `initrd: {{base: none}}`")
    return BuiltInitrd(
        base.data, b"", "", kind, order.kernel.version, base.name, tuple(drivers), ()
    )


def _calls(tree: Tree, program: bytes) -> bool:
    """Whether some script of an image runs a program."""
    scripts = (entry for entry in tree.values() if entry.type == FILE and entry.size < 1 << 17)
    return any(program in read_content(entry) for entry in scripts)


def _has_module(order: Recipe, base: BaseImage, name: str) -> bool:
    known = known_modules(order)
    try:
        wanted = modules.find_module(known, name)
    except KeyError:
        what = modules.unknown_module(known, name)
        raise BadInput.about(modules.SUBJECT, order.where, what) from None
    folder = resolve(base.image.tree, b"lib/modules")
    return wanted is None or wanted in modules.all_in(base.image.tree, folder)
