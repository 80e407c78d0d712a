"""What `site.yaml` says, as frozen values: no positions, no raw dicts, every default filled in.

`load` reads and validates; everything downstream sees only these. A field that is a key of the
file has the key's row beside it (`keys`); the others are worked out.
"""

# Annotations are values here, and a boot server's Python 3.9 reads this file, too.
# ruff: noqa: UP045
import hashlib
import itertools
import os
from functools import cached_property
from typing import Annotated, Callable, NamedTuple, Optional

from ..base.boot_programs import AMD64, ARM64, is_certificate, is_loader, is_no_refused_loader
from ..base.files import content
from ..base.ssh import public_keys
from ..dhcp.servers import BY_WORD, EACH_NAME, EACH_PATH
from .keys import (
    APPEND,
    INITRD,
    KEYWISE,
    LOWEST,
    REPLACE,
    ROOT,
    Boolean,
    Choice,
    Key,
    ListOf,
    MapOf,
    OneOrList,
    PathHere,
    Text,
    Whole,
)


# What of this machine a site needs: a kind, and whether a path is such a thing
def is_public_key(path: str) -> bool:
    return os.path.isfile(path) and bool(public_keys(content(path) or b""))


EXISTS = {
    "folder": os.path.isdir,
    "file": os.path.isfile,
    "loader": is_loader,
    "loader, if any": is_no_refused_loader,
    "public key": is_public_key,
    "certificate": is_certificate,
}


class Mac(str):
    """A network card's address: six lower-case pairs with colons, `52:54:00:00:00:01`."""

    __slots__ = ()

    @property
    def pxe(self) -> str:
        """As loaders name their files: ARP hardware type 1 (Ethernet, RFC 826), then pairs."""
        return "01-" + self.replace(":", "-")


ONLY_NETWORK = "network"  # the name of the one that stands under `network:`


class Network(NamedTuple):
    """One subnet, and what DHCP tells the nodes in it."""

    subnet: Annotated[
        str,
        Key(
            Text("subnet"),
            "the nodes' IPv4 network",
            "the nodes' IPv4 network, /8 to /30. Nodes, servers and gateway have addresses in it",
            examples=("172.24.10.0/24",),
        ),
    ]
    gateway: Annotated[
        Optional[str],
        Key(Text("ipv4"), "the router that nodes use", "the router"),
    ] = None
    subnet6: Annotated[
        Optional[str],
        Key(
            Text("subnet6"),
            "its IPv6 network: nodes whose firmware boots by IPv6 have their root by IPv6, too",
            "its IPv6 network, in which the `ip6` of its nodes lie: those whose firmware boots by"
            " IPv6 have their root by IPv6, too, see below",
            examples=("2001:db8:10::/64",),
        ),
    ] = None
    gateway6: Annotated[
        Optional[str],
        Key(
            Text("ipv6"),
            "the router that nodes use by IPv6",
            "the router that they then use by IPv6; left out: whichever advertises itself",
            examples=("2001:db8:10::ffff",),
        ),
    ] = None
    dns: Annotated[
        tuple[str, ...],
        Key(ListOf(Text("ipv4")), "name servers", "name servers, by address"),
    ] = ()
    domain: Annotated[
        Optional[str],
        Key(
            Text("domain"),
            "the nodes' DNS domain",
            "the DNS domain. `hosts` then has `172.24.10.100 wn001.grid.example.org wn001`:"
            " `hostname -f` of a node gives the first, its own name is `wn001`",
            examples=("grid.example.org",),
        ),
    ] = None
    ntp: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("ipv4")),
            "time servers, by address (DHCP carries no names)",
            "time servers, by address, for DHCP carries no names: its option 42. A node's own"
            " daemon has its configuration from the reference or an overlay",
        ),
    ] = ()
    search: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("domain")),
            "domains in which names are looked up (DHCP option 119)",
            "domains in which names are looked up, on nodes after `domain`: DHCP's option 119",
        ),
    ] = ()
    mtu: Annotated[
        Optional[int],
        Key(
            Whole(576, 65535),
            "the largest packet of its cards (DHCP option 26)",
            "the largest packet that its cards send, in bytes: DHCP's option 26",
            default="the cards' own",
        ),
    ] = None
    vlan: Annotated[
        Optional[int],
        Key(
            Whole(1, 4094),
            "the number of its VLAN: interfaces of nodes that have configure tag what they send",
            "the number of its VLAN: nodes tag what `interfaces` that they configure themselves"
            " send in it (`ens1f1.36`); the card that a node boots from only where it is `tagged`,"
            " for PXE is not",
        ),
    ] = None
    tagged: Annotated[
        bool,
        Key(
            Boolean(),
            "whether nodes that boot in it tag what they send, from their initrd on",
            "`true`: nodes that boot in it tag what they send with its `vlan`, from their initrd"
            " on, see below",
        ),
    ] = False
    options: Annotated[
        tuple[tuple[str, tuple[str, ...]], ...],
        Key(
            MapOf(Text("dhcp_option", number=True), OneOrList(Text("option_value"))),
            "more DHCP options: a name, or a number from 128 on, and a value or a list of them",
            "more DHCP options, by name or by a number from 128 on: a value, or a list of"
            " addresses",
            examples=({"tftp-server-name": "172.24.10.9"},),
        ),
    ] = ()
    pool: Annotated[
        Optional[str],
        Key(
            Text("address_range"),
            "first and last address of those for machines that are in no site.yaml",
            "addresses for machines that `nodes` does not have, from the first to the last: for an"
            " hour, and without a loader. Left out: such machines get none",
            examples=("172.24.10.200-172.24.10.250",),
        ),
    ] = None
    relay: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("ipv4")),
            "addresses of its DHCP relays that lie outside the subnet",
            "addresses (giaddr) of its DHCP relays that lie outside the subnet; one inside it,"
            " such as the router's, needs no word",
        ),
    ] = ()
    shared_network: Annotated[
        Optional[str],
        Key(
            Text("name"),
            "a word that subnets on one wire have in common",
            "a word that networks have in common whose subnets lie on one wire (dhcpd's"
            " `shared-network`)",
        ),
    ] = None
    name: str = ONLY_NETWORK


