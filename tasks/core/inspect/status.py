"""Status: what a server holds and boots, and who did what there last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from ..base.nodeset import fold_alike, fold_nodes
from ..base.text import human
from ..deploy.prune import DAY, last_used, named_in_files
from ..dhcp.leases import leases_seen
from ..plan import other_sites
from ..plan.actual import notes
from ..plan.ukis import program_name
from ..release import Release, name_in
from ..store import journal
from ..store.boot_files import current, read_files, site_named
from ..store.boot_files import named as named_in
from ..store.kept import published, site_data
from ..store.nodes import NodeFacts, macs_of, read_nodes
from ..store.ours import read_ours
from ..store.paths import Targets
from .programs import SignedFile, signed_files, told

State = dict[str, Any]  # of a server, as plain values
LAST = 5  # records of the journal that are shown
SHOWN = ("time", "who", "action", "result")  # of each


class _Held(NamedTuple):
    """What the state of a server is told from."""

    targets: Targets
    released: Mapping[str, Release]
    files: Mapping[str, bytes]  # the boot files
    nodes: Mapping[str, NodeFacts]
    records: list[journal.Record]

    @property
    def pins(self) -> dict[str, str]:
        """Of each node that has one, the release that it is pinned to."""
        found = {}
        for name, node in self.nodes.items():
            if "release" in node:
                found[name] = node["release"]
        return found


def server_status(targets: Targets, now: float, certificate: str = "") -> State:
    """The state as plain values, for scripts; `now` in seconds since 1970.

    `certificate`: the fingerprint of that by which the site signs for Secure Boot; "": none.
    """
    held = _Held(
        targets,
        published(targets),
        read_files(targets),
        read_nodes(targets),
        journal.read_journal(targets.journal),
    )
    programs = list(signed_files(targets, held.files, certificate, now))
    return {
        "wrong": [*_wrong(held), *_unstartable(targets, programs)],
        "current": _booted(held),
        "site": site_named(held.files),
        "releases": list(_releases(held, now)),
        "secure_boot": [each._asdict() for each in programs],
        "pins": held.pins,
        "disks": _disks(targets),
        "leases": _leases(targets, held.nodes),
        "journal": _ended(held.records)[-LAST:],
    }


def _booted(held: _Held) -> dict[str, str | None]:
    """The release that each image boots."""
    images = {release.image for release in held.released.values()}
    return {image: current(held.files, image) for image in sorted(images)}


def _disks(targets: Targets) -> dict[str, dict[str, int]]:
    """Of each folder that is there, bytes of its file system."""
    folders = filter(os.path.isdir, (targets.tftp_root, targets.nfs_root))
    return {folder: _disk(folder) for folder in folders}


def _releases(held: _Held, now: float) -> Iterator[dict[str, Any]]:
    """What is told of each release."""
    names = named_in_files(held.targets, held.released)
    for id, release in held.released.items():
        used = last_used(held.targets, id, held.records, now)
        came = os.stat(held.targets.kept(f"{id}.json")).st_mtime
        yield {
            "id": id,
            "image": release.image,
            "kernel": release.kernel_version,
            "root": release.root_kind,
            "entries": release.entries,
            "bytes": release.bytes,
            "named_by": names.get(id),
            "days_since_arrival": round((now - came) / DAY, 1),
            "days_since_use": round((now - used) / DAY, 1),
        }


def _ended(records: list[journal.Record]) -> list[journal.Record]:
    """The records, without the one that each piece of work began with.

    That of work that was killed stays.
    """
    ended = []
    following = [*records[1:], {"result": journal.STARTED}]
    for record, after in zip(records, following):
        if not _is_begun(record) or _is_begun(after):
            ended.append(record)
    return ended


def _is_begun(record: journal.Record) -> bool:
    return record.get("result") == journal.STARTED


def _wrong(held: _Held) -> Iterator[str]:
    """What needs an admin, a line each."""
    targets = held.targets
    if begun := journal.begun(held.records):
        yield f"the last {begun.get('action', 'work')} did not end: run it again"
    present = {*held.released, *site_data(targets)}
    for name, data in held.files.items():
        for id in sorted(named_in(data) - present):
            yield f"{targets.tftp}/{name} names {id}, which is not there"
    yield from other_sites.served(targets, held.nodes)
    yield from notes(targets, read_ours(targets), held.nodes)
    pinned = set(held.pins.values())
    for id in sorted(pinned - held.released.keys()):
        yield f"{id} is pinned, and not there"


def _unstartable(targets: Targets, programs: Iterable[SignedFile]) -> Iterator[str]:
    for each in programs:
        for what in each.wrong:
            yield f"{targets.tftp}/{program_name(each.label)}: {what}"


def _disk(folder: str) -> dict[str, int]:
    """Bytes of its file system."""
    room = os.statvfs(folder)
    return {
        "used": (room.f_blocks - room.f_bfree) * room.f_frsize,
        "free": room.f_bavail * room.f_frsize,
    }


def _leases(targets: Targets, nodes: Mapping[str, NodeFacts]) -> dict[str, Any]:
    """Of the addresses that the server's DHCP has given: nodes by name, and strangers."""
    names = {mac: name for name, node in nodes.items() for mac in macs_of(node)}
    known, strangers = [], []
    for lease in leases_seen(targets.at):
        if lease.mac in names:
            known.append(names[lease.mac])
        else:
            strangers.append(list(lease))
    return {"nodes": sorted(known), "strangers": strangers}


