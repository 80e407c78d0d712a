"""Rules of bonds: which cards each has, what it may say, and what they may not any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..model import BOOT_CARD
from ..nodes import Complain
from ..schema import Section

Path = tuple[Any, ...]
Cards = dict[str, "Section | None"]  # the interfaces of a key of `nodes:`; None where one is wrong
OF_CARDS = ("mac", "macs", "guid", "guids")
ADDRESSES = ("network", "ip", "ip6")


def carries_root(said: Section) -> bool:
    """Whether an interface is a bond over the card that the node boots from."""
    return bool(said.bond and BOOT_CARD in (said.bond.of or ()))


def bond_problems(site: Section, complain: Complain) -> set[Path]:
    """Complain about every rule of bonds that is broken.

    The places of the interfaces that are cards of one: they have no address.
    """
    members: set[Path] = set()
    for key, node in (site.nodes or {}).items():
        if node is not None and node.interfaces:
            path = ("nodes", key, "interfaces")
            members |= {(*path, name) for name in _of_node(path, node.interfaces, complain)}
    return members


def _of_node(path: Path, cards: Cards, complain: Complain) -> set[str]:
    """The names of all cards of a node's bonds."""
    owners: dict[str, str] = {}
    for name, said in cards.items():
        if said is None or not said.bond:
            continue
        here = (*path, name)
        _bond(here, said, complain)
        for at, card in enumerate(said.bond.of or ()):
            if card is None:
                continue
            place = (*here, "bond", "of", at)
            first = owners.setdefault(card, name)
            if first != name or card in said.bond.of[:at]:
                complain(place, f"already a card of {first}", "one bond has it, once", card)
            elif card in cards:
                _member(place, card, cards[card], complain)
    return owners.keys() & cards.keys()


def _bond(path: Path, said: Section, complain: Complain) -> None:
    for field in said.model_fields_set & {*OF_CARDS}:
        complain((*path, field), "a bond is no card", "write it at one of its cards", key=True)
    if "configure" in said.model_fields_set and not said.configure:
        hint = "leave configure: out, or write bond: in an overlay of the site's own"
        complain((*path, "configure"), "the node makes a bond itself", hint, key=True)
    given = said.model_fields_set & {*ADDRESSES}
    if carries_root(said):
        for field in given:
            what, hint = "it has its node's own address", "leave it out, or `boot` out of the bond"
            complain((*path, field), what, hint, key=True)
    elif "ip" not in given:
        complain((*path, "bond"), "no address to bring it up with", "give it an ip:", key=True)


def _member(place: Path, name: str, said: Section | None, complain: Complain) -> None:
    """A card of a bond is nothing besides."""
    for what in _besides(said) if said else ():
        complain(place, f"{name} {what}", "a card of a bond has its MAC alone", key=True)


def _besides(said: Section) -> Iterator[str]:
    if said.model_fields_set & {*ADDRESSES, "configure"}:
        yield "is an interface with an address"
    if said.model_fields_set & {"guid", "guids"}:
        yield "is an InfiniBand port"
    if said.bond:
        yield "is a bond itself"
