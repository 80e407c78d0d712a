"""Overview: the cluster at one look, as values for a page: what servers and nodes said ──> view.

What needs somebody comes first; nodes that say the same are folded. The view is plain JSON: it is
kept for the report, which shows the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..base.nodeset import fold_alike, fold_nodes
from ..base.text import counted, human, span
from ..config.boot_files import server_of
from ..inspect.boots import Booted, alike
from ..inspect.status import State, unequal
from ..services.boot_reports import BootReport
from ..site.model import Node, Site
from .metrics import Seen

View = dict[str, Any]
Need = tuple[str, str, str]  # how bad: BAD, WARNING or QUIET; who; what

BAD, WARNING, QUIET = "bad", "warn", "quiet"
# What a node is, the worst first -> how bad, and the words of the legend
STATES = {
    "stopped": (BAD, "stopped at its last boot"),
    "degraded": (BAD, "came up without something"),
    "behind": (WARNING, "would boot another release"),
    "silent": (QUIET, "did not answer"),
    "well": ("ok", "runs what it would boot"),
}
DENSE = 256  # nodes; more are drawn as squares without names
MOST_ROWS = 40
FULL = 0.9  # of a file system


_BOOT = {
    **dict.fromkeys(("nodes", "release", "level", "says", "seconds", "slowest"), str),
    **{"when": str, "ready": bool, "count": int, "longest": int | float},
    "stages": [{"name": str, "seconds": str, "share": int | float}],
}
SHAPE = {  # of the view, as JSON
    **{"site": str, "at": str, "dense": bool},
    "tiles": [(str, str, str)],
    "needs": [(str, str, str)],
    "legend": [(str, str, int)],
    "groups": [
        {
            **{"image": str, "groups": str, "count": int},
            "releases": [(str, int)],
            "cells": [(str, str, str)],
        }
    ],
    "releases": [
        {
            **dict.fromkeys(("id", "image", "kernel", "servers", "booted", "pinned"), str),
            **dict.fromkeys(("bytes", "runs", "share"), int),
            **{"age": int | float, "unused": int | float, "everywhere": bool},
        }
    ],
    "servers": [
        {
            **dict.fromkeys(("name", "ip", "level", "says", "last"), str),
            "nodes": int,
            "disks": [{"folder": str, "percent": int, "free": str, "full": bool}],
        }
    ],
    "boots": [{"rows": [_BOOT], "more": int, "unknown": str}],  # one, or none where none are kept
}


class ClusterFacts(NamedTuple):
    """What was seen of a cluster, and when."""

    site: Site
    at: str  # "2026-11-29 14:02 UTC"
    nodes: Sequence[Node]  # those that were asked
    seen: Seen
    marked: Iterable[str]  # `secrets: wn[001-002]: not enrolled`
    unheard: Iterable[str]  # `wn[003-007]: No route to host`
    booted: Booted | None  # None: no server keeps reports


def overview(facts: ClusterFacts) -> View:
    """All that the page shows."""
    state_of = {node.name: _state(facts, node.name) for node in facts.nodes}
    return {
        "site": facts.site.name,
        "at": facts.at,
        "tiles": list(_tiles(facts, state_of)),
        "needs": list(map(list, _needs(facts, state_of))),
        "legend": _legend(state_of),
        "dense": len(facts.nodes) > DENSE,
        "groups": list(_groups(facts, state_of)),
        "releases": list(_releases(facts)),
        "servers": list(_servers(facts)),
        "boots": list(_boots(facts)),
    }


# --- nodes


def _state(facts: ClusterFacts, name: str) -> str:
    """A word of STATES."""
    runs, boot = facts.seen.runs.get(name), (facts.booted or {}).get(name)
    if runs is None:
        return _last_known(boot)
    if runs.degraded:
        return "degraded"
    return "well" if facts.seen.following.get(name, runs.release) == runs.release else "behind"


def _last_known(boot: BootReport | None) -> str:
    """What a node is that does not answer, by its last boot."""
    if boot and not boot.ready:
        return "stopped"
    return "degraded" if boot and boot.degraded else "silent"


def _tiles(facts: ClusterFacts, state_of: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Numbers, each with what it counts and how good that is."""
    count = Counter(state_of.values())
    well = "ok" if count["well"] == len(state_of) else ""
    yield str(len(state_of)), "node" if len(state_of) == 1 else "nodes", ""
    yield str(count["well"]), "as they shall be", well
    for word, (level, meaning) in STATES.items():
        if count[word] and word != "well":
            yield str(count[word]), meaning, level
    answered, every = len(facts.seen.states), len(facts.seen.states) + len(facts.seen.failed)
    yield f"{answered} of {every}", "servers answer", BAD if answered < every else "ok"


def _legend(state_of: Mapping[str, str]) -> list[tuple[str, str, int]]:
    count = Counter(state_of.values())
    return [(word, STATES[word][1], count[word]) for word in STATES if count[word]]


