"""Status: what a server holds and boots, and who did what there last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..base import nodeset
from ..base.nodeset import fold_nodes
from ..base.text import human
from ..deploy.prune import last_used, named_by_files
from ..dhcp.leases import leases_seen
from ..plan import other_sites
from ..plan.state import notes
from ..release import Release
from ..store import journal
from ..store.boot_files import current, read_files, site_named
from ..store.boot_files import named as named_in
from ..store.kept import NodeFacts, published, read_nodes, site_data
from ..store.paths import Targets
from ..store.tftp import read_ours

LAST = 5  # records of the journal that are shown


def server_status(targets: Targets, now: float) -> dict[str, Any]:
    """The state as plain values, for scripts; `now` in seconds since 1970."""
    released, files = published(targets), read_files(targets)
    records = journal.read_journal(targets.kept("journal.jsonl"))
    names, nodes = named_by_files(targets, released), read_nodes(targets)
    return {
        "wrong": list(_wrong(targets, released, files, nodes, records)),
        "current": {
            image: current(files, image)
            for image in sorted({one.image for one in released.values()})
        },
        "site": site_named(files),
        "releases": [
            {
                "id": id,
                "image": release.image,
                "kernel": release.kernel_version,
                "entries": release.entries,
                "bytes": release.bytes,
                "named_by": names.get(id),
                "days_since_use": round((now - last_used(targets, id, records, now)) / 86400, 1),
            }
            for id, release in released.items()
        ],
        "pins": {name: node["release"] for name, node in nodes.items() if "release" in node},
        "disks": {
            folder: _disk(folder)
            for folder in (targets.tftp_root, targets.nfs_root)
            if os.path.isdir(folder)
        },
        "leases": _leases(targets, nodes),
        "journal": _ended(records)[-LAST:],
    }


def _ended(records: list[journal.Record]) -> list[journal.Record]:
    """Without the record that each piece of work began with, unless it was the last of one that was killed."""
    following = [*records[1:], {"result": journal.STARTED}]
    pairs = zip(records, following)
    return [
        one
        for one, then in pairs
        if one.get("result") != journal.STARTED or then.get("result") == journal.STARTED
    ]


def _wrong(
    targets: Targets,
    released: Mapping[str, Release],
    files: Mapping[str, bytes],
    nodes: Mapping[str, NodeFacts],
    records: list[journal.Record],
) -> Iterator[str]:
    """What needs an admin, a line each."""
    if records and records[-1].get("result") != journal.DONE:
        yield f"the last {records[-1].get('action', 'work')} did not end: run it again"
    there = {*released, *site_data(targets)}
    for name, data in files.items():
        yield from (
            f"{targets.tftp}/{name} names {id}, which is not there"
            for id in sorted(named_in(data) - there)
        )
    yield from other_sites.served(targets, nodes)
    yield from notes(targets, read_ours(targets), nodes)
    pins = {node["release"] for node in nodes.values() if "release" in node}
    yield from (f"{id} is pinned, and not there" for id in sorted(pins - released.keys()))


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
    found = leases_seen(targets.at)
    return {
        "nodes": sorted(names[lease.mac] for lease in found if lease.mac in names),
        "strangers": [list(lease) for lease in found if lease.mac not in names],
    }


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
        named = f"named by {release['named_by']}" if release["named_by"] else ""
        size = f"{release['entries']} paths, {human(release['bytes'])}"
        yield f"  {release['id']}  kernel {release['kernel']}, {size}, {named or _idle(release['days_since_use'])}"
    for folder, disk in state["disks"].items():
        yield f"  {human(disk['used'])} used, {human(disk['free'])} free at {folder}"
    yield from _pins(state["pins"])
    yield from _seen(state["leases"])
    yield "Journal"
    for record in state["journal"]:
        yield f"  {_record(record)}"
    for line in state["wrong"]:
        yield f"! {line}"


def unequal(states: Mapping[str, dict[str, Any]]) -> list[str]:
    """A line for each image of which servers boot different releases."""
    images = sorted({image for state in states.values() for image in state["current"]})
    found = []
    for image in images:
        boots: dict[str, list[str]] = {}
        for server, state in states.items():
            boots.setdefault(state["current"].get(image) or "nothing", []).append(server)
        if len(boots) > 1:
            parts = [
                f"{nodeset.fold_nodes(servers)} {release}" for release, servers in boots.items()
            ]
            found.append(f"servers boot different releases of {image}: {', '.join(parts)}")
    return found


def by_release(runs: Mapping[str, str]) -> list[str]:
    """The nodes that run each release."""
    groups: dict[str, list[str]] = {}
    for name, release in sorted(runs.items(), key=lambda pair: pair[1]):
        groups.setdefault(release, []).append(name)
    return [f"{nodeset.fold_nodes(names)}: {release}" for release, names in groups.items()]


def behind(runs: Mapping[str, str], then: Mapping[str, str]) -> list[str]:
    """A line for the nodes that run another image, or another release, than from their next boot on."""
    groups: dict[str, list[str]] = {}
    for name, release in runs.items():
        if (after := then.get(name)) and after != release:
            same = after.rpartition("-")[0] == release.rpartition("-")[0]
            words = f"runs {release}, at the next boot {'' if same else 'another image: '}{after}"
            groups.setdefault(words, []).append(name)
    return [f"{nodeset.fold_nodes(names)}: {words}" for words, names in groups.items()]


def without_seconds(states: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The states; for one that differs from an earlier one only in seconds that one, so that they can be told once."""
    found: dict[str, dict[str, Any]] = {}
    for server, state in states.items():
        found[server] = next((other for other in found.values() if _alike(state, other)), state)
    return found


MINUTE, TENTH = 60, 0.11  # of a day, which is how exactly a release's age is told


def _alike(state: dict[str, Any], other: dict[str, Any]) -> bool:
    if status_text(_timeless(state)) != status_text(_timeless(other)):
        return False
    times, ages = zip(_times(state), _times(other)), zip(_ages(state), _ages(other))
    return all(abs(a - b) < MINUTE for a, b in times) and all(abs(a - b) < TENTH for a, b in ages)


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
    groups = {
        release: [name for name in pins if pins[name] == release]
        for release in sorted(set(pins.values()))
    }
    yield from (f"  {fold_nodes(names)} pinned to {release}" for release, names in groups.items())


def _seen(found: Mapping[str, Any]) -> Iterator[str]:
    if found["nodes"]:
        yield f"Leases of {fold_nodes(found['nodes'])}"
    for mac, ip in found["strangers"]:
        yield f"Lease of a stranger: {mac} has {ip}"


def _idle(days: float) -> str:
    return f"not used for {days:g} days"


def _record(record: journal.Record) -> str:
    what = ", ".join(record.get("releases", {}).values()) or ", ".join(record.get("removed", []))
    dirty = " with local changes" if record.get("dirty") else ""
    revision = f" at {record['git'][:12]}{dirty}" if "git" in record else ""
    words = (record.get(key, "?") for key in ("time", "who", "action"))
    return f"{' '.join(words)} {what}{revision}: {record.get('result', '?')}"
