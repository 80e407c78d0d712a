"""What servers hold, what nodes run, and how they booted.

servers, nodes, reports of boots ──> status ──> words, JSON, metrics
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .base.options import JSON, flag
from .base.rule import Task, command
from .base.servers import everywhere, refuse_failed, states_of, tell, texts
from .base.settings import Run, this_run
from .base.trust import certificate, keys
from .core.base.errors import BadInput, Refused
from .core.base.text import counted
from .history import is_range, show_range
from .push import degraded, hear, said_of
from .report import put_on_page

if TYPE_CHECKING:
    from .core.inspect.boots import Booted
    from .core.inspect.status import State
    from .core.nodes.ask import Heard
    from .core.operate.metrics import Seen
    from .core.remote.line import Answer
    from .core.site.model import Site


NODES = {
    "name": "nodes",
    "long": "nodes",
    "help": "ask the nodes what they run, over ssh",
    **flag,
}
DISKS = {
    "name": "disks",
    "long": "ask",
    "help": "ask them for their disks, too, with serial numbers",
    **flag,
}
BOOTS = {
    "name": "boots",
    "long": "boots",
    "help": "the last boot of each node, as its server was told of it",
    **flag,
}
HTML = {
    "name": "html",
    "long": "html",
    "type": str,
    "default": None,  # "" is what a job gives whose variable is not set, and no file
    "help": "all of it as one page, for a wall, to that file; - for standard output",
}
PROMETHEUS = {
    "name": "prometheus",
    "long": "prometheus",
    "help": "a textfile for node_exporter instead, of servers, drift and nodes, to standard output",
    **flag,
}


def task_status() -> Task:
    """show what servers hold and boot; --nodes, `node=`: what nodes run; A..B: what changed"""
    if any(map(is_range, sys.argv[1:])):
        shown = command(show_range, this_run, knows="server destdir")
        return {**shown, "pos_arg": "words"}
    options = [NODES, DISKS, BOOTS, HTML, PROMETHEUS, JSON]
    return command(status, this_run, params=options, knows="server node destdir")


def folded(answers: dict[str, Answer]) -> dict[str, Answer]:
    """The answers; servers whose states differ in nothing but seconds have one state."""
    from .core.inspect.status import without_seconds

    states = without_seconds(states_of(answers))
    return {server: answers[server]._replace(done=state) for server, state in states.items()}


def of_nodes(run: Run, states: Mapping[str, State], disks: bool) -> list[str]:
    """What nodes say that they run, and with a `!` those that are not as they shall be.

    `disks`: and which each has.
    """
    from .core.inspect.status import behind, by_release

    heard = hear(run)
    runs = {name: one.release for name, one in heard.runs.items()}
    late = behind(runs, next_releases(run.site, states))
    lines = list(by_release(runs))
    for line in (*late, *said_of(degraded(heard))):
        lines.append(f"! {line}")
    for name, one in heard.runs.items() if disks else ():
        lines += [f"{name}: {disk}" for disk in one.disks]
    return [*lines, *heard.unheard]


def next_releases(site: Site, states: Mapping[str, State]) -> dict[str, str]:
    """What each node runs from its next boot on: what it is pinned to, or else its image boots."""
    from .core.config.boot_files import server_of

    found = {}
    for node in site.nodes:
        state = states.get(server_of(site, node).name, {})
        release = node.release or state.get("current", {}).get(node.image)
        if release:
            found[node.name] = release
    return found


def see(run: Run, answers: Mapping[str, Answer], heard: Heard) -> Seen:
    """What servers and nodes say. `answers`: of servers asked for their states."""
    from .core.operate.metrics import Seen
    from .core.remote.options import VerifyOptions

    checked = states_of(everywhere(run, VerifyOptions(False, "", keys(run))))
    states = states_of(answers)
    failed = {name: each.failure for name, each in answers.items() if each.failure}
    drift = {server: len(done["findings"]) for server, done in checked.items()}
    return Seen(
        states=states,
        failed=failed,
        drift=drift,
        runs=heard.runs,
        following=next_releases(run.site, states),
        asked=len(run.nodes),
    )


def show_metrics(run: Run) -> None:
    """Print what servers and nodes say as metrics: what is wrong is among them, and no failure."""
    from .core.operate.metrics import metrics_text
    from .core.remote.options import StatusOptions

    seen = see(run, everywhere(run, StatusOptions(certificate(run))), hear(run))
    print(metrics_text(seen), end="")


def page_file(run: Run, name: str) -> str:
    """Where the page goes, behind links: it takes the place of what is there. Raises BadInput."""
    if name == "-":
        return name
    path = os.path.realpath(name)
    if not os.path.isdir(os.path.dirname(path)):
        why = "no such folder"
    elif os.path.lexists(path) and not os.path.isfile(path):
        why = "is no file; - is standard output"
    else:
        return path
    raise BadInput.at(run.settings.site, f"status --html={name}: {why}")


def write_page(run: Run, file: str) -> None:
    """Write the cluster as a page, and put it on the report's: what is wrong is no failure."""
    from .core.base.files import write_atomic
    from .core.report.view import render_page

    view = look(run)
    values = {"seen": view, **{key: view[key] for key in ("site", "at", "needs")}}
    page = render_page("status.html", values, run.paths.templates)
    if file == "-":
        print(page.decode(), end="")
    else:
        write_atomic(file, page)
    given = run.settings
    if not (given.node or given.server or given.destdir):  # the report is of all of it
        put_on_page("status", view, run.site, run.paths)


