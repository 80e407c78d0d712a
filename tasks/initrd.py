"""The kernel of an image, and the initrd that mounts its root.

root.mtree, root/ ──> build/<image>/vmlinuz  initrd.img  initrd.json
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from .console import say
from .core.files import write_atomic
from .core.site import Image
from .examine import initrd_recipe, initrd_seen
from .root import manifest_of
from .rule import rule
from .settings import about, settings, site

if TYPE_CHECKING:
    from .core.initrd import Initrd
    from .core.tree import Tree


def initrd_of(image: Image) -> str:
    return settings().path(image.name, "initrd.img")


def kernel_of(image: Image) -> str:
    return settings().path(image.name, "vmlinuz")


def facts_of(image: Image) -> str:
    """What was found out on the way: kind of the initrd, kernel's version, modules, size of the root."""
    return settings().path(image.name, "initrd.json")


def task_initrd():
    """take each image's kernel from its root, and make its initrd"""
    for image in site().images:
        made = rule(
            image.name, make_initrd, image.name, initrd_recipe(image),
            output=[initrd_of(image), kernel_of(image), facts_of(image)],
            inputs=[manifest_of(image)],
            given=partial(initrd_seen, image),
        )  # fmt: skip
        yield {**made, "task_dep": ["accept"]}


def make_initrd(image_name: str, _: tuple) -> None:
    from .core import initrd, kernel, staged
    from .core.tree import read

    image = site().image(image_name)
    tree = staged.load(staged.place(settings().path(image.name)))
    with about(image_name):
        chosen = kernel.choose(tree, image.kernel, settings().site)
        made = initrd.build(image, tree, chosen, settings().folders, say, settings().site)
    write_atomic(kernel_of(image), read(tree[chosen.path]))
    write_atomic(initrd_of(image), made.data)
    write_atomic(facts_of(image), facts(made, tree))


def facts(made: Initrd, tree: Tree) -> bytes:
    found = {
        "kind": made.kind, "kernel_version": made.kernel_version, "base": made.base,
        "modules": made.modules, "notes": made.notes,
        "entries": len(tree), "bytes": sum(entry.size for entry in tree.values()),
    }  # fmt: skip
    return (json.dumps(found, indent=1) + "\n").encode()
