# mypy: disable-error-code="valid-type"
"""What `site.yaml` may hold: one row per key, which is its check, its default and its documentation.

pydantic models of the file as written; `merge` makes the frozen values of `site` of them. Everything arrives as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from . import grammar
from .grammar import Wrong
from .yaml_source import kind


def _text(check: Callable[[str], Any], pattern: str = "", number: bool = False) -> Any:
    """A field type: text that `check` converts. `pattern` is what an editor can check while one types;
    `number`: it may look like one (an editor takes 3.10 for a number, we do not)."""
    schema: dict[str, Any] = {"type": ["string", "number"] if number else "string"}
    pattern = pattern or getattr(check, "pattern", "")
    return Annotated[str, AfterValidator(check), WithJsonSchema(schema | ({"pattern": pattern} if pattern else {}))]


def _choice(*words: str) -> Any:
    return Annotated[str, AfterValidator(grammar.choice(*words)), WithJsonSchema({"enum": list(words)})]


def _whole(least: int, most: int) -> Any:
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Annotated[int, BeforeValidator(_from_text(grammar.whole(least, most))), WithJsonSchema(schema)]


def _from_text(check: Callable[[str], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            raise Wrong(f"expected a string, got {kind(value)}", "write one value")
        return check(value)

    return convert


_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"^{_OCTET}(\.{_OCTET}){{3}}$"
_IPV4_RANGE = r"^[0-9.\[\],/-]+$"
_MAC = r"^([0-9A-Fa-f]{2}([:-]?[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2})$"
_ID = r"^[a-z0-9][a-z0-9.-]*-[0-9a-f]{12}$"

Addresses = Annotated[str, WithJsonSchema({"type": "string", "pattern": _IPV4_RANGE})]
NodeNames = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^[a-z0-9\[][a-z0-9.,/\[\]-]*$"})]
AnyText = Annotated[str, WithJsonSchema({"type": "string"})]
Address = _text(grammar.ipv4, _IPV4)
MacAddress = _text(grammar.mac, _MAC, number=True)
HostName = _text(grammar.host, r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
Name = _text(grammar.name, r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
ImageName = _text(grammar.image_name, r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
Absolute = _text(grammar.absolute, r"^/[A-Za-z0-9._+@/-]*$")
DeployRoot = _text(grammar.deploy_root, r"^/[A-Za-z0-9._+@/-]*[A-Za-z0-9._+@-]/?$")
Here = _text(grammar.here)
Relative = _text(grammar.relative)
Cmdline = _text(grammar.cmdline, r"^[A-Za-z0-9 ._,:=/@%+~!\[\]*?^()-]*$")
Boolean = Annotated[bool, BeforeValidator(_from_text(grammar.boolean)), WithJsonSchema({"type": "boolean"})]
Size = _text(grammar.size, r"^([0-9]+(M|MiB|G|GiB)|rest)$")
Interface = _text(grammar.interface, r"^[A-Za-z][A-Za-z0-9_.-]{0,14}$")
Release = _text(grammar.release_id, _ID)
Wipe = _text(grammar.wipe_token, r"^[A-Za-z0-9._:-]+$", number=True)


NONE: Any = ()  # a list that is left out; pydantic copies a tuple for nothing


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Network(Section):
    subnet: _text(grammar.subnet, r"^[0-9.]+/[0-9]+$") = Field(
        description="the nodes' IPv4 network", examples=["172.24.10.0/24"]
    )
    gateway: Address | None = Field(default=None, description="the router that nodes use")
    dns: list[Address] = Field(default=NONE, description="name servers")
    domain: _text(grammar.domain, r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$") | None = Field(
        default=None, description="the nodes' DNS domain", examples=["grid.example.org"]
    )
    ntp: list[Address] = Field(default=NONE, description="time servers, by address (DHCP carries no names)")


class Server(Section):
    ip: Address = Field(description="the address at which nodes reach it: DHCP, TFTP and NFS", examples=["172.24.10.1"])
    ssh: _text(grammar.ssh) | None = Field(default=None, description="how to reach it; left out: it is this machine")


class Bootstrap(Section):
    suite: _text(grammar.suite) = Field(description="the distribution's suite", examples=["bookworm"])
    packages: list[_text(grammar.package)] = Field(default=NONE, description="packages besides the minimal system")
    mirror: _text(grammar.mirror, "^(https?|file)://") | None = Field(
        default=None, description="where packages come from"
    )


class Reference(Section):
    """Where the root comes from; exactly one of these."""

    rsync: _text(grammar.rsync) | None = Field(default=None, description="a running reference node: user@host:/path")
    path: Here | None = Field(default=None, description="a folder that holds a root; never written to")
    archive: Here | None = Field(default=None, description="a tar archive of a root, in any compression")
    bootstrap: Bootstrap | None = Field(default=None, description="made new from the distribution's packages")


class Initrd(Section):
    base: _text(grammar.base) = Field(
        default="auto",
        description="auto (the distribution's image of that kernel), none (a minimal one is made) or a path",
    )
    modules: list[_text(grammar.module, r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = Field(
        default=NONE, description="network card modules; NFS and every dependency are added"
    )
    busybox: _text(grammar.busybox) = Field(
        default="auto", description="auto (the reference's static one, else this machine's) or a path"
    )
    compression: _choice("gzip", "zstd", "xz") = Field(default="gzip", description="as the kernel can unpack it")


class Partition(Section):
    mount: _text(grammar.mount_point, r"^(/[A-Za-z0-9._+@/-]*[A-Za-z0-9._+@-]/?|swap)$") | None = Field(
        default=None, description="mount point, or swap", examples=["/var"]
    )
    size: Size = Field(description="with M, MiB, G or GiB (powers of 1024), or rest", examples=["6000M"])
    fs: _choice("ext3", "ext4", "xfs", "swap") = Field(description="file system")
    label: _text(grammar.label, number=True) | None = Field(
        default=None, description="left out: pn- and the mount point"
    )
    fill: Absolute | None = Field(
        default=None, description="folder of the shared root whose content it gets; /var: /var.ro"
    )
    options: _text(grammar.mount_options) | None = Field(
        default=None, description="mount options, as for mount -o", examples=["noatime,nosuid"]
    )
    mode: _text(grammar.mode, "^[0-7]{3,4}$", number=True) | None = Field(
        default=None, description="mode of the mount point; left out: that of the root's folder, or of fill"
    )


class Match(Section):
    size: _text(grammar.size_range) | None = Field(default=None, description="100G..2T, 100G.. or ..2T")
    serial: _text(grammar.serial, number=True) | None = Field(default=None, description="as lsblk -o SERIAL prints it")
    id: _text(grammar.by_id) | None = Field(default=None, description="a name below /dev/disk/by-id; * and ? match")
    transport: _choice("ata", "fc", "ide", "iscsi", "mmc", "nvme", "sas", "sata", "scsi", "virtio") | None = Field(
        default=None, description="how it is attached, as lsblk -o TRAN prints it"
    )
    removable: Boolean = Field(
        default=False, description="allows disks that say they are, as behind some RAID controllers; never USB"
    )


class Disk(Section):
    devices: list[_text(grammar.device, "^/dev/")] | None = Field(
        default=None, min_length=1, description="the first that exists is taken", examples=[["/dev/sda", "/dev/hda"]]
    )
    partitions: list[Partition] | None = Field(
        default=None, min_length=1, max_length=15, description="in the order on disk"
    )
    table: _choice("gpt", "dos") | None = Field(
        default=None, description="kind of partition table; dos for EL5 and before"
    )
    required: Boolean | None = Field(default=None, description="whether a node without a usable disk stops")
    match: Match | None = Field(default=None, description="further conditions on the disk")


class Image(Section):
    reference: Reference = Field(description="where the root comes from")
    exclude: list[_text(grammar.exclude)] = Field(
        default=NONE, description="rsync patterns of what is left out", examples=[["/scratch/*"]]
    )
    overlays: list[Name] = Field(
        default=NONE, description="folders below overlays/, later ones win; laid over the built-in ones"
    )
    kernel: _text(grammar.kernel, r"^(auto|[0-9]+\.[0-9][A-Za-z0-9._+~-]*)$", number=True) = Field(
        default="auto", description="auto (the newest in /boot) or a version"
    )
    initrd: Initrd = Field(default_factory=Initrd, description="the initial RAM disk")
    cmdline: Cmdline = Field(default="", description="kernel arguments", examples=["console=ttyS0"])
    interface: Interface = Field(default="eth0", description="the network card that nodes boot from")
    disk: Disk | None = Field(default=None, description="the nodes' own disk")
    local_files: list[_text(grammar.local_file)] | None = Field(
        default=None, description="per-node files that live on /var and are symlinked from the shared root"
    )
    keep: list[Relative] = Field(
        default=NONE, description="paths that the secrets rules would scrub or refuse, allowed"
    )
    loaders: dict[_text(grammar.loader_name), Here] = Field(
        default={}, description="boot loader files: name below tftp_root, path here"
    )
    also: list[_text(grammar.tree_folder)] | None = Field(
        default=None,
        description="local file systems of the reference to pull too; left out: those at /boot, /usr, /var, /opt",
    )


class Group(Section):
    """Settings that nodes share; of several groups the one listed last wins, and a node's own over all."""

    image: AnyText | None = Field(default=None, description="name of an image")
    cmdline: Cmdline = Field(default="", description="added to the kernel arguments of the image")
    disk: Disk | None = Field(default=None, description="replaces keys of the image's disk")
    interface: Interface | None = Field(default=None, description="the network card that the node boots from")
    server: AnyText | None = Field(default=None, description="name of the server that it boots from; left out: spread")
    release: Release | None = Field(
        default=None, description="a pin: the release that it boots, as doit status lists them"
    )
    wipe: Wipe | None = Field(default=None, description="a token: once per token its disk is wiped")


