"""Kernel modules: which files a driver needs, in the order in which `insmod` takes them.

Read from depmod's own files (depmod(8), modules.dep(5)): EL5 writes absolute paths, later ones are
relative.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from typing import Iterable, NamedTuple

from ..archive import compression
from ..base.errors import BadInput, Problem
from ..base.text import show_path
from ..tree.model import LINK, Tree, read_content, resolve, under
from .kernel import Kernel

# What exists of them is loaded; nfs itself must
NFS = ("sunrpc", "lockd", "nfs_acl", "nfs", "nfsv3")
NFS_4 = ("nfsv4",)  # besides: the largest of all
# A root that is one file: its file system, the first that a kernel has, and what lies around it
ROOT_FILE_SYSTEMS = ("erofs", "squashfs")
ROOT_FILE = ("loop", "overlay")
VERITY = ("dm_verity",)  # where each block of it is checked as it is read
DIGESTS = ("sha256_generic", "sha256_ssse3")  # verity asks for one by an alias
CHECKSUMS = ("crc32c_generic",)  # erofs asks for it by an alias that any processor's may take
# Drivers of usual disks, and the file system of the partition that keeps root files
DISKS = ("virtio_pci", "virtio_blk", "virtio_scsi", "ahci", "ata_piix", "nvme", "sd_mod", "ext4")
NETWORK = ("af_packet",)  # udhcpc's raw socket; built in nearly everywhere
VLAN = "8021q"
ETHERNET = b"eth_type_trans"  # what every driver of an Ethernet card calls, and dracut looks for
WILDCARD = re.compile(r"[*?\[]")
BUSES = {"virtio_net": ("virtio_pci",), "virtio_blk": ("virtio_pci",)}  # what no dependency names


class Modules(NamedTuple):
    """The modules of a kernel, by name (with underscores)."""

    version: str
    paths: dict[str, bytes]  # where each is in the tree
    needs: dict[str, tuple[str, ...]]  # as modules.dep lists them: the last goes in first
    before: dict[str, tuple[str, ...]]  # soft dependencies ("pre:"), loaded before
    builtin: frozenset[str]
    aliases: dict[str, str]  # those without wildcards


@functools.cache  # depmod names a module each time that another needs it
def name_of(path: str) -> str:
    """`kernel/drivers/net/virtio-net.ko.xz` -> `virtio_net`."""
    name = path.strip().rpartition("/")[2]
    at = name.rfind(".ko")
    if at > 0 and name[at + 3 : at + 4] in ("", "."):
        name = name[:at]
    return name.replace("-", "_")


def read_modules(tree: Tree, kernel: Kernel) -> Modules:
    """Raises ValueError where depmod has not run."""
    lines = _lines(tree, kernel, "modules.dep")
    version = kernel.version
    if lines is None:
        what = f"modules.dep of kernel {version} is missing"
        raise ValueError(f"{what}: run `depmod {version}` there")
    paths, needs = {}, {}
    for line in lines:
        path, _, needed = line.partition(":")
        name = name_of(path)
        paths[name] = _place(tree, kernel, path)
        needs[name] = tuple(map(name_of, needed.split()))
    builtin = _lines(tree, kernel, "modules.builtin") or []
    return Modules(
        version,
        paths,
        needs,
        before=_soft(tree, kernel),
        builtin=frozenset(map(name_of, builtin)),
        aliases=_aliases(tree, kernel),
    )


def _lines(tree: Tree, kernel: Kernel, name: str) -> list[str] | None:
    entry = tree.get(resolve(tree, kernel.modules + b"/" + name.encode()))
    if entry is None:
        return None
    lines = read_content(entry).decode(errors="surrogateescape").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _place(tree: Tree, kernel: Kernel, path: str) -> bytes:
    """Where its file is: of EL's weak-updates, which are links, in another kernel's folder."""
    name = path.strip().encode(errors="surrogateescape")
    below = kernel.modules + b"/" + name
    if below in tree and tree[below].type != LINK:
        return below
    from_root = name[1:] if name.startswith(b"/") else below
    return resolve(tree, from_root)


def _soft(tree: Tree, kernel: Kernel) -> dict[str, tuple[str, ...]]:
    """`softdep NAME pre: A B post: C` (modprobe.d(5)): what comes before."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _lines(tree, kernel, "modules.softdep") or []:
        words = line.split()
        if len(words) <= 2 or words[0] != "softdep" or "pre:" not in words:
            continue
        first = words.index("pre:") + 1
        last = words.index("post:", first) if "post:" in words[first:] else None
        found[name_of(words[1])] = tuple(map(name_of, words[first:last]))
    return found


