"""Which boot servers are asked, and how their answers are told.

server=, servers: ──> this machine: operations · by ssh: controller ──> answers, folded
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from ..core.base.errors import Refused
from ..core.release import ROOT_FILE_NAMES, Release
from ..core.site.model import Server
from .console import say
from .desired import boot_files_of, build_of_run, changes_told, targets, wanted
from .options import coloured
from .paths import BuildPaths
from .rule import remove
from .settings import Run
from .trust import trusted, with_signed_files

if TYPE_CHECKING:
    from ..core.history.releases import Asked
    from ..core.plan.state import Desired
    from ..core.remote.controller import Source
    from ..core.remote.line import Answer, Sections
    from ..core.remote.options import DeployOptions, Options


@lru_cache(maxsize=None)
def chosen(run: Run) -> list[Server]:
    """The servers to ask: those that `server=` names, or all."""
    from ..core.base.nodeset import expand_nodes, fold_nodes

    names = {server.name for server in run.site.servers}
    if run.settings.server:
        names = set(expand_nodes(run.settings.server))
    servers = [server for server in run.site.servers if server.name in names]
    here = [server for server in servers if server.ssh is None]
    if len(here) > 1:
        others = fold_nodes(server.name for server in here[1:])
        say(f"{others}: this machine is {here[0].name}; `ssh:` says how to reach another")
    return [server for server in servers if server not in here[1:]]


def everywhere(run: Run, options: Options, with_goal: bool = False) -> dict[str, Answer]:
    """The work done on every chosen server: its answers by their names.

    This machine comes last: others may have to agree before anything is changed.
    """
    servers = chosen(run)
    far = [server for server in servers if server.ssh]
    answers = _far(run, far, options, with_goal) if far else {}
    for server in servers:
        if not server.ssh:
            answers[server.name] = _here(run, server, options)
    return {server.name: answers[server.name] for server in servers}


def unseen_here(run: Run, options: DeployOptions, nodes: list[str]) -> list[str]:
    """What of a deploy wants to have been seen, where this machine is one of the servers.

    Whatever is wrong here is said by the deploy itself.
    """
    if all(server.ssh for server in chosen(run)):
        return []
    from ..core.remote.operations import unseen

    with contextlib.suppress(Refused, OSError):
        return unseen(targets(run), nodes, options.revision)
    return []


class ThisMachine:
    """The line of work that is done on this machine."""

    def __init__(self, run: Run, server: Server):
        self.run, self.server = run, server
        self.shown: Sections = ()

    def say(self, text: str) -> None:
        say(text if _is_alone(self.run) else f"{self.server.name}: {text}")

    def show(self, sections: Sections) -> None:
        if _is_alone(self.run):
            tell_plans(self.run, {self.server.name: sections})
        else:
            self.shown = sections

    def agree(self, by_id: list[str]) -> None:
        """It is asked before the others are, and changed when they were."""

    def wanted(self):
        return with_trust(self.run, self.server)

    def render(self, release: Release, label: str, site_id: str) -> Mapping[str, bytes]:
        return boot_files_of(self.run, self.server, release, label, site_id)

    def changes(self, asked: Asked) -> Mapping[str, Any]:
        return changes_told(self.run, asked)


def with_trust(run: Run, server: Server) -> Desired:
    """What a server must hold, and who must have signed it."""
    return replace(with_signed_files(run, wanted(run, server)), trust=trusted(run))


def _is_alone(run: Run) -> bool:
    return len(run.site.servers) == 1


def _here(run: Run, server: Server, options: Options) -> Answer:
    """One server's errors are its own; the only one's are the run's."""
    from ..core.remote import operations
    from ..core.remote.line import Answer

    line = ThisMachine(run, server)
    try:
        done = operations.do(options, targets(run), line)
        return Answer(done, line.shown)
    except (Refused, OSError) as error:
        if _is_alone(run):
            raise
        return Answer({}, line.shown, operations.failure(error))


def _far(
    run: Run, servers: Sequence[Server], options: Options, with_goal: bool
) -> dict[str, Answer]:
    from ..core.remote import controller

    destdir = run.settings.destdir
    if destdir and not os.path.isabs(destdir):
        need = "servers that are reached by ssh need an absolute path"
        raise Refused(f"destdir={destdir}: {need}")
    requests = [_request(run, server, options) for server in servers]
    asked = {server.name for server in servers}
    # This machine is none of them: what it sends goes by ssh, within `bandwidth`
    rest = [server for server in run.site.servers if server.ssh and server.name not in asked]
    others = [server.ip for server in rest]
    told = partial(_told, run, servers if with_goal else ())
    return controller.send(requests, told, say, run.site.deploy.bandwidth or 0, others)