def _groups(facts: ClusterFacts, state_of: Mapping[str, str]) -> Iterator[View]:
    """Nodes of the same image and groups, each one a cell."""
    members: dict[tuple[str, tuple[str, ...]], list[Node]] = {}
    for node in facts.nodes:
        members.setdefault((node.image, node.groups), []).append(node)
    for (image, groups), nodes in sorted(members.items()):
        runs = Counter(filter(None, (_release(facts, node.name) for node in nodes)))
        yield {
            "image": image,
            "groups": " ".join(f"@{group}" for group in groups),
            "count": len(nodes),
            "releases": runs.most_common(),
            "cells": list(_cells(facts, nodes, state_of)),
        }


def _cells(
    facts: ClusterFacts, nodes: Iterable[Node], state_of: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    for node in nodes:
        yield node.name, state_of[node.name], _title(facts, node.name)


def _release(facts: ClusterFacts, name: str) -> str:
    """What a node says that it runs; "" where it does not."""
    runs = facts.seen.runs.get(name)
    return runs.release if runs else ""


def _title(facts: ClusterFacts, name: str) -> str:
    boot = (facts.booted or {}).get(name)
    words = [_release(facts, name) or STATES["silent"][1]]
    if boot:
        how = "booted" if boot.ready else "stopped"
        words.append(f"{how} {_day(boot.at)} in {span([boot.seconds])} s")
    return f"{name}: {', '.join(words)}"


def _day(at: str) -> str:
    """`2026-11-29 14:02` of `2026-11-29T14:02:10Z`."""
    return at[:16].replace("T", " ")


# --- what needs somebody


def _needs(facts: ClusterFacts, state_of: Mapping[str, str]) -> Iterator[Need]:
    """A line each, the worst first."""
    levels = (BAD, WARNING, QUIET)
    every = [*_server_needs(facts), *_node_needs(facts, state_of)]
    yield from sorted(every, key=lambda need: levels.index(need[0]))


def _server_needs(facts: ClusterFacts) -> Iterator[Need]:
    seen = facts.seen
    for names, failure in fold_alike(seen.failed):
        yield BAD, names, failure
    for names, line in _folded_lists({name: state["wrong"] for name, state in seen.states.items()}):
        yield BAD, names, line
    for line in unequal(seen.states):
        yield BAD, "servers", line.removeprefix("servers ")
    drifted = {name: _drift(facts, name) for name in seen.states}
    for names, words in fold_alike(drifted):
        if words:
            yield WARNING, names, words
    full = {name: _full(state) for name, state in seen.states.items()}
    for names, line in _folded_lists(full):
        yield WARNING, names, line


def _drift(facts: ClusterFacts, name: str) -> str:
    """What differs on a server from what was deployed, and what to do; "" for nothing."""
    state = facts.seen.states[name]
    count = facts.seen.drift.get(name, 0)
    if not count:
        return ""
    if not state["releases"]:
        return "nothing is deployed: doit deploy"
    return f"{counted(count, 'difference')} from what was deployed: doit verify"


def _full(state: State) -> list[str]:
    """A line for each folder of a server that has little room."""
    lines = []
    for folder, disk in state["disks"].items():
        if _share(disk) > FULL:
            lines.append(f"{folder} has only {human(disk['free'])} left")
    return lines


def _node_needs(facts: ClusterFacts, state_of: Mapping[str, str]) -> Iterator[Need]:
    words = {}
    for name, state in state_of.items():
        if state in ("degraded", "stopped"):
            words[name] = _reasons(facts, name, state)
    for names, reasons in fold_alike(words):
        yield BAD, names, reasons
    behind = {}
    for name, state in state_of.items():
        if state == "behind":
            after = facts.seen.following[name]
            behind[name] = f"runs {_release(facts, name)}, at the next boot {after}"
    for names, change in fold_alike(behind):
        yield WARNING, names, change
    for level, lines in ((WARNING, facts.marked), (QUIET, facts.unheard)):
        for line in lines:
            who, _, what = line.partition(": ")
            yield level, who, what


def _reasons(facts: ClusterFacts, name: str, state: str) -> str:
    boot = (facts.booted or {}).get(name)
    reasons = "; ".join(boot.degraded) if boot else ""
    return f"{state}: {reasons or 'see /run/plugnode/degraded there'}"


def _folded_lists(texts: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """As fold_alike, of names that have several texts each."""
    groups: dict[str, list[str]] = {}
    for name, lines in texts.items():
        for line in lines:
            groups.setdefault(line, []).append(name)
    return [(fold_nodes(names), line) for line, names in groups.items()]


# --- releases


def _releases(facts: ClusterFacts) -> Iterator[View]:
    """Each release that a server has, by image, the newest first."""
    held: dict[str, dict[str, View]] = {}  # by its id, then by server
    for server, state in facts.seen.states.items():
        for release in state["releases"]:
            held.setdefault(release["id"], {})[server] = release
    runs = Counter(one.release for one in facts.seen.runs.values())
    every = [_release_view(facts, on, runs) for on in held.values()]
    yield from sorted(every, key=lambda view: (view["image"], view["age"]))[:MOST_ROWS]


def _release_view(facts: ClusterFacts, on: Mapping[str, View], runs: Counter[str]) -> View:
    """A release. `on`: as each server that has it tells of it."""
    first, states = next(iter(on.values())), facts.seen.states
    ages = [release["days_since_arrival"] for release in on.values()]
    uses = [release["days_since_use"] for release in on.values()]
    return {
        **{key: first[key] for key in ("id", "image", "kernel", "bytes")},
        "age": max(ages),
        "unused": min(uses),
        "servers": fold_nodes(on),
        "everywhere": len(on) == len(states),
        **_use(facts, first["id"], first["image"]),
        "runs": runs[first["id"]],
        "share": round(100 * runs[first["id"]] / max(1, len(facts.nodes))),
    }


def _use(facts: ClusterFacts, id: str, image: str) -> dict[str, str]:
    """The servers that boot a release, and the nodes that are pinned to it."""
    booted, pinned = set[str](), set[str]()
    for name, state in facts.seen.states.items():
        if state["current"].get(image) == id:
            booted.add(name)
        pinned |= {node for node, pin in state["pins"].items() if pin == id}
    return {"booted": _folded_or_none(booted), "pinned": _folded_or_none(pinned)}


def _folded_or_none(names: Iterable[str]) -> str:
    """Names as a set of nodes; "" for none."""
    held = sorted(names)
    return fold_nodes(held) if held else ""


# --- servers


def _share(disk: Mapping[str, int]) -> float:
    """How much of a file system is taken, 0 to 1."""
    return disk["used"] / max(1, disk["used"] + disk["free"])


def _servers(facts: ClusterFacts) -> Iterator[View]:
    nodes = Counter(server_of(facts.site, node).name for node in facts.site.nodes)
    for server in facts.site.servers:
        state = facts.seen.states.get(server.name)
        yield {
            "name": server.name,
            "ip": server.ip,
            "nodes": nodes[server.name],
            **(_held(state) if state else NOTHING_HELD),
            **_said(facts, server.name, state),
        }


def _said(facts: ClusterFacts, name: str, state: State | None) -> dict[str, str]:
    """How a server is."""
    if state is None:
        failure = facts.seen.failed.get(name)
        return {"level": BAD if failure else QUIET, "says": failure or "was not asked"}
    if count := len(state["wrong"]):
        return {"level": BAD, "says": f"{counted(count, 'thing')} wrong"}
    words, _, _ = _drift(facts, name).partition(": ")
    if words:
        return {"level": WARNING, "says": words}
    return {"level": "ok", "says": ""}


NOTHING_HELD: View = {"disks": [], "last": ""}  # is known of a server that did not answer


def _held(state: State) -> View:
    disks = []
    for folder, disk in state["disks"].items():
        percent = round(100 * _share(disk))
        view = {"folder": folder, "percent": percent, "free": human(disk["free"])}
        disks.append({**view, "full": _share(disk) > FULL})
    record = state["journal"][-1] if state["journal"] else {}
    last = _day(record.get("time", "")), record.get("action"), record.get("result")
    return {"disks": disks, "last": " ".join(filter(None, last))}


# --- boots


def _boots(facts: ClusterFacts) -> Iterator[View]:
    """The last boot of each node, those that went alike together; the longest first."""
    if facts.booted is None:
        return
    names = [node.name for node in facts.nodes]
    groups = alike(facts.booted, names)
    longest = max((each.seconds for each in facts.booted.values()), default=0) or 1
    rows = [_boot_row(members, facts.booted, longest) for members in groups]
    unknown = [name for name in names if name not in facts.booted]
    yield {
        "rows": sorted(rows, key=lambda row: -row["longest"])[:MOST_ROWS],
        "more": max(0, len(rows) - MOST_ROWS),
        "unknown": _folded_or_none(unknown),
    }


def _boot_row(names: Sequence[str], booted: Booted, longest: float) -> View:
    """Boots that went alike. `longest`: seconds, of all boots."""
    reports = [booted[name] for name in names]
    first, times = reports[0], sorted(each.at for each in reports)
    seconds = [each.seconds for each in reports]
    return {
        "nodes": fold_nodes(names),
        "count": len(names),
        "release": first.release,
        "level": "ok" if first.ready and not first.degraded else BAD,
        "says": "; ".join(first.degraded),
        "ready": first.ready,
        "seconds": span(seconds),
        "longest": max(seconds),
        "slowest": first.slowest,
        "stages": list(_stages(reports, longest)),
        "when": _when(times[0], times[-1]),
    }


def _stages(reports: Sequence[BootReport], longest: float) -> Iterator[View]:
    """What each stage took on average."""
    mean: dict[str, float] = {}
    for report in reports:
        for name, seconds in report.stages.items():
            mean[name] = mean.get(name, 0) + seconds / len(reports)
    for name, seconds in mean.items():
        yield {"name": name, "seconds": span([seconds]), "share": 100 * seconds / longest}


def _when(first: str, last: str) -> str:
    """`2026-11-29 14:02 to 14:05`."""
    begin, end = _day(first), _day(last)
    if begin == end:
        return begin
    return f"{begin} to {end.removeprefix(begin[:11])}"
