"""Status: what a server holds and boots, and who did what there last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..base.nodeset import fold_nodes
from ..base.text import human
from ..deploy.prune import DAY, last_used, named_by_files
from ..dhcp.leases import leases_seen
from ..plan import other_sites
from ..plan.actual import notes
from ..release import Release
from ..store import journal
from ..store.boot_files import current, read_files, site_named
from ..store.boot_files import named as named_in
from ..store.kept import published, site_data
from ..store.nodes import NodeFacts, read_nodes
from ..store.ours import read_ours
from ..store.paths import Targets

LAST = 5  # records of the journal that are shown


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
        pinned = [name for name, node in self.nodes.items() if "release" in node]
        return {name: self.nodes[name]["release"] for name in pinned}


def server_status(targets: Targets, now: float) -> dict[str, Any]:
    """The state as plain values, for scripts; `now` in seconds since 1970."""
    held = _Held(
        targets,
        published(targets),
        read_files(targets),
        read_nodes(targets),
        journal.read_journal(targets.journal),
    )
    images = sorted({release.image for release in held.released.values()})
    folders = filter(os.path.isdir, (targets.tftp_root, targets.nfs_root))
    disks = {folder: _disk(folder) for folder in folders}
    return {
        "wrong": list(_wrong(held)),
        "current": {image: current(held.files, image) for image in images},
        "site": site_named(held.files),
        "releases": list(_releases(held, now)),
        "pins": held.pins,
        "disks": disks,
        "leases": _leases(targets, held.nodes),
        "journal": _ended(held.records)[-LAST:],
    }


def _releases(held: _Held, now: float) -> Iterator[dict[str, Any]]:
    """What is told of each release."""
    names = named_by_files(held.targets, held.released)
    for id, release in held.released.items():
        age = (now - last_used(held.targets, id, held.records, now)) / DAY
        yield {
            "id": id,
            "image": release.image,
            "kernel": release.kernel_version,
            "entries": release.entries,
            "bytes": release.bytes,
            "named_by": names.get(id),
            "days_since_use": round(age, 1),
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
    targets, records = held.targets, held.records
    if records and records[-1].get("result") != journal.DONE:
        yield f"the last {records[-1].get('action', 'work')} did not end: run it again"
    present = {*held.released, *site_data(targets)}
    for name, data in held.files.items():
        for id in sorted(named_in(data) - present):
            yield f"{targets.tftp}/{name} names {id}, which is not there"
    yield from other_sites.served(targets, held.nodes)
    yield from notes(targets, read_ours(targets), held.nodes)
    for id in sorted(set(held.pins.values()) - held.released.keys()):
        yield f"{id} is pinned, and not there"


def _disk(folder: str) -> dict[str, int]:
    """Bytes of its file system."""
    room = os.statvfs(folder)
    return {
        "used": (room.f_blocks - room.f_bfree) * room.f_frsize,
        "free": room.f_bavail * room.f_frsize,
    }


def _leases(targets: Targets, nodes: Mapping[str, NodeFacts]) -> dict[str, Any]:
    """Of the addresses that the server's DHCP has given: nodes by name, and strangers."""
    names = {node.get("mac", ""): name for name, node in nodes.items()}
    known, strangers = [], []
    for lease in leases_seen(targets.at):
        if lease.mac in names:
            known.append(names[lease.mac])
        else:
            strangers.append(list(lease))
    return {"nodes": sorted(known), "strangers": strangers}


def status_text(state: dict[str, Any]) -> str:
    """The state for people."""
    return "\n".join(_lines(state))


def _lines(state: dict[str, Any]) -> Iterator[str]:
    if not state["releases"] and not state["journal"]:
        yield "nothing is deployed"
        return
    for image, release in state["current"].items():
        yield f"{image} boots {release or 'nothing'}, with {state['site'] or 'no site data'}"
    yield "Releases"
    for release in state["releases"]:
        yield f"  {_release_text(release)}"
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
    size = f"{release['entries']} paths, {human(release['bytes'])}"
    use = f"not used for {release['days_since_use']:g} days"
    if release["named_by"]:
        use = f"named by {release['named_by']}"
    return f"{release['id']}  kernel {release['kernel']}, {size}, {use}"


