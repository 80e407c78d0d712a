"""Nodes that run: new site data for them, and what they say that they run.

site.yaml ──> hosts, nodes, site, layouts ── ssh ──> /run/plugnode/ of each node
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .base.console import say
from .base.paths import config, known_hosts
from .base.rule import command
from .base.settings import settings, site
from .core.base.errors import BadInput, Refused
from .core.base.files import read, write_atomic
from .core.base.text import counted
from .core.site.model import Node

if TYPE_CHECKING:
    from .core.nodes.ask import Runs


def nodes() -> list[Node]:
    """Those that `node=` names, or all. Raises BadInput."""
    from .core.base.nodeset import BadRange, select

    every = {node.name: node for node in site().nodes}
    if not settings().node:
        return list(every.values())
    try:
        wanted = set(select(settings().node, every, groups()))
    except BadRange as error:
        raise BadInput.at(settings().site, f"node={settings().node}: {error}") from None
    if missing := wanted - every.keys():
        raise BadInput.at(
            settings().site, f"node={settings().node}: {no_such(sorted(missing), every)}"
        )
    return [node for name, node in every.items() if name in wanted]


def groups() -> dict[str, list[str]]:
    """The nodes of each group that has some."""
    found: dict[str, list[str]] = {}
    for node in site().nodes:
        for name in node.groups:
            found.setdefault(name, []).append(node.name)
    return found


def no_such(missing: list[str], known: Iterable[str]) -> str:
    """That the site has no such nodes as `node=` names; of one, which was likely meant."""
    import difflib

    from .core.base.nodeset import fold_nodes

    names = fold_nodes(missing)
    near = difflib.get_close_matches(missing[0], known, 1) if len(missing) == 1 else []
    hint = f"did you mean {near[0]}?" if near else "name those of `nodes:`"
    return f"{'' if names == settings().node else f'{names}: '}no such node; {hint}"


def task_push():
    """send new site data to nodes that run, without a reboot; `node=wn[003-007],@gpu`"""
    return command(push, after=["configs"], knows="node")


def push() -> None:
    from .core.nodes import ask

    file = settings().path(".push.tar")
    write_atomic(file, site_data())
    asked = nodes()
    replies = ask.ask(asked, ask.TAKE, known_hosts(), file)
    for line in ask.folded(dict.fromkeys(replies.said, "new site data")):
        print(line)
    for line in ask.folded(replies.failed, known_hosts()):
        print(line)
    if replies.failed:
        count = f"{len(replies.failed)} of {counted(len(asked), 'node')}"
        alone = len(replies.failed) == 1
        end = (
            "has not got it; it will when it boots"
            if alone
            else "have not got it; they will when they boot"
        )
        raise Refused(f"{count} {end}")


def site_data() -> bytes:
    """What site.img brings a node, as a tar."""
    import io
    import tarfile

    from .core.config.site_image import site_image

    files = site_image(site(), read(config("hosts")))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(os.path.relpath(name, "plugnode"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def ask_nodes() -> dict[str, str]:
    """Release -> nodes that run it, of those that can be asked; its age speaks for the others."""
    run_by, unheard = running()
    for line in unheard:
        say(line)
    return run_by


DEGRADED = "degraded: see /run/plugnode/degraded there"


class Heard(NamedTuple):
    """What nodes said of themselves, and a line for all that did not for the same reason."""

    runs: dict[str, Runs]
    unheard: list[str]


def hear() -> Heard:
    """Ask nodes what they run."""
    from .core.nodes import ask

    asked = nodes()
    say(f"asking {counted(len(asked), 'node')} what they run")
    replies = ask.ask(asked, ask.RUNS, known_hosts())
    runs: dict[str, Runs] = {}
    failed = dict(replies.failed)
    for name, text in replies.said.items():
        one = ask.runs(text)
        if one is None:
            failed[name] = "what it says that it runs is no release"
        else:
            runs[name] = one
    return Heard(runs, ask.folded(failed, known_hosts()))


def said_of(words: dict[str, str]) -> list[str]:
    """A line for all nodes of the same words."""
    from .core.nodes import ask

    return ask.folded(words)


def running() -> tuple[dict[str, str], list[str]]:
    """Release -> the nodes that say that they run it, folded; and a line for those that do not."""
    from .core.base.nodeset import fold_nodes

    heard = hear()
    found: dict[str, list[str]] = {}
    for name, one in heard.runs.items():
        found.setdefault(one.release, []).append(name)
    lines = [*said_of(degraded(heard)), *heard.unheard]
    return {release: fold_nodes(names) for release, names in found.items()}, lines


def degraded(heard: Heard) -> dict[str, str]:
    """What is to be said of each node that is not as it shall be."""
    return {name: DEGRADED for name, one in heard.runs.items() if one.degraded}
