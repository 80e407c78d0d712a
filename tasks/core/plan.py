"""Deploy: what is wanted, what is there, and the plan that leads from one to the other.

`read` looks at a server, `plan` decides and touches nothing, `deploy.apply` does it. What a plan holds is in the order
in which it is done: first what nobody names yet, then the boot files, each by one rename, last what nobody names now.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from . import exports, journal, services, shadows
from . import release as releases
from .configs import as_generated
from .errors import BadInput
from .files import content, digest_file
from .release import Release
from .services import Service
from .site import Site
from .targets import BOOT_FILES, Targets
from .record import Record

Facts = dict[str, str]  # of a node: {"ip": …, "mac": …, "image": …}


@dataclass(frozen=True)
class Built:
    """A release as the build left it: `folder` holds root/, root.mtree, root.xattrs, initrd.img and vmlinuz."""

    release: Release
    folder: str

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def size(self, name: str) -> int:
        return _size(self.path(name))

    def record(self) -> Record:
        """The root as it is written down, its bytes where it was staged."""
        from . import staged

        return staged.recorded(staged.place(self.folder))

    def bring(self, paths: Iterable[bytes], like: str | None) -> str | None:
        """Have the bytes of these files of the root, which the release `like` has not. A folder whose files may be
        linked to, where they came to one."""
        return None


@dataclass(frozen=True)
class Standing(Built):
    """A release that stays as the server has it: `folder` is that of its kernel and initrd."""


@dataclass(frozen=True)
class Wanted:
    """Everything that a server must hold. Names of files and loaders are those below tftp_root."""

    releases: tuple[Built, ...]
    site_id: str  # "site-<12 hex digits>"
    site_img: bytes
    files: Mapping[str, bytes]  # those below plugnode/ name releases; they are written last
    loaders: Mapping[str, str]  # name -> the file to copy
    services: tuple[Service, ...] = ()
    nodes: Mapping[str, Facts] = field(default_factory=dict)
    by_hand: Mapping[str, bytes] = field(default_factory=dict)  # generated files that no deploy puts anywhere
    image: str = ""  # all of it is this image's, but for what is everybody's; "": of all images
    left: frozenset[str] = frozenset()  # files below tftp_root that stay as they are, if they are there
    held: tuple[str, ...] = ()  # of images that a rollback took back to an earlier release: what becomes of them


@dataclass(frozen=True)
class There:
    """What a server holds, as far as it can matter to what is wanted."""

    targets: Targets
    released: Mapping[str, Release]  # published whole: the tree that nodes mount
    booted: frozenset[str]  # folders of tftp_root that are whole: <release>, site-<id>
    files: Mapping[str, bytes]  # generated files, ours and those in their places
    unreadable: frozenset[str]  # those of them that a TFTP server may not read, or anybody may write
    loaders: Mapping[str, bool]  # those that are there -> as they are wanted
    services: Mapping[str, bytes]
    ours: Mapping[str, str]  # what earlier deploys wrote below tftp_root -> sha256
    nodes: Mapping[str, Facts]
    records: tuple[journal.Record, ...]  # of the journal
    exports: exports.Found = exports.NONE  # by every site's files, and the admin's
    site_img: bytes = b""  # the site data that boot files name
    by_hand: Mapping[str, bytes] | None = None  # None: nobody knows
    reloads: bool = True  # a daemon hears of its new file
    prunable: tuple[tuple[str, str], ...] = ()  # what a prune would remove, and why
    closed: tuple[str, ...] = ()  # folders of ours below tftp_root that a TFTP server may not enter
    notes: tuple[str, ...] = ()  # what an admin must know of, a line each
    harmed: bool = False  # what was written down of files or nodes is damaged


@dataclass(frozen=True)
class Change:
    """A file that a plan writes or removes; `path` as the server knows it."""

    path: str
    before: bytes | None
    after: bytes | None  # None: removed
    found: str = ""  # "edited by hand" or "not Plugnode's": what is lost
    reload: str = ""  # the command by which a daemon reads it again


@dataclass(frozen=True)
class Move:
    """An image whose nodes run another release from their next boot on."""

    image: str
    before: str | None
    after: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Switch:
    """Nodes that run another release for a reason of their own: a pin, or another image."""

    before: str | None
    after: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class NodeChanges:
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[tuple[str, tuple[str, ...]], ...] = ()  # name, and the fields that differ


@dataclass(frozen=True)
class Plan:
    """What a deploy does, in its order."""

    roots: tuple[Built, ...] = ()  # trees to publish below nfs_root
    boots: tuple[Built, ...] = ()  # kernels and initrds to publish below tftp_root
    site_img: bool = False
    loaders: tuple[str, ...] = ()
    files: tuple[Change, ...] = ()  # generated files, boot files that are new among them
    boot_files: tuple[Change, ...] = ()  # the commit points
    stale: tuple[Change, ...] = ()
    opened: tuple[str, ...] = ()  # folders below tftp_root that TFTP servers may enter from then on
    services: tuple[Change, ...] = ()
    moves: tuple[Move, ...] = ()
    switches: tuple[Switch, ...] = ()
    nodes: NodeChanges = NodeChanges()
    site_files: tuple[Change, ...] = ()  # of what site.img holds
    by_hand: tuple[Change, ...] = ()  # generated files for an admin to carry
    warnings: tuple[str, ...] = ()  # what an admin should know before it is done
    held: tuple[str, ...] = ()  # images that a rollback took back: what becomes of them, a line each
    unfinished: bool = False  # an earlier deploy was killed after its last change

    @property
    def changed(self) -> bool:
        """Is there anything to do?"""
        return any((self.roots, self.boots, self.site_img, self.loaders, self.changes, self.by_hand, self.opened))

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every generated file that is written or removed."""
        return self.files + self.boot_files + self.stale + self.services


