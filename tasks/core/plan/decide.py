"""What leads from what a server holds to what it shall hold: a pure function."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ..services.exports import site_of
from ..services.installed import digests_of
from ..services.merged_exports import MergedExports, merge_exports
from ..services.daemon_files import KEPT, Service, is_foreign, lost
from ..services.serial import continued
from ..site_data import files_of
from ..store import journal
from ..store.boot_files import current
from ..store.nodes import NodeFacts
from ..store.paths import BOOT_FILES
from .model import FileChange, FileChanges, NodeChanges, NodesReassigned, Plan, ReleaseChange
from .state import Actual, BuiltRelease, Desired, digest


def plan(actual: Actual, desired: Desired) -> Plan:
    """The steps from what is there to what is desired."""
    return Plan(
        roots=_without(actual.released, desired),
        boots=_without(actual.booted, desired),
        site_img=desired.site_id not in actual.booted,
        signed=_signed(actual, desired),
        loaders=_loaders(actual, desired),
        files=_files(actual, desired),
        boot_files=_boot_files(actual, desired),
        stale=_stale(actual, desired),
        opened=actual.closed,
        services=tuple(_services(actual, desired)),
        warnings=tuple(_warnings(actual, desired)),
        moves=tuple(_moves(actual, desired)),
        switches=_switches(actual, desired),
        nodes=compare_nodes(actual.nodes, desired.nodes),
        site_files=_site_files(actual.site_img, desired.site_img),
        by_hand=_by_hand(actual, desired),
        held=desired.held,
        unfinished=_is_unfinished(actual, desired),
    )


def _is_unfinished(actual: Actual, desired: Desired) -> bool:
    return journal.unfinished(actual.records) or _forgot(actual, desired)


def _without(
    known: Mapping[str, object] | frozenset[str],
    desired: Desired,
) -> tuple[BuiltRelease, ...]:
    """The releases that are not among these."""
    return tuple(built for built in desired.releases if built.release.id not in known)


def _signed(actual: Actual, desired: Desired) -> tuple[str, ...]:
    """What is to be signed and is not."""
    if not desired.trust.keys:
        return ()
    return tuple(id for id in sorted(desired.signable) if id not in actual.signed)


def _loaders(actual: Actual, desired: Desired) -> dict[str, str]:
    """The loaders that are not there as they are desired -> why one is signed anew."""
    good = {name for name, is_good in actual.loaders.items() if is_good}
    names = sorted(desired.loaders.keys() - good)
    return {name: desired.signed_anew.get(name, "") for name in names}


def _forgot(actual: Actual, desired: Desired) -> bool:
    """Is what we wrote down about our files and nodes another thing than what will be there?"""
    if actual.harmed or actual.nodes != desired.nodes:
        return True
    if actual.installed not in (None, digests_of(all_services(actual, desired))):
        return True
    if not desired.loaders.keys() <= actual.ours.keys():
        return True
    digests = {name: digest(data) for name, data in desired.files.items()}
    ours = dict(actual.ours)
    for name in desired.loaders:
        del ours[name]
    return ours != digests


def _files(actual: Actual, desired: Desired) -> FileChanges:
    """What is written before the commit points.

    New boot files come first, and a group's before its nodes': what leads to a file comes after it.
    """
    boot_files, others = [], []
    for name, change in _differing(actual, desired):
        if not name.startswith(BOOT_FILES):
            others.append(change)
        elif change.before is None:
            boot_files.append(change)
    others.sort(key=lambda change: change.path != change.place)
    return (*boot_files, *others)


def _boot_files(actual: Actual, desired: Desired) -> FileChanges:
    """The commit points: boot files that are there, and lead elsewhere from then on."""
    changes = []
    for name, change in _differing(actual, desired):
        if name.startswith(BOOT_FILES) and change.before is not None:
            changes.append(change)
    return tuple(changes)


def _differing(actual: Actual, desired: Desired) -> Iterator[tuple[str, FileChange]]:
    """The files that are not as desired, by their names below tftp_root."""
    for name, data in sorted(desired.files.items()):
        if actual.files.get(name) != data or name in actual.unreadable:
            yield name, _change(actual, name, data)


def _stale(actual: Actual, desired: Desired) -> FileChanges:
    """What an earlier deploy wrote and nobody wants now.

    What others wrote is never looked at.
    """
    gone = actual.ours.keys() & actual.files.keys()
    gone -= desired.files.keys()
    gone -= desired.loaders.keys()
    gone -= desired.left
    return tuple(_change(actual, name, after=None) for name in sorted(gone))


def _change(actual: Actual, name: str, after: bytes | None) -> FileChange:
    before = actual.files.get(name)
    found = _found(actual.ours.get(name), before)
    return FileChange(f"{actual.targets.tftp}/{name}", before, after, found)


def _found(ours: str | None, before: bytes | None) -> str:
    if before is None or ours == digest(before):
        return ""
    return "edited by hand" if ours else "not Plugnode's"


def changed_services(plan: Plan, actual: Actual, desired: Desired) -> list[Service]:
    """The daemons' files that a deploy installs.

    All of them after one that was killed: maybe it wrote one of which its daemon has not heard yet.
    """
    services = all_services(actual, desired)
    if journal.unfinished(actual.records):
        return services
    changed = {change.path for change in plan.services}
    return [service for service in services if not changed.isdisjoint(service.paths)]


def all_services(actual: Actual, desired: Desired) -> list[Service]:
    """The daemons' files as this server shall have them."""
    return [_merged(actual, service) for service in desired.services]


