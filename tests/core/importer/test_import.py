"""Files of other programs, in the shapes in which they are public, as a site.yaml; and our own files come back."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections import Counter

import pytest

from tasks.core.base.errors import BadInput
from tasks.core.config import render
from tasks.core.importer.read import read_files
from tasks.core.importer.write import site_text
from tasks.core.site.load import read_site
from tasks.core.site.model import Site
from tests.support.commands import REPOSITORY, Doit

DHCPD = """\
# Cluster DHCP
authoritative;
ddns-update-style none;
option domain-name "cluster.example.org";
option domain-name-servers 10.1.0.1, 10.1.0.2;
default-lease-time 600;
option space pxelinux;
next-server 10.1.0.1;
shared-network cluster {
  subnet 10.1.0.0 netmask 255.255.255.0 {
    option routers 10.1.0.254;
    range 10.1.0.200 10.1.0.220;
    group {
      filename "pxelinux.0";
      host Node01 { hardware ethernet 00:1E:67:aa:00:01; fixed-address 10.1.0.11; }
      host node02.cluster.example.org { hardware ethernet 00:1E:67:aa:00:02;
         fixed-address node02; option root-path "10.1.0.1:/x"; }
      host bad_name { hardware ethernet 00:1E:67:aa:00:03; fixed-address 10.1.0.13; }
    }
  }
}
subnet 10.9.0.0 netmask 255.255.0.0 { }
include "/etc/dhcp/more.conf";
include "/etc/dhcp/gone.conf";
host node01-bmc { hardware ethernet 00:1e:67:bb:00:01; fixed-address 10.9.0.11; }
failover peer "x" { primary; }
if option arch = 00:07 { filename "grub.efi"; } else { filename "x"; }
"""
MORE = """\
group { next-server 10.1.0.1; host node03 { fixed-address 10.1.0.14, 10.5.0.14; hardware ethernet 00:1e:67:aa:00:04; } }
"""
HOSTS = """\
127.0.0.1 localhost
10.1.0.1 head.cluster.example.org head
10.1.0.12 node02.cluster.example.org node02 gpu-a # the gpu
10.9.0.12 node02-bmc
10.1.0.250 nas
"""
WAREWULF = """\
WW_INTERNAL: 45
nodeprofiles:
  default:
    container name: rocky-9
    kernel: {args: [quiet]}
    ipmi: {netmask: 255.255.255.0, gateway: 10.9.0.1, username: hpcadmin}
    network devices:
      default: {netmask: 255.255.255.0, gateway: 10.0.0.254, device: eth0}
  gpu: {tags: {gpus: "4"}}
nodes:
  n0001.cluster:
    profiles: [default, gpu]
    ipmi: {ipaddr: 10.9.0.1}
    network devices:
      default: {hwaddr: "aa:bb:cc:dd:ee:02", ipaddr: 10.0.0.101}
      ib: {device: ib0, ipaddr: 10.8.0.101}
    asset key: XY
  n0002:
    network devices:
      default: {ipaddr: 10.0.0.102}
"""
XCAT = """\
# <xCAT data object stanza file>

node1:
    objtype=node
    arch=x86_64
    bmc=50.0.0.1
    groups=all,ipmi,rack-2
    ip=10.4.0.1
    mac=42:d0:0a:01:00:01!node1|42:d0:0a:01:00:02!*NOIP*
    mgt=ipmi
    nicips.ib0=10.5.0.1
    rack=R2
    usercomment=x
    vmstorage=dir
node2:
    objtype=node
    groups=all
    ip=10.4.0.2
    mac=42:d0:0a:01:00:03
10_4_0_0:
    objtype=network
    net=10.4.0.0
    mask=255.255.0.0
    gateway=<xcatmaster>
    tftpserver=10.4.255.1
"""
CSV = """\
Hostname;MAC Address;IP Address;BMC IP;Location;Rack
wn1;AABB.CCDD.EE02;10.7.0.1;10.70.0.1;DC1;12
wn2;AA-BB-CC-DD-EE-04;10.7.0.2;;DC1;12
wn3;nonsense;10.7.0.3;;;
"""
CARDS = """\
site: cards
networks:
  rack1: {subnet: 10.1.0.0/24, gateway: 10.1.0.254, domain: grid.example.org}
  rack2: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
  bmc: {subnet: 10.9.0.0/16}
  ib: {subnet: 10.8.0.0/16}
servers: {boot1: {ip: 10.1.0.1}}
images: {worker: {reference: {path: .}}}
nodes:
  wn001:
    mac: "52:54:00:00:00:01"
    ip: 10.1.0.11
    aliases: [gpu-a]
    interfaces: {bmc: {ip: 10.9.0.11, mac: "52:54:00:00:01:01"}, ib0: {ip: 10.8.0.11, guid: "0x0002c9030031117b"}}
  wn002: {macs: ["52:54:00:00:00:02", "52:54:00:00:00:03"], ip: 10.2.0.12, interfaces: {bmc: {ip: 10.9.0.12}}}
"""


def imported(folder: pathlib.Path, **files: str) -> tuple[str, Site]:
    """What is made of files of that name and text, and the site that it is."""
    paths = []
    for name, text in files.items():
        path = folder / name.replace("_", ".")
        path.write_text(text)
        paths.append(str(path))
    text = site_text(read_files(paths), paths).replace(f"{folder}/", "")
    return text, site_of(folder, text)


def site_of(folder: pathlib.Path, text: str) -> Site:
    (folder / "site.yaml").write_text(text)
    return read_site(str(folder / "site.yaml"), ())[0]


def lines(text: str, begin: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(begin)]


def test_a_dhcpd_conf_with_groups_subnets_and_includes(tmp_path):
    (tmp_path / "more.conf").write_text(MORE)
    text, site = imported(tmp_path, dhcpd_conf=DHCPD, hosts=HOSTS)
    assert [(node.name, *node.macs, node.ip) for node in site.nodes] == [
        ("node01", "00:1e:67:aa:00:01", "10.1.0.11"),
        ("node02", "00:1e:67:aa:00:02", "10.1.0.12"),
        ("node03", "00:1e:67:aa:00:04", "10.1.0.14"),
    ]
    assert [one.subnet for one in site.networks] == ["10.1.0.0/24", "10.9.0.0/16"]
    first = site.networks[0]
    assert (first.gateway, first.dns) == ("10.1.0.254", ("10.1.0.1", "10.1.0.2"))
    assert first.domain == "cluster.example.org" and first.pool == "10.1.0.200-10.1.0.220"
    assert [(server.name, server.ip) for server in site.servers] == [("head", "10.1.0.1")]
    bmc = site.nodes[0].interfaces[0]
    assert (bmc.name, bmc.ip, bmc.mac) == ("bmc", "10.9.0.11", "00:1e:67:bb:00:01")
    assert site.nodes[1].aliases == ("gpu-a",)
    assert site.hosts == (("10.1.0.250", ("nas",)),)
    assert lines(text, "# dhcpd") + lines(text, "# more") == [
        "# dhcpd.conf:7: option space pxelinux: not understood",
        "# dhcpd.conf:17: host node02.cluster.example.org: option root-path 10.1.0.1:/x: not understood",
        "# dhcpd.conf:18: bad_name: not an RFC 1123 host name",
        '# dhcpd.conf:24: include "/etc/dhcp/gone.conf": no such file here',
        '# dhcpd.conf:26: failover peer "x": not understood',
        "# more.conf:1: host node03: fixed-address 10.5.0.14: a second one",
    ]


def test_networks_on_one_wire_stay_together_and_one_that_is_left_out_is_named(tmp_path):
    text = """