def site_id(site_img: bytes) -> str:
    """The folder of site data, named by its bytes: `site-0b1c2d3e4f50`."""
    return f"site-{hashlib.sha256(site_img).hexdigest()[:12]}"


def facts(site: Site) -> dict[str, Facts]:
    """What a plan compares of each node: all that is not its name and not empty."""
    return {
        node.name: {
            "ip": node.ip,
            "mac": str(node.mac),
            "image": node.image,
            **{
                name: value if isinstance(value, str) else ",".join(value)
                for name in ("groups", "cmdline", "interface", "layout", "server", "release", "wipe")
                if (value := getattr(node, name))
            },
        }
        for node in site.nodes
    }


# --- what is there


def read(targets: Targets, wanted: Wanted) -> There:
    """Look at the server: small files, and the status of large ones."""
    exported = exports.read(targets)
    known = _known(targets, wanted, exported)
    ours = read_ours(known)
    names = sorted({*wanted.files, *(name for name in ours if name not in wanted.loaders)})
    files, harm = dict(_contents(targets, names)), damaged(targets)
    return There(
        targets=targets,
        released=published(targets),
        booted=frozenset(_booted(targets, wanted)),
        files=files,
        unreadable=frozenset(name for name in names if _mode(targets.served(name)) not in (None, 0o644)),
        loaders=dict(_loaders(targets, wanted.loaders)),
        services={s.path: data for s in wanted.services if (data := content(targets.at(s.path))) is not None},
        ours=ours,
        nodes=read_nodes(known),
        records=tuple(journal.read(targets.kept("journal.jsonl"))),
        exports=exported,
        site_img=_readable(f"{targets.boot(site_named(files) or '')}/site.img") or b"",
        reloads=not targets.destdir,
        closed=tuple(shadows.closed(targets, _folders(wanted))),
        harmed=any(targets.kept(name) in harm for name in ("files", "nodes.json")),
        notes=tuple(notes(targets, {*ours, *wanted.files, *wanted.loaders}, wanted.nodes)),
    )


