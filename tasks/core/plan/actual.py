"""What a server holds: read from its folders, or as one holds it where all was deployed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping

from ..base.files import content, digest_file, digest_once
from ..services.exports import ExportsFound, exports_of, read_exports, site_of
from ..services.installed import read_installed
from ..services.merged_exports import exported_by_site
from ..store import journal, shadows
from ..store.boot_files import site_named
from ..store.kept import damaged, published
from ..store.nodes import NodeFacts, read_nodes
from ..store.ours import read_ours
from ..store.paths import Targets
from ..store.served import (
    contents_of,
    is_served,
    is_unchanged,
    mode_of,
    readable_content,
    root_file_of,
    served_size,
)
from ..store.tftp import closed_folders, folders_of
from ..trust.held import has_all, place, signed, with_held
from .state import Actual, BuiltRelease, Desired, digest


def read_actual(targets: Targets, desired: Desired) -> Actual:
    """Look at the server: small files, and the status of large ones."""
    exports = read_exports(targets)
    known = _known(targets, desired, exports)
    ours = read_ours(known)
    names = _generated(ours, desired)
    files = dict(contents_of(targets, names))
    return Actual(
        targets=targets,
        released=published(targets),
        booted=_booted(targets, desired),
        files=files,
        unreadable=_unreadable(targets, names),
        loaders=_loaders(targets, desired, ours),
        services=_services(targets, desired),
        ours=ours,
        nodes=read_nodes(known),
        records=tuple(journal.read_journal(targets.journal)),
        exports=exports,
        site_img=_site_img(targets, files),
        installed=read_installed(targets),
        reloads=not targets.destdir,
        closed=_closed(targets, desired),
        signed=_signed(targets, desired),
        harmed=_is_harmed(targets),
        notes=_notes(targets, ours, desired),
    )


def _generated(ours: Mapping[str, str], desired: Desired) -> list[str]:
    """The files below tftp_root that are generated, or were by an earlier deploy."""
    earlier = ours.keys() - desired.loaders.keys()
    return sorted(desired.files.keys() | earlier)


def _known(targets: Targets, desired: Desired, exports: ExportsFound) -> Targets:
    """Where it is written down what the last deploy did: in a former nfs_root, or in this one."""
    former = set[str]()
    for service in desired.services:
        if site_of(service.path):
            exported = exported_by_site(service.path, targets.nfs, exports)
            former |= {line.path for line in exported}
    roots = [targets]
    for path in sorted(former - {targets.nfs}):
        roots.append(targets._replace(nfs=path))
    deployed = [root for root in roots if os.path.isfile(root.kept("files"))]
    return max(deployed, key=_last_deploy, default=targets)


def _last_deploy(targets: Targets) -> tuple[str, int]:
    """When boot files were written by what is journalled there, as the journal has it: in seconds.

    Of two deploys of one second the later one is known by its list of files.
    """
    records = journal.read_journal(targets.journal)
    times = (str(record.get("time")) for record in records if "releases" in record)
    return max(times, default=""), os.stat(targets.kept("files")).st_mtime_ns


def _closed(targets: Targets, desired: Desired) -> tuple[str, ...]:
    """The folders below tftp_root that a deploy makes, and that not everybody may enter."""
    folders = folders_of([*desired.files, *desired.loaders])
    return tuple(closed_folders(targets, [*folders, *desired.boot_folders]))


def _unreadable(targets: Targets, names: Iterable[str]) -> frozenset[str]:
    found = set[str]()
    for name in names:
        mode = mode_of(targets.served(name))
        if mode not in (None, 0o644):
            found.add(name)
    return frozenset(found)


def _services(targets: Targets, desired: Desired) -> dict[str, bytes]:
    found = {}
    for service in desired.services:
        data = content(targets.at(service.path))
        if data is not None:
            found[service.path] = data
    return found


def _site_img(targets: Targets, files: Mapping[str, bytes]) -> bytes:
    """The site data that boot files name; nothing where there is none."""
    folder = targets.boot(site_named(files) or "")
    return readable_content(f"{folder}/site.img") or b""


def _signed(targets: Targets, desired: Desired) -> frozenset[str]:
    """What of it the server holds as it is desired, and signed."""
    if not desired.trust.keys:
        return frozenset()
    data = desired.signable
    same = [id for id in data if content(place(targets, id)) == data[id]]
    mine = desired.trust.signatures
    whole = [id for id in same if has_all(targets, id, mine.get(id, b""))]
    return frozenset(signed(targets, whole, desired.trust.keys))


def _is_harmed(targets: Targets) -> bool:
    harm = damaged(targets)
    return targets.kept("files") in harm or targets.kept("nodes.json") in harm


def _notes(targets: Targets, ours: Iterable[str], desired: Desired) -> tuple[str, ...]:
    names = {*ours, *desired.files, *desired.loaders}
    return tuple(notes(targets, names, desired.nodes))


def notes(targets: Targets, ours: Collection[str], nodes: Mapping[str, NodeFacts]) -> list[str]:
    """What on a server stands between nodes and what is deployed, a line each.

    Only an admin knows what it is for.
    """
    lines = [f"{path} {what}" for path, what in damaged(targets).items()]
    if closed_folders(targets, [""]):
        lines.append(f"{targets.tftp}: closed to its readers, TFTP servers")
    for path, what in shadows.shadowing(targets, ours, nodes):
        lines.append(f"{path}: {what}")
    return lines


def _booted(targets: Targets, desired: Desired) -> frozenset[str]:
    """Folders appear by a rename, whole; what was done to their files later is found here."""
    whole = {built.release.id for built in desired.releases if _is_bootable(targets, built)}
    if _is_site_data_whole(targets, desired):
        whole.add(desired.site_id)
    return frozenset(whole)


def _is_site_data_whole(targets: Targets, desired: Desired) -> bool:
    signature = site_signature(targets, desired)
    files = desired.site_files(published(targets).values(), signature)
    return all(_is_served(targets, f"{desired.site_id}/{name}", files[name]) for name in files)


def site_signature(targets: Targets, desired: Desired) -> bytes:
    """Who has signed site data, by what is there and by this deploy; nothing without `trust:`."""
    if not desired.trust.keys:
        return b""
    id = desired.site_id
    return with_held(targets, id, desired.trust.signatures.get(id, b""))


def _is_served(targets: Targets, name: str, data: bytes) -> bool:
    return is_served(targets, name, len(data), digest(data))


def _is_bootable(targets: Targets, built: BuiltRelease) -> bool:
    """Are kernel, initrd and root file of a release what they shall be?"""
    release = built.release
    for name, wanted in release.boot_files.items():
        if not is_served(targets, f"{release.id}/{name}", built.size(name), wanted):
            return False
    if not release.is_of_file:
        return True
    return root_file_of(targets, release).is_right(release.root_bytes, release.root_file)


def _loaders(targets: Targets, desired: Desired, ours: Mapping[str, str]) -> dict[str, bool]:
    found = {}
    for name, source in desired.loaders.items():
        if os.path.lexists(targets.served(name)):
            found[name] = _is_copy(targets, name, source, ours.get(name, ""))
    return found


def _is_copy(targets: Targets, name: str, source: str, written: str) -> bool:
    """Does a file below tftp_root hold what the file `source` (often a symlink) leads to?

    `written`: the sha256 of what an earlier deploy wrote there. It is read unless it is known not
    to have changed since.
    """
    path = targets.served(name)
    if os.stat(source).st_size != served_size(path):
        return False
    wanted = digest_once(source)
    if wanted == written and is_unchanged(targets, name):
        return True
    return digest_file(path) == wanted


def as_deployed(targets: Targets, desired: Desired, loaders: Mapping[str, str]) -> Actual:
    """A server that holds exactly this and nothing else.

    `loaders`: those that it shall hold, name -> file.
    """
    files = dict(desired.files)
    files.update(_other_loaders(desired, loaders))
    ours = {name: digest(data) for name, data in files.items()}
    services = {service.path: service.data for service in desired.services}
    releases = [built.release for built in desired.releases]
    return Actual(
        targets=targets,
        released={release.id: release for release in releases},
        booted=frozenset(desired.boot_folders),
        files=files,
        unreadable=frozenset(),
        loaders=dict(_same_loaders(desired, loaders)),
        services=services,
        ours=ours,
        nodes=desired.nodes,
        records=(),
        exports=_exports(desired),
        site_img=desired.site_img,
        by_hand=desired.by_hand,
    )


def _same_loaders(desired: Desired, loaders: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Those of these loaders that it holds -> has it the same bytes?"""
    for name, path in desired.loaders.items():
        if name in loaders:
            yield name, digest_once(path) == digest_once(loaders[name])


def _other_loaders(desired: Desired, loaders: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The loaders that it holds besides, with their bytes."""
    for name, path in desired.loaders.items():
        if name not in loaders:
            yield name, content(path) or b""


def _exports(desired: Desired) -> ExportsFound:
    files, folders = {}, set[str]()
    for service in desired.services:
        if site_of(service.path):
            files[service.path] = service.data
            folders |= {line.path for line in exports_of(service.data)}
    return ExportsFound(files, frozenset(folders))
