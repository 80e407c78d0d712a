"""Boot files of pxelinux, GRUB and iPXE: what each node boots, and with which arguments."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from operator import attrgetter
from typing import NamedTuple, TypeVar

from ..base.errors import BadInput
from ..base.nodeset import fold_nodes
from ..initrd.kind import by_ip6, in_vlan, network_root
from ..services.boot_reports import SYSLOG_PORT
from ..release import HOOKS_IMG, SITE_DATA, Release
from ..site.model import FETCHED, UKI, VERIFIED, Image, Network, Node, Server, Site
from ..site_data import NAMES, SIGNED
from ..store.paths import BESIDE
from .cmdline import line_limit, serial_console
from .templates import TEMPLATES, View, plain_values, render_template, template_environment


class BootSettings(NamedTuple):
    """What a node boots: a label of `plugnode/`, with the node's own kernel arguments."""

    label: str  # an image, or a release's id
    cmdline: str
    network: str = ""  # its own, where that is tagged
    card: str = ""  # there: the one that it boots from, where it is not its image's


# Which server, which release


def server_of(site: Site, node: Node) -> Server:
    """The boot server of a node: the one it names, else by rendezvous hashing.

    Each node takes the server whose name hashes highest together with its own (Thaler, Ravishankar
    1998): a server more or less moves only the nodes that it gets or had.
    """
    if len(site.servers) == 1:
        return site.servers[0]
    if node.server:
        return next(server for server in site.servers if server.name == node.server)
    return max(site.servers, key=lambda server: _weight(server.name + node.name))


