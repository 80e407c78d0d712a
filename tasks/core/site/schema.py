"""What `site.yaml` may hold: pydantic models of the file as written, made of the rows of its keys.

`resolve` makes the frozen values of `model` of them. Everything arrives as text.
"""

import functools
from collections.abc import Callable
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    WrapValidator,
    create_model,
)

from ..outputs import WORDS
from . import values
from .keys import (
    APPEND,
    REQUIRED,
    Boolean,
    Choice,
    Key,
    ListOf,
    MapOf,
    OneOrList,
    PathHere,
    Row,
    Text,
    Whole,
    rows,
)
from .model import (
    KEPT,
    Deploy,
    Disk,
    DiskMatch,
    Image,
    Initrd,
    Bond,
    Interface,
    Management,
    Network,
    NfsMount,
    Node,
    Partition,
    Password,
    Raid,
    Reference,
    SecretSource,
    SecureBoot,
    Server,
    Trust,
    Upgrade,
)
from .strict_yaml import kind as kind_of
from .values import LATER, InvalidValue, boolean, choice, whole

HEAD = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Plugnode site.yaml"}
NAMES = {"$defs": "definitions"}  # of draft 7, as yaml-language-server knows it
NULL = {"type": "null"}


class Section(BaseModel):
    """A mapping of the file. Its fields are the keys of its rows; what is wrong is None."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> Any: ...


# Keys that fill no field of their own


class BootstrapKeys:
    suite: Annotated[
        str,
        Key(
            Text("suite"),
            "the distribution's suite",
            examples=("bookworm",),
        ),
    ]
    packages: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("package")),
            "packages besides the minimal system",
        ),
    ] = ()
    mirror: Annotated[
        str | None,
        Key(
            Text("mirror"),
            "where packages come from",
            default="the distribution's",
        ),
    ] = None


class ReferenceKeys:
    """Where the root comes from; exactly one of these."""

    rsync: Annotated[
        str | None,
        Key(
            Text("rsync"),
            "a running reference node: user@host:/path",
            "`user@host:/path`, `host::module/path` or `rsync://host/module/path`",
        ),
    ] = None
    path: Annotated[
        str | None,
        Key(
            PathHere(),
            "a folder that holds a root; never written to",
            "a folder that holds a root",
        ),
    ] = None
    archive: Annotated[
        str | None,
        Key(
            PathHere(),
            "a tar archive of a root, in any compression",
            "a file that holds a root",
        ),
    ] = None
    oci: Annotated[
        str | None,
        Key(
            Text("oci"),
            "a container's image: registry.example.org/name:tag, or an OCI layout, ./folder;"
            " @sha256:… pins it",
            "a container's image: `registry.example.org/wn:9.4`, by skopeo, or an OCI layout here,"
            " `./layout:tag`; `@sha256:…` behind it pins it",
        ),
    ] = None
    bootstrap: Annotated[
        BootstrapKeys | None,
        Key(
            BootstrapKeys,
            "made new from the distribution's packages",
            "made new from packages, see below",
        ),
    ] = None


class NodeKeys:
    """One node, or a range of nodes with as many MACs and addresses."""

    mac: Annotated[
        str | None,
        Key(
            Text("mac", number=True),
            "its network card",
            "its network card, as in `52:54:00:12:34:56`, `52-54-00-12-34-56`, `5254.0012.3456` or"
            " `525400123456`",
            default="not known yet",
            examples=("52:54:00:12:34:56",),
        ),
    ] = None
    macs: Annotated[
        tuple[str, ...] | None,
        Key(
            ListOf(Text("mac", number=True), least=1),
            "of a range: one per node, in order; of one node all cards that it may boot from",
            "of a range as many, in the order of the names; of one node all cards that it may boot"
            " from: it has one address and one name by each of them",
            default="not known yet",
        ),
    ] = None
    client_id: Annotated[
        str | None,
        Key(
            Text("identifier", number=True),
            "the client identifier by which DHCP knows it, besides or instead of a card",
            "the client identifier (DHCP's option 61) by which DHCP knows it, besides its card or"
            " instead: text, or pairs of hex digits with colons, all bytes that are sent",
            examples=("01:52:54:00:12:34:56",),
        ),
    ] = None
    guid: Annotated[
        str | None,
        Key(
            Text("guid", number=True),
            "the InfiniBand port by which DHCP knows it, besides or instead of a card",
            "the GUID of the InfiniBand port that it boots from, as `ibstat` prints it: DHCP knows"
            " it by that",
        ),
    ] = None
    guids: Annotated[
        tuple[str, ...] | None,
        Key(
            ListOf(Text("guid", number=True), least=1),
            "of a range: one per node, in order",
            "of a range: as many, in the order of the names",
        ),
    ] = None
    circuit_id: Annotated[
        str | None,
        Key(
            Text("identifier", number=True),
            "the switch port by which DHCP knows it, as its relay names that (option 82); Kea only",
            "the switch port by which DHCP knows it, as the relay names that (option 82, circuit"
            " id): whichever machine is there. Kea alone can do that",
            examples=("eth1/0/12",),
        ),
    ] = None
    ip: Annotated[
        str,
        Key(
            Text("addresses"),
            "its address; of a range as many, as in 172.24.10.[110-112]",
            "its address; of a range a range of as many",
            examples=("172.24.10.100",),
        ),
    ]
    ip6: Annotated[
        str | None,
        Key(
            Text("addresses6"),
            "a second address, of IPv6; of a range as many, as in 2001:db8::[110-112]",
            "a second address, of IPv6: a line in `hosts`; of a range a range of as many, as in"
            " `2001:db8::[110-112]`",
            examples=("2001:db8::110",),
        ),
    ] = None
    groups: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("any_text")),
            "names of groups, later ones win",
            "names of groups; later ones win",
        ),
    ] = ()
    aliases: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("aliases")),
            "more names of it, in hosts and zones; of a range as many, as in gpu[01-40]",
            "more names for its address, behind its own in `hosts`, with or without a domain;"
            " of a range ranges of as many: `[gpu[01-40]]`",
            examples=(["gpu-a"],),
        ),
    ] = ()
    interfaces: Annotated[
        dict[str, Interface],
        Key(
            MapOf(Text("interface_name"), Interface),
            "what it has besides the card that it boots from, by name: a BMC, other ports",
            "what it has besides the card that it boots from, by name: a BMC, other ports; see"
            " below",
            examples=({"bmc": {"ip": "172.24.11.100"}},),
        ),
    ] = {}


class InterfaceKeys:
    """What a node has besides the card that it boots from: a BMC, another port."""

    ip: Annotated[
        str | None,
        Key(
            Text("addresses"),
            "its address; of a range as many, as in 172.24.11.[110-112]",
            "its address; of a range a range of as many",
            examples=("172.24.11.100",),
        ),
    ] = None
    ip6: Annotated[
        str | None,
        Key(
            Text("addresses6"),
            "a second address, of IPv6; of a range as many, as in 2001:db8::[110-112]",
            "a second address, of IPv6: a line in `hosts`; of a range a range of as many, as in"
            " `2001:db8::[110-112]`",
            examples=("2001:db8::110",),
        ),
    ] = None
    mac: Annotated[
        str | None,
        Key(
            Text("mac", number=True),
            "its card: DHCP gives it its address",
            "its card: DHCP gives it its address, and no loader",
        ),
    ] = None
    macs: Annotated[
        tuple[str, ...] | None,
        Key(
            ListOf(Text("mac", number=True), least=1),
            "of a range: one per node, in order",
            "of a range: as many, in the order of the names",
        ),
    ] = None
    guid: Annotated[
        str | None,
        Key(
            Text("guid", number=True),
            "of an InfiniBand port: DHCP knows it by that",
            "the GUID of an InfiniBand port, as `ibstat` prints it: DHCP knows the port by that",
        ),
    ] = None
    guids: Annotated[
        tuple[str, ...] | None,
        Key(
            ListOf(Text("guid", number=True), least=1),
            "of a range: one per node, in order",
            "of a range: as many, in the order of the names",
        ),
    ] = None


class GroupKeys:
    """Settings that nodes share; of several groups the one listed last wins, and a node's own
    over all.
    """


class SecretKeys:
    """What nodes need and nobody else may have: where it lies there, and where it comes from."""

    to: Annotated[
        str,
        Key(
            Text("secret_path"),
            "the file on the nodes",
            examples=("/etc/munge/munge.key",),
        ),
    ]
    from_: Annotated[
        SecretSource,
        Key(
            SecretSource,
            "where deploy gets it from",
            "where `deploy`, and nothing else, gets it from: `{file: …}` or `{command: […]}`",
        ),
    ]
    owner: Annotated[
        str,
        Key(
            Text("owner"),
            "the user that it belongs to on nodes, or user:group",
            "the user that it belongs to on nodes, or `user:group`; without one the group of the"
            " user's name",
            examples=("munge",),
        ),
    ] = "root"
    mode: Annotated[
        str,
        Key(
            Text("private_mode"),
            "its mode on nodes; nothing for others",
            examples=("0400",),
        ),
    ] = "0400"
    groups: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Text("any_text")),
            "the groups whose nodes get it",
            default="all nodes",
        ),
    ] = ()
    on_disk: Annotated[
        bool,
        Key(
            Boolean(),
            "it stays on the node's disk",
            "`true`: it stays on the node's disk, and is there when no server answers; `false`: in"
            " memory, until the node is switched off",
        ),
    ] = False


class SiteKeys:
    """A site of diskless worker nodes."""

    site: Annotated[
        str,
        Key(
            Text("name", number=True),
            "the site's name",
            "the site's name: `example-grid`. Nodes know their disks by it: under another name all"
            " of them are"
            " foreign, stay untouched, and nodes run in memory",
            examples=("example-grid",),
        ),
    ]
    network: Annotated[
        Network | None,
        Key(
            Network,
            "the nodes' network",
            "the nodes' network: short for `networks` with one, whose name is `network`",
            default="required, or `networks`",
        ),
    ] = None
    networks: Annotated[
        dict[str, Network],
        Key(
            MapOf(Text("network_name"), Network, least=1),
            "networks by name, where there are several",
            "the nodes' networks by name, where there are several",
        ),
    ] = {}
    servers: Annotated[
        dict[str, Server],
        Key(
            MapOf(Text("host"), Server, least=1),
            "boot servers by name",
        ),
    ]
    images: Annotated[
        dict[str, Image],
        Key(
            MapOf(Text("image_name"), Image, least=1),
            "what nodes run, by name",
        ),
    ]
    groups: Annotated[
        dict[str, GroupKeys],
        Key(
            MapOf(Text("name"), GroupKeys),
            "settings shared by nodes, by name",
            "settings that nodes share, by name",
        ),
    ] = {}
    nodes: Annotated[
        dict[str, NodeKeys],
        Key(
            MapOf(Text("node_names"), NodeKeys, least=1),
            "nodes by name, or ranges such as wn[001-040]",
            "the nodes, by name or range",
        ),
    ]
    hosts: Annotated[
        dict[str, tuple[str, ...]],
        Key(
            MapOf(Text("any_host"), OneOrList(Text("address"))),
            "more names that nodes know: an address, or a list",
            "more lines of the nodes' `/etc/hosts`",
            examples=({"nas01": "10.1.0.250"},),
        ),
    ] = {}
    outputs: Annotated[
        tuple[str, ...],
        Key(
            ListOf(Choice(*WORDS)),
            "files of the whole cluster that are generated, too",
            "files of the whole cluster that are generated besides, see below",
            examples=(["clustershell", "ansible"],),
        ),
    ] = ()
    deploy: Annotated[
        Deploy,
        Key(Deploy, "where a build is put"),
    ] = Deploy()
    management: Annotated[
        Management,
        Key(
            Management,
            "how nodes' BMCs are reached; groups and nodes can say otherwise",
            "how the nodes' BMCs are reached, for `doit power` and `doit console`, see below;"
            " groups and nodes can say otherwise, key by key",
            default="none",
        ),
    ] = Management()
    trust: Annotated[
        Trust | None,
        Key(
            Trust,
            "who must have signed what servers hold",
        ),
    ] = None
    secrets: Annotated[
        dict[str, SecretKeys],
        Key(
            MapOf(Text("name"), SecretKeys),
            "what nodes need and nobody else may have, by name",
            "what nodes need and nobody else may have, by name: see below",
        ),
    ] = {}
    secrets_store: Annotated[
        str | None,
        Key(
            PathHere(),
            "the folder of the machine that deploys with nodes' public keys and kept host keys",
            "a folder of the machine that deploys, outside build/, which it makes and nobody else"
            " may enter: nodes' public keys, kept host keys, and what is known of each secret",
            examples=("/etc/plugnode/secrets",),
        ),
    ] = None
    ssh_host_keys: Annotated[
        str,
        Key(
            Choice("own", KEPT),
            "whether nodes make their ssh host keys, or deploy does and keeps them",
            "`own`: a node makes them, on its disk; `kept`: `deploy` makes an Ed25519 key for each"
            " node, keeps it in `secrets_store`, and it goes to the node as secrets do",
        ),
    ] = "own"
    upgrade: Annotated[
        Upgrade | None,
        Key(
            Upgrade,
            "how doit upgrade drains nodes, where that is not by Slurm",
            "how `doit upgrade` drains nodes, where that is not by Slurm: see"
            " [servers.md](servers.md)",
        ),
    ] = None


# Models made of rows


def _type(row: Row) -> Any:
    wanted = _type_of(row.key.kind)
    return wanted | None if _may_be_left_out(row) else wanted


def _may_be_left_out(row: Row) -> bool:
    """A layer need not say what others say, or nobody; `cmdline` is then an addition of nothing."""
    return row.default is None or row.key.optional or row.key.merge not in ("", APPEND)


def _field(row: Row) -> Any:
    """The row's default, bounds and help, for pydantic."""
    key = row.key
    more: dict[str, Any] = {"description": key.help, "examples": list(key.examples) or None}
    if isinstance(key.kind, (ListOf, MapOf)):
        more["min_length"] = key.kind.least or None
    if isinstance(key.kind, ListOf):
        more["max_length"] = key.kind.most or None
    if _may_be_left_out(row):
        more["default"] = None
    elif row.default is REQUIRED:
        pass
    elif isinstance(key.kind, type):
        more["default_factory"] = MODELS[key.kind]
    elif isinstance(key.kind, MapOf):
        more["default_factory"] = dict  # a default that can change pydantic copies, by deepcopy
        more["json_schema_extra"] = {"default": {}}
    else:
        more["default"] = row.default
    return Field(**more)


