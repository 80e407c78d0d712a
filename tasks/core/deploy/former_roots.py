"""Former: what a site's nodes may still have mounted from before, and how it ends.

A release in a former nfs_root goes as every other does, when it is too old to be run; only that
nobody can roll back to it, so that none is kept for its rank. A former nfs_root is exported until
nothing of it is left, a former subnet of the present one as long as nodes in it may be running.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..base.files import content, read
from ..base.process import Say
from ..services import exports, services
from ..services.exports import Export
from ..store import journal, kept
from ..store.kept import published
from ..store.operation import held, recorded
from ..store.paths import Targets
from .prune import DAY, Verdict, days_text, last_used, named_in_files, release_verdicts

Author = journal.Record


class AgeRule(NamedTuple):
    """What decides: `keep_days`, the time, and release -> the nodes that say that they run it."""

    days: int
    now: float
    running: Mapping[str, str]


class FormerRoot(NamedTuple):
    """A former nfs_root, and what becomes of its releases."""

    targets: Targets
    verdicts: list[Verdict]

    @property
    def told(self) -> list[Verdict]:
        """The verdicts by the paths of what they are about."""
        nfs = self.targets.nfs
        return [verdict._replace(id=f"{nfs}/{verdict.id}") for verdict in self.verdicts]

    @property
    def staying(self) -> list[str]:
        """The releases that are left, those that we know nothing of, too."""
        gone = {verdict.id for verdict in self.verdicts if verdict.removed}
        folder = self.targets.nfs_root
        names = os.listdir(folder) if os.path.isdir(folder) else []
        releases = {name for name in names if re.search(r"-[0-9a-f]{12}$", name)}
        return sorted(releases - gone)


class Past(NamedTuple):
    """All of a site's past, and what becomes of each line by which it is exported."""

    roots: list[FormerRoot]
    lines: dict[Export, Verdict]

    @property
    def verdicts(self) -> list[Verdict]:
        of_roots = [verdict for root in self.roots for verdict in root.told]
        return [*of_roots, *self.lines.values()]


def foreseen_former(targets: Targets, site: str, rule: AgeRule) -> Past:
    """What would become of it."""
    lines = exports.former(content(targets.at(exports.file_of(site))) or b"")
    records = journal.read_journal(targets.kept("journal.jsonl"))
    paths = sorted({line.path for line in lines} - {targets.nfs})
    roots = {path: _root(targets, path, records, rule) for path in paths}
    verdicts = {line: _of_client(line, records, rule) for line in lines if line.path not in roots}
    verdicts |= {line: _of_root(line, roots[line.path]) for line in lines if line.path in roots}
    return Past(list(roots.values()), verdicts)


def prune_former(
    targets: Targets, site: str, rule: AgeRule, author: Author, say: Say
) -> list[Verdict]:
    """Remove what `foreseen` says; what was decided. Raises Refused."""
    if not os.path.isdir(targets.kept("")):
        return []
    with held(targets, "prune", author):
        past = foreseen_former(targets, site, rule)
        for root in past.roots:
            _prune_root(targets, root, author)
        ended = [line for line, verdict in past.lines.items() if verdict.removed]
        if ended:
            with recorded(targets, {**author, "action": "prune", "removed": list(map(str, ended))}):
                _end(targets, exports.file_of(site), ended, say)
    return past.verdicts


def _root(targets: Targets, path: str, records: list[journal.Record], rule: AgeRule) -> FormerRoot:
    root = _targets(targets, path)
    its = journal.read_journal(root.kept("journal.jsonl"))
    released = published(root)
    deployed = [journal.seconds(record["time"]) for record in its if "releases" in record]
    left = max([_left(records, path, rule.now), *deployed[-1:]])
    used = {id: min(last_used(root, id, its, rule.now), left) for id in released}
    named = {
        **named_in_files(root, released, root.nfs),
        **named_in_files(targets, released, root.nfs),
    }
    return FormerRoot(
        root, release_verdicts(released, used, named, 0, rule.days, rule.now, rule.running)
    )


def _targets(targets: Targets, path: str) -> Targets:
    """A former nfs_root with its tftp_root, which stands in the paths of its boot files."""
    root = dataclasses.replace(targets, nfs=path)
    files = (content(root.kept("files")) or b"").decode(errors="surrogateescape")
    found = re.search(r"^\S+  (/.*)/plugnode/[^/\n]+$", files, re.MULTILINE)
    return dataclasses.replace(root, tftp=found[1]) if found else root


def _left(records: list[journal.Record], words: str, now: float) -> float:
    """When a deploy first exported no such folder, or not to such a client; now if none did."""
    left = now
    for record in records:
        if record.get("result") == journal.DONE and isinstance(record.get("exports"), list):
            if any(f"{line} ".startswith(f"{words} ") for line in record["exports"]):
                left = now
            elif left == now:
                left = journal.seconds(record["time"])
    return left


def _of_client(line: Export, records: list[journal.Record], rule: AgeRule) -> Verdict:
    age = (rule.now - _left(records, str(line), rule.now)) / DAY
    if age < rule.days:
        why = f"nodes may have it mounted still ({rule.days} days)"
        return Verdict(str(line), False, f"exported until {days_text(age)} ago: {why}")
    return Verdict(str(line), True, f"exported until {days_text(age)} ago")


def _of_root(line: Export, root: FormerRoot) -> Verdict:
    if root.staying:
        return Verdict(str(line), False, f"it has {', '.join(root.staying)}")
    return Verdict(str(line), True, "no release is left there")


def _prune_root(targets: Targets, root: FormerRoot, author: Author) -> None:
    removed = [verdict.id for verdict in root.verdicts if verdict.removed]
    if not removed:
        return
    booted = {
        *published(targets),
        *named_in_files(root.targets, removed),
        *named_in_files(targets, removed),
    }
    with held(root.targets, "prune", author):
        with recorded(root.targets, {**author, "action": "prune", "removed": removed}):
            for id in removed:
                kept.remove_release(root.targets, id, boot=id not in booted)


def _end(targets: Targets, path: str, ended: list[Export], say: Say) -> None:
    data = exports.without(read(targets.at(path)), ended)
    service = services.Service(path, data, reload=services.EXPORTFS).placed(targets)
    services.install_service(service, targets.at(path), say)