def _groups(texts: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The names that have the same text, by it."""
    groups: dict[str, list[str]] = {}
    for name, text in texts:
        groups.setdefault(text, []).append(name)
    return groups


def unequal(states: Mapping[str, dict[str, Any]]) -> list[str]:
    """A line for each image of which servers boot different releases."""
    images: set[str] = set()
    for state in states.values():
        images.update(state["current"])
    found = []
    for image in sorted(images):
        pairs = [(server, _booted(state, image)) for server, state in states.items()]
        boots = _groups(pairs)
        if len(boots) > 1:
            parts = [f"{fold_nodes(servers)} {release}" for release, servers in boots.items()]
            found.append(f"servers boot different releases of {image}: {', '.join(parts)}")
    return found


def _booted(state: Mapping[str, Any], image: str) -> str:
    return state["current"].get(image) or "nothing"


def by_release(runs: Mapping[str, str]) -> list[str]:
    """The nodes that run each release."""
    groups = _groups(sorted(runs.items(), key=lambda pair: pair[1]))
    return [f"{fold_nodes(names)}: {release}" for release, names in groups.items()]


def behind(runs: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line for the nodes that run another release, or image, than from their next boot on."""
    changing = [name for name in runs if after.get(name, runs[name]) not in ("", runs[name])]
    groups = _groups((name, _change(runs[name], after[name])) for name in changing)
    return [f"{fold_nodes(names)}: {words}" for words, names in groups.items()]


def _change(release: str, after: str) -> str:
    is_same_image = after.rpartition("-")[0] == release.rpartition("-")[0]
    other = "" if is_same_image else "another image: "
    return f"runs {release}, at the next boot {other}{after}"


def without_seconds(states: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The states; for one that differs from an earlier one only in seconds that one.

    So they can be told once.
    """
    found: dict[str, dict[str, Any]] = {}
    for server, state in states.items():
        found[server] = next((other for other in found.values() if _alike(state, other)), state)
    return found


MINUTE, TENTH = 60, 0.11  # of a day, which is how exactly a release's age is told


def _alike(state: dict[str, Any], other: dict[str, Any]) -> bool:
    if status_text(_timeless(state)) != status_text(_timeless(other)):
        return False
    return _near(_times(state), _times(other), MINUTE) and _near(_ages(state), _ages(other), TENTH)


def _near(ones: Iterable[float], others: Iterable[float], limit: float) -> bool:
    return all(abs(one - other) < limit for one, other in zip(ones, others))


def _times(state: dict[str, Any]) -> Iterator[float]:
    """When each record of the journal was made; one that does not say counts as very old."""
    for record in state["journal"]:
        try:
            yield journal.seconds(record.get("time", ""))
        except (TypeError, ValueError):
            yield 0


def _ages(state: dict[str, Any]) -> list[float]:
    return [release["days_since_use"] for release in state["releases"]]


def _timeless(state: dict[str, Any]) -> dict[str, Any]:
    records = [{**record, "time": ""} for record in state["journal"]]
    releases = [{**release, "days_since_use": 0} for release in state["releases"]]
    return {**state, "journal": records, "releases": releases}


def _pins(pins: Mapping[str, str]) -> Iterator[str]:
    for release, names in sorted(_groups(pins.items()).items()):
        yield f"  {fold_nodes(names)} pinned to {release}"


def _seen(found: Mapping[str, Any]) -> Iterator[str]:
    if found["nodes"]:
        yield f"Leases of {fold_nodes(found['nodes'])}"
    for mac, ip in found["strangers"]:
        yield f"Lease of a stranger: {mac} has {ip}"


def _record(record: journal.Record) -> str:
    releases, removed = record.get("releases", {}), record.get("removed", [])
    what = ", ".join(releases.values()) or ", ".join(removed)
    dirty = " with local changes" if record.get("dirty") else ""
    revision = f" at {record['git'][:12]}{dirty}" if "git" in record else ""
    words = " ".join(record.get(key, "?") for key in ("time", "who", "action"))
    return f"{words} {what}{revision}: {record.get('result', '?')}"
