"""What goes into an initrd of ours: modules and their firmware, busybox, scripts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..archive import cpio
from ..archive.compression import compress
from ..base.errors import BadInput, Problem
from ..base.files import read
from ..base.overlays import refuse_outside
from ..base.ssh import allowed_signers, fingerprint_of
from ..site.model import DISK, FETCHED, NFS_FILE, NFS_OVERLAY, ROOT_FILES, VERIFIED, Image
from ..tree.model import (
    CHAR,
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
    CHECKSUMS,
    DIGESTS,
    DISKS,
    NETWORK,
    NFS,
    NFS_4,
    ROOT_FILE,
    VERITY,
    VLAN,
    Modules,
    buses,
    closure,
    file_name,
    firmware,
    has,
    load_module,
    network_drivers,
    present,
    read_modules,
    root_file_system,
)

# The first kernel that reads each
FIRST_KERNELS = {"gzip": (2, 6, 0), "xz": (2, 6, 38), "zstd": (5, 9, 0)}


class BuiltInitrd(NamedTuple):
    """An initial RAM disk."""

    start: bytes  # taken over as it is: early microcode, or all of it
    archive: bytes  # newc, what follows once it is compressed; b"" for nothing
    compression: str
    kind: str  # its InitrdKind's name
    kernel_version: str
    base: str  # what it was made from
    # For network and NFS: in insmod order, or those looked for where udev loads them
    modules: tuple[str, ...]
    notes: tuple[str, ...]  # for the admin
    hooks: bytes = b""  # a second archive, as the loader loads it: images that others made have one
    keys: tuple[str, ...] = ()  # the fingerprints of those by one of which site data must be signed

    @property
    def data(self) -> bytes:
        """As the loader loads it, compressed now: whether it can be made is known long before."""
        if not self.archive:
            return self.start
        return self.start + compress(self.archive, self.compression)


class Recipe(NamedTuple):
    """What an initrd is made of and for."""

    image: Image
    tree: Tree  # of the staged root its `parts`
    kernel: Kernel
    folders: tuple[str, ...]  # with overlays/initrd/ in them, first come first served
    where: str  # the file to name in complaints
    keys: tuple[str, ...] = ()  # by one of which site data must be signed: lines of .pub files

    @property
    def checks_site(self) -> bool:
        """Whether its nodes take no other: no ssh-keygen that knows signatures runs on EL5, EL6."""
        return bool(self.keys) and version_numbers(self.kernel.version) >= (3, 2)


FOLDERS = (b"boot", b"lib/modules", b"lib/firmware")


def parts(tree: Tree, image: Image) -> Tree:
    """All of a root that the initrd of an image can be made of, sorted.

    Kernels, modules, firmware, busybox, other programs with their libraries, and the way to them.
    """
    links = {path: entry for path, entry in tree.items() if entry.type == LINK}
    folders = tuple(resolve(links, name) + b"/" for name in FOLDERS)
    inner_links = [path for path in links if path.startswith(folders)]
    others = {resolve(links, name) for name in [*busybox.PLACES, *inner_links]}
    checker = (busybox.CHECKER, busybox.LOOKS_UP) if image.signers else ()
    for name in (*programs_of(image), *checker):
        others |= {resolve(links, path) for path in busybox.with_libraries(tree, name)}

    paths = []
    for path in tree:
        if path in links or path in others or path.startswith(folders):
            paths.append(path)
    return {path: tree[path] for path in sorted(paths)}


# Modules


class ModuleSet(NamedTuple):
    """Modules to load, in order, with their bytes."""

    names: list[str]
    files: dict[str, bytes]  # file name -> bytes
    firmware: dict[str, bytes]
    notes: list[str]
    machine: int  # e_machine of the modules: the processor


def module_set(recipe: Recipe, usual: Iterable[str]) -> ModuleSet:
    """The closure of the image's NIC modules and of what mounts its root.

    Where the image names none they are `usual` and virtio_net.
    """
    known = known_modules(recipe)
    drivers = _drivers(recipe, known, usual) + present(known, NETWORK)
    drivers += [VLAN] * recipe.image.tags
    names, problems = closure(recipe.tree, known, drivers, recipe.where)
    root, lost = closure(recipe.tree, known, present(known, _mounting(recipe)), recipe.where)
    if recipe.image.root not in FETCHED and not has(known, "nfs"):
        what = f"kernel {known.version} cannot mount an NFS root: it has no nfs module"
        lost.append(Problem(recipe.where, 1, 1, f"{what}; install its modules package"))
    above, unwritable = closure(recipe.tree, known, overlay_modules(recipe), recipe.where)
    if wrong := problems + lost + unwritable:
        raise BadInput(wrong)
    return _loaded(recipe, known, list(dict.fromkeys(names + root + above)))


def is_of_file(image: Image) -> bool:
    """Whether nodes have its root as one file."""
    return image.root in ROOT_FILES


def applets_of(image: Image) -> tuple[str, ...]:
    """What busybox must have for an image of Plugnode's scripts, whichever kind."""
    more = busybox.VLAN if image.tags else ()
    return (*busybox.NETWORK_ROOT, *more)