def status_text(state: State) -> str:
    """The state for people."""
    return "\n".join(_lines(state))


def _lines(state: State) -> Iterator[str]:
    if not state["releases"] and not state["journal"]:
        yield "nothing is deployed"
        return
    for image, release in state["current"].items():
        yield f"{image} boots {release or 'nothing'}, with {state['site'] or 'no site data'}"
    yield "Releases"
    for release in state["releases"]:
        yield f"  {_release_text(release)}"
    if state["secure_boot"]:
        yield "Signed for Secure Boot"
    for file in state["secure_boot"]:
        yield f"  {told(file)}"
    for folder, disk in state["disks"].items():
        yield f"  {human(disk['used'])} used, {human(disk['free'])} free at {folder}"
    yield from _pins(state["pins"])
    yield from _seen(state["leases"])
    yield "Journal"
    for record in state["journal"]:
        yield f"  {_record(record)}"
    for line in state["wrong"]:
        yield f"! {line}"


def _release_text(release: Mapping[str, Any]) -> str:
    kind = "" if release["root"] == "nfs" else f", root: {release['root']}"
    size = f"{release['entries']} paths, {human(release['bytes'])}{kind}"
    use = f"not used for {release['days_since_use']:g} days"
    if release["named_by"]:
        use = f"named by {release['named_by']}"
    return f"{release['id']}  kernel {release['kernel']}, {size}, {use}"


def unequal(states: Mapping[str, State]) -> list[str]:
    """A line for each image of which servers boot different releases."""
    images: set[str] = set()
    for state in states.values():
        images.update(state["current"])
    found = []
    for image in sorted(images):
        booted = {}
        for server, state in states.items():
            booted[server] = state["current"].get(image) or "nothing"
        alike = fold_alike(booted)
        if len(alike) > 1:
            parts = [f"{servers} {release}" for servers, release in alike]
            found.append(f"servers boot different releases of {image}: {', '.join(parts)}")
    return found


def by_release(runs: Mapping[str, str]) -> list[str]:
    """The nodes that run each release."""
    alike = sorted(fold_alike(runs), key=itemgetter(1))
    return [f"{names}: {release}" for names, release in alike]


def behind(runs: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line for the nodes that run another release, or image, than from their next boot on."""
    changes = {}
    for name, release in runs.items():
        if after.get(name, "") not in ("", release):
            changes[name] = _change(release, after[name])
    return [f"{names}: {words}" for names, words in fold_alike(changes)]


def _change(release: str, after: str) -> str:
    other = "" if name_in(after) == name_in(release) else "another image: "
    return f"runs {release}, at the next boot {other}{after}"


def without_seconds(states: Mapping[str, State]) -> dict[str, State]:
    """The states; for one that differs from an earlier one only in seconds that one.

    So they can be told once.
    """
    found: dict[str, State] = {}
    for server, state in states.items():
        earlier = [other for other in found.values() if _alike(state, other)]
        found[server] = earlier[0] if earlier else state
    return found


MINUTE, TENTH = 60, 0.11  # of a day, which is how exactly a release's age is told


def _alike(state: State, other: State) -> bool:
    if status_text(_timeless(state)) != status_text(_timeless(other)):
        return False
    times = zip(_times(state), _times(other))
    ages = zip(_ages(state), _ages(other))
    return _near(times, MINUTE) and _near(ages, TENTH)


def _near(pairs: Iterable[tuple[float, float]], limit: float) -> bool:
    return all(abs(one - other) < limit for one, other in pairs)


def _times(state: State) -> Iterator[float]:
    """When each record of the journal was made; one that does not say counts as very old."""
    for record in state["journal"]:
        try:
            yield journal.seconds(record.get("time", ""))
        except (TypeError, ValueError):
            yield 0


def _ages(state: State) -> list[float]:
    return [release["days_since_use"] for release in state["releases"]]


def _timeless(state: State) -> State:
    records = [{**record, "time": ""} for record in state["journal"]]
    releases = [{**release, "days_since_use": 0} for release in state["releases"]]
    return {**state, "journal": records, "releases": releases}


def _pins(pins: Mapping[str, str]) -> Iterator[str]:
    for names, release in sorted(fold_alike(pins), key=itemgetter(1)):
        yield f"  {names} pinned to {release}"


def _seen(found: Mapping[str, Any]) -> Iterator[str]:
    if found["nodes"]:
        yield f"Leases of {fold_nodes(found['nodes'])}"
    for mac, ip in found["strangers"]:
        yield f"Lease of a stranger: {mac} has {ip}"


def _record(record: journal.Record) -> str:
    released = record.get("releases", {}).values()
    what = ", ".join(released or record.get("removed", [])) or record.get("nodes", "")
    dirty = " with local changes" if record.get("dirty") else ""
    revision = f" at {record['git'][:12]}{dirty}" if "git" in record else ""
    time, who, action, result = (record.get(key, "?") for key in SHOWN)
    return f"{time} {who} {action} {what}{revision}: {result}"
