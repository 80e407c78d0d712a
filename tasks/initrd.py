"""The kernel of an image, and the initrd that mounts its root.

build/.noted/<image>.parts, root/ ──> build/<image>/vmlinuz  initrd.img  initrd.json
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING

from .base.console import say
from .base.paths import facts_of, initrd_of, kernel_of, parts_of, place_of
from .base.rule import rule
from .base.settings import about, settings, site
from .core.base.files import write_atomic
from .examine import initrd_recipe, initrd_seen

if TYPE_CHECKING:
    from .core.initrd.content import BuiltInitrd


def task_initrd():
    """take each image's kernel from its root, and make its initrd"""
    for image in site().images:
        made = rule(
            image.name, make_initrd, image.name, initrd_recipe(image),
            output=[initrd_of(image), kernel_of(image), facts_of(image)],
            inputs=[parts_of(image)],
            given=partial(initrd_seen, image),
        )  # fmt: skip
        yield {**made, "task_dep": ["accept"]}


def make_initrd(image_name: str, _: tuple) -> None:
    from .core.initrd import build, kernel
    from .core.tree import mtree
    from .core.tree.model import read_content

    image = site().image(image_name)
    with open(parts_of(image), "rb") as parts:
        tree = mtree.parse(parts.read(), os.fsencode(os.path.abspath(place_of(image).folder)))
    with about(image_name):
        chosen = kernel.choose(tree, image.kernel, settings().site)
        recipe = build.recipe_of(image, tree, chosen, settings().folders, settings().site)
        made = build.build_initrd(recipe, say)
    write_atomic(kernel_of(image), read_content(tree[chosen.path]))
    write_atomic(initrd_of(image), made.data)
    write_atomic(facts_of(image), facts(made))


def facts(made: BuiltInitrd) -> bytes:
    found = {
        "kind": made.kind, "kernel_version": made.kernel_version, "base": made.base,
        "modules": made.modules, "notes": made.notes,
    }  # fmt: skip
    return (json.dumps(found, indent=1) + "\n").encode()