class Node(Group):
    """One node, or a range of nodes with as many MACs and addresses."""

    mac: MacAddress | None = Field(default=None, description="its network card", examples=["52:54:00:12:34:56"])
    macs: list[MacAddress] | None = Field(default=None, min_length=1, description="of a range: one per node, in order")
    ip: Addresses = Field(
        description="its address; of a range as many, as in 172.24.10.[110-112]", examples=["172.24.10.100"]
    )
    groups: list[AnyText] = Field(default=NONE, description="names of groups, later ones win")


class Deploy(Section):
    tftp_root: DeployRoot = Field(default="/tftpboot", description="where the TFTP server looks")
    nfs_root: DeployRoot = Field(default="/opt/nfs_export", description="the exported folder; a file system of its own")
    keep: _whole(1, 1000) = Field(default=3, description="releases that prune leaves, besides those in use")
    keep_days: _whole(0, 36500) = Field(default=90, description="and those younger than this")
    dhcp: _choice("none", "isc", "kea", "dnsmasq") = Field(
        default="none", description="the DHCP server to install and reload"
    )
    dhcp_conf: _text(grammar.target_file, "^/") | None = Field(
        default=None, description="its file, where the distribution's is not it"
    )


class Site(Section):
    """A site of diskless worker nodes."""

    site: _text(grammar.name, r"^[A-Za-z0-9][A-Za-z0-9._-]*$", number=True) = Field(
        description="the site's name", examples=["example-grid"]
    )
    network: Network = Field(description="the nodes' network")
    servers: dict[HostName, Server] = Field(min_length=1, description="boot servers by name")
    images: dict[ImageName, Image] = Field(min_length=1, description="what nodes run, by name")
    groups: dict[Name, Group] = Field(default={}, description="settings shared by nodes, by name")
    nodes: dict[NodeNames, Node] = Field(min_length=1, description="nodes by name, or ranges such as wn[001-040]")
    deploy: Deploy = Field(default_factory=Deploy, description="where a build is put")
