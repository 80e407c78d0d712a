"""Plugnode's own minimal initrd: busybox, the modules and overlays/initrd/init."""

from __future__ import annotations

from ..base.errors import BadInput
from ..site.model import DISK, FETCHED, NFS_FILE, RAM, UKI, Image
from ..tree.model import CHAR, FILE, Entry, Tree, directory, read_content, symlink
from . import busybox
from .base_image import BaseImage, find_base
from .content import (
    BuiltInitrd,
    ModuleSet,
    Origin,
    Recipe,
    applets_of,
    file_entry,
    fingerprints,
    finish_image,
    is_of_file,
    known_modules,
    module_set,
    nfs_note,
    pick_busybox,
    put_entry,
    put_network_root,
    put_programs,
    put_trust,
    script_of,
)
from .initramfs_tools import listed_modules
from .kind import InitrdKind
from .modules import network_drivers
from .nash import is_nash, loaded

VIRTUAL = {"virtio_net", "net_failover"}  # cards of no real machine
# What a root that is one file takes besides; `init` reads in `mount-root`, the kind's own
SCRIPTS = {
    NFS_FILE: ("fileroot",),
    RAM: ("fetch", "fileroot"),
    DISK: ("fetch", "fileroot", "root-ram", "next-image"),
}
FOLDERS = (b"dev", b"proc", b"sys", b"newroot", b"sbin", b"tmp", b"run")


def make_minimal(recipe: Recipe, _: BaseImage | None) -> BuiltInitrd:
    """A minimal image: busybox, the modules and overlays/initrd/init."""
    chosen = module_set(recipe, _loaded_by_reference(recipe))
    notes, applets = _card_note(recipe, chosen), _applets(recipe)
    program, origin = pick_busybox(recipe, chosen.machine, applets)
    if recipe.image.root not in FETCHED:
        notes += nfs_note(recipe, program)

    tree = _own_tree(recipe, program, chosen)
    for applet in applets:
        put_entry(tree, f"bin/{applet}", symlink(b"busybox"))
    if recipe.checks_site:
        put_trust(tree, recipe, chosen.machine)
    made = finish_image(recipe, Origin("own", f"busybox: {origin}"), tree, chosen, notes)
    return made._replace(keys=fingerprints(recipe))


def _applets(recipe: Recipe) -> tuple[str, ...]:
    applets = (*applets_of(recipe.image), *busybox.OWN)
    if is_of_file(recipe.image):
        applets += busybox.ROOT_FILE
    if recipe.image.root == DISK:
        applets += busybox.DISK
    if recipe.image.loader == UKI:
        applets += busybox.SIGNED
    if recipe.checks_site:
        applets += busybox.UNPACK
    return applets


def _own_tree(recipe: Recipe, program: bytes, chosen: ModuleSet) -> Tree:
    tree: Tree = {path: directory() for path in FOLDERS}
    put_entry(tree, "dev/console", Entry(CHAR, 0o600, 0, 0, device=(5, 1)))
    put_entry(tree, "dev/null", Entry(CHAR, 0o666, 0, 0, device=(1, 3)))
    put_network_root(tree, recipe, program, chosen)
    for path, name in _scripts(recipe.image).items():
        put_entry(tree, path, file_entry(script_of(recipe.folders, name)))
    put_programs(tree, recipe)
    put_entry(tree, "init", file_entry(script_of(recipe.folders, "init"), 0o755))
    _put_modules(tree, chosen.files)
    return tree


def _scripts(image: Image) -> dict[str, str]:
    """What `init` reads in besides, by its path: a file of overlays/initrd/."""
    names = {name: name for name in SCRIPTS.get(image.root, ())}
    if image.root in SCRIPTS:
        names["mount-root"] = f"root-{image.root}"
    if image.loader == UKI:
        names["meet-site"] = "meet-site"
    return names


def _card_note(recipe: Recipe, chosen: ModuleSet) -> list[str]:
    """A note where no card of a real machine will work, and nobody has said so."""
    cards = network_drivers(recipe.tree, known_modules(recipe), chosen.names)
    if recipe.image.initrd.modules or not set(cards) <= VIRTUAL:
        return []
    what = "its initrd drives no network card but virtio_net, of virtual machines"
    remedy = "name those of the nodes by `initrd: {modules: [e1000e, tg3, …]}`"
    return [f"{recipe.image.name}: {what}; {remedy}"]


def _put_modules(tree: Tree, files: dict[str, bytes]) -> None:
    """Modules, and the list of them in the order in which `init` loads them."""
    listed = "".join(f"{name[:-3]}\n" for name in files)
    put_entry(tree, "etc/plugnode/modules", file_entry(listed.encode()))
    for name, data in files.items():
        put_entry(tree, f"lib/modules/{name}", file_entry(data))


def _loaded_by_reference(recipe: Recipe) -> list[str]:
    """Modules that the distribution's own image loads by name, where there is a readable one."""
    if recipe.image.initrd.modules:
        return []
    try:
        tree = find_base(recipe._replace(image=_with_auto_base(recipe.image))).image.tree
    except BadInput:
        return []
    init = tree.get(b"init")
    script = read_content(init) if init and init.type == FILE else b""
    if is_nash(script):
        return loaded(script.decode("latin-1"))
    return listed_modules(tree)


def _with_auto_base(image: Image) -> Image:
    return image._replace(initrd=image.initrd._replace(base="auto"))


OWN = InitrdKind(
    name="own",
    description="Plugnode's own, made from busybox and the kernel's modules",
    maker="",
    recognises=lambda tree, init: False,
    make=make_minimal,
)