shared-network "rack 1" { subnet 10.1.0.0 netmask 255.255.255.0 { range 10.1.0.5 10.1.0.9; } }
shared-network racks {
  subnet 10.2.0.0 netmask 255.255.255.0 { host a { fixed-address 10.2.0.11; } }
  subnet 192.168.7.1 netmask 255.255.255.255 { }
  subnet 10.3.0.0 netmask 255.255.255.0 { host b { fixed-address 10.3.0.11; } }
}
shared-network alone {
  subnet 10.4.0.0 netmask 255.255.0.0 { host c { fixed-address 10.4.0.11; } }
  subnet 10.4.9.0 netmask 255.255.255.0 { host d { fixed-address 10.4.9.11; } }
}
"""
    text, site = imported(tmp_path, dhcpd_conf=text)
    assert [(one.subnet, one.shared_network) for one in site.networks] == [
        ("10.2.0.0/24", "racks"),
        ("10.3.0.0/24", "racks"),
        ("10.4.0.0/16", None),
    ]
    assert [one.relay for one in site.networks] == [("192.168.7.1",), ("192.168.7.1",), ()]
    assert "# 10.1.0.0/24: left out: nothing that a node has lies in it\n" in text
    assert "# 10.4.9.0/24: left out: it overlaps 10.4.0.0/16\n" in text


def test_what_a_group_says_of_some_hosts_is_not_said_of_all(tmp_path):
    text = """
option domain-name-servers 10.1.0.1;
subnet 10.1.0.0 netmask 255.255.255.0 {
  option routers 10.1.0.254;
  group { option routers 10.1.0.253; option interface-mtu 9000; host a { fixed-address 10.1.0.11; } }
}
group {
  option domain-name-servers 10.1.0.2, 10.1.0.3; host b { fixed-address 10.1.0.12; }
}
"""
    text, site = imported(tmp_path, dhcpd_conf=text)
    first = site.networks[0]
    assert (first.gateway, first.mtu, first.dns) == ("10.1.0.254", 9000, ("10.1.0.1",))
    assert lines(text, "# dhcpd") == [
        "# dhcpd.conf:5: group: gateway 10.1.0.253: others there have another one",
        "# dhcpd.conf:7: group: dns 10.1.0.2 10.1.0.3: others there have another one",
    ]


def test_hosts_as_cobbler_writes_them(tmp_path):
    text = """
group {
  host generic1 {
    option dhcp-client-identifier = 1:00:16:3E:00:00:01;
    hardware ethernet 00:16:3E:00:00:01;
    fixed-address 192.168.1.11;
    option host-name = "web1.example.org";
  }
}
"""
    text, site = imported(tmp_path, dhcpd_conf=text)
    (node,) = site.nodes
    assert (node.name, node.macs) == ("web1", ("00:16:3e:00:00:01",))
    assert node.client_id == "01:00:16:3e:00:00:01"
    assert not lines(text, "# dhcpd")


def test_an_address_that_two_have_is_told_of(tmp_path):
    text, site = imported(
        tmp_path,
        list_csv="""name,mac,ip,bmc
wn1,52:54:00:00:00:01,10.7.0.1,10.70.0.1
wn2,52:54:00:00:00:02,10.7.0.2,10.70.0.1
wn3,52:54:00:00:00:03,10.7.0.2,10.7.0.1
""",
    )
    assert [(node.name, len(node.macs)) for node in site.nodes] == [("wn1", 1), ("wn2", 2)]
    assert lines(text, "# list.csv") == [
        "# list.csv:4: wn3: wn2 has its address: taken for a card of it",
        "# list.csv:3: wn2: bmc 10.70.0.1: another one has its address",
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"hosts": HOSTS},
        {"ethers": "00:1e:67:aa:00:01 wn1\n"},
        {"nodes_conf": "nodes: {}\n"},
        {"cards_csv": "name,mac,ip\nwn1,00:11,\n"},
    ],
)
def test_files_that_tell_of_no_node_make_no_site(tmp_path, files):
    with pytest.raises(
        BadInput, match=r":1:1: no node with an address.*; hosts has addresses alone"
    ):
        imported(tmp_path, **files)


WAREWULF_CARDS = """\
nodeprofiles:
  default: {network devices: {default: {device: eth0, netmask: 255.255.255.0}}}
nodes:
  n1:
    network devices:
      mgmt: {device: eth1, ipaddr: 192.168.1.13, hwaddr: "52:54:00:87:12:61", primary: "true"}
      eth0: {type: Ethernet, ipaddr: 10.25.114.57}
  n2:
    network devices:
      eth1: {ipaddr: 10.25.114.58}
      eth0: {default: true, ipaddr: 192.168.1.14, netmask: 255.255.255.0}
"""


def test_a_card_of_warewulf_s_that_is_said_to_be_the_primary_one_is_the_node_s(tmp_path):
    text, site = imported(tmp_path, nodes_conf=WAREWULF_CARDS)
    assert [(node.name, node.ip, node.macs) for node in site.nodes] == [
        ("n1", "192.168.1.13", ("52:54:00:87:12:61",)),
        ("n2", "192.168.1.14", ()),
    ]
    assert [[(of.name, of.ip) for of in node.interfaces] for node in site.nodes] == [
        [("eth0", "10.25.114.57")],
        [("eth1", "10.25.114.58")],
    ]
    assert "not understood" not in text and "no file says its address" not in text


def test_what_xcat_says_of_a_network(tmp_path):
    more = """\
    dynamicrange=10.4.9.1-10.4.9.99
    nameservers=10.4.255.1,<xcatmaster>,10.4.255.2
    ntpservers=<xcatmaster>
    mtu=9000
    vlanid=36
    domain=cluster.example.org
    logservers=10.4.255.3
    mgtifname=eth1