def programs_of(image: Image) -> tuple[str, ...]:
    """The programs of the root that its initrd has, beside busybox."""
    return ("dmsetup", "losetup") if image.root in VERIFIED else ()


def _mounting(recipe: Recipe) -> Iterator[str]:
    """What mounts the root, in order. Raises BadInput where the kernel cannot."""
    if recipe.image.root not in FETCHED:
        yield from _versions_of_nfs(recipe.image)
    if is_of_file(recipe.image):
        yield from (*CHECKSUMS, *DIGESTS, file_system_of(recipe), *_around_file(recipe.image))
    if recipe.image.root == DISK:
        yield from DISKS


def _versions_of_nfs(image: Image) -> tuple[str, ...]:
    """What a tree may be mounted by, for arguments of a site's own name any version of NFS.

    With a root file each byte counts, and the version is that of `nfs: vers`.
    """
    only_3 = image.root == NFS_FILE and image.nfs.vers == "3"
    return NFS if only_3 else (*NFS, *NFS_4)


def _around_file(image: Image) -> tuple[str, ...]:
    """What a kernel must have for its root file, beside a file system of it."""
    more = {NFS_FILE: VERITY, DISK: ("ext4",)}
    return (*ROOT_FILE, *more.get(image.root, ()))


def file_system_of(recipe: Recipe) -> str:
    """The file system of an image's root file. Raises BadInput where its kernel can have none."""
    root = recipe.image.root
    try:
        return root_file_system(known_modules(recipe), _around_file(recipe.image))
    except ValueError as error:
        remedy = "take a newer kernel, or say `root: nfs`"
        what = f"root: {root} cannot be: {error}; {remedy}"
        raise BadInput.about(("root",), recipe.where, what) from None


def known_modules(recipe: Recipe) -> Modules:
    try:
        return read_modules(recipe.tree, recipe.kernel)
    except ValueError as error:
        raise BadInput.at(recipe.where, f"{recipe.image.name}: {error}") from None


def overlay_modules(recipe: Recipe) -> list[str]:
    """The module by which the image's root can be written; none where it need not be.

    Raises BadInput where its kernel has no overlayfs, or one that lies over no NFS: that came with
    Linux 4.1, and to EL7's 3.10.
    """
    if recipe.image.root != NFS_OVERLAY:
        return []
    known, version = known_modules(recipe), recipe.kernel.version
    what = ""
    if "overlay" not in known.builtin and "overlay" not in known.paths:
        what = "has no overlay file system (module overlay)"
    elif version_numbers(version) < (4, 1) and ".el7" not in version:
        what = "lays no overlay over NFS, as Linux does from 4.1"
    if what:
        remedy = "take another kernel, or say `root: nfs`"
        message = f"root: {NFS_OVERLAY}: kernel {version} {what}; {remedy}"
        raise BadInput.about(("root",), recipe.where, message)
    return present(known, ["overlay"])


