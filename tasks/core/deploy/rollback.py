"""Rollback: the boot files of an image name an earlier release again.

Site data stays the newest; nothing is built.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..base.errors import Refused
from ..plan import other_sites
from ..plan.model import FileChange
from ..plan.ukis import kept_program, program_files, program_name
from ..release import Release
from ..store import journal
from ..store.boot_files import current, read_files, site_named
from ..store.commit import Commit, commit
from ..store.kept import damaged, published
from ..store.operation import held, recorded
from ..store.ours import ours_as_text, read_ours
from ..store.paths import BOOT_FILES, Targets
from ..store.served import contents_of, root_file_of
from ..trust.held import NOT_TAKEN, UNSIGNED, taken_by, unsigned
from .publish import complete_site_data

# release, site id -> boot files below tftp_root
Render = Callable[[Release, str], Mapping[str, bytes]]


class RollbackChoice(NamedTuple):
    """What an admin wants back: `image`, that of `release`, or all."""

    images: Iterable[str]  # those of the site
    image: str = ""
    release: str = ""  # "": what each booted before
    keys: Sequence[str] = ()  # of `trust:`: what none of them has signed is not gone back to


class Back(NamedTuple):
    """What a rollback changed."""

    image: str
    before: str
    after: str
    changes: tuple[FileChange, ...]
    files: Mapping[str, bytes]  # all that say so, changed or not


class _Server(NamedTuple):
    """What a server holds that rollbacks choose from."""

    targets: Targets
    released: Mapping[str, Release]
    files: Mapping[str, bytes]  # the boot files


def rollback_server(
    targets: Targets,
    choice: RollbackChoice,
    render: Render,
    author: journal.Record,
) -> list[Back]:
    """Point the boot files back to what was chosen.

    The same again after one that was killed ends where that was to. Raises Refused where there is
    nothing to go back to; then nothing is changed.
    """
    if not os.path.isdir(targets.kept("")):
        raise Refused(f"{targets.nfs_root}: nothing was deployed there, nothing to roll back to")
    with held(targets, "rollback", author) as ended:
        released, records = published(targets), _records(targets)
        other_sites.refuse_boot_files(targets, other_sites.nodes_of(targets))
        server = _Server(targets, released, read_files(targets))
        begun = _begun(ended or journal.begun(records))
        ids = _chosen(server, choice, records, begun)
        _must_be_signed(targets, ids, choice.keys)
        backs = _backs(server, ids, render, begun)
        _site_must_be_taken(server, ids)

        is_new = any(back.changes for back in backs)
        if is_new or backs and not ended:
            _move(server, backs, author)
        return backs


def _move(server: _Server, backs: list[Back], author: journal.Record) -> None:
    """Write the boot files, and who did that."""
    described = _described(backs, server.files)
    record = {**author, "action": journal.ROLLBACK, **described}
    with recorded(server.targets, record):
        complete_site_data(server.targets, described["site"] or "")
        commit(server.targets, _commit(server.targets, backs, record))


def _records(targets: Targets) -> list[journal.Record]:
    """Of the journal; without it a release can be named still."""
    try:
        return journal.read_journal(targets.journal)
    except OSError:
        return []


def _begun(record: journal.Record) -> journal.Record:
    """What a rollback that was killed was to do; nothing where it was none."""
    return record if journal.is_rollback(record) else {}


def _chosen(
    server: _Server,
    choice: RollbackChoice,
    records: list[journal.Record],
    begun: journal.Record,
) -> list[str]:
    """The releases to go back to."""
    if choice.release:
        _must_be_there(server, choice)
        return [choice.release]
    earlier = {}
    for image in choice.images:
        earlier[image] = previous(server.released, server.files, records, image)
    for image, id in begun.get("releases", {}).items():
        if id in server.released:
            earlier[image] = id

    found = []
    for image, id in earlier.items():
        if id and choice.image in ("", image):
            found.append(id)
    if not found:
        images = choice.image or ", ".join(earlier)
        raise Refused(f"{images}: nothing to roll back to: no earlier release is on the server")
    return found


def _must_be_there(server: _Server, choice: RollbackChoice) -> None:
    """Raises Refused where the release that was chosen is not there, or is another image's."""
    id, released = choice.release, server.released
    path = server.targets.kept(f"{id}.json")
    if what := damaged(server.targets).get(path):
        raise Refused(f"{path} {what}")
    if id not in released:
        known = ", ".join(sorted(released)) or "none"
        raise Refused(f"{id} is not on the server; there: {known}")
    if choice.image and released[id].image != choice.image:
        raise Refused(f"{id} is a release of {released[id].image}, not of {choice.image}")