"""
    text, site = imported(tmp_path, lsdef=XCAT + more)
    first = site.networks[0]
    assert (first.pool, first.dns) == ("10.4.9.1-10.4.9.99", ("10.4.255.1", "10.4.255.2"))
    assert (first.mtu, first.vlan, first.domain, first.ntp) == (9000, 36, "cluster.example.org", ())
    assert lines(text, "# lsdef:") == [
        "# lsdef:3: node1: vmstorage=dir: not understood",
        "# lsdef:20: logservers=10.4.255.3: not understood",
    ]


RANGES = """\
class "pxe" { match if substring (option vendor-class-identifier, 0, 9) = "PXEClient"; next-server 10.0.10.1; }
subnet 10.0.10.0 netmask 255.255.255.0 {
  interface enp0s8;
  range 10.0.10.2;
  host node-1.testbed.lan { hardware ethernet 00:09:3d:00:11:01; fixed-address 10.0.10.11; }
}
subnet 10.0.11.0 netmask 255.255.255.0 {
  pool { range dynamic-bootp 10.0.11.100 10.0.11.110; deny unknown clients; }
  pool { range 10.0.11.120 10.0.11.130; failover peer "x"; }
  pool { range 10.0.11.140 10.0.11.150; allow members of "pxe"; }
  host node-2 { hardware ethernet 00:09:3d:00:11:02; fixed-address 10.0.11.12; }
}
subnet 10.0.12.0 netmask 255.255.255.0 {
  range 10.0.12.1 10.0.12.99;
  host node-3 { hardware ethernet 00:09:3d:00:11:03; fixed-address 10.0.12.13; }
}
subnet 10.0.13.0 netmask 255.255.255.0 {
  ignore unknown-clients;
  range 10.0.13.100 10.0.13.110;
  host node-4 { hardware ethernet 00:09:3d:00:11:04; fixed-address 10.0.13.14; }
}
"""


def test_a_range_for_strangers_is_the_pool_of_its_network(tmp_path):
    text, site = imported(tmp_path, dhcpd_conf=RANGES)
    pools = ["10.0.10.2-10.0.10.2", "10.0.11.120-10.0.11.130", None, None]
    assert [network.pool for network in site.networks] == pools
    assert [server.ip for server in site.servers] == ["10.0.10.1"]
    assert lines(text, "# dhcpd") + lines(text, "# 10.") == [
        "# dhcpd.conf:8: range dynamic-bootp 10.0.11.100 10.0.11.110: no address for strangers",
        '# dhcpd.conf:9: failover peer "x": not understood',
        "# dhcpd.conf:10: range 10.0.11.140 10.0.11.150: no address for strangers",
        "# dhcpd.conf:19: range 10.0.13.100 10.0.13.110: no address for strangers",
        "# 10.0.12.0/24: range 10.0.12.1-10.0.12.99: 10.0.12.13 lies in it, and a pool is for strangers alone",
    ]


@pytest.mark.parametrize("taken", ["254", "253", "252", "251"])
def test_a_range_with_the_router_or_another_machine_in_it_is_no_pool(tmp_path, taken):
    conf = f"""\
option domain-name-servers 10.0.10.253;
subnet 10.0.10.0 netmask 255.255.255.0 {{
  next-server 10.0.10.1; option routers 10.0.10.254; option ntp-servers 10.0.10.252;
  range 10.0.10.{taken};
  host node-1 {{ hardware ethernet 00:09:3d:00:11:01; fixed-address 10.0.10.11; }}
}}
"""
    text, site = imported(tmp_path, dhcpd_conf=conf, hosts="10.0.10.251 nas\n2001:db8::1 nas\n")
    assert site.network.pool is None
    why = f"10.0.10.{taken} lies in it, and a pool is for strangers alone"
    assert lines(text, "# 10.") == [f"# 10.0.10.0/24: range 10.0.10.{taken}-10.0.10.{taken}: {why}"]
    _, site = imported(
        tmp_path, dhcpd_conf=conf.replace(f"range 10.0.10.{taken}", "range 10.0.10.250")
    )
    assert site.network.pool == "10.0.10.250-10.0.10.250"


IDENTIFIERS = """\
host slot7 { option dhcp-client-identifier "rack1-slot7"; fixed-address 10.0.10.17; }
host old { uid 01:00:11:22:33:44:55; fixed-address 10.0.10.18; }
host port { host-identifier option agent.circuit-id "eth1/0/12"; fixed-address 10.0.10.19; }
"""


def test_what_dhcp_knows_a_node_by_besides_its_card(tmp_path):
    text, site = imported(tmp_path, dhcpd_conf=IDENTIFIERS)
    assert [line.split(": {")[1].split(", ip")[0] for line in lines(text, "  ")[-3:]] == [
        "client_id: rack1-slot7",
        'client_id: "01:00:11:22:33:44:55"',
        "circuit_id: eth1/0/12",
    ]
    assert site.nodes[0].client_id == b"rack1-slot7".hex(":")
    assert lines(text, "# dhcpd") == []


def test_without_a_server_that_files_name_a_free_address_is_none_of_a_pool(tmp_path):
    conf = RANGES.replace(" next-server 10.0.10.1;", "").replace(
        "range 10.0.10.2", "range 10.0.10.1 10.0.10.9"
    )
    _, site = imported(tmp_path, dhcpd_conf=conf)
    assert [server.ip for server in site.servers] == ["10.0.10.10"]


def test_a_free_address_is_no_name_server_s_either(tmp_path):
    conf = """subnet 10.7.0.0 netmask 255.255.255.0 {
      option domain-name-servers 10.7.0.1;
      option ntp-servers 10.7.0.2;
      host n1 { fixed-address 10.7.0.3; }
    }"""
    _, site = imported(tmp_path, dhcpd_conf=conf)
    assert [server.ip for server in site.servers] == ["10.7.0.4"]


def test_hosts_and_ethers(tmp_path):
    ethers = "52:54:00:00:00:01\tc1\n52:54:00:00:00:02\t10.6.0.2\n52:54:00:00:00:03 10.6.0.77\n"
    hosts = "10.6.0.1 c1.x.org c1\n10.6.0.2 c2\n10.6.0.9 nas9\n"
    text, site = imported(tmp_path, ethers=ethers, hosts=hosts)
    assert [(node.name, node.mac, node.ip) for node in site.nodes] == [
        ("c1", "52:54:00:00:00:01", "10.6.0.1"),
        ("c2", "52:54:00:00:00:02", "10.6.0.2"),
    ]
    assert (site.network.domain, site.hosts) == ("x.org", (("10.6.0.9", ("nas9",)),))
    assert "# ethers:3: 52:54:00:00:00:03 10.6.0.77: no file says its name\n" in text


def test_warewulfs_nodes_conf(tmp_path):
    text, site = imported(tmp_path, nodes_conf=WAREWULF)
    first, second = site.nodes
    assert (first.name, first.mac, first.ip) == ("n0001", "aa:bb:cc:dd:ee:02", "10.0.0.101")
    assert (first.groups, first.facts) == (("gpu",), (("gpus", "4"),))
    assert [(one.name, one.ip) for one in first.interfaces] == [
        ("ib0", "10.8.0.101"),
        ("bmc", "10.9.0.1"),
    ]
    assert (second.name, second.mac, second.ip) == ("n0002", "", "10.0.0.102")
    assert site.network.gateway == "10.0.0.254"
    assert lines(text, "# nodes") == [
        "# nodes.conf:11: n[0001-0002]: kernel args quiet: write them as `cmdline:`",
        "# nodes.conf:11: n0001: asset key: not understood",
    ]


def test_nodes_that_boot_different_images_there_are_told_apart_in_comments(tmp_path):
    card = "network devices: {default: {ipaddr: 10.7.0.%s}}"
    text, _ = imported(
        tmp_path,
        nodes_conf="nodeprofiles:\n  default: {image name: rocky}\nnodes:\n"
        f"  n1: {{{card % 1}}}\n  n2: {{{card % 2}}}\n  n3: {{image name: gpu, {card % 3}}}\n",
        lsdef_txt="n4:\n  objtype=node\n  ip=10.7.0.4\n  provmethod=netboot\n  profile=el8\n"
        "n5:\n  objtype=node\n  ip=10.7.0.5\n  provmethod=el9-netboot-gpu\n",
    )
    end = "all have `worker` here; images and `image:` of groups tell them apart"
    assert lines(text, "# nodes") + lines(text, "# lsdef") == [
        f"# nodes.conf:4: n[1-2]: image rocky: {end}",
        f"# nodes.conf:6: n3: image gpu: {end}",
        f"# lsdef.txt:1: n4: image el8: {end}",
        f"# lsdef.txt:6: n5: image el9-netboot-gpu: {end}",
    ]


WAREWULF_46 = """\
nodeprofiles:
  default:
    profiles: [network]
  network:
    network devices: {default: {netmask: 255.255.252.0, gateway: 10.0.0.254}}
  gpu: {tags: {rack: 03}}