# The first kernels whose mount options can say each (fs/nfs/super.c)
FIRST_NFS = {"4.1": (3, 4), "4.2": (3, 11)}


def refuse_version(recipe: Recipe, only_3: bool) -> None:
    """Raises BadInput where a node could not mount its root by the image's version of NFS."""
    vers, version = recipe.image.nfs.vers, recipe.kernel.version
    if vers == "3":
        return
    known = known_modules(recipe)
    what = ""
    if only_3:
        what = "this initrd mounts by klibc's nfsmount, which knows version 3 alone"
    elif version_numbers(version) < FIRST_NFS[vers]:
        what = f"kernel {version} is too old for it"
    elif "nfsv4" not in known.paths and "nfsv4" not in known.builtin:
        what = f"kernel {version} has no module nfsv4"
    if what:
        remedy = "say `vers: 3`" + (", or `initrd: {base: none}`" if only_3 else "")
        raise BadInput.about(("nfs", "vers"), recipe.where, f"nfs: vers: {vers}: {what}; {remedy}")


def _drivers(recipe: Recipe, known: Modules, usual: Iterable[str]) -> list[str]:
    """The network cards' drivers, with those of their buses before them."""
    named = list(recipe.image.initrd.modules)
    cards = named or present(known, ["virtio_net", *network_drivers(recipe.tree, known, usual)])
    before = [bus for card in cards for bus in buses(known, card)]
    return before + cards


def _loaded(recipe: Recipe, known: Modules, names: list[str]) -> ModuleSet:
    files: dict[str, bytes] = {}
    held: dict[str, bytes] = {}
    notes: list[str] = []
    machine = busybox.MACHINES[recipe.image.arch]
    for name in names:
        data = load_module(recipe.tree, known, name)
        machine = busybox.processor(data)
        files[file_name(known, name)] = data
        found, missing = firmware(recipe.tree, data, known.version)
        held |= found
        if missing:
            what = f"module {name} names firmware that the reference lacks: {', '.join(missing)}"
            notes.append(f"{recipe.image.name}: {what}")
    return ModuleSet(names, files, held, notes, machine)


# Files of an image


def script_of(folders: Iterable[str], name: str) -> bytes:
    """A file of overlays/initrd/, from the first folder that has it. Raises BadInput."""
    folders = tuple(folders)
    for folder in folders:
        path = os.path.join(folder, "overlays", "initrd", name)
        if os.path.isfile(path):
            refuse_outside(path, folders)
            return read(path)
    raise FileNotFoundError(f"overlays/initrd/{name}")


def put_entry(tree: Tree, path: str, entry: Entry) -> None:
    """Lay an entry into an image, with the folders above it.

    Symlinks on the way are followed inside the image.
    """
    place = resolve_parent(tree, path.encode())
    for folder in parents(place):
        if folder not in tree:
            tree[folder] = directory()
    tree[place] = entry


def file_entry(data: bytes, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, 0, 0, size=len(data), data=data)


def put_network_root(tree: Tree, recipe: Recipe, program: bytes, chosen: ModuleSet) -> None:
    """What both our own image and nash's have."""
    put_entry(tree, "bin/busybox", file_entry(program, 0o755))
    for name in ("common.sh", "identity", "check-site", "ahead", "above", "netroot"):
        put_entry(tree, name, file_entry(script_of(recipe.folders, name)))
    put_entry(tree, "udhcpc.script", file_entry(script_of(recipe.folders, "udhcpc.script"), 0o755))
    put_entry(tree, "etc/plugnode/interface", file_entry(recipe.image.interface.encode() + b"\n"))
    for name, data in chosen.firmware.items():
        put_entry(tree, f"lib/firmware/{name}", file_entry(data))


def put_programs(tree: Tree, recipe: Recipe) -> None:
    """The root's own programs, with their libraries where they lie.

    Raises BadInput where the reference lacks one that has to be there.
    """
    for name in programs_of(recipe.image):
        found = busybox.with_libraries(recipe.tree, name)
        if not found and name in busybox.PACKAGES:
            root = recipe.image.root
            what = f"root: {root} takes {name} in the initrd, which the reference lacks"
            remedy = f"install {busybox.PACKAGES[name]} there"
            raise BadInput.about(("root",), recipe.where, f"{what}; {remedy}")
        for path, data in found.items():
            put_entry(tree, os.fsdecode(path), file_entry(data, 0o755))


