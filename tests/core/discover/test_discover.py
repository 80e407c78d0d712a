"""Cards that nobody knows: found in what real servers say, and added to a site.yaml of which nothing else changes."""

from __future__ import annotations

import os
import pathlib
from datetime import datetime

import pytest

from tasks.core.config import render
from tasks.core.base.errors import Refused
from tasks.core.dhcp.asked import Asked, asked_in_log, read_asked, unknown
from tasks.core.discover.append import with_chosen
from tasks.core.discover.choose import Chosen, NewNode, choose
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
NOW = datetime(2026, 11, 29, 14)
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
    found = unknown(asked_in_log(said.splitlines()), [node])
    assert [one.mac for one in found] == [stranger]
    if not pool and server != "dnsmasq":
        assert found[0].subnet == "172.24.10.0/24"


def test_each_card_comes_once_with_what_was_last_known_in_the_order_of_asking():
    day = "2026-11-29 13:00:0"
    asked = asked_in_log(LOG.splitlines(), NOW)
    assert unknown(asked, ["52:54:00:00:00:01"]) == [
        Asked("00:1e:67:ff:00:02", f"{day}2", f"{day}6", "172.24.10.0/24", "172.24.10.106"),
        Asked("52:54:00:ff:00:03", f"{day}5", f"{day}5"),
        Asked("52:54:00:ff:00:04", f"{day}7", f"{day}7"),
    ]


def test_of_two_logs_the_order_is_that_of_the_first_time():
    """As of two servers, or across a new year, of which syslog's times say nothing."""
    line = "boot1 dnsmasq-dhcp[10]: DHCPDISCOVER(eth0) 52:54:00:ff:00:0"
    first = [f"Dec 31 23:59:59 {line}1", f"Jan  1 00:00:02 {line}2", f"Jan  1 00:00:03 {line}1"]
    second = [f"2026-12-31T23:59:58 {line}2", f"2026-12-31T23:59:57+0100 {line}3", f"{line}4"]
    now = datetime(2027, 1, 1, 0, 1)
    asked = [*asked_in_log(first, now), *asked_in_log(second, now)]
    found = [(one.mac[-1], one.first[-14:], one.last[-14:]) for one in unknown(asked, [])]
    assert found == [
        ("3", "12-31 23:59:57", "12-31 23:59:57"),
        ("2", "12-31 23:59:58", "01-01 00:00:02"),
        ("1", "12-31 23:59:59", "01-01 00:00:03"),
        ("4", "", ""),
    ]


@pytest.mark.parametrize(
    "values",
    [
        ['52:54:00:ff:00:01", ip: 10.0.0.1}', "", "", "", "", "", ""],
        ["52:54:00:ff:00:01", "", "", "anywhere", "", "", ""],
        ["52:54:00:ff:00:01", "", "", "", "rm -rf", "", ""],
        ["52:54:00:ff:00:01", "", "", "10.0.0.0/44", "", "", ""],
        ["52:54:00:ff:00:01", "", "", "", "999.1.1.1", "", ""],
        ["", "", "", "", "", "", ""],
    ],
)
def test_what_a_server_says_of_a_card_is_looked_at_before_it_may_stand_in_the_site(values):
    with pytest.raises(ValueError):
        read_asked(values)


STRANGERS = """\
boot1 dhcpd[9]: DHCPDISCOVER from 52:54:00:ff:00:01 (x) via 999.9.9.9: a) via eth0
boot1 dhcpd[9]: DHCPDISCOVER from 52:54:00:ff:00:02 (x) via eth0: network 300.0.0.0/44: a) via eth0
boot1 dhcpd[9]: DHCPDISCOVER from 52:54:00:ff:00:03 via 10.0.0.7: network 10.0.0.5/24: no free leases
kea [hwtype=1 52:54:00:ff:00:04], cid=[], tid=0x1: 2 class(es): ALL, VENDOR_CLASS_\x1b[31mPXE
"""


def test_what_a_stranger_calls_itself_in_a_log_is_no_address_and_moves_no_cursor():
    """dhcpd has the name that a client gave in its lines, brackets and all."""
    first, second, third, fourth = asked_in_log(STRANGERS.splitlines())
    assert (first.relay, first.subnet, second.relay, second.subnet) == ("", "", "", "")
    assert (third.relay, third.subnet) == ("10.0.0.7", "10.0.0.0/24")
    assert fourth.vendor_class.isprintable()