def look(run: Run) -> dict[str, Any]:
    """All that can be seen of the cluster now."""
    import time

    from .core.operate.overview import ClusterFacts, overview
    from .core.remote.options import StatusOptions

    heard, answers = hear(run), everywhere(run, StatusOptions(certificate(run)))
    facts = ClusterFacts(
        site=run.site,
        at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        nodes=run.nodes,
        seen=see(run, answers, heard),
        marked=unenrolled(run),
        unheard=heard.unheard,
        booted=hear_boots(run)[1] if run.site.deploy.syslog != "none" else None,
    )
    return overview(facts)


def status(run: Run, **words: Any) -> None:
    refuse_at_once(run, words)
    if words["prometheus"]:
        return show_metrics(run)
    if words["boots"]:
        return show_boots(run, words["as_json"])
    if words["html"] is not None:
        return write_page(run, page_file(run, words["html"]))
    from .core.remote.options import StatusOptions

    answers = everywhere(run, StatusOptions(certificate(run)))
    if words["as_json"]:
        print(json.dumps({"servers": states_of(answers)}, indent=1))
    else:
        show_states(run, answers, words)
    refuse_failed(run, answers)
    refuse_wrong(answers)


WHOLE = ("prometheus", "boots", "html")  # each tells all that it has to tell
PARTS = ("nodes", "disks")


def refuse_at_once(run: Run, words: Mapping[str, Any]) -> None:
    """Raises BadInput where options are given that do not go together."""
    if words["html"] == "":
        raise BadInput.at(
            run.settings.site, "status --html=: name a file, or - for standard output"
        )
    given = [name for name in (*WHOLE, *PARTS) if words[name]]
    if words["as_json"]:
        given = [*given, "json"] if given != ["boots"] else given
    if len(given) > 1 and given != list(PARTS):
        spelled = {"disks": "ask"}
        options = " ".join(f"--{spelled.get(name, name)}" for name in given)
        raise BadInput.at(run.settings.site, f"status {options}: one of them at a time")


def show_states(run: Run, answers: dict[str, Answer], words: Mapping[str, Any]) -> None:
    """Print what servers said, and nodes, where these are asked."""
    from .core.inspect.status import status_text, unequal

    tell(run, texts(folded(answers), status_text))
    states = states_of(answers)
    for line in (*unequal(states), *unenrolled(run)):
        print(f"! {line}")
    if words["nodes"] or words["disks"] or run.settings.node:
        lines = [f"  {line}" for line in of_nodes(run, states, words["disks"])]
        print("Nodes", *lines, sep="\n")


def unenrolled(run: Run) -> list[str]:
    """That nodes come up without their secrets, in a line."""
    if not run.site.has_secrets:
        return []
    from .core.node_secrets.of_site import without_key

    return without_key(run.site)


def refuse_wrong(answers: Mapping[str, Answer]) -> None:
    """Raises Refused where something needs an admin."""
    from .core.inspect.status import unequal

    count = len(unequal(states_of(answers)))
    for answer in answers.values():
        count += len(answer.done["wrong"])
    if count:
        are = "is" if count == 1 else "are"
        raise Refused(f"{counted(count, 'thing')} {are} wrong")


def show_boots(run: Run, as_json: bool) -> None:
    """Print the last boot of each node that `node=` names, or of all."""
    from .core.inspect.boots import boots_text
    from .core.services.boot_reports import plain_report

    if run.site.deploy.syslog == "none":
        need = "no server keeps reports of boots: deploy: {syslog: rsyslog} has them kept"
        raise BadInput.at(run.settings.site, f"status --boots: {need}")
    names = [node.name for node in run.nodes]
    answers, booted = hear_boots(run)
    if as_json:
        found = {name: plain_report(booted[name]) for name in names if name in booted}
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(boots_text(booted, names)))
    refuse_failed(run, answers)


def hear_boots(run: Run) -> tuple[dict[str, Answer], Booted]:
    """What servers were told of boots: their answers, and the last boot of each node."""
    from .core.inspect.boots import latest
    from .core.remote.options import BootsOptions

    answers = everywhere(run, BootsOptions(run.site.name))
    heard = [done["boots"] for done in states_of(answers).values()]
    return answers, latest(heard)