class Server(NamedTuple):
    name: str
    ip: Annotated[
        str,  # the main one
        Key(
            Text("ipv4"),
            "the address at which nodes reach it: DHCP, TFTP and NFS",
            "its address in the subnet; of several networks the one at which nodes of all of them"
            " reach it",
            default="the first of `addresses`, else required",
            optional=True,
            examples=("172.24.10.1",),
        ),
    ]
    ssh: Annotated[
        Optional[str],  # None: this machine
        Key(
            Text("ssh"),
            "how to reach it; left out: it is this machine",
            "how to reach it, `user@host` or a name of your ssh configuration; left out: it is"
            " this machine",
        ),
    ] = None
    nfs_server: Annotated[
        Optional[str],  # None: itself
        Key(
            Text("nfs_server"),
            "ADDRESS:/PATH of the machine that serves the roots, mounted here at nfs_root",
            "`ADDRESS:/PATH`, where another machine serves the roots by NFS, such as a filer: its"
            " export is mounted here at `nfs_root`, see below",
            default="itself",
            examples=("172.24.10.5:/vol/roots",),
        ),
    ] = None
    addresses: Annotated[
        tuple[tuple[str, str], ...],  # (network, address)
        Key(
            MapOf(Text("network_name"), Text("ipv4"), least=1),
            "its address in each network that it has a card in",
            "its address in each network that it has a card in, by the network's name. Nodes of"
            " other networks reach it at `ip`",
            examples=({"rack1": "172.24.10.1"},),
        ),
    ] = ()
    ip6: Annotated[
        Optional[str],
        Key(
            Text("ipv6"),
            "the address at which nodes reach it by IPv6",
            "the address at which nodes reach it by IPv6, of all networks with a `subnet6`; a line"
            " in `hosts`",
            examples=("2001:db8:10::1",),
        ),
    ] = None

    def address_in(self, network: str) -> str:
        """The address that nodes of a network reach: its own there, else its main one."""
        return dict(self.addresses).get(network, self.ip)


BOOT_CARD = "boot"  # in `of` of a bond: the card, or the cards, that the node boots from


class Bond(NamedTuple):
    """Cards that are one to the system (Documentation/networking/bonding.rst)."""

    mode: Annotated[
        str,
        Key(
            Choice(
                "active-backup",
                "802.3ad",
                "balance-rr",
                "balance-xor",
                "broadcast",
                "balance-tlb",
                "balance-alb",
            ),
            "how the cards share the traffic, in the kernel's words",
            "how they share the traffic, in the kernel's words: `active-backup`, one at a time;"
            " `802.3ad`, all by LACP, which the switch must speak; others that it must be set up"
            " for: `balance-rr`, `balance-xor`, `broadcast`; or need not: `balance-tlb`,"
            " `balance-alb`",
            examples=("active-backup",),
        ),
    ]
    of: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("interface"), least=1),
            "its cards: boot (those that the node boots from), others of its interfaces, or the"
            " kernel's names",
            "its cards: `boot`, those that the node boots from; others of its `interfaces`, which"
            " then need no address; or names of the kernel's",
            examples=(["boot", "ens1f1"],),
        ),
    ]


class Interface(NamedTuple):
    """What a node has besides the card that it boots from: no boot files belong to it."""

    name: str
    network: Annotated[
        str,  # "" of a part of a bond
        Key(
            Text("any_text"),
            "the network that it is in",
            "the network that it is in",
            default="the one in which its address lies",
            optional=True,
        ),
    ]
    configure: Annotated[
        bool,
        Key(
            Boolean(),
            "whether the node brings it up itself, with its address, MTU and VLAN",
            "`true`: the node brings it up with its address, and its network's MTU and VLAN, under"
            " its name as the kernel's or, with a `mac`, whatever the kernel calls it",
        ),
    ] = False
    bond: Annotated[
        Optional[Bond],
        Key(
            Bond,
            "of several cards: the node makes it, with its address",
            "it is no card, but several as one, which the node makes of them and gives its address"
            " itself: see below",
            examples=({"mode": "802.3ad", "of": ["ens1f0", "ens1f1"]},),
        ),
    ] = None
    ip: str = ""
    mac: Mac = Mac("")
    guid: str = ""  # of an InfiniBand port: eight pairs with colons
    ip6: str = ""

    @property
    def carries_root(self) -> bool:
        """Whether it is a bond that takes over the card that the node boots from."""
        return self.bond is not None and BOOT_CARD in self.bond.of

    def host_name(self, node: str) -> str:
        """`wn001-bmc`."""
        return f"{node}-{self.name}"


class Reference(NamedTuple):
    """Where an image's root comes from. `kind` tells which of the other fields count."""

    kind: str  # "rsync" | "path" | "archive" | "oci" | "bootstrap"
    where: str = ""  # rsync source, folder, archive or image; what lies here is absolute
    suite: str = ""  # bootstrap only, as are packages and mirror
    packages: tuple[str, ...] = ()
    mirror: Optional[str] = None


class Partition(NamedTuple):
    mount: Annotated[
        str,
        Key(
            Text("mount_point"),
            "mount point, swap, or image",
            "where it is mounted, or `swap`; or `image`, which keeps root files (`root: disk`)",
            default="required",
            optional=True,
            recipe=ROOT,
            examples=("/var",),
        ),
    ]
    size: Annotated[
        Optional[int],  # MiB (2**20 bytes); None: the rest of the disk
        Key(
            Text("size"),
            "with M, MiB, G or GiB (powers of 1024), or rest",
            "`6000M`, `10G` (also MiB, GiB: powers of 1024; 16M to 16384G), or `rest` for the last"
            " one",
            examples=("6000M",),
        ),
    ]
    fs: Annotated[
        str,
        Key(
            Choice("ext3", "ext4", "xfs", "swap"),
            "file system",
            "`ext3`, `ext4`, `xfs` or `swap`",
            default="required, but `ext4` for `mount: image`",
            optional=True,
        ),
    ]
    label: Annotated[
        str,
        Key(
            Text("label", number=True),
            "left out: pn- and the mount point",
            "at most 16 characters, 12 for xfs",
            default="`pn-` and the mount point: `pn-var`",
            optional=True,
        ),
    ]
    fill: Annotated[
        Optional[str],
        Key(
            Text("absolute"),
            "folder of the shared root whose content it gets; /var: /var.ro",
            "the folder of the shared root whose content a new one gets",
            default="`/var.ro` for /var, else none",
            recipe=ROOT,
        ),
    ] = None
    options: Annotated[
        Optional[str],
        Key(
            Text("mount_options"),
            "mount options, as for mount -o",
            "mount options, as for `mount -o`: `noatime,nosuid`",
            examples=("noatime,nosuid",),
        ),
    ] = None
    mode: Annotated[
        Optional[str],
        Key(
            Text("mode", number=True),
            "mode of the mount point; left out: that of the root's folder, or of fill",
            "`1777` for a /scratch of everybody; its owner is that folder's",
            default="that of the root's folder it is mounted on, or of `fill`",
        ),
    ] = None


