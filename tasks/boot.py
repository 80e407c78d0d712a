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
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .base.console import say
from .base.desired import targets_below
from .base.options import BUILT, LOADERS
from .base.paths import BuildPaths, read_release
from .base.rule import command, remove
from .base.settings import Run, this_run
from .base.trust import signed_files
from .core.base.boot_programs import AMD64, ARM64
from .core.base.errors import Refused
from .core.base.files import write_atomic
from .core.base.programs import find_program
from .core.dhcp.server import DhcpServer
from .core.dhcp.servers import BY_WORD
from .core.release import Release
from .core.site.model import (
    RAM,
    UKI,
    WRITABLE,
    Node,
    Server,
    Site,
    layouts_of,
    partitions_of,
)
from .core.store.paths import Targets
from .report import refresh

if TYPE_CHECKING:
    from .core.lab.network import Lab
    from .core.plan.state import Desired

RAW = {
    "name": "raw",
    "short": "v",
    "long": "raw",
    "type": bool,
    "default": False,
    "help": "the console as it comes",
}
FIRMWARE = {AMD64: ("bios", "uefi", "secure"), ARM64: ("uefi",)}  # the usual one first
LINES = {AMD64: "ttyS", ARM64: "ttyAMA"}  # serial ones, as their kernels call them
TFTPD = {"in.tftpd": "tftpd-hpa"}
EMULATORS = {
    AMD64: {"qemu-system-x86_64": "qemu-system-x86"},
    ARM64: {"qemu-system-aarch64": "qemu-system-arm"},
}
PROGRAMS = {  # what it takes besides a DHCP server -> Debian's package of it
    "ganesha.nfsd": "nfs-ganesha",
    "rpcbind": "rpcbind",
    "ip": "iproute2",
}


def task_boot():
    """boot a node as a virtual machine from what would be deployed; `node=NAME`, `firmware=uefi`"""
    return command(boot, this_run, after=BUILT, params=[RAW], knows="node firmware dhcp power")


def boot(run: Run, raw: bool) -> None:
    from .core.config.boot_files import server_of

    node = chosen(run)
    run = with_firmware(run, node)
    server = server_of(run.site, node)
    ready(run, node, server)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(run.paths.timings)
    targets = served(run, node, server)
    try:
        with tpm(run, node) as socket:
            lab = network(run, node, server, targets)
            story = watch(run, node, job(run, node, lab, raw, socket), raw)
    except RuntimeError as error:
        logs = place(run.paths, "logs")
        raise Refused(f"the servers or the machine did not start: {error}; see {logs}") from None
    if run.site.deploy.syslog != "none":
        story.reported = reported(run, node, targets)
    judge(run, node, story, expected(run, node, server))


def with_firmware(run: Run, node: Node) -> Run:
    """The run, with the firmware that the node can have: ARM has no BIOS. Raises Refused."""
    usual, *others = FIRMWARE[node.arch]
    asked = run.settings.firmware or usual
    if asked not in (usual, *others):
        raise Refused(f"{node.name} is {node.arch}, whose firmware here is UEFI: firmware=uefi")
    return run._replace(settings=run.settings._replace(firmware=asked))


def reported(run: Run, node: Node, targets: Targets) -> str:
    """What the server was told of the boot, in words; "" for nothing."""
    from .core.inspect.boots import boots_text
    from .core.services.boot_reports import read_boots

    booted = read_boots(targets, run.site.name, {node.name: {"ip": node.ip}})
    return "; ".join(map(str.strip, boots_text(booted, list(booted))))


def chosen(run: Run) -> Node:
    """The node to boot, the first of several. Raises BadInput for one that the site has not."""
    first, *others = run.nodes
    if others and run.settings.node:
        count = len(others) + 1
        say(f"{first.name}, the first of the {count} nodes that node={run.settings.node} names")
    return first


def ready(run: Run, node: Node, server: Server) -> None:
    """Raises Refused where this machine cannot do it, or nothing could be seen of it."""
    from .core.config.cmdline import serial_console

    ready_here(run, node, server)
    if not node.mac:
        raise Refused(f"{node.name} has no MAC yet, so DHCP does not know it; take another node")
    built = built_release(run, node)
    if node.release not in (None, built.id):
        pinned = f"{node.name} is pinned to {node.release}"
        raise Refused(f"{pinned}, but what was built is {built.id}; take another node")
    words = f"{built.cmdline} {node.cmdline}"
    if serial_console(words, LINES[node.arch]) is None:
        blind = f"{node.name} has no serial console to watch"
        line = f"{LINES[node.arch]}0,115200"
        raise Refused(f"{blind}: add `console={line}` to its `cmdline:`")
    if starts_signed(run, node):
        ready_signed(run, node, built)


