"""One node as a virtual machine, before it is done to all of them.

everything that deploy would serve ── deploy ──> build/boot/served ──> real DHCP, TFTP and NFS
servers ──> QEMU ── console ──> stages, checks
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from .base.console import say
from .base.desired import wanted
from .base.options import BUILT, LOADERS
from .base.paths import config, facts_of, read_release, timings_of
from .base.rule import command
from .base.settings import author, settings, site
from .core.base.errors import Refused
from .core.base.files import write_atomic
from .core.base.programs import find_program
from .core.dhcp.server import DhcpServer
from .core.dhcp.servers import BY_WORD
from .core.release import Release
from .core.site.model import WRITABLE, Node, Server
from .core.store.paths import Targets
from .push import nodes
from .report import refresh

RAW = {
    "name": "raw",
    "short": "v",
    "long": "raw",
    "type": bool,
    "default": False,
    "help": "the console as it comes",
}
TFTPD = {"in.tftpd": "tftpd-hpa"}
PROGRAMS = {  # what it takes besides a DHCP server -> Debian's package of it
    "qemu-system-x86_64": "qemu-system-x86",
    "ganesha.nfsd": "nfs-ganesha",
    "rpcbind": "rpcbind",
    "ip": "iproute2",
}


def task_boot():
    """boot a node as a virtual machine from what would be deployed; `node=NAME`, `firmware=uefi`"""
    return command(boot, after=BUILT, params=[RAW], knows="node firmware dhcp power")


def boot(raw: bool) -> None:
    from .core.config.boot_files import server_of

    node = chosen()
    ready(node)
    server = server_of(site(), node)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(timings_of())
    targets = served(node, server)
    try:
        story = watch(node, job(node, server, targets, raw), raw)
    except RuntimeError as error:
        raise Refused(
            f"the servers or the machine did not start: {error}; see {place('logs')}"
        ) from None
    judge(node, story, expected(node, server, targets))


def chosen() -> Node:
    """The node to boot, the first of several. Raises BadInput for one that the site has not."""
    first, *others = nodes()
    if others and settings().node:
        count = len(others) + 1
        say(f"{first.name}, the first of the {count} nodes that node={settings().node} names")
    return first


def ready(node: Node) -> None:
    """Raises Refused where this machine cannot do it, or nothing could be seen of it."""
    from .core.config.cmdline import serial_console

    if os.geteuid() != 0:
        raise Refused(
            "boot makes network namespaces and an NFS server, so it needs root: sudo ./doit boot"
        )
    needed = programs(BY_WORD[settings().dhcp])
    if lacking := [name for name in needed if not find_program(name)]:
        raise Refused(
            f"no {', '.join(lacking)}: install {' '.join(needed[name] for name in lacking)}"
        )
    if not os.path.exists("/etc/mtab"):  # a root that never booted may lack it
        raise Refused("no /etc/mtab, which nfs-ganesha reads: ln -s ../proc/self/mounts /etc/mtab")
    built = read_release(site().image(node.image))
    if node.release not in (None, built.id):
        pinned = f"{node.name} is pinned to {node.release}"
        raise Refused(f"{pinned}, but what was built is {built.id}; take another node")
    words = f"{built.cmdline} {node.cmdline}"
    if serial_console(words) is None:
        blind = f"{node.name} has no serial console to watch"
        raise Refused(f"{blind}: add `console=ttyS0,115200` to its `cmdline:`")


def programs(dhcp: DhcpServer) -> dict[str, str]:
    """What a boot takes -> Debian's package of it."""
    from .core.config.boot_files import serves_http

    needed = {**PROGRAMS, dhcp.program: dhcp.packages.debian}
    if serves_http(site()):
        needed["nginx"] = "nginx-light"
    return needed if dhcp.serves_tftp else {**needed, **TFTPD}


def place(*parts: str) -> str:
    return os.path.abspath(settings().path("boot", *parts))


def served(node: Node, server: Server) -> Targets:
    """What the node's server serves, deployed by deploy's own code; no earlier release stays."""
    import dataclasses
    import time

    from .core.deploy import apply, prune

    roots = site().deploy
    targets = Targets(roots.tftp_root, roots.nfs_root, place("served"), roots.http_root)
    goal = wanted(server)
    files = dict(goal.files)
    if settings().power == "keep":
        files |= with_a_shell(node)
    # other nodes' pins are not looked for
    goal = dataclasses.replace(goal, files=files, services=(), nodes={})
    apply.deploy(targets, goal, author(), say)
    prune.prune_server(targets, prune.Rules(0, 0, time.time() + 2 * prune.DAY), author())
    return targets


def with_a_shell(node: Node) -> dict[str, bytes]:
    """The loaders' files, with one word more in the node's own.

    Its console is root's by that word (overlays/initrd/identity).
    """
    from .base.paths import templates
    from .core.config.render import render_configs
    from .core.desired.build import of_tftp

    kept = node._replace(cmdline=f"{node.cmdline} plugnode.debug".strip())
    nodes = tuple(kept if other is node else other for other in site().nodes)
    configs = render_configs(site()._replace(read_nodes=lambda: nodes), templates())
    return of_tftp(configs)


