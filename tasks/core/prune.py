"""Prune: the only thing that ever removes a release, and what it leaves, with the reason for each.

Nodes live on their release as long as they run, and an NFS server cannot tell for how long: `showmount` errs both ways.
So what decides is when a release was last one that nodes boot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from . import journal, place
from .deploy import held, recorded
from .plan import damaged, is_id, published, site_data
from .release import Release
from .targets import Targets

DAY = 86400.0
NOBODY: Mapping[str, str] = MappingProxyType({})
SITE_DATA_DAYS = 1  # nobody goes back to old site data; a node that is at its loader right now may still fetch it


class Verdict(NamedTuple):
    """What becomes of a release, or of site data."""

    id: str
    removed: bool
    why: str


def decide(
    released: Mapping[str, Release],
    used: Mapping[str, float],
    named: Mapping[str, str],
    keep: int,
    days: int,
    now: float,
    running: Mapping[str, str] = NOBODY,
) -> list[Verdict]:
    """What to do with each release: a pure function.

    `used`: when it was last one that nodes boot, seconds since 1970. `named`: release -> a file that names it.
    `running`: release -> the nodes that say that they run it.
    """
    newest = sorted(released, key=lambda id: (used[id], id), reverse=True)
    rank = {
        id: sum(released[other].image == released[id].image for other in newest[:place])
        for place, id in enumerate(newest)
    }
    verdicts = [Verdict(id, *_verdict(id, used[id], named, rank[id], keep, days, now)) for id in sorted(released)]
    return [_unless_run(verdict, running) for verdict in verdicts]


def _unless_run(verdict: Verdict, running: Mapping[str, str]) -> Verdict:
    if verdict.removed and verdict.id in running:
        return Verdict(verdict.id, False, f"run by {running[verdict.id]}")
    return verdict


def _verdict(
    id: str, used: float, named: Mapping[str, str], rank: int, keep: int, days: int, now: float
) -> tuple[bool, str]:
    age = (now - used) / DAY
    if id in named:
        return False, f"named by {named[id]}"
    if rank < keep:
        return False, f"among the {keep} newest of its image"
    if age < days:
        return (False, f"in use until {_days(age)} ago: nodes may run it still ({days} days)")
    return True, f"in use until {_days(age)} ago"


def _days(age: float) -> str:
    return f"{age:.0f} days" if round(age) != 1 else "1 day"


def prune(
    targets: Targets,
    keep: int,
    days: int,
    author: journal.Record,
    now: float,
    running: Mapping[str, str] = NOBODY,
) -> list[Verdict]:
    """Remove what `decide` says; what was decided for each release and each site data. Raises Refused."""
    if not os.path.isdir(targets.kept("")):
        return []
    with held(targets, "prune", author):
        place.sweep_kept(targets)
        verdicts = [*foreseen(targets, keep, days, now, running), *_site_data(targets, now)]
        removed = [verdict.id for verdict in verdicts if verdict.removed]
        if removed:
            with recorded(targets, {**author, "action": "prune", "removed": removed}):
                for id in removed:
                    place.remove_release(targets, id)
    return verdicts


def foreseen(targets: Targets, keep: int, days: int, now: float, running: Mapping[str, str] = NOBODY) -> list[Verdict]:
    """What would become of each release."""
    released, records = published(targets), journal.read(targets.kept("journal.jsonl"))
    used = {id: last_used(targets, id, records, now) for id in released}
    harmed = [os.path.basename(path).removesuffix(".json") for path in damaged(targets)]
    unknown = [Verdict(id, False, f"{targets.kept(id)}.json is damaged") for id in harmed if is_id(id)]
    verdicts = decide(released, used, named(targets, released), keep, days, now, running)
    return [*verdicts, *unknown, *_cut_off(targets, records)]


def _cut_off(targets: Targets, records: Iterable[journal.Record]) -> list[Verdict]:
    """Kernels and initrds of deploys that were cut off before the tree was there, and that nobody took up again."""
    begun = {id for record in records for id in record.get("releases", {}).values() if is_id(id)}
    ids = sorted(id for id in begun if os.path.isdir(targets.boot(id)) and not os.path.lexists(targets.root(id)))
    by = named(targets, ids)
    why = "its tree is not there: a deploy of it was cut off"
    return [Verdict(id, id not in by, f"named by {by[id]}" if id in by else why) for id in ids]


def last_used(targets: Targets, id: str, records: Iterable[journal.Record], now: float) -> float:
    """When a deploy or rollback last put another in its place; if none did, when it came, or now if nodes boot it."""
    last, current = 0.0, False
    for record in records:
        if record.get("result") == journal.DONE and "releases" in record:
            named_now = id in record["releases"].values() or id in record.get("pinned", ())
            if current or named_now:
                last = journal.seconds(record["time"])
            current = named_now
    if current:
        return now
    return last or os.stat(targets.kept(f"{id}.json")).st_mtime


def named(targets: Targets, ids: Iterable[str]) -> dict[str, str]:
    """Of `ids`, those that a file of tftp_root names, ours or not: id -> that file."""
    wanted = {id: id.encode() for id in ids}
    found: dict[str, str] = {}
    for path in _small_files(targets):
        data = place.read(path)
        for id in [id for id, word in wanted.items() if id not in found and word in data]:
            found[id] = os.path.join(targets.tftp, os.path.relpath(path, targets.tftp_root))
    return found


def _small_files(targets: Targets) -> Iterator[str]:
    """Every file that could be a loader's configuration: kernels, initrds and loaders are larger or lie elsewhere.

    Through symlinks, as a TFTP server goes, but not to a folder above, or to one a second time.
    """
    top, nfs = os.path.realpath(targets.tftp_root), os.path.realpath(targets.nfs_root)
    seen = {nfs}  # below tftp_root: what we keep about releases is no use of them
    for folder, folders, files in os.walk(targets.tftp_root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or real != top and f"{top}/".startswith(real.rstrip("/") + "/"):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not re.search(r"-[0-9a-f]{12}$", name))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.path.getsize(path) < 1 << 20 and not name.endswith((".c32", ".0", ".efi")):
                yield path


def _site_data(targets: Targets, now: float) -> list[Verdict]:
    """Site data that no boot file names any more."""
    ids = site_data(targets)
    by = named(targets, ids)
    ages = {id: (now - os.stat(targets.boot(id)).st_mtime) / DAY for id in ids}
    return [
        Verdict(
            id,
            id not in by and ages[id] >= SITE_DATA_DAYS,
            f"named by {by[id]}" if id in by else f"removed {SITE_DATA_DAYS} day after it came, if nothing names it",
        )
        for id in ids
    ]
