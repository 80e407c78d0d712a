"""Rules of links: what a node calls the VLAN of a card, which Linux must take as a name."""

from __future__ import annotations

from collections.abc import Iterator

from ..nodes import Card, Complain, Member
from ..schema import Section
from .bonds import carries_root
from .subnets import Subnets, networks_of, subnets_of

LONGEST = 15  # characters of an interface's name: IFNAMSIZ less its end


def link_problems(site: Section, members: list[Member], complain: Complain) -> None:
    """Complain about every card whose link would have a name that is too long.

    A card that the node does not bring up has none.
    """
    networks = networks_of(site)
    for card, name in _brought_up(members, subnets_of(site)):
        network = networks.get(name)
        if not network or not network.vlan or (carries_root(card.said) and not network.tagged):
            continue
        link = f"{card.name}.{network.vlan}"
        if len(link) > LONGEST:
            what = f"{link}, its link in VLAN {network.vlan}, is longer than {LONGEST} characters"
            hint = f"give the card a name of at most {LONGEST - len(link) + len(card.name)}"
            complain(card.path, what, hint, key=True)


def _brought_up(members: list[Member], subnets: Subnets) -> Iterator[tuple[Card, str]]:
    """The cards that nodes bring up, each with the name of its network."""
    for member in members:
        for card in member.cards:
            ip = member.ip if carries_root(card.said) else card.ip
            if ip and (card.said.bond or card.said.configure):
                yield card, card.said.network or subnets.name_of(ip)
