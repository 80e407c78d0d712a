"""Initial RAM disks that mount their root over NFS: the distribution's own, patched or as it is, or a minimal one.

Nothing in them depends on nodes or servers: those come from the kernel command line and from site.img, a second
initrd that the loader gives the kernel after the first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from . import busybox, cpio, modules, nash
from .errors import BadInput, Problem
from .kernel import Kernel
from .site import Image
from .tree import (
    CHAR, FILE, LINK, Entry, Tree, directory, parents, read, resolve, resolve_parent, symlink,
)  # fmt: skip

Say = Callable[[str], None]
BASES = ("initrd.img-{}", "initrd-{}.img", "initramfs-{}.img", "initrd-{}")  # Debian, EL4-5, EL6 and later, others
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CALL = "/bin/busybox sh /nash-root"
COMPRESSIONS = {"gzip": (2, 6, 0), "xz": (2, 6, 38), "zstd": (5, 9, 0)}  # first kernel that reads each


class Initrd(NamedTuple):
    """An initial RAM disk."""

    start: bytes  # taken over as it is: early microcode, or all of it
    archive: bytes  # newc, what follows once it is compressed; b"" for nothing
    compression: str
    kind: str  # "own" | "nash" | "dracut" | "initramfs-tools": how it is told its root, see bootline
    kernel_version: str
    base: str  # what it was made from
    modules: tuple[str, ...]  # for network and NFS: in insmod order, or those looked for where udev loads them
    notes: tuple[str, ...]  # for the admin

    @property
    def data(self) -> bytes:
        """As the loader loads it. Compressed when it is asked for: whether it can be made is known long before."""
        return self.start + (cpio.compress(self.archive, self.compression) if self.archive else b"")


class Order(NamedTuple):
    """What an initrd is made of and for."""

    image: Image
    tree: Tree  # of the staged root its `parts`
    kernel: Kernel
    folders: tuple[str, ...]  # with overlays/initrd/ in them, first come first served
    where: str  # the file to name in complaints


class Base(NamedTuple):
    name: str
    data: bytes
    image: cpio.Image


def build(
    image: Image, tree: Tree, kernel: Kernel, folders: Iterable[str] = (), say: Say = print, where: str = "site.yaml"
) -> Initrd:
    """The initial RAM disk of `image`, from its staged root. Raises BadInput; `say` gets the notes."""
    order = Order(image, parts(tree), kernel, (*folders, REPOSITORY), where)
    base = None if image.initrd.base == "none" else _base(order)
    kind = kind_of(base) if base else "own"
    made = MAKERS[kind](order, base)
    for note in made.notes:
        say(note)
    return made


def parts(tree: Tree) -> Tree:
    """All of a root that an initrd can be made of: kernels, modules, firmware, busybox, and the way to them. Sorted."""
    links = {path: entry for path, entry in tree.items() if entry.type == LINK}
    folders = tuple(resolve(links, name) + b"/" for name in (b"boot", b"lib/modules", b"lib/firmware"))
    names = [*busybox.PLACES, *(path for path in links if path.startswith(folders))]
    others = {resolve(links, name) for name in names}
    paths = (path for path in tree if path in links or path in others or path.startswith(folders))
    return {path: tree[path] for path in sorted(paths)}


# ---- the base ------------------------------------------------------------------------------------------------------


def _base(order: Order) -> Base:
    """The image to start from: the distribution's for that kernel, or the file that is named."""
    wanted = order.image.initrd.base
    name, data = _of_distribution(order) if wanted == "auto" else (wanted, _file(wanted, order.where))
    base = Base(name, data, cpio.read_image(data, name))
    _same_kernel(base, order.kernel)
    return base


def _of_distribution(order: Order) -> tuple[str, bytes]:
    names = [pattern.format(order.kernel.version) for pattern in BASES]
    for name in names:
        entry = order.tree.get(resolve(order.tree, b"boot/" + name.encode()))
        if entry and entry.type == FILE:
            return f"boot/{name}", read(entry)
    looked = f"no initrd for kernel {order.kernel.version} in the reference's /boot (looked for {', '.join(names)})"
    raise BadInput.at(order.where, f"{looked}; make one there, or say `initrd: {{base: none}}` for Plugnode's own")