def _known(targets: Targets, wanted: Wanted, exported: exports.Found) -> Targets:
    """Where it is written down what the last deploy did: in a former nfs_root, or in this one."""
    paths = [service.path for service in wanted.services if exports.site_of(service.path)]
    lines = [line for path in paths for line in exports.mine(path, targets.nfs, exported)]
    former = {line.path for line in lines} - {targets.nfs}
    roots = [targets, *(dataclasses.replace(targets, nfs=path) for path in sorted(former))]
    told = [root for root in roots if os.path.isfile(root.kept("files"))]
    return max(told, key=_last_deploy, default=targets)


def _last_deploy(targets: Targets) -> str:
    """When boot files were written by what is journalled there, as the journal has it."""
    records = journal.read(targets.kept("journal.jsonl"))
    return max((str(record.get("time")) for record in records if "releases" in record), default="")


def _folders(wanted: Wanted) -> list[str]:
    """The folders below tftp_root that a deploy makes."""
    ids = [wanted.site_id, *(built.release.id for built in wanted.releases)]
    return [*shadows.folders([*wanted.files, *wanted.loaders]), *ids]


def notes(targets: Targets, ours: Collection[str], nodes: Mapping[str, Facts]) -> list[str]:
    """What on a server stands between nodes and what is deployed, a line each: only an admin knows what it is for."""
    shut = [f"{targets.tftp}: closed to its readers, TFTP servers" for _ in shadows.closed(targets, [""])]
    harmed = [f"{path} {what}" for path, what in damaged(targets).items()]
    return [*harmed, *shut, *map(": ".join, shadows.found(targets, ours, nodes))]