def _type_of(kind: Any) -> Any:
    """What pydantic checks of a kind."""
    if isinstance(kind, type):
        return MODELS[kind]
    if isinstance(kind, ListOf):
        return GenericAlias(list, _type_of(kind.each))
    if isinstance(kind, MapOf):
        mapping = GenericAlias(dict, (_type_of(kind.names), _type_of(kind.each)))
        return Annotated[mapping, WrapValidator(_each_once)]
    if isinstance(kind, Text):
        return _text(kind.check, kind.number)
    return SCALARS[type(kind)](kind)


def _each_once(given: Any, check: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """No two keys are the same when they are put in one form, as `etc/x` and `/etc/x` are."""
    found = check(given)
    if len(found) < len(given):
        name = next(name for name in given if name not in found)
        raise InvalidValue(f"says the same twice, once as {name}", "keep one of them")
    return found


@functools.lru_cache(None)
def _text(name: str, number: bool) -> Any:
    """Text that a function of `values` converts, with its pattern for editors."""
    check = getattr(values, name)
    schema: dict[str, Any] = {"type": ["string", "number"] if number else "string"}
    if hasattr(check, "pattern"):
        schema["pattern"] = check.pattern
    checks = [] if check in LATER else [AfterValidator(check)]
    return Annotated[str, *checks, WithJsonSchema(schema)]


def _one_or_list(kind: OneOrList) -> Any:
    each = _type_of(kind.each)
    several = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
    schema = {"type": ["string", "array"], "items": {"type": "string"}}
    if pattern := getattr(getattr(values, kind.each.check), "pattern", ""):
        schema["pattern"] = pattern
    listed = GenericAlias(list, each)
    return Annotated[listed, several, Field(min_length=1), WithJsonSchema(schema)]


def _choice(kind: Choice) -> Any:
    check = AfterValidator(choice(*kind.words))
    return Annotated[str, check, WithJsonSchema({"enum": list(kind.words)})]


def _whole(kind: Whole) -> Any:
    check = BeforeValidator(_from_text(whole(kind.least, kind.most)))
    schema = {"type": "integer", "minimum": kind.least, "maximum": kind.most}
    return Annotated[int, check, WithJsonSchema(schema)]


def _boolean(_: Boolean) -> Any:
    check = BeforeValidator(_from_text(boolean))
    return Annotated[bool, check, WithJsonSchema({"type": "boolean"})]


SCALARS: dict[type, Callable[[Any], Any]] = {
    Choice: _choice,
    Whole: _whole,
    Boolean: _boolean,
    OneOrList: _one_or_list,
}


def _from_text(check: Callable[[str], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            raise InvalidValue(f"expected a string, got {kind_of(value)}", "write one value")
        return check(value)

    return convert


ROWS: dict[str, dict[str, Row]] = {}  # of every kind of mapping, by its name in the editors' schema
MODELS: dict[type, type[Section]] = {}  # by the class of the values, else of the keys


def _model(
    name: str,
    values: type,
    found: dict[str, Row],
    described: str | None = None,
) -> type[Section]:
    """The model of a mapping by its keys."""
    ROWS[name] = found
    fields = {key: (_type(row), _field(row)) for key, row in found.items()}
    in_one_line = " ".join((described or "").split()) or None
    make: Callable[..., type[Section]] = create_model
    made = make(name, __base__=Section, __doc__=in_one_line, **fields)
    MODELS[values] = made
    return made


OF_NODES = rows(Node)  # settings of groups and nodes
SHARED = {name: row for name, row in OF_NODES.items() if row.key.of_image}  # of images, too

_model("Network", Network, rows(Network))
_model("Server", Server, rows(Server))
_model("Bootstrap", BootstrapKeys, rows(BootstrapKeys))
_model("Reference", Reference, rows(ReferenceKeys), ReferenceKeys.__doc__)
_model("Initrd", Initrd, rows(Initrd))
_model("Nfs", NfsMount, rows(NfsMount))
_model("Partition", Partition, rows(Partition))
_model("Match", DiskMatch, rows(DiskMatch))
_model("Raid", Raid, rows(Raid))
_model("Disk", Disk, rows(Disk))
_model("Image", Image, rows(Image) | SHARED | rows(Image))
_model("Password", Password, rows(Password), Password.__doc__)
_model("Management", Management, rows(Management))
_model("Group", GroupKeys, OF_NODES, GroupKeys.__doc__)
_model("Bond", Bond, rows(Bond))
_model("Interface", Interface, rows(Interface) | rows(InterfaceKeys), InterfaceKeys.__doc__)
_model("Node", NodeKeys, OF_NODES | rows(NodeKeys), NodeKeys.__doc__)
_model("Deploy", Deploy, rows(Deploy))
_model("SecureBoot", SecureBoot, rows(SecureBoot))
_model("Trust", Trust, rows(Trust))
_model("SecretSource", SecretSource, rows(SecretSource), SecretSource.__doc__)
_model("Secret", SecretKeys, rows(SecretKeys), SecretKeys.__doc__)
_model("Upgrade", Upgrade, rows(Upgrade))
SiteFile = _model("Site", SiteKeys, rows(SiteKeys), SiteKeys.__doc__)


def json_schema() -> dict[str, Any]:
    """JSON Schema of `site.yaml`."""
    schema = SiteFile.model_json_schema(ref_template="#/definitions/{model}")
    return {**HEAD, **_plainer(schema)}


def _plainer(value: Any) -> Any:
    """Without what draft 7 or its editors do not know.

    `$defs`, null as a choice, defaults of nothing, titles.
    """
    if isinstance(value, list):
        return [_plainer(one) for one in value]
    if not isinstance(value, dict):
        return value
    options = [option for option in value.get("anyOf", ()) if option != NULL]
    if len(options) == 1:
        value = {**value, **options[0]}
    if "patternProperties" in value:
        value = {**value, "additionalProperties": False}
    plainer = {}
    for key, part in value.items():
        if _is_known(key, part):
            plainer[NAMES.get(key, key)] = _plainer(part)
    return plainer


def _is_known(key: str, part: Any) -> bool:
    return key not in ("anyOf", "title") and (key, part) != ("default", None)
