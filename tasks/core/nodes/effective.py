"""What each node has once image, groups and the node itself are merged, and which line gave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..config.boot_files import server_of
from ..site.keys import APPEND, KEYWISE, MapOf, Row, rows
from ..site.load import Written
from ..site.model import Node, Partition, Site
from ..site.networks.subnets import path_of
from ..site.nodes import Member
from ..site.resolve import image_of
from ..site.schema import Section
from ..site.strict_yaml import Path
from .ask import Runs

Described = dict[str, Any]  # a node's values, by their keys in site.yaml
Booted = Mapping[str, Mapping[str, str | None]]  # server -> image -> release
Layer = tuple[Path, Section]
Lines = dict[str, list[str]]  # key -> `site.yaml:12` of each layer that gave some of its value
DEFAULT = "default"
SETTINGS = rows(Node)


class Known(NamedTuple):
    """What is known of nodes that no site says."""

    booted: Booted
    built: Mapping[str, str]  # image -> release
    runs: Mapping[str, Runs] | None = None  # None: no node was asked


def describe(site: Site, nodes: Iterable[Node], known: Known) -> list[Described]:
    """The values of each node."""
    return [_described(site, node, known) for node in nodes]


def _described(site: Site, node: Node, known: Known) -> Described:
    server = server_of(site, node).name
    found: Described = {
        "node": node.name,
        "image": node.image,
        "release": _release(node, server, known)[0],
    }
    return {**found, **_heard(node, known), "server": server, **_own(site, node)}


def _own(site: Site, node: Node) -> Described:
    """What the site says of a node itself."""
    words = (site.image(node.image).arguments, node.cmdline)
    return {
        "ip": node.ip,
        "mac": node.mac or None,
        "network": node.network,
        "interfaces": _plain(node.interfaces),
        "groups": list(node.groups),
        "cmdline": " ".join(filter(None, words)),
        "interface": node.interface,
        "layout": node.layout,
        "disk": _plain(node.disks or node.disk),
        "wipe": node.wipe,
        "loader": node.loader,
        "arch": node.arch,
        "management": _plain(node.management) if node.management.protocol else None,
        "facts": dict(node.facts),
        "aliases": list(node.aliases),
    }


def _heard(node: Node, known: Known) -> Described:
    """What a node says of itself, where nodes were asked; None where it did not answer."""
    if known.runs is None:
        return {}
    runs = known.runs.get(node.name)
    return {
        "runs": runs.release if runs else None,
        "degraded": runs.degraded if runs else None,
        "disks": [each._asdict() for each in runs.disks] if runs else None,
    }


def _release(node: Node, server: str, known: Known) -> tuple[str | None, str]:
    """The release of a node's next boot, and who says so."""
    if node.release:
        return node.release, "pinned"
    booted = known.booted.get(server, {}).get(node.image)
    if booted:
        return booted, f"deployed on {server}"
    built = known.built.get(node.image)
    return built, "built" if built else "nothing is built"


def _plain(value: Any) -> Any:
    """Values of a site as JSON has them, sizes as site.yaml writes them."""
    if isinstance(value, Partition):
        size = f"{value.size}M" if value.size else "rest"
        return {**value._asdict(), "size": size}
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, tuple):
        return list(map(_plain, value))
    return value


# Which lines gave it


def explain_values(
    found: Iterable[Described], site: Site, known: Known, written: Written
) -> list[Described]:
    """The same with `why`: of each key the lines that gave its value, or `default`."""
    members = {member.name: member for member in written.members}
    nodes = {node.name: node for node in site.nodes}
    explained = []
    for one in found:
        lines = _lines(members[one["node"]], written)
        if lines["release"] == [DEFAULT]:
            _, who = _release(nodes[one["node"]], one["server"], known)
            lines["release"] = [who]
        lines["network"] = _told([path_of(written.said, one["network"])], written)
        explained.append({**one, "why": lines})
    return explained


def _lines(member: Member, written: Written) -> Lines:
    """The lines that gave a node's values."""
    own = _own_lines(member, written)
    layers = list(_layers(member, written))
    found: Lines = {}
    for name, row in SETTINGS.items():
        found[name] = _told(own.get(name) or _givers(layers, row), written)
    for name in own.keys() - found.keys():
        found[name] = _told(own[name], written)
    disks = found.pop("disks")
    return found if disks == [DEFAULT] else {**found, "disk": disks}


def _own_lines(member: Member, written: Written) -> dict[str, list[Path]]:
    """Those that no layer but the node has, or that are found otherwise."""
    own = {
        "ip": [member.ip_path],
        "mac": [member.mac_path(0)],
        "image": [_image(member, written)],
        "server": _server(member, written),
        "interfaces": [card.path for card in member.cards],
    }
    for name in ("groups", "aliases"):
        own[name] = [("nodes", member.key, name)] if getattr(member.said, name) else []
    return own


def _told(paths: Iterable[Path], written: Written) -> list[str]:
    """Where paths are in the file, each line once."""
    lines: dict[str, None] = {}
    for path in paths:
        line, _ = written.source.place(path, key=True)
        lines[f"{written.source.file}:{line}"] = None
    return list(lines) or [DEFAULT]


def _image(member: Member, written: Written) -> Path:
    """What names the image: the node, its last group that does, or that there is only one."""
    if member.said.image:
        return ("nodes", member.key, "image")
    for name in reversed(member.said.groups):
        if written.said.groups[name].image:
            return ("groups", name, "image")
    return ("images", *written.said.images)


def _server(member: Member, written: Written) -> list[Path]:
    """The only server, if there is but one: then no layer has a say."""
    servers = list(written.said.servers)
    return [("servers", servers[0])] if len(servers) == 1 else []


def _layers(member: Member, written: Written) -> Iterator[Layer]:
    """What a node's settings are merged of, the lowest first."""
    said = written.said
    image = image_of(said, member.said) or ""
    yield (), said
    yield ("images", image), said.images[image]
    for name in member.said.groups:
        yield ("groups", name), said.groups[name]
    yield ("nodes", member.key), member.said


def _givers(layers: Iterable[Layer], row: Row) -> list[Path]:
    """Where what counts of a setting stands: merged as its row says."""
    holding = []
    for path, said in layers:
        if row.name in said.model_fields_set:
            holding.append(((*path, row.name), getattr(said, row.name)))
    if isinstance(row.key.kind, MapOf):
        last = {name: (*path, name) for path, given in holding for name in given}
        return list(last.values())
    if row.key.merge == KEYWISE:
        found: list[Path] = []
        for inner in rows(row.key.kind).values():
            found += _givers(holding, inner)
        return found
    counting = holding if row.key.merge == APPEND else holding[-1:]
    return [path for path, _ in counting]
