"""Configs: a site as the files that DHCP, TFTP and NFS servers, boot loaders and nodes read.

One template a file, below templates/. A template sees a small view, strings and lists of strings, never the model.
Only `plugnode/*` below the TFTP root names a release: the rest changes when nodes or servers do.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .bootline import grub_words, line_limit, network_root, serial
from .errors import BadInput, Problem
from .site import Deploy, Disk, Node, Server, Site

if TYPE_CHECKING:
    import jinja2

    from .release import Release

TEMPLATES = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "templates"))
OF_SITE = ("dhcpd.conf", "kea-dhcp4.json", "dnsmasq.conf", "exports", "hosts", "ethers")  # each also a template's name
LOADERS = {"bios": "pxelinux.0", "uefi": "grubnetx64.efi", "ipxe": "boot.ipxe"}  # what DHCP names, below tftp_root
IPXE_CLASS = "iPXE"  # iPXE's option 77, without the length that RFC 3004 would put before it

View = Mapping[str, Any]


class Row(NamedTuple):
    """A node as templates see it."""

    name: str
    mac: str
    ip: str
    server: str
    next_server: str  # that server's address


class Boot(NamedTuple):
    """What a node boots: a label of `plugnode/`, with the node's own kernel arguments."""

    label: str  # an image, or a release's id
    cmdline: str


# Which server, which release


def server_of(site: Site, node: Node) -> Server:
    """The boot server of a node: the one it names, else by rendezvous hashing (Thaler, Ravishankar 1998).

    Each node takes the server whose name hashes highest together with its own: a server more or less moves only
    the nodes that it gets or had.
    """
    if len(site.servers) == 1:
        return site.servers[0]
    if node.server:
        return next(server for server in site.servers if server.name == node.server)
    return max(site.servers, key=lambda server: _weight(server.name + node.name))


def _weight(text: str) -> bytes:
    import hashlib

    return hashlib.sha256(text.encode()).digest()


def boot_of(node: Node) -> Boot:
    return Boot(node.release or node.image, node.cmdline)


def default_boot(site: Site) -> Boot:
    """What nodes boot that have no file of their own: the image of most nodes, with the arguments most common there."""
    images = Counter(node.image for node in site.nodes)
    label = max((image.name for image in site.images), key=lambda name: images[name])
    cmdlines = Counter(node.cmdline for node in site.nodes if boot_of(node).label == label)
    return Boot(label, min(cmdlines, key=lambda cmdline: (-cmdlines[cmdline], cmdline), default=""))


# The files of a site


def render_configs(site: Site, templates: Iterable[str] = (TEMPLATES,)) -> dict[str, bytes]:
    """Every generated file of a site but those that name a release: path below build/configs -> bytes.

    `templates`: folders, the first that has a template wins. Raises BadInput where a template of the site is wrong.
    """
    environment = _environment(tuple(templates))
    view = site_view(site)
    files = {name: render_template(environment, name, view) for name in OF_SITE}
    for path, (template, boot_view) in _boot_views(site).items():
        files[f"tftp/{path}"] = render_template(environment, template, boot_view)
    return files


def site_view(site: Site) -> View:
    """What the templates of OF_SITE see."""
    import ipaddress

    network = site.network
    subnet = ipaddress.IPv4Network(network.subnet)
    alone = len(site.servers) == 1
    view = {
        "site": site.name, "subnet": network.subnet,
        "address": str(subnet.network_address), "netmask": str(subnet.netmask),
        "gateway": network.gateway or "", "domain": network.domain or "", "dns": network.dns, "ntp": network.ntp,
        "options": _kea_options(site), "lease_max": str(max(1000, len(site.nodes))),
        "servers": [
            {"name": server.name, "ip": server.ip, "tag": "" if alone else f"tag:server-{server.name},"}
            for server in site.servers
        ],
        "next_server": site.servers[0].ip if alone else "",
        "nodes": [_row(site, node) for node in site.nodes],
        "nfs_root": site.deploy.nfs_root, "tftp_root": site.deploy.tftp_root, "fsid": export_id(site),
        "loaders": LOADERS, "ipxe_class": IPXE_CLASS, "drop_in": "yes" if _is_drop_in(site.deploy) else "",
    }  # fmt: skip
    return _plain(view)


def _is_drop_in(deploy: Deploy) -> bool:
    """Is the DHCP server's file read besides its own? Then it must not speak for the rest of that server."""
    return deploy.dhcp == "dnsmasq" and os.path.dirname(deploy.dhcp_conf or "/etc/dnsmasq.d/").endswith(".d")


def _row(site: Site, node: Node) -> Row:
    server = server_of(site, node)
    return Row(node.name, node.mac, node.ip, server.name, server.ip)