TRANSPORTS = (
    "ata",
    "fabrics",
    "fc",
    "ide",
    "iscsi",
    "mmc",
    "nvme",
    "sas",
    "sata",
    "scsi",
    "virtio",
)


class DiskMatch(NamedTuple):
    size: Annotated[
        Optional[str],
        Key(Text("size_range"), "100G..2T, 100G.. or ..2T", "`100G..2T`, `100G..` or `..2T`"),
    ] = None
    serial: Annotated[
        Optional[str],
        Key(
            Text("serial", number=True),
            "as lsblk -o SERIAL prints it",
            "its serial number, as `lsblk -o SERIAL` prints it; of SAS and SCSI disks also"
            " udev's `ID_SERIAL_SHORT`, which is another",
        ),
    ] = None
    id: Annotated[
        Optional[str],
        Key(
            Text("by_id"),
            "a name below /dev/disk/by-id; * and ? match",
            "a name below /dev/disk/by-id; `*` and `?` match",
        ),
    ] = None
    transport: Annotated[
        Optional[str],
        Key(
            Choice(*TRANSPORTS),
            "how it is attached, as lsblk -o TRAN prints it",
            "how it is attached, as `lsblk -o TRAN` prints it: `sata`, `sas`, `nvme`, `virtio`,"
            " `ata`, `scsi`, `ide`, `mmc`; and `fc`, `iscsi`, `fabrics` (NVMe over a network):"
            " a disk on a network is taken only where its own word stands here, see below",
        ),
    ] = None
    removable: Annotated[
        bool,
        Key(
            Boolean(),
            "allows disks that say they are, as behind some RAID controllers; never USB",
            "`true` allows disks that say they are, as behind some RAID controllers; never USB",
        ),
    ] = False


class Raid(NamedTuple):
    level: Annotated[
        int,
        Key(
            Whole(0, 1),
            "0: striped, 1: mirrored",
            "`1`: each disk has all, and one may die; `0`: the room of all, lost with any of them",
        ),
    ]
    devices: Annotated[
        int,
        Key(
            Whole(2, 16),
            "how many disks",
            "how many disks, of which each gives as much as the smallest has",
        ),
    ]


class Disk(NamedTuple):
    devices: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("device"), least=1),
            "the first that exists is taken",
            "whole disks; the node's own is found whatever it is called today, and where there"
            " is none the first blank one of these is taken; `*` and `?` match, as in"
            " `/dev/disk/by-id/ata-*`",
            merge=REPLACE,
            examples=(["/dev/sda", "/dev/hda"],),
        ),
    ] = ("/dev/sda", "/dev/hda")
    partitions: Annotated[
        tuple[Partition, ...],
        Key(
            ListOf(Partition, least=1, most=15),
            "in the order on disk",
            "in the order on disk, at most 15",
            default="/var 6000M, /tmp 5000M, /home 51000M, all ext3",
            merge=REPLACE,
        ),
    ] = (
        Partition("/var", 6000, "ext3", "pn-var", "/var.ro"),
        Partition("/tmp", 5000, "ext3", "pn-tmp"),
        Partition("/home", 51000, "ext3", "pn-home"),
    )
    table: Annotated[
        str,
        Key(
            Choice("gpt", "dos"),
            "kind of partition table; dos for EL5 and before",
            "`gpt` or `dos` (EL5; four partitions, 2 TiB)",
            merge=REPLACE,
        ),
    ] = "gpt"
    required: Annotated[
        bool,
        Key(
            Boolean(),
            "whether a node without a usable disk stops",
            "`false`: a node without a disk comes up with /var, /tmp and /home in memory; `true`:"
            " it stops and says so",
            merge=REPLACE,
        ),
    ] = True
    match: Annotated[
        DiskMatch,
        Key(
            DiskMatch,
            "further conditions on the disk",
            "further conditions on the disk, see below",
            default="none",
            merge=KEYWISE,
        ),
    ] = DiskMatch()
    raid: Annotated[
        Optional[Raid],
        Key(
            Raid,
            "a set of several disks that are used as one (mdadm)",
            "a set of several disks that are used as one: `{level: 1, devices: 2}`, see below",
            default="one disk",
            merge=REPLACE,
        ),
    ] = None


class Initrd(NamedTuple):
    base: Annotated[
        str,  # "auto" | "none" | an absolute path
        Key(
            PathHere("base", ("auto", "none")),
            "auto (the distribution's image of that kernel), none (a minimal one is made) or a"
            " path",
            "`auto`: the distribution's image for that kernel; `none`: a minimal one is made;"
            " or a file on this machine",
        ),
    ] = "auto"
    modules: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("module")),
            "network card modules; NFS and every dependency are added",
            "network card modules, without `.ko`; NFS modules and every dependency are added",
        ),
    ] = ()
    busybox: Annotated[
        str,  # "auto" | an absolute path
        Key(
            PathHere("busybox", ("auto",)),
            "auto (the reference's static one, else this machine's) or a path",
            "`auto`: a static busybox of the reference, else of this machine; or a file on this"
            " machine",
        ),
    ] = "auto"
    compression: Annotated[
        str,
        Key(
            Choice("gzip", "zstd", "xz"),
            "as the kernel can unpack it",
            "`gzip`, `zstd` (kernel 5.9 and later) or `xz`",
        ),
    ] = "gzip"


