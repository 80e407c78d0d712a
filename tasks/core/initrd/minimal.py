"""Our own minimal initrd: busybox, the modules and overlays/initrd/init."""

from __future__ import annotations

import re

from ..base.errors import BadInput
from ..site.model import Image
from ..tree.model import CHAR, FILE, Entry, Tree, directory, read_content, symlink
from . import base_image, busybox, nash
from .base_image import BaseImage, find_base
from .content import (
    BuiltInitrd,
    Recipe,
    file_entry,
    finish_image,
    module_set,
    put_entry,
    put_network_root,
    script_of,
)
from .nash import too_old_note

# ---- the kinds -----------------------------------------------------------------------------------------------------


def make_minimal(order: Recipe, _: BaseImage | None) -> BuiltInitrd:
    """A minimal image: busybox, the modules and overlays/initrd/init."""
    wanted = module_set(order, _loaded_by_reference(order))
    program, origin = busybox.pick(
        order.tree, order.image.initrd.busybox, wanted.machine, busybox.OWN, order.where
    )
    tree: Tree = {
        path: directory() for path in (b"dev", b"proc", b"sys", b"newroot", b"sbin", b"tmp", b"run")
    }
    put_entry(tree, "dev/console", Entry(CHAR, 0o600, 0, 0, device=(5, 1)))
    put_entry(tree, "dev/null", Entry(CHAR, 0o666, 0, 0, device=(1, 3)))
    put_network_root(tree, order, program, wanted)
    put_entry(tree, "init", file_entry(script_of(order.folders, "init"), 0o755))
    put_entry(
        tree,
        "etc/plugnode/modules",
        file_entry("".join(f"{name[:-3]}\n" for name in wanted.files).encode()),
    )
    for name, data in wanted.files.items():
        put_entry(tree, f"lib/modules/{name}", file_entry(data))
    for applet in busybox.OWN:
        put_entry(tree, f"bin/{applet}", symlink(b"busybox"))
    return finish_image(
        order, "own", f"busybox: {origin}", b"", tree, wanted, too_old_note(order, program)
    )


def _loaded_by_reference(order: Recipe) -> list[str]:
    """Modules that the distribution's own image loads by name, where the reference has one that can be read."""
    if order.image.initrd.modules:
        return []
    try:
        tree = find_base(order._replace(image=_with_auto_base(order.image))).image.tree
    except BadInput:
        return []
    init = tree.get(b"init")
    script = read_content(init) if init and init.type == FILE else b""
    if base_image.is_nash(script):
        return nash.loaded(script.decode("latin-1"))
    listed = [
        read_content(tree[path]).decode(errors="replace")
        for path in (b"conf/modules",)
        if path in tree
    ]
    return re.findall(r"(?m)^\s*([\w-]+)", "\n".join(listed))


def _with_auto_base(image: Image) -> Image:
    return image._replace(initrd=image.initrd._replace(base="auto"))
