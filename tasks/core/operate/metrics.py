"""Metrics: what servers and nodes say, for Prometheus by node_exporter's textfile collector.

The form is Prometheus' text format 0.0.4: a gauge's `# HELP` and `# TYPE`, then its samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..deploy.prune import DAY
from ..inspect.status import State
from ..nodes.ask import Runs
from ..store import journal

Labels = Mapping[str, str]
Sample = tuple[Labels, float]

HELP = {
    "server_up": "Whether a boot server answered.",
    "server_wrong": "Things that a boot server has wrong, as doit status names them.",
    "server_drift": "Differences from what was deployed, as doit verify names them.",
    "release_booted": "The release that nodes of an image boot from a server: 1.",
    "release_bytes": "Size of a release's root.",
    "release_age_seconds": "Time since a release came to a server.",
    "release_unused_seconds": "Time since boot files last named a release; 0 while they do.",
    "disk_free_bytes": "Room that is left on the file system of a folder.",
    "disk_used_bytes": "Room that is taken on the file system of a folder.",
    "journal_timestamp_seconds": "When work of a kind last ended, of the last in the journal.",
    "nodes": "Nodes that say that they run a release.",
    "nodes_degraded": "Nodes of a release that came up without something.",
    "nodes_outdated": "Nodes that would boot another release than they run.",
    "nodes_unheard": "Nodes that did not say what they run.",
}


class Seen(NamedTuple):
    """What servers and nodes said, by their names."""

    states: Mapping[str, State]
    failed: Mapping[str, str]  # servers that did not answer, and why
    drift: Mapping[str, int]  # differences from what was deployed
    runs: Mapping[str, Runs]
    following: Mapping[str, str]  # the release that each node would boot
    asked: int  # nodes


def metrics_text(seen: Seen) -> str:
    """All of it, as a textfile."""
    found: dict[str, list[Sample]] = {name: [] for name in HELP}
    for server, state in seen.states.items():
        for name, labels, value in _of_server(state):
            found[name].append(({"server": server, **labels}, value))
        found["server_up"].append(({"server": server}, 1))
    for server in seen.failed:
        found["server_up"].append(({"server": server}, 0))
    for server, count in seen.drift.items():
        found["server_drift"].append(({"server": server}, count))
    for name, labels, value in _of_nodes(seen):
        found[name].append((labels, value))
    return "".join(_lines(found))


Named = Iterator[tuple[str, Labels, float]]


def _of_server(state: State) -> Named:
    yield "server_wrong", {}, len(state["wrong"])
    for image, release in state["current"].items():
        if release:
            yield "release_booted", {"image": image, "release": release}, 1
    for release in state["releases"]:
        labels = {"image": release["image"], "release": release["id"]}
        yield "release_bytes", labels, release["bytes"]
        yield "release_age_seconds", labels, release["days_since_arrival"] * DAY
        yield "release_unused_seconds", labels, release["days_since_use"] * DAY
    yield from _of_work(state)


def _of_work(state: State) -> Named:
    for folder, disk in state["disks"].items():
        yield "disk_free_bytes", {"folder": folder}, disk["free"]
        yield "disk_used_bytes", {"folder": folder}, disk["used"]
    ended = {}
    for record in state["journal"]:
        if record.get("result") == journal.DONE:
            ended[record.get("action", "")] = journal.seconds(record["time"])
    for action, time in ended.items():
        yield "journal_timestamp_seconds", {"action": action}, time


def _of_nodes(seen: Seen) -> Named:
    counts: Counter[str] = Counter()
    degraded: Counter[str] = Counter()
    outdated = 0
    for name, one in seen.runs.items():
        counts[one.release] += 1
        degraded[one.release] += one.degraded
        outdated += seen.following.get(name, one.release) != one.release
    for release in sorted(counts):
        yield "nodes", {"release": release}, counts[release]
        yield "nodes_degraded", {"release": release}, degraded[release]
    yield "nodes_outdated", {}, outdated
    yield "nodes_unheard", {}, seen.asked - len(seen.runs)


def _lines(found: Mapping[str, list[Sample]]) -> Iterator[str]:
    for name, samples in found.items():
        if not samples:
            continue
        yield f"# HELP plugnode_{name} {HELP[name]}\n# TYPE plugnode_{name} gauge\n"
        for labels, value in samples:
            words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            braced = f"{{{words}}}" if words else ""
            yield f"plugnode_{name}{braced} {value:.15g}\n"


def _escaped(text: str) -> str:
    """A label's value; what is no UTF-8, as in a folder's name, is replaced."""
    plain = text.encode(errors="replace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