class NfsMount(NamedTuple):
    vers: Annotated[
        str,
        Key(
            Text("nfs_version", number=True),
            "the version of NFS by which nodes mount their root",
            "`3`, `4.1` or `4.2`",
        ),
    ] = "3"
    options: Annotated[
        str,
        Key(
            Text("nfs_options"),
            "further mount options, as for mount -o",
            "further mount options, as for `mount -o`: `nconnect=4,rsize=1048576`. They come after"
            " Plugnode's own and win: `actimeo=60` has nodes ask again each minute",
            examples=("nconnect=4,rsize=1048576",),
        ),
    ] = ""


NFS, NFS_OVERLAY, NFS_FILE, RAM, DISK = "nfs", "nfs-overlay", "nfs-file", "ram", "disk"
NAMED_LOADERS = ("grub", "ipxe", "pxelinux", "shim")
UKI = "uki"  # the loader of an image that is one signed file, a unified kernel image
FETCHED = (RAM, DISK)  # kinds of `root:` that come whole, by HTTP
VERIFIED = (NFS_FILE,)  # those of which each block is checked as it is read, by dm-verity
ROOT_FILES = (NFS_FILE, *FETCHED)  # those that are one file, made of the staged tree
WRITABLE = (NFS_OVERLAY, *ROOT_FILES)
OVERLAY_SIZE = 1024  # MiB


class Image(NamedTuple):
    name: str
    reference: Annotated[
        Reference,
        Key(
            Reference,
            "where the root comes from",
            "where the root comes from, see below",
            recipe=ROOT,
        ),
    ]
    exclude: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("exclude")),
            "rsync patterns of what is left out",
            "rsync patterns of what is left out; `+ PATTERN` keeps what a later one would take."
            " `/proc/*`, `/tmp/*` and the like are left out anyway, and in a `path` that holds them"
            " the build folder, `tftp_root`, `nfs_root` and `http_root`",
            recipe=ROOT,
            examples=(["/scratch/*"],),
        ),
    ] = ()
    overlays: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("name")),
            "folders below overlays/, later ones win; laid over the built-in ones",
            "folders below `overlays/`, laid over the built-in ones; later ones win",
            recipe=ROOT,
        ),
    ] = ()
    kernel: Annotated[
        str,
        Key(
            Text("kernel", number=True),
            "auto (the newest in /boot) or a version",
            "`auto`: the newest in the reference's /boot; or a version, as in `6.1.0-30-amd64`",
            recipe=INITRD,
        ),
    ] = "auto"
    initrd: Annotated[
        Initrd,
        Key(Initrd, "the initial RAM disk", "the initial RAM disk, see below", recipe=INITRD),
    ] = Initrd()
    arch: Annotated[
        str,
        Key(
            Choice(AMD64, ARM64),
            "the processors that it is for",
            "the processors that it is for; `bootstrap` and `oci` take packages of these."
            " `arm64` boots by UEFI, see [boot.md](boot.md)",
            recipe=INITRD,
        ),
    ] = AMD64
    cmdline: Annotated[
        str,
        Key(
            Text("cmdline"),
            "kernel arguments",
            "kernel arguments. Letters, digits and `. _ , : = / @ % + ~ ! [ ] * ? ^ ( ) -`;"
            " no quotes. Plugnode itself gives `root=`, `nfsroot=`, `initrd=`, `BOOTIF=`,"
            " `plugnode.overlay=`",
            examples=("console=ttyS0",),
        ),
    ] = ""
    interface: Annotated[
        str,
        Key(
            Text("interface"),
            "the network card that nodes boot from",
            "the network card that nodes boot from, where neither the loader (BOOTIF) nor a MAC of"
            " `nodes` says which; then every card with a link is tried in turn, this one first."
            " The name is the kernel's own (`eth0`), which the card keeps; all other cards get the"
            " names that the reference's udev gives them (`ens1f0`), but the kernel's on nodes that"
            " boot by an initrd of dracut or initramfs-tools",
            recipe=INITRD,
        ),
    ] = "eth0"
    disk: Annotated[
        Disk,
        Key(Disk, "the nodes' own disk", "the nodes' own disk, see below", merge=KEYWISE),
    ] = Disk()
    disks: Annotated[
        tuple[Disk, ...],  # (): the one of `disk`
        Key(
            ListOf(Disk, least=1, most=9),
            "in place of disk, several",
            "in place of `disk`, several: a list of such layouts, see below",
            default="the one of `disk`",
        ),
    ] = ()
    local_files: Annotated[
        Optional[tuple[str, ...]],  # None: by what the reference's init is; no leading slash
        Key(
            ListOf(Text("local_file")),
            "per-node files that live on /var and are symlinked from the shared root",
            default="`[etc/sysconfig/network]` on sysvinit, none on systemd",
            recipe=ROOT,
        ),
    ] = None
    node_files: Annotated[
        tuple[tuple[str, str], ...],  # (path without a leading slash, absolute path of a template)
        Key(
            MapOf(Text("local_file"), PathHere()),
            "files that each node fills at boot from its own row: path, and template here",
            "files that each node has of its own, filled at boot: a path, and a small template on"
            " this machine, see below. The paths are the release's, what is in them site data",
            recipe=ROOT,
            examples=({"etc/opensm/local.conf": "templates/nodes/opensm.conf"},),
        ),
    ] = ()
    keep: Annotated[
        tuple[str, ...],  # no leading slash
        Key(
            ListOf(Text("relative")),
            "paths that the secrets rules would scrub or refuse, allowed",
            "files, or folders with all that is in them, that the secrets rules would scrub or"
            " refuse, allowed into the export: [secrets.md](secrets.md). `plan`"
            " names what it lets out",
            recipe=ROOT,
        ),
    ] = ()
    loaders: Annotated[
        tuple[tuple[str, str], ...],  # (name below tftp_root, absolute path)
        Key(
            MapOf(Text("loader_name"), PathHere()),
            "boot loader files: name below tftp_root, path here",
            "boot loader files by their name below `tftp_root`: a path on this machine."
            " Images that name one name the same file for it: it serves all nodes. A boot program"
            " (EFI, PXE, syslinux, GRUB) that all may read: TFTP gives it to everybody",
            default="the distribution's",
        ),
    ] = ()
    release: Annotated[
        Optional[str],
        Key(
            Text("release_id"),
            "a pin: the release that its nodes stay at, as doit status lists them",
            "a pin: `<image>-<12 hex digits>`, as `doit status` lists them. The image's nodes stay"
            " at that release, but those that a group or the node itself has with"
            " `release: newest`: see [servers.md](servers.md)",
        ),
    ] = None
    also: Annotated[
        Optional[tuple[str, ...]],  # None: those at /boot, /usr, /var, /opt
        Key(
            ListOf(Text("tree_folder")),
            "local file systems of the reference to pull too; left out: those at /boot, /usr,"
            " /var, /opt",
            "local file systems of the reference to pull besides its root's",
            default="those at /boot, /usr, /var, /opt",
            recipe=ROOT,
        ),
    ] = None
    loader: Annotated[
        Optional[str],
        Key(
            Choice(*NAMED_LOADERS, UKI),
            "the boot loader that DHCP names for its nodes; uki: shim, and one signed file",
            "the boot loader that DHCP names for its nodes, as a group or a node may say it, too;"
            " or `uki`: shim, which starts one file that is signed as a whole, with kernel, initrd,"
            " arguments and the root's hash: [boot.md](boot.md#one-signed-file)",
            recipe=INITRD,
        ),
    ] = None
    root: Annotated[
        str,
        Key(
            Choice(NFS, NFS_OVERLAY, *ROOT_FILES),
            "nfs: shared and read-only; nfs-overlay: each node writes above it in memory; nfs-file:"
            " the same, of one file on the server; ram: fetched as one file and kept in memory;"
            " disk: kept on the node's disk",
            "`nfs`: shared by all nodes and read-only. `nfs-overlay`: the same, and each node can"
            " write above it, in its memory. `nfs-file`: the same, but one file on the server in"
            " place of a tree. `ram`: that file, which each node fetches by HTTP, checks and keeps"
            " in memory, and writes above it. `disk`: the same, kept on the node's own disk;"
            " see below",
            recipe=INITRD,
        ),
    ] = NFS
    overlay_size: Annotated[
        Optional[int],  # MiB
        Key(
            Text("memory_size"),
            "how much a node may write above its root; never more than half of its memory",
            "with a root that can be written, how much a node may write above it: `512M`, `2G`;"
            " never more than half of its memory",
            default="1G",
        ),
    ] = None

    nfs: Annotated[
        NfsMount,
        Key(
            NfsMount,
            "how nodes mount their root",
            "how nodes mount their root, see below",
            recipe=INITRD,
        ),
    ] = NfsMount()
    root_exclude: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("exclude")),
            "rsync patterns of what the root file leaves out",
            "rsync patterns of what a root that is one file leaves out, beside `exclude`",
            examples=(["/boot/*"],),
        ),
    ] = ()
    root_modules: Annotated[
        str,
        Key(
            Choice("all", "used"),
            "which kernel modules the root file has",
            "of a root that is one file: `all` kernel modules, or `used`: of the drivers of network"
            " cards, graphics, sound and the like only those of `initrd: modules`, and what they"
            " need",
        ),
    ] = "all"
    # On nodes, without a leading slash -> does it stay on the disk: every secret's
    secret_places: tuple[tuple[str, bool], ...] = ()
    # The files of `trust:` with public keys, by which its nodes know site data
    signers: tuple[str, ...] = ()
    tags: bool = False  # whether its initrd must know VLANs: some network is tagged

    @property
    def nfs_words(self) -> str:
        """How nodes mount the root, as a release says it: "" for NFS 3 and nothing else."""
        if self.nfs == NfsMount():
            return ""
        return ",".join(filter(None, (f"vers={self.nfs.vers}", self.nfs.options)))

    @property
    def arguments(self) -> str:
        """Its kernel arguments, with the one that has nodes write above the root."""
        if self.root not in WRITABLE:
            return self.cmdline
        size = self.overlay_size or OVERLAY_SIZE
        return f"{self.cmdline} plugnode.overlay={size}".strip()