nodes:
  grid.n1:
    profiles: [default, gpu]
    network devices: {default: {hwaddr: 52:54:00:12:34:56, ipaddr: 10.0.1.1}}
  grid.n2:
    profiles: [default, gpu, ~gpu]
    network devices: {default: {hwaddr: 52:54:00:12:34:57, ipaddr: 10.0.1.2, onboot: yes}}
  n3: {network devices: {default: {hwaddr: ~, ipaddr: 10.0.1.3}}}
"""


def test_warewulfs_values_are_words(tmp_path):
    """Not the numbers, minutes and nothing that YAML would take them for."""
    _, site = imported(tmp_path, nodes_conf=WAREWULF_46)
    macs = ["52:54:00:12:34:56", "52:54:00:12:34:57", ""]
    assert [node.mac for node in site.nodes] == macs
    assert site.nodes[0].facts == (("rack", "03"),)


def test_a_name_of_warewulfs_may_have_dots(tmp_path):
    text, site = imported(tmp_path, nodes_conf=WAREWULF_46)
    assert [node.name for node in site.nodes] == ["grid-n1", "grid-n2", "n3"], text


def test_a_profile_of_warewulfs_has_profiles_and_a_node_takes_one_back(tmp_path):
    _, site = imported(tmp_path, nodes_conf=WAREWULF_46)
    first, second, third = site.nodes
    assert first.groups == ("network", "gpu")
    assert second.groups == third.groups == ("network",) and second.facts == ()
    assert str(site.network.subnet) == "10.0.0.0/22" and site.network.gateway == "10.0.0.254"


def test_xcats_stanzas(tmp_path):
    text, site = imported(tmp_path, lsdef_txt=XCAT)
    first, second = site.nodes
    assert (first.name, first.macs, first.ip) == ("node1", ("42:d0:0a:01:00:01",), "10.4.0.1")
    assert (first.groups, first.facts) == (("ipmi", "rack-2"), (("rack", "R2"),))
    assert [(one.name, one.ip) for one in first.interfaces] == [
        ("bmc", "50.0.0.1"),
        ("ib0", "10.5.0.1"),
    ]
    assert (second.name, site.servers[0].ip) == ("node2", "10.4.255.1")
    assert lines(text, "# lsdef") == ["# lsdef.txt:3: node1: vmstorage=dir: not understood"]


@pytest.mark.parametrize("text", [CSV, CSV.replace(";", ","), CSV.replace(";", "\t")])
def test_a_table(tmp_path, text):
    said, site = imported(tmp_path, list_csv=text)
    assert [(node.name, node.mac, node.ip) for node in site.nodes] == [
        ("wn1", "aa:bb:cc:dd:ee:02", "10.7.0.1"),
        ("wn2", "aa:bb:cc:dd:ee:04", "10.7.0.2"),
        ("wn3", "", "10.7.0.3"),
    ]
    assert (
        site.nodes[0].facts == (("rack", "12"),) and site.nodes[0].interfaces[0].ip == "10.70.0.1"
    )
    assert lines(said, "# list") == [
        "# list.csv:1: Location: a column that is not understood",
        "# list.csv:4: nonsense: not a MAC address",
    ]


def test_a_table_without_a_head(tmp_path):
    _, site = imported(tmp_path, list_csv="52:54:00:00:00:01,wn1,10.7.0.1\n")
    assert [(node.name, node.mac, node.ip) for node in site.nodes] == [
        ("wn1", "52:54:00:00:00:01", "10.7.0.1")
    ]


def test_macs_without_zeros_as_ethers_and_dhcpd_take_them(tmp_path):
    _, site = imported(
        tmp_path,
        dhcpd_conf="host wn1 { hardware ethernet 0:2:b3:1d:9f:87; fixed-address 10.7.0.1; }\n",
        ethers="0:1e:67:1:2:3 wn2\n",
        hosts="10.7.0.2 wn2\n",
    )
    assert [node.mac for node in site.nodes] == ["00:02:b3:1d:9f:87", "00:1e:67:01:02:03"]


IB = """\
host ib1 {
  option dhcp-client-identifier = ff:00:00:00:00:00:02:00:00:02:c9:00:00:02:c9:03:00:23:13:92;
  fixed-address 10.7.0.1;
}
host ib2 {
  hardware infiniband 80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:23:13:93;
  fixed-address 10.7.0.2;
}
"""


def test_a_node_that_boots_from_infiniband_has_its_guid(tmp_path):
    text, site = imported(tmp_path, dhcpd_conf=IB)
    assert [node.guid[-5:] for node in site.nodes] == ["13:92", "13:93"]
    assert lines(text, "# dhcpd") == []


HARDWARE = """\
hostname,mac,ip_address,netmask,gateway,nameservers,labels,bmc_ip,bmc_password
cp-1,08:00:27:DB:D2:27,10.7.9.3,255.255.240.0,10.7.0.1,10.7.0.53|10.7.0.54,type=cp,10.8.0.3,Secret5
cp-2,08:00:27:DB:D2:28,10.7.9.4,255.255.255.255,10.7.0.1,,type=cp,10.8.0.4,Secret5
"""
DEVICES = """\
nodeprofiles:
  default:
    ipmi: {netmask: 255.255.0.0, password: Secret5}
    network devices: {default: {netmask: 255.255.252.0, gateway: 10.0.3.254, mtu: "9000"}}