def _file(path: str, where: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadInput.at(where, f"initrd: base: {path}: {error.strerror}") from None


def _same_kernel(base: Base, kernel: Kernel) -> None:
    """Raises BadInput where its modules are another kernel's."""
    for path, entry in base.image.tree.items():
        if entry.type == FILE and modules.MODULE.search(path):
            version = modules.version_of(modules.expanded(read(entry)))
            if version and version != kernel.version:
                message = f"has modules for kernel {version}, but the kernel is {kernel.version}"
                raise BadInput.at(base.name, f"{message}; give the initrd of {kernel.version}")
            return


def kind_of(base: Base) -> str:
    """Who made an image, by what it holds. Raises BadInput for an unknown maker."""
    tree = base.image.tree
    init = tree.get(resolve(tree, b"init"))
    if init is None or init.type != FILE:
        raise BadInput.at(base.name, "has no /init: the kernel would not start it; give the distribution's own image")
    if not init.mode & 0o111:
        raise BadInput.at(base.name, "its /init is not executable; make it anew")
    script = read(init)
    if nash.is_nash(script):
        return "nash"
    if any(_has(tree, path) for path in (b"usr/lib/dracut", b"usr/lib/dracut-lib.sh")):
        return "dracut"
    if b"scripts/functions" in tree and b"conf/arch.conf" in tree or b"conf/initramfs.conf" in tree:
        return "initramfs-tools"
    first = script.split(b"\n", 1)[0][:60].decode(errors="replace") if script[:2] == b"#!" else "no script"
    known = "nash (mkinitrd of EL4 and EL5), dracut and initramfs-tools"
    raise BadInput.at(base.name, f"its /init ({first}) is of no known maker: {known}; or say `initrd: {{base: none}}`")


# ---- what goes in --------------------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """Modules to load, in order, with their bytes."""

    names: list[str]
    files: dict[str, bytes]  # file name -> bytes
    firmware: dict[str, bytes]
    notes: list[str]
    machine: int  # e_machine of the modules: the processor


def _wanted(order: Order, usual: Iterable[str]) -> Wanted:
    """The closure of the image's NIC modules (`usual` and virtio_net where it names none) and of NFS."""
    known = _known(order)
    drivers = _drivers(order, known, usual) + modules.present(known, modules.NETWORK)
    names, problems = modules.closure(order.tree, known, drivers, order.where)
    nfs, lost = modules.closure(order.tree, known, modules.present(known, modules.NFS), order.where)
    if "nfs" not in known.builtin and "nfs" not in known.paths:
        text = f"kernel {known.version} cannot mount an NFS root: it has no nfs module; install its modules package"
        lost.append(Problem(order.where, 1, 1, text))
    if problems + lost:
        raise BadInput(problems + lost)
    return _loaded(order, known, list(dict.fromkeys(names + nfs)))


def _known(order: Order) -> modules.Modules:
    try:
        return modules.read_modules(order.tree, order.kernel)
    except ValueError as error:
        raise BadInput.at(order.where, f"{order.image.name}: {error}") from None


def _drivers(order: Order, known: modules.Modules, usual: Iterable[str]) -> list[str]:
    """The network cards' drivers, with those of their buses before them."""
    named = list(order.image.initrd.modules)
    cards = named or modules.present(known, ["virtio_net", *modules.network_drivers(known, usual)])
    return [bus for card in cards for bus in modules.buses(known, card)] + cards


def _loaded(order: Order, known: modules.Modules, names: list[str]) -> Wanted:
    files: dict[str, bytes] = {}
    held: dict[str, bytes] = {}
    notes: list[str] = []
    machine = busybox.X86_64
    for name in names:
        data = modules.load(order.tree, known, name)
        machine = int.from_bytes(data[18:20], "little")
        files[modules.file_name(known, name)] = data
        found, missing = modules.firmware(order.tree, data)
        held |= found
        if missing:
            what = f"module {name} names firmware that the reference lacks: {', '.join(missing)}"
            notes.append(f"{order.image.name}: {what}")
    return Wanted(names, files, held, notes, machine)


def part(folders: Iterable[str], name: str) -> bytes:
    """A file of overlays/initrd/, from the first folder that has it."""
    for folder in folders:
        path = os.path.join(folder, "overlays", "initrd", name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
    raise FileNotFoundError(f"overlays/initrd/{name}")


def put(tree: Tree, path: str, entry: Entry) -> None:
    """Lay an entry into an image, with the folders above it; symlinks on the way are followed inside the image."""
    place = resolve_parent(tree, path.encode())
    for folder in parents(place):
        if folder not in tree:
            tree[folder] = directory()
    tree[place] = entry


def file(data: bytes, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, 0, 0, size=len(data), data=data)


def _put_network_root(tree: Tree, order: Order, program: bytes, wanted: Wanted) -> None:
    """What both our own image and nash's have."""
    put(tree, "bin/busybox", file(program, 0o755))
    for name in ("common.sh", "identity", "netroot"):
        put(tree, name, file(part(order.folders, name)))
    put(tree, "udhcpc.script", file(part(order.folders, "udhcpc.script"), 0o755))
    put(tree, "etc/plugnode/interface", file(order.image.interface.encode() + b"\n"))
    for name, data in wanted.firmware.items():
        put(tree, f"lib/firmware/{name}", file(data))


# ---- the kinds -----------------------------------------------------------------------------------------------------


def _own(order: Order, _: Base | None) -> Initrd:
    """A minimal image: busybox, the modules and overlays/initrd/init."""
    wanted = _wanted(order, _loaded_by_reference(order))
    program, origin = busybox.pick(order.tree, order.image.initrd.busybox, wanted.machine, busybox.OWN, order.where)
    tree: Tree = {path: directory() for path in (b"dev", b"proc", b"sys", b"newroot", b"sbin", b"tmp", b"run")}
    put(tree, "dev/console", Entry(CHAR, 0o600, 0, 0, device=(5, 1)))
    put(tree, "dev/null", Entry(CHAR, 0o666, 0, 0, device=(1, 3)))
    _put_network_root(tree, order, program, wanted)
    put(tree, "init", file(part(order.folders, "init"), 0o755))
    put(tree, "etc/plugnode/modules", file("".join(f"{name[:-3]}\n" for name in wanted.files).encode()))
    for name, data in wanted.files.items():
        put(tree, f"lib/modules/{name}", file(data))
    for applet in busybox.OWN:
        put(tree, f"bin/{applet}", symlink(b"busybox"))
    return _finish(order, "own", f"busybox: {origin}", b"", tree, wanted, _too_old(order, program))


def _loaded_by_reference(order: Order) -> list[str]:
    """Modules that the distribution's own image loads by name, where the reference has one that can be read."""
    if order.image.initrd.modules:
        return []
    try:
        tree = _base(order._replace(image=_with_auto_base(order.image))).image.tree
    except BadInput:
        return []
    init = tree.get(b"init")
    script = read(init) if init and init.type == FILE else b""
    if nash.is_nash(script):
        return nash.loaded(script.decode("latin-1"))
    listed = [read(tree[path]).decode(errors="replace") for path in (b"conf/modules",) if path in tree]
    return re.findall(r"(?m)^\s*([\w-]+)", "\n".join(listed))


def _with_auto_base(image: Image) -> Image:
    return image._replace(initrd=image.initrd._replace(base="auto"))


def _nash(order: Order, base: Base | None) -> Initrd:
    """The distribution's image of EL4 or EL5, its disk root replaced."""
    assert base
    tree, init = dict(base.image.tree), read(base.image.tree[resolve(base.image.tree, b"init")])
    already = nash.loaded(init.decode("latin-1"))
    wanted = _wanted(order, already)
    program, _ = busybox.pick(order.tree, order.image.initrd.busybox, wanted.machine, busybox.NETWORK_ROOT, order.where)
    before = set(map(modules.name_of, already))
    new = {name: data for name, data in wanted.files.items() if modules.name_of(name) not in before}
    _put_network_root(tree, order, program, wanted)
    put(tree, "nash-root", file(part(order.folders, "nash-root"), 0o755))
    for applet in busybox.NETWORK_ROOT:
        put(tree, f"plugnode-tools/{applet}", symlink(b"/bin/busybox"))
    for name, data in new.items():
        put(tree, f"lib/{name}", file(data))
    patched = nash.patch(init, f"{base.name}/init", [f"/lib/{name}" for name in new], CALL)
    tree[resolve(tree, b"init")] = file(patched, 0o755)
    return _finish(order, "nash", base.name, base.image.early, tree, wanted, _too_old(order, program))


def _too_old(order: Order, program: bytes) -> list[str]:
    """A note where this busybox cannot mount NFS on this kernel."""
    if _numbers(order.kernel.version) >= (2, 6, 23) or busybox.mounts_nfs_itself(program):
        return []
    what = f"kernel {order.kernel.version} takes NFS options in binary only, and this busybox's mount makes none"
    do = "give the busybox of that distribution (EL5: yum install busybox) by `initrd: {busybox: PATH}`"
    return [f"{order.image.name}: {what}; {do}"]


def _finish(order: Order, kind: str, base: str, early: bytes, tree: Tree, wanted: Wanted, notes: list[str]) -> Initrd:
    how = order.image.initrd.compression
    _readable(order, how)
    archive, said = cpio.write_newc(tree), tuple(wanted.notes + notes)
    return Initrd(early, archive, how, kind, order.kernel.version, base, tuple(wanted.names), said)


def _readable(order: Order, how: str) -> None:
    """Raises BadInput where the kernel cannot read an image compressed like this."""
    config = order.tree.get(resolve(order.tree, b"boot/config-" + order.kernel.version.encode()))
    word = b"CONFIG_RD_" + how.upper().encode() + b"=y"
    if config is not None and config.type == FILE:
        fine = word in read(config)
    else:
        fine = _numbers(order.kernel.version) >= COMPRESSIONS[how]
    if not fine:
        message = f"kernel {order.kernel.version} cannot read an initrd compressed with {how}"
        raise BadInput.at(order.where, f"{message}; say `initrd: {{compression: gzip}}`")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


# Images whose udev loads drivers and which can mount NFS themselves: used as they are


class Need(NamedTuple):
    """Something an image must hold: one of these paths."""

    paths: tuple[bytes, ...]
    what: str


NEEDS = {
    "dracut": (
        Need((b"usr/sbin/nfsroot", b"usr/lib/nfs-lib.sh"), "dracut's module nfs"),
        Need((b"usr/sbin/netroot", b"usr/lib/net-lib.sh"), "dracut's module network"),
        Need((b"usr/sbin/mount.nfs", b"usr/bin/mount.nfs"), "mount.nfs"),
        Need((b"etc/protocols", b"usr/etc/protocols"), "/etc/protocols"),  # where mount.nfs looks up "tcp"
    ),
    "initramfs-tools": (
        Need((b"scripts/nfs",), "scripts/nfs"),
        Need((b"usr/bin/nfsmount", b"usr/sbin/nfsmount"), "nfsmount of klibc"),
        Need((b"usr/bin/ipconfig", b"usr/sbin/ipconfig", b"usr/sbin/dhcpcd"), "ipconfig or dhcpcd"),
    ),
}
REMEDIES = {
    "dracut": "on the reference: dnf install dracut-network nfs-utils (apt install dracut-network nfs-common netbase), "
    "`echo 'add_dracutmodules+=\" nfs \"' > /etc/dracut.conf.d/plugnode.conf`, then dracut -f --no-hostonly --kver {}",
    "initramfs-tools": "on the reference: apt install klibc-utils, "
    "`echo MODULES=most > /etc/initramfs-tools/conf.d/plugnode` (or list modules in /etc/initramfs-tools/modules), "
    "then update-initramfs -u -k {}",
}


# Seen: with systemd-networkd of dracut 059 the node gets its address, and nothing mounts the root then
NO_CALLER = (
    "a network module that mounts network roots (add_dracutmodules: network-legacy or network-manager; "
    "systemd-networkd does not before dracut 060)"
)


def _as_it_is(order: Order, base: Base | None) -> Initrd:
    """An image of today's distributions: nothing is changed, what it lacks is said."""
    assert base
    kind = kind_of(base)
    lacking = [need.what for need in NEEDS[kind] if not any(_has(base.image.tree, path) for path in need.paths)]
    drivers = [*modules.present(_known(order), ["nfs", "nfsv3"]), *order.image.initrd.modules]
    lacking += [f"the kernel module {name}" for name in drivers if not _has_module(order, base, name)]
    lacking += [NO_CALLER] if kind == "dracut" and not _calls(base.image.tree, b"/sbin/netroot") else []
    if lacking:
        remedy = REMEDIES[kind].format(order.kernel.version)
        what = f"cannot mount an NFS root, it lacks {', '.join(lacking)}"
        raise BadInput.at(base.name, f"{what}; {remedy}; or say `initrd: {{base: none}}`")
    return Initrd(base.data, b"", "", kind, order.kernel.version, base.name, tuple(drivers), ())


def _has(tree: Tree, path: bytes) -> bool:
    """Whether an image has a path, with /usr merged or not."""
    return any(resolve(tree, name) in tree for name in (path, path.removeprefix(b"usr/")))


def _calls(tree: Tree, program: bytes) -> bool:
    """Whether some script of an image runs a program."""
    scripts = (entry for entry in tree.values() if entry.type == FILE and entry.size < 1 << 17)
    return any(program in read(entry) for entry in scripts)


def _has_module(order: Order, base: Base, name: str) -> bool:
    known = _known(order)
    try:
        wanted = modules.find(known, name)
    except KeyError:
        raise BadInput.at(order.where, modules.unknown(known, name)) from None
    folder = resolve(base.image.tree, b"lib/modules")
    return wanted is None or wanted in modules.all_in(base.image.tree, folder)


MAKERS: dict[str, Callable[[Order, Base | None], Initrd]] = {
    "own": _own,
    "nash": _nash,
    "dracut": _as_it_is,
    "initramfs-tools": _as_it_is,
}


# ---- site.img ------------------------------------------------------------------------------------------------------


def site_img(files: dict[str, bytes], folders: Iterable[str] = ()) -> bytes:
    """The second initrd: `files` (path -> bytes) and the hooks that bring them to /run/plugnode, gzip newc."""
    tree: Tree = {}
    for path, data in {**hooks(folders), **files}.items():
        put(tree, path, file(data, 0o755 if data[:2] == b"#!" else 0o644))
    return cpio.gzip(cpio.write_newc(tree))


def hooks(folders: Iterable[str] = ()) -> dict[str, bytes]:
    """Files that dracut's and initramfs-tools' images run, in folders that are no symlinks there: a folder of a second
    archive replaces a symlink of the first, and with `lib -> usr/lib` every library would be lost."""
    return {place: part((*folders, REPOSITORY), name) for place, name in HOOKS.items()}


HOOKS = {  # path in the image: file of overlays/initrd/
    "plugnode/common.sh": "common.sh",
    "plugnode/identity": "identity",
    "plugnode/handover": "handover",
    "plugnode/dracut.hook": "dracut.hook",
    "etc/conf.d/plugnode.conf": "dracut.conf",
    "pre-pivot/20-plugnode.sh": "dracut.hook",  # dracut of EL6
    "conf/conf.d/plugnode": "initramfs-tools.conf",
}
