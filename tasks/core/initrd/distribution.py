"""Images of today's distributions, used as they are: what they must hold to mount an NFS root.

Their udev loads drivers, and they can mount NFS themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..base.errors import BadInput
from ..tree.model import resolve
from . import modules
from .base_image import BaseImage, holds
from .content import BuiltInitrd, Recipe, known_modules


class Need(NamedTuple):
    """Something an image must hold: one of these paths."""

    paths: tuple[bytes, ...]
    what: str


class MadeElsewhere(NamedTuple):
    """What an image of a kind must hold, and how an admin makes one that does."""

    kind: str
    needs: tuple[Need, ...]
    remedy: str  # with {} for the kernel's version


def use_as_is(
    recipe: Recipe, base: BaseImage, image: MadeElsewhere, lacking: Iterable[str] = ()
) -> BuiltInitrd:
    """An image in which nothing is changed. Raises BadInput with all that it lacks.

    `lacking`: what the kind itself has found to be missing.
    """
    version, drivers = recipe.kernel.version, _drivers(recipe)
    missing = [
        *_missing_paths(base, image.needs),
        *_missing_modules(recipe, base, drivers),
        *lacking,
    ]
    if missing:
        what = f"cannot mount an NFS root, it lacks {', '.join(missing)}"
        remedy = f"{image.remedy.format(version)}; or say `initrd: {{base: none}}`"
        raise BadInput.at(base.name, f"{what}; {remedy}")
    return BuiltInitrd(base.data, b"", "", image.kind, version, base.name, tuple(drivers), ())


def _drivers(recipe: Recipe) -> list[str]:
    """Modules that udev must find: for NFS, and those that the site names."""
    nfs = modules.present(known_modules(recipe), ["nfs", "nfsv3"])
    return [*nfs, *recipe.image.initrd.modules]


def _missing_paths(base: BaseImage, needs: Iterable[Need]) -> list[str]:
    missing = []
    for need in needs:
        if not any(holds(base.image.tree, path) for path in need.paths):
            missing.append(need.what)
    return missing


def _missing_modules(recipe: Recipe, base: BaseImage, drivers: list[str]) -> list[str]:
    lost = [name for name in drivers if not _has_module(recipe, base, name)]
    return [f"the kernel module {name}" for name in lost]


def _has_module(recipe: Recipe, base: BaseImage, name: str) -> bool:
    known = known_modules(recipe)
    try:
        module = modules.find_module(known, name)
    except KeyError:
        what = modules.unknown_module(known, name)
        raise BadInput.about(modules.SUBJECT, recipe.where, what) from None
    folder = resolve(base.image.tree, b"lib/modules")
    return module is None or module in modules.all_in(base.image.tree, folder)
