"""What goes into an initrd of ours: modules and their firmware, busybox, scripts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from ..archive import cpio
from ..archive.compression import compress
from ..base.errors import BadInput, Problem
from ..site.model import Image
from ..tree.model import (
    FILE,
    LINK,
    Entry,
    Tree,
    directory,
    parents,
    read_content,
    resolve,
    resolve_parent,
)
from . import busybox
from .kernel import Kernel
from .modules import (
    NETWORK,
    NFS,
    Modules,
    buses,
    closure,
    file_name,
    firmware,
    load_module,
    network_drivers,
    present,
    read_modules,
)

FIRST_KERNELS = {
    "gzip": (2, 6, 0),
    "xz": (2, 6, 38),
    "zstd": (5, 9, 0),
}  # first kernel that reads each


class BuiltInitrd(NamedTuple):
    """An initial RAM disk."""

    start: bytes  # taken over as it is: early microcode, or all of it
    archive: bytes  # newc, what follows once it is compressed; b"" for nothing
    compression: str
    kind: (
        str  # "own" | "nash" | "dracut" | "initramfs-tools": how it is told its root, see bootline
    )
    kernel_version: str
    base: str  # what it was made from
    modules: tuple[
        str, ...
    ]  # for network and NFS: in insmod order, or those looked for where udev loads them
    notes: tuple[str, ...]  # for the admin

    @property
    def data(self) -> bytes:
        """As the loader loads it. Compressed when it is asked for: whether it can be made is known long before."""
        return self.start + (compress(self.archive, self.compression) if self.archive else b"")


class Recipe(NamedTuple):
    """What an initrd is made of and for."""

    image: Image
    tree: Tree  # of the staged root its `parts`
    kernel: Kernel
    folders: tuple[str, ...]  # with overlays/initrd/ in them, first come first served
    where: str  # the file to name in complaints


def parts(tree: Tree) -> Tree:
    """All of a root that an initrd can be made of: kernels, modules, firmware, busybox, and the way to them. Sorted."""
    links = {path: entry for path, entry in tree.items() if entry.type == LINK}
    folders = tuple(
        resolve(links, name) + b"/" for name in (b"boot", b"lib/modules", b"lib/firmware")
    )
    names = [*busybox.PLACES, *(path for path in links if path.startswith(folders))]
    others = {resolve(links, name) for name in names}
    paths = (path for path in tree if path in links or path in others or path.startswith(folders))
    return {path: tree[path] for path in sorted(paths)}


# ---- what goes in --------------------------------------------------------------------------------------------------


class ModuleSet(NamedTuple):
    """Modules to load, in order, with their bytes."""

    names: list[str]
    files: dict[str, bytes]  # file name -> bytes
    firmware: dict[str, bytes]
    notes: list[str]
    machine: int  # e_machine of the modules: the processor


def module_set(order: Recipe, usual: Iterable[str]) -> ModuleSet:
    """The closure of the image's NIC modules (`usual` and virtio_net where it names none) and of NFS."""
    known = known_modules(order)
    drivers = _drivers(order, known, usual) + present(known, NETWORK)
    names, problems = closure(order.tree, known, drivers, order.where)
    nfs, lost = closure(order.tree, known, present(known, NFS), order.where)
    if "nfs" not in known.builtin and "nfs" not in known.paths:
        text = f"kernel {known.version} cannot mount an NFS root: it has no nfs module; install its modules package"
        lost.append(Problem(order.where, 1, 1, text))
    if problems + lost:
        raise BadInput(problems + lost)
    return _loaded(order, known, list(dict.fromkeys(names + nfs)))


def known_modules(order: Recipe) -> Modules:
    try:
        return read_modules(order.tree, order.kernel)
    except ValueError as error:
        raise BadInput.at(order.where, f"{order.image.name}: {error}") from None


def _drivers(order: Recipe, known: Modules, usual: Iterable[str]) -> list[str]:
    """The network cards' drivers, with those of their buses before them."""
    named = list(order.image.initrd.modules)
    cards = named or present(known, ["virtio_net", *network_drivers(known, usual)])
    return [bus for card in cards for bus in buses(known, card)] + cards


def _loaded(order: Recipe, known: Modules, names: list[str]) -> ModuleSet:
    files: dict[str, bytes] = {}
    held: dict[str, bytes] = {}
    notes: list[str] = []
    machine = busybox.X86_64
    for name in names:
        data = load_module(order.tree, known, name)
        machine = int.from_bytes(data[18:20], "little")
        files[file_name(known, name)] = data
        found, missing = firmware(order.tree, data)
        held |= found
        if missing:
            what = f"module {name} names firmware that the reference lacks: {', '.join(missing)}"
            notes.append(f"{order.image.name}: {what}")
    return ModuleSet(names, files, held, notes, machine)


def script_of(folders: Iterable[str], name: str) -> bytes:
    """A file of overlays/initrd/, from the first folder that has it."""
    for folder in folders:
        path = os.path.join(folder, "overlays", "initrd", name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
    raise FileNotFoundError(f"overlays/initrd/{name}")


def put_entry(tree: Tree, path: str, entry: Entry) -> None:
    """Lay an entry into an image, with the folders above it; symlinks on the way are followed inside the image."""
    place = resolve_parent(tree, path.encode())
    for folder in parents(place):
        if folder not in tree:
            tree[folder] = directory()
    tree[place] = entry


def file_entry(data: bytes, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, 0, 0, size=len(data), data=data)


def put_network_root(tree: Tree, order: Recipe, program: bytes, wanted: ModuleSet) -> None:
    """What both our own image and nash's have."""
    put_entry(tree, "bin/busybox", file_entry(program, 0o755))
    for name in ("common.sh", "identity", "netroot"):
        put_entry(tree, name, file_entry(script_of(order.folders, name)))
    put_entry(tree, "udhcpc.script", file_entry(script_of(order.folders, "udhcpc.script"), 0o755))
    put_entry(tree, "etc/plugnode/interface", file_entry(order.image.interface.encode() + b"\n"))
    for name, data in wanted.firmware.items():
        put_entry(tree, f"lib/firmware/{name}", file_entry(data))


def finish_image(
    order: Recipe,
    kind: str,
    base: str,
    early: bytes,
    tree: Tree,
    wanted: ModuleSet,
    notes: list[str],
) -> BuiltInitrd:
    how = order.image.initrd.compression
    _readable(order, how)
    archive, said = cpio.write_newc(tree), tuple(wanted.notes + notes)
    return BuiltInitrd(
        early, archive, how, kind, order.kernel.version, base, tuple(wanted.names), said
    )


def _readable(order: Recipe, how: str) -> None:
    """Raises BadInput where the kernel cannot read an image compressed like this."""
    config = order.tree.get(resolve(order.tree, b"boot/config-" + order.kernel.version.encode()))
    word = b"CONFIG_RD_" + how.upper().encode() + b"=y"
    if config is not None and config.type == FILE:
        fine = word in read_content(config)
    else:
        fine = version_numbers(order.kernel.version) >= FIRST_KERNELS[how]
    if not fine:
        message = f"kernel {order.kernel.version} cannot read an initrd compressed with {how}"
        remedy = "say `initrd: {compression: gzip}`"
        raise BadInput.about(("initrd", "compression"), order.where, f"{message}; {remedy}")


def version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
