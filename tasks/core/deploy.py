"""Deploy: makes a server hold what is wanted. At any moment nodes boot the old or the new; a second run finishes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping

from . import journal, place, services, space
from . import plan as planning
from .errors import Refused
from .files import digest_file, locked, sweep
from .plan import Plan, There, Wanted
from .place import Say
from .targets import BOOT_FILES, Targets, stay_inside

Show = Callable[[Plan, There], None]


def deploy(
    targets: Targets,
    goal: Wanted | Callable[[], Wanted],
    author: journal.Record,
    say: Say,
    show: Show = lambda plan, there: None,
) -> Plan:
    """Make the server hold what is wanted, after `show` of what that is. Raises Refused: one line that says why not.

    `goal`: a function where that follows from what the server holds; it is asked when nobody else is at it.
    """
    for folder in (targets.tftp_root, targets.nfs_root):
        place.make_folder(targets, folder)
    if os.path.samefile(targets.tftp_root, targets.nfs_root):
        raise Refused(f"{targets.tftp} and {targets.nfs} are one folder; nfs_root and tftp_root must be two")
    warn_of_exposure(targets, say)
    with held(targets, "deploy", author):
        wanted = goal() if callable(goal) else goal
        there = planning.read(targets, wanted)
        plan = planning.plan(there, wanted)
        show(plan, there)
        if plan.changed or plan.unfinished:
            check(plan, there, wanted)
            record = {**author, "action": "deploy", **described(wanted)}
            with recorded(targets, record):
                apply(plan, there, wanted, record, say)
    return plan


def check(plan: Plan, there: There, wanted: Wanted) -> None:
    """All that can be known to go wrong, before anything is changed. Raises Refused."""
    space.check(plan, there, wanted)
    missing = sorted(pins(wanted) - there.released.keys() - {built.release.id for built in wanted.releases})
    if missing:
        raise Refused(f"{', '.join(missing)}: pinned in site.yaml and not on the server; nothing was changed")
    paths = [there.targets.at(change.path) for change in plan.changes if change.after is not None]
    place.refuse_folders([*paths, *map(there.targets.served, plan.loaders)])
    for service in _changed_services(plan, wanted):
        path = there.targets.at(service.path)
        place.make_folder(there.targets, os.path.dirname(path))
        services.check(service, path)


def apply(plan: Plan, there: There, wanted: Wanted, record: journal.Record, say: Say) -> None:
    """Do what the plan says, in its order."""
    targets = there.targets
    for built in plan.boots:
        place.publish_boot(targets, built)
    for built in plan.roots:  # last: what has a root is a whole release
        place.publish_root(there, built, say)
    if plan.site_img:
        place.publish_folder(targets, wanted.site_id, {"site.img": wanted.site_img})
    for name in plan.opened:
        place.open_folder(targets, name)
    place.commit(targets, _commit(plan, targets, wanted, record))
    _install(plan, targets, wanted, say)


def _commit(plan: Plan, targets: Targets, wanted: Wanted, record: journal.Record) -> place.Commit:
    """All that changes below tftp_root when what it leads to is there, and what is kept of it."""
    files = {name: place.read(wanted.loaders[name]) for name in plan.loaders}
    files |= {_name(targets, change.path): change.after or b"" for change in plan.files + plan.boot_files}
    kept = {
        "files": ours_as_text(targets, _digests(wanted)),
        "nodes.json": json.dumps(dict(wanted.nodes), sort_keys=True).encode(),
    }
    return place.Commit(files, [_name(targets, change.path) for change in plan.stale], kept, record)


def pins(wanted: Wanted) -> set[str]:
    return {node["release"] for node in wanted.nodes.values() if "release" in node}


def described(wanted: Wanted) -> journal.Record:
    """What the journal keeps of a wanted state."""
    boot_files = {name: data for name, data in wanted.files.items() if name.startswith(BOOT_FILES)}
    return {
        "releases": {built.release.image: built.release.id for built in wanted.releases},
        "pinned": sorted(pins(wanted)),
        "site": wanted.site_id,
        "boot_files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(boot_files.items())},
    }


def warn_of_exposure(targets: Targets, say: Say) -> None:
    """nfs_root on another's file system: no_subtree_check (exports(5)) lets a client read all of that."""
    if not targets.destdir and os.stat(targets.nfs_root).st_dev == os.stat(os.path.dirname(targets.nfs_root)).st_dev:
        say(f"{targets.nfs} is not a file system of its own: NFS clients can read the rest of the one it is on")


# --- what frames a deploy, a rollback and a prune