def _kea_options(site: Site) -> list[tuple[str, str]]:
    """DHCP's options by Kea's names (IANA's), without those that the site does not give."""
    network = site.network
    options = [
        ("routers", network.gateway or ""),
        ("domain-name-servers", ", ".join(network.dns)),
        ("domain-name", network.domain or ""),
        ("ntp-servers", ", ".join(network.ntp)),
    ]
    return [(name, value) for name, value in options if value]


def export_id(site: Site) -> str:
    """`fsid=` of the export, a UUID (exports(5)): the same for ever, and on every server of the site."""
    import uuid

    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"plugnode:{site.name}:{site.deploy.nfs_root}"))


_SPECIAL = re.compile(r"[^ -~]|[\"'\\{};#]")  # ends a line, a string, a block or a statement in some of the files


def _plain(view: View) -> View:
    """The view itself, if no string of it could be more than a value. Raises ValueError: the schema let it through."""
    if found := _SPECIAL.search(_words(view)):
        raise ValueError(f"a site with {found.group()!r} in a value must not reach a template")
    return view


def _words(value: Any) -> str:
    """All strings in a value, whatever they are in."""
    if value is None or isinstance(value, str):
        return value or ""
    parts = value.values() if isinstance(value, Mapping) else value
    return " ".join([part if isinstance(part, str) else _words(part) for part in parts])


# Loaders: one file for all, and one for each node that differs


def _boot_views(site: Site) -> dict[str, tuple[str, View]]:
    """Path below the TFTP root -> (template, its view)."""
    usual = default_boot(site)
    different = [node for node in site.nodes if boot_of(node) != usual]
    view = _boot_view(site, usual, usual.label, "What a node boots that has no file of its own here.")
    views: dict[str, tuple[str, View]] = {
        path: (template, {**view, "others": bool(different)}) for path, template in DEFAULTS.items()
    }
    for node in different:
        title = f"{node.name}, which differs from most: {_difference(boot_of(node), usual)}."
        view = _boot_view(site, boot_of(node), node.image, title)
        views |= {path + node.mac.pxe: (template, view) for path, template in OF_NODE.items()}
    return views


DEFAULTS = {"pxelinux.cfg/default": "pxelinux.cfg", "grub/grub.cfg": "grub.cfg", "boot.ipxe": "boot.ipxe"}
OF_NODE = {"pxelinux.cfg/": "pxelinux.cfg", "grub/grub.cfg-": "grub.cfg", "boot.ipxe-": "node.ipxe"}


def _boot_view(site: Site, boot: Boot, image: str, title: str) -> View:
    line = serial(f"{site.image(image).cmdline} {boot.cmdline}")
    return _plain({"title": title, "label": boot.label, "cmdline": boot.cmdline, "serial": line, "others": ""})


def _difference(boot: Boot, usual: Boot) -> str:
    own = [f"it boots {boot.label}"] if boot.label != usual.label else []
    if boot.cmdline != usual.cmdline:
        own.append(f"it has {'' if boot.cmdline else 'no '}kernel arguments of its own")
    return ", ".join(own)


# The files that name a release


def render_boot(
    site: Site, server: Server, label: str, release: Release, site_id: str, templates: Iterable[str] = (TEMPLATES,)
) -> dict[str, bytes]:
    """`plugnode/<label>.cfg`, `.grub` and `.ipxe` for one server's TFTP root.

    `label` is the image's name, or the release's id for nodes that are pinned to it; `site_id` the folder of site.img.
    """
    environment = _environment(tuple(templates))
    arguments = arguments_of(site, server, release)
    view = _plain({"label": label, "release": release.id, "site_id": site_id, "arguments": arguments})
    return {
        f"plugnode/{label}.{kind}": render_template(environment, f"image.{kind}", view)
        for kind in ("cfg", "grub", "ipxe")
    }


def arguments_of(site: Site, server: Server, release: Release) -> str:
    """The kernel arguments of a release's nodes: how the initrd finds the root, and the image's own."""
    return network_root(release.network_root, server.ip, f"{site.deploy.nfs_root}/{release.id}", release.cmdline)


def cmdline_warnings(site: Site, server: Server, label: str, release: Release, site_id: str) -> list[str]:
    """One line for each kind of node whose kernel would cut its command line short.

    The line is as pxelinux makes it: it puts BOOT_IMAGE= and initrd= before the arguments and BOOTIF= behind them.
    """
    from .ranges import fold

    line = f"BOOT_IMAGE={release.id}/vmlinuz initrd={release.id}/initrd.img,{site_id}/site.img "
    length = len(line + arguments_of(site, server, release) + " BOOTIF=01-00-00-00-00-00-00")
    limit = line_limit(release.kernel_version)
    nodes = [node for node in site.nodes if boot_of(node).label == label and server_of(site, node) == server]
    long: dict[int, list[str]] = {}
    for node in nodes:
        whole = length + len(node.cmdline) + bool(node.cmdline)
        if whole > limit:
            long.setdefault(whole, []).append(node.name)
    return [
        f"{fold(names)}: {whole} bytes of kernel command line, {release.kernel_version} takes {limit}; shorten cmdline"
        for whole, names in sorted(long.items())
    ]


