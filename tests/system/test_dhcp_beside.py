"""What is added to a DHCP server that serves others, too, speaks for our nodes alone: real servers, real clients."""

from __future__ import annotations

import os
import pathlib

import pytest

from tasks.core.config import render
from tasks.core.site import values
from tasks.core.site.load import read_site
from tests.support import dhcp_client, sample_site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: beside
network: {subnet: 172.24.10.0/24, gateway: 172.24.10.254, dns: [172.24.10.53], domain: grid.example.org}
servers: {boot1: {ip: 172.24.10.1}}
images: {worker: {reference: {path: .}}}
nodes: {wn001: {mac: "52:54:00:00:00:01", ip: 172.24.10.100}}
"""
SERVER = ("172.24.10.1/24", "10.5.100.1/24")  # a cable each: of the nodes, of the others
DNSMASQ = f"""\
port=0
dhcp-range=10.5.100.50,10.5.100.99,255.255.255.0,1h
dhcp-leasefile=/run/theirs.leases
dhcp-lease-max=10
conf-dir={dhcp_client.FOLDER}/drop,*.conf
"""
DHCPD = f"""\
ddns-update-style standard; ddns-domainname "x.example.org"; ddns-rev-domainname "in-addr.arpa";
key k {{ algorithm hmac-md5; secret aGVsbG9oZWxsb2hlbGxvaGVsbG8=; }}
zone x.example.org. {{ primary 127.0.0.1; key k; }}
BEFORE
include "{dhcp_client.FOLDER}/dhcpd.conf";
AFTER
subnet 10.5.100.0 netmask 255.255.255.0 {{ range 10.5.100.50 10.5.100.99; THEIRS }}
"""
NODE, STRANGER = "52:54:00:00:00:01", "52:54:00:ff:00:01"
ASKED = [
    {"mac": NODE, "options": ["0x5d:0007", "hostname:wn001"]},
    {"mac": STRANGER, "options": [], "tries": 2},  # on our network
    {"mac": STRANGER, "options": ["0x5d:0007", "0x4d:69505845", "hostname:guest"], "cable": 1},
    {"mac": NODE, "options": ["0x5d:0007"], "cable": 1},
]


def beside(folder: pathlib.Path, server: str, main: str, more: str = "", asked: list = ASKED):
    """What the clients got, and what the server said, whose admin's own file is `main`."""
    (folder / "site.yaml").write_text(SITE + more)
    for name, data in render.render_configs(read_site(str(folder / "site.yaml"), ())[0]).items():
        path = folder / ("drop/plugnode.conf" if name == "dnsmasq.conf" else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / dhcp_client.MAIN[server]).write_text(main)
    return dhcp_client.shake(folder, server, asked, *SERVER)


def is_a_node(answer: dict[str, str]) -> None:
    assert (answer["ip"], answer["hostname"], answer["siaddr"]) == (
        "172.24.10.100",
        "wn001",
        "172.24.10.1",
    )
    assert (answer["router"], answer["dns"], answer["domain"]) == (
        "172.24.10.254",
        "172.24.10.53",
        "grid.example.org",
    )
    assert (answer.get("bootfile") or answer["boot_file"]) == "shimx64.efi"


def is_not(answer: dict[str, str]) -> None:
    """An answer that is the admin's own, with nothing of Plugnode's."""
    assert answer["ip"].startswith("10.5.100.")
    assert not {"dns", "domain", "ntpsrv", "bootfile", "boot_file"} & answer.keys(), answer


def test_a_dnsmasq_goes_on_serving_others_as_before_beside_the_drop_in(tmp_path):
    (node, stranger, other, abroad), said = beside(
        tmp_path, "dnsmasq", DNSMASQ, "deploy: {dhcp: dnsmasq}\n"
    )
    is_a_node(node)
    assert stranger is None
    for answer in (other, abroad):
        is_not(answer)
        assert (answer["router"], answer["lease"]) == ("10.5.100.1", "3600")  # dnsmasq's own words
    assert "repeated" not in said


def test_dnsmasqs_own_words_for_the_others_stay_its_own(tmp_path):
    main = DNSMASQ + "dhcp-match=set:ipxe,175\ndhcp-boot=theirs.0\ndhcp-option=6,10.5.100.53\n"
    (node, _, other, abroad), _ = beside(tmp_path, "dnsmasq", main, "deploy: {dhcp: dnsmasq}\n")
    is_a_node(node)
    for answer in (other, abroad):
        assert (answer["bootfile"], answer["dns"]) == ("theirs.0", "10.5.100.53")


