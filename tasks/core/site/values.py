"""What each kind of text in `site.yaml` may look like: allow-lists, matched whole, ASCII only.

Every function takes the text as written and gives the value, or raises InvalidValue. What is
allowed here cannot end a line, a quoted string or a block in any file that we generate.
"""

from __future__ import annotations

import difflib
import functools
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..dhcp import options
from ..release import ID_END, ends_as_id
from .model import Mac

Check = TypeVar("Check", bound=Callable[[str], Any])


class InvalidValue(ValueError):
    """`what` is wrong with a value, and a `hint` what to do."""

    def __init__(self, what: str, hint: str):
        super().__init__(what, hint)
        self.what, self.hint = what, hint


def editors(pattern: str) -> Callable[[Check], Check]:
    """Gives a check the `pattern` that an editor can hold against a text while one types."""

    def with_pattern(check: Check) -> Check:
        check.pattern = pattern  # type: ignore[attr-defined]
        return check

    return with_pattern


def text(pattern: str, what: str, hint: str, longest: int = 255) -> Callable[[str], str]:
    """A check that a whole text matches `pattern` and is not longer than `longest` characters.

    The check has the `pattern` as an attribute, for editors.
    """
    matches = re.compile(pattern, re.ASCII).fullmatch

    def check(value: str) -> str:
        if len(value) > longest:
            raise InvalidValue(f"{what}: longer than {longest} characters", hint)
        if not matches(value):
            raise InvalidValue(_odd_character(value) or what, hint)
        return value

    return editors(f"^(?:{pattern})$")(check)