def template_of(image: str, path: str) -> str:
    """The name in site.img of the template of a file that an image's nodes fill."""
    return f"{image}.{hashlib.sha256(path.encode()).hexdigest()[:12]}"


class Password(NamedTuple):
    """Where a password is read when it is needed; exactly one of these."""

    file: Annotated[
        Optional[str],
        Key(
            PathHere(),
            "a file whose first line it is",
            "a file on the machine that asks, whose first line it is; nobody else may read it",
        ),
    ] = None
    command: Annotated[
        Optional[str],
        Key(
            Text("command"),
            "a command of sh that prints it; of $NODE, if it names that",
            "a command of sh whose first line it is. With `$NODE` in it it is run for each node",
            examples=('pass show "bmc/$NODE"',),
        ),
    ] = None
    env: Annotated[
        Optional[str],
        Key(
            Text("variable"),
            "a variable of the environment that holds it",
            "a variable of the environment",
            examples=("BMC_PASSWORD",),
        ),
    ] = None


class Management(NamedTuple):
    """How the BMC of a node is reached. `protocol` None: it has none that anybody told of."""

    interface: Annotated[
        str,
        Key(
            Text("interface_name"),
            "the name of the BMC among the node's interfaces",
            "the name of the BMC among the node's `interfaces`",
            merge=REPLACE,
        ),
    ] = "bmc"
    system: Annotated[
        Optional[str],
        Key(
            Text("bmc_system"),
            "of Redfish: which of several systems the node is",
            "of Redfish: which of its systems the node is, where it has several (`Id`)",
            default="the only one",
            merge=REPLACE,
            examples=("System.Embedded.1",),
        ),
    ] = None
    protocol: Annotated[
        Optional[str],
        Key(
            Choice("redfish", "ipmi"),
            "what it speaks",
            "what it speaks: `redfish` (HTTPS) or `ipmi` (version 2.0, by ipmitool)",
            default="required",
            merge=REPLACE,
        ),
    ] = None
    user: Annotated[
        Optional[str],
        Key(
            Text("bmc_user"),
            "who may switch it",
            "the name of an account there that may switch power",
            default="required",
            merge=REPLACE,
            examples=("admin",),
        ),
    ] = None
    password: Annotated[
        Optional[Password],
        Key(
            Password,
            "where the password is read: file, command or env",
            "where the password is read; never the password itself",
            default="required",
            merge=REPLACE,
            examples=({"file": "bmc.password"},),
        ),
    ] = None
    ca: Annotated[
        Optional[str],
        Key(
            PathHere(),
            "of Redfish: who must have signed its certificate, a PEM file",
            "of Redfish: a PEM file of who must have signed its certificate, or the certificate"
            " itself. The certificate must be of its address",
            default="the well-known ones",
            merge=REPLACE,
        ),
    ] = None
    verify: Annotated[
        bool,
        Key(
            Boolean(),
            "of Redfish: whether its certificate is looked at",
            "of Redfish: `false` takes any certificate: whoever answers at that address gets the"
            " password",
            merge=REPLACE,
        ),
    ] = True
    cipher: Annotated[
        Optional[int],
        Key(
            Whole(1, 17),
            "of IPMI: the cipher suite, where it does not say which it knows; old ones: 3",
            "of IPMI: the cipher suite, `3` of old ones",
            default="the best that it says it knows",
            merge=REPLACE,
        ),
    ] = None
    efi: Annotated[
        bool,
        Key(
            Boolean(),
            "of IPMI: whether the node boots from the network by UEFI",
            "of IPMI: whether the node boots from the network by UEFI; `false`: by BIOS",
            merge=REPLACE,
        ),
    ] = True