def as_deployed(targets: Targets, wanted: Wanted, loaders: Mapping[str, str]) -> There:
    """A server that holds exactly this and nothing else. `loaders`: those that it shall hold, name -> file."""
    both = {name: path for name, path in wanted.loaders.items() if name in loaders}
    gone = {name: content(path) or b"" for name, path in wanted.loaders.items() if name not in loaders}
    files = {**wanted.files, **gone}
    exported = {s.path: s.data for s in wanted.services if exports.site_of(s.path)}
    folders = {line.path for data in exported.values() for line in exports.exports_of(data)}
    return There(
        targets=targets,
        released={built.release.id: built.release for built in wanted.releases},
        booted=frozenset({wanted.site_id, *(built.release.id for built in wanted.releases)}),
        files=files,
        unreadable=frozenset(),
        loaders={name: digest_file(path) == digest_file(loaders[name]) for name, path in both.items()},
        services={service.path: service.data for service in wanted.services},
        ours={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        nodes=wanted.nodes,
        records=(),
        exports=exports.Found(exported, frozenset(folders)),
        site_img=wanted.site_img,
        by_hand=wanted.by_hand,
    )


def read_nodes(targets: Targets) -> dict[str, Facts]:
    """The nodes that were deployed last, by name; none where that is damaged."""
    return _nodes(targets) or {}


def _nodes(targets: Targets) -> dict[str, Facts] | None:
    path = targets.kept("nodes.json")
    try:
        nodes: dict[str, Facts] = json.loads(_readable(path) or ("" if os.path.lexists(path) else "{}"))
        sound = all("image" in facts and all(map(_is_text, facts.values())) for facts in nodes.values())
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    return nodes if sound else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _readable(path: str) -> bytes | None:
    """The bytes of a file; None where there is none, or its disk does not give them."""
    try:
        return content(path)
    except PermissionError:
        raise
    except OSError:
        return None


def published(targets: Targets) -> dict[str, Release]:
    """Every release whose tree is on the server, by id; without those of which what is kept is damaged."""
    return {id: said for id, said in _releases(targets) if isinstance(said, Release)}


def damaged(targets: Targets) -> dict[str, str]:
    """What of that which we keep is not as it was written -> what that means. It stops only what needs it."""
    found = {f"{id}.json": said for id, said in _releases(targets) if isinstance(said, str)}
    if _nodes(targets) is None:
        found["nodes.json"] = "is damaged; the next deploy takes every node for a new one"
    if _damaged_ours(targets):
        found["files"] = "is damaged; the next deploy writes it anew, and leaves what earlier ones wrote"
    if os.path.isdir(targets.kept("journal.jsonl")):
        found["journal.jsonl"] = "is a folder: nothing can be deployed; move it away"
    return {targets.kept(name): what for name, what in found.items()}


def _releases(targets: Targets) -> Iterator[tuple[str, Release | str]]:
    """Of each release what is kept of it, or why that cannot be read."""
    try:
        names = sorted(os.listdir(targets.kept("")))
    except FileNotFoundError:
        return
    ids = [name.removesuffix(".json") for name in names if re.search(r"-[0-9a-f]{12}\.json$", name)]
    for id in ids:
        if os.path.isdir(targets.root(id)):
            yield id, _release(targets, id)


def site_data(targets: Targets) -> list[str]:
    """Every site data on the server."""
    try:
        names = sorted(os.listdir(targets.tftp_root))
    except FileNotFoundError:
        return []
    ids = [name for name in names if re.fullmatch(r"site-[0-9a-f]{12}", name)]
    return [id for id in ids if os.path.isfile(targets.boot(id) + "/site.img")]


def _release(targets: Targets, id: str) -> Release | str:
    path = targets.kept(f"{id}.json")
    try:
        with open(path, "rb") as file:
            found = releases.parse(file.read())
        if not found.id == releases.id_of(found) == id:
            raise ValueError("what it says has another id")
        return found
    except PermissionError:
        raise
    except OSError as error:
        why = error.strerror
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        why = str(error)
    return f"is damaged ({why}); a deploy of {id} mends it, or move it and {targets.root(id)} away"


def _booted(targets: Targets, wanted: Wanted) -> Iterator[str]:
    """Folders appear by a rename, whole; a look at sizes finds what was done to them later."""
    for built in wanted.releases:
        folder = targets.boot(built.release.id)
        if all(_size(f"{folder}/{name}") == built.size(name) for name in ("vmlinuz", "initrd.img")):
            yield built.release.id
    if _size(targets.boot(wanted.site_id) + "/site.img") == len(wanted.site_img):
        yield wanted.site_id


def _size(path: str) -> int:
    """Of a file that everybody may read; -1 where there is none such."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    return status.st_size if status.st_mode == stat.S_IFREG | 0o644 else -1


def _contents(targets: Targets, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        path = targets.served(name)
        if not os.path.islink(path) and (data := _readable(path)) is not None:
            yield name, data


def _loaders(targets: Targets, loaders: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    for name, source in loaders.items():
        if os.path.lexists(targets.served(name)):
            yield name, _same(source, targets.served(name))


def _mode(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _same(source: str, path: str) -> bool:
    """Does `path` hold what the file `source` (often a symlink) leads to?"""
    alike = os.stat(source).st_size == _size(path) and _mode(path) == 0o644 and not os.path.islink(path)
    return alike and digest_file(source) == digest_file(path)


def read_ours(targets: Targets) -> dict[str, str]:
    """Name below tftp_root -> sha256 of what earlier deploys wrote there (the format of sha256sum(1))."""
    pairs = [_OURS.fullmatch(line) for line in _lines_of_ours(targets)]
    root = targets.tftp + "/"
    paths = {found["path"]: found["digest"] for found in pairs if found and _is_inside(found["path"], root)}
    return {path.removeprefix(root): digest for path, digest in paths.items()}


def _damaged_ours(targets: Targets) -> bool:
    path = targets.kept("files")
    unread = os.path.lexists(path) and _readable(path) is None
    return unread or not all(map(_OURS.fullmatch, _lines_of_ours(targets)))


def _lines_of_ours(targets: Targets) -> list[str]:
    text = (_readable(targets.kept("files")) or b"").decode(errors="surrogateescape")
    return text.split("\n")[:-1] if text.endswith("\n") else text.split("\n") if text else []


def _is_inside(path: str, root: str) -> bool:
    return path.startswith(root) and os.path.normpath(path) == path


_OURS = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>/[^\0]+)")


# --- what is to be done


def plan(there: There, wanted: Wanted) -> Plan:
    """The steps from `there` to `wanted`: a pure function."""
    names = [name for name in sorted(wanted.files) if _differs(there, name, wanted.files[name])]
    commits = [name for name in names if name.startswith(BOOT_FILES) and name in there.files]
    others = sorted(set(names) - set(commits), key=_new_boot_files_first)
    return Plan(
        roots=tuple(built for built in wanted.releases if built.release.id not in there.released),
        boots=tuple(built for built in wanted.releases if built.release.id not in there.booted),
        site_img=wanted.site_id not in there.booted,
        loaders=tuple(name for name in sorted(wanted.loaders) if not there.loaders.get(name)),
        files=tuple(_change(there, name, wanted.files[name]) for name in others),
        boot_files=tuple(_change(there, name, wanted.files[name]) for name in commits),
        stale=tuple(_change(there, name, None) for name in _stale(there, wanted)),
        opened=there.closed,
        services=tuple(_services(there, wanted)),
        warnings=tuple(_warnings(there, wanted)),
        moves=tuple(_moves(there, wanted)),
        switches=tuple(_switches(there, wanted)),
        nodes=compare_nodes(there.nodes, wanted.nodes),
        site_files=tuple(_site_files(there.site_img, wanted.site_img)),
        by_hand=() if there.by_hand is None else tuple(_changes(there.by_hand, wanted.by_hand)),
        held=wanted.held,
        unfinished=journal.unfinished(there.records) or _forgot(there, wanted),
    )


def _forgot(there: There, wanted: Wanted) -> bool:
    """Is what we wrote down about our files and nodes another thing than what will be there?"""
    if there.harmed or there.nodes != wanted.nodes:
        return True
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in wanted.files.items()}
    known = {name: digest for name, digest in there.ours.items() if name not in wanted.loaders}
    return known != digests or not wanted.loaders.keys() <= there.ours.keys()


def _differs(there: There, name: str, data: bytes) -> bool:
    return there.files.get(name) != data or name in there.unreadable


def _new_boot_files_first(name: str) -> tuple[bool, str]:
    """A new image's boot file is there before a node's own file includes it."""
    return not name.startswith(BOOT_FILES), name


def _stale(there: There, wanted: Wanted) -> list[str]:
    """What an earlier deploy wrote and nobody wants now. What others wrote is never looked at."""
    gone = there.ours.keys() & there.files.keys() - wanted.files.keys() - wanted.loaders.keys()
    return sorted(gone - wanted.left)


def _change(there: There, name: str, after: bytes | None) -> Change:
    before = there.files.get(name)
    return Change(f"{there.targets.tftp}/{name}", before, after, _found(there.ours.get(name), before))


def _found(ours: str | None, before: bytes | None) -> str:
    if before is None or ours == hashlib.sha256(before).hexdigest():
        return ""
    return "edited by hand" if ours else "not Plugnode's"


def settled(there: There, wanted: Wanted) -> tuple[Service, ...]:
    """The daemons' files as this server shall have them: what it exports is merged with what nodes may have mounted."""
    return tuple(_settled(there, service) for service in wanted.services)


def _settled(there: There, service: Service) -> Service:
    if not exports.site_of(service.path):
        return service
    done = exports.settle(service.path, service.data, there.targets.nfs, there.exports)
    return service._replace(data=done.data, after=done.after)


def _services(there: There, wanted: Wanted) -> Iterator[Change]:
    before = {**there.exports.files, **there.services}
    for service in settled(there, wanted):
        reload = " ".join(service.reload) if there.reloads else ""
        for path, data in service.files:
            if before.get(path) != data:
                merged = exports.site_of(service.path)  # what others wrote there is kept
                found = "" if merged else services.lost(path, before.get(path))
                yield Change(path, before.get(path), data, found, reload)
                reload = ""  # once for all of them


def _warnings(there: There, wanted: Wanted) -> Iterator[str]:
    for service in wanted.services:
        before = there.services.get(service.path)
        if exports.site_of(service.path):
            yield from exports.settle(service.path, service.data, there.targets.nfs, there.exports).warnings
        if before is not None and before != service.data and services.is_foreign(service.path, before):
            kept = os.path.basename(service.path) + services.KEPT
            yield f"{service.path} is not Plugnode's: it is replaced, and kept as {kept}"


def _moves(there: There, wanted: Wanted) -> Iterator[Move]:
    for built in wanted.releases:
        image, after = built.release.image, built.release.id
        before = current(there.files, image)
        if before != after:
            nodes = [name for name, node in wanted.nodes.items() if node["image"] == image and "release" not in node]
            yield Move(image, before, after, tuple(nodes))


def _switches(there: There, wanted: Wanted) -> Iterator[Switch]:
    """What the moves of images do not tell: known nodes whose own words changed."""
    goal = {built.release.image: built.release.id for built in wanted.releases}
    found: dict[tuple[str | None, str], list[str]] = {}
    for name in sorted(there.nodes.keys() & wanted.nodes.keys()):
        old, new = there.nodes[name], wanted.nodes[name]
        if (old.get("release"), old["image"]) != (new.get("release"), new["image"]):
            before = old.get("release") or current(there.files, old["image"])
            after = new.get("release") or goal.get(new["image"]) or current(there.files, new["image"])
            if after and after != before:
                found.setdefault((before, after), []).append(name)
    return (Switch(*ids, tuple(names)) for ids, names in found.items())


def _site_files(before: bytes, after: bytes) -> Iterator[Change]:
    """The texts inside site.img; of a server's first one nothing is told."""
    return _changes(inside(before), inside(after)) if before and before != after else iter(())


def inside(site_img: bytes) -> dict[str, bytes]:
    from . import cpio

    try:
        tree = cpio.read_image(site_img, "site.img").tree
    except BadInput:
        return {}
    return as_generated({os.fsdecode(path): entry.data for path, entry in tree.items() if entry.data is not None})


def _changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def compare_nodes(before: Mapping[str, Facts], after: Mapping[str, Facts]) -> NodeChanges:
    both = sorted(before.keys() & after.keys())
    return NodeChanges(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple((name, _differ(before[name], after[name])) for name in both if before[name] != after[name]),
    )


def _differ(before: Facts, after: Facts) -> tuple[str, ...]:
    return tuple(key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key))


