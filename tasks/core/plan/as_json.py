"""A plan as JSON for scripts: nothing folded or cut."""

from __future__ import annotations

from typing import Any

from ..base.text import shown_path
from ..release import Release
from .compare import TreeChange
from .model import FileChange, NodeChanges, NodesReassigned, Plan, ReleaseChange
from .nearest import initrd_change, nearest, rights_change, root_change
from .state import Actual, BuiltRelease

Json = dict[str, Any]

ACTIONS = {"+": "add", "~": "change", "-": "remove"}


def plan_json(plan: Plan, actual: Actual) -> Json:
    """The whole plan."""
    return {
        "changed": plan.changed,
        "releases": list(map(_move, plan.moves)),
        "switches": list(map(_switch, plan.switches)),
        **_releases(plan, actual),
        "site_data": plan.site_img,
        "nodes": _nodes(plan.nodes),
        "site_files": list(map(_file, plan.site_files)),
        "signed": list(plan.signed),
        **_loaders(plan),
        "files": list(map(_file, plan.changes)),
        "by_hand": list(map(_file, plan.by_hand)),
        "reloads": _reloads(plan),
        "warnings": list(plan.warnings),
        "by_id": list(plan.by_id),
        "held": list(plan.held),
        "opened": list(plan.opened),
        "notes": list(actual.notes),
        "prunable": _prunable(actual),
    }


def _releases(plan: Plan, actual: Actual) -> Json:
    roots = [_root(actual, built) for built in plan.roots]
    boots = [_boot(actual, built) for built in plan.boots]
    return {"roots": roots, "boots": boots}


def _loaders(plan: Plan) -> Json:
    anew = {name: why for name, why in plan.loaders.items() if why}
    return {"loaders": list(plan.loaders), "signed_anew": anew}


def _move(move: ReleaseChange) -> Json:
    return {
        "image": move.image,
        "before": move.before,
        "after": move.after,
        "nodes": list(move.nodes),
    }


def _switch(switch: NodesReassigned) -> Json:
    return {
        "before": switch.before,
        "after": switch.after,
        "nodes": list(switch.nodes),
    }


def _nodes(nodes: NodeChanges) -> Json:
    return {
        "added": list(nodes.added),
        "removed": list(nodes.removed),
        "changed": {name: list(fields) for name, fields in nodes.changed},
    }


def _file(change: FileChange) -> Json:
    return {
        "path": change.path,
        "action": ACTIONS[change.sign],
        "found": change.found,
        "diff": change.diff(),
    }


def _reloads(plan: Plan) -> list[Json]:
    reloaded = [change for change in plan.services if change.reload]
    return [{"path": change.path, "command": change.reload} for change in reloaded]


def _prunable(actual: Actual) -> list[Json]:
    return [{"release": id, "why": why} for id, why in actual.prunable]


def _root(actual: Actual, built: BuiltRelease) -> Json:
    before, after = rights_change(actual, built)
    return {
        "release": built.release.id,
        "compared_with": nearest(actual, built),
        **_tree(root_change(actual, built)),
        "rights": {
            "before": before._asdict(),
            "after": after._asdict(),
        },
    }


def _tree(change: TreeChange) -> Json:
    return {
        "added": list(map(shown_path, change.added)),
        "removed": list(map(shown_path, change.removed)),
        "changed": list(map(shown_path, change.changed)),
        "notable": list(change.notable),
        "folders": {folder: list(counts) for folder, counts in change.folders.items()},
    }


def _root_file(before: Release | None, after: Release) -> Json:
    """Of the file that nodes fetch their root as, where there is one, or was."""
    if not (after.is_of_file or (before and before.is_of_file)):
        return {}
    names = ("root_kind", "root_file", "root_bytes")
    return {
        name: {"before": getattr(before, name, None), "after": getattr(after, name)}
        for name in names
    }


def _boot(actual: Actual, built: BuiltRelease) -> Json:
    like, after = nearest(actual, built), built.release
    before = actual.released.get(like) if like else None
    parts = {}
    for name in ("kernel_version", "kernel", "initrd", "cmdline"):
        parts[name] = {
            "before": getattr(before, name, None),
            "after": getattr(after, name),
        }
    change = None
    if before and before.initrd != after.initrd:
        change = initrd_change(actual, built)
    return {
        "release": after.id,
        "compared_with": like,
        **parts,
        **_root_file(before, after),
        "initrd_files": _tree(change) if change else None,
    }
