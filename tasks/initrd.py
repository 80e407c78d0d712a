"""The kernel of an image, and the initrd that mounts its root.

build/<image>/root.mtree, root/ ──> build/<image>/vmlinuz  initrd.img  hooks.img  initrd.json
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from typing import TYPE_CHECKING

from .base.complaints import about
from .base.console import say
from .base.paths import BuildPaths
from .base.rule import Reads, Writes, remove, rule
from .base.settings import build_paths, site
from .core.base.files import content, read, write_atomic
from .core.image.source import ImageSource

if TYPE_CHECKING:
    from .core.checkout.staged import StagedPaths
    from .core.initrd.content import BuiltInitrd
    from .core.site.model import Image
    from .core.tree.model import Tree


def task_initrd():
    """take each image's kernel from its root, and make its initrd"""
    paths = build_paths()
    for image in site().images:
        source = paths.initrd_source(image)
        outputs = [paths.initrd(image), paths.kernel(image), paths.initrd_facts(image)]
        made = rule(
            image.name,
            make_initrd,
            source,
            paths,
            reads=Reads(given=partial(given, source.state, paths, image)),
            writes=Writes(outputs, leaves=[paths.hooks(image)]),
        )
        yield {**made, "task_dep": ["accept", f"root:{image.name}"]}


def given(state: str, paths: BuildPaths, image: Image) -> str:
    """All that it is made of; and whether hooks.img, which not every image has, is gone."""
    made = content(paths.initrd_facts(image)) or b""
    is_gone = b'"hooks":' in made and not os.path.exists(paths.hooks(image))
    return startable(state) + " without hooks.img" * is_gone


def startable(state: str) -> str:
    """All that it is made of, by one name: of the root much may change, and nothing of that."""
    from .core.image.state import load_state

    return load_state(state, say).startable


def make_initrd(source: ImageSource, paths: BuildPaths) -> None:
    from .core.image.decide import circles_named
    from .core.initrd import build, kernel
    from .core.tree.model import read_content

    image = source.image
    tree = staged_parts(paths.staged(image), image)
    with about(image.name, source.site), circles_named(source):
        chosen = kernel.choose(tree, image.kernel, source.site, image.arch)
        recipe = build.recipe_of(image, tree, chosen, source.folders, source.site)
        made = build.build_initrd(recipe._replace(keys=source.keys), say)
    write_atomic(paths.kernel(image), read_content(tree[chosen.path]))
    write_initrd(image, paths, made)


def write_initrd(image: Image, paths: BuildPaths, made: BuiltInitrd) -> None:
    write_atomic(paths.initrd(image), made.data)
    if made.hooks:
        write_atomic(paths.hooks(image), made.hooks)
    else:
        remove([paths.hooks(image)])
    write_atomic(paths.initrd_facts(image), facts(made))


def staged_parts(staged: StagedPaths, image: Image) -> Tree:
    """All of the staged root that the initrd of an image can be made of."""
    from .core.initrd import content

    return content.parts(staged_tree(staged), image)


def staged_tree(staged: StagedPaths) -> Tree:
    """The staged root, by its manifest."""
    from .core.tree import mtree

    return mtree.parse(read(staged.manifest), os.fsencode(os.path.abspath(staged.folder)))


def facts(made: BuiltInitrd) -> bytes:
    found = {
        "kind": made.kind,
        "kernel_version": made.kernel_version,
        "base": made.base,
        "modules": made.modules,
        "notes": made.notes,
        **({"hooks": hashlib.sha256(made.hooks).hexdigest()} if made.hooks else {}),
        **({"keys": ",".join(made.keys)} if made.keys else {}),
    }
    return (json.dumps(found, indent=1) + "\n").encode()
