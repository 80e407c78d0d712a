"""site.img: one more initrd, which says who the nodes are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network

from ..archive import compression, cpio
from ..base.errors import BadInput, Problem
from ..base.files import read as read_file
from ..initrd.content import file_entry, put_entry
from ..base.text import show_path
from ..site.model import (
    BOOT_CARD,
    HOST_KEYS,
    Bond,
    Disk,
    DiskMatch,
    Image,
    Mac,
    Network,
    Node,
    Partition,
    Site,
    layouts_of,
    template_of,
)
from ..site_data import HOSTS
from ..tree.model import Tree

MOST = 65_536  # bytes of a template: all nodes have it in memory


def site_image(
    site: Site, hosts: bytes, read: Callable[[str], bytes] = read_file
) -> dict[str, bytes]:
    """What the node's scripts read, as site.img brings it: path -> bytes. `hosts`: as generated.

    `read` gives the templates of nodes' files. Raises BadInput where one asks for what is not.
    """
    layouts = {node.layout: layouts_of(node) for node in site.nodes if node.layout}
    files = {
        HOSTS: hosts,
        "plugnode/nodes": _nodes_table(site),
        "plugnode/site": _site_values(site),
    }
    if facts := _facts_table(site):
        files["plugnode/facts"] = facts
    if site.more_networks:
        files["plugnode/networks"] = _networks_table(site)
    if interfaces := _interfaces_table(site):
        files["plugnode/interfaces"] = interfaces
    if bonds := _bonds_table(site):
        files["plugnode/bonds"] = bonds
    for name in sorted(layouts):
        files.update(_layout_files(name, layouts[name]))
    return files | node_templates(site.images, read)


def node_templates(
    images: Iterable[Image], read: Callable[[str], bytes] = read_file
) -> dict[str, bytes]:
    """Those of images' `node_files`, by their places. Raises BadInput with what is wrong of all."""
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for image in images:
        for path, template in image.node_files:
            name = template_of(image.name, path)
            try:
                data = read(template)
            except BadInput as error:
                problems += error.problems
                continue
            problems += _wrong_in_template(template, data)
            files[f"plugnode/templates/{name}"] = data
    if problems:
        raise BadInput(problems)
    return files


# What a template of a node's file may name; facts and interfaces that a node lacks are empty
WORDS = re.compile(
    r"name|ip|mac|groups|domain|site|facts\.[A-Za-z][\w.-]*|interfaces\.[\w.-]+\.(ip|mac)", re.ASCII
)
KNOWN = (
    "name, ip, mac, groups, domain, site, facts.NAME, interfaces.NAME.ip and interfaces.NAME.mac"
)
HOLE = re.compile(rb"\{\{(.*?)\}\}")


def _wrong_in_template(path: str, data: bytes) -> list[Problem]:
    """Each hole that no node could fill, and what is no small text."""
    problems = []
    for number, line in enumerate(data.splitlines(), 1):
        for hole in HOLE.finditer(line):
            word = hole[1].decode(errors="replace").strip()
            if not WORDS.fullmatch(word):
                shown = show_path(hole[1].strip())
                what = f"{shown}: nothing that a node knows; {KNOWN} can be used"
                problems.append(Problem(path, number, hole.start() + 1, what))
    if b"\0" in data or len(data) > MOST:
        problems.append(Problem(path, 1, 1, f"no small text: at most {MOST} bytes, none of them 0"))
    return problems


def _nodes_table(site: Site) -> bytes:
    """A line a node, sorted by address; tabs between what it says of one, `-` for none."""
    networks = {network.name: network for network in site.networks}
    return _table(row for node in site.nodes for row in _node_rows(node, networks[node.network]))


def _table(rows: Iterable[Iterable[str]]) -> bytes:
    """A line a row, with tabs between its columns."""
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _node_rows(node: Node, network: Network) -> Iterator[tuple[str, ...]]:
    """Address, name, MAC, groups, layout, wipe token: a line for each card that it may boot from.

    Of an InfiniBand port its GUID. Where its network has a `subnet6` two columns more: its IPv6
    address with the prefix's length, and the router.

    A token for foreign disks is in a column of its own: an earlier setup.sh would wipe with it a
    disk of ours.
    """
    groups = ",".join(node.groups) or "-"
    wipe = node.wipe or "-"
    more = ("-", wipe) if wipe.startswith("foreign:") else (wipe,)
    if network.subnet6:
        address = f"{node.ip6}/{network.subnet6.partition('/')[2]}"
        more = (*more, *["-"] * (2 - len(more)), address, network.gateway6 or "-")
    ports = [node.guid] if node.guid else []
    for mac in (*node.macs, *ports) or ("-",):
        yield node.ip, node.name, mac, groups, node.layout or "-", *more


def _facts_table(site: Site) -> bytes:
    """A line a node that has any: its address, then words of it, each behind a tab.

    `facts.rack=3`; `search=` and the domains of its network; and for nodes' files, where any image
    has some, `interfaces.ib0.ip=10.8.0.11`, and `domain=` where its own is not that of `site`.
    """
    with_files = any(image.node_files for image in site.images)
    searched = {network.name: " ".join(network.search) for network in site.networks}
    domains = {network.name: network.domain or "" for network in site.networks if with_files}
    usual = site.network.domain or ""
    rows = []
    for node in site.nodes:
        words = [f"facts.{name}={fact}" for name, fact in node.facts]
        if search := searched[node.network]:
            words.append(f"search={search}")
        if (domain := domains.get(node.network, usual)) != usual:
            words.append(f"domain={domain}")
        for each in node.interfaces if with_files else ():
            words += [
                f"interfaces.{each.name}.ip={each.ip}",
                f"interfaces.{each.name}.mac={each.mac}",
            ]
        if words:
            rows.append((node.ip, *words))
    return _table(rows)