def _must_be_signed(targets: Targets, ids: Iterable[str], keys: Sequence[str]) -> None:
    if missing := unsigned(targets, ids, keys):
        raise Refused(f"{', '.join(missing)}: {UNSIGNED}; nothing was changed")


def _site_must_be_taken(server: _Server, ids: Iterable[str]) -> None:
    """Raises Refused where nodes of these releases would not take the newest site data."""
    for release in map(server.released.__getitem__, ids):
        site = site_named(server.files) or ""
        if not taken_by(server.targets, release, site):
            raise Refused(f"{release.id} {NOT_TAKEN.format(release.keys)}; nothing was changed")


def _backs(
    server: _Server,
    ids: Iterable[str],
    render: Render,
    begun: journal.Record,
) -> list[Back]:
    """What changes, and what a rollback that was killed has changed already."""
    backs = []
    moved = begun.get("releases", {})
    for id in ids:
        back = _back(server, server.released[id], render)
        if back.changes or back.image in moved:
            backs.append(_since(back, begun))
    return backs


def _since(back: Back, begun: journal.Record) -> Back:
    """What the nodes of the image booted before.

    Where a rollback that was killed has changed that already, it says so.
    """
    left = begun.get("left", {}).get(back.image)
    if left and back.before == back.after:
        return back._replace(before=left)
    return back


def previous(
    released: Mapping[str, Release],
    files: Mapping[str, bytes],
    records: list[journal.Record],
    image: str,
) -> str | None:
    """The last release before the present one that is still on the server."""
    now = current(files, image)
    past = journal.history(records, image)
    if past and past[-1] == now:
        past = past[:-1]
    for id in reversed(past):
        if id != now and id in released:
            return id
    return None


def _must_be_bootable(targets: Targets, release: Release) -> None:
    """Raises Refused where something that its nodes fetch is missing."""
    paths = [targets.served(f"{release.id}/{name}") for name in release.boot_files]
    if release.is_of_file:
        paths.append(root_file_of(targets, release).path)
    if os.path.isfile(targets.served(program_name(release.image))):
        paths.append(kept_program(targets, release.id))
    for path in paths:
        if not os.path.isfile(path):
            path = path.removeprefix(targets.at(""))
            raise Refused(f"{path} is missing: {release.id} cannot be booted")


def _back(server: _Server, release: Release, render: Render) -> Back:
    targets, id = server.targets, release.id
    _must_be_bootable(targets, release)
    before = server.files
    site = site_named(before)
    if site is None:
        folder = f"{targets.tftp_root}/{BOOT_FILES}"
        raise Refused(f"{folder}: no boot file names site data; run doit deploy")

    programs = program_files(targets, release.image, id)
    before = {**before, **dict(contents_of(targets, programs))}
    after = {**render(release, site), **programs}
    changes = []
    for name, data in sorted(after.items()):
        if before.get(name) != data:
            path = f"{targets.tftp}/{name}"
            changes.append(FileChange(path, before.get(name), data))
    booted = current(before, release.image) or ""
    return Back(release.image, booted, id, tuple(changes), after)


def _described(backs: list[Back], files: Mapping[str, bytes]) -> journal.Record:
    releases, left = {}, {}
    for back in backs:
        releases[back.image] = back.after
        if back.before not in ("", back.after):
            left[back.image] = back.before
    return {"releases": releases, "left": left, "site": site_named(files)}


def _commit(
    targets: Targets,
    backs: list[Back],
    record: journal.Record,
) -> Commit:
    new: dict[str, bytes] = {}
    ours = read_ours(targets)
    for back in backs:
        for change in back.changes:
            name = change.path.removeprefix(targets.tftp + "/")
            new[name] = change.after or b""
        for name, data in back.files.items():
            ours[name] = hashlib.sha256(data).hexdigest()
    kept = {"files": ours_as_text(targets, ours)}
    return Commit(new, [], kept, record)
