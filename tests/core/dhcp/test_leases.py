"""Leases as DHCP servers write them down, and what `doit status` says of them."""

from __future__ import annotations

import json
import pathlib

import pytest

from tasks.core.dhcp import dnsmasq, isc, kea
from tasks.core.dhcp.server import Lease
from tasks.core.inspect.status import server_status, status_text
from tasks.core.store.paths import Targets

ISC = """\
# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;

lease 172.24.10.200 {
  starts 1 2026/11/23 08:00:00;
  ends 1 2026/11/23 20:00:00;
  cltt 1 2026/11/23 08:00:00;
  binding state active;
  next binding state free;
  hardware ethernet 52:54:00:00:00:99;
  uid "\\001RT\\000\\000\\000\\231";
  client-hostname "laptop";
}
lease 172.24.10.101 {
  binding state active;
  hardware ethernet ae:d6:90:bb:00:01;
}
lease 172.24.10.102 {
  binding state free;
  hardware ethernet ae:d6:90:bb:00:02;
}
"""
KEA = """\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
172.24.10.101,ae:d6:90:bb:00:01,,4294967295,4294967295,1,0,0,wn001,0,,0
172.24.10.102,ae:d6:90:bb:00:02,,3600,1795430000,1,0,0,wn002,2,,0
172.24.10.200,52:54:00:00:00:99,01:52:54:00:00:00:99,3600,1795430000,1,0,0,laptop,0,,0
"""
DNSMASQ = """\
0 ae:d6:90:bb:00:01 172.24.10.101 wn001 *
1795430000 52:54:00:00:00:99 172.24.10.200 laptop 01:52:54:00:00:00:99
duid 00:01:00:01:2f:aa:bb:cc:52:54:00:00:00:01
"""
BOTH = {Lease("ae:d6:90:bb:00:01", "172.24.10.101"), Lease("52:54:00:00:00:99", "172.24.10.200")}


@pytest.mark.parametrize(
    "read, written",
    [(isc.read_leases, ISC), (kea.read_leases, KEA), (dnsmasq.read_leases, DNSMASQ)],
)
def test_every_servers_file_tells_who_has_an_address(read, written):
    assert set(read(written)) == BOTH


@pytest.mark.parametrize(
    "read, written, ended",
    [
        (isc.read_leases, ISC, ("binding state active", "binding state free")),
        (kea.read_leases, KEA, (",0,,0", ",2,,0")),
    ],
)
def test_of_an_address_the_last_word_counts(read, written, ended):
    assert not list(read(written + written.replace(*ended)))


@pytest.mark.parametrize(
    "path, written", [("dhcp/dhcpd.leases", ISC), ("kea/kea-leases4.csv", KEA)]
)
def test_status_tells_nodes_from_strangers(path, written, tmp_path):
    targets = Targets("/tftpboot", "/opt/nfs_export", str(tmp_path))
    file = tmp_path / "var/lib" / path
    file.parent.mkdir(parents=True)
    file.write_text(written)
    kept = pathlib.Path(targets.kept("nodes.json"))
    kept.parent.mkdir(parents=True)
    kept.write_text(
        json.dumps(
            {"wn001": {"ip": "172.24.10.101", "mac": "ae:d6:90:bb:00:01", "image": "worker"}}
        )
    )
    pathlib.Path(targets.kept("journal.jsonl")).write_text(
        '{"time": "2026-11-23T08:00:00Z", "action": "deploy", "result": "done"}\n'
    )
    shown = status_text(server_status(targets, 0)).splitlines()
    assert "Leases of wn001" in shown
    assert "Lease of a stranger: 52:54:00:00:00:99 has 172.24.10.200" in shown
