"""Rollback: the boot files of an image name an earlier release again. Site data stays the newest; nothing is built."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..base.errors import Refused
from ..plan import other_sites
from ..plan.decide import FileChange
from ..release import Release
from ..store import journal, tftp
from ..store.boot_files import current, read_files, site_named
from ..store.kept import damaged, published
from ..store.operation import held, recorded
from ..store.paths import BOOT_FILES, Targets
from ..store.tftp import ours_as_text, read_ours
from .publish import complete_site_data

Render = Callable[
    [Release, str], Mapping[str, bytes]
]  # release, site id -> boot files below tftp_root


class Back(NamedTuple):
    """What a rollback changed."""

    image: str
    before: str
    after: str
    changes: tuple[FileChange, ...]
    files: Mapping[str, bytes]  # all that say so, changed or not


def rollback_server(
    targets: Targets,
    images: Iterable[str],
    image: str,
    release: str,
    render: Render,
    author: journal.Record,
) -> list[Back]:
    """Point `image` (or that of `release`, or all) back to `release`, or to what each booted before.

    The same again after one that was killed ends where that was to. `images`: those of the site. Raises Refused where
    there is nothing to go back to; then nothing is changed.
    """
    if not os.path.isdir(targets.kept("")):
        raise Refused(f"{targets.nfs_root}: nothing was deployed there, nothing to roll back to")
    with held(targets, "rollback", author) as ended:
        released, records = (published(targets), _records(targets))
        other_sites.refuse_boot_files(targets, other_sites.nodes_of(targets))
        files = read_files(targets)
        begun = ended or journal.begun(records)
        begun = begun if journal.is_rollback(begun) else {}
        earlier = {name: previous(released, files, records, name) for name in images}
        if what := damaged(targets).get(targets.kept(f"{release}.json")):
            raise Refused(f"{targets.kept(release)}.json {what}")
        earlier |= {name: id for name, id in begun.get("releases", {}).items() if id in released}
        chosen = _chosen(released, earlier, image, release)
        backs = [_back(targets, files, released[id], render) for id in chosen]
        backs = [
            _since(back, begun)
            for back in backs
            if back.changes or back.image in begun.get("releases", {})
        ]
        if any(back.changes for back in backs) or backs and not ended:
            record = {**author, "action": "rollback", **_described(backs, files)}
            with recorded(targets, record):
                complete_site_data(targets, site_named(files) or "")
                tftp.commit(targets, _commit(targets, backs, record))
        return backs


def _records(targets: Targets) -> list[journal.Record]:
    """Of the journal; without it a release can be named still."""
    try:
        return journal.read_journal(targets.kept("journal.jsonl"))
    except OSError:
        return []


def _chosen(
    released: Mapping[str, Release], earlier: Mapping[str, str | None], image: str, release: str
) -> list[str]:
    """The releases to go back to."""
    if release:
        if release not in released:
            there = ", ".join(sorted(released)) or "none"
            raise Refused(f"{release} is not on the server; there: {there}")
        if image and released[release].image != image:
            raise Refused(f"{release} is a release of {released[release].image}, not of {image}")
        return [release]
    found = [id for name, id in earlier.items() if id and image in ("", name)]
    if not found:
        raise Refused(
            f"{image or ', '.join(earlier)}: nothing to roll back to: no earlier release is on the server"
        )
    return found


def _since(back: Back, begun: journal.Record) -> Back:
    """What the nodes of the image booted before, where a rollback that was killed has changed that already."""
    left = begun.get("left", {}).get(back.image)
    return back._replace(before=left) if left and back.before == back.after else back


def previous(
    released: Mapping[str, Release],
    files: Mapping[str, bytes],
    records: list[journal.Record],
    image: str,
) -> str | None:
    """The last release before the present one that is still on the server."""
    now, past = current(files, image), journal.history(records, image)
    if past and past[-1] == now:
        past = past[:-1]
    return next((id for id in reversed(past) if id != now and id in released), None)


def _back(targets: Targets, files: Mapping[str, bytes], release: Release, render: Render) -> Back:
    site = site_named(files)
    for name in ("vmlinuz", "initrd.img"):
        if not os.path.isfile(os.path.join(targets.boot(release.id), name)):
            raise Refused(
                f"{targets.tftp}/{release.id}/{name} is missing: {release.id} cannot be booted"
            )
    if site is None:
        raise Refused(
            f"{targets.tftp_root}/{BOOT_FILES}: no boot file names site data; run doit deploy"
        )
    new = render(release, site)
    changed = [name for name in sorted(new) if files.get(name) != new[name]]
    changes = tuple(
        FileChange(f"{targets.tftp}/{name}", files.get(name), new[name]) for name in changed
    )
    return Back(release.image, current(files, release.image) or "", release.id, changes, new)


def _described(backs: list[Back], files: Mapping[str, bytes]) -> journal.Record:
    return {
        "releases": {back.image: back.after for back in backs},
        "left": {back.image: back.before for back in backs if back.before not in ("", back.after)},
        "site": site_named(files),
    }


def _commit(targets: Targets, backs: list[Back], record: journal.Record) -> tftp.Commit:
    changes = [change for back in backs for change in back.changes]
    new = {change.path.removeprefix(targets.tftp + "/"): change.after or b"" for change in changes}
    said = [pair for back in backs for pair in back.files.items()]
    ours = read_ours(targets) | {name: hashlib.sha256(data).hexdigest() for name, data in said}
    return tftp.Commit(new, [], {"files": ours_as_text(targets, ours)}, record)
