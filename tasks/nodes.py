"""Nodes one by one: what each has, boots and runs, and which line of the site gave it.

site.yaml, build/<image>/release.json, servers, nodes ──> nodes ──> values, folded
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base.console import say
from .base.desired import targets
from .base.options import JSON, flag
from .base.paths import read_release
from .base.rule import command
from .base.servers import chosen, everywhere, refuse_failed
from .base.settings import settings, site
from .deploy import states_of
from .push import hear
from .push import nodes as named

if TYPE_CHECKING:
    from .core.nodes.effective import Booted, Described, Known
    from .core.remote.operations import Answer
    from .core.site.model import Node

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
    return command(show_nodes, params=[JSON, ASK, WHY], knows="node destdir")


def show_nodes(as_json: bool, ask: bool, why: bool) -> None:
    from .core.nodes.effective import Known
    from .core.nodes.table import nodes_json, nodes_text

    asked = named()
    answers = on_servers() if ask else {}
    heard = hear() if ask else None
    booted = booted_by(answers) if ask else on_this_machine()
    known = Known(booted, built(), heard.runs if heard else None)
    found = described(asked, known, why)
    print(nodes_json(found) if as_json else "\n".join(nodes_text(found)))
    for line in heard.unheard if heard else ():
        say(line)
    refuse_failed(answers)


def described(nodes: list[Node], known: Known, why: bool) -> list[Described]:
    """The values of nodes; with the lines that gave them, where that is asked."""
    from .core.nodes.effective import describe, explain_values
    from .core.site.load import read_written

    found = describe(site(), nodes, known)
    if not why:
        return found
    written = read_written(settings().site, settings().folders)
    return explain_values(found, site(), known, written)


def on_servers() -> dict[str, Answer]:
    from .core.remote.options import StatusOptions

    return everywhere(StatusOptions())


def booted_by(answers: dict[str, Answer]) -> Booted:
    """What each image boots at the servers that answered."""
    return {server: state["current"] for server, state in states_of(answers).items()}


def on_this_machine() -> Booted:
    """What each image boots at the server that is this machine: that can be seen at once."""
    from .core.store.boot_files import current, read_files

    here = [server.name for server in chosen() if server.ssh is None]
    files = read_files(targets()) if here else {}
    boots = {image.name: current(files, image.name) for image in site().images}
    return dict.fromkeys(here, boots)


def built() -> dict[str, str]:
    """The release of each image that was built."""
    found = {}
    for image in site().images:
        try:
            found[image.name] = read_release(image).id
        except (FileNotFoundError, ValueError, TypeError):  # none, or damaged: it is made anew
            continue
    return found