def choice(*allowed: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in allowed:
            raise InvalidValue("unknown value", suggestion(value, allowed))
        return value

    return check


def suggestion(value: str, known: Iterable[str]) -> str:
    """What to do about an unknown word: the nearest known one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(value.lower(), known, 1, 0.6) if len(known) < 1000 else []
    if near:
        return f'did you mean "{near[0]}"?'
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"known: {listed}" if known else "there are none"


def _odd_character(value: str) -> str | None:
    """Names a character that would end a line, string or block somewhere: no text may have it."""
    odd = re.search(r"[^ -~]|[\"'\\{}`$;#<>|&]", value)
    if not odd:
        return None
    sign = odd.group()
    return f"character {sign if ' ' < sign <= '~' else f'U+{ord(sign):04X}'} not allowed"


# Names

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
RESERVED_HOSTS = {"localhost", "default", "broadcasthost", "ip6-localhost", "ip6-loopback"}
RESERVED_IMAGES = {
    "boot",
    "checks.json",
    "configs",
    "hooks.img",
    "plan.json",
    "references",
    "site.img",
    "report.html",
    "signatures",
    "site",
}
_is_label = re.compile(_LABEL, re.ASCII).fullmatch
_is_any_host = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII | re.IGNORECASE).fullmatch
_like_address = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII).fullmatch
# where a name may stand, too
_word_of_dnsmasq = re.compile(r"infinite|ignore|[0-9]+[smhdw]", re.ASCII).fullmatch
_name = text(
    r"[A-Za-z0-9][A-Za-z0-9._-]*",
    "not a name",
    "use letters, digits and . _ -, beginning with a letter or digit",
    63,
)


@editors(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
def host(value: str) -> str:
    """A host name of one label (RFC 1123), lower case: two spellings would be two nodes."""
    if value in RESERVED_HOSTS:
        raise InvalidValue("reserved name", "give the machine another one")
    if not _is_label(value):
        raise InvalidValue(
            _not_a_host(value),
            "use 1 to 63 lower-case letters, digits and inner hyphens, without the domain",
        )
    if _like_address(value):
        raise InvalidValue(
            "not an RFC 1123 host name: programs read it as an address",
            "begin with a letter",
        )
    if _word_of_dnsmasq(value):
        raise InvalidValue(
            "reserved name: dnsmasq reads it as a keyword or a time",
            "give the machine another one",
        )
    return value


def _not_a_host(value: str) -> str:
    odd = _odd_character(value)
    return f"not an RFC 1123 host name: {odd} in a name" if odd else "not an RFC 1123 host name"


@editors(r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$")
def domain(value: str) -> str:
    value = value.lower()
    if len(value) > 189 or not re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", value, re.ASCII):
        raise InvalidValue(
            "not an RFC 1123 domain name",
            "write it as grid.example.org, with at most 189 characters",
        )
    return value


@editors(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
def image_name(value: str) -> str:
    """Names folders and boot files.

    `build/<image>/`, `<image>-<12 hex digits>/`, `plugnode/<image>.cfg`.
    """
    if value in RESERVED_IMAGES:
        raise InvalidValue(
            "reserved name",
            "the build folder or the TFTP root has that name already; choose another",
        )
    _image_text(value)
    if ends_as_id(value):
        raise InvalidValue("reads as the id of a release", "leave the 12 hex digits out")
    return value


_image_text = text(
    r"[a-z0-9](?:[a-z0-9-]|\.(?!\.))*(?<![.-])",
    "not an image name",
    "use lower-case letters, digits, - and .",
    63,
)


@editors(rf"^[a-z0-9][a-z0-9.-]*{ID_END}$")
def release_id(value: str) -> str:
    if not re.fullmatch(rf"[a-z0-9][a-z0-9.-]*{ID_END}", value, re.ASCII):
        raise InvalidValue(
            "not a release id",
            "write IMAGE-<12 hex digits>, as `doit status` lists them",
        )
    return value


NEWEST = "newest"


@editors(rf"^(newest|[a-z0-9][a-z0-9.-]*{ID_END})$")
def release_or_newest(value: str) -> str:
    """A pin, or the word that takes back one of a layer below."""
    return value if value == NEWEST else release_id(value)


@editors(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
def name(value: str) -> str:
    """Of a group or an overlay."""
    if ".." in value:
        raise InvalidValue("not a name", "leave the .. out")
    return _name(value)


@editors(r"^(?!(force|foreign):?$)[A-Za-z0-9._:-]+$")
def wipe_token(value: str) -> str:
    if value == "-":
        raise InvalidValue("not a token", "- means none; leave the key out")
    if value.rstrip(":") in ("force", "foreign"):  # a token like any other, it would wipe all disks
        raise InvalidValue("half a token", "say force:SERIAL, foreign:WORD, or any other word")
    return _token(value)


_token = text(
    r"[A-Za-z0-9._:-]+",
    "not a token",
    "use letters, digits and . _ : -, such as a date",
    64,
)


# Facts

_fact_name = text(
    r"[A-Za-z][A-Za-z0-9_.-]*",
    "not the name of a fact",
    "use letters, digits and . _ -, beginning with a letter",
    63,
)


@editors(r"^[A-Za-z][A-Za-z0-9_.-]*$")
def fact_name(value: str) -> str:
    """Every inventory can have it: no word that one of them has a meaning for."""
    if value in RESERVED_FACTS:
        raise InvalidValue("reserved name", "all outputs have that of a node by themselves")
    return _fact_name(value)


RESERVED_FACTS = frozenset(("all", "groups", "image", "name", "node", "site"))
fact = text(
    r"[A-Za-z0-9._:/+@=()*,~^!?\[\]-]+(?: [A-Za-z0-9._:/+@=()*,~^!?\[\]-]+)*",
    "not a fact",
    "use printable words with single spaces between; no quotes, and none of \\ { } ; # $ < > | & %",
    255,
)


# Network

_colons = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.ASCII).fullmatch
_any_mac = re.compile(
    r"""[0-9a-f]{2}(?::[0-9a-f]{2}){5} | [0-9a-f]{2}(?:-[0-9a-f]{2}){5}
      | [0-9a-f]{4}(?:\.[0-9a-f]{4}){2} | [0-9a-f]{12}""",
    re.ASCII | re.VERBOSE,
).fullmatch
_octet = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_SHOWN_OCTET = _octet.replace("?:", "")
_is_ipv4 = re.compile(rf"{_octet}(?:\.{_octet}){{3}}", re.ASCII).fullmatch
UNUSABLE = (
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)


@editors(r"^([0-9A-Fa-f]{2}([:-]?[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2})$")
def mac(value: str) -> Mac:
    """An Ethernet address in any common spelling, as Mac."""
    value = value if _colons(value) else _plain_mac(value)
    if int(value[:2], 16) & 1:
        if value == "ff:ff:ff:ff:ff:ff":
            raise InvalidValue(
                "reserved MAC: broadcast",
                "read the card's own address from its label or `ip link`",
            )
        raise InvalidValue(
            "multicast MAC cannot be a network card's",
            "the first pair must be even; read it from `ip link`",
        )
    if value == "00:00:00:00:00:00":
        raise InvalidValue(
            "reserved MAC: all zero",
            "read the card's own address from its label or `ip link`",
        )
    return Mac(value)


def _plain_mac(value: str) -> str:
    if not _any_mac(value.lower()) or not value.isascii():
        raise InvalidValue(
            "not a MAC address",
            "write six pairs of hex digits, as in 52:54:00:12:34:56",
        )
    digits = re.sub(r"[:.-]", "", value.lower())
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


@editors(rf"^{_SHOWN_OCTET}(\.{_SHOWN_OCTET}){{3}}$")
def ipv4(value: str) -> str:
    """A dotted IPv4 address that a machine can have.

    Stricter than inet_aton, which takes 010.1, 0x7f.1 and 1.2.3.
    """
    if not _is_ipv4(value):
        if ":" in value and re.fullmatch(r"[0-9a-fA-F:.]+", value):
            raise InvalidValue(
                "not an IPv4 address",
                "IPv4 only; write four decimal numbers, as in 172.24.10.1",
            )
        raise InvalidValue(
            "not an IPv4 address",
            "write four decimal numbers without leading zeros, as in 172.24.10.1",
        )
    first = int(value.split(".", 1)[0])
    if first in (0, 127, 169) or first >= 224:
        _usable(ipaddress.IPv4Network(value))
    return value


@editors(r"^[0-9A-Fa-f.:]+$")
def address(value: str) -> str:
    """An IPv4 or IPv6 address that another machine can have, as it is written shortest."""
    if ":" not in value:
        return ipv4(value)
    try:
        found = ipaddress.IPv6Address(value)
    except ValueError:
        raise InvalidValue("not an IP address", "write it as 10.1.0.250 or 2001:db8::250") from None
    nobody = found.is_loopback or found.is_unspecified or found.is_multicast
    if "%" in value or nobody or found.ipv4_mapped:
        raise InvalidValue(
            "not usable: no other machine's address", "write it as 10.1.0.250 or 2001:db8::250"
        )
    return str(found)


@editors(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")
def any_host(value: str) -> str:
    """A host name with or without its domain, of whatever machine."""
    if value in RESERVED_HOSTS or value.startswith("localhost."):
        raise InvalidValue("reserved name", "nodes have it as it is")
    if len(value) > 253 or not _is_any_host(value) or _like_address(value.rpartition(".")[2]):
        raise InvalidValue("not an RFC 1123 host name", "write it as nas01 or nas01.example.org")
    return value


@functools.lru_cache(maxsize=None)  # each is asked for by several rules
def number(address: str) -> int:
    """An IPv4 address as one number: its place in the order of addresses."""
    a, b, c, d = address.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


@editors(r"^[0-9.]+/[0-9]+$")
def subnet(value: str) -> str:
    address, slash, bits = value.partition("/")
    if not slash or not _is_ipv4(address):
        raise InvalidValue("not an IPv4 subnet", "IPv4 only; write it as 172.24.10.0/24")
    if _is_ipv4(bits):
        raise InvalidValue("not an IPv4 subnet", _meant_network(value))
    if not re.fullmatch(r"[1-9]?[0-9]", bits, re.ASCII) or int(bits) > 32:
        raise InvalidValue(
            "not an IPv4 subnet",
            "write the prefix as a number, as in 172.24.10.0/24",
        )
    if not 8 <= int(bits) <= 30:
        size = "small" if int(bits) > 30 else "large"
        what = f"/{bits} is too {size} for a subnet of nodes"
        raise InvalidValue(what, "prefixes from /8 to /30 can be used")
    network = ipaddress.IPv4Network(value, strict=False)
    if str(network) != value:
        raise InvalidValue("has host bits set", f"did you mean {network}?")
    _usable(network)
    return value


@editors(r"^[0-9A-Fa-f.:]+/[0-9]+$")
def subnet6(value: str) -> str:
    """An IPv6 network of other machines, as it is written shortest."""
    example = "write it as 2001:db8:10::/64"
    start, _, bits = value.partition("/")
    try:
        network = ipaddress.IPv6Network(value, strict=False)
    except ValueError:
        raise InvalidValue("not an IPv6 subnet", example) from None
    if "%" in value or not bits.isdecimal() or not 16 <= int(bits) <= 126:
        raise InvalidValue("not an IPv6 subnet of nodes", f"{example}, /16 to /126")
    if int(network.network_address) != int(ipaddress.IPv6Address(start)):
        raise InvalidValue("has host bits set", f"did you mean {network}?")
    if network.is_link_local or network.is_multicast:
        raise InvalidValue("not usable: no address of it leads to a server", example)
    return str(network)


def _meant_network(value: str) -> str:
    try:
        return f"did you mean {ipaddress.IPv4Network(value, strict=False)}?"
    except ValueError:
        return "write the prefix as a number, as in 172.24.10.0/24"


def _usable(network: ipaddress.IPv4Network) -> None:
    for range_, why in UNUSABLE:
        if network.overlaps(ipaddress.IPv4Network(range_)):
            raise InvalidValue(
                f"not usable: {why} ({range_})",
                "use an address of the nodes' own network",
            )


@editors(r"^[0-9.]+-[0-9.]+$")
def address_range(value: str) -> str:
    """First and last address, `172.24.10.200-172.24.10.250`."""
    first, _, last = value.partition("-")
    if not _is_ipv4(first) or not _is_ipv4(last):
        raise InvalidValue("not a range of addresses", "write it as 172.24.10.200-172.24.10.250")
    if number(first) > number(last):
        raise InvalidValue("range runs backwards", "write the lower address first")
    return value


network_name = editors(r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")(
    text(
        r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?",
        "not a network's name",
        "use 1 to 32 lower-case letters, digits and inner hyphens",
    )
)
interface_name = editors(r"^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$")(
    text(
        r"[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?",
        "not an interface's name",
        "use 1 to 15 lower-case letters, digits and inner hyphens: it ends a host name, wn001-bmc",
    )
)
_any_guid = re.compile(
    r"""(?:0x)?[0-9a-f]{16} | [0-9a-f]{4}(?::[0-9a-f]{4}){3}
      | [0-9a-f]{2}(?::[0-9a-f]{2}){7} | [0-9a-f]{2}(?:-[0-9a-f]{2}){7}""",
    re.ASCII | re.VERBOSE,
).fullmatch


@editors(r"^(0x)?[0-9A-Fa-f]{2}([:-]?[0-9A-Fa-f]{2}){7}$")
def guid(value: str) -> str:
    """The GUID of an InfiniBand port in any common spelling, as eight pairs with colons."""
    plain = value.lower()
    digits = re.sub(r"^0x|[:-]", "", plain)
    if not _any_guid(plain) or set(digits) == {"0"}:
        raise InvalidValue(
            "not the GUID of an InfiniBand port",
            "write its 16 hex digits, as `ibstat` prints them: 0x0002c9030031117b",
        )
    return ":".join(digits[at : at + 2] for at in range(0, 16, 2))


_pairs = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){0,63}", re.ASCII).fullmatch
_plain_id = text(
    r"[A-Za-z0-9][A-Za-z0-9._:/+@ -]*",
    "not an identifier of DHCP",
    "write text, or pairs of hex digits with colons: 01:52:54:00:12:34:56",
    64,
)


@editors(r"^[A-Za-z0-9][A-Za-z0-9._:/+@ -]*$")
def identifier(value: str) -> str:
    """A client's or a switch port's, as the pairs of hex digits that are sent."""
    if _pairs(value.lower()):
        return value.lower()
    return _plain_id(value).encode().hex(":")


@editors(r"^([a-z][a-z-]*|[0-9]{3})$")
def dhcp_option(value: str) -> str:
    """The name or number of a DHCP option that no key of ours is for."""
    if value in BY_KEY:
        raise InvalidValue("has a key of its own", f"write {BY_KEY[value]} of the network")
    if not options.is_option(value):
        known = ", ".join(options.KNOWN)
        raise InvalidValue(
            "no DHCP option that a site can give",
            f"known: {known}, and numbers from 128 on that have no meaning of their own",
        )
    return value


BY_KEY = {
    "routers": "gateway:",
    "domain-name-servers": "dns:",
    "domain-name": "domain:",
    "domain-search": "search:",
    "ntp-servers": "ntp:",
    "interface-mtu": "mtu:",
}
option_value = text(
    r"[A-Za-z0-9](?:[A-Za-z0-9._:/@=+ -]*[A-Za-z0-9./=])?|-?[0-9]+",
    "not a value of a DHCP option",
    "use letters, digits and . _ : / @ = + -",
)


_SSH = r"(?:[A-Za-z_][A-Za-z0-9._-]*@)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
ssh = text(
    _SSH,
    "not an ssh target",
    "write root@boot1 or a name of your ssh configuration (ports and keys go there)",
)
interface = editors(r"^[A-Za-z][A-Za-z0-9_.-]{0,14}$")(
    text(
        r"[A-Za-z][A-Za-z0-9_.-]*",
        "not the name of a network interface",
        "write it as eth0 (at most 15 characters)",
        15,
    )
)


# Paths

_SEGMENTS = r"(?:/[A-Za-z0-9._+@-]+)+"
_RULE = "use letters, digits and . _ + @ - between the slashes"
SYSTEM = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/lost+found",
        "/media",
        "/mnt",
        "/opt",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/srv",
        "/sys",
        "/tmp",
        "/usr",
        "/usr/local",
        "/var",
        "/var/cache",
        "/var/lib",
        "/var/lock",
        "/var/log",
        "/var/mail",
        "/var/opt",
        "/var/run",
        "/var/spool",
        "/var/tmp",
    ]
)
_NEVER_BELOW = re.compile(
    r"/(?:bin|boot|dev(?!/shm/)|etc|lib|lib32|lib64|libx32|proc|run|sbin|sys|usr(?!/local/))/",
)
_UNMOUNTABLE = re.compile(
    r"/(?:bin|boot|dev|etc|lib|lib32|lib64|libx32|proc|run|sbin|sys|usr(?!/local)|var\.ro)(?:/.*)?",
    re.ASCII,
)


@editors(r"^/[A-Za-z0-9._+@/-]*$")
def absolute(value: str) -> str:
    """An absolute path, with doubled and trailing slashes and `.` taken out."""
    if not value.startswith("/") or ".." in value.split("/"):
        raise InvalidValue("must be absolute without ..", "write the whole path, beginning with /")
    _odd = _odd_character(value)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    path = "/" + "/".join(parts)
    if path != "/" and not re.fullmatch(_SEGMENTS, path, re.ASCII):
        raise InvalidValue(_odd or "not a plain path", _RULE)
    if len(path) > 255:
        raise InvalidValue("path longer than 255 characters", "choose a shorter one")
    return path


@editors(r"^/[A-Za-z0-9._+@/-]*[A-Za-z0-9._+@-]/?$")
def deploy_root(value: str) -> str:
    path = absolute(value)
    if path in SYSTEM or _NEVER_BELOW.match(path + "/"):
        raise InvalidValue(
            "refuses a system directory",
            "name a folder of its own, such as /srv/plugnode",
        )
    return path


@editors("^/")
def target_file(value: str) -> str:
    path = absolute(value)
    if value.endswith("/") or path in SYSTEM:
        raise InvalidValue("is a directory", "name the file")
    return path


@editors("^/")
def absolute_file(value: str) -> str:
    """A file, or with a slash at its end a folder for several."""
    path = absolute(value)
    if path in SYSTEM:
        raise InvalidValue("is a directory of the system", "name a file, or a folder of its own")
    return path + "/" * value.endswith("/")


@editors(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
def output_file(value: str) -> str:
    """An output's word, or the name of one of its files: `constraints` looks it up."""
    return _name(value)


@editors(r"^(/[A-Za-z0-9._+@/-]*[A-Za-z0-9._+@-]/?|swap|image)$")
def mount_point(value: str) -> str:
    if value in ("swap", "image"):
        return value
    path = absolute(value)
    if path == "/" or _UNMOUNTABLE.fullmatch(path):
        raise InvalidValue(
            "not a mount point for a node's own disk",
            "the system lives there; use /var, /tmp, /home and the like",
        )
    return path


def relative(value: str) -> str:
    """A path inside a tree, with or without a leading slash: without one."""
    path = value.lstrip("/").rstrip("/")
    parts = path.split("/")
    if not path or ".." in parts or "." in parts or "" in parts:
        raise InvalidValue(
            "not a path inside the root",
            "write it as etc/some.key, without . and ..",
        )
    if len(path) > 255 or not re.fullmatch(r"[A-Za-z0-9._+@:=,%~*?\[\] /-]+", path, re.ASCII):
        raise InvalidValue(_odd_character(value) or "not a plain path", "write it as etc/some.key")
    return path


def local_file(value: str) -> str:
    path = relative(value)
    if not re.fullmatch(r"[A-Za-z0-9._+@:/-]+", path, re.ASCII):
        raise InvalidValue("not a plain path", "use letters, digits and . _ + @ : -")
    if path.split("/")[0] in ("var", "proc", "sys", "dev", "run", "tmp", "var.ro"):
        raise InvalidValue(
            "is a node's own already",
            "local_files are for paths of the shared root, such as etc/adjtime",
        )
    return path


def secret_path(value: str) -> str:
    """A file of the nodes, without its leading slash."""
    path = local_folder(value)
    first = path.partition("/")[0]
    if not value.startswith("/") or path == first:
        raise InvalidValue("not a path of a node", "write it as /etc/munge/munge.key")
    if first in ("proc", "sys", "dev", "run", "tmp", "var.ro"):
        raise InvalidValue("no place for a secret", "name one below /etc or /var, say")
    if not re.fullmatch(r"(?:.{1,155}/)?.{1,100}", path):  # of ustar, in which it comes (pax(1))
        raise InvalidValue("too long a path for a secret", "give it a shorter name")
    return path


private_mode = editors(r"^0?[4-7][0-7]0$")(
    text(r"0?[4-7][0-7]0", "not a mode of a secret", "write it as 0400 or 0640: none for others", 4)
)
owner = text(
    r"[a-z_][a-z0-9_-]{0,31}(?::[a-z_][a-z0-9_-]{0,31})?",  # as long as useradd(8) makes them
    "not a user",
    "write it as munge, or as munge:munge",
    65,
)


def argument(value: str) -> str:
    """A word of a command that no shell sees."""
    if not value or not value.isascii() or not value.isprintable():
        raise InvalidValue("not an argument", "write one word or text of a line")
    return value


def tree_folder(value: str) -> str:
    return "/" + local_folder(value.lstrip("/"))


def local_folder(value: str) -> str:
    path = relative(value)
    if not re.fullmatch(r"[A-Za-z0-9._+@:/-]+", path, re.ASCII):
        raise InvalidValue("not a plain path", "use letters, digits and . _ + @ : -")
    return path


def exclude(value: str) -> str:
    """An rsync pattern as --exclude takes it.

    `+ x` keeps what a later one would take; other rules are refused.
    """
    pattern = value[2:] if value.startswith(("+ ", "- ")) else value
    is_rule = re.match(r"[!;#]|[:.] ", pattern)
    if is_rule or pattern != pattern.strip() or ".." in pattern.split("/"):
        raise InvalidValue(
            "not an exclude pattern",
            "write a path or pattern such as /scratch/* or *.tmp",
        )
    if pattern.strip("/*") == "":
        raise InvalidValue(
            "takes nothing or everything",
            "write a path or pattern such as /scratch/* or *.tmp",
        )
    return _pattern(value)


_pattern = text(r"[ -~]+", "not an exclude pattern", "use printable ASCII", 1024)


def here(value: str) -> str:
    """A path on this machine, absolute or from the site file's folder."""
    if value.startswith("~"):
        raise InvalidValue(
            "~ is not expanded",
            "write the path from / or from the site file's folder",
        )
    return _here(value)


_here = text(
    r"[A-Za-z0-9._+@:=,%~ /-]+",
    "not a plain path",
    "use letters, digits and . _ + @ : = , % ~ - /",
    1024,
)


def signing_key(value: str) -> str:
    """A private key: a path on this machine, or a key on a token (RFC 7512)."""
    if not value.startswith("pkcs11:"):
        return here(value)
    if "pin-value=" in value:
        raise InvalidValue("a PIN in site.yaml", "write pin-source=FILE, or type it when asked")
    return _pkcs11(value)


_pkcs11 = text(
    r"pkcs11:[A-Za-z0-9._~%=;:/?&,+@-]+",
    "no PKCS#11 URI",
    "write it as pkcs11:token=site;object=secure-boot",
    1024,
)


def base(value: str) -> str:
    return value if value in ("auto", "none") else _file_here(value, "auto, none")


def busybox(value: str) -> str:
    return value if value == "auto" else _file_here(value, "auto")


def _file_here(value: str, words: str) -> str:
    if "/" not in value or value.endswith("/"):
        raise InvalidValue(
            "not a file's path",
            f"use {words}, or a path such as ./name or /folder/name",
        )
    return here(value)


_partition = re.compile(
    r"""( /dev/ (?: (?:[shv]|xv)d[a-z]+ (?=[0-9])
                  | (?:nvme[0-9]+n[0-9]+|mmcblk[0-9]+|nbd[0-9]+|cciss/c[0-9]+d[0-9]+) (?=p[0-9])
                  | disk/by-[a-z-]+/.+ (?=-part[0-9]) ) ) (?:-part|p)?[0-9]+""",
    re.ASCII | re.VERBOSE,
).fullmatch


@editors("^/dev/")
def device(value: str) -> str:
    """A whole disk. `*` and `?` make a pattern, such as /dev/disk/by-id/ata-*."""
    is_path = re.fullmatch(r"/dev(?:/[A-Za-z0-9_][A-Za-z0-9._:+@*?=-]*)+", value, re.ASCII)
    if not is_path or ".." in value:
        raise InvalidValue(_odd_character(value) or "not a disk", "write it as /dev/sda")
    partition = _partition(value)
    if partition:
        raise InvalidValue("is a partition", f"name the whole disk: {partition[1]}")
    return value


# Sources, kernels, arguments

_HOST = r"(?:[A-Za-z_][A-Za-z0-9._-]*@)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_TAIL = r"[A-Za-z0-9._+@%/-]*"
_MODULE = rf"{_HOST}::[A-Za-z0-9_]{_TAIL}"
oci = text(
    r"(?:\.{0,2}/[A-Za-z0-9._+/-]+"
    r"|[a-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?(?:/[a-z0-9][a-z0-9._-]*)+)"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    "not a container's image",
    "write registry.example.org/name:tag or ./layout, with @sha256:… behind it to pin it",
)
rsync = text(
    rf"{_HOST}:/{_TAIL}|{_MODULE}|rsync://{_HOST}(?::[0-9]{{1,5}})?/[A-Za-z0-9_]{_TAIL}",
    "not an rsync source",
    "write user@host:/path, host::module or rsync://host/module",
)
suite = text(r"[a-z0-9][a-z0-9.-]*", "not a suite", "write it as bookworm", 64)
package = text(
    r"@?[A-Za-z0-9][A-Za-z0-9+._:~=^/-]*",
    "not a package",
    "write its name, as in openssh-server",
    128,
)
mirror = editors("^(https?|file)://")(
    text(
        r"(?:https?|file)://[A-Za-z0-9._~:/%+@=-]+",
        "not a mirror",
        "write it as https://mirror.example.org/debian",
    )
)


@editors(r"^(auto|[0-9]+\.[0-9][A-Za-z0-9._+~-]*)$")
def kernel(value: str) -> str:
    if value == "auto":
        return value
    return _kernel(value)


_kernel = text(
    r"[0-9]+\.[0-9][A-Za-z0-9._+~-]*",
    "not a kernel version",
    "write auto, or it as in 6.1.0-30-amd64",
    64,
)


@editors(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
def module(value: str) -> str:
    if re.search(r"\.ko(?:\.(?:gz|xz|zst))?$", value):
        raise InvalidValue(
            "not a module's name",
            f'did you mean "{value.split("/")[-1].split(".ko")[0]}"?',
        )
    return _module(value)


_module = text(r"[A-Za-z0-9][A-Za-z0-9_-]*", "not a module's name", "write it as e1000e", 64)
_words = re.compile(r"[A-Za-z0-9 ._,:=/@%+~!\[\]*?^()-]*", re.ASCII).fullmatch
MAX_CMDLINE = 2047  # COMMAND_LINE_SIZE of x86 less its end; 255 on 2.6.18: `doit check` warns
OURS = re.compile(
    r"(?:^| )((?:root|nfsroot|initrd|BOOTIF|plugnode\.overlay|plugnode\.root_\w+)=)", re.ASCII
)


@editors(r"^[A-Za-z0-9 ._,:=/@%+~!\[\]*?^()-]*$")
def cmdline(value: str) -> str:
    """Kernel arguments as every loader passes them on: no quotes, no variables, no line breaks."""
    if len(value) > MAX_CMDLINE:
        raise InvalidValue(
            f"kernel command line too long: {len(value)} characters",
            f"the kernel takes {MAX_CMDLINE}",
        )
    if not _words(value):
        raise InvalidValue(
            f"kernel command line: {_odd_character(value)}",
            "write arguments with a space between, unquoted",
        )
    ours = OURS.search(value)
    if ours:
        raise InvalidValue(f"Plugnode itself gives {ours[1]}", "leave that argument out")
    return " ".join(value.split())


# Numbers

_UNITS = {"M": 1, "MiB": 1, "G": 1024, "GiB": 1024}
SMALLEST, LARGEST = 16, 16 * 2**20  # MiB; the end is ext3's, 16 TiB


@editors(r"^([0-9]+(M|MiB|G|GiB)|rest)$")
def size(value: str) -> int:
    """MiB of a partition; 0 for `rest`."""
    if value == "rest":
        return 0
    found = re.fullmatch(r"(-?[0-9]{1,18})([A-Za-z]*)", value, re.ASCII)
    if not found:
        raise InvalidValue("not a size", "write a whole number with M, MiB, G or GiB, or rest")
    if not found[2]:
        raise InvalidValue("a size without a unit", "write it as 6000M or 10G")
    if found[2] not in _UNITS:
        raise InvalidValue(f'unknown unit "{found[2]}"', "use M, MiB, G or GiB")
    mib = int(found[1]) * _UNITS[found[2]]
    if not SMALLEST <= mib <= LARGEST:
        raise InvalidValue("size out of range", "16M to 16384G can be used")
    return mib


@editors(r"^[0-9]+(M|MiB|G|GiB)$")
def memory_size(value: str) -> int:
    """MiB of a node's memory."""
    if value == "rest":
        raise InvalidValue("not a size", "write a whole number with M, MiB, G or GiB")
    return size(value)


_BYTES = {"M": 1, "G": 2**10, "T": 2**20}


def size_range(value: str) -> str:
    """`100G..2T`, `100G..`, `..2T`."""
    found = re.fullmatch(
        r"(?:([0-9]{1,9})([MGT])(?:iB)?)?\.\.(?:([0-9]{1,9})([MGT])(?:iB)?)?",
        value,
        re.ASCII,
    )
    if not found or value == "..":
        raise InvalidValue("not a range of sizes", "write it as 100G..2T, 100G.. or ..2T")
    least, unit, most, its_unit = found.groups()
    if least and most and int(least) * _BYTES[unit] > int(most) * _BYTES[its_unit]:
        raise InvalidValue("range start after its end", "write the smaller size first")
    return value.replace("iB", "")


def whole(least: int, most: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", value, re.ASCII):
            raise InvalidValue("not a whole number", f"write a number from {least} to {most}")
        if not least <= int(value) <= most:
            raise InvalidValue(f"out of range {least}..{most}", "choose a number in that range")
        return int(value)

    return check


def boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise InvalidValue("expected true or false", "write one of these words")
    return value == "true"


# Disks

serial = text(
    r"[A-Za-z0-9][A-Za-z0-9._-]*",
    "not a serial number",
    "write it as `lsblk -o SERIAL` prints it",
    64,
)
by_id = text(
    r"[A-Za-z0-9*?][A-Za-z0-9._:+@=*?-]*",
    "not a name below /dev/disk/by-id",
    "write the name alone; * and ? match",
    128,
)
label = text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "not a label", "use letters, digits and . _ -", 16)
mode = editors(r"^[0-7]{3,4}$")(text(r"[0-7]{3,4}", "not a mode", "write octal digits, as in 1777"))
FSTAB_ONLY = (
    "auto",
    "noauto",
    "nofail",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "defaults",
    "_netdev",
    "remount",
)


def mount_options(value: str) -> str:
    for option in _mount_options(value).split(","):
        if option in FSTAB_ONLY or option.startswith("x-"):
            raise InvalidValue(
                f"{option} is for /etc/fstab, and has no effect here", "leave it out"
            )
    return value


_mount_options = text(
    r"[A-Za-z0-9_=.:+%-]+(,[A-Za-z0-9_=.:+%-]+)*",
    "not mount options",
    "write them by commas, as noatime,nosuid",
    200,
)


nfs_version = editors(r"^(3|4\.1|4\.2)$")(choice("3", "4.1", "4.2"))
NFS_OURS = (
    "ro rw vers nfsvers v3 v4 v4.1 v4.2 proto tcp udp rdma addr clientaddr lock nolock".split()
)


def nfs_options(value: str) -> str:
    """Options of nfs(5), but for those that decide what Plugnode itself says."""
    for option in _mount_options(value).split(","):
        name = option.partition("=")[0]
        if name in NFS_OURS:
            hint = "say vers:" if name in ("vers", "nfsvers") else "leave it out"
            raise InvalidValue(f"Plugnode itself gives {name}", hint)
        if name in FSTAB_ONLY or name.startswith("x-") or ":" in option:
            raise InvalidValue(f"{option} has no effect here", "leave it out")
    return value


_NFS_PLACE = re.compile(r"([0-9.]+):(/[A-Za-z0-9._+@/-]*)", re.ASCII)


@editors(r"^[0-9.]+:/[A-Za-z0-9._+@/-]*$")
def nfs_server(value: str) -> str:
    """ADDRESS:/PATH, as nodes are told it."""
    found = _NFS_PLACE.fullmatch(value)
    if not found:
        raise InvalidValue("not ADDRESS:/PATH", "write it as 172.24.10.5:/vol/roots")
    path = found[2].rstrip("/")
    if "//" in path or ".." in path.split("/"):
        raise InvalidValue("not a plain path", "write it as 172.24.10.5:/vol/roots")
    return f"{ipv4(found[1])}:{path or '/'}"


_SEC, _XPRTSEC = "(?:sys|krb5|krb5i|krb5p)", "(?:none|tls|mtls)"
_OPTION = rf"(?:sec={_SEC}(?::{_SEC})*|xprtsec={_XPRTSEC}(?::{_XPRTSEC})*)"


@editors(rf"^{_OPTION}(,{_OPTION})?$")
def export_options(value: str) -> str:
    """Of exports(5) those that say how a client must prove who it is; each once."""
    names = [option.partition("=")[0] for option in value.split(",")]
    if not _export_options(value) or len(set(names)) < len(names):
        raise InvalidValue(
            "not options of exports(5) that can be given here",
            "write sec=krb5p, xprtsec=tls or both, with a comma",
        )
    return value


_export_options = re.compile(rf"{_OPTION}(?:,{_OPTION})?", re.ASCII).fullmatch


_RATES = {"Mbit": 10**6, "Gbit": 10**9}  # bits a second
SLOWEST, FASTEST = 10 * 10**6, 10**12


@editors(r"^[1-9][0-9]{0,5}(Mbit|Gbit)$")
def bandwidth(value: str) -> int:
    """Bits a second, as tc(8) writes them. With less than 10Mbit, 32 servers would time out."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([A-Za-z/]*)", value, re.ASCII)
    if not found or found[2] not in _RATES:
        raise InvalidValue("not a bandwidth", "write it in bits a second, as 400Mbit or 1Gbit")
    bits = int(found[1]) * _RATES[found[2]]
    if not SLOWEST <= bits <= FASTEST:
        raise InvalidValue("bandwidth out of range", "10Mbit to 1000Gbit can be used")
    return bits


def loader_name(value: str) -> str:
    """A file below tftp_root, where it cannot take the place of a generated one."""
    _loader_name(value)
    top = value.split("/")[0]
    ours = top in ("plugnode", "pxelinux.cfg") or ends_as_id(top)
    if ours or value in ("grub/grub.cfg", "boot.ipxe"):
        raise InvalidValue("not a loader's file", "the boot files have that name; choose another")
    return value


_loader_name = text(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}",
    "not a loader's file",
    "write it as pxelinux.0",
)


# Texts that are checked later, with what they belong to


@editors(r"^[ -~]*[!-~][ -~]*$")
def command(value: str) -> str:
    """A command of sh(1), which nobody reads before it is run."""
    if not value.strip() or not value.isascii() or not value.isprintable():
        raise InvalidValue("not a command", "write one line, as sh would take it")
    return value


variable = text(
    r"[A-Za-z_][A-Za-z0-9_]*",
    "not a variable of the environment",
    "use letters, digits and _, as in BMC_PASSWORD",
)
bmc_system = text(
    r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    "not the name of a system",
    "write it as its Redfish has it after /Systems/",
)
bmc_user = text(
    r"[A-Za-z0-9_.@+-]+",
    "not a user's name",
    "use letters, digits and . _ @ + -",
    64,
)


def any_text(value: str) -> str:
    """The name of another part: `constraints` looks it up."""
    return value


@editors(r"^[a-z0-9\[][a-z0-9.,/\[\]-]*$")
def node_names(value: str) -> str:
    """A node's name, or a range of names: `nodes` reads them."""
    return value


@editors(r"^[0-9.\[\],/-]+$")
def addresses(value: str) -> str:
    """A node's address, or a range of them."""
    return value


@editors(r"^[A-Za-z0-9\[][A-Za-z0-9.,/\[\]-]*$")
def aliases(value: str) -> str:
    """A further name of a node, or a range of them: `nodes` reads them."""
    return value


@editors(r"^[0-9A-Fa-f:.\[\],/-]+$")
def addresses6(value: str) -> str:
    """A node's IPv6 address, or a range of them."""
    return value


@editors(r"^[0-9A-Fa-f.:]+$")
def ipv6(value: str) -> str:
    if ":" not in value:
        raise InvalidValue("not an IPv6 address", "write it as 2001:db8::110")
    return address(value)


LATER = frozenset((any_text, node_names, addresses, addresses6, aliases))