def test_a_node_gets_its_address_with_a_new_card_though_dnsmasq_keeps_leases(tmp_path):
    """Not for ever, as the file of a dnsmasq of its own says, where nothing is remembered."""
    (node, *_), _ = beside(tmp_path, "dnsmasq", DNSMASQ, "deploy: {dhcp: dnsmasq}\n")
    assert int(node["lease"]) == 3600
    drop_in = (tmp_path / "drop/plugnode.conf").read_text()
    assert (
        "leasefile-ro" not in drop_in
        and "dhcp-lease-max" not in drop_in
        and "infinite" not in drop_in
    )


WORDS = {  # what others write in a dhcpd.conf, before and after the include
    "nothing": ("", "", ""),
    "its own word for the architecture": (
        "option arch code 93 = unsigned integer 16;",
        "",
        'if option arch = 00:07 { option domain-name "theirs"; filename "theirs.efi"; }',
    ),
    "one that comes later": (
        "",
        "option client-architecture code 93 = unsigned integer 16;",
        'if option client-architecture = 00:07 { option domain-name "theirs"; filename "theirs.efi"; }',
    ),
}


@pytest.mark.parametrize("words", WORDS)
def test_a_dhcpd_goes_on_with_dynamic_dns_and_its_own_words_beside_the_include(tmp_path, words):
    before, after, theirs = WORDS[words]
    main = DHCPD.replace("BEFORE", before).replace("AFTER", after).replace("THEIRS", theirs)
    (node, stranger, other, abroad, first), _ = beside(
        tmp_path, "dhcpd", main, asked=[*ASKED, "update"]
    )
    is_a_node(node)
    assert (
        stranger is None
        and b"guest".hex() in first["update"]
        and b"wn001".hex() not in first["update"]
    )
    for answer in (other, abroad):
        assert answer["ip"].startswith("10.5.100.")
        own = (answer.get("domain"), answer.get("boot_file"))
        assert own == (("theirs", "theirs.efi") if theirs else (None, None))


NAMES = "infinite ignore 12h 3s 2w 1d 5m deny all host not known none set tag id e1 0a 1e5 12hh h12 5x 1-2 beef".split()


def is_refused(name: str) -> bool:
    try:
        return values.host(name) != name
    except values.InvalidValue:
        return True


@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
def test_a_name_that_is_a_word_of_some_server_is_refused_or_given_by_all_three(tmp_path, server):
    names = [name for name in NAMES if not is_refused(name)]
    assert len(names) > 12 and not {"infinite", "ignore", "12h", "2w"} & set(names)
    lines = [
        f'  {name}: {{mac: "52:54:00:00:01:{at:02}", ip: 172.24.10.{at}}}'
        for at, name in enumerate(names, 20)
    ]
    text = SITE[: SITE.index("nodes:")] + "nodes:\n" + "\n".join(lines) + "\n"
    (tmp_path / "site.yaml").write_text(text)
    site = read_site(str(tmp_path / "site.yaml"), ())[0]
    for path, data in render.render_configs(site).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data.replace(b"/tftpboot", b"/tmp"))
    asked = [{"mac": node.mac, "options": []} for node in site.nodes]
    answers, _ = dhcp_client.shake(tmp_path, server, asked, SERVER[0])
    assert [(answer["hostname"], answer["ip"]) for answer in answers] == [
        (node.name, node.ip) for node in site.nodes
    ]


def test_only_more_nodes_than_dnsmasq_has_leases_raise_its_limit(tmp_path):
    text = SITE[: SITE.index("nodes:")].replace("/24", "/16").replace("172.24.10.0", "172.24.0.0")
    line = "  wn{0}-{1}: {{mac: '52:54:00:01:{0:02x}:{1:02x}', ip: 172.24.{0}.{1}}}"
    lines = [line.format(*divmod(at, 100)) for at in range(2001, 3102) if at % 100]
    (tmp_path / "site.yaml").write_text(
        text + "nodes:\n" + "\n".join(lines) + "\ndeploy: {dhcp: dnsmasq}\n"
    )
    drop_in = render.render_configs(read_site(str(tmp_path / "site.yaml"), ())[0])[
        "dnsmasq.conf"
    ].decode()
    assert f"\ndhcp-lease-max={len(lines) + 1000}\n" in drop_in


@pytest.mark.parametrize(
    ("deploy", "is_warned"),
    [
        ("dhcp: kea", False),
        ("dhcp: kea, dhcp_conf: /etc/kea/mine.conf", True),
        ("dhcp: isc, dhcp_conf: /etc/dhcp/mine", False),
    ],
)
def test_a_file_of_keas_that_nothing_would_read_is_warned_of(doit, deploy, is_warned):
    sample_site.write(doit.site, doit.folder)
    with doit.site.open("a") as site:
        site.write(f"deploy: {{{deploy}}}\n")
    out = doit("check")
    assert (
        "warning  deploy.dhcp_conf: /etc/kea/mine.conf is a whole configuration" in out
    ) == is_warned, out