def _told(run: Run, servers: Iterable[Server]):
    """What servers are told first; these, what they must hold."""
    from ..core.remote.controller import Goal, Told
    from ..core.remote.core_zip.pack import core_zip
    from ..core.remote.goal import pack_goal

    goals: dict[str, Goal] = {}
    sources: dict[str, Source] = {}
    for server in servers:
        held = with_trust(run, server)
        sources = sources or _sources(run, held.loaders)  # all get the same loaders
        goals[server.name] = Goal(pack_goal(held, services_of_families(run, server)), sources)
    return Told(core_zip(run.paths.core_zip), goals)


def _request(run: Run, server: Server, options: Options):
    from ..core.remote.controller import Request

    where = targets(run)
    return Request(
        server=server.name,
        ssh=server.ssh or "",
        address=server.ip,
        options=options,
        targets=(where.tftp, where.nfs, where.destdir, where.http),
        render=ThisMachine(run, server).render,
        changes=ThisMachine(run, server).changes,
    )


def _sources(run: Run, loaders: Mapping[str, str]) -> dict[str, Source]:
    """The folders that a server may fetch from, by what it calls them."""
    from ..core.remote.controller import Source
    from ..core.remote.goal import PARTS

    links = gathered(loaders, run.paths)
    sources = {"loaders": Source(links, frozenset(loaders), links=True)}
    for image in run.site.images:
        parts = frozenset((*PARTS, *ROOT_FILE_NAMES))
        sources[image.name] = Source(run.paths.folder(image), parts)
        sources[f"{image.name}/root"] = Source(run.paths.root(image))
    return sources


@lru_cache(maxsize=None)
def services_of_families(run: Run, server: Server):
    """What a server's daemons must have, on EL and elsewhere: only the server knows which it is."""
    from ..core.desired import daemons

    configs = build_of_run(run).configs
    return {
        is_el: daemons.desired_services(run.site, server, configs, is_el) for is_el in (False, True)
    }


def gathered(loaders: Mapping[str, str], paths: BuildPaths) -> str:
    """A folder of links to the loaders, by the names that they are served by."""
    folder = paths.path(".loaders")
    remove([folder])
    for name, path in loaders.items():
        link = os.path.join(folder, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.abspath(path), link)
    return folder


# --- what they answered


def states_of(answers: Mapping[str, Answer]) -> dict[str, dict]:
    """What the servers said that could be asked."""
    return {server: answer.done for server, answer in answers.items() if not answer.failure}


def texts(answers: Mapping[str, Answer], words: Callable[[dict], str]) -> dict[str, str]:
    """What the servers that could do it have to tell, in words."""
    return {server: words(done) for server, done in states_of(answers).items()}


def tell(run: Run, texts: Mapping[str, str]) -> None:
    """Print each server's words: those that say the same together, `boot[1-3]: …`."""
    from ..core.base.nodeset import fold_alike

    said = {server: text.rstrip("\n") for server, text in texts.items() if text}
    for servers, text in fold_alike(said):
        if _is_alone(run):
            print(text)
        elif "\n" in text:
            print(f"{servers}:", *text.splitlines(), sep="\n  ")
        else:
            print(f"{servers}: {text}")
    sys.stdout.flush()


def tell_plans(run: Run, plans: Mapping[str, Sections]) -> None:
    """Print plans: a section that is the same for several servers once."""
    from ..core.base.nodeset import fold_alike

    by_title: dict[str, dict[str, str]] = {}
    for server, sections in plans.items():
        for title, text in sections:
            by_title.setdefault(title, {})[server] = text
    last = by_title.pop("", {})  # what each comes to
    named = not _is_alone(run) and "" not in plans
    for title, texts in [*by_title.items(), ("", last)]:
        for servers, text in fold_alike(texts):
            _print(title, text, servers if named else "")
    sys.stdout.flush()


def _print(title: str, text: str, servers: str) -> None:
    """A section of a plan, of those servers."""
    if coloured():
        from ..core.plan.text import painted

        text = painted(text)
    if title:
        print(f"{title}, {servers}" if servers else title)
        print(text)
    else:
        print(f"{servers}: {text}" if servers else text)


def refuse_failed(run: Run, answers: Mapping[str, Answer]) -> None:
    """Raises Refused, a line for each way to fail, where a server failed."""
    from ..core.base.nodeset import fold_alike, fold_nodes

    failed = {server: answer.failure for server, answer in answers.items() if answer.failure}
    if not failed:
        return
    first, *others = run.site.servers
    by_name = bool(others) or first.ssh is not None  # this machine alone needs no name
    lines = []
    for servers, failure in fold_alike(failed):
        lines.append(f"{servers}: {failure}" if by_name else failure)
    if not _is_alone(run):
        count = f"{len(failed)} of {len(answers)} servers failed"
        again = f"server={fold_nodes(failed)}"
        lines.append(f"{count}; once mended, the same again for them: {again}")
    raise Refused("\n".join(filter(None, lines)))
