"""The root of an image as one file, for nodes that have it so instead of mounting the tree.

root/, root.mtree, root.xattrs ──> build/<image>/root.erofs  root_file.json
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .base.console import say
from .base.complaints import about
from .base.paths import BuildPaths
from .base.rule import Reads, Task, Writes, remove, rule
from .base.settings import build_paths, site
from .core.base.errors import Refused
from .core.base.files import read, write_atomic
from .core.base.text import human
from .core.image.source import ImageSource
from .core.release import ROOT_FILE_NAMES
from .core.site.model import ROOT_FILES, Image, partitions_of

if TYPE_CHECKING:
    from .core.initrd.content import Recipe
    from .core.root_file.make import MadeRootFile, Wanted

MIB = 1 << 20
LOST = (
    "{}: root.squashfs keeps no ACLs, and {} of the root are lost (kernel {} has no EROFS);"
    " root: nfs keeps them"
)


def task_root_file() -> Iterator[Task]:
    """make one file of each root that nodes have as one, with its tree of hashes"""
    paths = build_paths()
    for image in filter(has_root_file, site().images):
        yield rule(
            image.name,
            make,
            paths.initrd_source(image),
            LeftOut(image.root_exclude, image.root_modules),
            paths,
            reads=Reads([paths.manifest(image), paths.xattrs(image), paths.initrd_facts(image)]),
            writes=Writes([paths.root_file(image)]),
        )


def has_root_file(image: Image) -> bool:
    return image.root in ROOT_FILES


class LeftOut(NamedTuple):
    """What the site has the file lack of the root."""

    root_exclude: tuple[str, ...]
    root_modules: str


def make(source: ImageSource, less: LeftOut, paths: BuildPaths) -> list[str]:
    """Make the file, which has `less` than the root. Gives what lies beside the facts."""
    image = source.image._replace(**less._asdict())
    with about(image.name, source.site):
        recipe = recipe_of(source, paths)
        wanted = wanted_of(image, recipe, paths)
    begun = time.monotonic()
    made = file_of(image, wanted, paths)
    tell(paths, image, made, time.monotonic() - begun)
    tell_lost(paths, image, made, recipe.kernel.version)
    tell_room(image, made)
    leave(paths, image, made)
    return [os.path.join(paths.folder(image), made.name)]


def file_of(image: Image, wanted: Wanted, paths: BuildPaths) -> MadeRootFile:
    """The same file whoever staged the root, and where: by its manifest."""
    from .core.root_file import faked
    from .core.root_file.make import make_root_file
    from .initrd import staged_tree
    from .root import staged_notes

    root, folder, staged = paths.root(image), paths.folder(image), paths.staged(image)
    if not staged_notes(image, paths)["unprivileged"] and faked.is_as_said(staged):
        return make_root_file(root, folder, wanted)
    try:
        with faked.as_said(staged, staged_tree(staged)) as shown:
            return make_root_file(root, folder, wanted, shown)
    except Refused as error:
        raise Refused(f"{image.name}: {error}") from None


def recipe_of(source: ImageSource, paths: BuildPaths) -> Recipe:
    """What the image's initrd is made of: it has the kernel's modules."""
    from .core.initrd import build, kernel
    from .initrd import staged_parts

    tree = staged_parts(paths.staged(source.image), source.image)
    image = source.image
    chosen = kernel.choose(tree, image.kernel, source.site, image.arch)
    return build.recipe_of(image, tree, chosen, source.folders, source.site)


def wanted_of(image: Image, recipe: Recipe, paths: BuildPaths) -> Wanted:
    from .core.initrd import content
    from .core.root_file import contents
    from .core.root_file.make import Wanted
    from .initrd import staged_tree

    left_out: list[bytes] = []
    if image.root_exclude or image.root_modules != "all":
        left_out = contents.left_out(staged_tree(paths.staged(image)), image, recipe)
    version = content.version_numbers(recipe.kernel.version)
    return Wanted(content.file_system_of(recipe), version, left_out)


def tell(paths: BuildPaths, image: Image, made: MadeRootFile, seconds: float) -> None:
    """Say how large the file is, and what the root is that it is made of."""
    from .core.tree import mtree

    _, size = mtree.size_of(read(paths.manifest(image)))
    part = 100 * made.bytes // max(size, 1)
    what = f"{made.name} {human(made.bytes)}, {part} % of the root's {human(size)}"
    say(f"{image.name}: {what}; {seconds:.0f} s")


def tell_lost(paths: BuildPaths, image: Image, made: MadeRootFile, version: str) -> None:
    """Say how many ACLs of the root its file has not."""
    from .core.root_file.make import lost_acls

    if lost := lost_acls(read(paths.xattrs(image)), made.file_system):
        say(LOST.format(image.name, lost, version))


def tell_room(image: Image, made: MadeRootFile) -> None:
    """Say where the partition that keeps root files has no room for two of this size."""
    file = -(-made.bytes // MIB)
    two = 2 * file * 107 // 100 + 32  # with what ext4 takes for itself
    for part in partitions_of(image):
        if part.mount == "image" and part.size and part.size < two:
            what = f"its partition `image` has {part.size}M; with {two}M the next release's file"
            say(f"{image.name}: {what} of {file} MiB lies there beside the one in use")


def leave(paths: BuildPaths, image: Image, made: MadeRootFile) -> None:
    """Write down what was made, and remove a file of another kind, that an earlier kernel had."""
    facts = {"name": made.name, **made._asdict()}
    write_atomic(paths.root_file(image), (json.dumps(facts, indent=1) + "\n").encode())
    others = {*ROOT_FILE_NAMES, "root.verity"} - {made.name}  # the tree's own file, of before
    remove([paths.path(image.name, name) for name in others])
