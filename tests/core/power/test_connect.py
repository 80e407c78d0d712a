"""Where a node's BMC is, and what is said of a node without one."""

from __future__ import annotations

import pytest

from tasks.core.base.errors import Refused
from tasks.core.power.connect import address_of, has_bmc
from tasks.core.site.model import Interface, Management, Node

BMC = Interface("bmc", "bmc", ip="10.0.0.1")
OTHER = Interface("bmc", "bmc", ip6="2001:db8::1")
IPMI = Management(protocol="ipmi")


def node(management: Management, *interfaces: Interface) -> Node:
    return Node(
        "wn001", None, "172.24.10.1", "worker", management=management, interfaces=interfaces
    )  # type: ignore[arg-type]


def test_it_is_at_the_interface_that_the_site_names_by_either_address():
    assert address_of(node(IPMI, BMC)) == "10.0.0.1"
    assert address_of(node(IPMI, OTHER)) == "2001:db8::1"
    assert (
        address_of(
            node(IPMI._replace(interface="ilo"), BMC, BMC._replace(name="ilo", ip="10.0.0.2"))
        )
        == "10.0.0.2"
    )


@pytest.mark.parametrize(
    ("without", "why"),
    [
        (node(Management(), BMC), "site.yaml has no management: for it"),
        (node(IPMI), "it has no interface bmc with an address"),
        (node(IPMI, BMC._replace(ip="")), "it has no interface bmc with an address"),
    ],
)
def test_a_node_without_one_is_told_so(without: Node, why: str):
    with pytest.raises(Refused, match=why):
        address_of(without)
    assert not has_bmc(without)