def ready_here(run: Run, node: Node, server: Server) -> None:
    """Raises Refused where this machine lacks what the lab is made of."""
    from .core.lab.network import router_of

    if os.geteuid() != 0:
        raise Refused(
            "boot makes network namespaces and an NFS server, so it needs root: sudo ./doit boot"
        )
    needed = EMULATORS[node.arch] | programs(run.site, BY_WORD[run.settings.dhcp])
    if router_of(run.site, node, server):
        needed |= RELAY
    if lacking := [name for name in needed if not find_program(name)]:
        raise Refused(
            f"no {', '.join(lacking)}: install {' '.join(needed[name] for name in lacking)}"
        )
    if not os.path.exists("/etc/mtab"):  # a root that never booted may lack it
        raise Refused("no /etc/mtab, which nfs-ganesha reads: ln -s ../proc/self/mounts /etc/mtab")


def starts_signed(run: Run, node: Node) -> bool:
    """Whether the node starts one signed file, by the firmware that it is given."""
    return node.loader == UKI and run.settings.firmware in ("uefi", "secure")


def ready_signed(run: Run, node: Node, built: Release) -> None:
    """Raises Refused where that file cannot be made, or would not do what is asked for."""
    if run.settings.power == "keep":
        why = f"{node.name} starts a signed command line, which takes no plugnode.debug"
        raise Refused(f"{why}: leave power=keep out, or boot it by firmware=bios")
    files = signed_files(run)
    if files and built.id not in {*files.sign(), *files.signed()}:
        why = f"{built.id} is not signed, and no key is here ({files.key})"
        raise Refused(f"{why}; ./doit sign where it is, and bring build/ here")


def programs(site: Site, dhcp: DhcpServer) -> dict[str, str]:
    """What a boot takes -> Debian's package of it."""
    from .core.config.boot_files import serves_http

    needed = {**PROGRAMS, dhcp.program: dhcp.packages.debian}
    if serves_http(site):
        needed["nginx"] = "nginx-light"
    if site.deploy.syslog != "none":
        needed["rsyslogd"] = "rsyslog"
    return needed if dhcp.serves_tftp else {**needed, **TFTPD}


RELAY = {"dhcrelay": "isc-dhcp-relay"}


def built_release(run: Run, node: Node) -> Release:
    """What was built of the node's image."""
    return read_release(run.paths.release(run.site.image(node.image)))


def place(paths: BuildPaths, *parts: str) -> str:
    return os.path.abspath(paths.path("boot", *parts))


def served(run: Run, node: Node, server: Server) -> Targets:
    """What the node's server serves, deployed by deploy's own code; no earlier release stays."""
    import dataclasses
    import time

    from .core.deploy import apply, prune
    from .core.services.boot_reports import boots_log

    targets = targets_below(run.site, place(run.paths, "served"))
    remove([targets.at(boots_log(run.site.name))])
    goal = signed(run, server)
    files = dict(goal.files)
    if run.settings.power == "keep":
        files |= with_a_shell(run, node)
    # other nodes' pins are not looked for
    goal = dataclasses.replace(goal, files=files, services=(), nodes={})
    author = run.author()
    apply.deploy(targets, goal, author, say)
    prune.prune_server(targets, prune.Rules(0, 0, time.time() + 2 * prune.DAY), author)
    return targets


def signed(run: Run, server: Server) -> Desired:
    """What the server must hold; nodes of a site that trusts keys start with nothing unsigned."""
    from .base.servers import with_trust
    from .base.trust import sign_build

    for id in sign_build(run):
        say(f"signed {id}")
    return with_trust(run, server)


def with_a_shell(run: Run, node: Node) -> dict[str, bytes]:
    """The loaders' files, with one word more in the node's own.

    Its console is root's by that word (overlays/initrd/identity).
    """
    from .core.config.render import render_configs
    from .core.desired.build import of_tftp

    kept = node._replace(cmdline=f"{node.cmdline} plugnode.debug".strip())
    nodes = tuple(kept if other is node else other for other in run.site.nodes)
    configs = render_configs(run.site._replace(read_nodes=lambda: nodes), run.paths.templates)
    return of_tftp(configs)


@contextlib.contextmanager
def tpm(run: Run, node: Node) -> Iterator[str]:
    """The socket of a TPM, for a node whose boot is measured; "" for another."""
    if not (starts_signed(run, node) and run.settings.firmware == "secure"):
        yield ""
        return
    from .core.lab.tpm import serve_tpm

    with TemporaryDirectory(prefix="plugnode-tpm-") as folder, serve_tpm(folder) as socket:
        yield socket


def job(run: Run, node: Node, lab: Lab, raw: bool, socket: str):
    """What the lab is to do: boot the node, with a disk that has nothing on it."""
    from .core.lab.machine import has, has_systemd
    from .core.lab.run import BootJob, PowerState

    keep = run.settings.power == "keep"
    root = root_of(run, node)
    off = "button" if has_systemd(root) else "cut"
    empty_folder(lab.logs)
    sshd = has(root, "usr/sbin/sshd")
    state = PowerState((machine_of(run, node, socket),), then="keep" if keep else off, sshd=sshd)
    return BootJob(lab, (state,), raw or keep)