def _aliases(tree: Tree, kernel: Kernel) -> dict[str, str]:
    lines = _lines(tree, kernel, "modules.alias") or []
    aliases: dict[str, str] = {}
    for line in lines:
        words = [] if WILDCARD.search(line) else line.split()
        if len(words) == 3 and words[0] == "alias":
            aliases[words[1].replace("-", "_")] = name_of(words[2])
    return aliases


SUBJECT = ("initrd", "modules")  # of complaints about names


def find_module(modules: Modules, name: str) -> str | None:
    """The module that `name` means, in any spelling; None where the kernel has it built in.

    Raises KeyError.
    """
    plain = name_of(name)
    for known in (plain, modules.aliases.get(plain, "")):
        if known in modules.builtin:
            return None
        if known in modules.paths:
            return known
    raise KeyError(name)


def closure(
    tree: Tree, modules: Modules, names: Iterable[str], where: str = "site.yaml"
) -> tuple[list[str], list[Problem]]:
    """(the modules that loading `names` takes, in insmod order; what is wrong)."""
    chosen: dict[str, None] = {}
    wrong: list[Problem] = []
    for name in names:
        try:
            found = find_module(modules, name)
        except KeyError:
            what = unknown_module(modules, name)
            wrong.append(Problem(where, 1, 1, what, SUBJECT))
            continue
        for module in _chain(modules, found) if found else []:
            if modules.paths.get(module) not in tree:
                wrong.append(Problem(where, 1, 1, _lost(modules, name, module)))
            chosen.setdefault(module)
    return list(chosen), wrong


def _chain(modules: Modules, name: str, above: tuple[str, ...] = ()) -> list[str]:
    """`name` after all it needs, soft dependencies that exist included."""
    chain: list[str] = []
    needed = reversed(modules.needs.get(name, ()))
    for module in [*needed, name]:
        for soft in modules.before.get(module, ()):
            if soft not in above and _is_loadable(modules, soft):
                real = modules.aliases.get(soft, soft)
                chain += _chain(modules, real, (*above, soft, name))
        chain.append(module)
    return chain


def _is_loadable(modules: Modules, name: str) -> bool:
    if name in modules.builtin:
        return False
    return name in modules.paths or name in modules.aliases


def unknown_module(modules: Modules, name: str) -> str:
    """What to say of a name that is no module."""
    known = [*modules.paths, *sorted(modules.builtin)]
    close = difflib.get_close_matches(name_of(name), known, 1)
    nearest = f" - nearest: {close[0]}" if close else ""
    return f'module "{name}" not found in kernel {modules.version}{nearest}'


def _lost(modules: Modules, name: str, module: str) -> str:
    what = "is" if module == name_of(name) else f"needs {module}, which is"
    remedy = f"run `depmod {modules.version}` on the reference"
    return f"module {name} {what} in modules.dep but not in the tree: {remedy}"


def present(modules: Modules, names: Iterable[str]) -> list[str]:
    """Those of `names` that this kernel has as modules."""
    return [name for name in names if name in modules.paths and name not in modules.builtin]


def has(modules: Modules, name: str) -> bool:
    """Whether this kernel has it, as a module or built in."""
    return name in modules.builtin or name in modules.paths


def root_file_system(modules: Modules, needed: Iterable[str] = ROOT_FILE) -> str:
    """The file system of a root file for this kernel. Raises ValueError with what it lacks."""
    lacking = [name for name in needed if not has(modules, name)]
    systems = [name for name in ROOT_FILE_SYSTEMS if has(modules, name)]
    if not systems:
        lacking.append(" or ".join(ROOT_FILE_SYSTEMS))
    if lacking:
        raise ValueError(f"kernel {modules.version} has no {', no '.join(lacking)}")
    return systems[0]


