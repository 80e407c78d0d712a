"""Nodes that run: new site data for them, and what they say that they run.

site.img of each server ──> hosts, nodes, site, layouts ── ssh ──> /run/plugnode/ of its nodes
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from .base.console import say
from .base.options import flag
from .base.rule import command
from .base.servers import everywhere, tell
from .base.settings import Run, this_run
from .core.base.errors import Refused
from .core.base.files import read, write_atomic
from .core.base.text import counted, readable
from .core.site.model import DISK, Node, Site

if TYPE_CHECKING:
    from .core.nodes.ask import Heard
    from .core.remote.line import Answer


def task_push():
    """send the site data that is deployed to nodes that run, no reboot; `node=wn[003-007],@gpu`"""
    return command(push, this_run, after=["site_image"], params=[IMAGE], knows="node destdir")


IMAGE = {
    "name": "image",
    "long": "image",
    "help": "instead: have nodes of `root: disk` fetch the root file that they boot next",
    **flag,
}


def push(run: Run, image: bool) -> None:
    if image:
        push_images(run)
    else:
        push_site_data(run)


def push_images(run: Run) -> None:
    """Have nodes keep what they boot next beside what they run. Raises Refused."""
    from .core.nodes import ask

    kept = [node for node in run.nodes if run.site.image(node.image).root == DISK]
    if not kept:
        raise Refused("no node that is asked keeps its root on its disk (`root: disk`)")
    held = held_by_servers(run, {of_server(run.site, node) for node in kept})
    said, failed = dict[str, str](), dict[str, str]()
    for arguments, members in of_same_release(run.site, kept, held, failed).items():
        file = run.paths.path(".push.cmdline")
        write_atomic(file, arguments.encode())
        known_hosts = run.paths.known_hosts
        replies = ask.ask(members, ask.NEXT_IMAGE, known_hosts, file, ask.FETCHING)
        said |= replies.said
        failed |= replies.failed
    finish(run, said, failed)


def of_same_release(
    site: Site, asked: Iterable[Node], held: Mapping[str, Answer], failed: dict[str, str]
) -> dict[str, list[Node]]:
    """Kernel arguments -> the nodes that boot by them next; into `failed` why not others."""
    from .core.config.boot_files import arguments_of, boot_of, server_of
    from .core.release import Release

    found: dict[str, list[Node]] = {}
    for node in asked:
        server = server_of(site, node)
        answer = held.get(server.name)
        boot = boot_of(site, node)
        said = answer and answer.done.get("releases", {}).get(boot.label)
        if not said:
            why = answer.failure if answer and answer.failure else "nothing is deployed for it"
            failed[node.name] = f"{server.name}, its server: {why}"
            continue
        arguments = arguments_of(site, server, Release(**said), node.network, boot.card)
        found.setdefault(f"{arguments} {boot.cmdline}\n", []).append(node)
    return found


def push_site_data(run: Run) -> None:
    from .core.nodes import ask

    asked, known_hosts = run.nodes, run.paths.known_hosts
    held = held_by_servers(run, {of_server(run.site, node) for node in asked})
    tell(run, not_as_built(held, run.paths.site_img))
    said, failed = dict[str, str](), dict[str, str]()
    for data, members in of_same_data(run.site, asked, held, failed).items():
        file = run.paths.path(".push.tar")
        write_atomic(file, data)
        replies = ask.ask(members, ask.TAKE, known_hosts, file)
        said |= dict.fromkeys(replies.said, "new site data")
        failed |= replies.failed
    finish(run, said, failed)


def finish(run: Run, said: dict[str, str], failed: dict[str, str]) -> None:
    """Print what nodes said. Raises Refused where some have not got what was sent."""
    from .core.nodes import ask

    for line in [*ask.folded(said), *ask.folded(failed, run.paths.known_hosts)]:
        print(line)
    refuse_missed(len(failed), len(said) + len(failed))


def of_server(site: Site, node: Node) -> str:
    """The server that a node boots from."""
    from .core.config.boot_files import server_of

    return server_of(site, node).name


def held_by_servers(run: Run, names: Collection[str]) -> dict[str, Answer]:
    """What those servers have deployed, by their names."""
    from .core.remote.options import SiteDataOptions

    answers = everywhere(run, SiteDataOptions())
    return {name: answer for name, answer in answers.items() if name in names}


def not_as_built(held: Mapping[str, Answer], site_img: str) -> dict[str, str]:
    """A line for each server whose nodes get other site data than what is built."""
    from .core.desired.build import site_id

    built = site_id(read(site_img))
    lines = {}
    for server, answer in held.items():
        id = answer.done.get("site", built)
        if id != built:
            after = "which nodes get once it is deployed"
            lines[server] = f"! sent is what is deployed, {readable(id)}; built is {built}, {after}"
    return lines


def of_same_data(
    site: Site, asked: Iterable[Node], held: Mapping[str, Answer], failed: dict[str, str]
) -> dict[bytes, list[Node]]:
    """What to send -> the nodes of it, each by its own server; into `failed` why not to others."""
    packed = {server: site_data(answer.done["files"]) for server, answer in sound(held)}
    groups: dict[bytes, list[Node]] = {}
    for node in asked:
        server = of_server(site, node)
        if server in packed:
            groups.setdefault(packed[server], []).append(node)
        else:
            unasked = "it was not asked; `ssh:` says how to reach it"
            why = held[server].failure if server in held else unasked
            failed[node.name] = f"{server}, its server: {why}"
    return groups


def sound(held: Mapping[str, Answer]) -> Iterator[tuple[str, Answer]]:
    """The servers that could say what they have."""
    for server, answer in held.items():
        if not answer.failure:
            yield server, answer


def refuse_missed(missed: int, of: int) -> None:
    """Raises Refused where nodes have not got what was sent."""
    if not missed:
        return
    have, they, boot = ("has", "it", "boots") if missed == 1 else ("have", "they", "boot")
    count = f"{missed} of {counted(of, 'node')}"
    raise Refused(f"{count} {have} not got it; {they} will when {they} {boot}")


def site_data(files: Mapping[str, str]) -> bytes:
    """What site.img brings a node, as a tar. `files`: as a server has them."""
    import io
    import tarfile

    from .core.site_data import is_of_nodes

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, text in sorted(files.items()):
            if is_of_nodes(name):
                data = text.encode(errors="surrogateescape")
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def ask_nodes(run: Run) -> dict[str, str]:
    """Release -> nodes that run it, of those that can be asked; its age speaks for the others."""
    run_by, unheard = running(run)
    for line in unheard:
        say(line)
    return run_by


DEGRADED = "degraded: see /run/plugnode/degraded there"


def hear(run: Run) -> Heard:
    """Ask nodes what they run."""
    from .core.nodes import ask

    asked = run.nodes
    say(f"asking {counted(len(asked), 'node')} what they run")
    return ask.hear(asked, run.paths.known_hosts)


def said_of(words: dict[str, str]) -> list[str]:
    """A line for all nodes of the same words."""
    from .core.nodes import ask

    return ask.folded(words)


def running(run: Run) -> tuple[dict[str, str], list[str]]:
    """Release -> the nodes that say that they run it, folded; and a line for those that do not."""
    from .core.base.nodeset import fold_nodes

    heard = hear(run)
    found: dict[str, list[str]] = {}
    for name, one in heard.runs.items():
        found.setdefault(one.release, []).append(name)
    lines = [*said_of(degraded(heard)), *heard.unheard]
    return {release: fold_nodes(names) for release, names in found.items()}, lines


def degraded(heard: Heard) -> dict[str, str]:
    """What is to be said of each node that is not as it shall be."""
    return {name: DEGRADED for name, one in heard.runs.items() if one.degraded}
