"""The initial RAM disk of an image, by its kind: the one list of the kinds."""

from __future__ import annotations

from collections.abc import Iterable

from ..base.errors import BadInput
from ..base.files import REPOSITORY
from ..base.process import Say
from ..site.model import UKI, Image
from ..tree.model import FILE, Tree, read_content, resolve
from .base_image import BaseImage, find_base
from .content import BuiltInitrd, Recipe, is_of_file, overlay_modules, parts, refuse_version
from .dracut import DRACUT
from .initramfs_tools import INITRAMFS_TOOLS
from .kernel import Kernel
from .kind import InitrdKind
from .minimal import OWN
from .nash import NASH

KINDS = (OWN, NASH, DRACUT, INITRAMFS_TOOLS)
BY_NAME = {kind.name: kind for kind in KINDS}


def recipe_of(
    image: Image,
    tree: Tree,
    kernel: Kernel,
    folders: Iterable[str] = (),
    where: str = "site.yaml",
) -> Recipe:
    """What the initrd of `image` is made of; `tree`: its staged root."""
    return Recipe(image, parts(tree, image), kernel, (*folders, REPOSITORY), where)


def build_initrd(recipe: Recipe, say: Say = print) -> BuiltInitrd:
    """The initial RAM disk of an image. Raises BadInput; `say` gets the notes."""
    base = None if _is_made_of_nothing(recipe.image) else find_base(recipe)
    kind = kind_of(base) if base else OWN
    _refuse_file_root(recipe, kind)
    _refuse_signed(recipe, kind)
    overlay_modules(recipe)  # of images that others made, the root has it
    refuse_version(recipe, kind.mounts_version_3_alone)
    _refuse_tags(recipe, kind)
    made = kind.make(recipe, base)
    for note in made.notes:
        say(note)
    return made


def _is_made_of_nothing(image: Image) -> bool:
    """No distribution's image knows a root that is one file: `auto` is our own then."""
    return image.initrd.base in (["auto", "none"] if is_of_file(image) else ["none"])


def _refuse_file_root(recipe: Recipe, kind: InitrdKind) -> None:
    """Raises BadInput where an image of that kind was named, and the root is one file."""
    if is_of_file(recipe.image) and kind is not OWN:
        root = recipe.image.root
        what = f"an initrd of {kind.maker} mounts trees over NFS alone, so root: {root} cannot be"
        remedy = "say `initrd: {base: none}`, or `root: nfs`"
        raise BadInput.about(("initrd", "base"), recipe.where, f"{what}; {remedy}")


def _refuse_tags(recipe: Recipe, kind: InitrdKind) -> None:
    """Raises BadInput where a network is tagged, and an image of that kind knows no VLANs."""
    if recipe.image.tags and not kind.arguments.tagged:
        what = f"an initrd of {kind.maker} knows no VLANs, and a network is tagged"
        remedy = "say `initrd: {base: none}`, or have the switch tag its nodes' ports"
        raise BadInput.about(("initrd", "base"), recipe.where, f"{what}; {remedy}")


def _refuse_signed(recipe: Recipe, kind: InitrdKind) -> None:
    """Raises BadInput where an image of that kind could not find its server, or the kernel start.

    A signed file is the same on all servers, and its stub takes no site data from a loader.
    """
    if recipe.image.loader != UKI:
        return
    if kind is not OWN:
        what = f"an initrd of {kind.maker} takes its server and site data from a loader"
        remedy = "say `initrd: {base: none}`"
        problem = f"{what}, so loader: {UKI} cannot be; {remedy}"
        raise BadInput.about(("initrd", "base"), recipe.where, problem)
    kernel = read_content(recipe.tree[recipe.kernel.path])
    if kernel[:2] != b"MZ" or kernel[0x202:0x206] != b"HdrS":
        what = f"kernel {recipe.kernel.version} is no program of UEFI on a PC"
        raise BadInput.about(("loader",), recipe.where, f"{what}, so loader: {UKI} cannot be")


def kind_of(base: BaseImage) -> InitrdKind:
    """The kind of an image, by what it holds. Raises BadInput for an unknown maker."""
    script = _init_of(base)
    for kind in KINDS:
        if kind.recognises(base.image.tree, script):
            return kind
    first = script.split(b"\n", 1)[0][:60].decode(errors="replace")
    said = first if script[:2] == b"#!" else "no script"
    *others, last = [kind.maker for kind in KINDS if kind.maker]
    unknown = f"its /init ({said}) is of no known maker: {', '.join(others)} and {last}"
    raise BadInput.at(base.name, f"{unknown}; or say `initrd: {{base: none}}`")


def _init_of(base: BaseImage) -> bytes:
    """What the kernel would start. Raises BadInput where it could not."""
    tree = base.image.tree
    init = tree.get(resolve(tree, b"init"))
    if init is None or init.type != FILE:
        what = "has no /init: the kernel would not start it; give the distribution's own image"
        raise BadInput.at(base.name, what)
    if not init.mode & 0o111:
        raise BadInput.at(base.name, "its /init is not executable; make it anew")
    return read_content(init)
