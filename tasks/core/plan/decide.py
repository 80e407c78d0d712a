"""The plan: what leads from what a server holds to what it shall hold. A pure function."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..services import exports
from ..services.services import KEPT, Service, is_foreign, lost
from ..site_data import files_of
from ..store import journal
from ..store.boot_files import current
from ..store.kept import NodeFacts
from ..store.paths import BOOT_FILES
from .state import Actual, BuiltRelease, Desired


@dataclass(frozen=True)
class FileChange:
    """A file that a plan writes or removes; `path` as the server knows it."""

    path: str
    before: bytes | None
    after: bytes | None  # None: removed
    found: str = ""  # "edited by hand" or "not Plugnode's": what is lost
    reload: str = ""  # the command by which a daemon reads it again


@dataclass(frozen=True)
class ReleaseChange:
    """An image whose nodes run another release from their next boot on."""

    image: str
    before: str | None
    after: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class NodesReassigned:
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

    roots: tuple[BuiltRelease, ...] = ()  # trees to publish below nfs_root
    boots: tuple[BuiltRelease, ...] = ()  # kernels and initrds to publish below tftp_root
    site_img: bool = False
    loaders: tuple[str, ...] = ()
    files: tuple[FileChange, ...] = ()  # generated files, boot files that are new among them
    boot_files: tuple[FileChange, ...] = ()  # the commit points
    stale: tuple[FileChange, ...] = ()
    opened: tuple[str, ...] = ()  # folders below tftp_root that TFTP servers may enter from then on
    services: tuple[FileChange, ...] = ()
    moves: tuple[ReleaseChange, ...] = ()
    switches: tuple[NodesReassigned, ...] = ()
    nodes: NodeChanges = NodeChanges()
    site_files: tuple[FileChange, ...] = ()  # of what site.img holds
    by_hand: tuple[FileChange, ...] = ()  # generated files for an admin to carry
    warnings: tuple[str, ...] = ()  # what an admin should know before it is done
    held: tuple[
        str, ...
    ] = ()  # images that a rollback took back: what becomes of them, a line each
    unfinished: bool = False  # an earlier deploy was killed after its last change

    @property
    def changed(self) -> bool:
        """Is there anything to do?"""
        return any(
            (
                self.roots,
                self.boots,
                self.site_img,
                self.loaders,
                self.changes,
                self.by_hand,
                self.opened,
            )
        )

    @property
    def changes(self) -> tuple[FileChange, ...]:
        """Every generated file that is written or removed."""
        return self.files + self.boot_files + self.stale + self.services


# --- what is to be done


def plan(there: Actual, wanted: Desired) -> Plan:
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


def _forgot(there: Actual, wanted: Desired) -> bool:
    """Is what we wrote down about our files and nodes another thing than what will be there?"""
    if there.harmed or there.nodes != wanted.nodes:
        return True
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in wanted.files.items()}
    known = {name: digest for name, digest in there.ours.items() if name not in wanted.loaders}
    return known != digests or not wanted.loaders.keys() <= there.ours.keys()


def _differs(there: Actual, name: str, data: bytes) -> bool:
    return there.files.get(name) != data or name in there.unreadable


def _new_boot_files_first(name: str) -> tuple[bool, str]:
    """A new image's boot file is there before a node's own file includes it."""
    return not name.startswith(BOOT_FILES), name


def _stale(there: Actual, wanted: Desired) -> list[str]:
    """What an earlier deploy wrote and nobody wants now. What others wrote is never looked at."""
    gone = there.ours.keys() & there.files.keys() - wanted.files.keys() - wanted.loaders.keys()
    return sorted(gone - wanted.left)


def _change(there: Actual, name: str, after: bytes | None) -> FileChange:
    before = there.files.get(name)
    return FileChange(
        f"{there.targets.tftp}/{name}", before, after, _found(there.ours.get(name), before)
    )


def _found(ours: str | None, before: bytes | None) -> str:
    if before is None or ours == hashlib.sha256(before).hexdigest():
        return ""
    return "edited by hand" if ours else "not Plugnode's"


def settled(there: Actual, wanted: Desired) -> tuple[Service, ...]:
    """The daemons' files as this server shall have them: what it exports is merged with what nodes may have mounted."""
    return tuple(_settled(there, service) for service in wanted.services)