nodes:
  n1:
    ipmi: {ipaddr: 10.1.1.1}
    network devices:
      default: {hwaddr: "00:00:00:ff:ff:01", ipaddr: 10.0.1.1, ip6addr: "fd00::1", tags: {DNS: 10.0.0.1}}
      data: {device: eth1, vlan: "12", ipaddr: 10.5.1.1, netmask: 255.255.0.0}
"""


def test_networks_are_as_large_as_a_table_or_warewulf_says(tmp_path):
    text, site = imported(tmp_path, hardware_csv=HARDWARE)
    first = site.networks[0]
    assert (first.subnet, first.gateway) == ("10.7.0.0/20", "10.7.0.1")
    assert first.dns == ("10.7.0.53", "10.7.0.54") and "Secret5" not in text
    assert "# hardware.csv:3: 10.7.9.4/32: /32 is too small for a subnet of nodes\n" in text

    text, site = imported(tmp_path, nodes_conf=DEVICES)
    told = [(one.subnet, one.gateway, one.mtu, one.vlan) for one in site.networks]
    assert told == [
        ("10.0.0.0/22", "10.0.3.254", 9000, None),
        ("10.5.0.0/16", None, None, 12),
        ("10.1.0.0/16", None, None, None),
    ]
    assert site.nodes[0].ip6 == "fd00::1" and "Secret5" not in text
    assert "# nodes.conf:6: n1: network device default: tags: not understood\n" in text
    assert "guessed" not in text


NAMES = """\
10.6.0.1 head.x.org head loghost
10.6.0.11 wn1.x.org wn1 wn1-eth0
fd00::11 wn1
10.6.0.12 wn2 wn_2 nas
10.6.0.12 gpu-a
10.6.0.13 wn3 wn1-eth0
10.7.0.13 wn3-ib
fd00:7::13 wn3-ib
10.6.0.250 nas
"""


def test_names_of_hosts_are_each_one_machine_s(tmp_path):
    """Of a node all that have its address, also IPv6's; the server's are taken by no other."""
    cards = "".join(f"52:54:00:00:00:0{at} wn{at}\n" for at in (1, 2, 3))
    text, site = imported(tmp_path, hosts=NAMES, ethers=cards)
    told = [(node.name, node.ip6, node.aliases) for node in site.nodes]
    assert told == [("wn1", "fd00::11", ("wn1-eth0",)), ("wn2", "", ("gpu-a",)), ("wn3", "", ())]
    assert site.nodes[2].interfaces[0].ip6 == "fd00:7::13"
    assert dict(site.hosts)["10.6.0.1"] == ("head.x.org", "head", "loghost")
    assert site.servers[0].ip not in ("10.6.0.1", "10.6.0.11")
    for line in (
        "hosts:4: wn_2: not an",
        "ethers:2: wn2: nas: the",
        "ethers:3: wn3: wn1-eth0: the",
    ):
        assert f"# {line}" in text


STANZA = """\
cn7:
    objtype=node
    ip=10.7.2.7
    mac=b4:05:5d:aa:34:c8|b4:05:5d:aa:34:c9!cn7-eth1|b4:05:5d:aa:34:ca!cn7-eth2
    nicips.eth1=10.9.2.7
    nichostnamesuffixes.eth1=-eth1
    nichostnamesuffixes.ib0=-ib
    nicips.bond0.2=10.10.2.7
"""


def test_what_xcat_says_of_further_cards(tmp_path):
    text, site = imported(tmp_path, x_stanza=STANZA)
    cards = [(one.name, one.ip, one.mac) for one in site.nodes[0].interfaces]
    assert cards == [("eth1", "10.9.2.7", "b4:05:5d:aa:34:c9")]
    assert lines(text, "# x.stanza") == [
        "# x.stanza:1: cn7: nichostnamesuffixes.ib0=-ib: not understood",
        "# x.stanza:1: bond0.2: not an interface's name",
        "# x.stanza:1: cn7: eth2 b4:05:5d:aa:34:ca: no file says its address",
    ]


XCATS = """\
key xcat_key { algorithm hmac-md5; secret "Secret5"; }; omapi-key xcat_key;
subnet 10.7.0.0 netmask 255.255.255.0 {
  option interface-mtu 9000; option domain-search "x.org", "example.org";
  host wn1 { hardware ethernet 52:54:00:00:00:01; fixed-address 10.7.0.1; }
}
"""


def test_what_dhcpd_tells_a_network_is_the_network_s(tmp_path):
    text, site = imported(tmp_path, dhcpd_conf=XCATS)
    assert (site.network.mtu, site.network.search) == (9000, ("x.org", "example.org"))
    assert lines(text, "# dhcpd") == [
        "# dhcpd.conf:1: key xcat_key: not understood",
        "# dhcpd.conf:1: omapi-key xcat_key: not understood",
    ]


def test_a_second_address_of_a_port_is_a_comment(tmp_path):
    stanza = "wn1:\n    objtype=node\n    ip=10.7.0.1\n    nicips.eth1=10.8.0.7|10.9.0.7\n"
    text, site = imported(tmp_path, x_stanza=stanza)
    assert [one.ip for one in site.nodes[0].interfaces] == ["10.8.0.7"]
    assert "# x.stanza:1: wn1: nicips.eth1: 10.9.0.7: a second address of it\n" in text


@pytest.mark.parametrize("name", ["two-nodes", "two-servers", ""])
def test_what_we_generate_comes_back_as_the_same_nodes(name, tmp_path):
    golden = REPOSITORY / f"tests/golden/{name}/site.yaml"
    before = site_of(tmp_path, golden.read_text() if name else CARDS)
    files = {path: data.decode() for path, data in render.render_configs(before).items()}
    text, after = imported(
        tmp_path, dhcpd_conf=files["dhcpd.conf"], hosts=files["hosts"], ethers=files["ethers"]
    )
    assert lines(text, "# dhcpd") == []

    def cards(site: Site) -> list:
        found = []
        for node in site.nodes:
            if node.macs:
                more = {(one.name, one.ip, one.mac, one.guid) for one in node.interfaces if one.ip}
                found.append((node.name, set(node.macs), node.ip, node.aliases, more))
        return found

    assert cards(after) == cards(before)


def test_what_is_no_such_file_is_said_and_nothing_is_printed(tmp_path):
    (tmp_path / "letter").write_text("Dear sir\n")
    with pytest.raises(BadInput) as caught:
        read_files([str(tmp_path / "letter"), str(tmp_path / "none")])
    first, second = caught.value.problems
    assert str(first).startswith(f"{tmp_path}/letter:1:1: a file of no known kind; dhcpd.conf, ")
    assert str(second).startswith(f"{tmp_path}/none:1:1: No such file")


def test_it_needs_no_site_and_prints_nothing_else(doit: Doit):
    (doit.folder / "list.csv").write_text(CSV)
    out = doit("import", str(doit.folder / "list.csv"))
    assert out.startswith("# Of ") and "\nnodes:\n  wn1: {mac: " in out
    assert "import: no file; " in doit("import", status=3)
    assert ":1:1: No such file" in doit("import", str(doit.folder / "none"), status=3)


def test_a_full_disk_is_one_line(doit: Doit):
    (doit.folder / "list.csv").write_text(CSV)
    with open("/dev/full", "w") as full:
        run = doit.start(
            "import", str(doit.folder / "list.csv"), stdout=full, stderr=subprocess.PIPE
        )
        said = run.communicate()[1]
    assert (run.returncode, said) == (2, "ERROR: standard output: No space left on device\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dhcpd.conf", "host wn1 { hardware ethernet 52:54:00:00:00:01; fixed-address 10.7.0.1; }"),
        ("nodes.conf", "nodes:\r\n  wn1: {network devices: {default: {ipaddr: 10.7.0.1}}}\r\n"),
        ("list.csv", "name;ip\r\nwn1;10.7.0.1\r\n"),
        ("stanzas", "wn1:\r\n  objtype=node\r\n  ip=10.7.0.1\r\n"),
    ],
)
def test_files_as_windows_writes_them(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read_files([str(tmp_path / name)]).nodes["wn1"].ip == "10.7.0.1"


TWO_MACHINES = {
    "dhcpd_conf": """\
