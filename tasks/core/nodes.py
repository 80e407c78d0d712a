"""Nodes one by one: the names, MACs and addresses that the keys of `nodes:` stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from . import grammar, ranges
from .grammar import InvalidValue
from .site import Mac

if TYPE_CHECKING:
    from .models import Section

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

    @property
    def ip_path(self) -> Path:
        return ("nodes", self.key, "ip")

    @property
    def mac_path(self) -> Path:
        return ("nodes", self.key, "mac") if self.place is None else ("nodes", self.key, "macs", self.place)


def members(nodes: dict[str, Section | None], complain: Complain) -> list[Member]:
    """Every node, in the order of the file."""
    found: list[Member] = []
    for key, said in nodes.items():
        if said is None:
            continue
        if ranges.is_range(key) or said.macs is not None or said.mac is None:
            found += _range(key, said, complain)
        else:
            found.append(_single(key, said, complain))
    return found


def _single(key: str, said: Section, complain: Complain) -> Member:
    try:
        return Member(key, None, grammar.host(key), said.mac, grammar.ipv4(said.ip), said)
    except (InvalidValue, TypeError):  # an address that is missing
        _checked(grammar.host, key, ("nodes", key), complain, key=True)
        ip = _checked(_address, said.ip, ("nodes", key, "ip"), complain)
        return Member(key, None, key, said.mac, ip, said)


def _address(text: str | None) -> str | None:
    if text and ranges.is_range(text):
        raise InvalidValue(
            "a range of addresses for one node", "write one address, or make the name a range: wn[001-040]"
        )
    return None if text is None else grammar.ipv4(text)


def _checked(check: Callable[[Any], Any], value: Any, path: Path, complain: Complain, key: bool = False) -> Any:
    """`value` as `check` gives it; None, and a complaint, where it is wrong."""
    try:
        return check(value)
    except InvalidValue as wrong:
        complain(path, wrong.what, wrong.hint, value, key)
        return None


def _range(key: str, said: Section, complain: Complain) -> Iterator[Member]:
    """The members of a range, with the addresses that are clearly theirs; none where its MACs do not pair with it."""
    path = ("nodes", key)
    wanted = _count(key, path, complain, key=True)
    macs = _macs(path, said, wanted, complain)
    if not wanted or len(macs) != wanted:  # without a look at each name: there could be millions
        _addresses((*path, "ip"), said.ip, 0, complain)
        if wanted:
            _checked(grammar.host, ranges.first(key), path, complain, key=True)
        return
    names = ranges.expand(key) if ranges.is_range(key) else [key]
    ips = _addresses((*path, "ip"), said.ip, wanted, complain)
    for at, name in enumerate(names):
        _checked(grammar.host, name, path, complain, key=True)
        place = at if said.macs is not None else None
        yield Member(key, place, name, macs[at], ips[at] if ips else None, said)


def _count(text: str, path: Path, complain: Complain, key: bool = False) -> int:
    """How many names or addresses a text stands for; 0, and a complaint, where it cannot be read."""
    try:
        return ranges.count(text) if ranges.is_range(text) else 1
    except ranges.BadRange as error:
        example = "wn[001-040]" if key else "172.24.10.[110-112]"
        complain(path, f"bad range: {error}", f"write it as {example}, in rising order", None if key else text, key)
        return 0


def _macs(path: Path, said: Section, wanted: int, complain: Complain) -> list[Mac | None]:
    """A node's MACs, or a range's, as they pair with `wanted` names."""
    given = said.macs if said.macs is not None else [said.mac]
    written = said.model_fields_set & {"mac", "macs"}
    if len(written) != 1:
        what = "has both mac and macs" if written else "mac: required"
        complain(path, what, "write mac: for one node, macs: for a range", key=True)
    elif getattr(said, *written) is not None and wanted and len(given) != wanted:
        count = f"{len(given)} MAC{'s' * (len(given) > 1)}"
        complain((*path, *written), f"{_nodes(wanted)}, but {count}", "list one for each node under macs:, in order")
    return list(given)


def _addresses(path: Path, text: str | None, wanted: int, complain: Complain) -> list[str | None]:
    """A range's addresses; an empty list where they do not pair with the names (0: it is not known how many)."""
    count = _count(text, path, complain) if text is not None else 0
    if count and wanted and count != wanted:
        what = f"{_nodes(wanted)}, but {count} address{'es' * (count > 1)}"
        complain(path, what, "write as many, as in 172.24.10.[110-112]", text)
    if text is None or not wanted or count != wanted:
        return []
    texts = ranges.expand(text) if ranges.is_range(text) else [text]
    return [_checked(grammar.ipv4, one, path, complain) for one in texts]


def _nodes(count: int) -> str:
    return f"the name stands for {count} node{'s' * (count > 1)}"
