"""From a node to its BMC: by the protocol that its site tells."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator

from ..base.errors import Refused
from ..site.model import Node
from .bmc import Bmc
from .ipmi import Ipmi
from .redfish import Redfish


def address_of(node: Node) -> str:
    """Where its BMC is. Raises Refused."""
    management = node.management
    if management.protocol is None:
        raise Refused("site.yaml has no management: for it")
    for interface in node.interfaces:
        if interface.name == management.interface and (interface.ip or interface.ip6):
            return interface.ip or interface.ip6
    raise Refused(f"it has no interface {management.interface} with an address")


def has_bmc(node: Node) -> bool:
    """Whether anybody could ask one."""
    try:
        return bool(address_of(node))
    except Refused:
        return False


def connect(node: Node, password: str) -> Bmc:
    """Its BMC, asked by IPMI when it is used, by Redfish at once. Raises Refused."""
    address = address_of(node)
    if node.management.protocol == "ipmi":
        return Ipmi(address, node.management, password)
    return Redfish(address, node.management, password)


def wrong_certificates(nodes: Iterable[Node]) -> Iterator[str]:
    """Why a `ca:` of theirs is none, to be said before any BMC is asked."""
    for path in dict.fromkeys(node.management.ca for node in nodes):
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError:
            yield f"ca: {path}: no certificate in PEM is in it; give the BMC's own, or its CA's"
        except OSError as error:
            yield f"ca: {path}: {error.strerror}; give the BMC's own, or its CA's"