def put_trust(tree: Tree, recipe: Recipe, machine: int) -> None:
    """What `check-site` checks signatures with: a root of its own, below plugnode/trust.

    Raises BadInput where there is no ssh-keygen for it.
    """
    top = "plugnode/trust"
    for path, data in busybox.checker(recipe.tree, machine, recipe.where).items():
        put_entry(tree, f"{top}/{path}", file_entry(data, 0o755))
    put_entry(tree, f"{top}/keys", file_entry(allowed_signers(recipe.keys)))
    put_entry(tree, f"{top}/etc/passwd", file_entry(b"root:x:0:0:root:/:/bin/sh\n"))
    put_entry(tree, f"{top}/dev/null", Entry(CHAR, 0o666, 0, 0, device=(1, 3)))


def unchecked_note(recipe: Recipe) -> list[str]:
    """A note where the site trusts keys and these nodes ask for none."""
    if not recipe.keys or recipe.checks_site:
        return []
    what = f"kernel {recipe.kernel.version} is older than any ssh-keygen that knows signatures"
    return [f"{recipe.image.name}: {what}: its initrd takes site data unsigned, whatever `trust:`"]


def pick_busybox(recipe: Recipe, machine: int, applets: Iterable[str]) -> tuple[bytes, str]:
    """(the busybox of an image, where it comes from). Raises BadInput."""
    named = recipe.image.initrd.busybox
    return busybox.pick(recipe.tree, named, machine, applets, recipe.where)


def nfs_note(recipe: Recipe, program: bytes) -> list[str]:
    """A note where this busybox cannot mount NFS on this kernel."""
    version = recipe.kernel.version
    if version_numbers(version) >= (2, 6, 23) or busybox.mounts_nfs_itself(program):
        return []
    what = f"kernel {version} takes NFS options in binary only"
    why = "this busybox's mount makes none"
    remedy = "give the busybox of that distribution (EL5: yum install busybox)"
    return [f"{recipe.image.name}: {what}, and {why}; {remedy} by `initrd: {{busybox: PATH}}`"]


def fingerprints(recipe: Recipe) -> tuple[str, ...]:
    """Of the keys by which its nodes know site data."""
    return tuple(map(fingerprint_of, recipe.keys)) if recipe.checks_site else ()


class Origin(NamedTuple):
    """What an image was made from."""

    kind: str
    base: str
    early: bytes = b""  # microcode, before everything else


def finish_image(
    recipe: Recipe, origin: Origin, tree: Tree, chosen: ModuleSet, notes: list[str]
) -> BuiltInitrd:
    """The image of a tree. Raises BadInput where the kernel could not read it."""
    how = recipe.image.initrd.compression
    _refuse_unreadable(recipe, how)
    return BuiltInitrd(
        origin.early,
        cpio.write_newc(tree),
        how,
        origin.kind,
        recipe.kernel.version,
        origin.base,
        tuple(chosen.names),
        (*chosen.notes, *notes, *unchecked_note(recipe)),
    )


def _refuse_unreadable(recipe: Recipe, how: str) -> None:
    """Raises BadInput where the kernel cannot read an image compressed like this."""
    version = recipe.kernel.version
    config = recipe.tree.get(resolve(recipe.tree, b"boot/config-" + version.encode()))
    if config is not None and config.type == FILE:
        word = b"CONFIG_RD_" + how.upper().encode() + b"=y"
        is_readable = word in read_content(config)
    else:
        is_readable = version_numbers(version) >= FIRST_KERNELS[how]
    if not is_readable:
        message = f"kernel {version} cannot read an initrd compressed with {how}"
        remedy = "say `initrd: {compression: gzip}`"
        raise BadInput.about(("initrd", "compression"), recipe.where, f"{message}; {remedy}")


def version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
