"""What commands found of a build, as the report shows it: a plan, checks, a boot. Their JSON -> view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..base.nodeset import fold_nodes

MOST_LINES = 400  # of one file's difference
MOST_PATHS = 500  # of one kind
MOST_FOLDERS = 40

View = dict[str, Any]
KINDS = {"@": "hunk", "+": "add", "-": "gone"}  # a line of a unified diff, by how it begins
SIGNS = {"add": "+", "change": "~", "remove": "−"}


# --- plan


def plan_view(found: Mapping[str, Any]) -> View:
    """What `doit plan` left: {"compared": words, "servers": {name: plan as summary.as_json gives it}}."""
    return {
        "compared": found["compared"],
        "servers": [_server(name, plan) for name, plan in found["servers"].items()],
    }


def _server(name: str, plan: Mapping[str, Any]) -> View:
    return {
        "name": name,
        "changed": plan["changed"],
        "moves": [{**move, **_nodes(move["nodes"])} for move in plan["releases"]],
        "switches": [{**switch, **_nodes(switch["nodes"])} for switch in plan["switches"]],
        "boots": [parts for parts in map(_parts, plan["boots"]) if parts["rows"] or parts["initrd"]],
        "roots": [_root(root) for root in plan["roots"]],
        "nodes": _changes(plan["nodes"]),
        "groups": [
            {"title": title, "files": list(map(_file, plan[key]))}
            for key, title in (
                ("site_files", "Site data, as site.img brings it to the nodes"),
                ("files", "Files on the server"),
                ("by_hand", "Generated files that no deploy installs"),
            )
            if plan[key]
        ],
        "loaders": plan["loaders"],
        "reloads": plan["reloads"],
        "warnings": plan.get("warnings", []),  # none in a plan that an earlier version left
        "prunable": plan["prunable"],
    }  # fmt: skip


def _nodes(names: Sequence[str]) -> View:
    return {"count": len(names), "folded": fold_nodes(names) if names else ""}


def _changes(nodes: Mapping[str, Any]) -> list[tuple[str, View]]:
    """Nodes by what became of them."""
    found: dict[str, list[str]] = {
        word: nodes[word] for word in ("added", "removed") if nodes[word]
    }
    for name, fields in nodes["changed"].items():
        found.setdefault(f"changed: {', '.join(fields)}", []).append(name)
    return [(word, _nodes(names)) for word, names in found.items()]


def _parts(boot: Mapping[str, Any]) -> View:
    """Kernel and arguments that differ, and what differs in the initrd."""
    rows = []
    for key, word in (("kernel_version", "Kernel"), ("cmdline", "Arguments")):
        before, after = boot[key]["before"], boot[key]["after"]
        if before is not None and before != after:
            rows.append((word, before or "none", after or "none"))
    return {
        "release": boot["release"],
        "rows": rows,
        "initrd": _tree(boot["initrd_files"]) if boot["initrd_files"] else None,
    }


def _root(root: Mapping[str, Any]) -> View:
    rights = root["rights"]
    return {
        "release": root["release"],
        "compared_with": root["compared_with"],
        "setuid": (rights["before"]["setuid"], rights["after"]["setuid"]),
        "hidden": (rights["before"]["hidden"], rights["after"]["hidden"]),
        **(_tree(root) if root["compared_with"] else {}),
    }


def _tree(tree: Mapping[str, Any]) -> View:
    folders = [
        {"name": "/" + ("" if name == "." else name), "counts": counts[:3], "bytes": counts[3]}
        for name, counts in tree["folders"].items()
    ]
    largest = sorted(folders, key=lambda folder: (-abs(folder["bytes"]), folder["name"]))
    paths = {
        word: {"rows": tree[word][:MOST_PATHS], "count": len(tree[word])}
        for word in ("added", "removed", "changed")
    }
    return {
        "notable": tree["notable"][:MOST_PATHS],
        "folders": sorted(largest[:MOST_FOLDERS], key=lambda folder: folder["name"]),
        "more_folders": max(0, len(folders) - MOST_FOLDERS),
        "paths": paths,
        "bytes": sum(folder["bytes"] for folder in folders),
    }


def _file(change: Mapping[str, Any]) -> View:
    lines = change["diff"]
    return {
        "path": change["path"], "sign": SIGNS[change["action"]], "action": change["action"], "found": change["found"],
        "lines": [(KINDS.get(line[:1], ""), line) for line in lines[:MOST_LINES]],
        "added": sum(line.startswith("+") for line in lines), "gone": sum(line.startswith("-") for line in lines),
        "more": max(0, len(lines) - MOST_LINES),
    }  # fmt: skip


# --- checks


def checks_view(rows: Iterable[Sequence[str]]) -> View:
    """What `doit check` left: rows of file, verdict, words."""
    found = [{"file": file, "verdict": verdict, "words": words} for file, verdict, words in rows]
    counts = {verdict: sum(row["verdict"] == verdict for row in found) for verdict in VERDICTS}
    return {
        "rows": found,
        "counts": [(VERDICTS[verdict], count) for verdict, count in counts.items() if count],
    }


VERDICTS = {"failed": "failed", "warning": "warned", "skipped": "skipped", "ok": "passed"}


# --- boot


def boot_view(found: Mapping[str, Any], releases: Iterable[str]) -> View:
    """What `doit boot` left in timings.json. `releases`: those that were built."""
    longest = max((stage["seconds"] for stage in found["stages"]), default=0) or 1
    stages = [
        {**stage, "share": round(100 * stage["seconds"] / longest)} for stage in found["stages"]
    ]
    return {**found, "stages": stages, "now": found["release"] in set(releases)}