def _settled(there: Actual, service: Service) -> Service:
    if not exports.site_of(service.path):
        return service
    done = exports.settle(service.path, service.data, there.targets.nfs, there.exports)
    return service._replace(data=done.data, after=done.after)


def _services(there: Actual, wanted: Desired) -> Iterator[FileChange]:
    before = {**there.exports.files, **there.services}
    for service in settled(there, wanted):
        reload = " ".join(service.reload) if there.reloads else ""
        for path, data in service.files:
            if before.get(path) != data:
                merged = exports.site_of(service.path)  # what others wrote there is kept
                found = "" if merged else lost(path, before.get(path))
                yield FileChange(path, before.get(path), data, found, reload)
                reload = ""  # once for all of them


def _warnings(there: Actual, wanted: Desired) -> Iterator[str]:
    for service in wanted.services:
        before = there.services.get(service.path)
        if exports.site_of(service.path):
            yield from exports.settle(
                service.path, service.data, there.targets.nfs, there.exports
            ).warnings
        if before is not None and before != service.data and is_foreign(service.path, before):
            kept = os.path.basename(service.path) + KEPT
            yield f"{service.path} is not Plugnode's: it is replaced, and kept as {kept}"


def _moves(there: Actual, wanted: Desired) -> Iterator[ReleaseChange]:
    for built in wanted.releases:
        image, after = built.release.image, built.release.id
        before = current(there.files, image)
        if before != after:
            nodes = [
                name
                for name, node in wanted.nodes.items()
                if node["image"] == image and "release" not in node
            ]
            yield ReleaseChange(image, before, after, tuple(nodes))


def _switches(there: Actual, wanted: Desired) -> Iterator[NodesReassigned]:
    """What the moves of images do not tell: known nodes whose own words changed."""
    goal = {built.release.image: built.release.id for built in wanted.releases}
    found: dict[tuple[str | None, str], list[str]] = {}
    for name in sorted(there.nodes.keys() & wanted.nodes.keys()):
        old, new = there.nodes[name], wanted.nodes[name]
        if (old.get("release"), old["image"]) != (new.get("release"), new["image"]):
            before = old.get("release") or current(there.files, old["image"])
            after = (
                new.get("release") or goal.get(new["image"]) or current(there.files, new["image"])
            )
            if after and after != before:
                found.setdefault((before, after), []).append(name)
    return (NodesReassigned(*ids, tuple(names)) for ids, names in found.items())


def _site_files(before: bytes, after: bytes) -> Iterator[FileChange]:
    """The texts inside site.img; of a server's first one nothing is told."""
    return _changes(files_of(before), files_of(after)) if before and before != after else iter(())


def _changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[FileChange]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield FileChange(name, before.get(name), after.get(name))


def compare_nodes(before: Mapping[str, NodeFacts], after: Mapping[str, NodeFacts]) -> NodeChanges:
    both = sorted(before.keys() & after.keys())
    return NodeChanges(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(
            (name, _differ(before[name], after[name]))
            for name in both
            if before[name] != after[name]
        ),
    )


def _differ(before: NodeFacts, after: NodeFacts) -> tuple[str, ...]:
    return tuple(
        key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)
    )


def changed_services(plan: Plan, there: Actual, wanted: Desired) -> list[Service]:
    """All after a deploy that was killed: maybe it wrote a file of which its daemon has not heard yet."""
    changed = {change.path for change in plan.services}
    every = settled(there, wanted)
    return [one for one in every if plan.unfinished or changed & {path for path, _ in one.files}]
