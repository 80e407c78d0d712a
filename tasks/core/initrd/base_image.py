"""The image to start from: the distribution's for a kernel, or the file that is named."""

from __future__ import annotations

from typing import NamedTuple

from ..archive import cpio
from ..base.errors import BadInput
from ..base.files import read
from ..tree.model import FILE, Tree, read_content, resolve
from . import modules
from .content import Recipe
from .kernel import Kernel

# Debian, EL4-5, EL6 and later, others
BASES = ("initrd.img-{}", "initrd-{}.img", "initramfs-{}.img", "initrd-{}")


class BaseImage(NamedTuple):
    name: str
    data: bytes
    image: cpio.InitrdArchive


def find_base(recipe: Recipe) -> BaseImage:
    """The image to start from: the distribution's for that kernel, or the file that is named."""
    named = recipe.image.initrd.base
    if named == "auto":
        name, data = _of_distribution(recipe)
    else:
        name, data = named, _file(named, recipe.where)
    base = BaseImage(name, data, cpio.read_image(data, name))
    _refuse_other_kernel(base, recipe.kernel)
    return base


def _of_distribution(recipe: Recipe) -> tuple[str, bytes]:
    version = recipe.kernel.version
    names = [pattern.format(version) for pattern in BASES]
    for name in names:
        entry = recipe.tree.get(resolve(recipe.tree, b"boot/" + name.encode()))
        if entry and entry.type == FILE:
            return f"boot/{name}", read_content(entry)
    looked = f"no initrd for kernel {version} in the reference's /boot"
    remedy = "make one there, or say `initrd: {base: none}` for Plugnode's own"
    raise BadInput.at(recipe.where, f"{looked} (looked for {', '.join(names)}); {remedy}")


def _file(path: str, where: str) -> bytes:
    try:
        return read(path)
    except OSError as error:
        what = f"initrd: base: {path}: {error.strerror}"
        raise BadInput.about(("initrd", "base"), where, what) from None


def _refuse_other_kernel(base: BaseImage, kernel: Kernel) -> None:
    """Raises BadInput where its modules are another kernel's."""
    for path, entry in base.image.tree.items():
        if entry.type == FILE and modules.MODULE.search(path):
            data = modules.expanded(base.image.tree, path, base.name)
            version = modules.version_of(data)
            if version and version != kernel.version:
                message = f"has modules for kernel {version}, but the kernel is {kernel.version}"
                raise BadInput.at(base.name, f"{message}; give the initrd of {kernel.version}")
            return


def holds(tree: Tree, path: bytes) -> bool:
    """Whether an image has a path, with /usr merged or not."""
    return any(resolve(tree, name) in tree for name in (path, path.removeprefix(b"usr/")))