class Node(NamedTuple):
    """A node with everything merged in: image, then its groups in order, then itself.

    The rows are settings of groups, too; what is a node's alone has its rows in `schema`.
    """

    name: str
    mac: Mac  # the first of its cards; "": not known yet
    ip: str
    image: Annotated[
        str,
        Key(
            Text("any_text"),
            "name of an image",
            "the image that the nodes run; left out: that of the groups, else the only one that"
            " there is",
            merge=LOWEST,
        ),
    ]
    groups: tuple[str, ...] = ()
    cmdline: Annotated[
        str,  # what groups and node add to the image's own
        Key(
            Text("cmdline"),
            "added to the kernel arguments of the image",
            "kernel arguments besides the image's",
            merge=APPEND,
        ),
    ] = ""
    disk: Annotated[
        Disk,
        Key(
            Disk,
            "replaces keys of the image's disk",
            "keys that replace those of the image's disk",
            merge=KEYWISE,
            of_image=True,
        ),
    ] = Disk()
    disks: Annotated[
        tuple[Disk, ...],  # (): the one of `disk`
        Key(
            ListOf(Disk, least=1, most=9),
            "in place of disk, several",
            "in place of `disk`, several: they replace those of the image",
            merge=REPLACE,
            of_image=True,
        ),
    ] = ()
    interface: Annotated[
        str,
        Key(
            Text("interface"),
            "the network card that the node boots from",
            "the network card that they boot from, where it is another than the image's:"
            " `plugnode.interface=` in their kernel arguments. At boot the"
            " loader's word (BOOTIF) and"
            " the node's MAC come first; an initrd of dracut or initramfs-tools"
            " goes by the loader's"
            " word alone, but in a `tagged` network",
            merge=REPLACE,
            of_image=True,
        ),
    ] = Image._field_defaults["interface"]
    layout: str = ""  # name of `disk` in site.img; equal disks share a name
    server: Annotated[
        Optional[str],  # None: spread over the servers
        Key(
            Text("any_text"),
            "name of the server that it boots from; left out: spread",
            "the server that they boot from; left out: nodes are spread over all",
            merge=REPLACE,
        ),
    ] = None
    release: Annotated[
        Optional[str],
        Key(
            Text("release_or_newest"),
            "a pin: the release that it boots, as doit status lists them; or newest",
            "a pin: `<image>-<12 hex digits>`, as `doit status` lists them."
            " The node boots that release instead of the newest. `newest` takes back the pin of the"
            " image, or of a group before",
            merge=REPLACE,
            of_image=True,
        ),
    ] = None
    loader: Annotated[
        Optional[str],  # None: by the firmware alone
        Key(
            Choice(*NAMED_LOADERS),
            "the boot loader that DHCP names for it",
            "the boot loader that DHCP names: `shim` or `grub` for UEFI, `pxelinux` for BIOS,"
            " `ipxe` for both. Other firmware gets what it gets without the key; a network card"
            " with iPXE in it gets the `grub` or `pxelinux` that is named here, too, else"
            " `boot.ipxe`",
            merge=REPLACE,
            of_image=True,
        ),
    ] = None
    arch: Annotated[
        str,
        Key(
            Choice(AMD64, ARM64),
            "its processor: its image is for that one",
            "the processor: that of the image; said here, an image for another is refused",
            merge=REPLACE,
            of_image=True,
        ),
    ] = AMD64
    facts: Annotated[
        tuple[tuple[str, str], ...],  # by name
        Key(
            MapOf(Text("fact_name"), Text("fact", number=True)),
            "words of your own, in templates and outputs",
            "words of your own, as `{rack: 3, room: B 12}`: a name, and a"
            " text. They are in `doit nodes`, in the inventories of `outputs` and in all templates",
            merge=KEYWISE,
            examples=({"rack": "3"},),
        ),
    ] = ()
    aliases: tuple[str, ...] = ()  # more names of it alone, in hosts and zones
    wipe: Annotated[
        Optional[str],
        Key(
            Text("wipe_token", number=True),
            "a token: once per token its disk is wiped",
            "a token, any word such as a date. A token that the node's disk does not remember yet"
            " is done once,"
            " and remembered: its disk is wiped at the next boot. `force:SERIAL` also takes a"
            " foreign disk that alone has that serial number, `foreign:WORD` the foreign"
            " disk of a second-hand"
            " machine, once (`overlays/worker/README.md` says which never)",
            merge=REPLACE,
        ),
    ] = None
    management: Annotated[
        Management,
        Key(
            Management,
            "how their BMC is reached",
            "how their BMC is reached: keys that replace those of the site's `management`",
            merge=KEYWISE,
        ),
    ] = Management()
    network: str = ONLY_NETWORK  # in which its address lies
    more_macs: tuple[Mac, ...] = ()  # of other cards that it may boot from
    interfaces: tuple[Interface, ...] = ()
    guid: str = ""  # of an InfiniBand port that it boots from: pairs with colons, as these two
    client_id: str = ""
    circuit_id: str = ""  # a switch port's
    ip6: str = ""  # a second address

    @property
    def is_known(self) -> bool:
        """Whether DHCP can know it by anything."""
        return bool(self.mac or self.guid or self.client_id or self.circuit_id)

    @property
    def macs(self) -> tuple[Mac, ...]:
        """Of every card that it may boot from; none where it has none yet."""
        return (self.mac, *self.more_macs) if self.mac else ()


