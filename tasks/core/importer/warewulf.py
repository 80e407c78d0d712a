"""nodes.conf of Warewulf 4: nodes, with profiles below them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from ..base.errors import BadInput
from .imported import Imported, ImportedNode, FileLine
from .tables import add_bmc

# What is no business of ours, or follows from an image
OURS = (
    "comment", "container name", "image name", "runtime overlay", "system overlay", "kernel",
    "init", "root", "ipxe template", "profiles", "network devices", "tags", "ipmi", "cluster name",
    "primary network", "discoverable", "id", "valid profile",
)  # fmt: skip
# Of a card; what it is and whether it comes up, site.yaml has no need of
OF_DEVICE = frozenset(
    """default device gateway hwaddr ip6addr ipaddr ipaddr6 ipcidr mtu netmask onboot prefixlen6
    primary type vlan""".split()
)


OF_YAML = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")  # what is no word


class _AsWritten(yaml.SafeLoader):
    """Warewulf takes values for words: to YAML 1.1 a MAC address of digits alone is a number."""


_AsWritten.yaml_implicit_resolvers = {
    first: list(filter(lambda found: found[0] in OF_YAML, resolvers))
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_warewulf(path: str, text: str, found: Imported) -> None:
    try:
        said = yaml.load(text, _AsWritten)
        lines = _lines(yaml.compose(text, yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise BadInput.at(path, "no YAML; nodes.conf is", line) from None
    profiles = _mapping(said.get("nodeprofiles") or said.get("profiles"))
    nodes = _mapping(said.get("nodes"))
    names = _told_apart(nodes)
    for name, node in nodes.items():
        origin = FileLine(path, lines.get(str(name), 1))
        made = found.node(origin, names[name])
        if made:
            _node(origin, made, _merged(_mapping(node), profiles), found)


def _told_apart(nodes: Iterable[Any]) -> dict[Any, str]:
    """Names of nodes: `a.n1` and `a.n2` are two, not one with a domain."""
    shorts = {name: str(name).lower().partition(".")[0] for name in nodes}
    owners = Counter(shorts.values())
    found = {}
    for name, short in shorts.items():
        is_alone = owners[short] == 1
        found[name] = str(name) if is_alone else str(name).replace(".", "-")
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _lines(document: Any) -> dict[str, int]:
    """The line of each node's name."""
    found = {}
    for key, value in document.value:
        if key.value == "nodes" and isinstance(value, yaml.MappingNode):
            for name, _ in value.value:
                found[name.value] = name.start_mark.line + 1
    return found


def _merged(node: dict[str, Any], profiles: dict[str, Any]) -> dict[str, Any]:
    """A node over its profiles, of which `default` is everybody's that names none."""
    merged: dict[str, Any] = {}
    given = {"profiles": node.get("profiles") or ["default"]}
    names = _profiles(given, profiles)
    for name in names:
        merged = _over(merged, _mapping(profiles.get(name)))
    return {**_over(merged, node), "profiles": names}


def _profiles(said: dict[str, Any], profiles: dict[str, Any], within: Any = ()) -> list[str]:
    """The profiles of a node, those of profiles before them; `~name` takes one away."""
    given = said.get("profiles") or []
    if not isinstance(given, list):
        given = [given]
    names: dict[str, None] = {}
    for name in map(str, given):
        if name.startswith("~"):
            names.pop(name[1:], None)
        elif name not in within:
            profile = _mapping(profiles.get(name))
            below = _profiles(profile, profiles, (*within, name))
            names |= dict.fromkeys(below)
            names[name] = None
    return list(names)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _over(below[key], value) if both else value
    return merged


def _node(origin: FileLine, node: ImportedNode, said: dict[str, Any], found: Imported) -> None:
    groups = [str(name) for name in said.get("profiles") or () if name != "default"]
    found.add_groups(origin, node, groups)
    _boots(origin, node, said, found)
    for name, text in _mapping(said.get("tags")).items():
        found.add_fact(origin, node, str(name), str(text))
    for name, device in _devices(said):
        _device(origin, node, name, _mapping(device), found)
    _ipmi(origin, node, _mapping(said.get("ipmi")), found)
    for key in said:
        if key not in OURS:
            found.note(origin, f"{node.name}: {key}")


def _boots(origin: FileLine, node: ImportedNode, said: dict[str, Any], found: Imported) -> None:
    image = said.get("image name") or said.get("container name")
    if image:
        found.images[node.name] = origin, str(image)
    args = _mapping(said.get("kernel")).get("args")
    if args:
        words = " ".join(map(str, args)) if isinstance(args, list) else str(args)
        found.note(origin, f"{node.name}: kernel args {words}", "write them as `cmdline:`")


def _ipmi(origin: FileLine, node: ImportedNode, said: dict[str, Any], found: Imported) -> None:
    if not said.get("ipaddr"):
        return
    add_bmc(origin, node, {"ip": str(said["ipaddr"])}, found)
    if said.get("netmask"):
        found.add_network(origin, str(said["ipaddr"]), str(said["netmask"]))


def _devices(said: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Network devices by the names of their cards; "" is what the node boots from."""
    devices = _mapping(said.get("network devices"))
    boots = _primary(said, devices)
    for name, device in devices.items():
        yield "" if name == boots else str(_mapping(device).get("device") or name), device


def _primary(said: dict[str, Any], devices: dict[str, Any]) -> str:
    """By a word of the node, of a device (before 4.4: `default`), by its name, or the first one."""
    named = str(said.get("primary network"))
    if named in devices:
        return named
    for name, device in devices.items():
        if _is_told(_mapping(device)):
            return name
    return "default" if "default" in devices else next(iter(devices), "")


def _is_told(device: dict[str, Any]) -> bool:
    for key in ("primary", "default"):
        if str(device.get(key)).lower() == "true":
            return True
    return False


def _device(
    origin: FileLine, node: ImportedNode, name: str, device: dict[str, Any], found: Imported
) -> None:
    said = {key: str(device.get(key) or "") for key in OF_DEVICE}
    for key in sorted(device.keys() - OF_DEVICE):
        found.note(origin, f"{node.name}: network device {name or 'default'}: {key}")
    _network(origin, name, said, found)
    mac, ip, ip6 = said["hwaddr"], said["ipaddr"], said["ip6addr"] or said["ipaddr6"]
    if name and (mac or ip or ip6):
        found.add_interface(origin, node, name, ip=ip, ip6=ip6, mac=mac)
    elif not name:
        _boot_card(origin, node, (mac, ip, ip6), found)


def _network(origin: FileLine, name: str, said: dict[str, str], found: Imported) -> None:
    """What is said of a card is its network's."""
    if said["ipaddr"] and said["netmask"]:
        of_network = {key: said[key] for key in ("gateway", "mtu", "vlan")}
        found.add_network(origin, said["ipaddr"], said["netmask"], **of_network)
    elif said["gateway"] and not name:
        found.common.setdefault("gateway", said["gateway"])


def _boot_card(
    origin: FileLine, node: ImportedNode, said: tuple[str, str, str], found: Imported
) -> None:
    mac, *addresses = said
    if mac:
        found.add_mac(origin, node, mac)
    for address in filter(None, addresses):
        found.add_ip(origin, node, address)
