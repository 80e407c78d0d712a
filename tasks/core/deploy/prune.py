"""Prune: the only thing that ever removes a release, and what it leaves, with the reason for each.

Nodes live on their release as long as they run, and an NFS server cannot tell for how long:
`showmount` errs both ways. So what decides is when a release was last one that nodes boot.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..base.files import read
from ..base.text import counted
from ..release import Release, ends_as_id, name_in
from ..store import journal, kept
from ..store.boot_files import is_id
from ..store.kept import damaged, published, site_data
from ..store.operation import held, recorded
from ..store.paths import Targets

DAY = 86400.0
NOBODY: Mapping[str, str] = MappingProxyType({})
# Nobody goes back to old site data; a node that is at its loader right now may still fetch it.
SITE_DATA_DAYS = 1
LARGEST = 1 << 20  # bytes of a loader's configuration
BINARIES = (".c32", ".0", ".efi")


class Rules(NamedTuple):
    """What decides which releases go."""

    keep: int  # of each image so many stay, besides those in use
    days: int  # and those that nodes booted in so many days
    now: float  # seconds since 1970
    running: Mapping[str, str] = NOBODY  # release -> the nodes that say that they run it
    image: str = ""  # only its releases, and no site data, which is everybody's


class Verdict(NamedTuple):
    """What becomes of a release, or of site data."""

    id: str
    removed: bool
    why: str


def release_verdicts(
    released: Mapping[str, Release],
    used: Mapping[str, float],
    named: Mapping[str, str],
    rules: Rules,
) -> list[Verdict]:
    """What to do with each release: a pure function.

    `used`: when it was last one that nodes boot, seconds since 1970. `named`: release -> a file
    that names it.
    """
    verdicts = _in_use(named, rules)
    spare = [id for id in released if id not in verdicts]
    spare.sort(key=lambda id: (used[id], id), reverse=True)
    newer: Counter[str] = Counter()
    for id in spare:
        image = released[id].image
        verdicts[id] = _unused(id, used[id], newer[image], rules)
        newer[image] += 1
    return [verdicts[id] for id in sorted(released)]


def _in_use(named: Mapping[str, str], rules: Rules) -> dict[str, Verdict]:
    verdicts = {}
    for id, nodes in rules.running.items():
        verdicts[id] = Verdict(id, False, f"run by {nodes}")
    for id, path in named.items():
        verdicts[id] = Verdict(id, False, f"named by {path}")
    return verdicts


def _unused(id: str, used: float, rank: int, rules: Rules) -> Verdict:
    """What becomes of a release that is not in use.

    `rank`: how many such ones of its image are newer.
    """
    if rank < rules.keep:
        why = f"among the {rules.keep} newest of its image besides those in use"
        return Verdict(id, False, why)
    age = (rules.now - used) / DAY
    until = f"in use until {counted(round(age), 'day')} ago"
    if age < rules.days:
        return Verdict(id, False, f"{until}: nodes may run it still ({rules.days} days)")
    return Verdict(id, True, until)


def prune_server(
    targets: Targets,
    rules: Rules,
    author: journal.Record,
) -> list[Verdict]:
    """Remove what the rules say; what was decided for each release and each site data.

    Raises Refused.
    """
    if not os.path.isdir(targets.kept("")):
        return []
    with held(targets, "prune", author):
        kept.sweep_kept(targets)
        kept.clear_noted(targets, targets.replaced)
        verdicts = foreseen(targets, rules)
        if not rules.image:
            verdicts += _site_data(targets, rules.now)
        removed = removed_of(verdicts)
        if removed:
            record = {**author, "action": journal.PRUNE, "removed": removed}
            with recorded(targets, record):
                for id in removed:
                    kept.remove_release(targets, id)
    return verdicts


def removed_of(verdicts: Iterable[Verdict]) -> list[str]:
    """The ids of what goes."""
    return [verdict.id for verdict in verdicts if verdict.removed]


def foreseen(targets: Targets, rules: Rules) -> list[Verdict]:
    """What would become of each release, or of those of one image."""
    records = journal.read_journal(targets.journal)
    released = releases_of(targets, rules.image)
    used = {id: last_used(targets, id, records, rules.now) for id in released}
    named = named_in_files(targets, released)
    return [
        *release_verdicts(released, used, named, rules),
        *_damaged(targets),
        *_cut_off(targets, records, rules.image),
    ]


def releases_of(targets: Targets, image: str) -> dict[str, Release]:
    """The releases on a server, of one image, or all: id -> it."""
    found = {}
    for id, release in published(targets).items():
        if image in ("", release.image):
            found[id] = release
    return found


def _damaged(targets: Targets) -> Iterator[Verdict]:
    """Releases whose facts cannot be read stay: nobody knows what they are."""
    for path in damaged(targets):
        id = os.path.basename(path).removesuffix(".json")
        if is_id(id):
            yield Verdict(id, False, f"{targets.kept(id)}.json is damaged")


def _cut_off(
    targets: Targets,
    records: Iterable[journal.Record],
    image: str,
) -> Iterator[Verdict]:
    """Kernels and initrds of deploys that were cut off before the tree was there.

    Those that nobody took up again.
    """
    begun: set[str] = set()
    for record in records:
        ids = record.get("releases", {}).values()
        begun.update(filter(is_id, ids))
    if image:
        begun = {id for id in begun if name_in(id) == image}
    ids = sorted(id for id in begun if _has_only_boot_files(targets, id))
    naming = named_in_files(targets, ids)
    for id in ids:
        if id in naming:
            yield Verdict(id, False, f"named by {naming[id]}")
        else:
            yield Verdict(id, True, "its tree is not there: a deploy of it was cut off")


def _has_only_boot_files(targets: Targets, id: str) -> bool:
    folders = targets.boot(id), targets.fetched(id), targets.mounted(id)
    return any(map(os.path.isdir, folders)) and not os.path.lexists(targets.root(id))


def last_used(
    targets: Targets,
    id: str,
    records: Iterable[journal.Record],
    now: float,
) -> float:
    """When a deploy or rollback last put another in its place.

    If none did, when it came, or now if nodes boot it.
    """
    last, current = 0.0, False
    image = name_in(id)
    for record in records:
        if record.get("result") != journal.DONE or "releases" not in record:
            continue
        named_now = id in record["releases"].values()
        named_now |= id in record.get("pinned", ())
        named_now |= current and not _is_about(record, image)
        if current or named_now:
            last = journal.seconds(record["time"])
        current = named_now
    if current:
        return now
    return last or os.stat(targets.kept(f"{id}.json")).st_mtime


def _is_about(record: journal.Record, image: str) -> bool:
    """Whether a record says which release an image boots.

    That of a rollback or of `image=` is of some images only.
    """
    of_some = journal.is_rollback(record) or "image" in record
    return image in record["releases"] or not of_some


def named_in_files(
    targets: Targets,
    ids: Iterable[str],
    root: str = "",
) -> dict[str, str]:
    """Of `ids`, those that a file of tftp_root names, ours or not: id -> that file.

    With `root` only those that are named as folders of that one.
    """
    before = rf"(?<![\w./-]){re.escape(root)}/" if root else ""
    patterns = {id: re.compile(f"{before}{re.escape(id)}".encode()) for id in ids}
    found: dict[str, str] = {}
    for path in _small_files(targets) if patterns else ():
        data = read(path)
        name = os.path.relpath(path, targets.tftp_root)
        for id, pattern in patterns.items():
            if id not in found and pattern.search(data):
                found[id] = os.path.join(targets.tftp, name)
    return found


def _small_files(targets: Targets) -> Iterator[str]:
    """Every file that could be a loader's configuration.

    Kernels, initrds and loaders are larger or lie elsewhere. Through symlinks, as a TFTP server
    goes, but not to a folder above, or to one a second time.
    """
    top = os.path.realpath(targets.tftp_root)
    # Below tftp_root: what we keep about releases is no use of them.
    seen = {os.path.realpath(targets.nfs_root)}
    for folder, folders, files in os.walk(targets.tftp_root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or _is_above(real, top):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not ends_as_id(name))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if _is_small(path):
                yield path


def _is_above(folder: str, top: str) -> bool:
    return folder != top and f"{top}/".startswith(folder.rstrip("/") + "/")


def _is_small(path: str) -> bool:
    if path.endswith(BINARIES) or not os.path.isfile(path):
        return False
    return os.path.getsize(path) < LARGEST


def _site_data(targets: Targets, now: float) -> Iterator[Verdict]:
    """Site data that no boot file names any more."""
    ids = site_data(targets)
    naming = named_in_files(targets, ids)
    for id in ids:
        came = os.stat(targets.boot(id)).st_mtime
        age = (now - came) / DAY
        if id in naming:
            yield Verdict(id, False, f"named by {naming[id]}")
        else:
            why = f"removed {SITE_DATA_DAYS} day after it came, if nothing names it"
            yield Verdict(id, age >= SITE_DATA_DAYS, why)
