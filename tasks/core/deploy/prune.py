"""Prune: the only thing that ever removes a release, and what it leaves, with the reason for each.

Nodes live on their release as long as they run, and an NFS server cannot tell for how long: `showmount` errs both ways.
So what decides is when a release was last one that nodes boot.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..base.files import read
from ..release import Release
from ..store import journal, kept
from ..store.boot_files import is_id
from ..store.kept import damaged, published, site_data
from ..store.operation import held, recorded
from ..store.paths import Targets

DAY = 86400.0
NOBODY: Mapping[str, str] = MappingProxyType({})
SITE_DATA_DAYS = 1  # nobody goes back to old site data; a node that is at its loader right now may still fetch it


class Verdict(NamedTuple):
    """What becomes of a release, or of site data."""

    id: str
    removed: bool
    why: str


def release_verdicts(
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
    in_use = {id: f"run by {nodes}" for id, nodes in running.items()}
    in_use |= {id: f"named by {path}" for id, path in named.items()}
    spare = sorted(released.keys() - in_use.keys(), key=lambda id: (used[id], id), reverse=True)
    fates = {id: (False, why) for id, why in in_use.items()}
    newer: Counter[str] = Counter()
    for id in spare:
        image = released[id].image
        fates[id] = _unused(newer[image], (now - used[id]) / DAY, keep, days)
        newer[image] += 1
    return [Verdict(id, *fates[id]) for id in sorted(released)]


def _unused(rank: int, age: float, keep: int, days: int) -> tuple[bool, str]:
    """What becomes of a release that is not in use. `rank`: how many such ones of its image are newer."""
    if rank < keep:
        return False, f"among the {keep} newest of its image besides those in use"
    if age < days:
        return (False, f"in use until {days_text(age)} ago: nodes may run it still ({days} days)")
    return True, f"in use until {days_text(age)} ago"


def days_text(age: float) -> str:
    return f"{age:.0f} days" if round(age) != 1 else "1 day"


def prune_server(
    targets: Targets,
    keep: int,
    days: int,
    author: journal.Record,
    now: float,
    running: Mapping[str, str] = NOBODY,
    image: str = "",
) -> list[Verdict]:
    """Remove what `decide` says; what was decided for each release and each site data. Raises Refused.

    Of one `image` only its releases, and no site data, which is everybody's.
    """
    if not os.path.isdir(targets.kept("")):
        return []
    with held(targets, "prune", author):
        kept.sweep_kept(targets)
        verdicts = foreseen(targets, keep, days, now, running, image)
        verdicts += [] if image else _site_data(targets, now)
        removed = [verdict.id for verdict in verdicts if verdict.removed]
        if removed:
            with recorded(targets, {**author, "action": "prune", "removed": removed}):
                for id in removed:
                    kept.remove_release(targets, id)
    return verdicts


def foreseen(
    targets: Targets,
    keep: int,
    days: int,
    now: float,
    running: Mapping[str, str] = NOBODY,
    image: str = "",
) -> list[Verdict]:
    """What would become of each release, or of those of one image."""
    released, records = published(targets), journal.read_journal(targets.kept("journal.jsonl"))
    released = {id: release for id, release in released.items() if image in ("", release.image)}
    used = {id: last_used(targets, id, records, now) for id in released}
    harmed = [os.path.basename(path).removesuffix(".json") for path in damaged(targets)]
    unknown = [
        Verdict(id, False, f"{targets.kept(id)}.json is damaged") for id in harmed if is_id(id)
    ]
    verdicts = release_verdicts(
        released, used, named_by_files(targets, released), keep, days, now, running
    )
    cut_off = [each for each in _cut_off(targets, records) if image in ("", _image_of(each.id))]
    return [*verdicts, *unknown, *cut_off]


def _image_of(id: str) -> str:
    """Of `worker-3f9a1c2b4d5e` it is `worker`."""
    return id.rpartition("-")[0]


def _cut_off(targets: Targets, records: Iterable[journal.Record]) -> list[Verdict]:
    """Kernels and initrds of deploys that were cut off before the tree was there, and that nobody took up again."""
    begun = {id for record in records for id in record.get("releases", {}).values() if is_id(id)}
    ids = sorted(
        id
        for id in begun
        if os.path.isdir(targets.boot(id)) and not os.path.lexists(targets.root(id))
    )
    by = named_by_files(targets, ids)
    why = "its tree is not there: a deploy of it was cut off"
    return [Verdict(id, id not in by, f"named by {by[id]}" if id in by else why) for id in ids]


def last_used(targets: Targets, id: str, records: Iterable[journal.Record], now: float) -> float:
    """When a deploy or rollback last put another in its place; if none did, when it came, or now if nodes boot it."""
    last, current = 0.0, False
    for record in records:
        if record.get("result") == journal.DONE and "releases" in record:
            named_now = id in record["releases"].values() or id in record.get("pinned", ())
            named_now |= current and not _is_about(record, id.rpartition("-")[0])
            if current or named_now:
                last = journal.seconds(record["time"])
            current = named_now
    if current:
        return now
    return last or os.stat(targets.kept(f"{id}.json")).st_mtime


def _is_about(record: journal.Record, image: str) -> bool:
    """Whether a record says which release an image boots: that of a rollback or of `image=` is of some images only."""
    of_some = record.get("action") == "rollback" or "image" in record
    return image in record["releases"] or not of_some


def named_by_files(targets: Targets, ids: Iterable[str]) -> dict[str, str]:
    """Of `ids`, those that a file of tftp_root names, ours or not: id -> that file."""
    return named_in_files(targets, ids)


def named_in_files(targets: Targets, ids: Iterable[str], root: str = "") -> dict[str, str]:
    """The same; with `root` only those that are named as folders of that one."""
    before = rf"(?<![\w./-]){re.escape(root)}/" if root else ""
    wanted = {id: re.compile((before + re.escape(id)).encode()) for id in ids}
    found: dict[str, str] = {}
    for path in _small_files(targets) if wanted else ():
        data = read(path)
        for id in [id for id, words in wanted.items() if id not in found and words.search(data)]:
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
            if (
                os.path.isfile(path)
                and os.path.getsize(path) < 1 << 20
                and not name.endswith((".c32", ".0", ".efi"))
            ):
                yield path


def _site_data(targets: Targets, now: float) -> list[Verdict]:
    """Site data that no boot file names any more."""
    ids = site_data(targets)
    by = named_by_files(targets, ids)
    ages = {id: (now - os.stat(targets.boot(id)).st_mtime) / DAY for id in ids}
    return [
        Verdict(
            id,
            id not in by and ages[id] >= SITE_DATA_DAYS,
            f"named by {by[id]}"
            if id in by
            else f"removed {SITE_DATA_DAYS} day after it came, if nothing names it",
        )
        for id in ids
    ]
