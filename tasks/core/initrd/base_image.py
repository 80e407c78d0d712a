"""The image to start from: the distribution's for a kernel, or the file that is named; and who made it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..archive import cpio
from ..base.errors import BadInput
from ..tree.model import FILE, Tree, read_content, resolve
from . import modules
from .content import Recipe
from .kernel import Kernel

NASH_MARK = "Plugnode network root"
BASES = (
    "initrd.img-{}",
    "initrd-{}.img",
    "initramfs-{}.img",
    "initrd-{}",
)  # Debian, EL4-5, EL6 and later, others


class BaseImage(NamedTuple):
    name: str
    data: bytes
    image: cpio.InitrdArchive


# ---- the base ------------------------------------------------------------------------------------------------------


def find_base(order: Recipe) -> BaseImage:
    """The image to start from: the distribution's for that kernel, or the file that is named."""
    wanted = order.image.initrd.base
    name, data = (
        _of_distribution(order) if wanted == "auto" else (wanted, _file(wanted, order.where))
    )
    base = BaseImage(name, data, cpio.read_image(data, name))
    _same_kernel(base, order.kernel)
    return base


def _of_distribution(order: Recipe) -> tuple[str, bytes]:
    names = [pattern.format(order.kernel.version) for pattern in BASES]
    for name in names:
        entry = order.tree.get(resolve(order.tree, b"boot/" + name.encode()))
        if entry and entry.type == FILE:
            return f"boot/{name}", read_content(entry)
    looked = f"no initrd for kernel {order.kernel.version} in the reference's /boot (looked for {', '.join(names)})"
    raise BadInput.at(
        order.where, f"{looked}; make one there, or say `initrd: {{base: none}}` for Plugnode's own"
    )


def _file(path: str, where: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        what = f"initrd: base: {path}: {error.strerror}"
        raise BadInput.about(("initrd", "base"), where, what) from None


def _same_kernel(base: BaseImage, kernel: Kernel) -> None:
    """Raises BadInput where its modules are another kernel's."""
    for path, entry in base.image.tree.items():
        if entry.type == FILE and modules.MODULE.search(path):
            version = modules.version_of(modules.expanded(read_content(entry)))
            if version and version != kernel.version:
                message = f"has modules for kernel {version}, but the kernel is {kernel.version}"
                raise BadInput.at(base.name, f"{message}; give the initrd of {kernel.version}")
            return


def kind_of(base: BaseImage) -> str:
    """Who made an image, by what it holds. Raises BadInput for an unknown maker."""
    tree = base.image.tree
    init = tree.get(resolve(tree, b"init"))
    if init is None or init.type != FILE:
        raise BadInput.at(
            base.name,
            "has no /init: the kernel would not start it; give the distribution's own image",
        )
    if not init.mode & 0o111:
        raise BadInput.at(base.name, "its /init is not executable; make it anew")
    script = read_content(init)
    if is_nash(script):
        return "nash"
    if any(holds(tree, path) for path in (b"usr/lib/dracut", b"usr/lib/dracut-lib.sh")):
        return "dracut"
    if b"scripts/functions" in tree and b"conf/arch.conf" in tree or b"conf/initramfs.conf" in tree:
        return "initramfs-tools"
    first = (
        script.split(b"\n", 1)[0][:60].decode(errors="replace")
        if script[:2] == b"#!"
        else "no script"
    )
    known = "nash (mkinitrd of EL4 and EL5), dracut and initramfs-tools"
    raise BadInput.at(
        base.name,
        f"its /init ({first}) is of no known maker: {known}; or say `initrd: {{base: none}}`",
    )


def holds(tree: Tree, path: bytes) -> bool:
    """Whether an image has a path, with /usr merged or not."""
    return any(resolve(tree, name) in tree for name in (path, path.removeprefix(b"usr/")))


def is_nash(init: bytes) -> bool:
    """Whether an `init` is run by nash."""
    return re.match(rb"#!\s*\S*/nash\b", init) is not None
