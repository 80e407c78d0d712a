"""Nodes that run: new site data for them, and what they say that they run.

site.yaml ──> hosts, nodes, site, layouts ── ssh ──> /run/plugnode/ of each node
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .configs import config
from .console import say
from .core.errors import BadInput, Refused
from .core.files import write_atomic
from .core.site import Node
from .core.text import counted
from .rule import command
from .settings import settings, site

if TYPE_CHECKING:
    from .core.reach import Runs


def known_hosts() -> str:
    """The ssh host keys of nodes, as each first showed them: state, that no build makes again."""
    return settings().path("nodes.known_hosts")


def nodes() -> list[Node]:
    """Those that `node=` names, or all. Raises BadInput."""
    from .core.ranges import BadRange, expand, fold

    if not settings().node:
        return list(site().nodes)
    try:
        wanted = set(expand(settings().node))
    except BadRange as error:
        raise BadInput.at(settings().site, f"node={settings().node}: {error}") from None
    found = [node for node in site().nodes if node.name in wanted]
    if missing := wanted - {node.name for node in found}:
        raise BadInput.at(settings().site, f"node={settings().node}: {fold(sorted(missing))}: no such node")
    return found


def task_push():
    """send new site data (hosts, nodes) to nodes that run, without a reboot; `node=wn[003-007]`"""
    return command(push, after=["configs"])


def push() -> None:
    from .core import reach

    file = settings().path(".push.tar")
    write_atomic(file, site_data())
    asked = nodes()
    replies = reach.ask(asked, reach.TAKE, known_hosts(), file)
    for line in reach.folded(dict.fromkeys(replies.said, "new site data")):
        print(line)
    for line in reach.folded(replies.failed, known_hosts()):
        print(line)
    if replies.failed:
        count = f"{len(replies.failed)} of {counted(len(asked), 'node')}"
        alone = len(replies.failed) == 1
        end = "has not got it; it will when it boots" if alone else "have not got it; they will when they boot"
        raise Refused(f"{count} {end}")


def site_data() -> bytes:
    """What site.img brings a node, as a tar."""
    import io
    import tarfile

    from .core.configs import site_image

    with open(config("hosts"), "rb") as file:
        files = site_image(site(), file.read())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(os.path.relpath(name, "plugnode"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


DEGRADED = "degraded: see /run/plugnode/degraded there"


class Heard(NamedTuple):
    """What nodes said of themselves, and a line for all that did not for the same reason."""

    runs: dict[str, Runs]
    unheard: list[str]


def hear() -> Heard:
    """Ask nodes what they run."""
    from .core import reach

    asked = nodes()
    say(f"asking {counted(len(asked), 'node')} what they run")
    replies = reach.ask(asked, reach.RUNS, known_hosts())
    said = {name: reach.runs(text) for name, text in replies.said.items()}
    odd = dict.fromkeys((name for name, one in said.items() if one is None), "what it says that it runs is no release")
    unheard = reach.folded({**replies.failed, **odd}, known_hosts())
    return Heard({name: one for name, one in said.items() if one}, unheard)


def said_of(words: dict[str, str]) -> list[str]:
    """A line for all nodes of the same words."""
    from .core import reach

    return reach.folded(words)


def running() -> tuple[dict[str, str], list[str]]:
    """Release -> the nodes that say that they run it, folded; and a line for all that do not say."""
    from .core.ranges import fold

    heard = hear()
    found: dict[str, list[str]] = {}
    for name, one in heard.runs.items():
        found.setdefault(one.release, []).append(name)
    degraded = dict.fromkeys((name for name, one in heard.runs.items() if one.degraded), DEGRADED)
    lines = [*said_of(degraded), *heard.unheard]
    return {release: fold(names) for release, names in found.items()}, lines
