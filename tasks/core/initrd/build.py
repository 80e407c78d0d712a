"""The initial RAM disk of an image, by the kind of its base."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from ..base.process import Say
from ..site.model import Image
from ..tree.model import Tree
from .base_image import BaseImage, find_base, kind_of
from .content import BuiltInitrd, Recipe, parts
from .distribution import make_as_is
from .kernel import Kernel
from .minimal import make_minimal
from .nash import make_nash

REPOSITORY = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
)


def build_initrd(
    image: Image,
    tree: Tree,
    kernel: Kernel,
    folders: Iterable[str] = (),
    say: Say = print,
    where: str = "site.yaml",
) -> BuiltInitrd:
    """The initial RAM disk of `image`, from its staged root. Raises BadInput; `say` gets the notes."""
    order = Recipe(image, parts(tree), kernel, (*folders, REPOSITORY), where)
    base = None if image.initrd.base == "none" else find_base(order)
    kind = kind_of(base) if base else "own"
    made = MAKERS[kind](order, base)
    for note in made.notes:
        say(note)
    return made


MAKERS: dict[str, Callable[[Recipe, BaseImage | None], BuiltInitrd]] = {
    "own": make_minimal,
    "nash": make_nash,
    "dracut": make_as_is,
    "initramfs-tools": make_as_is,
}
