"""The steps from the root of one machine's disk to a read-only one that many share.

Each is a function from tree to tree.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

from ..archive.compression import gzip
from ..archive.tar import write_tar
from ..base.errors import BadInput, Problem
from ..base.text import show_path, unescape_octal
from ..site.model import template_of
from ..tree.model import (
    DIR,
    FILE,
    LINK,
    Circle,
    Entry,
    Tree,
    directory,
    edited,
    generated_file,
    in_order,
    parent,
    parents,
    read_content,
    resolve,
    resolve_parent,
    symlink,
    under,
)
from . import rc_sysinit
from .overlay import put_path

SYSVINIT, SYSTEMD = "sysvinit", "systemd"  # what rc_sysinit.init_of says
MOUNT_POINTS = {  # folders that every root has, with the mode of one that is missing
    b"proc": 0o555,
    b"sys": 0o555,
    b"dev": 0o755,
    b"run": 0o755,
    b"tmp": 0o1777,
    b"mnt": 0o755,
    b"home": 0o755,
    b"root": 0o700,
}
NODE_FILES = b"etc/plugnode/node_files"
SECRETS = b"etc/plugnode/secrets"
SITE_DATA = b"run/plugnode"  # where the initrd puts what site.img brings
OWN = b"var/lib/plugnode/"
LOCAL = OWN + b"files"  # where local files live on a node's disk, beside its ssh keys
APPARMOR = b"etc/apparmor.d"
ALIASES = APPARMOR + b"/tunables/home.d/plugnode"  # read with tunables/global, of old versions, too
READABLE = APPARMOR + b"/abstractions/base.d/plugnode"  # by all programs
OLD_PLACES = {b"etc/sysconfig/network": b"var/network"}  # the origin's, kept
DEFAULT_LOCAL_FILES = {SYSVINIT: ("etc/sysconfig/network",), SYSTEMD: ()}

_FOLLOWED = (
    b"etc/fstab",
    b"etc/rc.sysinit",
    b"etc/rc.d/rc.sysinit",
    b"sbin/init",
    b"lib/systemd/systemd",
)
_MADE_AT_BOOT = (b"/proc/", b"/sys/", b"/dev/", b"/run/")
_LOCAL_DEVICE = re.compile(rb"/dev/|(?:UUID|LABEL|PARTUUID|PARTLABEL|ID)=")
# file systems that no disk of the node backs, whatever their first field says
_NO_DISK = frozenset(
    b"9p afs autofs beegfs bpf ceph cgroup cgroup2 cifs configfs cvmfs debugfs devpts devtmpfs "
    b"efivarfs glusterfs gpfs hugetlbfs lustre mqueue ncpfs nfs nfs4 none overlay panfs proc "
    b"pstore ramfs securityfs smb3 smbfs sysfs tmpfs tracefs usbfs".split()
)


def check_tree(reference: Tree) -> None:
    """Whether a tree can become a shared root. Raises BadInput."""
    problems = [Problem(name, 1, 1, what) for name, what in _unusable(reference)]
    if problems:
        raise BadInput(problems)
    for path in _FOLLOWED:
        _resolved(reference, path)


def _unusable(reference: Tree) -> Iterator[tuple[str, str]]:
    """(name, what is wrong with it)"""
    if b"var.ro" in reference:
        yield "var.ro", "is a shared root already; take a node that runs from its own disk"
    if not any(path.startswith(b"var/") for path in reference):
        what = "missing" if b"var" not in reference else "empty or no folder"
        yield "var", f"nothing to fill /var with: {what}; is it a file system of its own?"
    kind = reference.get(b"run", directory()).type
    if kind != DIR:
        yield "run", f"is a {kind}; make it a folder: site data is mounted there"


def mount_points(tree: Tree, more: Iterable[str] = ()) -> Tree:
    """Folders to mount on, made where they are missing: the root cannot be written on a node.

    `more`: absolute paths.
    """
    tree = dict(tree)
    named = {name.strip("/").encode(): 0o755 for name in more}
    for path, mode in (named | MOUNT_POINTS).items():
        _make_folder(tree, path, mode)
    return tree


def fstab(tree: Tree) -> Tree:
    """etc/fstab without local block devices, root and swap; every other byte stays."""
    path = _resolved(tree, b"etc/fstab")
    if path not in tree or tree[path].type != FILE:
        return tree
    before = read_content(tree[path])
    lines = [line for line in before.splitlines(keepends=True) if not _is_local_mount(line)]
    after = b"".join(lines)
    return tree if after == before else tree | {path: edited(tree[path], after)}


def fstab_fields(tree: Tree) -> list[list[bytes]]:
    """The words of each line of etc/fstab, whoever brought it (fstab(5))."""
    path = _resolved(tree, b"etc/fstab")
    if path not in tree or tree[path].type != FILE:
        return []
    return [line.split() for line in read_content(tree[path]).splitlines()]


def fstab_points(tree: Tree) -> Tree:
    """The folders that etc/fstab mounts on: no node can make them."""
    tree = dict(tree)
    for fields in fstab_fields(tree):
        mount = fields[1] if len(fields) > 2 else b""
        if mount.startswith(b"/") and not mount.startswith(_MADE_AT_BOOT):
            _make_folder(tree, unescape_octal(mount).strip(b"/"), 0o755)
    return tree


def links(tree: Tree, init: str) -> Tree:
    """What differs by node or changes while one runs, as symlinks out of the shared root."""
    tree = dict(tree)
    _link(tree, b"etc/hosts", SITE_DATA + b"/hosts")
    if not _leads_into(tree, b"etc/mtab", b"proc/"):
        _link(tree, b"etc/mtab", b"proc/mounts" if init == SYSVINIT else b"proc/self/mounts")
    _link(tree, b"etc/resolv.conf", SITE_DATA + b"/resolv.conf")
    if init == SYSTEMD:
        _link(tree, b"etc/machine-id", SITE_DATA + b"/machine-id")
        if _resolved(tree, b"var/lib/dbus") in tree:
            put_path(tree, b"var/lib/dbus/machine-id", symlink(b"/etc/machine-id"))
    return tree


def name_link(tree: Tree, init: str) -> Tree:
    """etc/hostname leads to the node's own name, where nobody brings another.

    Where systemd finds none there, networkd and NetworkManager take what DHCP calls a second card.
    """
    if init != SYSTEMD or _resolved_parent(tree, b"etc/hostname") in tree:
        return tree
    tree = dict(tree)
    _link(tree, b"etc/hostname", SITE_DATA + b"/hostname")
    return tree


def apparmor(tree: Tree) -> Tree:
    """What AppArmor lets a program read under a name of the shared root is a node's own as well.

    It asks where a symlink leads. An alias is for rules that say the name as it is; the rules of
    AppArmor 3 for what all programs read begin with a variable, which no alias meets.
    """
    if APPARMOR not in tree:
        return tree
    aliases = []
    rules = []
    for path, target in sorted(_own_places(tree)):
        aliases.append(b'alias "/%s" -> "/%s",\n' % (path, target))
        if parent(target) == SITE_DATA:
            rules.append(b'"/%s" r,\n' % target)
    tree = dict(tree)
    put_path(tree, ALIASES, generated_file(b"".join(aliases)))
    put_path(tree, READABLE, generated_file(b"".join(rules)))
    return tree


def _own_places(tree: Tree) -> Iterator[tuple[bytes, bytes]]:
    """Each symlink to what a node has of its own, and where it leads."""
    for path, entry in tree.items():
        if entry.type != LINK or b"plugnode/" not in entry.link:
            continue
        target = resolve(tree, path)
        if target.startswith((SITE_DATA, OWN)):
            yield path, target


def make_local_files(tree: Tree, paths: Iterable[str], before: Tree) -> Tree:
    """Each of `paths` becomes a symlink to a node's /var, which is filled with what it holds here.

    etc/sysconfig/network leads to var/network (the origin's place), any other PATH to
    var/lib/plugnode/files/PATH. Where an overlay brought that very symlink, `before`, the tree
    under the overlays, has the content. Raises BadInput.
    """
    tree, problems = dict(tree), list[Problem]()
    for name in sorted(set(paths)):
        path = name.strip("/").encode()
        wrong = _make_local(tree, path, before)
        if wrong:
            problems.append(Problem(show_path(path), 1, 1, wrong))
    if problems:
        raise BadInput(problems)
    return tree


def make_node_files(tree: Tree, paths: Iterable[str], image: str) -> Tree:
    """Each of `paths` becomes a symlink to what the node itself makes of a template at boot.

    Which ones stands in etc/plugnode/node_files, with the template's name in site.img: a node
    writes no others. Raises BadInput.
    """
    if not paths:
        return tree
    tree, problems, lines = dict(tree), list[Problem](), []
    for name in sorted(paths):
        path = name.encode()
        place = _resolved_parent(tree, path)
        entry = tree.get(place)
        if not _has_folders(tree, place) or (entry and entry.type == DIR):
            what = "cannot be a node's file: it is a folder, or below what is none"
            problems.append(Problem(show_path(path), 1, 1, what))
        else:
            _link(tree, path, SITE_DATA + b"/files/" + path)
            lines.append(f"{name}\t{template_of(image, name)}\n")
    if problems:
        raise BadInput(problems)
    put_path(tree, NODE_FILES, generated_file("".join(lines).encode()))
    return tree


def make_secret_places(tree: Tree, places: Iterable[tuple[str, bool]]) -> Tree:
    """Each of these files is there and empty: a node mounts its secret on it.

    A program that looks for a file refuses a symlink (munged does). Which ones, and whether they
    stay on the node's disk, stands in etc/plugnode/secrets: a node takes no others. What is below
    /var a node makes itself. Raises BadInput.
    """
    lines = [f"{name}\t{'disk' if on_disk else 'memory'}\n" for name, on_disk in places]
    if not lines:
        return tree
    tree, problems = dict(tree), list[Problem]()
    for name, _ in places:
        path = _resolved_parent(tree, name.encode())
        entry = tree.get(path)
        if not _has_folders(tree, path) or (entry and entry.type != FILE):
            what = "cannot be a secret's place: it is no file, or below what is no folder"
            problems.append(Problem(name, 1, 1, what))
        elif not path.startswith(b"var/"):
            put_path(tree, path, generated_file(b"", 0o600))
    if problems:
        raise BadInput(problems)
    put_path(tree, SECRETS, generated_file("".join(lines).encode()))
    return tree


def var_ro(tree: Tree) -> Tree:
    """var becomes var.ro, which fills each node's own /var; a new empty var to mount on.

    Raises BadInput.
    """
    made = {in_root(path): entry for path, entry in tree.items()}
    made[b"var"] = directory()
    problems = []
    laid = [path for path in tree if path == b"var.ro" or path.startswith(b"var.ro/")]
    for path in laid:  # by an overlay
        if not _is_kept(tree[path], made[path]) or not _has_folders(made, path):
            better = show_path(b"var" + path[6:])
            what = f"what comes of /var is in its place; in an overlay, write it as {better}"
            problems.append(Problem(show_path(path), 1, 1, what))
    if problems:
        raise BadInput(problems)
    return in_order(made)


def _is_kept(entry: Entry, made: Entry) -> bool:
    return made == entry or made.type == entry.type == DIR


def _has_folders(tree: Tree, path: bytes) -> bool:
    """Whether all that is above a name is a folder, where it is there."""
    return all(folder not in tree or tree[folder].type == DIR for folder in parents(path))


# What fills a node's own folders, in one file: each small one takes several calls to the server

PACKED_FILE = 1 << 21  # bytes; a larger one is copied by itself
PACKED = 1 << 25  # bytes of all files together
PACK, REST, KIB = b".tar.gz", b".rest", b".kib"  # beside a folder that fills another
BLOCK = 4  # KiB that a name takes at least
QUICK = 1  # gzip's level: it is made whenever a step is taken, and 6 makes a seventh less


def pack(tree: Tree, fills: Iterable[str]) -> Tree:
    """The tree with an archive beside each folder that fills nodes' own, and a list of the rest.

    FOLDER.tar.gz has what is small and has no extended attributes; FOLDER.rest names, a line
    each, what is copied besides, with all that is below it; FOLDER.kib says how much room all
    takes.
    """
    made = dict(tree)
    for name in fills:
        folder = name.strip("/").encode()
        names = folder + PACK, folder + REST, folder + KIB
        packed, rest = split(tree, folder)
        is_plain = packed and not any(b"\n" in path for path in rest)
        if is_plain and not any(path in tree for path in names):
            made[names[0]] = generated_file(gzip(write_tar(packed), QUICK), 0o600)
            made[names[2]] = generated_file(b"%d\n" % _room(tree, folder))
            made[names[1]] = generated_file(b"".join(path + b"\n" for path in rest), 0o600)
    return in_order(made)


def _room(tree: Tree, folder: bytes) -> int:
    """KiB of all that is in a folder, on a disk of usual blocks, as du(1) would say."""
    sizes = [max(tree[path].size, 1) for path in under(tree, folder)]
    return sum(-(-size // (BLOCK << 10)) * BLOCK for size in sizes)


def split(tree: Tree, folder: bytes) -> tuple[Tree, list[bytes]]:
    """What of a folder goes into its archive, and the names of the rest, without what is below."""
    packed: Tree = {}
    rest: list[bytes] = []
    left = PACKED
    for path in sorted(under(tree, folder)):
        name, entry = path[len(folder) + 1 :], tree[path]
        if rest and name.startswith(rest[-1] + b"/"):
            continue
        if entry.xattrs or entry.type == FILE and entry.size > min(PACKED_FILE, left):
            rest.append(name)
        else:
            packed[name] = entry
            left -= entry.size
    if folder not in tree or tree[folder].xattrs:
        return {}, []
    return {b"": tree[folder], **packed}, rest


def add_hook(tree: Tree, init: str) -> Tree:
    """rc.sysinit calls setup.sh; systemd needs no such patch. Raises BadInput, naming the file."""
    if init != SYSVINIT:
        return tree
    path = rc_sysinit.script_of(tree)
    before = read_content(tree[path])
    after = rc_sysinit.hook_script(before, show_path(path))
    if after == before:
        return tree
    return tree | {path: edited(tree[path], after)}


def in_root(path: bytes) -> bytes:
    """Where a name of the reference is in the shared root, unless a step has taken it elsewhere."""
    return b"var.ro" + path[3:] if path == b"var" or path.startswith(b"var/") else path


def in_reference(path: bytes) -> bytes:
    """Where a name of the shared root is in its reference."""
    return b"var/" + path[7:] if path.startswith(b"var.ro/") else path


def _is_local_mount(line: bytes) -> bool:
    """Whether a line of fstab(5) names a disk of this machine, its root or its swap."""
    fields = line.split()
    if len(fields) < 3 or fields[0].startswith(b"#"):
        return False
    return is_own_disk(*fields[:3])


def is_own_disk(device: bytes, mount: bytes, kind: bytes) -> bool:
    """Whether what is mounted so is a disk of this machine, its root or its swap.

    zram is memory, of whichever machine.
    """
    device = device.strip(b'"')
    if device.startswith(b"/dev/zram"):
        return False
    if mount == b"/" or kind in (b"swap", b"zfs"):
        return True
    return kind not in _NO_DISK and bool(_LOCAL_DEVICE.match(device))


def _make_folder(tree: Tree, path: bytes, mode: int) -> None:
    """A folder where nothing has that name yet, through symlinks."""
    try:
        place = resolve(tree, path)
    except Circle:
        return
    if place not in tree and _has_folders(tree, place):
        put_path(tree, place, directory(mode))


def _link(tree: Tree, path: bytes, target: bytes) -> None:
    """A relative symlink from where `path` really is to `target` below the root.

    It holds in a chroot too.
    """
    place = resolve_parent(tree, path)
    _drop(tree, place)
    put_path(tree, place, symlink(b"../" * place.count(b"/") + target))


def _leads_into(tree: Tree, path: bytes, folder: bytes) -> bool:
    entry = tree.get(_resolved_parent(tree, path))
    return entry is not None and entry.type == LINK and _resolved(tree, path).startswith(folder)


def _make_local(tree: Tree, path: bytes, before: Tree) -> str:
    """Move one name to /var; returns what is wrong, if so."""
    if not path or path.startswith(b"var/") or path in (b"var", b"etc/hosts", b"etc/machine-id"):
        return "cannot be a local file: it is the node's own already"
    place = _resolved_parent(tree, path)
    if not _has_folders(tree, place):
        return "cannot be a local file: what is above it is no folder"
    if place.startswith(b"var/"):
        return f"lies on /var already, as {show_path(place)}"

    home = OLD_PLACES.get(path, LOCAL + b"/" + path)
    entry = tree.get(place)
    if entry and entry.type == DIR and path in OLD_PLACES:
        return "is a folder in the reference, where a file was expected"
    is_link = entry is not None and entry.type == LINK
    if entry and is_link and _resolved(tree, path) != home:
        target = show_path(entry.link)
        return f"is a symlink to {target} already; remove it from local_files, or there"

    _move(tree, before if is_link else tree, place, home)
    put_path(tree, place, symlink(b"../" * place.count(b"/") + home))
    return ""


def _move(tree: Tree, origin: Tree, place: bytes, home: bytes) -> None:
    """Put what `origin` has at `place` under `home`, whose folders exist then, and take it away."""
    for path in [name for name in origin if name == place or name.startswith(place + b"/")]:
        if origin[path].type != LINK or path != place:
            put_path(tree, home + path[len(place) :], origin[path])
    _drop(tree, place)
    for folder in parents(home):
        tree.setdefault(folder, directory())


def _drop(tree: Tree, place: bytes) -> None:
    entry = tree.pop(place, None)
    if entry and entry.type == DIR:
        for path in [name for name in tree if name.startswith(place + b"/")]:
            del tree[path]


def _resolved(tree: Tree, path: bytes) -> bytes:
    """Where a name leads. Raises BadInput."""
    with _naming(path):
        return resolve(tree, path)


def _resolved_parent(tree: Tree, path: bytes) -> bytes:
    """Where a name itself is. Raises BadInput."""
    with _naming(path):
        return resolve_parent(tree, path)


@contextlib.contextmanager
def _naming(path: bytes) -> Iterator[None]:
    try:
        yield
    except Circle:
        what = "is behind symlinks that lead in a circle; correct them"
        raise BadInput.at(show_path(path), what) from None
