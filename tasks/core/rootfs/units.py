"""Units: what systemd would start in a root, and what of it needs a root that can be written.

Unit files and drop-ins ──> what is enabled ──> folders that must be there, files that are written
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..base.text import show_path
from ..tree.model import (
    DIR,
    FILE,
    Circle,
    Tree,
    directory,
    generated_file,
    parent,
    read_content,
    resolve,
)
from .overlay import put_path
from .scrub import Note
from .scrub_rules import is_kept, paths_of
from .transforms import is_own_disk

ETC = b"etc/systemd/system"
FOLDERS = (ETC, b"usr/local/lib/systemd/system", b"usr/lib/systemd/system", b"lib/systemd/system")
EXECUTING = {"service": "Service", "socket": "Socket", "mount": "Mount", "swap": "Swap"}
WRITABLE = ("/var", "/run", "/tmp", "/dev", "/proc", "/sys")

# mkdir of a folder that is there gives EROFS, not EEXIST, on a read-only NFS root, unless the
# kernel has looked it up before; systemd takes only EEXIST. All else that the directive does is
# kept: the variable, and that ProtectSystem=strict lets the unit write there where the root can be.
DROPIN = "zz-plugnode.conf"  # after every other: they are read by name
NOT_MADE = """\
# The root is read-only: what is below /etc is there already, and systemd must not try to make it.
[{section}]
ConfigurationDirectory=
Environment="CONFIGURATION_DIRECTORY={paths}"
"""

OWN_DISK = "is a disk of the reference's own"
REQUIRES_PATH = "name RequiresMountsFor= and the folder, or mount a disk of the site there"
_PULLS = (".wants", ".requires", ".upholds")
_STARTS = ("Wants", "Requires", "BindsTo", "Upholds", "Unit", "Service")
SETUP = "plugnode-setup.service"
EARLY = "zz-plugnode-disks.conf"
AFTER_SETUP = f"""\
# Started before local file systems are mounted, and needs one: this service mounts the node's own.
[Unit]
After={SETUP}
"""

_NEEDS = ("Requires", "BindsTo", "Requisite")
_MOUNTS = (".mount", ".swap")
_TRIGGERS = {"socket": "service", "timer": "service", "path": "service", "automount": "mount"}
_LISTENS = ("ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenFIFO", "Symlinks")
_TO_FILE = re.compile(r"(?:file|append|truncate):(/.*)")
_MODE = re.compile("[0-7]{3,4}")
_DISK = re.compile(r"dev-(disk-by|mapper-|[hsv]d[a-z]|md[-\d]|nvme\d).*[.]device")
_FOLDER_OF = {"E": "/etc", "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log"}
_FOLDER_OF |= {"T": "/tmp", "V": "/var/tmp", "h": "/root", "%": "%"}

Settings = dict[str, list[str]]  # of a unit: all values of a key, since the last empty one


class Unit(NamedTuple):
    """A unit with its drop-ins."""

    name: str
    settings: Settings

    def words(self, *keys: str) -> Iterator[str]:
        """Every word of the values of some keys."""
        for key in keys:
            for value in self.settings.get(key, ()):
                yield from value.split()

    def expanded(self, text: str) -> str:
        """A value with the specifiers that are known before a node starts."""
        return re.sub("%(.)", lambda found: self._specifier(found[1], found[0]), text)

    def _specifier(self, letter: str, unknown: str) -> str:
        stem = self.name.rpartition(".")[0]
        prefix, _, instance = stem.partition("@")
        known = {"n": self.name, "N": stem, "p": prefix, "i": instance, "I": instance}
        return (known | _FOLDER_OF).get(letter, unknown)

    def last(self, key: str) -> str:
        """The value that counts where a key takes one."""
        return self.expanded("".join(self.settings.get(key, [])[-1:]))

    def starts(self) -> Iterator[str]:
        """The units that come with it."""
        for word in self.words(*_STARTS):
            yield self.expanded(word)
        stem, _, kind = self.name.rpartition(".")
        if kind in _TRIGGERS:
            yield f"{stem}.{_TRIGGERS[kind]}"


class UnitFiles:
    """The unit files of a root: by name the one that counts, and drop-ins by their folder."""

    def __init__(self, tree: Tree):
        self.tree = tree
        self.files: dict[str, bytes] = {}
        self.dropins: dict[str, dict[str, bytes]] = {}
        self.pulled: set[str] = set()  # by links
        ranks = {_real(tree, folder): rank for rank, folder in reversed([*enumerate(FOLDERS)])}
        found = [path for path in tree if b"/systemd/system/" in path]
        for path in sorted(found, key=lambda path: _rank(ranks, path)):
            self._add(path, ranks)

    def _add(self, path: bytes, ranks: dict[bytes, int]) -> None:
        above, _, name = path.decode(errors="surrogateescape").rpartition("/")
        folder = above.rpartition("/")[2]
        if parent(path) in ranks:
            self.files.setdefault(name, path)
        elif parent(parent(path)) not in ranks:
            return
        elif folder.endswith(_PULLS):
            self.pulled.add(name)
        elif folder.endswith(".d") and name.endswith(".conf"):
            self.dropins.setdefault(folder, {}).setdefault(name, path)

    def load(self, name: str) -> Unit | None:
        """A unit by any of its names; None where it is masked, or has no file."""
        path = self.files.get(name) or self.files.get(template(name))
        if path is None:
            return None
        real = _real(self.tree, path)
        text = _content(self.tree, real)
        if not text:
            return None
        named = real.decode(errors="surrogateescape").rpartition("/")[2]
        is_alias = named in self.files and "@" not in name
        canonical = named if is_alias else name
        settings: Settings = {}
        for each in (text, *self._dropins_of(canonical)):
            _merge(settings, each)
        return Unit(canonical, settings)

    def _dropins_of(self, name: str) -> Iterator[str]:
        """What others say of a unit, in the order in which it counts; without our own word."""
        found: dict[str, bytes] = {}
        for folder in _dropin_folders(name):
            found = self.dropins.get(folder, {}) | found
        for file in sorted(found.keys() - {DROPIN}):
            yield _content(self.tree, _real(self.tree, found[file]))

    def all(self, ends: str | tuple[str, ...] = "") -> Iterator[Unit]:
        """Every unit that has a file of its own, of the kinds that names end with."""
        for name in sorted(self.files):
            if not name.endswith(ends):
                continue
            unit = self.load(name)
            if unit and unit.name == name:
                yield unit

    def enabled(self) -> list[Unit]:
        """What a node starts, and what that brings with it."""
        found: dict[str, Unit] = {}
        todo = [*self.pulled, "default.target"]
        while todo:
            unit = self.load(todo.pop())
            if unit and unit.name not in found:
                found[unit.name] = unit
                todo += unit.starts()
        return [found[name] for name in sorted(found)]


def _rank(ranks: dict[bytes, int], path: bytes) -> tuple[int, bytes]:
    """Files of /etc come before those of packages."""
    above = parent(path)
    return ranks.get(above, ranks.get(parent(above), len(ranks))), path


def template(name: str) -> str:
    """Of `getty@tty1.service` the unit that it is made from; any other name as it is."""
    return re.sub("@.*[.]", "@.", name)


def _dropin_folders(name: str) -> list[str]:
    """Where drop-ins of a unit are, the nearest first."""
    stem, _, kind = name.rpartition(".")
    heads = [stem[: found.end()] for found in re.finditer("-", stem)]
    shared = [f"{head}.{kind}.d" for head in reversed(heads)]
    return [f"{name}.d", f"{template(name)}.d", *shared, f"{kind}.d"]


def _merge(settings: Settings, text: str) -> None:
    """Take in a unit file or a drop-in."""
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if not line.startswith(("#", ";"))]
    for line in "\n".join(said).replace("\\\n", " ").splitlines():
        key, equals, value = line.partition("=")
        if not equals:
            continue
        values = settings.setdefault(key.strip(), [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()


def _real(tree: Tree, path: bytes) -> bytes:
    """Where a name leads; itself where that is nowhere."""
    try:
        return resolve(tree, path)
    except Circle:
        return path


def _content(tree: Tree, real: bytes) -> str:
    entry = tree.get(real)
    if entry is None or entry.type != FILE:
        return ""
    return read_content(entry).decode(errors="surrogateescape")


# --- what is mounted


class MountUnit(NamedTuple):
    """What a unit mounts, as the first fields of a line of fstab(5)."""

    device: bytes
    place: bytes
    kind: bytes


def own_disks(tree: Tree, keep: Iterable[str]) -> dict[str, str]:
    """By name each unit that mounts a disk of this machine's own, or swaps to it, with its place.

    As lines of fstab(5): on another machine systemd waits for it, and the unit fails.
    """
    files = UnitFiles(tree)
    allowed = paths_of(keep)
    found = {}
    for unit in files.all(_MOUNTS):
        mount = _mount_of(unit)
        if not mount or not is_own_disk(*mount):
            continue
        path = files.files[unit.name]
        if not is_kept(path, allowed):
            found[unit.name] = unit.last("Where")
    return found


def without(tree: Tree, names: Iterable[str]) -> tuple[Tree, list[Note]]:
    """The tree without units that mount or swap, what triggers and enables them, and notes."""
    gone = set(_related(names))
    if not gone:
        return tree, []
    left = {}
    notes = []
    for path, entry in tree.items():
        is_unit = b"/systemd/system/" in path
        if not is_unit or gone.isdisjoint(path.split(b"/")):
            left[path] = entry
        elif entry.type != DIR:
            note = Note(show_path(path), "delete", "What=", OWN_DISK, 1)
            notes.append(note)
    return left, notes


def _related(names: Iterable[str]) -> Iterator[bytes]:
    """Of `data.mount` itself, its drop-ins and what mounts it when it is looked at."""
    for name in map(_bytes, names):
        yield name
        yield name + b".d"
        yield name.removesuffix(b".mount") + b".automount"


def bereft(tree: Tree, gone: Mapping[str, str], more: Iterable[str] = ()) -> list[str]:
    """Units that do not start without one that is gone, or a disk, a line each with its remedy.

    `more`: absolute paths on which a node mounts disks of its own.
    """
    lines = []
    for unit in UnitFiles(tree).enabled():
        for name in map(unit.expanded, unit.words(*_NEEDS)):
            is_gone = name in gone and gone[name] not in more
            if is_gone or _DISK.match(name):
                line = f"{unit.name}: needs {name}, which {OWN_DISK}; {REQUIRES_PATH}"
                lines.append(line)
    return lines


def mounted(tree: Tree) -> Iterator[str]:
    """Where enabled units mount something; a tmpfs is left out where a disk is mounted already."""
    for unit in UnitFiles(tree).enabled():
        mount = _mount_of(unit)
        if mount and mount.kind != b"tmpfs":
            yield unit.last("Where")


def _mount_of(unit: Unit) -> MountUnit | None:
    """None of a unit that mounts nothing."""
    device = _bytes(unit.last("What"))
    if unit.name.endswith(".swap"):
        return MountUnit(device, b"none", b"swap")
    if not unit.name.endswith(".mount"):
        return None
    return MountUnit(
        device,
        _bytes(unit.last("Where")),
        _bytes(unit.last("Type")),
    )


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


# --- what is below /etc is there, and nobody makes it


def keep_configuration(tree: Tree) -> Tree:
    """No unit has systemd make its folder below /etc: each has a drop-in, and the folder is there.

    That is done to all units, enabled or not: what is started by hand or by D-Bus fails as well.
    """
    files = UnitFiles(tree)
    tree = dict(tree)
    for unit in files.all():
        names = list(dict.fromkeys(unit.words("ConfigurationDirectory")))
        section = EXECUTING.get(unit.name.rpartition(".")[2])
        if names and section:
            _put_dropin(tree, unit, section, names)
    for unit in [*files.all(), *files.enabled()]:
        for path in _configured(unit):
            _make_folder(tree, unit, path)
    return tree


def _put_dropin(tree: Tree, unit: Unit, section: str, names: Iterable[str]) -> None:
    paths = [f"/etc/{name}" for name in names]
    text = NOT_MADE.format(section=section, paths=":".join(paths))
    if unit.settings.get("ProtectSystem", [])[-1:] == ["strict"]:
        writes = " ".join(f"-{path}" for path in paths)
        text += f"ReadWritePaths={writes}\n"
    place = ETC + f"/{unit.name}.d/{DROPIN}".encode(errors="surrogateescape")
    put_path(tree, place, generated_file(text.encode(errors="surrogateescape")))


def _configured(unit: Unit) -> list[str]:
    return [f"/etc/{unit.expanded(word)}" for word in unit.words("ConfigurationDirectory")]


def _make_folder(tree: Tree, unit: Unit, path: str) -> None:
    """A folder with the mode that systemd would give it, unless only a node knows its name."""
    is_template = "@." in unit.name
    place = _real(tree, path.strip("/").encode(errors="surrogateescape"))
    if place not in tree and "%" not in path and not is_template:
        mode = unit.last("ConfigurationDirectoryMode")
        put_path(tree, place, directory(int(mode, 8) if _MODE.fullmatch(mode) else 0o755))


# --- what is started before local file systems are mounted, and needs one


def wait_for_disks(tree: Tree) -> Tree:
    """Such a unit waits for the service that mounts a node's own.

    Elsewhere systemd knows by a var.mount what /var/lib/it needs; a node has none until then.
    """
    files = UnitFiles(tree)
    setup = files.load(SETUP)
    if setup is None:
        return tree
    tree = dict(tree)
    before = _started_before(files, SETUP)
    ordered = {SETUP, *before, *setup.words("Before")}
    for unit in files.all():
        if unit.name in ordered or not before.isdisjoint(unit.words("Before")):
            continue
        if _is_early(unit) and _needs_disk(unit):
            place = ETC + _bytes(f"/{unit.name}.d/{EARLY}")
            put_path(tree, place, generated_file(AFTER_SETUP.encode()))
    return tree


def _started_before(files: UnitFiles, name: str) -> set[str]:
    """The units that it comes after, and those that they do: none of them can wait for it."""
    found: set[str] = set()
    todo = [name]
    while todo:
        unit = files.load(todo.pop())
        for each in unit.words("After") if unit else ():
            if each not in found:
                found.add(each)
                todo.append(each)
    return found


def _is_early(unit: Unit) -> bool:
    """Whether nothing has it come after local file systems."""
    if unit.last("DefaultDependencies") not in ("no", "false", "off", "0"):
        return False
    return "local-fs.target" not in unit.words("After")


def _needs_disk(unit: Unit) -> bool:
    if any(unit.words("StateDirectory", "CacheDirectory", "LogsDirectory")):
        return True
    paths = unit.words("RequiresMountsFor", "WantsMountsFor", "Where")
    return any(path.startswith(("/var/", "/home/", "/tmp/")) for path in paths)


# --- what is written all the same


def unwritable(tree: Tree, more: Iterable[str] = ()) -> list[str]:
    """What enabled units need and a read-only root has not, a line each with its remedy.

    `more`: absolute paths of folders that are mounted, and can be written.
    """
    places = (*WRITABLE, *more)
    lines = []
    for unit in UnitFiles(tree).enabled():
        for key, path in _needed(unit):
            if not _is_below(tree, path, places) and not _is_there(tree, path):
                remedy = "add that folder to the reference or to an overlay"
                lines.append(f"{unit.name}: {key}={path} is not in the root; {remedy}")
        for key, path in _written(unit):
            if not _is_below(tree, path, places):
                where = f"{ETC.decode()}/{unit.name}.d/ of an overlay"
                remedy = f"name a place below /run or /var, by a drop-in in {where}"
                lines.append(f"{unit.name}: {key}={path} cannot be written on a node; {remedy}")
    return lines


def _needed(unit: Unit) -> Iterator[tuple[str, str]]:
    """Folders without which a unit does not start."""
    for path in _configured(unit):
        yield "ConfigurationDirectory", path
    yield from _paths(unit, "ReadWritePaths", "ReadWriteDirectories", "Where")


def _written(unit: Unit) -> Iterator[tuple[str, str]]:
    """Files that a unit makes when it starts."""
    for key in ("StandardOutput", "StandardError"):
        for value in unit.settings.get(key, [])[-1:]:
            if found := _TO_FILE.fullmatch(unit.expanded(value)):
                yield key, found[1]
    yield from _paths(unit, "PIDFile", *_LISTENS)


def _paths(unit: Unit, *keys: str) -> Iterator[tuple[str, str]]:
    """The paths that must be; those with a `-` before them need not."""
    for key in keys:
        for word in unit.words(key):
            path = unit.expanded(word).lstrip("+")
            if path.startswith("/"):
                yield key, path


def _is_below(tree: Tree, path: str, places: Iterable[str]) -> bool:
    """Whether a path leads into one of the places."""
    real = "/" + _real(tree, path.encode(errors="surrogateescape")).decode(errors="surrogateescape")
    return any(f"{real}/".startswith(f"{place.rstrip('/')}/") for place in places)


def _is_there(tree: Tree, path: str) -> bool:
    return _real(tree, path.encode(errors="surrogateescape")) in tree