host n1.east.example.org { hardware ethernet 52:54:00:00:00:01; fixed-address 10.7.0.1; }
host n1.west.example.org { hardware ethernet 52:54:00:00:00:02; fixed-address 10.7.0.2; }
""",
    "list_csv": """\
name,mac,ip
n1,52:54:00:00:00:01,10.7.0.1
n1,52:54:00:00:00:02,10.7.0.2
""",
    "lsdef_txt": """\
n1.east:
  objtype=node
  ip=10.7.0.1
  mac=52:54:00:00:00:01
n1.west:
  objtype=node
  ip=10.7.0.2
  mac=52:54:00:00:00:02
""",
}


@pytest.mark.parametrize("kind", TWO_MACHINES)
def test_a_second_machine_of_a_name_never_gets_the_address_of_the_first(tmp_path, kind):
    """Its card would boot as that node, beside it."""
    text, site = imported(tmp_path, **{kind: TWO_MACHINES[kind]})
    assert [node.macs for node in site.nodes] == [("52:54:00:00:00:01",)]
    (said,) = lines(text, f"# {kind.replace('_', '.')}")
    assert ": n1 10.7.0.2" in said and said.endswith(": has 10.7.0.1 already")


def test_a_host_that_a_lease_file_says_is_deleted_is_none(tmp_path):
    """As xCAT and others that ask dhcpd by OMAPI leave them in dhcpd.leases."""
    kept = "hardware ethernet 52:54:00:00:00:0{0};\n fixed-address 10.7.0.{0};\n"
    text, site = imported(
        tmp_path,
        dhcpd_leases=f"""\
