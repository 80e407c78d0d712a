"""Boot files of pxelinux, GRUB and iPXE: what each node boots, and with which arguments."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ..base.nodeset import fold_nodes
from ..initrd.build import network_root
from ..release import SITE_DATA, Release
from ..site.model import Image, Node, Server, Site
from ..site_data import NAMES
from .cmdline import line_limit, serial_console
from .templates import TEMPLATES, View, plain_values, render_template, template_environment


class BootSettings(NamedTuple):
    """What a node boots: a label of `plugnode/`, with the node's own kernel arguments."""

    label: str  # an image, or a release's id
    cmdline: str


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


def boot_of(site: Site, node: Node) -> BootSettings:
    words = filter(None, (node.cmdline, _card(site, node)))
    return BootSettings(node.release or node.image, " ".join(words))


def _card(site: Site, node: Node) -> str:
    """How the initrd hears of the network card of a node, or a group, that is not its image's."""
    usual = site.image(node.image).interface
    return f"plugnode.interface={node.interface}" if node.interface != usual else ""


def usual_image(site: Site) -> Image:
    """The image of most nodes."""
    images = Counter(node.image for node in site.nodes)
    return max(site.images, key=lambda image: images[image.name])


def default_boot(site: Site) -> BootSettings:
    """What nodes boot that have no file of their own.

    It is the image of most nodes, or the release that this image stays at, with the arguments most
    common there.
    """
    image = usual_image(site)
    boots = [boot_of(site, node) for node in site.nodes]
    stays = any(boot.label == image.release for boot in boots)
    label = image.release if image.release and stays else image.name
    cmdlines = Counter(boot.cmdline for boot in boots if boot.label == label)
    by_use = sorted(cmdlines, key=lambda cmdline: (-cmdlines[cmdline], cmdline))
    return BootSettings(label, by_use[0] if by_use else "")


# Loaders: one file for all, one for each group that differs, and one for each node that does


DEFAULTS = {
    "pxelinux.cfg/default": "pxelinux.cfg",
    "grub/grub.cfg": "grub.cfg",
    "boot.ipxe": "boot.ipxe",
}
OF_NODE = {"pxelinux.cfg/": "pxelinux.cfg", "grub/grub.cfg-": "grub.cfg", "boot.ipxe-": "node.ipxe"}
MEMBERS = {  # of a group: their own files lead to the group's, and so never change with it
    "pxelinux.cfg/": "member.cfg",
    "grub/grub.cfg-": "member.grub",
    "boot.ipxe-": "member.ipxe",
}
LONGEST_NAME = 100  # of a group's file
FOR_ALL = "What a node boots that has no file of its own here."


Views = dict[str, tuple[str, View]]  # path below the TFTP root -> (template, its view)


def boot_views(site: Site) -> Views:
    """Path below the TFTP root -> (template, its view)."""
    usual = default_boot(site)
    boots = [(node, boot_of(site, node)) for node in site.nodes]
    of_groups = _boots_of_groups(site, boots)
    different = [(node, boot) for node, boot in boots if boot != usual]

    view = {**_boot_view(site, usual, usual_image(site).name, FOR_ALL), "others": bool(different)}
    views: Views = {path: (template, view) for path, template in DEFAULTS.items()}
    for node, boot in different:
        who, own = node.name, node.mac.pxe
        group = _group_file(site, node)
        if of_groups.get(group) == boot:
            who = _group_words(site, node)
            views |= _views_of_member(own, group, who)
            own = group
        title = f"{who}, which differs from most: {_difference(boot, usual)}."
        views |= _own_views(own, _boot_view(site, boot, node.image, title))
    return views


def _own_views(name: str, view: View) -> Views:
    """A node's, or a group's, own files; `name`: how their names end."""
    return {path + name: (template, view) for path, template in OF_NODE.items()}


def _views_of_member(own: str, group: str, who: str) -> Views:
    """A node's own files that lead to those of its group. `own`, `group`: how their names end."""
    views: Views = {}
    for path, template in MEMBERS.items():
        views[path + own] = (template, plain_values({"file": path + group, "who": who}))
    return views


