"""Cards that nobody knows: found in what real servers say, and added to a site.yaml of which nothing else changes."""

from __future__ import annotations

import os
import pathlib

import pytest

from tasks.core.base.errors import Refused
from tasks.core.config import render
from tasks.core.discover.append import append_nodes
from tasks.core.discover.asked import Asked, asked_in_log, unknown
from tasks.core.discover.choose import NewNode, new_nodes
from tasks.core.site.load import read_site
from tests.support import dhcp_client
from tests.support.commands import Doit

SITE = """\
# our site
site: disc    # name
network: {subnet: 172.24.10.0/24, gateway: 172.24.10.106}
servers: {boot1: {ip: 172.24.10.1}}
images: {worker: {reference: {path: .}}}
groups: {r1: {}}
nodes:
    wn001: {mac: "52:54:00:00:00:01", ip: 172.24.10.101}   # first
    wn[002-003]:
        macs: ["52:54:00:00:00:02", "52:54:00:00:00:03"]  # two
        ip: "172.24.10.[102-103]" # here
    # after

# the end
hosts: {nas: 172.24.10.104}
"""
LOG = """\
Nov 29 13:00:01 boot1 dhcpd[12]: DHCPDISCOVER from 52:54:00:00:00:01 via eth0
Nov 29 13:00:02 boot1 dhcpd[12]: DHCPDISCOVER from 00:1e:67:ff:00:02 via eth0: network 172.24.10.0/24: no free leases
Nov 29 13:00:05 boot1 dnsmasq-dhcp[10]: DHCPDISCOVER(eth0) 52:54:00:ff:00:03 ignored
Nov 29 13:00:06 boot1 dhcpd[12]: DHCPDISCOVER from 00:1e:67:ff:00:02 (x) via 172.24.10.106: unknown network segment
Nov 29 13:00:07 boot1 dhcpd[12]: DHCPREQUEST for 10.0.0.9 (172.24.10.1) from 52:54:00:ff:00:04 via eth0: ignored (not authoritative).
"""
ADDED = [
    '    wn041: {mac: "00:1e:67:ff:00:02", ip: 172.24.10.105}\n',
    '    wn042: {mac: "52:54:00:ff:00:03", ip: 172.24.10.107}\n',
]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
@pytest.mark.parametrize("pool", ["", ", pool: 172.24.10.200-172.24.10.210"])
def test_a_stranger_is_found_in_what_a_real_server_says(server, pool, tmp_path):
    (tmp_path / "site.yaml").write_text(SITE.replace("10.106}", f"10.106{pool}}}"))
    site = read_site(str(tmp_path / "site.yaml"), ())[0]
    for path, data in render.render_configs(site).items():
        if "/" not in path:
            (tmp_path / path).write_bytes(data)
    node, stranger = site.nodes[0].mac, "52:54:00:ff:00:01"
    asked = [{"mac": mac, "options": [], "tries": 1 + bool(pool)} for mac in (node, stranger)]
    _, said = dhcp_client.shake(tmp_path, server, asked, "172.24.10.1/24")
    found = unknown(asked_in_log(said), [node])
    assert [one.mac for one in found] == [stranger]
    if not pool and server != "dnsmasq":
        assert found[0].subnet == "172.24.10.0/24"


def test_each_card_comes_once_with_what_was_last_known_in_the_order_of_asking():
    assert unknown(asked_in_log(LOG), ["52:54:00:00:00:01"]) == [
        Asked("00:1e:67:ff:00:02", "Nov 29 13:00:06", "172.24.10.0/24", "172.24.10.106"),
        Asked("52:54:00:ff:00:03", "Nov 29 13:00:05"),
        Asked("52:54:00:ff:00:04", "Nov 29 13:00:07"),
    ]


def test_lines_are_appended_and_all_other_bytes_stay(doit: Doit):
    doit.site.write_text(SITE)
    log = doit.folder / "log"
    log.write_text(LOG)
    out = doit("discover", f"--from={log}")
    assert "00:1e:67:ff:00:02  Nov 29 13:00:06      172.24.10.0/24      172.24.10.106  " in out
    assert doit.site.read_text() == SITE
    out = doit("discover", "--write=wn[041-042]", str(log))
    assert "wn[041-042] added" in out and "1 more cards asked" in out
    before = SITE.splitlines(keepends=True)
    after = doit.site.read_text().splitlines(keepends=True)
    at = before.index('        ip: "172.24.10.[102-103]" # here\n') + 1
    assert after == [*before[:at], *ADDED, *before[at:]]


def test_a_list_of_a_bmc_or_switch_and_groups_of_the_new_nodes(doit: Doit):
    doit.site.write_text(SITE)
    (doit.folder / "l.csv").write_text(
        "mac,name\n52:54:00:aa:00:01,sw1p1\n52:54:00:00:00:02,sw1p2\n"
    )
    assert "sw1p1" in doit("discover", str(doit.folder / "l.csv"))
    doit("discover", "--write=wn004", "--groups=r1", str(doit.folder / "l.csv"))
    line = '    wn004: {mac: "52:54:00:aa:00:01", ip: 172.24.10.105, groups: [r1]}\n'
    assert line in doit.site.read_text()
    doit.site.write_text(SITE)
    doit("discover", "--write=wn001", str(doit.folder / "l.csv"), status=3)  # it is there already
    doit("discover", "--write=wn004", "--groups=r2", str(doit.folder / "l.csv"), status=3)
    doit("discover", "--write=wn[4", str(doit.folder / "l.csv"), status=1)
    doit("discover", str(doit.site), status=3)
    assert doit.site.read_text() == SITE


NODE = NewNode("wn9", "52:54:00:00:00:99", "172.24.10.99")
LINE = 'wn9: {mac: "52:54:00:00:00:99", ip: 172.24.10.99}'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("nodes: {wn1: {mac: '52:54:00:00:00:01', ip: 172.24.10.9} }\n", "nodes: {wn1: {mac: '52:54:00:00:00:01', ip: 172.24.10.9}, LINE }\n"),
        ("nodes:\n  wn1:\n    mac: 52:54:00:00:00:01\n    ip: 172.24.10.9", "nodes:\n  wn1:\n    mac: 52:54:00:00:00:01\n    ip: 172.24.10.9\n  LINE\n"),
        ("nodes:\r\n  wn1: {mac: '52:54:00:00:00:01', ip: 172.24.10.9}\r\n", "nodes:\r\n  wn1: {mac: '52:54:00:00:00:01', ip: 172.24.10.9}\r\n  LINE\r\n"),
    ],
)  # fmt: skip
def test_any_style_of_a_file_is_kept(text, wanted, tmp_path: pathlib.Path):
    head = SITE[: SITE.index("groups:")]
    head = head.replace("\n", "\r\n") if "\r" in text else head
    path = tmp_path / "site.yaml"
    path.write_bytes((head + text).encode())
    data = append_nodes(str(path), (), [NODE], "")
    assert data.decode() == head + wanted.replace("LINE", LINE)
    assert path.read_bytes() == (head + text).encode()


def test_a_network_without_a_free_address_is_said(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    site = read_site(str(tmp_path / "site.yaml"), ())[0]
    cards = [Asked(f"52:54:00:ff:{number >> 8:02x}:{number & 255:02x}") for number in range(300)]
    names = [f"n{number}" for number in range(300)]
    with pytest.raises(Refused) as caught:
        new_nodes(site, names, cards)
    assert "172.24.10.0/24 has no free address for n248" in str(caught.value)
