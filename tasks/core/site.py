"""Site: what `site.yaml` says, as frozen values. No positions, no raw dicts; every default filled in.

`tasks.core.schema` reads and validates; everything downstream sees only these.
"""

from __future__ import annotations

from functools import cached_property
from typing import Callable, NamedTuple


class Mac(str):
    """A network card's address: six lower-case pairs with colons, `52:54:00:00:00:01`."""

    __slots__ = ()

    @property
    def pxe(self) -> str:
        """As loaders name their files: ARP hardware type 1 (Ethernet, RFC 826), then pairs with dashes."""
        return "01-" + self.replace(":", "-")


class Network(NamedTuple):
    subnet: str  # "172.24.10.0/24"
    gateway: str | None = None
    dns: tuple[str, ...] = ()
    domain: str | None = None
    ntp: tuple[str, ...] = ()


class Server(NamedTuple):
    name: str
    ip: str
    ssh: str | None = None  # None: this machine


class Reference(NamedTuple):
    """Where an image's root comes from. `kind` tells which of the other fields count."""

    kind: str  # "rsync" | "path" | "archive" | "bootstrap"
    where: str = ""  # rsync source, folder or archive; folders and archives are absolute
    suite: str = ""  # bootstrap only, as are packages and mirror
    packages: tuple[str, ...] = ()
    mirror: str | None = None


class Partition(NamedTuple):
    mount: str  # "/var", or "swap"
    size: int | None  # MiB (2**20 bytes); None: the rest of the disk
    fs: str  # "ext3" | "ext4" | "xfs" | "swap"
    label: str  # "pn-var"
    fill: str | None = None  # "/var.ro"
    options: str | None = None  # "noatime,nosuid"
    mode: str | None = None  # "1777"


class DiskMatch(NamedTuple):
    size: str | None = None  # "100G..2T", "100G..", "..2T"
    serial: str | None = None
    id: str | None = None  # a name below /dev/disk/by-id, * and ? allowed
    transport: str | None = None  # "sata" | "nvme" | "virtio" | "sas" | …
    removable: bool = False  # whether one may be that says it is


class Disk(NamedTuple):
    devices: tuple[str, ...] = ("/dev/sda", "/dev/hda")
    partitions: tuple[Partition, ...] = (
        Partition("/var", 6000, "ext3", "pn-var", "/var.ro"),
        Partition("/tmp", 5000, "ext3", "pn-tmp"),
        Partition("/home", 51000, "ext3", "pn-home"),
    )
    table: str = "gpt"  # "gpt" | "dos"
    required: bool = True
    match: DiskMatch = DiskMatch()


class Initrd(NamedTuple):
    base: str = "auto"  # "auto" | "none" | an absolute path
    modules: tuple[str, ...] = ()
    busybox: str = "auto"  # "auto" | an absolute path
    compression: str = "gzip"  # "gzip" | "zstd" | "xz"


class Image(NamedTuple):
    name: str
    reference: Reference
    exclude: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    kernel: str = "auto"
    initrd: Initrd = Initrd()
    cmdline: str = ""
    interface: str = "eth0"
    disk: Disk = Disk()
    local_files: tuple[str, ...] | None = None  # None: by what the reference's init is; no leading slash
    keep: tuple[str, ...] = ()  # no leading slash
    loaders: tuple[tuple[str, str], ...] = ()  # (name below tftp_root, absolute path)
    also: tuple[str, ...] | None = None  # None: those at /boot, /usr, /var, /opt


class Node(NamedTuple):
    """A node with everything merged in: image, then its groups in order, then itself."""

    name: str
    mac: Mac
    ip: str
    image: str
    groups: tuple[str, ...] = ()
    cmdline: str = ""  # what groups and node add to the image's own
    interface: str = "eth0"
    disk: Disk = Disk()
    layout: str = ""  # name of `disk` in site.img; equal disks share a name
    server: str | None = None  # None: spread over the servers
    release: str | None = None  # a pin
    wipe: str | None = None  # a token


class Deploy(NamedTuple):
    tftp_root: str = "/tftpboot"
    nfs_root: str = "/opt/nfs_export"
    keep: int = 3
    keep_days: int = 90
    dhcp: str = "none"  # "none" | "isc" | "kea" | "dnsmasq"
    dhcp_conf: str | None = None


class _Said(NamedTuple):
    name: str
    network: Network
    servers: tuple[Server, ...]
    images: tuple[Image, ...]
    deploy: Deploy
    fingerprint: str  # sha256 over every value of the site, nodes too; nothing of its spelling
    read_nodes: Callable[[], tuple[Node, ...]]


class Site(_Said):
    """A whole site. `nodes` are read when first asked for: most runs need only `fingerprint`."""

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, sorted by address (as a number)."""
        return self.read_nodes()

    def image(self, name: str) -> Image:
        return next(image for image in self.images if image.name == name)