def _weight(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def serves_http(site: Site) -> bool:
    """Whether nodes can fetch by HTTP: some must, or the site says that a server is there."""
    return site.deploy.http != "none" or any(image.root in FETCHED for image in site.images)


def boot_of(site: Site, node: Node) -> BootSettings:
    usual = site.image(node.image).interface
    card = node.interface if node.interface != usual else ""
    own = f"plugnode.interface={card}" if card else ""
    words = " ".join(filter(None, (node.cmdline, own)))
    told = BootSettings(node.release or node.image, words)
    if node.network in site.tags:
        return told._replace(network=node.network, card=card)
    return told


# What a node boots goes by these alone, and whether it shares a group's file
_kind_of = attrgetter("image", "groups", "network", "interface", "cmdline", "release")
Found = TypeVar("Found")


def _of_each(site: Site, find: Callable[[Site, Node], Found]) -> list[Found]:
    """What is found of each node, in their order; it is looked for once for those of a kind."""
    kinds = list(map(_kind_of, site.nodes))
    examples = dict(zip(kinds, site.nodes))
    found = {kind: find(site, node) for kind, node in examples.items()}
    return [found[kind] for kind in kinds]


def usual_image(site: Site) -> Image:
    """The image of most nodes."""
    images = Counter(node.image for node in site.nodes)
    return max(site.images, key=lambda image: images[image.name])


def default_boot(site: Site, boots: list[BootSettings] | None = None) -> BootSettings:
    """What nodes boot that have no file of their own.

    It is the image of most nodes, or the release that this image stays at, with the arguments most
    common there. `boots`: those of all nodes, where they are known.
    """
    boots = boots or _of_each(site, boot_of)
    image = usual_image(site)
    stays = any(boot.label == image.release for boot in boots)
    label = image.release if image.release and stays else image.name
    alike = Counter(boot for boot in boots if boot.label == label)
    by_use = sorted(alike, key=lambda boot: (-alike[boot], boot))
    return by_use[0] if by_use else BootSettings(label, "")


# Loaders: one file for all, one for each group that differs, and one for each node that does


DEFAULTS = {
    "pxelinux.cfg/default": "pxelinux.cfg",
    "grub/grub.cfg": "grub.cfg",
    "boot.ipxe": "boot.ipxe",
}
PXELINUX = "pxelinux.cfg/"
OF_NODE = {PXELINUX: "pxelinux.cfg", "grub/grub.cfg-": "grub.cfg", "boot.ipxe-": "node.ipxe"}
MEMBERS = {  # of a group: their own files lead to the group's, and so never change with it
    PXELINUX: "member.cfg",
    "grub/grub.cfg-": "member.grub",
    "boot.ipxe-": "member.ipxe",
}
LONGEST_NAME = 100  # of a group's file
FOR_ALL = "What a node boots that has no file of its own here."
FOR_NETWORK = "The same for nodes of network {}, which reach their server at another address."


Views = dict[str, tuple[str, View]]  # path below the TFTP root -> (template, its view)


def boot_views(site: Site) -> Views:
    """Path below the TFTP root -> (template, its view)."""
    boots = _of_each(site, boot_of)
    usual = default_boot(site, boots)
    of_groups = _boots_of_groups(site, boots)
    different = [(node, boot) for node, boot in zip(site.nodes, boots) if boot != usual]

    views = _views_of_all(site, usual, [node for node, _ in different])
    for node, boot in different:
        difference = _difference(boot, usual)
        if of_groups.get(_group_file(site, node)) == boot:
            views |= _views_of_member(site, node, boot, difference)
        else:
            views |= _node_views(site, node, boot, difference)
    return views


def _views_of_all(site: Site, usual: BootSettings, different: list[Node]) -> Views:
    """The files of all nodes but the different ones, which have their own."""
    image = usual_image(site).name
    own = _boot_view(site, usual, image, FOR_ALL, usual.network)
    by_address = any(node.is_known and not node.mac for node in different)
    view = {**own, "others": bool(different), "by_address": by_address}
    views: Views = {path: (template, view) for path, template in DEFAULTS.items()}
    return views | _network_views(site, usual, view)


def _node_views(site: Site, node: Node, boot: BootSettings, difference: str) -> Views:
    """A node's own files."""
    title = f"{node.name}, which differs from most: {difference}."
    view = _boot_view(site, boot, node.image, title, node.network)
    return {name: (OF_NODE[path], view) for path, name in _own_files(node)}


def _own_files(node: Node) -> Iterator[tuple[str, str]]:
    """Give (how the names of such files begin, a node's): by each of its cards.

    By its address where DHCP knows it otherwise.
    """
    for path in OF_NODE:
        names = [mac.pxe for mac in node.macs]
        if node.is_known and not names:
            names = [_hex(node.ip) if path == PXELINUX else node.ip]
        for name in names:
            yield path, path + name


def _views_of_member(site: Site, node: Node, boot: BootSettings, difference: str) -> Views:
    """A node's own files, which lead to those of its group, and these."""
    who, group = _group_words(site, node), _group_file(site, node)
    title = f"{who}, which differs from most: {difference}."
    view = _boot_view(site, boot, node.image, title, node.network)
    views: Views = {path + group: (template, view) for path, template in OF_NODE.items()}
    for path, name in _own_files(node):
        views[name] = (MEMBERS[path], member_view(path + group, who))
    return views


def member_view(path: str, who: str) -> View:
    """What the templates of MEMBERS see: the file that one leads to, and whose that is."""
    return plain_values({"file": path, "who": who})


def _boots_of_groups(site: Site, boots: Iterable[BootSettings]) -> dict[str, BootSettings]:
    """What nodes of an image and of the same groups boot, but those that say more themselves.

    By the names of the groups' files; one node alone shares none. `boots`: of each node.
    """
    files = _of_each(site, _group_file)
    found: dict[str, Counter[BootSettings]] = defaultdict(Counter)
    for (file, boot), count in Counter(zip(files, boots)).items():
        found[file][boot] += count
    most = {
        name: min(count, key=lambda boot: (-count[boot], boot)) for name, count in found.items()
    }
    return {name: boot for name, boot in most.items() if found[name][boot] > 1}


def _group_file(site: Site, node: Node) -> str:
    """How the names of the boot files end that nodes of the same groups and image share.

    Of those that reach their server at the same address, too.
    """
    of_image = f"@{node.image}" if node.image != site.images[0].name else ""
    of_network = f"@@{node.network}" if node.network in site.elsewhere else ""
    if not node.groups:
        return f"image-{node.image}{of_network}"
    name = "+".join(node.groups) + of_image + of_network
    if len(name) > LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()
    return f"group-{name}"


def _group_words(site: Site, node: Node) -> str:
    """Who shares a boot file, in words."""
    groups = [f"group {name}" for name in node.groups]
    of_image = f"image {node.image}" if len(site.images) > 1 or not groups else ""
    of_network = f"network {node.network}" if node.network in site.elsewhere else ""
    return "A node of " + ", ".join(filter(None, [*groups, of_image, of_network]))


def _hex(ip: str) -> str:
    return f"{int(IPv4Address(ip)):08X}"


def _network_views(site: Site, usual: BootSettings, view: View) -> dict[str, tuple[str, View]]:
    """pxelinux' files of networks in which the server has another address."""
    views: dict[str, tuple[str, View]] = {}
    for network in site.elsewhere.values():
        title = FOR_NETWORK.format(network.name)
        card = usual.card if network.name == usual.network else ""
        own = {**view, "title": title, "entry": entry(site, usual.label, network.name, card)}
        for prefix in _hex_prefixes(network):
            views[f"pxelinux.cfg/{prefix}"] = ("pxelinux.cfg", own)
    return views


def _boot_view(site: Site, boot: BootSettings, image: str, title: str, network: str = "") -> View:
    view = {
        "title": title,
        "label": boot.label,
        "entry": entry(site, boot.label, network, boot.card),
        "cmdline": boot.cmdline,
        "serial": serial_console(f"{site.image(image).cmdline} {boot.cmdline}"),
        "others": "",
        "by_address": "",
        "tagged": "yes" if site.tags else "",
    }
    return plain_values(view)


def _difference(boot: BootSettings, usual: BootSettings) -> str:
    own = [f"it boots {boot.label}"] if boot.label != usual.label else []
    if boot.cmdline != usual.cmdline:
        no = "" if boot.cmdline else "no "
        own.append(f"it has {no}kernel arguments of its own")
    if boot.network != usual.network:
        own.append(f"network {boot.network} is tagged" if boot.network else "it tags nothing")
    return ", ".join(own)


# Networks in which a server has another address than its main one: nodes mount their root from it


def entry(site: Site, label: str, network: str, card: str = "") -> str:
    """The entry of a label's file for pxelinux; for such a network `worker@rack2`.

    Nodes that tag by another card than their image's have `worker@rack2@eth1`.
    """
    if network not in site.elsewhere:
        return label
    return f"{label}@{network}@{card}" if card else f"{label}@{network}"


def _hex_prefixes(network: Network) -> list[str]:
    """The files by parts of an address that pxelinux looks for, which all of a network have."""
    subnet = IPv4Network(network.subnet)
    digits = -(-subnet.prefixlen // 4)
    parts = subnet.subnets(new_prefix=4 * digits)
    return [f"{int(part.network_address):08X}"[:digits] for part in parts]


# The files that name a release


class BootLabel(NamedTuple):
    """What a label of `plugnode/` boots."""

    name: str  # the image's, or the release's id for nodes that are pinned to it
    release: Release
    site_id: str  # the folder of site.img


def render_boot(
    site: Site, server: Server, label: BootLabel, templates: Iterable[str] = (TEMPLATES,)
) -> dict[str, bytes]:
    """`plugnode/<label>.cfg`, `.grub` and `.ipxe` for one server's TFTP root."""
    environment = template_environment(tuple(templates))
    view = image_view(site, server, label)
    files: dict[str, bytes] = {}
    for loader in ("cfg", "grub", "ipxe"):
        text = render_template(environment, f"image.{loader}", view)
        _must_load(f"image.{loader}", text, initrds_of(site, label.release, label.site_id))
        files[f"plugnode/{label.name}.{loader}"] = text
    if label.name in signed_images(site):
        files[f"plugnode/{label.name}.site"] = f"{label.site_id}\n".encode()
    return files


def _must_load(template: str, text: bytes, initrds: Iterable[str]) -> None:
    """Raises BadInput where a template, of before say, leaves out what nodes need to start."""
    missing = [path for path in initrds if os.path.basename(path).encode() not in text]
    if missing:
        what = f"does not load {', '.join(missing)}; have it load all of `initrds`, in their order"
        raise BadInput.at(f"templates/{template}", what)


def image_view(site: Site, server: Server, label: BootLabel) -> View:
    """What the templates of the files that name a release see."""
    return plain_values(
        {
            "label": label.name,
            "release": label.release.id,
            "site_id": label.site_id,
            "initrds": initrds_of(site, label.release, label.site_id),
            "arguments": arguments_of(site, server, label.release),
            "elsewhere": _entries(site, server, label),
            "arguments6": arguments6_of(site, server, label.release),
            "http": f"http://{server.ip}" if serves_http(site) else "",
        }
    )


def _entries(site: Site, server: Server, label: BootLabel) -> list[dict[str, str]]:
    """What nodes load that reach a server at another address; by which they know it themselves."""
    found = []
    cards = _tagging_cards(site, label.name)
    for network in site.elsewhere.values():
        address = server.address_in(network.name)
        tagged = "yes" if network.tagged else ""
        for card in ("", *sorted(cards.get(network.name, ()))):
            arguments = arguments_of(site, server, label.release, network.name, card)
            name = entry(site, label.name, network.name, card)
            way = {"entry": name, "address": address, "arguments": arguments, "tagged": tagged}
            found.append(way)
    return found


def _tagging_cards(site: Site, label: str) -> dict[str, set[str]]:
    """The cards besides their image's that nodes of each tagged network boot such a label from."""
    cards: dict[str, set[str]] = {}
    for node in site.nodes if site.tags else ():
        boot = boot_of(site, node)
        if boot.card and boot.label == label:
            cards.setdefault(boot.network, set()).add(boot.card)
    return cards


def initrds_of(site: Site, release: Release, site_id: str) -> list[str]:
    """What its nodes load, in order, below tftp_root: the release's own, then site data.

    Behind that what a release of before needs besides.
    """
    own = [f"{release.id}/{name}" for name in release.boot_files if name.endswith(".img")]
    of_site = [SIGNED if release.keys else "site.img"]
    if release.site_data < SITE_DATA and site.network.domain:
        of_site.append(NAMES)
    if release.wants_hooks:
        of_site.append(HOOKS_IMG)
    return own + [f"{site_id}/{name}" for name in of_site]


def arguments_of(
    site: Site, server: Server, release: Release, network: str = "", card: str = ""
) -> str:
    """The kernel arguments of a release's nodes: how the initrd finds the root, and the image's.

    Of those of a network, by the address at which they reach the server; of those who tag by
    another `card` than their image's.
    """
    where = network, card
    cmdline = " ".join([*_report_arguments(site, server, network), release.cmdline]).strip()
    root = f"{roots_of(site, server, network)}/{release.id}"
    if not release.is_of_file:
        whole = network_root(release.network_root, root, release.nfs, cmdline)
        return _tagged(site, release, where, whole)
    words = list(_check_words(release))
    if release.is_fetched:
        words = [*_fetch_words(site, server, release, network), *words]
    else:
        mounted = network_root(release.network_root, f"{root}{BESIDE}", release.nfs, "")
        words = [mounted, f"plugnode.root_file={release.root_name}", *words]
    return _tagged(site, release, where, " ".join([*words, cmdline]).strip())


def arguments6_of(site: Site, server: Server, release: Release) -> str:
    """The same of nodes whose firmware boots by IPv6; "" where none can have the release so."""
    if not (site.boots_by_ip6 and server.ip6) or release.is_of_file:
        return ""
    named = server._replace(ip=f"[{server.ip6}]", addresses=())
    return by_ip6(release.network_root, arguments_of(site, named, release))


def _tagged(site: Site, release: Release, where: tuple[str, str], arguments: str) -> str:
    """The arguments, for the VLAN of the network where nodes tag what they send."""
    network, card = where
    if network not in site.tags:
        return arguments
    card = card or site.image(release.image).interface
    return in_vlan(release.network_root, card, site.tags[network], arguments)


# A unified kernel image is the same on all servers: its nodes know theirs by DHCP

NEXT_SERVER = "next-server"  # stands for its address in a signed command line


def signed_images(site: Site) -> set[str]:
    """The images whose nodes start a unified kernel image, by name."""
    return {image.name for image in site.images if image.loader == UKI}


def signed_labels(site: Site) -> set[str]:
    """The labels of `plugnode/` that nodes start such an image of."""
    pinned = {node.release for node in site.nodes if node.loader == UKI and node.release}
    return signed_images(site) | pinned


def uki_arguments(site: Site, release: Release) -> str:
    """The signed command line of a release.

    `plugnode.site` names the boot file that says which site data there is now.
    """
    any_server = site.servers[0]._replace(name="", ip=NEXT_SERVER, addresses=())
    alone = site._replace(servers=(any_server,), more_networks=())
    words = arguments_of(alone, any_server, release)
    return f"{words} plugnode.site={release.image}"


def _report_arguments(site: Site, server: Server, network: str) -> Iterator[str]:
    """Where a node reports its boot to."""
    if site.deploy.syslog != "none":
        yield f"plugnode.report={_address(server, network)}:{SYSLOG_PORT}"


def roots_of(site: Site, server: Server, network: str = "") -> str:
    """The folder of all releases as nodes mount it, those of a network: ADDRESS:PATH."""
    if server.nfs_server:
        return server.nfs_server.rstrip("/")
    return f"{_address(server, network)}:{site.deploy.nfs_root}"


def _address(server: Server, network: str) -> str:
    """The address at which nodes of a network reach the server; without one its main one."""
    return server.address_in(network) if network else server.ip


def _check_words(release: Release) -> Iterator[str]:
    """How the initrd knows each block of a root file for the right one."""
    if release.root_kind in VERIFIED:
        yield f"plugnode.root_verity={release.verity_blocks},{release.verity}"


def _fetch_words(site: Site, server: Server, release: Release, network: str) -> Iterator[str]:
    """How the initrd finds a root file that it fetches, and knows it for the right one."""
    url = f"http://{_address(server, network)}/{release.id}/{release.root_name}"
    yield f"ip=dhcp root={release.root_kind}:{url}"
    yield f"plugnode.root_bytes={release.root_bytes}"
    yield f"plugnode.root_sha256={release.root_file}"
    others = [_address(other, network) for other in site.servers if other != server]
    if others:
        yield f"plugnode.root_servers={','.join(others)}"


BOOTIF = "BOOTIF=01-00-00-00-00-00-00"


def cmdline_warnings(
    site: Site, server: Server, label: str, release: Release, site_id: str
) -> list[str]:
    """One line for each kind of node whose kernel would cut its command line short.

    The line is as pxelinux makes it: it puts BOOT_IMAGE= and initrd= before the arguments and
    BOOTIF= behind them.
    """
    initrds = ",".join(initrds_of(site, release, site_id))
    line = f"BOOT_IMAGE={release.id}/vmlinuz initrd={initrds} "
    limit = line_limit(release.kernel_version)

    long: dict[int, list[str]] = defaultdict(list)
    for (boot, network), names in _by_boot(site, server, label).items():
        words = arguments_of(site, server, release, network, boot.card)
        whole = len(f"{line}{words} {BOOTIF}") + len(boot.cmdline) + bool(boot.cmdline)
        if whole > limit:
            long[whole] += names
    takes = f"{release.kernel_version} takes {limit}; shorten cmdline"
    return [
        f"{fold_nodes(names)}: {whole} bytes of kernel command line, {takes}"
        for whole, names in sorted(long.items())
    ]


def _by_boot(site: Site, server: Server, label: str) -> dict[tuple[BootSettings, str], list[str]]:
    """The nodes that boot a label from a server, by what they boot with and their network.

    That is "" where its nodes have the arguments that those of others have.
    """
    found: dict[tuple[BootSettings, str], list[str]] = defaultdict(list)
    for node, boot in zip(site.nodes, _of_each(site, boot_of)):
        if boot.label == label and server_of(site, node) == server:
            network = node.network if node.network in site.elsewhere else ""
            found[boot, network].append(node.name)
    return found
