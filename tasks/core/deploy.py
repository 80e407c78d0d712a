"""Deploy: makes a server hold what is wanted. At any moment nodes boot the old or the new; a second run finishes."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from . import exports, journal, neighbours, place, services, space
from . import plan as planning
from .errors import Refused
from .files import digest_file, locked, sweep, unlocked
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
    must_be_two(targets)
    warn_of_exposure(targets, say)
    with held(targets, "deploy", author):
        wanted = goal() if callable(goal) else goal
        there = planning.read(targets, wanted)
        neighbours.refuse(there, wanted)
        plan = planning.plan(there, wanted)
        show(plan, there)
        if plan.changed or plan.unfinished:
            for service in _changed_services(plan, there, wanted):
                place.make_folder(targets, os.path.dirname(targets.at(service.path)))
            check(plan, there, wanted)
            record = {**author, "action": "deploy", **described(wanted)}
            with recorded(targets, record):
                apply(plan, there, wanted, record, say)
    return plan


def must_be_two(targets: Targets) -> None:
    """Raises Refused where the folders of TFTP and NFS are one, by whichever names."""
    one, other = targets.tftp_root, targets.nfs_root
    there = os.path.isdir(one) and os.path.isdir(other)
    if os.path.samefile(one, other) if there else os.path.realpath(one) == os.path.realpath(other):
        raise Refused(f"{targets.tftp} and {targets.nfs} are one folder; nfs_root and tftp_root must be two")


def refusal(plan: Plan, there: There, wanted: Wanted) -> str:
    """Why a deploy would refuse to do this, in its words; "" where it would not. Nothing is changed."""
    targets = there.targets
    try:
        for folder in (targets.tftp_root, targets.nfs_root, targets.kept("")):
            stay_inside(targets, folder)
        must_be_two(targets)
        unlocked(targets.kept("lock"), _at_work(targets, "deploy"))
        if plan.changed or plan.unfinished:
            check(plan, there, wanted)
    except Refused as error:
        return str(error)
    return ""


def check(plan: Plan, there: There, wanted: Wanted) -> None:
    """All that can be known to go wrong, before anything is changed. Raises Refused."""
    for folder in _written_to(plan, there):
        stay_inside(there.targets, folder)
    space.check(plan, there, wanted)
    for built in plan.roots:
        place.must_be_free(there.targets, built)
    missing = sorted(pins(wanted) - there.released.keys() - {built.release.id for built in wanted.releases})
    if missing:
        raise Refused(f"{', '.join(missing)}: pinned in site.yaml and not on the server; nothing was changed")
    paths = [there.targets.at(change.path) for change in plan.changes if change.after is not None]
    place.refuse_folders([*paths, *map(there.targets.served, plan.loaders)])
    for service in _changed_services(plan, there, wanted):
        services.check(service, there.targets.at(service.path))


def _written_to(plan: Plan, there: There) -> list[str]:
    """The folders that a deploy writes to."""
    targets = there.targets
    paths = {change.path for change in plan.changes} | {f"{targets.tftp}/{name}" for name in plan.loaders}
    own = [targets.incoming_roots, targets.incoming_files]
    return own + sorted({os.path.dirname(targets.at(path)) for path in paths})


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
    now = dataclasses.replace(there, exports=exports.read(targets))  # another site may be at it
    daemons = _changed_services(plan, now, wanted)
    nfs = [daemon for daemon in daemons if exports.site_of(daemon.path)]
    _install(nfs, targets, say)  # before any node is told to boot from there
    place.commit(targets, _commit(plan, there, wanted, record))
    _install([daemon for daemon in daemons if daemon not in nfs], targets, say)


def _commit(plan: Plan, there: There, wanted: Wanted, record: journal.Record) -> place.Commit:
    """All that changes below tftp_root when what it leads to is there, and what is kept of it."""
    targets, digests = there.targets, _digests(wanted)
    digests |= {name: digest for name, digest in there.ours.items() if name in wanted.left}
    files = {name: place.read(wanted.loaders[name]) for name in plan.loaders}
    files |= {_name(targets, change.path): change.after or b"" for change in plan.files + plan.boot_files}
    kept = {
        "files": ours_as_text(targets, digests),
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
        "exports": [str(line) for line in exported(wanted)],
        "boot_files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(boot_files.items())},
        **({"image": wanted.image} if wanted.image else {}),
    }


def exported(wanted: Wanted) -> list[exports.Export]:
    files = [service.data for service in wanted.services if exports.site_of(service.path)]
    return [line for data in files for line in exports.exports_of(data)]


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
    with locked(targets.kept("lock"), _at_work(targets, what), journal.named(author)):
        _clear(targets)
        ended = _end(targets)
        try:
            yield ended
        finally:
            _clear(targets)


def _at_work(targets: Targets, what: str) -> str:
    return f"{what} to {targets.nfs_root}"


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


def _changed_services(plan: Plan, there: There, wanted: Wanted) -> list[services.Service]:
    """All after a deploy that was killed: maybe it wrote a file of which its daemon has not heard yet."""
    changed = {change.path for change in plan.services}
    every = planning.settled(there, wanted)
    return [one for one in every if plan.unfinished or changed & {path for path, _ in one.files}]


def _install(daemons: Iterable[services.Service], targets: Targets, say: Say) -> None:
    """Daemons' files; with `destdir` they are put in place and no daemon hears of it."""
    for service in daemons:
        path = targets.at(service.path)
        place.make_folder(targets, os.path.dirname(path))
        services.install(service.placed(targets), path, say)