def _boots_of_groups(
    site: Site, boots: Iterable[tuple[Node, BootSettings]]
) -> dict[str, BootSettings]:
    """What nodes of an image and of the same groups boot, but those that say more themselves.

    By the names of the groups' files; one node alone shares none.
    """
    found: dict[str, Counter[BootSettings]] = {}
    for node, boot in boots:
        found.setdefault(_group_file(site, node), Counter())[boot] += 1
    most = {
        name: min(count, key=lambda boot: (-count[boot], boot)) for name, count in found.items()
    }
    return {name: boot for name, boot in most.items() if found[name][boot] > 1}


def _group_file(site: Site, node: Node) -> str:
    """How the names of the boot files end that nodes of the same groups and image share."""
    if not node.groups:
        return f"image-{node.image}"
    of_image = f"@{node.image}" if node.image != site.images[0].name else ""
    name = "+".join(node.groups) + of_image
    if len(name) > LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()
    return f"group-{name}"


def _group_words(site: Site, node: Node) -> str:
    """Who shares a boot file, in words."""
    groups = [f"group {name}" for name in node.groups]
    of_image = f"image {node.image}" if len(site.images) > 1 or not groups else ""
    return "A node of " + ", ".join(filter(None, [*groups, of_image]))


def _boot_view(site: Site, boot: BootSettings, image: str, title: str) -> View:
    view = {
        "title": title,
        "label": boot.label,
        "cmdline": boot.cmdline,
        "serial": serial_console(f"{site.image(image).cmdline} {boot.cmdline}"),
        "others": "",
    }
    return plain_values(view)


def _difference(boot: BootSettings, usual: BootSettings) -> str:
    own = [f"it boots {boot.label}"] if boot.label != usual.label else []
    if boot.cmdline != usual.cmdline:
        no = "" if boot.cmdline else "no "
        own.append(f"it has {no}kernel arguments of its own")
    return ", ".join(own)


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
    view = plain_values(
        {
            "label": label.name,
            "release": label.release.id,
            "site_id": label.site_id,
            "names": names_of(site, label.release, label.site_id),
            "arguments": arguments_of(site, server, label.release),
        }
    )
    files: dict[str, bytes] = {}
    for loader in ("cfg", "grub", "ipxe"):
        text = render_template(environment, f"image.{loader}", view)
        files[f"plugnode/{label.name}.{loader}"] = text
    return files


def names_of(site: Site, release: Release, site_id: str) -> str:
    """The archive that a release of before loads after site.img; "" where it needs none."""
    reads_hosts = release.site_data >= SITE_DATA
    return "" if reads_hosts or not site.network.domain else f"{site_id}/{NAMES}"


def arguments_of(site: Site, server: Server, release: Release) -> str:
    """The kernel arguments of a release's nodes: how the initrd finds the root, and the image's."""
    root = f"{site.deploy.nfs_root}/{release.id}"
    return network_root(release.network_root, server.ip, root, release.cmdline)


def cmdline_warnings(
    site: Site, server: Server, label: str, release: Release, site_id: str
) -> list[str]:
    """One line for each kind of node whose kernel would cut its command line short.

    The line is as pxelinux makes it: it puts BOOT_IMAGE= and initrd= before the arguments and
    BOOTIF= behind them.
    """
    line = f"BOOT_IMAGE={release.id}/vmlinuz initrd={release.id}/initrd.img,{site_id}/site.img"
    names = names_of(site, release, site_id)
    line += f",{names} " if names else " "
    line += arguments_of(site, server, release) + " BOOTIF=01-00-00-00-00-00-00"
    limit = line_limit(release.kernel_version)

    long: dict[int, list[str]] = {}
    for node in site.nodes:
        boot = boot_of(site, node)
        if boot.label == label and server_of(site, node) == server:
            whole = len(line) + len(boot.cmdline) + bool(boot.cmdline)
            if whole > limit:
                long.setdefault(whole, []).append(node.name)
    takes = f"{release.kernel_version} takes {limit}; shorten cmdline"
    return [
        f"{fold_nodes(names)}: {whole} bytes of kernel command line, {takes}"
        for whole, names in sorted(long.items())
    ]