class Deploy(NamedTuple):
    tftp_root: Annotated[
        str,
        Key(
            Text("deploy_root"),
            "where the TFTP server looks",
            "the folder that the TFTP server serves",
        ),
    ] = "/tftpboot"
    nfs_root: Annotated[
        str,
        Key(
            Text("deploy_root"),
            "the exported folder; a file system of its own",
            "the folder that is exported: a file system of its own. Neither lies in the other;"
            " a folder of the system's own, such as `/` or `/etc`, is refused",
        ),
    ] = "/opt/nfs_export"
    export_to: Annotated[
        str,
        Key(
            Choice("subnet", "nodes"),
            "whom the roots are exported to",
            "whom `exports` names: `subnet`, every address of it; `nodes`, the fewest prefixes that"
            " hold nodes alone. A node that is new, or has another address, boots when that is"
            " deployed",
        ),
    ] = "subnet"
    export_options: Annotated[
        Optional[str],
        Key(
            Text("export_options"),
            "how clients must prove who they are, as exports(5) has it",
            "more options of exports(5), where the nodes' initrds can: `sec=krb5p`,"
            " `sec=sys:krb5i`, `xprtsec=tls`, or both with a comma. See"
            " [security.md](security.md)",
            examples=("sec=krb5p",),
        ),
    ] = None
    http_root: Annotated[
        str,
        Key(
            Text("deploy_root"),
            "where the HTTP server finds root files",
            "the folder for roots that are one file, which the HTTP server serves besides"
            " `tftp_root`; apart from the other two",
        ),
    ] = "/srv/http/plugnode"
    http: Annotated[
        str,
        Key(
            Choice("none", "nginx"),
            "the HTTP server to configure and reload",
            "`nginx`: its file is installed as `/etc/nginx/conf.d/plugnode.conf`, checked by"
            " `nginx -t`, and it is reloaded; nodes with iPXE then fetch kernel and initrd by HTTP,"
            " and UEFI firmware can boot by HTTP",
        ),
    ] = "none"
    syslog: Annotated[
        str,
        Key(
            Choice("none", "rsyslog"),
            "the syslog server that keeps the reports of boots",
            "`rsyslog`: a drop-in of its is installed, checked by `rsyslogd -N1`, and it is"
            " restarted; nodes then report their boots to the server that they booted from, and"
            " `doit status --boots` shows them; see [servers.md](servers.md)",
        ),
    ] = "none"
    bandwidth: Annotated[
        Optional[int],  # bits a second
        Key(
            Text("bandwidth"),
            "what all servers together are sent over ssh at most, a second",
            "what all servers together are sent over ssh at most, as tc(8) writes a rate:"
            " `400Mbit`, `1Gbit`; see [servers.md](servers.md)",
            default="no limit",
            examples=("400Mbit",),
        ),
    ] = None
    keep: Annotated[
        int,
        Key(
            Whole(1, 1000),
            "releases that prune leaves, besides those in use",
            "releases that `doit prune` leaves, besides those in use",
        ),
    ] = 3
    keep_days: Annotated[
        int,
        Key(Whole(0, 36500), "and those younger than this"),
    ] = 90
    dhcp: Annotated[
        str,
        Key(
            Choice("none", *BY_WORD),
            "the DHCP server to install and reload",
            f"{EACH_NAME}: that server's file is installed and it is reloaded",
        ),
    ] = "none"
    dhcp_conf: Annotated[
        Optional[str],
        Key(
            Text("target_file"),
            "its file, where the distribution's is not it",
            "that file, where it is another one: in `/etc/dhcp/` (or `/etc/dhcpd.conf`), in"
            " `/etc/kea/` or in `/etc/dnsmasq.d/` (or `/etc/dnsmasq.conf`);"
            " see [servers.md](servers.md)",
            default=EACH_PATH,
        ),
    ] = None
    files: Annotated[
        tuple[tuple[str, str], ...],  # (output, or a file of one, path on the server)
        Key(
            MapOf(Text("output_file"), Text("absolute_file")),
            "files of outputs that are installed: an output, and its path on the server",
            "files of `outputs` that are installed on the servers: an output, or a file of it, and"
            " its path there; with a slash at its end the folder for all files of that output."
            " What reads them is not told: `rndc reload`, `scontrol reconfigure` are yours",
            examples=({"ansible": "/etc/ansible/hosts"},),
        ),
    ] = ()


class SecureBoot(NamedTuple):
    """Whom the firmware of nodes trusts, beside who made it."""

    certificate: Annotated[
        str,
        Key(
            PathHere(),
            "the certificate that nodes have in db, or in shim's list of their owner's (MOK)",
            "the X.509 certificate, in PEM, that nodes' firmware has in db, or shim in the list of"
            " the machine owner's (MOK): [boot.md](boot.md#one-signed-file)",
            examples=("secure-boot.crt",),
        ),
    ]
    key: Annotated[
        Optional[str],
        Key(
            PathHere("signing_key", schemes=("pkcs11:",)),
            "its private key, on a machine that signs: a file in PEM, or a PKCS#11 URI",
            "its private key, which only a machine that signs needs to have: a file in PEM, or a"
            " URI as `pkcs11:token=site;object=secure-boot`",
            default="the certificate's file, but `.key`",
        ),
    ] = None


