"""The kernel of an image, and the initrd that mounts its root.

build/.noted/<image>.parts, root/ ──> build/<image>/vmlinuz  initrd.img  initrd.json
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING

from .base.console import say
from .base.paths import facts_of, initrd_of, initrd_source, kernel_of, parts_of, place_of
from .base.rule import Reads, Writes, rule
from .base.settings import about, site
from .core.base.files import read, write_atomic
from .core.image.source import ImageSource
from .core.site.model import Image

if TYPE_CHECKING:
    from .core.initrd.content import BuiltInitrd
    from .core.tree.model import Tree


def task_initrd():
    """take each image's kernel from its root, and make its initrd"""
    for image in site().images:
        source = initrd_source(image)
        made = rule(
            image.name,
            make_initrd,
            source,
            reads=Reads([parts_of(image)], partial(seen, source)),
            writes=Writes([initrd_of(image), kernel_of(image), facts_of(image)]),
        )
        yield {**made, "task_dep": ["accept"]}


def seen(source: ImageSource) -> str:
    from .core.image.seen import initrd_seen

    return initrd_seen(source)


def make_initrd(source: ImageSource) -> None:
    from .core.image.decide import circles_named
    from .core.initrd import build, kernel
    from .core.tree.model import read_content

    image = source.image
    tree = parts(image)
    with about(image.name), circles_named(source):
        chosen = kernel.choose(tree, image.kernel, source.site)
        recipe = build.recipe_of(image, tree, chosen, source.folders, source.site)
        made = build.build_initrd(recipe, say)
    write_atomic(kernel_of(image), read_content(tree[chosen.path]))
    write_atomic(initrd_of(image), made.data)
    write_atomic(facts_of(image), facts(made))


def parts(image: Image) -> Tree:
    """All of the staged root that an initrd can be made of."""
    from .core.tree import mtree

    folder = os.path.abspath(place_of(image).folder)
    return mtree.parse(read(parts_of(image)), os.fsencode(folder))


def facts(made: BuiltInitrd) -> bytes:
    found = {
        "kind": made.kind,
        "kernel_version": made.kernel_version,
        "base": made.base,
        "modules": made.modules,
        "notes": made.notes,
    }
    return (json.dumps(found, indent=1) + "\n").encode()
