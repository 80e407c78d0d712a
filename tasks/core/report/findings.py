"""What commands found of a build, as the report shows it: a plan, checks, a boot.

The JSON that a command left ──> a part of the view
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..base.nodeset import fold_nodes

MOST_LINES = 400  # of one file's difference
MOST_PATHS = 500  # of one kind
MOST_FOLDERS = 40

View = dict[str, Any]
KINDS = {"@": "hunk", "+": "add", "-": "gone"}  # a line of a unified diff, by how it begins
SIGNS = {"add": "+", "change": "~", "remove": "−"}
GROUPS = {  # of files, by key of the plan
    "site_files": "Site data, as site.img brings it to the nodes",
    "files": "Files on the server",
    "by_hand": "Generated files that no deploy installs",
}
_CHANGED = {"action": "change", "found": ""}
VERDICTS = {"failed": "failed", "warning": "warned", "skipped": "skipped", "ok": "passed"}


# --- plan


def plan_view(found: Mapping[str, Any]) -> View:
    """What `doit plan` left: {"compared": words, "servers": {name: a plan's JSON}}."""
    plans = found["servers"]
    return {
        "compared": found["compared"],
        "count": len(plans),
        "tiles": _folded(plans, _tiles),
        "servers": _folded(plans, _releases),
        "files": _folded(plans, _files),
    }


def _folded(
    plans: Mapping[str, Mapping[str, Any]], part: Callable[[Mapping[str, Any]], View]
) -> list[View]:
    """A part of each plan, with the `name` of the servers that have it so: `boot[1-3]`."""
    parts: list[View] = []
    names: list[list[str]] = []
    for name, plan in plans.items():
        view = part(plan)
        if view not in parts:
            parts.append(view)
            names.append([])
        names[parts.index(view)].append(name)
    return [{**view, "name": fold_nodes(same)} for view, same in zip(parts, names)]


def _tiles(plan: Mapping[str, Any]) -> View:
    return {"counts": list(_counts(plan))}


def _releases(plan: Mapping[str, Any]) -> View:
    """What nodes run, and who they are: the same on most servers."""
    return {
        "changed": plan["changed"],
        "moves": list(map(_with_nodes, plan["releases"])),
        "switches": list(map(_with_nodes, plan["switches"])),
        "boots": _boots(plan["boots"]),
        "roots": list(map(_root, plan["roots"])),
        "history": list(map(_history, plan.get("history", []))),
        "nodes": _changes(plan["nodes"]),
    }


def _files(plan: Mapping[str, Any]) -> View:
    """What is written, and what happens then."""
    return {
        "groups": _groups(plan),
        "loaders": plan["loaders"],
        "reloads": plan["reloads"],
        "warnings": plan.get("warnings", []),  # none in a plan that an earlier version left
        "prunable": plan["prunable"],
    }


def _counts(plan: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """What a plan comes to: numbers, each with its word for one and for several."""
    moved = [node for change in plan["releases"] + plan["switches"] for node in change["nodes"]]
    actions = Counter(change["action"] for change in plan["files"])
    packages = 0
    for told in plan.get("history", []):
        packages += sum(map(len, (told["packages"] or {}).values()))
    every = [
        (len(moved), "node boots another release", "nodes boot another release"),
        (len(plan["roots"]), "release to publish", "releases to publish"),
        (packages, "package differs", "packages differ"),
        (actions["add"], "file to add", "files to add"),
        (actions["change"], "file to change", "files to change"),
        (actions["remove"], "file to remove", "files to remove"),
    ]
    return (row for row in every if row[0])


def _history(told: Mapping[str, Any]) -> View:
    """What a release changes in an admin's terms."""
    rows = sorted(_packages(told["packages"])) if told["packages"] else []
    hidden = [text for text in told["texts"] if text["why"]]
    texts = []
    for text in told["texts"]:
        if text not in hidden:
            texts.append(_file({**text, "path": f"/{text['path']}", **_CHANGED}))
    return {
        "before": told["before"],
        "after": told["after"],
        "packages": {"rows": rows[:MOST_PATHS], "count": len(rows)},
        "unknown": told["unknown"],
        "texts": texts,
        "hidden": hidden,
    }


def _packages(packages: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each package that differs with its version before and after."""
    for name, (before, after) in packages["changed"].items():
        yield name, before, after
    for name, version in packages["added"].items():
        yield name, "", version
    for name, version in packages["removed"].items():
        yield name, version, ""


def _with_nodes(change: Mapping[str, Any]) -> View:
    """A change, its nodes counted and folded."""
    return {**change, **_nodes(change["nodes"])}


def _groups(plan: Mapping[str, Any]) -> list[View]:
    """The files that change, those of a kind below a title."""
    groups = []
    for key, title in GROUPS.items():
        if plan[key]:
            groups.append({"title": title, "files": list(map(_file, plan[key]))})
    return groups


def _nodes(names: Sequence[str]) -> View:
    return {"count": len(names), "folded": fold_nodes(names) if names else ""}


def _changes(nodes: Mapping[str, Any]) -> list[tuple[str, View]]:
    """Nodes by what became of them."""
    found: dict[str, list[str]] = {}
    for word in ("added", "removed"):
        if nodes[word]:
            found[word] = nodes[word]
    for name, fields in nodes["changed"].items():
        word = f"changed: {', '.join(fields)}"
        found.setdefault(word, []).append(name)
    return [(word, _nodes(names)) for word, names in found.items()]


def _boots(boots: Iterable[Mapping[str, Any]]) -> list[View]:
    """Of each release what boots differently, if anything does."""
    every = map(_parts, boots)
    return [parts for parts in every if parts["rows"] or parts["initrd"]]


def _parts(boot: Mapping[str, Any]) -> View:
    """Kernel and arguments that differ, and what differs in the initrd."""
    rows = []
    for key, word in (("kernel_version", "Kernel"), ("cmdline", "Arguments")):
        before, after = boot[key]["before"], boot[key]["after"]
        if before is not None and before != after:
            rows.append((word, before or "none", after or "none"))
    files = boot["initrd_files"]
    return {
        "release": boot["release"],
        "rows": rows,
        "initrd": _tree(files) if files else None,
    }


def _root(root: Mapping[str, Any]) -> View:
    before, after = root["rights"]["before"], root["rights"]["after"]
    view = {
        "release": root["release"],
        "compared_with": root["compared_with"],
        "setuid": (before["setuid"], after["setuid"]),
        "hidden": (before["hidden"], after["hidden"]),
    }
    if root["compared_with"]:
        view.update(_tree(root))
    return view


def _tree(tree: Mapping[str, Any]) -> View:
    folders = [_folder(name, counts) for name, counts in tree["folders"].items()]
    largest = sorted(folders, key=lambda folder: (-abs(folder["bytes"]), folder["name"]))
    paths = {}
    for word in ("added", "removed", "changed"):
        paths[word] = {"rows": tree[word][:MOST_PATHS], "count": len(tree[word])}
    return {
        "notable": tree["notable"][:MOST_PATHS],
        "folders": sorted(largest[:MOST_FOLDERS], key=lambda folder: folder["name"]),
        "more_folders": max(0, len(folders) - MOST_FOLDERS),
        "paths": paths,
        "bytes": sum(folder["bytes"] for folder in folders),
    }


def _folder(name: str, counts: Sequence[int]) -> View:
    """A folder with the names added, removed and changed in it, and the bytes that makes."""
    *names, size = counts[:4]
    counted = list(zip(("added", "removed", "changed"), names))
    return {"name": "/" + ("" if name == "." else name), "counts": counted, "bytes": size}


def _file(change: Mapping[str, Any]) -> View:
    action = change["action"]
    lines = change["diff"]
    kinds = [KINDS.get(line[:1], "") for line in lines]
    shown = list(zip(kinds, lines))[:MOST_LINES]
    return {
        "path": change["path"],
        "sign": SIGNS[action],
        "action": action,
        "found": change["found"],
        "lines": shown,
        "added": kinds.count("add"),
        "gone": kinds.count("gone"),
        "more": len(lines) - len(shown),
    }


# --- checks


def checks_view(rows: Iterable[Sequence[str]]) -> View:
    """What `doit check` left: rows of file, verdict, words."""
    found = [dict(zip(("file", "verdict", "words"), row)) for row in rows]
    count = Counter(row["verdict"] for row in found)
    counts = [(word, count[verdict]) for verdict, word in VERDICTS.items() if count[verdict]]
    return {"rows": found, "counts": counts}


# --- boot


def boot_view(found: Mapping[str, Any], releases: Iterable[str]) -> View:
    """What `doit boot` left in timings.json. `releases`: those that were built.

    Earlier versions did not count HTTP.
    """
    longest = max((stage["seconds"] for stage in found["stages"]), default=0) or 1
    stages = []
    for stage in found["stages"]:
        share = round(100 * stage["seconds"] / longest)
        stages.append({"http": 0, **stage, "share": share})
    now = found["release"] in set(releases)
    return {"http_bytes": 0, **found, "stages": stages, "now": now}