class Trust(NamedTuple):
    """Who must have signed what servers hold."""

    key: Annotated[
        tuple[str, ...],
        Key(
            OneOrList(PathHere()),
            "the public key, or keys, by which releases and site data must be signed",
            "the public key as ssh-keygen writes it (`site.pub`), or a list of such files: what one"
            " of them has signed is trusted, see [security.md](security.md)",
            examples=("site.pub",),
        ),
    ]
    secure_boot: Annotated[
        Optional[SecureBoot],
        Key(
            SecureBoot,
            "by which key images with `loader: uki` are signed, for firmware with Secure Boot",
            default="none",
        ),
    ] = None


class Upgrade(NamedTuple):
    """Commands of a scheduler that is not Slurm, run by sh on this machine; $NODE is the node."""

    drain: Annotated[
        str,
        Key(
            Text("command"),
            "keeps new jobs off $NODE, for $REASON",
            "has no new job sent to the node, and says `$REASON` where people look for it",
            examples=('pbsnodes -o -N "$REASON" "$NODE"',),
        ),
    ]
    idle: Annotated[
        str,
        Key(
            Text("command"),
            "exit status 0 when $NODE has no job left",
            "exit status 0: the node has no job left. It is run again and again until then",
            examples=('said=$(pbsnodes "$NODE") && ! echo "$said" | grep -q "jobs = ."',),
        ),
    ]
    undrain: Annotated[
        str,
        Key(
            Text("command"),
            "has jobs sent to $NODE again",
            "has jobs sent to the node again",
            examples=('pbsnodes -c -N "" "$NODE"',),
        ),
    ]


class SecretSource(NamedTuple):
    """Where deploy gets a secret from; exactly one of these."""

    file: Annotated[
        Optional[str],
        Key(
            PathHere(),
            "a file on the machine that deploys",
            examples=("private/munge.key",),
        ),
    ] = None
    command: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("argument")),
            "a command on the machine that deploys, and its arguments, whose standard output it is",
            "a command on the machine that deploys, and its arguments, whose standard output it is;"
            " no shell sees it",
            examples=(["pass", "show", "grid/munge"],),
        ),
    ] = ()


class Secret(NamedTuple):
    """What nodes need and nobody else may have; never what it says."""

    name: str
    to: str  # on nodes, without a leading slash
    source: SecretSource
    owner: str = "root"  # USER or USER:GROUP
    mode: str = "0400"
    groups: tuple[str, ...] = ()  # nodes of any of them; (): all nodes
    on_disk: bool = False

    def is_for(self, node: Node) -> bool:
        return not self.groups or not set(self.groups).isdisjoint(node.groups)


KEPT = "kept"  # ssh host keys that are secrets
_HOST_KEY = "var/lib/plugnode/ssh/ssh_host_ed25519_key"  # where the shared root's symlink leads
HOST_KEYS = (_HOST_KEY, f"{_HOST_KEY}.pub")


class _Said(NamedTuple):
    name: str
    network: Network  # the only one, or the first of them
    servers: tuple[Server, ...]
    images: tuple[Image, ...]
    deploy: Deploy
    fingerprint: str  # sha256 over every value of the site, nodes too; nothing of its spelling
    read_nodes: Callable[[], tuple[Node, ...]]
    hosts: tuple[
        tuple[str, tuple[str, ...]], ...
    ] = ()  # (address, names): what else a node's /etc/hosts has
    trust: Optional[Trust] = None  # None: nothing need be signed
    upgrade: Optional[Upgrade] = None  # None: Slurm's, if it is there
    outputs: tuple[str, ...] = ()
    more_networks: tuple[Network, ...] = ()
    secrets: tuple[Secret, ...] = ()
    secrets_store: Optional[str] = None  # a folder; None: there are no secrets
    ssh_host_keys: str = ""  # KEPT; "": nodes make their own


class Site(_Said):
    """A whole site. `nodes` are read when first asked for: most runs need only `fingerprint`."""

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, sorted by address (as a number)."""
        return self.read_nodes()

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks, in the order of the file."""
        return (self.network, *self.more_networks)

    @cached_property
    def elsewhere(self) -> dict[str, Network]:
        """By name the networks whose nodes have kernel arguments of their own.

        They reach some server at another address than its main one, or tag what they send.
        """
        names = set(self.tags)
        for server in self.servers:
            names |= {network for network, ip in server.addresses if ip != server.ip}
        booting = {node.network for node in self.nodes} if names else set()
        return {each.name: each for each in self.networks if each.name in names & booting}

    @property
    def archs(self) -> tuple[str, ...]:
        """The processors that its images are for."""
        return tuple(sorted({image.arch for image in self.images}))

    @property
    def has_secrets(self) -> bool:
        return bool(self.secrets or self.ssh_host_keys)

    @cached_property
    def tags(self) -> dict[str, int]:
        """By name the networks whose nodes tag what they send: with which VLAN."""
        return {each.name: each.vlan for each in self.networks if each.tagged and each.vlan}

    @property
    def boots_by_ip6(self) -> bool:
        """Whether nodes of some network have their root by IPv6, where their firmware boots so."""
        return any(network.subnet6 for network in self.networks)

    def network_of(self, node: Node) -> Network:
        return next(network for network in self.networks if network.name == node.network)

    def image(self, name: str) -> Image:
        return next(image for image in self.images if image.name == name)


def layouts_of(owner: "Image | Node") -> tuple[Disk, ...]:
    """Of all disks of an image or a node."""
    return owner.disks or (owner.disk,)


def partitions_of(owner: "Image | Node") -> tuple[Partition, ...]:
    """Of all disks of an image or a node, disk by disk."""
    parts = [disk.partitions for disk in layouts_of(owner)]
    return tuple(itertools.chain.from_iterable(parts))
