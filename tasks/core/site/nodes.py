"""Nodes one by one: the names, MACs and addresses that the keys of `nodes:` stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from ..base import nodeset
from . import values
from .model import Mac
from .schema import Section
from .values import InvalidValue

Path = tuple[Any, ...]


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


class Member(NamedTuple):
    """One node of a key of `nodes:`. What is wrong with it is None, and was complained about."""

    key: str
    place: int | None  # in a range; None for a node of its own
    name: str
    mac: Mac | None
    ip: str | None
    said: Section
    aliases: tuple[str, ...] = ()

    @property
    def ip_path(self) -> Path:
        return ("nodes", self.key, "ip")

    @property
    def mac_path(self) -> Path:
        if self.place is None:
            return ("nodes", self.key, "mac")
        return ("nodes", self.key, "macs", self.place)


def members(nodes: dict[str, Section | None], complain: Complain) -> list[Member]:
    """Every node, in the order of the file."""
    found: list[Member] = []
    for key, said in nodes.items():
        if said is None:
            continue
        if nodeset.is_range(key) or said.macs is not None or said.mac is None:
            of_key = list(_range(key, said, complain))
        else:
            of_key = [_single(key, said, complain)]
        found += _with_aliases(key, of_key, complain) if said.aliases else of_key
    return found


def _with_aliases(key: str, found: list[Member], complain: Complain) -> list[Member]:
    """The nodes of a key with their further names, of a range one of each."""
    names: list[list[str]] = [[] for _ in found]
    for at, text in enumerate(found[0].said.aliases if found else ()):
        path = ("nodes", key, "aliases", at)
        count = _count(text, path, complain) if text else 0
        if count and count != len(found):
            what = f"{_nodes(len(found))}, but {count} alias{'es' * (count > 1)}"
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
        return Member(key, None, name, said.mac, ip, said)
    except (InvalidValue, TypeError):  # an address that is missing
        path = ("nodes", key)
        _name(key, path, complain)
        ip = _checked(_address, said.ip, (*path, "ip"), complain)
        return Member(key, None, key, said.mac, ip, said)


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
    pairs = bool(wanted) and len(macs) == wanted
    ips = _addresses((*path, "ip"), said.ip, wanted if pairs else 0, complain)
    if wanted and not pairs:
        _name(nodeset.first_name(key), path, complain)
    if not pairs:
        return

    names = nodeset.expand_nodes(key) if nodeset.is_range(key) else [key]
    for at, name in enumerate(names):
        _name(name, path, complain)
        place = at if said.macs is not None else None
        ip = ips[at] if ips else None
        yield Member(key, place, name, macs[at], ip, said)


def _count(text: str, path: Path, complain: Complain, key: bool = False) -> int:
    """How many names or addresses a text stands for; 0, and a complaint, if it cannot be read."""
    try:
        return nodeset.count(text) if nodeset.is_range(text) else 1
    except nodeset.BadRange as error:
        example = "wn[001-040]" if key else "172.24.10.[110-112]"
        hint = f"write it as {example}, in rising order"
        complain(path, f"bad range: {error}", hint, None if key else text, key)
        return 0


def _macs(path: Path, said: Section, wanted: int, complain: Complain) -> list[Mac | None]:
    """A node's MACs, or a range's, as they pair with `wanted` names."""
    given = said.macs if said.macs is not None else [said.mac]
    written = said.model_fields_set & {"mac", "macs"}
    if len(written) != 1:
        what = "has both mac and macs" if written else "mac: required"
        complain(path, what, "write mac: for one node, macs: for a range", key=True)
        return list(given)

    (field,) = written
    is_known = getattr(said, field) is not None
    if is_known and wanted and len(given) != wanted:
        count = f"{len(given)} MAC{'s' * (len(given) > 1)}"
        hint = "list one for each node under macs:, in order"
        complain((*path, field), f"{_nodes(wanted)}, but {count}", hint)
    return list(given)


Addresses = list["str | None"]


def _addresses(path: Path, text: str | None, wanted: int, complain: Complain) -> Addresses:
    """A range's addresses; none if they do not pair with `wanted` names (0: nobody knows)."""
    if text is None:
        return []
    count = _count(text, path, complain)
    if count and wanted and count != wanted:
        what = f"{_nodes(wanted)}, but {count} address{'es' * (count > 1)}"
        complain(path, what, "write as many, as in 172.24.10.[110-112]", text)
    if not wanted or count != wanted:
        return []
    texts = nodeset.expand_nodes(text) if nodeset.is_range(text) else [text]
    return [_checked(values.ipv4, one, path, complain) for one in texts]


def _nodes(count: int) -> str:
    return f"the name stands for {count} node{'s' * (count > 1)}"