def network(run: Run, node: Node, server: Server, targets: Targets) -> Lab:
    """The lab that stands for the network of the node and its server."""
    from .core.config.boot_files import serves_http
    from .core.lab.network import Lab, router_of
    from .core.services.boot_reports import boots_log

    own = run.site.network_of(node)
    configs = os.path.abspath(run.paths.configs)
    return Lab(
        server.address_in(own.name),
        int(own.subnet.rpartition("/")[2]),
        targets.destdir,
        targets.tftp,
        configs,
        run.settings.dhcp,
        place(run.paths, "logs"),
        http=targets.http if serves_http(run.site) else "",
        nfs_server=server.nfs_server or "",
        gateway=own.gateway or "",
        router=router_of(run.site, node, server),
        syslog=boots_log(run.site.name) if run.site.deploy.syslog != "none" else "",
    )


def machine_of(run: Run, node: Node, socket: str):
    """The virtual machine that the node is, with disks that have nothing on them.

    `socket`: its TPM's, "" for none.
    """
    from .core.lab.machine import card, empty_disks
    from .core.lab.qemu import Machine, pxe_rom

    with open(run.paths.initrd_facts(run.site.image(node.image))) as file:
        initrd = json.load(file)
    firmware = run.settings.firmware
    (disk, bus), *others = empty_disks(place(run.paths, "disk"), layouts_of(node))
    return Machine(
        str(node.mac),
        disk,
        place(run.paths, "logs"),
        nic=card(initrd),
        bus=bus,
        firmware=firmware,
        more_disks=tuple(others),
        vlan=run.site.tags.get(node.network, 0),
        pxe_rom=pxe_rom(LOADERS) if firmware == "bios" else "",
        tpm=socket,
        certificate=certificate_trusted(run),
        arch=node.arch,
    )


def certificate_trusted(run: Run) -> str:
    """The site's certificate, where firmware with Secure Boot shall trust it; else ""."""
    signed = signed_files(run)
    return signed.said.certificate if signed and run.settings.firmware == "secure" else ""


def empty_folder(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)


def root_of(run: Run, node: Node) -> str:
    """The staged root that the node has."""
    return run.paths.root(run.site.image(node.image))


def watch(run: Run, node: Node, job, raw: bool):
    """Show the boot as it goes: a line a stage, or the console itself.

    Where the machine stays on, its console follows.
    """
    from .core.lab.run import power_on
    from .core.lab.timeline import BootTimeline, line

    story, lab = BootTimeline(), ""
    keep = run.settings.power == "keep"
    by = f"{run.settings.firmware}, {run.settings.dhcp}"
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


def judge(run: Run, node: Node, story, wanted) -> None:
    """Print the table and the checks, and leave both for other programs.

    Raises Refused unless all hold.
    """
    from .core.lab.timeline import checks, failure, table, timings

    print("\n" + table(story) + "\n")
    if story.ended:
        raise Refused(
            f"{node.name} does not boot: "
            + failure(story, place(run.paths, "logs"), node.ip, str(node.mac))
        )
    found = list(checks(story, wanted))
    record(run, {"release": wanted.release, "node": node.name}, timings(story, found))
    for check in found:
        verdict = "ok    " if check.holds else "FAILED"
        print(f"{verdict} {check.what}{': ' if check.found else ''}{check.found}")
    if failed := [check.what for check in found if not check.holds]:
        raise Refused(f"{node.name} boots, but not as it should: {', '.join(failed)}")


def record(run: Run, booted: dict[str, str], took: dict[str, Any]) -> None:
    """For the report and for capacity; only of the last boot, and only if that came up."""
    by = {"firmware": run.settings.firmware, "dhcp": run.settings.dhcp}
    text = json.dumps({**booted, **by, **took}, indent=1)
    write_atomic(run.paths.timings, f"{text}\n".encode())
    refresh(run.site, run.paths)


def expected(run: Run, node: Node, server: Server):
    from .core.lab.machine import has, has_systemd
    from .core.lab.timeline import Expected

    release = built_release(run, node)
    root = root_of(run, node)
    return Expected(
        node.name,
        node.ip,
        release.id,
        root_shown(run.site, server, node.network, release),
        partitions_of(node),
        sshd=has(root, "usr/sbin/sshd"),
        powers_off=has_systemd(root) and run.settings.power != "keep",
        units=has_systemd(root),
        lockdown=run.settings.firmware == "secure",
        measured=run.settings.firmware == "secure" and starts_signed(run, node),
        writable=run.site.image(node.image).root in WRITABLE,
    )


def root_shown(site: Site, server: Server, network: str, release: Release) -> str:
    """What mounts of a network's node show as the device of its root."""
    from .core.config.boot_files import roots_of

    if release.is_fetched:  # its disk is empty, so that no root is kept there
        return f"{RAM}:{release.id}"
    return f"{roots_of(site, server, network)}/{release.id}"
