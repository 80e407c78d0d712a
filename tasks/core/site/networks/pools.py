"""Rules of pools: DHCP leases whatever lies in one to strangers, so that no machine has it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from ..nodes import Complain
from ..schema import Section
from ..values import number
from .subnets import networks_of, path_of

Owners = dict[int, str]  # of addresses, as numbers


def pool_problems(site: Section, owners: Owners, complain: Complain) -> None:
    """Complain about every machine in a pool that is no node; nodes are told where they stand.

    `owners`: those of the addresses that no node may have.
    """
    pools = {}
    for name, network in networks_of(site).items():
        if network and network.pool:
            first, _, last = network.pool.partition("-")
            pools[(*path_of(site, name), "pool")] = (number(first), number(last))
    if not pools:
        return
    owners = dict(owners)
    for address, owner in _others(site):
        owners.setdefault(number(address), owner)
    for path, (start, end) in pools.items():
        for at in sorted(at for at in owners if start <= at <= end):
            what = f"{IPv4Address(at)} of {owners[at]} lies in it"
            complain(path, what, "a pool is for strangers: write a range without it")


def _others(site: Section) -> Iterator[tuple[str, str]]:
    """Further IPv4 addresses of machines, with where they stand."""
    for name, network in networks_of(site).items():
        for address in filter(None, (network and network.ntp) or ()):
            yield address, ".".join((*path_of(site, name), "ntp"))
    for name, server in (site.servers or {}).items():
        if server and server.nfs_server:
            yield server.nfs_server.partition(":")[0], f"servers.{name}.nfs_server"
    for name, addresses in (site.hosts or {}).items():
        for address in addresses or ():
            if address and ":" not in address:
                yield address, f"hosts.{name}"