def test_lines_are_appended_and_all_other_bytes_stay(doit: Doit):
    doit.site.write_text(SITE)
    log = doit.folder / "log"
    log.write_text(LOG)
    out = doit("discover", f"--from={log}")
    assert "-11-29 13:00:06  172.24.10.0/24      172.24.10.106  " in out
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
    doit("discover", "--write=wn[4", str(doit.folder / "l.csv"), status=3)
    doit("discover", str(doit.site), status=3)
    assert doit.site.read_text() == SITE


CARDS = """\
site: disc
networks: {rack1: {subnet: 10.1.0.0/24}, rack2: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}}
servers: {boot1: {ip: 10.1.0.1}}
images: {worker: {reference: {path: .}}}
groups: {r1: {}}
nodes:
  wn001: {ip: 10.1.0.11}   # ordered in May
  wn002:   # here
    ip: 10.2.0.12
  wn[003-004]: { ip: "10.1.0.[13-14]" }
  wn005: {mac: "52:54:00:00:00:05", ip: 10.1.0.15}
"""
FILLED = CARDS.replace("{ip: 10.1.0.11}", '{mac: "52:54:00:ff:00:02", ip: 10.1.0.11}').replace(
    "    ip: 10.2", '    mac: "52:54:00:ff:00:01"\n    ip: 10.2'
)
HEARD = """\
Nov 29 13:00:02 boot1 dhcpd[12]: DHCPDISCOVER from 52:54:00:ff:00:01 via 10.2.0.254
Nov 29 13:00:03 boot1 dhcpd[12]: DHCPDISCOVER from 52:54:00:ff:00:02 via eth0
Nov 29 13:00:04 boot1 dhcpd[12]: DHCPDISCOVER from 52:54:00:ff:00:03 via eth0
Nov 29 13:00:05 boot1 dhcpd[12]: DHCPDISCOVER from 52:54:00:ff:00:04 via eth0
"""


@pytest.mark.parametrize(
    "text", ["Dear sir, no\n", "Dear sir\n", "MAC;Port\n52:54:00:00:00:0a;1\n", ""]
)
def test_what_is_no_list_is_told_what_a_list_is(doit: Doit, text):
    doit.site.write_text(SITE)
    path = doit.folder / "list"
    path.write_text(text)
    said = f"{path}:1:1: neither a DHCP server's log nor a list of mac,name\n"
    assert said in doit("discover", f"--from={path}", status=3)


def test_a_node_without_a_card_gets_one_that_asked_in_its_network(doit: Doit):
    doit.site.write_text(CARDS)
    log = doit.folder / "log"
    log.write_text(HEARD)
    out = doit("discover", "--write=wn[001-002]", str(log))
    assert "wn[001-002] have their cards; `git diff`" in out and "2 more cards asked" in out
    assert doit.site.read_text() == FILLED
    out = doit("discover", "--write=wn[003-004,006]", str(log))
    assert "wn[003-004] have their cards" in out and "more" not in out
    cards = '"52:54:00:ff:00:03", "52:54:00:ff:00:04"'
    assert f'wn[003-004]: {{ macs: [{cards}], ip: "10.1.0.[13-14]" }}\n' in doit.site.read_text()
    doit("nodes")  # it is a site


def test_cards_that_cannot_be_written_are_refused_and_nothing_is(doit: Doit):
    doit.site.write_text(CARDS)
    log = doit.folder / "log"
    log.write_text(HEARD)
    out = doit("discover", "--write=wn003", str(log), status=3)
    assert f"{doit.site}:10:3: wn[003-004] has nodes that get no card; give it a line" in out
    out = doit("discover", "--write=wn001", "--groups=r1", str(log), status=1)
    assert "--groups is for new nodes, and wn001 is in site.yaml" in out
    log.write_text(HEARD.splitlines()[0].replace("10.2.0.254", "10.1.0.254"))
    out = doit("discover", "--write=wn002", str(log), status=1)
    assert "no card asked in the network rack2 of wn002; nothing is written" in out
    assert doit.site.read_text() == CARDS


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
    data = with_chosen(str(path), (), Chosen([NODE], {}), "")
    assert data.decode() == head + wanted.replace("LINE", LINE)
    assert path.read_bytes() == (head + text).encode()


def test_a_network_without_a_free_address_is_said(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    site = read_site(str(tmp_path / "site.yaml"), ())[0]
    cards = [Asked(f"52:54:00:ff:{number >> 8:02x}:{number & 255:02x}") for number in range(300)]
    names = [f"n{number}" for number in range(300)]
    with pytest.raises(Refused) as caught:
        choose(site, names, cards)
    assert "172.24.10.0/24 has no free address for n248" in str(caught.value)
