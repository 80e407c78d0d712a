"""What a root file leaves out of its root: what the site excludes, drivers that it never uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..initrd import modules
from ..initrd.content import Recipe, known_modules
from ..site.model import Image
from ..tree.filter import Patterns
from ..tree.model import DIR, Tree, resolve

# Of a kernel's modules the drivers of hardware that a site names by `initrd: modules`, if it has it
NAMED_DRIVERS = """
accessibility bluetooth comedi firewire gpu iio infiniband isdn leds media mmc mtd net nfc parport
pcmcia ssb staging thunderbolt video w1
""".split()
NAMED_HARDWARE = (
    b"/kernel/sound/",
    *(b"/kernel/drivers/%s/" % name.encode() for name in NAMED_DRIVERS),
)
VIRTUAL = ("virtio_net", "net_failover", "bonding", "dummy", "tun", "veth", "macvlan", "vxlan")


def left_out(tree: Tree, image: Image, recipe: Recipe) -> list[bytes]:
    """The paths of a staged root that its root file has not, outer folders alone, sorted.

    `tree`: all of that root. `recipe`: what its initrd is made of, for the kernel's modules.
    """
    unused = frozenset(_unused(recipe) if image.root_modules == "used" else ())
    excludes = Patterns(image.root_exclude).excludes
    found = []
    above = b"/"  # what is below it is out with it
    for path in sorted(tree):
        if not path or path.startswith(above):
            continue
        is_folder = tree[path].type == DIR
        if path in unused or excludes(path, is_folder):
            found.append(path)
            above = path + b"/"
    return found


def _unused(recipe: Recipe) -> Iterator[bytes]:
    """The modules of hardware that no node has, by their paths in the root.

    What stays takes along what it needs.
    """
    known = known_modules(recipe)
    wanted = [*recipe.image.initrd.modules, *modules.present(known, VIRTUAL)]
    others = [name for name, path in known.paths.items() if not _is_named_hardware(path)]
    kept = _needed(known, [*_plain(known, wanted), *others])
    for name, path in known.paths.items():
        if name not in kept:
            yield resolve(recipe.tree, path)


def _plain(known: modules.Modules, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        found = modules.find_module(known, name)
        if found:
            yield found


def _is_named_hardware(path: bytes) -> bool:
    return any(folder in path for folder in NAMED_HARDWARE)


def _needed(known: modules.Modules, names: Iterable[str]) -> set[str]:
    """These modules, and all that they need (modules.dep lists that whole)."""
    needed = set[str]()
    for name in names:
        needed.add(name)
        needed.update(known.needs.get(name, ()))
    return needed