@contextlib.contextmanager
def held(targets: Targets, what: str, author: journal.Record) -> Iterator[journal.Record]:
    """Alone on this server; what a killed one had begun is ended and what else it left is gone when it begins.

    Gives what the journal says of what was ended. Raises Refused, naming who is at it.
    """
    place.make_folder(targets, targets.kept(""))
    with locked(targets.kept("lock"), f"{what} to {targets.nfs_root}", journal.named(author)):
        _clear(targets)
        ended = _end(targets)
        try:
            yield ended
        finally:
            _clear(targets)


def _end(targets: Targets) -> journal.Record:
    """End what one that was killed had begun: files on their way to their places, and releases on their way out.

    Nobody is stopped by what cannot be ended: whoever needs it comes upon it again.
    """
    path, record = targets.kept("journal.jsonl"), journal.Record()
    with contextlib.suppress(OSError, Refused):
        record = place.carry_out(targets) or _removed(targets, journal.begun(journal.read(path)))
        if record:
            journal.append(path, {**record, "result": journal.DONE})
    _clear(targets, all=True)
    return record


def _removed(targets: Targets, record: journal.Record) -> journal.Record:
    """The end of a prune that was killed: what is half gone goes. What it had not come to stays, for it was stopped."""
    if "removed" not in record:
        return {}
    booted = {id for data in planning.read_files(targets).values() for id in planning.named(data)}
    gone = [id for id in record["removed"] if planning.is_id(id) and not place.is_whole(targets, id)]
    for id in gone:
        if id not in booted:
            place.remove_release(targets, id)
    return {**record, "removed": gone}


def _clear(targets: Targets, all: bool = False) -> None:
    """Remove what was being written; what was committed only when it is `all`."""
    sweep(targets.kept(""))
    stay_inside(targets, targets.incoming_files)
    stay_inside(targets, targets.incoming_roots)
    with contextlib.suppress(OSError, Refused):  # below a mount point: the next one tries it again
        place.clear(targets.incoming_roots)
    with contextlib.suppress(OSError, Refused):
        if all or not os.path.lexists(targets.commit):
            place.clear(targets.incoming_files)


@contextlib.contextmanager
def recorded(targets: Targets, record: journal.Record) -> Iterator[None]:
    """Journal that work started, and how it ended. A disk that is full or fails is said in one line.

    A rollback is done though the journal cannot be written: nodes must boot.
    """
    path = targets.kept("journal.jsonl")
    with _in_one_line(targets):
        _note(path, record, journal.STARTED)
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):
                _clear(targets)
                journal.append(path, {**record, "result": f"failed: {str(error) or type(error).__name__}"})
            raise
        _clear(targets)
        _note(path, record, journal.DONE)  # the last step: before it the same again goes on


def _note(path: str, record: journal.Record, result: str) -> None:
    try:
        journal.append(path, {**record, "result": result})
    except OSError:
        if not journal.is_rollback(record):
            raise


@contextlib.contextmanager
def _in_one_line(targets: Targets) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (None, errno.EBADF):  # no disk says that
            raise
        where = os.fsdecode(error.filename2 or error.filename or targets.nfs_root)
        raise Refused(
            f"{where}: {error.strerror}; nodes boot as before or as they shall; mend it and run it again"
        ) from None


def ours_as_text(targets: Targets, digests: Mapping[str, str]) -> bytes:
    """Which files below tftp_root are ours, as sha256sum(1) reads it."""
    lines = (f"{digest}  {targets.tftp}/{name}\n" for name, digest in sorted(digests.items()))
    return "".join(lines).encode(errors="surrogateescape")


def _digests(wanted: Wanted) -> dict[str, str]:
    generated = {name: hashlib.sha256(data).hexdigest() for name, data in wanted.files.items()}
    return generated | {name: digest_file(path) for name, path in wanted.loaders.items()}


def _name(targets: Targets, path: str) -> str:
    return path.removeprefix(targets.tftp + "/")


def _changed_services(plan: Plan, wanted: Wanted) -> list[services.Service]:
    changed = {change.path for change in plan.services}
    return [service for service in wanted.services if service.path in changed]


def _install(plan: Plan, targets: Targets, wanted: Wanted, say: Say) -> None:
    """Daemons' files; with `destdir` they are put in place and no daemon hears of it."""
    for service in _changed_services(plan, wanted):
        path = targets.at(service.path)
        place.make_folder(targets, os.path.dirname(path))
        services.install(service._replace(reload=() if targets.destdir else service.reload), path, say)
