"""Deploy: make a server match, in the order of the plan."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..base.files import digest_once, read
from ..base.process import Say
from ..plan import decide, other_sites
from ..plan.actual import read_actual, site_signature
from ..plan.decide import all_services, changed_services
from ..plan.model import Plan
from ..plan.state import Actual, Desired, described
from ..plan.ukis import keep_programs
from ..services import exports
from ..services.daemon_files import Service, install_service
from ..services.installed import digests_of, note_installed
from ..store import journal, tftp
from ..store.commit import Commit, commit
from ..store.operation import held, recorded
from ..store.ours import ours_as_text
from ..store.paths import Targets
from ..store.served import note_served
from ..trust.held import write_signatures
from . import elsewhere, publish
from .preflight import must_be_two, refuse_unready, warn_of_exposure

Show = Callable[[Plan, Actual, Desired], None]


def deploy(
    targets: Targets,
    goal: Desired | Callable[[], Desired],
    author: journal.Record,
    say: Say,
    show: Show = lambda plan, actual, desired: None,
) -> Plan:
    """Make the server hold what is wanted, after `show` of what that is, which may refuse it.

    `goal`: a function where that follows from what the server holds; it is asked when nobody else
    is at it. Raises Refused: one line that says why not.
    """
    _make_roots(targets)
    must_be_two(targets)
    warn_of_exposure(targets, say)
    with held(targets, "deploy", author):
        desired = goal() if callable(goal) else goal
        actual = read_actual(targets, desired)
        other_sites.refuse(actual, desired)
        plan = decide.plan(actual, desired)
        show(plan, actual, desired)
        if plan.changed or plan.unfinished:
            _make_folders_of_services(plan, actual, desired)
            refuse_unready(plan, actual, desired)
            record = {**author, "action": journal.DEPLOY, **described(desired)}
            with recorded(targets, record):
                apply(plan, actual, desired, record, say)
    return plan


def _make_roots(targets: Targets) -> None:
    """Make the folders that are served; one that is there is the admin's."""
    tftp.make_folder(targets, targets.tftp_root)
    if not os.path.isdir(targets.nfs_root):
        # Roots have setuid programs and devices, of use to local users alone
        tftp.make_private(targets, targets.nfs_root)


def _make_folders_of_services(plan: Plan, actual: Actual, desired: Desired) -> None:
    for service in changed_services(plan, actual, desired):
        _make_folder_of(service, actual.targets)


def _make_folder_of(service: Service, targets: Targets) -> None:
    tftp.make_folder(targets, os.path.dirname(targets.at(service.path)))


def apply(
    plan: Plan,
    actual: Actual,
    desired: Desired,
    record: journal.Record,
    say: Say,
) -> None:
    """Do what the plan says, in its order."""
    targets = actual.targets
    _install(_first_web_servers(plan, actual, desired), targets, say)
    _publish(plan, actual, desired, say)
    for name in plan.opened:
        tftp.open_folder(targets, name)

    _commit_between_daemons(plan, actual, desired, record, say)


def _first_web_servers(plan: Plan, actual: Actual, desired: Desired) -> Iterator[Service]:
    """Files of web servers where there was none: no node boots from there yet.

    Other servers fetch root files there before a node does.
    """
    if any(built.release.is_fetched for built in plan.boots):
        for service in changed_services(plan, actual, desired):
            if service.is_web and service.path not in actual.services:
                yield service


def _commit_between_daemons(
    plan: Plan,
    actual: Actual,
    desired: Desired,
    record: journal.Record,
    say: Say,
) -> None:
    """Exports, then boot files, then the other daemons' files."""
    targets = actual.targets
    # Another site may be at it, too.
    now = dataclasses.replace(actual, exports=exports.read_exports(targets))
    installed = [*_first_web_servers(plan, actual, desired)]
    changed = changed_services(plan, now, desired)
    daemons = [daemon for daemon in changed if daemon not in installed]
    of_roots = [daemon for daemon in daemons if daemon.serves_roots]
    others = [daemon for daemon in daemons if daemon not in of_roots]

    _install(of_roots, targets, say)  # before any node is told to boot from there
    commit(targets, _commit(plan, actual, desired, record))
    note_served(targets, plan.loaders)
    _install(others, targets, say)
    note_installed(targets, digests_of(all_services(now, desired)))


def _publish(plan: Plan, actual: Actual, desired: Desired, say: Say) -> None:
    """Put in place what boot files will name, and who has signed it."""
    targets = actual.targets
    for built in plan.boots:
        publish.publish_boot(actual, built, say)
    for built in plan.roots:  # last: what has a root is a whole release
        publish.publish_root(actual, built, say)
    elsewhere.must_be_served(targets, desired, say)
    write_signatures(targets, {id: desired.trust.signatures[id] for id in plan.signed})
    keep_programs(targets, desired)
    if plan.site_img or desired.site_id in plan.signed:
        signature = site_signature(targets, desired)
        files = desired.site_files(actual.released.values(), signature)
        tftp.publish_folder(targets, desired.site_id, files)


def _commit(
    plan: Plan,
    actual: Actual,
    desired: Desired,
    record: journal.Record,
) -> Commit:
    """All that changes below tftp_root when what it leads to is there, and what is kept of it."""
    targets = actual.targets
    loaders = {name: read(desired.loaders[name]) for name in plan.loaders}
    files = dict(loaders)
    for change in (*plan.files, *plan.boot_files):
        files[_name(targets, change.path)] = change.after or b""
    stale = [_name(targets, change.path) for change in plan.stale]
    nodes = json.dumps(dict(desired.nodes), sort_keys=True)
    kept = {
        "files": ours_as_text(targets, _digests(actual, desired, loaders)),
        "nodes.json": nodes.encode(),
    }
    return Commit(files, stale, kept, record)


def _digests(actual: Actual, desired: Desired, loaders: Mapping[str, bytes]) -> dict[str, str]:
    """The files that are ours from then on: name below tftp_root -> sha256.

    `loaders`: those that are new there.
    """
    digests = {name: digest_once(path) for name, path in desired.loaders.items()}
    for name, data in (*desired.files.items(), *loaders.items()):
        digests[name] = hashlib.sha256(data).hexdigest()
    for name, digest in actual.ours.items():
        if name in desired.left:
            digests[name] = digest
    return digests


def _name(targets: Targets, path: str) -> str:
    return path.removeprefix(targets.tftp + "/")


def _install(daemons: Iterable[Service], targets: Targets, say: Say) -> None:
    """Daemons' files; with `destdir` they are put in place and no daemon hears of it."""
    for service in daemons:
        _make_folder_of(service, targets)
        install_service(service.placed(targets), targets.at(service.path), say)
