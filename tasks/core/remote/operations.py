"""Operations: what can be asked of a boot server, done on that server, wherever whoever asked is.

Each is a function of a server's folders, of an AnswerLine to whoever asked, and of its options; it
gives plain values. On this machine it is called; on another `agent` calls it there, and
`controller` is at the line's other end.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from ..base.errors import Refused
from ..base.process import Throttle
from ..deploy import apply, former_roots, preflight, prune, rollback, seen
from ..dhcp.asked import asked_here
from ..history.releases import Asked, Tell, plan_history, server_history
from ..history.words import SHORT, history_lines
from ..inspect import deployed, repair, status, verify
from ..plan import decide, other_sites, rolled_back, scope, state
from ..plan import text as plan_text
from ..plan.actual import read_actual
from ..plan.as_json import plan_json
from ..plan.model import Plan
from ..plan.state import Desired, pins
from ..plan.ukis import with_ukis
from ..release import Release
from ..services.boot_reports import plain_report, read_boots
from ..store import boot_files, journal, kept, loaders
from ..store.nodes import read_nodes
from ..store.ours import read_ours
from ..store.paths import BOOT_FILES, Targets
from .line import Sections
from .options import (
    AgeOptions,
    AskedOptions,
    BootsOptions,
    DeployOptions,
    HistoryOptions,
    LendOptions,
    Options,
    PlanOptions,
    PruneOptions,
    RecordOptions,
    RepairOptions,
    RollbackOptions,
    SiteDataOptions,
    StatusOptions,
    Values,
    VerifyOptions,
)


class AnswerLine(Protocol):
    """The way back to whoever asked, who has the site and what was built of it."""

    def say(self, text: str) -> None:
        """A line of progress."""

    def show(self, sections: Sections) -> None:
        """What is about to be done."""

    def agree(self, by_id: list[str]) -> None:
        """Tell what of a deploy wants to have been seen, and wait until all servers have.

        Raises Refused where there is any.
        """

    def wanted(self) -> Desired:
        """What this server must hold; of releases that are pinned, those that are built."""

    def render(self, release: Release, label: str, site_id: str) -> Mapping[str, bytes]:
        """The boot files of a release, below tftp_root."""

    def changes(self, asked: Asked) -> Mapping[str, Any]:
        """What of the changes between two releases may be told; see disclosure.told."""


def do(options: Options, targets: Targets, line: AnswerLine) -> Values:
    """Do the work that these options are of. Raises Refused."""
    return OPERATIONS[type(options)](targets, line, options)


def plan_server(
    targets: Targets,
    line: AnswerLine,
    options: PlanOptions,
) -> Values:
    """Tell what a deploy would change: `changed`, `sections`, `json`, `steps` and `by_id`.

    And why it would not: `refused`.
    """
    desired = goal_of(targets, line, line.wanted(), options.image, options.again)
    prunable = _prunable(targets, options)
    found = read_actual(targets, desired)
    actual = dataclasses.replace(found, prunable=tuple(prunable))
    other_sites.refuse(actual, desired)
    plan = seen.marked(decide.plan(actual, desired), actual, desired, options.revision)
    refused = preflight.refusal(plan, actual, desired)
    return {
        **described_plan(plan, actual, line.changes, refused),
        "refused": refused,
        "steps": seen.steps_of(plan, desired),
        "by_id": list(plan.by_id),
        "done": journal.done_plan(found.records),
    }


def described_plan(plan: Plan, actual: state.Actual, changes: Tell, refused: str = "") -> Values:
    """A plan as who asked gets it: `changed`, `sections` and `json`."""
    history = plan_history(plan, actual, changes)
    as_json = plan_json(plan, actual)
    return {
        "changed": plan.changed,
        "sections": plan_text.sections(plan, actual, in_lines(history)),
        "json": {**as_json, "history": history, "refused": refused},
    }


def in_lines(history: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """From one release to another -> what that changes, in lines."""
    lines = {}
    for told in history:
        lines[told["before"], told["after"]] = list(history_lines(told, SHORT))
    return lines


def _prunable(targets: Targets, options: AgeOptions) -> Iterator[tuple[str, str]]:
    """What a prune would remove, and why."""
    for verdict in _foreseen(targets, options):
        if verdict.removed:
            yield verdict.id, verdict.why


def _rules(options: AgeOptions) -> prune.Rules:
    """The rules of a prune right now."""
    return prune.Rules(
        keep=options.keep,
        days=options.keep_days,
        now=time.time(),
        running=options.running,
        image=options.image,
    )


def _foreseen(targets: Targets, options: AgeOptions) -> list[prune.Verdict]:
    """What a prune would decide."""
    rules = _rules(options)
    former = former_roots.foreseen_former(targets, options.site, rules)
    return [*prune.foreseen(targets, rules), *former.verdicts]


def _missing_loaders(targets: Targets, wanted: Desired) -> list[str]:
    """The loaders that are neither there nor coming, a line each."""
    names = [*wanted.loaders]
    if os.path.isdir(targets.tftp_root):
        names += os.listdir(targets.tftp_root)
    return loaders.missing_loaders(names, wanted.archs)


def deploy_server(
    targets: Targets,
    line: AnswerLine,
    options: DeployOptions,
) -> Values:
    """Make the server hold what is wanted, after showing what that changes: `changed`."""
    _agree(targets, line, options)
    wanted = line.wanted()
    for text in _missing_loaders(targets, wanted):
        line.say(text)

    def show(plan: Plan, actual: state.Actual, desired: Desired) -> None:
        plan = seen.marked(plan, actual, desired, options.revision)
        history = in_lines(plan_history(plan, actual, line.changes))
        line.show(plan_text.sections(plan, actual, history))
        seen.refuse_unseen(plan, seen.steps_of(plan, desired), options.seen)
        _offer(actual, desired)

    def settle() -> Desired:
        return goal_of(targets, line, wanted, options.image, options.again)

    plan = apply.deploy(targets, settle, options.author, line.say, show)
    return {"changed": plan.changed}


def _agree(targets: Targets, line: AnswerLine, options: DeployOptions) -> None:
    """Where several servers are deployed to: go on when none wants to have been seen."""
    if options.nodes is not None:
        line.agree(unseen(targets, options.nodes, options.revision))


def unseen(targets: Targets, nodes: list[str], revision: journal.Record) -> list[str]:
    """What of a deploy wants to have been seen, a line each. `nodes`: those of the site."""
    records = journal.read_journal(targets.journal)
    return list(seen.guarded(records, read_nodes(targets), nodes, revision))


def _offer(actual: state.Actual, desired: Desired) -> None:
    """Have other servers told of the root files that are here already."""
    for built in desired.releases:
        if built.release.id in actual.booted:
            built.offer()


def goal_of(
    targets: Targets,
    line: AnswerLine,
    wanted: Desired,
    image: str,
    again: bool = False,
) -> Desired:
    """What is wanted, of all images or of one, with all that only the server can know.

    Its pinned releases, and what was rolled back there: `again` takes that up, too.
    """
    with_pinned = with_pins(targets, line, wanted)
    stays = rolled_back.stay(targets, line.render, with_pinned, again)
    desired = with_ukis(targets, stays)
    if not image:
        return desired
    files = _own_boot_files(targets)
    released = kept.published(targets)
    limited = scope.only(desired, image, files, released, line.render)
    for name in _without_boot_file(desired, limited):
        what = "nothing of it is on the server; its nodes boot as before until it is deployed, too"
        line.say(f"{name}: {what}")
    return limited


def _own_boot_files(targets: Targets) -> dict[str, bytes]:
    """The boot files on a server that deploys wrote."""
    files = boot_files.read_files(targets)
    for name in files.keys() - read_ours(targets).keys():
        del files[name]
    return files


def _without_boot_file(desired: Desired, limited: Desired) -> Iterator[str]:
    """The images that a deploy of one image alone leaves without a boot file."""
    for built in desired.releases if limited.left else ():
        image = built.release.image
        if f"{BOOT_FILES}{image}.cfg" not in limited.files:
            yield image


def with_pins(targets: Targets, line: AnswerLine, wanted: Desired) -> Desired:
    """What is wanted, with the boot files of pinned releases that only the server has."""
    ids = pins(wanted)
    known = kept.published(targets) if ids else {}
    files = dict(wanted.files)
    for id in sorted(ids & known.keys()):
        if f"{BOOT_FILES}{id}.cfg" not in files:
            files |= line.render(known[id], id, wanted.site_id)
    return dataclasses.replace(wanted, files=files)


def rollback_server(
    targets: Targets,
    line: AnswerLine,
    options: RollbackOptions,
) -> Values:
    """Point boot files back: `moved`, of each image that was: name, before, after."""

    def render(release: Release, site_id: str) -> Mapping[str, bytes]:
        return line.render(release, release.image, site_id)

    choice = rollback.RollbackChoice(
        images=options.images,
        image=options.image,
        release=options.release,
        keys=options.keys,
    )
    backs = rollback.rollback_server(targets, choice, render, options.author)
    moved = [[back.image, back.before, back.after] for back in backs]
    return {"moved": moved}


def prune_server(
    targets: Targets,
    line: AnswerLine,
    options: PruneOptions,
) -> Values:
    """Remove what nobody needs, or only say what: `verdicts` (id, removed, why)."""
    if options.only_look:
        verdicts = _foreseen(targets, options)
    else:
        rules, author = _rules(options), options.author
        verdicts = prune.prune_server(targets, rules, author)
        verdicts += former_roots.prune_former(targets, options.site, rules, author, line.say)
    return {"verdicts": list(map(list, verdicts))}


def verify_server(
    targets: Targets,
    line: AnswerLine,
    options: VerifyOptions,
) -> Values:
    """Find what is not as it was deployed: `findings`, a line each."""
    tell = Throttle(line.say)
    findings = verify.of_server(targets, options.full, tell, options.image, options.keys)
    return {"findings": list(map(str, findings))}


def repair_server(
    targets: Targets,
    line: AnswerLine,
    options: RepairOptions,
) -> Values:
    """Mend published roots: `mended`, `left`, `missing` and `roots`."""
    data = {digest: base64.b64decode(text) for digest, text in options.lent.items()}
    lent = repair.Lent(options.built, data)
    wanted = repair.WantedRepair(options.image, options.full, options.author)
    done = repair.repair_server(targets, wanted, lent, Throttle(line.say))
    return done._asdict()


def lend_server(
    targets: Targets,
    line: AnswerLine,
    options: LendOptions,
) -> Values:
    """Give bytes of files of releases: `files`, digest -> base64."""
    found = repair.lend(targets, options.digests)
    return {"files": {each: base64.b64encode(data).decode() for each, data in found.items()}}


def status_server(
    targets: Targets,
    line: AnswerLine,
    options: StatusOptions,
) -> Values:
    """Tell what the server holds and boots."""
    return status.server_status(targets, time.time(), options.certificate)


def boots_server(
    targets: Targets,
    line: AnswerLine,
    options: BootsOptions,
) -> Values:
    """Tell the last boot of each node that reported one here: `boots`, by their names."""
    found = read_boots(targets, options.site, read_nodes(targets))
    return {"boots": {name: plain_report(report) for name, report in found.items()}}


def asked_server(
    targets: Targets,
    line: AnswerLine,
    options: AskedOptions,
) -> Values:
    """Tell which cards asked for an address: `cards`, the fields of each (see dhcp/asked.py)."""
    cards = asked_here(targets.at, with_journal=not targets.destdir)
    return {"cards": list(map(list, cards))}


def history_server(
    targets: Targets,
    line: AnswerLine,
    options: HistoryOptions,
) -> Values:
    """Compare two releases that are there: `lines`, and `asked`, of which not all may be told."""
    return server_history(targets, options.before, options.after)


def site_data_server(
    targets: Targets,
    line: AnswerLine,
    options: SiteDataOptions,
) -> Values:
    """Give the site data that nodes get when they boot: `site`, its id, and `files`."""
    return deployed.deployed_site_data(targets)


def record_server(
    targets: Targets,
    line: AnswerLine,
    options: RecordOptions,
) -> Values:
    """Note what was done to nodes."""
    journal.append(targets.journal, options.record)
    return {}


OPERATIONS: Mapping[type[Options], Callable[..., Values]] = {
    PlanOptions: plan_server,
    DeployOptions: deploy_server,
    RollbackOptions: rollback_server,
    PruneOptions: prune_server,
    VerifyOptions: verify_server,
    RepairOptions: repair_server,
    LendOptions: lend_server,
    StatusOptions: status_server,
    BootsOptions: boots_server,
    AskedOptions: asked_server,
    HistoryOptions: history_server,
    SiteDataOptions: site_data_server,
    RecordOptions: record_server,
}


def failure(error: BaseException) -> str:
    """An error as the one line that an admin reads. Raises it again where it is a bug."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        where = error.filename2 or error.filename
        if where and isinstance(where, (str, bytes)):
            return f"{os.fsdecode(where)}: {error.strerror}"
        return f"{error.strerror}"
    raise error
