"""Images of today's distributions, used as they are: what they must hold to mount an NFS root.

Their udev loads drivers, and they can mount NFS themselves. Who the node is its system is told by
hooks, in a second archive of the release.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..archive import compression, cpio
from ..base.errors import BadInput
from ..base.files import REPOSITORY
from ..tree.model import Tree, resolve
from . import busybox, modules
from .base_image import BaseImage, holds
from .content import (
    BuiltInitrd,
    Recipe,
    file_entry,
    fingerprints,
    known_modules,
    pick_busybox,
    put_entry,
    put_trust,
    script_of,
    unchecked_note,
)

HOOKS = {  # path in the archive: file of overlays/initrd/
    "plugnode/common.sh": "common.sh",
    "plugnode/identity": "identity",
    "plugnode/check-site": "check-site",
    "plugnode/ahead": "ahead",
    "plugnode/above": "above",
    "plugnode/handover": "handover",
    "plugnode/dracut.hook": "dracut.hook",
    "etc/conf.d/plugnode.conf": "dracut.conf",
    "pre-pivot/20-plugnode.sh": "dracut.hook",  # dracut of EL6
    "conf/conf.d/plugnode": "initramfs-tools.conf",
}


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
    notes = (*_lacking_firmware(recipe, base), *unchecked_note(recipe))
    made = BuiltInitrd(base.data, b"", "", image.kind, version, base.name, tuple(drivers), notes)
    hooks = _hooks(recipe.folders)
    if recipe.checks_site:
        _put_check(hooks, recipe)
    return made._replace(hooks=_archive(hooks), keys=fingerprints(recipe))


def hooks_img() -> bytes:
    """The second archive, gzip newc, for a release of before: it checks no signature."""
    return _archive(_hooks(()))


def _archive(tree: Tree) -> bytes:
    return compression.gzip(cpio.write_newc(tree))


def _hooks(folders: Iterable[str]) -> Tree:
    """What dracut's and initramfs-tools' images run of ours.

    It lies in folders that are no symlinks there. A folder of a second archive replaces a symlink
    of the first: with `lib -> usr/lib` every library would be lost.
    """
    every = (*folders, REPOSITORY)
    tree: Tree = {}
    for path, name in HOOKS.items():
        script = script_of(every, name)
        put_entry(tree, path, file_entry(script, 0o755 if script[:2] == b"#!" else 0o644))
    return tree


def _put_check(tree: Tree, recipe: Recipe) -> None:
    """What site data is checked by, with a busybox: what an image has of its own differs."""
    machine = busybox.MACHINES[recipe.image.arch]
    put_trust(tree, recipe, machine)
    program, _ = pick_busybox(recipe, machine, busybox.CHECK_SITE)
    put_entry(tree, "plugnode/trust/bin/busybox", file_entry(program, 0o755))


def _lacking_firmware(recipe: Recipe, base: BaseImage) -> tuple[str, ...]:
    """A note for each card that the site names, or one for all that the image drives."""
    tree, version, name = base.image.tree, recipe.kernel.version, recipe.image.name
    inside = modules.all_in(tree, resolve(tree, b"lib/modules"))
    drivers = [modules.name_of(driver) for driver in recipe.image.initrd.modules]
    cards = drivers or [driver for driver, path in inside.items() if b"/drivers/net/" in path]
    lacking = {}
    for driver in filter(inside.__contains__, cards):
        data = modules.expanded(tree, inside[driver], base.name)
        _, missing = modules.firmware(tree, data, version)
        if missing:
            lacking[driver] = missing
    if not drivers and lacking:
        what = f"{name}: {base.name} lacks firmware that drivers in it name: {', '.join(lacking)}"
        return (f"{what}; put it there if nodes have such cards",)
    notes = []
    for driver, missing in lacking.items():
        what = f"module {driver} names firmware that {base.name} lacks"
        notes.append(f"{name}: {what}: {', '.join(missing)}")
    return tuple(notes)


def _drivers(recipe: Recipe) -> list[str]:
    """Modules that udev must find: for NFS, and those that the site names."""
    nfs = modules.present(known_modules(recipe), ["nfs", "nfsv3"])
    return [*nfs, *recipe.image.initrd.modules, *[modules.VLAN] * recipe.image.tags]


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
