"""What there is to know of a kind of initrd: the row that the module of each kind fills."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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


class InitrdKind(NamedTuple):
    """A kind of initrd, by who made the image that it starts from."""

    name: str
    description: str  # for the report
    maker: str  # for who gave an image of none; "" for images that are made of nothing
    network_root: (
        str  # kernel arguments that tell it its {root} and how to mount it: {vers}, {more}
    )
    recognises: Callable[[Tree, bytes], bool]  # by what an image holds, and its /init
    make: Callable[[Recipe, BaseImage | None], BuiltInitrd]
    has_udev: bool = False  # loads the driver of whatever network card there is
    # In place of DHCP, how it asks in a {vlan} on its {card}; "" where it knows no VLANs
    tagged: str = ""
    mounts_version_3_alone: bool = False  # its program knows no other NFS
    knows_ip6: bool = False  # mounts the root from a server's IPv6 address