def job(node: Node, server: Server, targets: Targets, raw: bool):
    """The lab that boots the node, with a disk that has nothing on it."""
    from .core.lab.machine import has, has_systemd
    from .core.lab.run import BootJob, PowerState

    keep = settings().power == "keep"
    then = "keep" if keep else "button" if has_systemd(root(node)) else "cut"
    empty_folder(place("logs"))
    sshd = has(root(node), "usr/sbin/sshd")
    state = PowerState((machine_of(node),), then=then, sshd=sshd)
    return BootJob(network(server, targets), (state,), raw or keep)


def network(server: Server, targets: Targets):
    """The lab that stands for the network of the node and its server."""
    from .core.config.boot_files import serves_http
    from .core.lab.network import Lab

    prefix = int(site().network.subnet.rpartition("/")[2])
    configs = os.path.abspath(config("").rstrip("/"))
    return Lab(
        server.ip,
        prefix,
        targets.destdir,
        targets.tftp,
        configs,
        settings().dhcp,
        place("logs"),
        http=targets.http if serves_http(site()) else "",
        nfs_server=server.nfs_server or "",
        gateway=site().network.gateway or "",
    )


def machine_of(node: Node):
    """The virtual machine that the node is, with a disk that has nothing on it."""
    from .core.lab.machine import bus, card, empty_disk
    from .core.lab.qemu import Machine, pxe_rom

    with open(facts_of(site().image(node.image))) as file:
        initrd = json.load(file)
    firmware = settings().firmware
    return Machine(
        str(node.mac),
        empty_disk(place("disk.img"), node.disk),
        place("logs"),
        nic=card(initrd),
        bus=bus(node.disk),
        firmware=firmware,
        pxe_rom=pxe_rom(LOADERS) if firmware == "bios" else "",
    )


def empty_folder(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)


def root(node: Node) -> str:
    return settings().path(node.image, "root")


def watch(node: Node, job, raw: bool):
    """Show the boot as it goes: a line a stage, or the console itself.

    Where the machine stays on, its console follows.
    """
    from .core.lab.run import power_on
    from .core.lab.timeline import BootTimeline, line

    story, lab = BootTimeline(), ""
    keep = settings().power == "keep"
    by = f"{settings().firmware}, {settings().dhcp}"
    say(f"{node.name} ({node.mac}) by {by}; logs in {job.lab.logs}")
    with contextlib.ExitStack() as until_it_is_off:
        for event in power_on(job, stdin=None if keep else subprocess.DEVNULL):
            reached, kind = story.feed(event), event["kind"]
            if kind == "lab":
                lab = event["text"]
            elif kind == "raw" and (raw or story.ready):
                print(event["text"], end="", flush=True)
            elif reached and not raw:
                print(line(reached), flush=True)
            if kind == "reached" and keep:
                say(KEPT.format(lab=lab))
                until_it_is_off.enter_context(terminal())
    return story


KEPT = """it stays on. This terminal is its console, and you are root there; Ctrl-] ends it.
   From another terminal, as its boot server: nsenter -t {lab} -n tcpdump -i br0"""


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Every key goes to the node, and the node's screen is this one."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def judge(node: Node, story, wanted) -> None:
    """Print the table and the checks, and leave both for other programs.

    Raises Refused unless all hold.
    """
    from .core.lab.timeline import checks, failure, table

    print("\n" + table(story) + "\n")
    if story.ended:
        raise Refused(
            f"{node.name} does not boot: " + failure(story, place("logs"), node.ip, str(node.mac))
        )
    found = list(checks(story, wanted))
    record(node, wanted.release, story, found)
    for check in found:
        verdict = "ok    " if check.holds else "FAILED"
        print(f"{verdict} {check.what}{': ' if check.found else ''}{check.found}")
    if failed := [check.what for check in found if not check.holds]:
        raise Refused(f"{node.name} boots, but not as it should: {', '.join(failed)}")


def record(node: Node, release: str, story, found) -> None:
    """For the report and for capacity; only of the last boot, and only if that came up."""
    from .core.lab.timeline import timings

    now = {
        "release": release,
        "node": node.name,
        "firmware": settings().firmware,
        "dhcp": settings().dhcp,
    }
    write_atomic(
        timings_of(), (json.dumps({**now, **timings(story, found)}, indent=1) + "\n").encode()
    )
    refresh()


def expected(node: Node, server: Server, targets: Targets):
    from .core.lab.machine import has, has_systemd
    from .core.lab.timeline import Expected

    release = read_release(site().image(node.image))
    return Expected(
        node.name,
        node.ip,
        release.id,
        root_shown(server, release),
        node.disk,
        sshd=has(root(node), "usr/sbin/sshd"),
        powers_off=has_systemd(root(node)) and settings().power != "keep",
        units=has_systemd(root(node)),
        writable=site().image(node.image).root in WRITABLE,
    )


def root_shown(server: Server, release: Release) -> str:
    """What a node's mounts show as the device of its root."""
    from .core.config.boot_files import roots_of

    if release.is_of_file:
        return f"{release.root_kind}:{release.id}"
    return f"{roots_of(site(), server)}/{release.id}"
