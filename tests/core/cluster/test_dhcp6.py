"""DHCPv6: a real Kea gives each card the address that the site has for it, and firmware its loader."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tasks.core.cluster.files import render_outputs
from tasks.core.site.load import read_site
from tests.support import dhcp6_client
from tests.support.manual import kea_of_manual

SITE = """\
site: example-grid
network: {subnet: 172.24.10.0/24}
servers: {boot1: {ip: 172.24.10.1}}
images: {worker: {reference: {path: .}}}
nodes:
  wn001:
    macs: ["52:54:00:00:00:01", "52:54:00:00:00:11"]
    ip: 172.24.10.101
    ip6: "fd00:84::101"
    interfaces: {data: {mac: "52:54:00:00:00:21", ip6: "fd00:84::201"}, bmc: {ip: 172.24.10.201, mac: "52:54:00:00:00:31"}}
  wn[002-003]: {macs: ["52:54:00:00:00:02", "52:54:00:00:00:03"], ip: "172.24.10.[102-103]", ip6: "fd00:84::[102-103]"}
  wn004: {ip: 172.24.10.104, ip6: "fd00:84::104"}
outputs: [dhcp6_hosts]
"""
KEA = """\
{ "Dhcp6": {
  "interfaces-config": { "interfaces": [ "wire" ] },
  "lease-database": { "type": "memfile", "persist": false },
  "server-id": { "type": "LL", "persist": false },
  "mac-sources": [ "duid", "ipv6-link-local" ],
  "host-reservation-identifiers": [ "hw-address" ],
  "reservations-global": true,
  "ip-reservations-unique": false,
  "reservations": <?include "%s"?>,
  "subnet6": [ { "id": 1, "subnet": "fd00:84::/64", "interface": "wire" } ]
} }
"""
WIRE = """
mount -t tmpfs none /run; mkdir -p /run/kea /run/lock/kea /run/netns
ip netns add node; ip link add wire type veth peer name eth0 netns node
ip addr add $5/64 dev wire nodad; ip link set wire up
ip netns exec node sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up'
sleep 3; kea-dhcp6 -c "$1" >&2 & sleep 2
ip netns exec node "$2" "$3" $4
"""
MACS = [f"52:54:00:00:00:{last}" for last in ("01", "11", "02", "03", "21", "99")]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
def test_each_card_gets_its_second_address_and_a_stranger_none(tmp_path: pathlib.Path):
    """A node by whichever of its cards."""
    (tmp_path / "site.yaml").write_text(SITE)
    files = render_outputs(read_site(str(tmp_path / "site.yaml"), ())[0])
    hosts = tmp_path / "dhcp6_hosts.json"
    hosts.write_bytes(files["cluster/dhcp6_hosts.json"])
    given = ["101", "101", "102", "103", "201"]
    said = answers(tmp_path, KEA % hosts, "fd00:84::1", MACS)
    assert said == [*(f"fd00:84::{last}" for last in given), ""]
    assert b"wn001-data" in hosts.read_bytes() and b"bmc" not in hosts.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
def test_the_file_of_the_manual_names_each_firmware_its_loader(tmp_path: pathlib.Path):
    """docs/boot.md, IPv6; its pool is not for strangers."""
    hosts = tmp_path / "dhcp6_hosts.json"
    hosts.write_text(
        '[ { "hw-address": "52:54:00:00:00:01", "ip-addresses": [ "2001:db8:10::100" ] } ]'
    )
    config = kea_of_manual(str(hosts), "wire")
    cards = [f"52:54:00:00:00:01={firmware}" for firmware in ("", "uefi", "ipxe")]
    said = answers(tmp_path, config, "2001:db8:10::1", [*cards, "52:54:00:00:00:99"])
    at = "2001:db8:10::100"
    assert said == [
        at,
        f"{at} tftp://[2001:db8:10::1]/shimx64.efi",
        f"{at} tftp://[2001:db8:10::1]/boot.ipxe",
        "",
    ]


def answers(folder: pathlib.Path, config: str, server: str, cards: list[str]) -> list[str]:
    """What Kea offers to clients on a wire of their own, one after the other."""
    (folder / "kea.json").write_text(config)
    unshare = "unshare --net --mount --pid --fork --mount-proc --kill-child=KILL sh -euc".split()
    argv = [*unshare, WIRE, "sh", str(folder / "kea.json"), sys.executable]
    argv += [dhcp6_client.__file__, " ".join(cards), server]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