def _merged(actual: Actual, service: Service) -> Service:
    """A daemon's file as this server shall have it.

    What it exports is merged with what nodes may have mounted.
    """
    if not site_of(service.path):
        before = actual.services.get(service.path)
        return service._replace(data=continued(service.data, before))
    merged = _merged_exports(actual, service)
    return service._replace(data=merged.data, after=merged.after)


def _merged_exports(actual: Actual, service: Service) -> MergedExports:
    nfs = actual.targets.nfs
    return merge_exports(service.path, service.data, nfs, actual.exports)


def _services(actual: Actual, desired: Desired) -> Iterator[FileChange]:
    present = {**actual.exports.files, **actual.services}
    for service in desired.services:
        service = _merged(actual, service)
        reload = " ".join(service.reload) if actual.reloads else ""
        for path, data in service.files:
            before = present.get(path)
            if before != data:
                # What others wrote to a merged file is kept
                found = "" if site_of(service.path) else lost(path, before)
                yield FileChange(path, before, data, found, reload)
                reload = ""  # once for all of them


def _warnings(actual: Actual, desired: Desired) -> Iterator[str]:
    for service in desired.services:
        before = actual.services.get(service.path)
        if site_of(service.path):
            yield from _merged_exports(actual, service).warnings
        if before is None or before == service.data:
            continue
        if is_foreign(service.path, before):
            kept = os.path.basename(service.path) + KEPT
            yield f"{service.path} is not Plugnode's: it is replaced, and kept as {kept}"


def _moves(actual: Actual, desired: Desired) -> Iterator[ReleaseChange]:
    """The images whose nodes run another release from their next boot on."""
    for built in desired.releases:
        image, after = built.release.image, built.release.id
        before = current(actual.files, image)
        if before != after:
            yield ReleaseChange(image, before, after, _nodes_of(desired, image))


def _nodes_of(desired: Desired, image: str) -> tuple[str, ...]:
    """The nodes that run what an image boots: those that are not pinned."""
    names = []
    for name, node in desired.nodes.items():
        if node["image"] == image and "release" not in node:
            names.append(name)
    return tuple(names)


def _switches(actual: Actual, desired: Desired) -> tuple[NodesReassigned, ...]:
    """What the moves of images do not tell: known nodes whose own words changed."""
    found: dict[tuple[str | None, str], list[str]] = {}
    booted = desired.ids_by_image
    for name in _changed(actual.nodes, desired.nodes):
        old, new = actual.nodes[name], desired.nodes[name]
        if _is_assigned_alike(old, new):
            continue
        before = _release_of(old, {}, actual.files)
        after = _release_of(new, booted, actual.files)
        if after and after != before:
            found.setdefault((before, after), []).append(name)
    switches = []
    for (before, after), names in found.items():
        switches.append(NodesReassigned(before, after, tuple(names)))
    return tuple(switches)


def _release_of(
    node: NodeFacts,
    booted: Mapping[str, str],
    files: Mapping[str, bytes],
) -> str | None:
    """What a node runs: its pin, what its image boots from then on, or what it boots now."""
    image = node["image"]
    return node.get("release") or booted.get(image) or current(files, image)


def _is_assigned_alike(one: NodeFacts, other: NodeFacts) -> bool:
    if one["image"] != other["image"]:
        return False
    return one.get("release") == other.get("release")


def _site_files(before: bytes, after: bytes) -> FileChanges:
    """The texts inside site.img that change; of a server's first one nothing is told."""
    if not before or before == after:
        return ()
    return tuple(_changes(files_of(before), files_of(after)))


def _by_hand(actual: Actual, desired: Desired) -> FileChanges:
    """The generated files that no deploy installs, where it is known what they were."""
    if actual.by_hand is None:
        return ()
    return tuple(_changes(actual.by_hand, desired.by_hand))


def _changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[FileChange]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield FileChange(name, old, new)


def compare_nodes(
    before: Mapping[str, NodeFacts],
    after: Mapping[str, NodeFacts],
) -> NodeChanges:
    """The nodes that came and went, and what changed of the others."""
    added = sorted(after.keys() - before.keys())
    removed = sorted(before.keys() - after.keys())
    changed = [(name, _fields(before[name], after[name])) for name in _changed(before, after)]
    return NodeChanges(tuple(added), tuple(removed), tuple(changed))


def _changed(before: Mapping[str, NodeFacts], after: Mapping[str, NodeFacts]) -> list[str]:
    """The names of nodes that are other than before, in their order."""
    return sorted(name for name, facts in after.items() if before.get(name, facts) != facts)


def _fields(before: NodeFacts, after: NodeFacts) -> tuple[str, ...]:
    """The facts that differ."""
    fields = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            fields.append(key)
    return tuple(fields)
