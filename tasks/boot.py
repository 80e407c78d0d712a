"""One node as a virtual machine, before it is done to all of them.

everything that deploy would serve ── deploy ──> build/boot/served ──> real DHCP, TFTP and NFS servers ──> QEMU
                                                                                  console ──> stages, checks
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

from .configs import config
from .console import say
from .core.errors import Refused
from .core.site import Node
from .core.targets import Targets
from .deploy import BUILT, LOADERS, author, here, wanted
from .release import read_release
from .rule import command
from .settings import settings, site

RAW = {"name": "raw", "short": "v", "long": "raw", "type": bool, "default": False, "help": "the console as it comes"}
PATIENCE = 600  # seconds; a node that is emulated and waits for a slow disk is slow
DISK = 64 << 30  # bytes, of a sparse file
TFTPD = {"in.tftpd": "tftpd-hpa"}
PROGRAMS = {  # what it takes -> Debian's package of it; by `dhcp=` what that takes besides
    "": {
        "qemu-system-x86_64": "qemu-system-x86",
        "ganesha.nfsd": "nfs-ganesha",
        "rpcbind": "rpcbind",
        "ip": "iproute2",
    },
    "dhcpd": {"dhcpd": "isc-dhcp-server", **TFTPD},
    "kea": {"kea-dhcp4": "kea-dhcp4-server", **TFTPD},
    "dnsmasq": {"dnsmasq": "dnsmasq-base"},
}


def task_boot():
    """boot one node as a virtual machine from exactly what would be deployed; `node=NAME`, `firmware=uefi`"""
    return command(boot, after=BUILT, params=[RAW])


def boot(raw: bool) -> None:
    node = chosen()
    ready(node)
    targets = served()
    try:
        story = watch(node, job(node, targets, raw), raw)
    except KeyboardInterrupt:
        raise Refused("interrupted; what it started has ended with it") from None
    judge(node, targets, story)


def chosen() -> Node:
    """The node to boot. Raises Refused for a name that the site does not have."""
    name = settings().node or site().nodes[0].name
    for node in site().nodes:
        if node.name == name:
            return node
    raise Refused(f"node={name}: {settings().site} has no such node")


def ready(node: Node) -> None:
    """Raises Refused where this machine cannot do it, or nothing could be seen of it."""
    from .core.bootline import serial

    if os.geteuid() != 0:
        raise Refused("boot makes network namespaces and an NFS server, so it needs root: sudo ./doit boot")
    needed = PROGRAMS[""] | PROGRAMS[settings().dhcp]
    if lacking := [name for name in needed if not shutil.which(name)]:
        raise Refused(f"no {', '.join(lacking)}: install {' '.join(needed[name] for name in lacking)}")
    words = f"{read_release(site().image(node.image)).cmdline} {node.cmdline}"
    if serial(words) is None:
        raise Refused(f"{node.name} has no serial console to watch: add `console=ttyS0,115200` to its `cmdline:`")


def place(*parts: str) -> str:
    return os.path.abspath(settings().path("boot", *parts))


def served() -> Targets:
    """What the servers serve: deployed by deploy's own code; of earlier releases nothing stays."""
    import dataclasses
    import time

    from .core import deploy, prune

    targets = Targets(site().deploy.tftp_root, site().deploy.nfs_root, place("served"))
    deploy.deploy(targets, dataclasses.replace(wanted(), services=()), author(), say)
    prune.prune(targets, 1, 0, author(), time.time() + 2 * 86400)
    return targets


def job(node: Node, targets: Targets, raw: bool):
    """The lab that boots the node, with a disk that has nothing on it."""
    from .core.boot import Job, Power
    from .core.lab import Lab
    from .core.vm import Machine, pxe_rom

    lab = Lab(
        here().ip, int(site().network.subnet.rpartition("/")[2]), targets.destdir, targets.tftp,
        os.path.abspath(config("").rstrip("/")), settings().dhcp, place("logs"),
    )  # fmt: skip
    empty_folder(place("logs"))
    machine = Machine(
        str(node.mac), empty_disk(), place("logs"), firmware=settings().firmware, pxe_rom=pxe_rom(LOADERS)
    )
    keep = settings().power == "keep"
    then = "keep" if keep else "button" if systemd(node) else "cut"
    return Job(lab, (Power((machine,), seconds=PATIENCE, then=then, sshd=has(node, "usr/sbin/sshd")),), raw or keep)


def empty_folder(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)


def empty_disk() -> str:
    path = place("disk.img")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(path, "wb") as file:
        file.truncate(DISK)
    return path


def has(node: Node, path: str) -> bool:
    return os.path.lexists(settings().path(node.image, "root", path))


def systemd(node: Node) -> bool:
    """The power button means something to it."""
    return has(node, "usr/lib/systemd/systemd") or has(node, "lib/systemd/systemd")


def watch(node: Node, job, raw: bool):
    """Show the boot as it goes: a line a stage, or the console itself."""
    from .core.boot import power_on
    from .core.story import Story, line

    story = Story()
    say(f"{node.name} ({node.mac}) by {settings().firmware}, {settings().dhcp}; logs in {job.lab.logs}")
    talking = settings().power == "keep" and sys.stdin.isatty()
    with terminal() if talking else contextlib.nullcontext():
        for event in power_on(job, stdin=sys.stdin if talking else None):
            reached = story.feed(event)
            console = raw or any(stage.stage == "ready" for stage in story.stages)
            if event["kind"] == "raw" and console:
                print(event["text"], end="", flush=True)
            elif reached and not raw:
                print(line(reached) + ("\r" if talking else ""), flush=True)
            if event["kind"] == "reached" and settings().power == "keep":
                say("the node stays on; this is its console, Ctrl-] ends it\r")
    return story


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Every key goes to the node, and the node's screen is this one."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def judge(node: Node, targets: Targets, story) -> None:
    """Print the table and the checks. Raises Refused unless all hold."""
    from .core.story import checks, failure, table

    print("\n" + table(story) + "\n")
    if story.ended:
        raise Refused(f"{node.name} does not boot: " + failure(story, place("logs"), node.ip, str(node.mac)))
    found = list(checks(story, expected(node, targets)))
    for check in found:
        print(f"{'ok    ' if check.holds else 'FAILED'} {check.what}{': ' if check.found else ''}{check.found}")
    if failed := [check.what for check in found if not check.holds]:
        raise Refused(f"{node.name} boots, but not as it should: {', '.join(failed)}")


def expected(node: Node, targets: Targets):
    from .core.story import Expected

    release = node.release or read_release(site().image(node.image)).id
    return Expected(
        node.name, node.ip, release, f"{here().ip}:{targets.nfs}/{release}", node.disk,
        sshd=has(node, "usr/sbin/sshd"), powers_off=systemd(node),
    )  # fmt: skip
