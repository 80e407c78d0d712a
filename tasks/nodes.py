"""Nodes one by one: what each has, boots and runs, and which line of the site gave it.

site.yaml, build/<image>/release.json, servers, nodes ──> nodes ──> values, folded
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base.console import say
from .base.desired import targets
from .base.options import JSON, flag
from .base.paths import BuildPaths, read_release
from .base.rule import command
from .base.servers import chosen, everywhere, refuse_failed, states_of
from .base.settings import Run, this_run
from .push import hear

if TYPE_CHECKING:
    from .core.nodes.effective import Booted, Described, Known
    from .core.remote.line import Answer
    from .core.site.model import Node, Site

ASK = {
    "name": "ask",
    "long": "ask",
    "help": "ask the servers what they boot, and the nodes what they run, over ssh",
    **flag,
}
WHY = {
    "name": "why",
    "long": "why",
    "help": "where each value comes from: file and line, or default",
    **flag,
}


def task_nodes():
    """show what each node has, boots and runs; `node=wn[003-007],@gpu`"""
    return command(show_nodes, this_run, params=[JSON, ASK, WHY], knows="node destdir")


def show_nodes(run: Run, as_json: bool, ask: bool, why: bool) -> None:
    from .core.nodes.effective import Known
    from .core.nodes.table import nodes_json, nodes_text

    asked = run.nodes
    answers = on_servers(run) if ask else {}
    heard = hear(run) if ask else None
    booted = booted_by(answers) if ask else on_this_machine(run)
    known = Known(booted, built(run.site, run.paths), heard.runs if heard else None)
    found = described(run, asked, known, why)
    print(nodes_json(found) if as_json else "\n".join(nodes_text(found)))
    for line in heard.unheard if heard else ():
        say(line)
    refuse_failed(run, answers)


def described(run: Run, nodes: list[Node], known: Known, why: bool) -> list[Described]:
    """The values of nodes; with the lines that gave them, where that is asked."""
    from .core.nodes.effective import describe, explain_values
    from .core.site.load import read_written

    found = describe(run.site, nodes, known)
    if not why:
        return found
    written = read_written(run.settings.site, run.paths.folders)
    return explain_values(found, run.site, known, written)


def on_servers(run: Run) -> dict[str, Answer]:
    from .core.remote.options import StatusOptions

    return everywhere(run, StatusOptions())


def booted_by(answers: dict[str, Answer]) -> Booted:
    """What each image boots at the servers that answered."""
    return {server: state["current"] for server, state in states_of(answers).items()}


def on_this_machine(run: Run) -> Booted:
    """What each image boots at the server that is this machine: that can be seen at once."""
    from .core.store.boot_files import current, read_files

    here = [server.name for server in chosen(run) if server.ssh is None]
    files = read_files(targets(run)) if here else {}
    boots = {image.name: current(files, image.name) for image in run.site.images}
    return dict.fromkeys(here, boots)


def built(site: Site, paths: BuildPaths) -> dict[str, str]:
    """The release of each image that was built."""
    found = {}
    for image in site.images:
        try:
            found[image.name] = read_release(paths.release(image)).id
        except (FileNotFoundError, ValueError, TypeError):  # none, or damaged: it is made anew
            continue
    return found