# site.img


def site_image(site: Site, hosts: bytes) -> dict[str, bytes]:
    """What the node's shell scripts read, as site.img brings it: path -> bytes. `hosts` is the generated file."""
    layouts = {node.layout: node.disk for node in site.nodes if node.layout}
    files = {"plugnode/hosts": hosts, "plugnode/nodes": _nodes_table(site), "plugnode/site": _site_values(site)}
    return files | {f"plugnode/layouts/{name}": layout_lines(layouts[name]) for name in sorted(layouts)}


def _nodes_table(site: Site) -> bytes:
    """A line a node, sorted by address: address, name, MAC, groups, layout, wipe token; tabs between, `-` for none.

    A token for foreign disks is in a column of its own, for an earlier setup.sh would wipe with it a disk of ours.
    """
    rows = [
        (node.ip, node.name, node.mac, ",".join(node.groups) or "-", node.layout or "-", *_tokens(node))
        for node in site.nodes
    ]
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _tokens(node: Node) -> tuple[str, ...]:
    token = node.wipe or "-"
    return ("-", token) if token.startswith("foreign:") else (token,)


def _site_values(site: Site) -> bytes:
    network = site.network
    values = {
        "site": site.name, "subnet": network.subnet, "domain": network.domain or "", "gateway": network.gateway or "",
        "dns": ",".join(network.dns), "ntp": ",".join(network.ntp),
        "servers": ",".join(server.ip for server in site.servers),
    }  # fmt: skip
    return "".join(f"{key}={value}\n" for key, value in values.items()).encode()


def layout_lines(disk: Disk) -> bytes:
    """A disk's layout for `setup.sh`: lines of a keyword and its values; sizes in MiB."""
    match = disk.match._asdict()
    allowed = match.pop("removable")
    lines = [f"table {disk.table}", f"required {'yes' if disk.required else 'no'}"]
    lines += [f"device {pattern}" for pattern in disk.devices]
    lines += [f"match {key} {value}" for key, value in match.items() if value is not None]
    lines += ["allow removable"] if allowed else []
    lines += [
        f"partition {part.mount} {part.size or 'rest'} {part.fs} {part.label} {part.fill or '-'}"
        for part in disk.partitions
    ]
    for part in disk.partitions:
        lines += [f"options {part.mount} {part.options}"] if part.options else []
        lines += [f"mode {part.mount} {part.mode}"] if part.mode else []
    return "".join(line + "\n" for line in lines).encode()


# Templates


@lru_cache(maxsize=4)
def _environment(folders: tuple[str, ...]) -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), undefined=jinja2.StrictUndefined, autoescape=False,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["grub"] = grub_words
    return environment


def check_templates(templates: Iterable[str] = (TEMPLATES,)) -> None:
    """Raises BadInput with every template that is none."""
    environment = _environment(tuple(templates))
    assert environment.loader
    problems: list[Problem] = []
    for name in environment.list_templates():
        try:
            with _complaints(name):
                source, path, _ = environment.loader.get_source(environment, name)
                environment.parse(source, name, path)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def render_template(environment: jinja2.Environment, name: str, view: View) -> bytes:
    """A template's bytes. Raises BadInput at its place where one of the site's own is wrong."""
    with _complaints(name):
        return environment.get_template(name).render(view).encode()


@contextmanager
def _complaints(name: str) -> Iterator[None]:
    """jinja2's complaints about a template as ours."""
    import jinja2

    try:
        yield
    except jinja2.TemplateNotFound as error:
        raise BadInput.at(str(error), "no such template; put it back into templates/") from None
    except jinja2.TemplateSyntaxError as error:
        raise BadInput.at(error.filename or name, f"{error.message}; a Jinja2 template", error.lineno) from None
    except jinja2.UndefinedError as error:
        file, line = _place(error, name)
        raise BadInput.at(
            file, f"{error.message}; see Plugnode's own templates/{name} for what there is", line
        ) from None


def _place(error: Exception, name: str) -> tuple[str, int]:
    """Where in a template an error was raised: jinja2 gives its frames the template's own lines."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(f"/{name}")]
    return (frames[-1].filename, frames[-1].lineno or 1) if frames else (name, 1)
