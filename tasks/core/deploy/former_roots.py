"""Former: what a site's nodes may still have mounted from before, and how it ends.

A release in a former nfs_root goes as every other does, when it is too old to be run; only that
nobody can roll back to it, so that none is kept for its rank. A former nfs_root is exported until
nothing of it is left, a former subnet of the present one as long as nodes in it may be running.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from ..base.files import content, read
from ..base.process import Say
from ..base.text import counted
from ..release import ends_as_id
from ..services import daemon_files, exports
from ..services.exports import Export
from ..services.installed import digests_of, note_installed, read_installed
from ..store import journal, kept
from ..store.kept import published
from ..store.operation import held, recorded
from ..store.paths import Targets
from .prune import (
    DAY,
    Rules,
    Verdict,
    last_used,
    named_in_files,
    release_verdicts,
    removed_of,
)

Author = journal.Record
BOOT_FILE = re.compile(r"^\S+  (/.*)/plugnode/[^/\n]+$", re.MULTILINE)  # in a list of sha256sum


class FormerRoot(NamedTuple):
    """A former nfs_root, and what becomes of its releases."""

    targets: Targets
    verdicts: list[Verdict]

    @property
    def told(self) -> Iterator[Verdict]:
        """The verdicts by the paths of what they are about."""
        for verdict in self.verdicts:
            yield verdict._replace(id=f"{self.targets.nfs}/{verdict.id}")

    @property
    def staying(self) -> list[str]:
        """The releases that are left, those that we know nothing of, too."""
        folder = self.targets.nfs_root
        if not os.path.isdir(folder):
            return []
        removed = removed_of(self.verdicts)
        releases = filter(ends_as_id, os.listdir(folder))
        return sorted(set(releases).difference(removed))


class Past(NamedTuple):
    """All of a site's past, and what becomes of each line by which it is exported."""

    roots: list[FormerRoot]
    lines: dict[Export, Verdict]

    @property
    def verdicts(self) -> list[Verdict]:
        found: list[Verdict] = []
        for root in self.roots:
            found += root.told
        return [*found, *self.lines.values()]


def foreseen_former(targets: Targets, site: str, rules: Rules) -> Past:
    """What would become of it."""
    file = targets.at(exports.file_of(site))
    lines = exports.former(content(file) or b"")
    records = journal.read_journal(targets.journal)
    paths = {line.path for line in lines}
    roots = {}
    for path in sorted(paths - {targets.nfs}):
        roots[path] = _root(targets, path, records, rules)

    verdicts = {}
    for line in lines:
        if line.path not in roots:
            verdicts[line] = _of_client(line, records, rules)
    for line in lines:
        if line.path in roots:
            verdicts[line] = _of_root(line, roots[line.path])
    return Past(list(roots.values()), verdicts)


def prune_former(
    targets: Targets,
    site: str,
    rules: Rules,
    author: Author,
    say: Say,
) -> list[Verdict]:
    """Remove what `foreseen_former` says; what was decided. Raises Refused."""
    if not os.path.isdir(targets.kept("")):
        return []
    with held(targets, "prune", author):
        past = foreseen_former(targets, site, rules)
        for root in past.roots:
            _prune_root(targets, root, author)
        ended = [line for line, verdict in past.lines.items() if verdict.removed]
        if ended:
            removed = list(map(str, ended))
            record = {**author, "action": journal.PRUNE, "removed": removed}
            with recorded(targets, record):
                _end(targets, exports.file_of(site), ended, say)
    return past.verdicts


def _root(
    targets: Targets,
    path: str,
    records: list[journal.Record],
    rules: Rules,
) -> FormerRoot:
    root = _targets(targets, path)
    own_records = journal.read_journal(root.journal)
    left = _left(records, path, rules.now)
    deploys = [record for record in own_records if "releases" in record]
    if deploys:
        last = journal.seconds(deploys[-1]["time"])
        left = max(left, last)

    released = published(root)
    used = {}
    for id in released:
        used[id] = min(left, last_used(root, id, own_records, rules.now))
    named = named_in_files(root, released, root.nfs)
    named |= named_in_files(targets, released, root.nfs)
    rules = rules._replace(keep=0)  # nobody can roll back to one
    return FormerRoot(root, release_verdicts(released, used, named, rules))


def _targets(targets: Targets, path: str) -> Targets:
    """A former nfs_root with its tftp_root, which stands in the paths of its boot files."""
    root = targets._replace(nfs=path)
    files = content(root.kept("files")) or b""
    found = BOOT_FILE.search(files.decode(errors="surrogateescape"))
    return root._replace(tftp=found[1]) if found else root


def _left(records: list[journal.Record], words: str, now: float) -> float:
    """When a deploy first exported no such folder, or not to such a client; now if none did."""
    left = now
    for record in records:
        lines = record.get("exports")
        is_done = record.get("result") == journal.DONE
        if not is_done or not isinstance(lines, list):
            continue
        if any(f"{line} ".startswith(f"{words} ") for line in lines):
            left = now
        elif left == now:
            left = journal.seconds(record["time"])
    return left


def _of_client(line: Export, records: list[journal.Record], rules: Rules) -> Verdict:
    left = _left(records, str(line), rules.now)
    age = (rules.now - left) / DAY
    until = f"exported until {counted(round(age), 'day')} ago"
    if age < rules.days:
        why = f"{until}: nodes may have it mounted still ({rules.days} days)"
        return Verdict(str(line), False, why)
    return Verdict(str(line), True, until)


def _of_root(line: Export, root: FormerRoot) -> Verdict:
    staying = root.staying
    if staying:
        return Verdict(str(line), False, f"it has {', '.join(staying)}")
    return Verdict(str(line), True, "no release is left there")


def _prune_root(targets: Targets, root: FormerRoot, author: Author) -> None:
    removed = removed_of(root.verdicts)
    if not removed:
        return
    booted = {
        *published(targets),
        *named_in_files(root.targets, removed),
        *named_in_files(targets, removed),
    }
    record = {**author, "action": journal.PRUNE, "removed": removed}
    with held(root.targets, "prune", author):
        with recorded(root.targets, record):
            for id in removed:
                kept.remove_release(root.targets, id, boot=id not in booted)


def _end(targets: Targets, path: str, ended: list[Export], say: Say) -> None:
    file = targets.at(path)
    data = exports.without(read(file), ended)
    service = daemon_files.Service(path, data, reload=daemon_files.EXPORTFS)
    daemon_files.install_service(service.placed(targets), file, say)
    note_installed(targets, read_installed(targets) | digests_of([service]))
