"""Images of dracut, used as they are: dracut's modules `network` and `nfs` mount the root."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..tree.model import FILE, Tree, read_content
from .base_image import BaseImage, holds
from .content import BuiltInitrd, Recipe
from .distribution import MadeElsewhere, Need, use_as_is
from .kind import InitrdKind

MARKS = (b"usr/lib/dracut", b"usr/lib/dracut-lib.sh")
IMAGE = MadeElsewhere(
    kind="dracut",
    needs=(
        Need((b"usr/sbin/nfsroot", b"usr/lib/nfs-lib.sh"), "dracut's module nfs"),
        Need((b"usr/sbin/netroot", b"usr/lib/net-lib.sh"), "dracut's module network"),
        Need((b"usr/sbin/mount.nfs", b"usr/bin/mount.nfs"), "mount.nfs"),
        # where mount.nfs looks up "tcp"
        Need((b"etc/protocols", b"usr/etc/protocols"), "/etc/protocols"),
    ),
    remedy="on the reference: "
    "dnf install dracut-network nfs-utils (apt install dracut-network nfs-common netbase), "
    "`echo 'add_dracutmodules+=\" nfs \"' > /etc/dracut.conf.d/plugnode.conf`, "
    "then dracut -f --no-hostonly --kver {}",
)
# Seen: with systemd-networkd of dracut 059 the node gets its address, and nothing mounts the root
NO_CALLER = (
    "a network module that mounts network roots (add_dracutmodules: network-legacy or "
    "network-manager; systemd-networkd does not before dracut 060; on Debian 12 network-legacy "
    "needs isc-dhcp-client and iputils-arping)"
)
# dracut.cmdline(7); where it says root=, too, the node's own command line counts more
CMDLINE = (b"etc/cmdline", b"etc/cmdline.d/")
DISK = re.compile(r"(?<!\S)rd\.(?:lvm\.[lv][vg]|(?:md|luks|dm)\.uuid)=\S+")
DEVICE = re.compile(rb"etc/systemd/system/initrd[.]target[.]wants/(.*[.]device)")


def is_dracut(tree: Tree, init: bytes) -> bool:
    return any(holds(tree, path) for path in MARKS)


def make_dracut(recipe: Recipe, base: BaseImage | None) -> BuiltInitrd:
    assert base
    lacking = [] if _calls(base.image.tree, b"/sbin/netroot") else [NO_CALLER]
    made = use_as_is(recipe, base, IMAGE, lacking)
    awaited = sorted(set(_awaited(base.image.tree)))
    if not awaited:
        return made
    what = (
        f"{recipe.image.name}: {base.name} waits for the reference's own disks: {' '.join(awaited)}"
    )
    remedy = f"dracut -f --no-hostonly --no-hostonly-cmdline --kver {recipe.kernel.version} there"
    return made._replace(
        notes=(*made.notes, f"{what}; nodes wait for them for minutes, or for ever; {remedy}")
    )


def _awaited(tree: Tree) -> Iterator[str]:
    """What an image made for one machine says of its disks: arguments, and what must be there."""
    for path, entry in tree.items():
        if entry.type == FILE and path.startswith(CMDLINE):
            yield from DISK.findall(read_content(entry).decode(errors="replace"))
        elif found := DEVICE.fullmatch(path):
            yield found[1].decode(errors="replace")


def _calls(tree: Tree, program: bytes) -> bool:
    """Whether some script of an image runs a program."""
    for entry in tree.values():
        is_script = entry.type == FILE and entry.size < 1 << 17
        if is_script and program in read_content(entry):
            return True
    return False


DRACUT = InitrdKind(
    name="dracut",
    description="the distribution's, made by dracut",
    maker="dracut",
    recognises=is_dracut,
    make=make_dracut,
    has_udev=True,
)