host n1 {{ dynamic; {kept.format(1)} supersede server.next-server = 0a:07:00:fe; }}
host n2 {{ dynamic; {kept.format(2)} }}
host n2 {{ dynamic; deleted; }}
host n3 {{ dynamic; {kept.format(4)} }}
host n3 {{ dynamic; deleted; }}
host n3 {{ dynamic; {kept.format(3)} }}
""",
    )
    assert [(node.name, node.ip) for node in site.nodes] == [("n1", "10.7.0.1"), ("n3", "10.7.0.3")]


def test_a_table_whose_head_is_a_comment_as_tabdump_of_xcat_writes_it(tmp_path):
    """Told by its looks alone, the address of a node's BMC would be the node's own."""
    text, site = imported(
        tmp_path,
        hosts_csv='#node,ip,otherinterfaces\n"n1","10.7.0.1","-ib:10.8.0.1"\n',
        ipmi_csv='#node,bmc,password\n"n1","10.9.0.1","Secret5"\n',
    )
    (node,) = site.nodes
    assert (node.ip, node.interfaces[0].ip) == ("10.7.0.1", "10.9.0.1")
    assert lines(text, "# hosts") == [
        "# hosts.csv:1: otherinterfaces: a column that is not understood"
    ]
    assert "Secret5" not in text


def test_a_column_that_no_head_names_is_told_of_once(tmp_path):
    row = "52:54:00:00:00:0{0},wn{0},10.7.0.{0},,gpu\n"
    text, _ = imported(tmp_path, list_csv=row.format(1) + row.format(2))
    assert lines(text, "# list") == ["# list.csv:1: column 5: no head says what it is"]


def test_a_row_of_more_cells_than_columns_is_told_of(tmp_path):
    """A comma in a cell that is not quoted moves all behind it."""
    text, _ = imported(tmp_path, list_csv="name,ip,rack\nwn1,10.7.0.1,3\nwn2,10.7.0.2,4, left,\n")
    said = "wn2: more cells than columns: what is behind is left out"
    assert lines(text, "# list") == [f"# list.csv:3: {said}"]


def test_an_address_with_its_prefix_as_netbox_writes_it(tmp_path):
    _, site = imported(tmp_path, list_csv="Name,IP Address\nwn1,10.7.4.1/22\nwn2,10.7.5.1/22\n")
    assert [node.ip for node in site.nodes] == ["10.7.4.1", "10.7.5.1"]
    assert site.networks[0].subnet == "10.7.4.0/22"


@pytest.mark.parametrize(
    "text",
    [
        "NodeName=n[1-9] CPUs=4,State=UNKNOWN\n",
        '{"Dhcp4": {"subnet4": [],\n "x": 1}}\n',
        "wn[001-004] compute,rack=1\n",
    ],
)
def test_what_has_commas_and_no_column_of_names_is_no_table(tmp_path, text):
    with pytest.raises(BadInput, match=r"other:1:1: a file of no known kind \(.*name, node or"):
        imported(tmp_path, other=text)


def test_a_secret_of_another_program_comes_into_no_site(tmp_path):
    """Comments are read by all who read the repository, and facts by whoever asks the TFTP server."""
    tags = "{switch_password: Secret5, wg_key: Secret5, RootPW: Secret5, keyboard: de}"
    text, site = imported(
        tmp_path,
        nodes_conf=f"nodes:\n  n1:\n    tags: {tags}\n"
        "    network devices: {default: {ipaddr: 10.7.0.1}}\n",
        lsdef_txt="n2:\n  objtype=node\n  ip=10.7.0.2\n  iscsipassword=Secret5\n"
        "  passwd.hscroot=Secret5\n  snmpauth=Secret5\n",
        list_csv="n3,10.7.0.3,ADMIN,Secret5\n",
        dhcpd_conf='omapi-secret "Secret5";\n'
        'host n4 { fixed-address 10.7.0.4; option authentication-key "Secret5"; }\n',
    )
    assert "Secret5" not in text
    assert site.nodes[0].facts == (("keyboard", "de"),)
    said = "not understood, and not repeated: it may be a secret"
    for line in ("nodes.conf:2: n1: switch_password", "lsdef.txt:1: n2: iscsipassword"):
        assert f"# {line}: {said}" in text.splitlines()
    assert "# list.csv:1: column 4: no head says what it is" in text.splitlines()


def test_what_is_not_understood_of_many_nodes_is_one_comment(tmp_path):
    many = "".join(
        f"n{at}:\n  objtype=node\n  ip=10.7.0.{at}\n  vmstorage=x\n" for at in range(1, 9)
    )
    text, _ = imported(tmp_path, lsdef_txt=many)
    assert lines(text, "# lsdef") == ["# lsdef.txt:1: n[1-8]: vmstorage=x: not understood"]


def test_five_times_as_many_networks_are_about_five_times_the_work(tmp_path):
    """Of hosts in networks with ranges: each was compared with all. Calls are counted, not seconds."""

    def calls(networks: int) -> int:
        path = tmp_path / f"dhcpd{networks}.conf"
        path.write_text("".join(map(rack, range(networks))))
        seen: Counter[str] = Counter()
        sys.setprofile(lambda frame, event, of: seen.update([event]))
        try:
            site_text(read_files([str(path)]), [str(path)])
        finally:
            sys.setprofile(None)
        return seen["call"] + seen["c_call"]

    assert calls(30) < 7 * calls(6)


def rack(at: int) -> str:
    """A network of a hundred hosts with a range for strangers."""
    hosts = "".join(
        f"host n{at}-{of} {{ hardware ethernet 02:00:00:00:{at:02x}:{of:02x};"
        f" fixed-address 10.7.{at}.{of}; }}\n"
        for of in range(1, 101)
    )
    return f"subnet 10.7.{at}.0 netmask 255.255.255.0 {{ range 10.7.{at}.200 10.7.{at}.220; {hosts} }}\n"


SERVICES = """\
subnet 10.1.0.0 netmask 255.255.255.248 {
  option routers 10.1.0.6;
  option domain-name-servers 10.1.0.5;
  next-server install;
  host gw { hardware ethernet 52:54:00:00:00:01; fixed-address 10.1.0.6; }
  host ns { hardware ethernet 52:54:00:00:00:02; fixed-address 10.1.0.5; }
  host install { hardware ethernet 52:54:00:00:00:03; fixed-address 10.1.0.4; }
  host all-ones { hardware ethernet 52:54:00:00:00:04; fixed-address 10.1.0.7; }
  host net { hardware ethernet 52:54:00:00:00:05; fixed-address 10.1.0.0; }
  host boot1 { hardware ethernet 52:54:00:00:00:06; fixed-address 10.1.0.1; }
}
"""


def test_routers_and_servers_that_dhcpd_knows_as_hosts_are_no_nodes(tmp_path):
    """A site in which a node has such an address is refused."""
    text, site = imported(tmp_path, dhcpd_conf=SERVICES)
    assert [node.name for node in site.nodes] == ["boot1"]
    assert [(server.name, server.ip) for server in site.servers] == [("install", "10.1.0.4")]
    assert site.hosts == (("10.1.0.5", ("ns",)), ("10.1.0.6", ("gw",)))
    edge = "the first or last address of its network, which no machine can have"
    assert lines(text, "# dhcpd") == [
        f'# dhcpd.conf:9: net: {{mac: "52:54:00:00:00:05", ip: 10.1.0.0}}: {edge}',
        "# dhcpd.conf:7: install: nodes boot from it",
        '# dhcpd.conf:6: ns: {mac: "52:54:00:00:00:02", ip: 10.1.0.5}: '
        "a name server of its network: below `hosts:`",
        '# dhcpd.conf:5: gw: {mac: "52:54:00:00:00:01", ip: 10.1.0.6}: '
        "the router of its network: below `hosts:`",
        f'# dhcpd.conf:8: all-ones: {{mac: "52:54:00:00:00:04", ip: 10.1.0.7}}: {edge}',
    ]


def test_a_full_network_and_a_node_called_boot1_leave_a_server_to_be_named(tmp_path):
    hosts = (
        f"host n{at} {{ hardware ethernet 52:54:00:00:00:0{at}; fixed-address 10.1.0.{at}; }}\n"
        for at in range(1, 7)
    )
    subnet = "subnet 10.1.0.0 netmask 255.255.255.248 { }\n"
    path = tmp_path / "dhcpd.conf"
    path.write_text(subnet + "".join(hosts).replace("n1 ", "boot1 "))
    text = site_text(read_files([str(path)]), [str(path)])
    (said,) = lines(text, "# boot2")
    assert said.endswith("no address is free: write its own")
    with pytest.raises(BadInput, match="servers.boot2.ip: 192.0.2.1 not in 10.1.0.0/29"):
        site_of(tmp_path, text)


DNSMASQ = """\
# of the head node
interface=eth1   # the cluster's
domain=grid.example.org
dhcp-range=set:nodes,10.7.0.100,10.7.0.120,255.255.255.0,30m
dhcp-range = set:bmc, 10.9.0.0, static, 255.255.0.0
dhcp-range=10.8.0.10,10.8.0.20,12h
dhcp-option=3,10.7.0.254
dhcp-option=tag:nodes,option:ntp-server,10.7.0.2,10.7.0.3
dhcp-option=tag:nodes,66,x
dhcp-boot=pxelinux.0,head,10.7.0.1
dhcp-host=08:00:27:AB:10:01,10.7.0.11,wn1.grid.example.org,infinite
dhcp-host=wn2,set:red,08:00:27:ab:10:02,08:00:27:ab:10:03,10.7.0.12,12h
  dhcp-host=01-08:00:27:ab:10:04,id:01:02,wn3,10.7.0.13
