"""A plan that is done as it was seen: its steps as lines, the id of them, and what only that does.

An id is a digest of what a deploy would do on each server, so that another change, of the site or
of a server, is another id.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..base.errors import Refused
from ..base.files import digest_once
from ..base.text import counted
from ..plan.model import FileChange, Plan
from ..plan.state import Actual, Desired
from ..store import journal

Steps = list[str]  # of one server, in the order of its plan

LENGTH = 12  # hex digits of an id, and of a digest in a step
FEW = 10  # nodes that may be removed, whatever share of them all they are
SHARE = 10  # more than one of so many nodes is a removal to look at


def steps_of(plan: Plan, desired: Desired) -> Steps:
    """What a deploy would do, a line each; files with digests of what they were and shall be.

    Not of nodes' secrets: what they are is read after a plan was seen.
    """
    steps = [f"publish kernel and initrd of {built.release.id}" for built in plan.boots]
    steps += [f"publish {built.release.id}" for built in plan.roots]
    if plan.site_img:
        steps.append(f"publish {desired.site_id}")
    steps += [f"sign {id}" for id in plan.signed]
    steps += [f"let TFTP servers into {name}" for name in plan.opened]
    for name in plan.loaders:
        steps.append(f"write {name}: {digest_once(desired.loaders[name])[:LENGTH]}")
    return steps + [_step(change) for change in plan.changes if not change.is_blob]


def _step(change: FileChange) -> str:
    if change.after is None:
        return f"remove {change.path}: {_short(change.before)}"
    return f"write {change.path}: {_short(change.before)} -> {_short(change.after)}"


def _short(data: bytes | None) -> str:
    return "nothing" if data is None else hashlib.sha256(data).hexdigest()[:LENGTH]


def digest_of(steps: Sequence[str]) -> str:
    """The digest of one server's steps."""
    return hashlib.sha256(json.dumps(steps).encode()).hexdigest()


def id_of_plan(by_server: Mapping[str, Sequence[str]]) -> str:
    """The id of what is done on several servers: 12 hex digits."""
    return digest_of([f"{name}: {digest_of(by_server[name])}" for name in sorted(by_server)])[
        :LENGTH
    ]


def differences(
    before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """What only one of two plans does, a line each; servers by name where there are several."""
    for server in sorted(before.keys() | now.keys()):
        old, new = before.get(server, ()), now.get(server, ())
        where = f"{server}: " if len(before.keys() | now.keys()) > 1 else ""
        for step in old:
            if step not in new:
                yield f"{where}seen, and not done now: {step}"
        for step in new:
            if step not in old:
                yield f"{where}not seen, and done now: {step}"


# --- what a deploy does only where it was seen


def marked(plan: Plan, actual: Actual, desired: Desired, revision: journal.Record) -> Plan:
    """The plan, with what of it a deploy does by its id alone.

    `revision`: that of the site, as `journal.revision` gives it.
    """
    if not plan.changed:
        return plan
    lines = guarded(actual.records, actual.nodes, desired.nodes, revision)
    return dataclasses.replace(plan, by_id=tuple(lines))


def guarded(
    records: Iterable[journal.Record],
    before: Iterable[str],
    after: Iterable[str],
    revision: journal.Record,
) -> Iterator[str]:
    """Why a deploy wants to be told the plan's id, a line each.

    `before`, `after`: the names of a server's nodes. `records`: its journal.
    """
    alone = "deploy does that by --plan=ID alone"
    names = set(before)
    gone = names.difference(after)
    if len(gone) > FEW and len(gone) * SHARE > len(names):
        yield f"{len(gone)} of {counted(len(names), 'node')} are removed; {alone}"
    newest = journal.newest_deploy(records)
    if journal.is_older(revision, newest):
        who = journal.author_named(newest).removesuffix(", ") or "somebody"
        by = f"{newest['git'][:LENGTH]}, which {who} deployed at {newest['time']}"
        yield f"commit {revision['git'][:LENGTH]} is older than {by}; {alone}"


def refuse_unseen(plan: Plan, steps: Steps, seen: Sequence[str]) -> None:
    """Raises Refused where a plan needs its id, or is not the one that was seen.

    `seen`: the digests of what servers' plans did when they were seen; none: nobody says so.
    """
    if not seen and plan.by_id:
        raise Refused("\n".join(plan.by_id))
    if seen and digest_of(steps) not in seen:
        raise Refused("what is there has changed since the plan was looked at; nothing was changed")