def buses(modules: Modules, name: str) -> list[str]:
    """The modules of the bus on which a driver finds its cards, where no dependency says so."""
    return present(modules, BUSES.get(name_of(name), ()))


def network_drivers(tree: Tree, modules: Modules, names: Iterable[str]) -> list[str]:
    """Of `names` in any spelling, the network cards' drivers of this kernel."""
    return [name for name in map(name_of, names) if _drives_card(tree, modules, name)]


def _drives_card(tree: Tree, modules: Modules, name: str) -> bool:
    """By its folder; one that DKMS or a kmod package made lies anywhere: by what it calls."""
    path = modules.paths.get(name, b"")
    if b"/drivers/net/" in path:
        return True
    if not path or b"/kernel/" in path or path not in tree:
        return False
    return ETHERNET in load_module(tree, modules, name)


def all_in(tree: Tree, folder: bytes) -> dict[str, bytes]:
    """Every module below a folder of a tree: {name: path}."""
    paths = [path for path in under(tree, folder) if MODULE.search(path)]
    return {name_of(path.decode(errors="surrogateescape")): path for path in paths}


# A module's file


def file_name(modules: Modules, name: str) -> str:
    """`pcnet32.ko`: as the kernel's makers call it, without a compressor's ending."""
    own = os.path.basename(modules.paths[name]).decode(errors="surrogateescape")
    return re.sub(r"(\.ko)\.\w+$", r"\1", own)


def load_module(tree: Tree, modules: Modules, name: str) -> bytes:
    """A module as insmod takes it, expanded."""
    return expanded(tree, modules.paths[name])


def expanded(tree: Tree, path: bytes, image: str = "") -> bytes:
    """A file, of the root or of an `image`, without its compression, if it has one.

    Raises BadInput where it is damaged.
    """
    try:
        return compression.expanded(read_content(tree[path]))
    except compression.Corrupt as error:
        what = f"is damaged ({error}); put a whole one there"
        where = f"{image}: {show_path(path)}" if image else show_path(path)
        raise BadInput.at(where, what) from None


def information(data: bytes, key: bytes) -> list[str]:
    """The values of a key of a module's .modinfo section.

    Each stands there as a NUL-ended `key=value`.
    """
    found: list[str] = []
    mark = b"\0" + key + b"="
    start = data.find(mark)
    while start >= 0:
        end = data.find(b"\0", start + 1)
        value = data[start + len(mark) : end]
        found.append(value.decode(errors="replace"))
        start = data.find(mark, start + 1)
    return found


def version_of(data: bytes) -> str:
    """The kernel that a module was made for, "" where it does not say."""
    said = information(data, b"vermagic")
    return said[0].split()[0] if said else ""


def firmware(tree: Tree, data: bytes, version: str) -> tuple[dict[str, bytes], list[str]]:
    """({name: bytes} of the firmware that a module names and the tree has, names that it lacks).

    `version` is the kernel's, which looks into folders of its own first.
    """
    found: dict[str, bytes] = {}
    missing: list[str] = []
    for name in sorted(set(information(data, b"firmware"))):
        content = _firmware_file(tree, name.encode(), version.encode())
        if content is None:
            missing.append(name)
        else:
            found[name] = content
    return found, missing


def _firmware_file(tree: Tree, name: bytes, version: bytes) -> bytes | None:
    """What the kernel makes of a file of firmware, which may lie there compressed.

    It tries all its folders for the plain file, then all of them for each compression
    (firmware/fw_search_path.rst, drivers/base/firmware_loader/main.c).
    """
    folders = (b"updates/" + version, b"updates", version, b"")
    for ending in (b"", b".zst", b".xz"):
        for folder in folders:
            path = b"/".join([b"lib/firmware", folder, name + ending])
            place = resolve(tree, path)
            if place in tree:
                return expanded(tree, place) if ending else read_content(tree[place])
    return None


MODULE = re.compile(rb"\.ko(\.(gz|xz|zst))?$")