dhcp-host=08:00:27:ab:11:01,10.9.0.11,wn1-bmc
dhcp-host=08:00:27:ab:10:09,ignore
dhcp-host=08:00:27:ab:10:0a,10.7.0.19
host-record=nas,nas.grid.example.org,10.7.0.200
address=/x.example.org/10.7.0.201
conf-dir=/etc/dnsmasq.d
"""


def test_what_dnsmasq_serves_by_dhcp(tmp_path):
    text, site = imported(tmp_path, dnsmasq_conf=DNSMASQ)
    assert [(node.name, node.ip, *node.macs) for node in site.nodes] == [
        ("wn1", "10.7.0.11", "08:00:27:ab:10:01"),
        ("wn2", "10.7.0.12", "08:00:27:ab:10:02", "08:00:27:ab:10:03"),
        ("wn3", "10.7.0.13", "08:00:27:ab:10:04"),
    ]
    assert site.nodes[2].client_id == "01:02"
    assert [(one.name, one.ip) for one in site.nodes[0].interfaces] == [("bmc", "10.9.0.11")]
    nodes, bmcs = site.networks
    assert (nodes.subnet, nodes.pool) == ("10.7.0.0/24", "10.7.0.100-10.7.0.120")
    assert (nodes.gateway, nodes.ntp) == ("10.7.0.254", ("10.7.0.2", "10.7.0.3"))
    assert (bmcs.subnet, bmcs.gateway) == ("10.9.0.0/16", None)
    assert nodes.domain == "grid.example.org" and site.servers[0].ip == "10.7.0.1"
    assert site.hosts == (("10.7.0.200", ("nas", "nas.grid.example.org")),)
    assert lines(text, "# dnsmasq") == [
        "# dnsmasq.conf:6: dhcp-range=10.8.0.10,10.8.0.20,12h: it does not say how large its network is",
        "# dnsmasq.conf:9: dhcp-option=tag:nodes,66,x: not understood",
        "# dnsmasq.conf:15: dhcp-host=08:00:27:ab:10:09,ignore: not understood",
        "# dnsmasq.conf:16: dhcp-host=08:00:27:ab:10:0a,10.7.0.19: not understood",
        "# dnsmasq.conf:18: address=/x.example.org/10.7.0.201: not understood",
        "# dnsmasq.conf:19: conf-dir=/etc/dnsmasq.d: not understood",
    ]


@pytest.mark.parametrize(
    ("range_", "subnet", "pool"),
    [
        ("192.168.1.50,192.168.1.99,255.255.255.0,12h", "192.168.1.0/24", "192.168.1.50-192.168.1.99"),
        ("192.168.1.50,192.168.1.99,255.255.0.0,192.168.255.255", "192.168.0.0/16", "192.168.1.50-192.168.1.99"),
        ("tag:x,set:y,128.3.0.0,static,255.255.254.0", "128.3.0.0/23", None),
    ],
)  # fmt: skip
def test_a_range_of_dnsmasq_has_its_netmask_behind_its_addresses(range_, subnet, pool, tmp_path):
    """Whatever they begin with: 192 and 128 are bytes of netmasks, too."""
    host = f"{subnet.partition('/')[0][:-1]}7"
    text = f"dhcp-range={range_}\ndhcp-host=08:00:27:ab:10:01,wn1,{host}\n"
    _, site = imported(tmp_path, dnsmasq_conf=text)
    assert [(one.subnet, one.pool) for one in site.networks] == [(subnet, pool)]


@pytest.mark.parametrize("name", ["two-nodes", "two-servers", "racks", ""])
def test_what_we_generate_for_dnsmasq_comes_back_as_the_same_nodes(name, tmp_path):
    golden = REPOSITORY / f"tests/golden/{name}/site.yaml"
    before = site_of(tmp_path, golden.read_text() if name else CARDS)
    files = {path: data.decode() for path, data in render.render_configs(before).items()}
    text, after = imported(tmp_path, dnsmasq_conf=files["dnsmasq.conf"], hosts=files["hosts"])
    odd = 3 if name == "racks" else 0  # options by numbers
    assert len(lines(text, "# dnsmasq")) == odd, text

    def cards(site: Site) -> list:
        known = [node for node in site.nodes if node.macs or node.guid or node.client_id]
        return [(node.name, set(node.macs), node.ip, node.aliases) for node in known]

    assert cards(after) == cards(before)
    domains = {one.subnet: one.domain for one in before.networks}
    for one in after.networks:
        assert (one.subnet, one.domain) == (one.subnet, domains[one.subnet])


@pytest.mark.parametrize("rows", [50, 9000])
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path, rows):
    """Of many rows the cell is longer than Python's csv takes."""
    lines = [f"n{at},10.7.{at // 250}.{at % 250 + 1},rack" for at in range(rows)]
    lines[3] = lines[3].replace("rack", '"rack 3')
    with pytest.raises(BadInput, match=r'list.csv:5:1: a cell that begins with " and does not end'):
        imported(tmp_path, list_csv="name,ip,place\n" + "\n".join(lines))


@pytest.mark.parametrize(
    "text",
    ["group {" * 3000 + "host n1 { fixed-address 10.0.0.1; }", "nodes:\n  n1: " + "[" * 3000],
)
def test_a_file_without_a_bottom_is_one_line(tmp_path, text):
    with pytest.raises(BadInput, match="other:1:1: blocks in blocks, far too deep"):
        imported(tmp_path, other=text)


def test_routers_and_servers_may_be_called_by_name(tmp_path):
    text, site = imported(
        tmp_path,
        dhcpd_conf="""subnet 10.7.0.0 netmask 255.255.255.0 {
          option routers gw.example.org;
          option domain-name-servers ns1, 10.7.0.53;
          option ntp-servers clock, nobody;
          next-server head.example.org;
          host n1 { fixed-address 10.7.0.1; }
          host head { fixed-address 10.7.0.250; }
        }""",
        hosts="10.7.0.254 gw.example.org gw\n10.7.0.52 ns1\n10.7.0.51 clock\n",
    )
    network = site.network
    assert (network.gateway, network.dns) == ("10.7.0.254", ("10.7.0.52", "10.7.0.53"))
    assert [(one.name, one.ip) for one in site.servers] == [("head", "10.7.0.250")]
    said = "# 10.7.0.0/24: ntp 10.7.0.51, nobody: not an IPv4 address"
    assert lines(text, "# 10.7") == [said]


def test_a_last_statement_without_its_semicolon_is_one(tmp_path):
    text, site = imported(
        tmp_path,
        dhcpd_conf="""host n1 { hardware ethernet 52:54:00:00:00:01; fixed-address 10.7.0.1 }
        host n2 { fixed-address 10.7.0.2; hardware ethernet 52:54:00:00:00:02 }
        host n3 { fixed-address 10.7.0.3; option odd 7 }
        next-server 10.7.0.250""",
    )
    assert [(node.ip, len(node.macs)) for node in site.nodes] == [
        ("10.7.0.1", 1),
        ("10.7.0.2", 1),
        ("10.7.0.3", 0),
    ]
    assert lines(text, "# dhcpd") == ["# dhcpd.conf:3: host n3: option odd 7: not understood"]
    assert site.servers[0].ip == "10.7.0.250"


def test_a_brace_too_many_ends_no_file(tmp_path):
    host = "host n{0} {{ fixed-address 10.7.0.{0}; }} }}\n"
    _, site = imported(tmp_path, dhcpd_conf="".join(map(host.format, range(1, 5))))
    assert [node.name for node in site.nodes] == ["n1", "n2", "n3", "n4"]
