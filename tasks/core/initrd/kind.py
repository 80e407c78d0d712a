"""What there is to know of a kind of initrd: the row that the module of each kind fills."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # who asks for kernel arguments makes no initrd
    from ..tree.model import Tree
    from .base_image import BaseImage
    from .content import BuiltInitrd, Recipe

# How the kernel itself is told its root (nfsroot.rst); initrds of Plugnode's scripts read the same
KERNELS_NETWORK_ROOT = "ip=dhcp root=/dev/nfs nfsroot={root},ro,{vers},proto=tcp,nolock{more}"
DHCP = "ip=dhcp"  # of each kind's words
# The same of a server that is named by IPv6; Debian's kernels ask nobody for an address themselves
IP6 = ((f"{DHCP} ", ""), ("proto=tcp,", "proto=tcp6,"))
OWN_TAGGED = f"{DHCP} plugnode.vlan={{vlan}}"  # to Plugnode's scripts: on whichever card it is

# What is published never changes: nothing is asked for again. Klibc's nfsmount knows no `actimeo`.
# Plugnode's own scripts add the same, for a line of EL5 is short
ASKED_ONCE = "nocto,acregmin=3600,acregmax=3600,acdirmin=3600,acdirmax=3600"


class Arguments(NamedTuple):
    """The kernel arguments by which a kind of initrd learns what it mounts, and from where."""

    network_root: str  # its {root} and how to mount it: {vers}, {more}
    # In place of DHCP, how it asks in a {vlan} on its {card}; "" where it knows no VLANs
    tagged: str = ""
    knows_ip6: bool = False  # mounts the root from a server's IPv6 address


ARGUMENTS = {  # by the kind's name
    "own": Arguments(KERNELS_NETWORK_ROOT, OWN_TAGGED, knows_ip6=True),
    "nash": Arguments(KERNELS_NETWORK_ROOT, OWN_TAGGED),
    # dracut.cmdline(7); its udev renames eth0 unless it is told not to (systemd-udevd(8)). It ends
    # in a shell, on each node that was switched on before its server, unless it is told not to
    "dracut": Arguments(
        "ip=dhcp rd.neednet=1 root=nfs:{root}:ro,{vers},proto=tcp,nolock,"
        f"{ASKED_ONCE}{{more}} net.ifnames=0 biosdevname=0 rd.shell=0 rd.emergency=reboot",
        tagged="vlan={card}.{vlan}:{card} ip={card}.{vlan}:dhcp",
    ),
    # It mounts NFS only with boot=nfs (initramfs-tools(7)), by klibc's nfsmount, which calls
    # proto=tcp just tcp; its udev renames eth0 unless it is told not to (systemd-udevd(8)). It
    # starts again where it is told after how many seconds, as the kernel does when it panics
    "initramfs-tools": Arguments(
        "boot=nfs ip=dhcp root=/dev/nfs nfsroot={root},ro,{vers},tcp,nolock,"
        f"{ASKED_ONCE}{{more}} net.ifnames=0 panic=60"
    ),
}


class InitrdKind(NamedTuple):
    """A kind of initrd, by who made the image that it starts from."""

    name: str
    description: str  # for the report
    maker: str  # for who gave an image of none; "" for images that are made of nothing
    recognises: Callable[[Tree, bytes], bool]  # by what an image holds, and its /init
    make: Callable[[Recipe, BaseImage | None], BuiltInitrd]
    has_udev: bool = False  # loads the driver of whatever network card there is
    mounts_version_3_alone: bool = False  # its program knows no other NFS

    @property
    def arguments(self) -> Arguments:
        return ARGUMENTS[self.name]


def network_root(kind: str, root: str, nfs: str, cmdline: str) -> str:
    """The kernel arguments that give a node its `root` over NFS, followed by the image's own.

    `root`: SERVER:PATH; `nfs`: a release's word.
    """
    vers, comma, options = (nfs or "vers=3").partition(",")
    own = ARGUMENTS[kind].network_root.format(root=root, vers=vers, more=comma + options)
    return " ".join(f"{own} {cmdline}".split())


def in_vlan(kind: str, card: str, vlan: int, arguments: str) -> str:
    """The kernel arguments of a node whose network is tagged with that VLAN.

    `card`: that it boots from; Plugnode's own scripts find it themselves.
    """
    asks = ARGUMENTS[kind].tagged.format(card=card, vlan=vlan)
    return arguments.replace(DHCP, asks or DHCP, 1)


def by_ip6(kind: str, arguments: str) -> str:
    """The kernel arguments of a node that boots by IPv6; "" where such an initrd cannot.

    `arguments`: those that name its server by its IPv6 address, in brackets.
    """
    if not ARGUMENTS[kind].knows_ip6:
        return ""
    for words, instead in IP6:
        arguments = arguments.replace(words, instead, 1)
    return arguments
