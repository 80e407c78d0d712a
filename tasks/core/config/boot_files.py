"""Boot files of pxelinux, GRUB and iPXE: what each node boots, and with which arguments."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..base.nodeset import fold_nodes
from ..initrd.build import network_root
from ..release import SITE_DATA, Release
from ..site.model import ROOT_FILES, Image, Node, Server, Site
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


def serves_http(site: Site) -> bool:
    """Whether nodes can fetch by HTTP: some must, or the site says that a server is there."""
    return site.deploy.http != "none" or any(image.root in ROOT_FILES for image in site.images)


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


# Loaders: one file for all, and one for each node that differs


DEFAULTS = {
    "pxelinux.cfg/default": "pxelinux.cfg",
    "grub/grub.cfg": "grub.cfg",
    "boot.ipxe": "boot.ipxe",
}
OF_NODE = {"pxelinux.cfg/": "pxelinux.cfg", "grub/grub.cfg-": "grub.cfg", "boot.ipxe-": "node.ipxe"}
FOR_ALL = "What a node boots that has no file of its own here."


def boot_views(site: Site) -> dict[str, tuple[str, View]]:
    """Path below the TFTP root -> (template, its view)."""
    usual = default_boot(site)
    boots = [(node, boot_of(site, node)) for node in site.nodes]
    different = [(node, boot) for node, boot in boots if boot != usual]

    view = {**_boot_view(site, usual, usual_image(site).name, FOR_ALL), "others": bool(different)}
    views: dict[str, tuple[str, View]] = {}
    for path, template in DEFAULTS.items():
        views[path] = (template, view)
    for node, boot in different:
        title = f"{node.name}, which differs from most: {_difference(boot, usual)}."
        view_of_node = _boot_view(site, boot, node.image, title)
        for path, template in OF_NODE.items():
            views[path + node.mac.pxe] = (template, view_of_node)
    return views


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
            "http": f"http://{server.ip}" if serves_http(site) else "",
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
    if release.is_of_file:
        return " ".join([*_root_file_arguments(site, server, release), release.cmdline]).strip()
    root = f"{roots_of(site, server)}/{release.id}"
    return network_root(release.network_root, root, release.nfs, release.cmdline)


def roots_of(site: Site, server: Server) -> str:
    """The folder of all releases as nodes mount it: ADDRESS:PATH."""
    if server.nfs_server:
        return server.nfs_server.rstrip("/")
    return f"{server.ip}:{site.deploy.nfs_root}"


def _root_file_arguments(site: Site, server: Server, release: Release) -> Iterator[str]:
    """How the initrd finds a root that is one file, and knows it for the right one."""
    url = f"http://{server.ip}/{release.id}/{release.root_name}"
    yield f"ip=dhcp root={release.root_kind}:{url}"
    yield f"plugnode.root_bytes={release.root_bytes}"
    yield f"plugnode.root_sha256={release.root_file}"
    others = [other.ip for other in site.servers if other != server]
    if others:
        yield f"plugnode.root_servers={','.join(others)}"


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