# --- what boot files say

_NAMED = re.compile(rb"(?<![\w.-])([A-Za-z0-9][\w.-]*-[0-9a-f]{12})(?![\w.-])")


def named(data: bytes) -> set[str]:
    """The releases and site data that a boot file names."""
    return {word.decode() for word in _NAMED.findall(data)}


def is_id(text: str) -> bool:
    """Is that the name of a release or of site data, and nothing else?"""
    return bool(_NAMED.fullmatch(text.encode()))


def current(files: Mapping[str, bytes], image: str) -> str | None:
    """The release that `image` boots, by its boot files; None where there is none."""
    for name, data in sorted(files.items()):
        if name.startswith(f"{BOOT_FILES}{image}."):
            for id in sorted(named(data)):
                if id.rpartition("-")[0] == image:
                    return id
    return None


def site_named(files: Mapping[str, bytes]) -> str | None:
    """The site data that boot files name."""
    names = {id for name, data in files.items() if name.startswith(BOOT_FILES) for id in named(data)}
    return next((id for id in sorted(names) if id.startswith("site-")), None)


def read_files(targets: Targets) -> dict[str, bytes]:
    """The boot files of a server, by their names below tftp_root."""
    try:
        names = sorted(os.listdir(targets.served(BOOT_FILES)))
    except FileNotFoundError:
        return {}
    files = [BOOT_FILES + name for name in names]
    return dict(_contents(targets, [name for name in files if os.path.isfile(targets.served(name))]))
