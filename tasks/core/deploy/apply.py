"""Deploy: make a server match, in the order of the plan."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable

from .. import site_data
from ..base.files import digest_file, read
from ..base.process import Say
from ..plan import decide, other_sites, state
from ..plan.decide import Plan, changed_services
from ..plan.state import Actual, Desired, described
from ..services import exports, services
from ..store import journal, tftp
from ..store.operation import held, recorded
from ..store.paths import Targets
from ..store.tftp import ours_as_text
from . import publish
from .preflight import must_be_two, refuse_unready, warn_of_exposure

Show = Callable[[Plan, Actual], None]


def deploy(
    targets: Targets,
    goal: Desired | Callable[[], Desired],
    author: journal.Record,
    say: Say,
    show: Show = lambda plan, there: None,
) -> Plan:
    """Make the server hold what is wanted, after `show` of what that is. Raises Refused: one line that says why not.

    `goal`: a function where that follows from what the server holds; it is asked when nobody else is at it.
    """
    for folder in (targets.tftp_root, targets.nfs_root):
        tftp.make_folder(targets, folder)
    must_be_two(targets)
    warn_of_exposure(targets, say)
    with held(targets, "deploy", author):
        wanted = goal() if callable(goal) else goal
        there = state.read_actual(targets, wanted)
        other_sites.refuse(there, wanted)
        plan = decide.plan(there, wanted)
        show(plan, there)
        if plan.changed or plan.unfinished:
            for service in changed_services(plan, there, wanted):
                tftp.make_folder(targets, os.path.dirname(targets.at(service.path)))
            refuse_unready(plan, there, wanted)
            record = {**author, "action": "deploy", **described(wanted)}
            with recorded(targets, record):
                apply(plan, there, wanted, record, say)
    return plan


def apply(plan: Plan, there: Actual, wanted: Desired, record: journal.Record, say: Say) -> None:
    """Do what the plan says, in its order."""
    targets = there.targets
    for built in plan.boots:
        publish.publish_boot(targets, built)
    for built in plan.roots:  # last: what has a root is a whole release
        publish.publish_root(there, built, say)
    if plan.site_img:
        tftp.publish_folder(targets, wanted.site_id, site_data.beside(wanted.site_img))
    for name in plan.opened:
        tftp.open_folder(targets, name)
    now = dataclasses.replace(
        there, exports=exports.read_exports(targets)
    )  # another site may be at it
    daemons = changed_services(plan, now, wanted)
    nfs = [daemon for daemon in daemons if exports.site_of(daemon.path)]
    _install(nfs, targets, say)  # before any node is told to boot from there
    tftp.commit(targets, _commit(plan, there, wanted, record))
    _install([daemon for daemon in daemons if daemon not in nfs], targets, say)


def _commit(plan: Plan, there: Actual, wanted: Desired, record: journal.Record) -> tftp.Commit:
    """All that changes below tftp_root when what it leads to is there, and what is kept of it."""
    targets, digests = there.targets, _digests(wanted)
    digests |= {name: digest for name, digest in there.ours.items() if name in wanted.left}
    files = {name: read(wanted.loaders[name]) for name in plan.loaders}
    files |= {
        _name(targets, change.path): change.after or b"" for change in plan.files + plan.boot_files
    }
    kept = {
        "files": ours_as_text(targets, digests),
        "nodes.json": json.dumps(dict(wanted.nodes), sort_keys=True).encode(),
    }
    return tftp.Commit(files, [_name(targets, change.path) for change in plan.stale], kept, record)


def _digests(wanted: Desired) -> dict[str, str]:
    generated = {name: hashlib.sha256(data).hexdigest() for name, data in wanted.files.items()}
    return generated | {name: digest_file(path) for name, path in wanted.loaders.items()}


def _name(targets: Targets, path: str) -> str:
    return path.removeprefix(targets.tftp + "/")


def _install(daemons: Iterable[services.Service], targets: Targets, say: Say) -> None:
    """Daemons' files; with `destdir` they are put in place and no daemon hears of it."""
    for service in daemons:
        path = targets.at(service.path)
        tftp.make_folder(targets, os.path.dirname(path))
        services.install_service(service.placed(targets), path, say)