def _networks_table(site: Site) -> bytes:
    """A line a network, for the initrd: its subnet, gateway, domain and name servers."""
    rows = []
    for network in site.networks:
        values = (network.gateway, network.domain, ",".join(network.dns))
        rows.append((network.subnet, *(value or "-" for value in values)))
    return _table(rows)


def _interfaces_table(site: Site) -> bytes:
    """A line for each interface that its node brings up, for `interfaces.sh` of its overlay.

    The node's address, name, address with prefix, netmask, MTU, VLAN and MAC.
    """
    networks = {network.name: network for network in site.networks}
    rows = []
    for node in site.nodes:
        for each in node.interfaces:
            if each.configure and not each.bond:
                said = _address_words(each.ip, networks[each.network])
                rows.append((node.ip, each.name, *said, each.mac or "-"))
    return _table(rows)


def _address_words(ip: str, network: Network) -> tuple[str, str, str, str]:
    """An address of a network with its prefix, netmask, MTU and VLAN."""
    subnet = IPv4Network(network.subnet)
    vlan = str(network.vlan or "-")
    return f"{ip}/{subnet.prefixlen}", str(subnet.netmask), str(network.mtu or "-"), vlan


def _bonds_table(site: Site) -> bytes:
    """A line for each bond, for `bonds.sh` of its overlay; an earlier one looks for none.

    As those of interfaces, then the mode and the cards by commas: `boot`, NAME, or NAME=MAC, where
    a further card that the node may boot from has no name. One that has the card that the node
    boots from takes its address over: `-`.
    """
    networks = {network.name: network for network in site.networks}
    rows = []
    for node in site.nodes:
        cards = {each.name: each.mac for each in node.interfaces}
        for each in node.interfaces:
            if each.bond:
                said = ("-", "-", "-", str(site.tags.get(node.network, "-")))
                if not each.carries_root:
                    said = _address_words(each.ip, networks[each.network])
                of = ",".join(_cards_of(each.bond, node.macs, cards))
                rows.append((node.ip, each.name, *said, each.bond.mode, of))
    return _table(rows)


def _cards_of(bond: Bond, boots_by: tuple[Mac, ...], cards: dict[str, Mac]) -> Iterator[str]:
    """The cards of a bond, as the node finds them."""
    for name in bond.of:
        if name == BOOT_CARD:
            yield name
            yield from (f"={mac}" for mac in boots_by if len(boots_by) > 1)
        else:
            mac = cards.get(name, "")
            yield f"{name}={mac}" if mac else name


def _site_values(site: Site) -> bytes:
    network = site.network
    values = {
        "site": site.name,
        "subnet": network.subnet,
        "domain": network.domain or "",
        "gateway": network.gateway or "",
        "dns": ",".join(network.dns),
        "ntp": ",".join(network.ntp),
        "servers": ",".join(server.ip for server in site.servers),
    }
    lines = [f"{key}={value}\n" for key, value in values.items()]
    return "".join([*lines, *_secrets_lines(site)]).encode()


def _secrets_lines(site: Site) -> Iterator[str]:
    """Where secrets lie on nodes, and of which groups: never what they are."""
    places = {secret.to: ",".join(secret.groups) or "-" for secret in site.secrets}
    if site.ssh_host_keys:
        places |= dict.fromkeys(HOST_KEYS, "-")
    if places and site.deploy.http != "none":
        yield "blobs=http\n"
    for place, groups in sorted(places.items()):
        yield f"secret={place}\t{groups}\n"


def _layout_files(name: str, disks: tuple[Disk, ...]) -> dict[str, bytes]:
    """The layouts of a node's disks, by their paths in site.img.

    Of one disk it stands where every setup.sh looks. What an earlier one could not honour stands
    under names that it does not look for: it comes up degraded, and writes nothing.
    """
    path = f"plugnode/layouts/{name}"
    if len(disks) == 1 and not disks[0].raid:
        return {path: layout_lines(disks[0])}
    return {f"{path}..{number}": layout_lines(disk) for number, disk in enumerate(disks, 1)}


def layout_lines(disk: Disk) -> bytes:
    """A disk's layout for `setup.sh`: lines of a keyword and its values; sizes in MiB."""
    lines = [f"table {disk.table}", f"required {'yes' if disk.required else 'no'}"]
    lines += [f"device {pattern}" for pattern in disk.devices]
    lines += _match_lines(disk.match)
    if disk.raid:
        lines.append(f"raid {disk.raid.level} {disk.raid.devices}")
    lines += map(_partition_line, disk.partitions)
    for part in disk.partitions:
        if part.options:
            lines.append(f"options {part.mount} {part.options}")
        if part.mode:
            lines.append(f"mode {part.mount} {part.mode}")
    return "".join(line + "\n" for line in lines).encode()


def _match_lines(match: DiskMatch) -> list[str]:
    """What a disk must be like."""
    words = match._asdict()
    is_removable_allowed = words.pop("removable")
    lines = [f"match {key} {value}" for key, value in words.items() if value is not None]
    return [*lines, "allow removable"] if is_removable_allowed else lines


def _partition_line(part: Partition) -> str:
    return f"partition {part.mount} {part.size or 'rest'} {part.fs} {part.label} {part.fill or '-'}"


# site.img


def site_img(files: dict[str, bytes]) -> bytes:
    """The last initrd, gzip newc: data and no programs."""
    tree: Tree = {}
    for path, data in files.items():
        put_entry(tree, path, file_entry(data))
    return compression.gzip(cpio.write_newc(tree))
