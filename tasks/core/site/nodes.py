"""Nodes one by one: the names, MACs and addresses that the keys of `nodes:` stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from ..base import nodeset
from ..base.text import counted
from . import values
from .model import Mac
from .schema import Section
from .values import InvalidValue

Path = tuple[Any, ...]
PLAIN = {"mac", "ip", "image", "groups"}  # all that most nodes say


class Complain(Protocol):
    """Takes what is wrong at a place, and what to do; `key`: with the key, not with its value."""

    def __call__(
        self,
        path: Path,
        what: str,
        hint: str,
        value: object = None,
        key: bool = False,
    ) -> None: ...

    def line(self, path: Path) -> int: ...


class Card(NamedTuple):
    """An interface of one node. What is wrong with it is None, and was complained about."""

    path: Path
    place: int | None  # in a range; None for a node of its own
    name: str
    ip: str | None
    mac: Mac | None
    guid: str | None
    ip6: str | None
    said: Section

    def at(self, field: str) -> Path:
        """Where its `ip`, `mac` or `guid` stands."""
        several = f"{field}s"
        if several in self.said.model_fields_set:
            return (*self.path, several, self.place or 0)
        return (*self.path, field)


class Member(NamedTuple):
    """One node of a key of `nodes:`. What is wrong with it is None, and was complained about."""

    key: str
    place: int | None  # in a range; None for a node of its own
    name: str
    macs: tuple[Mac, ...]  # of one node all its cards; none: not known yet, or wrong
    ip: str | None
    said: Section
    cards: tuple[Card, ...] = ()
    guid: str | None = None
    ip6: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def ip_path(self) -> Path:
        return ("nodes", self.key, "ip")

    def mac_path(self, at: int) -> Path:
        """Where the MAC of one of its cards stands."""
        if self.said.macs is None:
            return ("nodes", self.key, "mac")
        return ("nodes", self.key, "macs", at if self.place is None else self.place)


def members(nodes: dict[str, Section | None], complain: Complain) -> list[Member]:
    """Every node, in the order of the file."""
    found: list[Member] = []
    for key, said in nodes.items():
        if said is None:
            continue
        if said.mac and said.model_fields_set <= PLAIN and not nodeset.is_range(key):
            found.append(_single(key, said, complain))
        else:
            found += _of_key(key, said, complain)
    return found


def _of_key(key: str, said: Section, complain: Complain) -> Iterator[Member]:
    """The nodes of one key, with all that they may have."""
    if nodeset.is_range(key) or said.mac is None or said.model_fields_set & {"macs", "guids"}:
        found = list(_range(key, said, complain))
    else:
        found = [_single(key, said, complain)]
    if said.aliases:
        found = _with_aliases(key, found, complain)
    if said.ip6:
        six = _addresses6(("nodes", key, "ip6"), said.ip6, len(found), complain)
        found = [node._replace(ip6=_at(six, at)) for at, node in enumerate(found)]
    return _with_cards(key, said, found, complain)


def _with_aliases(key: str, found: list[Member], complain: Complain) -> list[Member]:
    """The nodes of a key with their further names, of a range one of each."""
    names: list[list[str]] = [[] for _ in found]
    for at, text in enumerate(found[0].said.aliases if found else ()):
        path = ("nodes", key, "aliases", at)
        count = _count(text, path, complain) if text else 0
        if count and count != len(found):
            what = f"{_nodes(len(found))}, but {counted(count, 'alias')}"
            complain(path, what, "write one for each, as in gpu[01-40]", text)
        if count != len(found):
            continue
        one_each = nodeset.expand_nodes(text) if nodeset.is_range(text) else [text]
        for own, alias in zip(names, one_each):
            if _checked(values.any_host, alias, path, complain):
                own.append(alias)
    return [member._replace(aliases=tuple(own)) for member, own in zip(found, names)]


def _single(key: str, said: Section, complain: Complain) -> Member:
    try:
        name, ip = values.host(key), values.ipv4(said.ip)
        return Member(key, None, name, (said.mac,), ip, said, guid=said.guid)
    except (InvalidValue, TypeError):  # an address that is missing
        path = ("nodes", key)
        _name(key, path, complain)
        ip = _checked(_address, said.ip, (*path, "ip"), complain)
        return Member(key, None, key, (said.mac,), ip, said)


def _name(name: str, path: Path, complain: Complain) -> None:
    """Complain about a name that no machine can have."""
    try:
        values.host(name)
    except InvalidValue as wrong:
        complain(path, wrong.what, wrong.hint, name, key=True)


def _address(text: str | None) -> str | None:
    if text and nodeset.is_range(text):
        what = "a range of addresses for one node"
        raise InvalidValue(what, "write one address, or make the name a range: wn[001-040]")
    return None if text is None else values.ipv4(text)


Check = Callable[[Any], Any]


def _checked(check: Check, value: Any, path: Path, complain: Complain) -> Any:
    """`value` as `check` gives it; None, and a complaint, where it is wrong."""
    try:
        return check(value)
    except InvalidValue as wrong:
        complain(path, wrong.what, wrong.hint, value)
        return None


def _range(key: str, said: Section, complain: Complain) -> Iterator[Member]:
    """The members of a range, with the addresses that are clearly theirs.

    None where its MACs do not pair with its names: nobody looks at each, there could be millions.
    """
    path = ("nodes", key)
    wanted = _count(key, path, complain, key=True)
    macs = _macs(path, said, wanted, complain)
    pairs = 0 < wanted == len(macs)
    ips = _addresses((*path, "ip"), said.ip, wanted if pairs else 0, complain)
    if not pairs:
        if wanted:
            _name(nodeset.first_name(key), path, complain)
        return
    guids = _of_each(path, said, "guid", wanted, complain)
    _of_one_alone(path, said, wanted, complain)
    for at, name in enumerate(_names(key)):
        _name(name, path, complain)
        place = at if wanted > 1 else None
        yield Member(key, place, name, macs[at], _at(ips, at), said, guid=_at(guids, at))


def _names(key: str) -> list[str]:
    return nodeset.expand_nodes(key) if nodeset.is_range(key) else [key]


def _at(values: list[Any], place: int) -> Any:
    """What stands there; None where they do not pair with the names."""
    return values[place] if place < len(values) else None


def _count(text: str, path: Path, complain: Complain, key: bool = False) -> int:
    """How many names or addresses a text stands for; 0, and a complaint, if it cannot be read."""
    try:
        return nodeset.count(text) if nodeset.is_range(text) else 1
    except nodeset.BadRange as error:
        example = "wn[001-040]" if key else "172.24.10.[110-112]"
        hint = f"write it as {example}, in rising order"
        complain(path, f"bad range: {error}", hint, None if key else text, key)
        return 0


def _macs(path: Path, said: Section, wanted: int, complain: Complain) -> list[tuple[Mac, ...]]:
    """The MACs of a node, or of each of a range, as they pair with `wanted` names."""
    if said.model_fields_set >= {"mac", "macs"}:
        what, hint = "has both mac and macs", "write mac: for one card, macs: for several"
        complain(path, what, hint, key=True)
    if not said.model_fields_set & {"mac", "macs"}:
        return [()] * wanted
    if said.macs is not None and not nodeset.is_range(path[-1]):
        return [tuple(filter(None, said.macs))]
    given = _several(path, said, "mac", wanted, complain)
    return [tuple(filter(None, (mac,))) for mac in given]


def _several(path: Path, said: Section, field: str, wanted: int, complain: Complain) -> list[Any]:
    """What `mac` of one or `macs` of a range give, as they pair with `wanted` names."""
    several = f"{field}s"
    is_list = several in said.model_fields_set
    given = getattr(said, several if is_list else field)
    is_known = given is not None
    given = given if is_list else [given]
    if is_known and wanted and len(given) != wanted:
        count = counted(len(given), field.upper())
        hint = f"list one for each node under {several}:, in order"
        complain((*path, several if is_list else field), f"{_nodes(wanted)}, but {count}", hint)
    return list(given or ())


# Interfaces


def _with_cards(
    key: str, said: Section, found: list[Member], complain: Complain
) -> Iterator[Member]:
    """The nodes of a key with their interfaces."""
    if not said.interfaces or not found:
        return iter(found)
    of_each: list[tuple[Card, ...]] = [()] * len(found)
    for name, part in said.interfaces.items():
        path = ("nodes", key, "interfaces", name)
        if part is not None:
            cards = _cards(path, part, found, complain)
            of_each = [(*had, card) for had, card in zip(of_each, cards)]
    return (member._replace(cards=cards) for member, cards in zip(found, of_each))


def _cards(path: Path, said: Section, found: list[Member], complain: Complain) -> Iterator[Card]:
    """An interface of each of the nodes; None in it where it does not pair with their names."""
    wanted = len(found)
    addresses: list[list[Any]] = [
        _addresses((*path, "ip"), said.ip, wanted, complain),
        _addresses6((*path, "ip6"), said.ip6, wanted, complain),
    ]
    given = addresses + [_of_each(path, said, field, wanted, complain) for field in ("mac", "guid")]
    columns = [column if len(column) == wanted else [None] * wanted for column in given]
    for member, ip, ip6, mac, guid in zip(found, *columns):
        yield Card(path, member.place, path[-1], ip, mac, guid, ip6, said)


def _of_each(path: Path, said: Section, field: str, wanted: int, complain: Complain) -> list[Any]:
    written = said.model_fields_set & {field, f"{field}s"}
    if len(written) == 2:
        hint = f"write {field}: for one node, {field}s: for a range"
        complain(path, f"has both {field} and {field}s", hint, key=True)
    return _several(path, said, field, wanted, complain) if written else []


def _of_one_alone(path: Path, said: Section, wanted: int, complain: Complain) -> None:
    """A range cannot have what only one node can be known by."""
    for field in ("client_id", "circuit_id"):
        if wanted > 1 and field in said.model_fields_set:
            hint = "write each such node by itself"
            complain((*path, field), "one for all nodes of a range", hint, getattr(said, field))


Addresses = list["str | None"]


def _addresses(path: Path, text: str | None, wanted: int, complain: Complain) -> Addresses:
    """A range's addresses; none if they do not pair with `wanted` names (0: nobody knows)."""
    if text is None:
        return []
    count = _count(text, path, complain)
    if count and wanted and count != wanted:
        what = f"{_nodes(wanted)}, but {counted(count, 'address')}"
        complain(path, what, "write as many, as in 172.24.10.[110-112]", text)
    if not wanted or count != wanted:
        return []
    return [_checked(values.ipv4, one, path, complain) for one in _names(text)]


def _addresses6(path: Path, text: str | None, wanted: int, complain: Complain) -> Addresses:
    """The same of IPv6, whose colons no range of names has."""
    if text is None or not wanted:
        return []
    plain = text.replace(":", "_")
    count = _count(plain, path, complain)
    if count and count != wanted:
        what = f"{_nodes(wanted)}, but {counted(count, 'address')}"
        complain(path, what, "write as many, as in 2001:db8::[110-112]", text)
    if count != wanted:
        return []
    texts = [one.replace("_", ":") for one in _names(plain)]
    return [_checked(values.ipv6, one, path, complain) for one in texts]


def _nodes(count: int) -> str:
    return f"the name stands for {counted(count, 'node')}"
