"""The initrd on a wire: virtual cards in namespaces, a real DHCP client, and servers of the site and of strangers."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from tasks.core.config.render import render_configs
from tasks.core.site.load import read_site
from tasks.core.config.site_image import site_img
from tasks.core.base.ssh import allowed_signers
from tasks.core.initrd import busybox
from tasks.core.trust.signatures import sign
from tests.support.commands import REPOSITORY
from tests.support.sample_site import put

OVERLAY = REPOSITORY / "overlays" / "initrd"
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("dnsmasq"),
    reason="needs root, for network namespaces, and dnsmasq",
)
SITE = "site=grid\nsubnet=172.24.10.0/24\ngateway=172.24.10.254\ndns=172.24.10.53,172.24.10.54\ndomain=grid.example\n"
NODES = "172.24.10.100\twn001\t52:54:00:00:00:01\t-\tdefault\t-\n"

# Run in namespaces of its own; the node has one more, whose /sys knows its cards only
SETTING = """\
set -eu
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip netns add node
ip link set lo up
ip link add wire type bridge
ip link set wire up
ip addr add 172.24.10.1/24 dev wire
card() {{ # NAME MAC wire|none
  ip link add "p-$1" type veth peer name "$1" address "$2" netns node
  [ "$3" = none ] || {{ ip link set "p-$1" master wire && ip link set "p-$1" up; }}
}}
site() {{ # WORDS… of dnsmasq
  serve site wire "$@"
}}
stranger() {{ # WORDS…
  ip netns add stranger
  ip link add p-stranger type veth peer name eth9 netns stranger
  ip link set p-stranger master wire
  ip link set p-stranger up
  ip -n stranger link set eth9 up
  ip -n stranger addr add 172.24.10.66/24 dev eth9
  serve "ip netns exec stranger" eth9 --dhcp-authoritative --dhcp-range=172.24.10.200,172.24.10.220,1h "$@"
}}
serve() {{ # WHERE CARD WORDS…
  where=${{1#site}} on=$2
  shift 2
  $where dnsmasq --conf-file=/dev/null --port=0 --interface="$on" --bind-interfaces --no-ping --user=root \
    --pid-file= --log-facility="{root}/$on.log" --dhcp-leasefile="/run/$on.leases" "$@"
}}
{setting}
ip netns exec node sh -c 'mount -t sysfs sysfs "$ROOT/sys"; exec busybox ash -c "$1"' sh '{script}'
"""
SCRIPT = """\
set -eu
reboot() {{ :; }}
. "$ROOT/netroot"
trap end EXIT
find_card; bring_up; get_address
{then}
"""
TOLD = 'echo "$address $interface $mac"; ip -4 -o addr show dev $interface | tr -s " " | cut -d " " -f 4'


class Wire:
    def __init__(self, root: pathlib.Path):
        self.root = root
        for name in ("dev", "sys", "proc", "run", "plugnode", "etc/plugnode"):
            (root / name).mkdir(parents=True)
        names = "common.sh identity check-site ahead above netroot udhcpc.script meet-site".split()
        for name in names:
            shutil.copy(OVERLAY / name, root / name)
        (root / "plugnode/nodes").write_text(NODES)
        (root / "plugnode/site").write_text(SITE)
        (root / "etc/plugnode/interface").write_text("eth0\n")
        (root / "proc/cmdline").write_text("ip=dhcp\n")

    def boot(
        self,
        setting: str,
        then: str = TOLD,
        waits: str = "1 1",
        status: int = 0,
        script: str = SCRIPT,
    ) -> list[str]:
        script = script.format(then=then).replace("'", "'\\''")
        whole = SETTING.format(root=self.root, setting=setting, script=script)
        apart = [
            "unshare",
            "--net",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child=KILL",
        ]
        done = subprocess.run(
            [*apart, "sh", "-c", whole],
            env={**os.environ, "ROOT": str(self.root), "WAITS": waits, "LAST_WAIT": "0"},
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr + self.console
        return done.stdout.splitlines()

    @property
    def console(self) -> str:
        return (self.root / "dev/console").read_text()


@pytest.fixture
def wire(tmp_path: pathlib.Path) -> Wire:
    return Wire(tmp_path)


RANGE = "site --dhcp-range=172.24.10.150,172.24.10.160,1h"
STATIC = "site --dhcp-range=172.24.10.0,static --dhcp-host=52:54:00:00:00:01,172.24.10.100,wn001"


def test_without_a_loaders_word_the_card_with_a_link_is_the_one(wire: Wire):
    """A mainboard was swapped: no MAC is known; and the image's usual card has no cable."""
    said = wire.boot(f"card eth0 52:54:00:00:00:77 none\ncard eth1 52:54:00:00:00:78 wire\n{RANGE}")
    assert said[0].endswith(" eth1 52:54:00:00:00:78")
    assert "the site has no node with the MAC 52:54:00:00:00:78, which is eth1 here" in wire.console


def test_of_cards_with_a_link_each_is_asked_until_a_server_answers(wire: Wire):
    """The first one's wire has no DHCP server."""
    other = "ip link add dumb type bridge; ip link set dumb up; ip link set p-eth0 master dumb; ip link set p-eth0 up"
    cards = "card eth0 52:54:00:00:00:77 none\ncard eth1 52:54:00:00:00:78 none\ncard eth2 52:54:00:00:00:79 wire"
    assert wire.boot(f"{cards}\n{other}\n{RANGE}")[0].endswith(" eth2 52:54:00:00:00:79")


def test_the_card_that_the_loader_names_is_the_only_one_that_is_asked(wire: Wire):
    (wire.root / "proc/cmdline").write_text("ip=dhcp BOOTIF=01-52-54-00-00-00-77\n")
    cards = "card eth0 52:54:00:00:00:77 none\ncard eth1 52:54:00:00:00:78 wire"
    wire.boot(f"{cards}\n{RANGE}", waits="0", status=1)
    assert (
        "FAILED at address: no DHCP server gave 52:54:00:00:00:77 an address on eth0"
        in wire.console
    )


LATE = "--dhcp-reply-delay=1"


def test_an_address_that_the_site_has_not_for_this_card_is_refused_and_asked_for_again(wire: Wire):
    """The stranger is switched off while the node asks."""
    gone = "(sleep 5; ip link set p-stranger down) &"
    said = wire.boot(
        f"card eth0 52:54:00:00:00:01 wire\n{STATIC} {LATE}\nstranger\n{gone}", waits="1 2 4 4"
    )
    assert said == ["172.24.10.100 eth0 52:54:00:00:00:01", "172.24.10.100/24"]
    assert (
        "address: 172.24.10.66 offered 172.24.10.2" in wire.console
        and "address 172.24.10.100 from 172.24.10.1\n" in (wire.console)
    )


def test_where_only_a_stranger_answers_the_sites_own_address_is_taken_and_the_stranger_named(
    wire: Wire,
):
    then = TOLD + "; leased domain; leased servers; ip route | grep default"
    said = wire.boot(
        "card eth0 52:54:00:00:00:01 wire\nip addr add 172.24.10.254/24 dev wire\nstranger", then
    )
    assert said[:2] == ["172.24.10.100 eth0 52:54:00:00:00:01", "172.24.10.100/24"]
    assert said[2:4] == ["grid.example", "172.24.10.53"] and "172.24.10.254" in said[5]
    assert (
        "address 172.24.10.100 from the site itself, for 172.24.10.66 offered 172.24.10.2"
        in wire.console
    )


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("172.24.10.100", "172.24.10.0/24 172.24.10.254 grid.example 172.24.10.53,172.24.10.54"),
        ("10.81.105.11", "10.81.104.0/23 10.81.105.254 r1.example "),
        ("10.81.106.11", "10.81.106.0/24   10.16.1.53"),
        ("10.81.107.255", "172.24.10.0/24 172.24.10.254 grid.example 172.24.10.53,172.24.10.54"),
    ],
)
def test_of_several_networks_the_one_counts_that_the_address_lies_in(
    wire: Wire, address: str, told: str
):
    (wire.root / "plugnode/networks").write_text(
        "172.24.10.0/24\t172.24.10.254\tgrid.example\t172.24.10.53,172.24.10.54\n"
        "10.81.104.0/23\t10.81.105.254\tr1.example\t-\n10.81.106.0/24\t-\t-\t10.16.1.53\n"
    )
    script = f'. "$ROOT/netroot"; read_network {address}; echo "$subnet $gateway $domain $dns"'
    done = subprocess.run(
        ["busybox", "sh", "-euc", script],
        env={**os.environ, "ROOT": str(wire.root)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == told + "\n"


def test_a_card_that_the_site_does_not_know_takes_what_it_is_given(wire: Wire):
    said = wire.boot("card eth0 52:54:00:00:00:99 wire\nstranger")
    assert said[0].startswith("172.24.10.2") and "refused" not in wire.console


def test_mtu_and_classless_routes_of_dhcp_are_used(wire: Wire):
    options = (
        "--dhcp-option=26,1400 --dhcp-option=121,10.9.0.0/16,172.24.10.7,0.0.0.0/0,172.24.10.8"
    )
    then = 'cat "$ROOT/sys/class/net/eth0/mtu"; ip route | tr -s " " | cut -d " " -f 1-3'
    said = wire.boot(
        f"card eth0 52:54:00:00:00:01 wire\n{STATIC} {options} --dhcp-option=3,172.24.10.9", then
    )
    assert said[0] == "1400"
    assert {"10.9.0.0/16 via 172.24.10.7", "default via 172.24.10.8"} <= set(said)
    assert "default via 172.24.10.9" not in said


# A node that boots by IPv6


SCRIPT6 = """\
set -eu
reboot() {{ :; }}
. "$ROOT/netroot"
trap end EXIT
find_card; refuse_other_addresses; bring_up; take_both_addresses
{then}
"""
TOLD6 = """\
echo "$own6 $address $interface"
ping -6 -c 1 -W 5 2001:db8:10::1 >/dev/null && echo reached
for second in $(seq 30); do ip -6 route show default | grep -q . && break; sleep 1; done
ip -6 -o addr show dev $interface scope global | tr -s " " | cut -d " " -f 4,8-
ip -6 route show default | cut -d " " -f 1-3"""
ADVERTISED = "site --enable-ra --dhcp-range=::,constructor:wire,slaac"


@pytest.fixture
def wire6(wire: Wire) -> Wire:
    (wire.root / "proc/net").symlink_to("/proc/net")
    (wire.root / "proc/sys").symlink_to("/proc/sys")
    (wire.root / "proc/cmdline").write_text("nfsroot=[2001:db8:10::1]:/r,vers=3,proto=tcp6\n")
    return wire


def boot6(wire: Wire, gateway: str = "-", address: str = "2001:db8:10::100/64", **how) -> list[str]:
    """By a card on the wire, on which the server has an address, and a router advertises itself and the prefix."""
    fields = NODES.rstrip("\n")
    (wire.root / "plugnode/nodes").write_text(f"{fields}\t-\t{address}\t{gateway}\n")
    network = "ip addr add 2001:db8:10::1/64 dev wire nodad"
    return wire.boot(
        f"{network}\n{how.pop('more', ADVERTISED)}\ncard eth0 52:54:00:00:00:01 wire",
        how.pop("then", TOLD6),
        script=SCRIPT6,
        **how,
    )


def test_by_ipv6_a_node_has_the_sites_addresses_for_good_and_none_of_its_own_making(wire6: Wire):
    """A router advertises the prefix, of which a kernel makes itself an address, and is the way out."""
    said = boot6(wire6)
    assert said[:2] == ["2001:db8:10::100/64 172.24.10.100 eth0", "reached"]
    assert said[2] == "2001:db8:10::100/64 valid_lft forever preferred_lft forever"
    assert said[3].startswith("default via fe80::") and not said[4:]
    assert "address 172.24.10.100 and 2001:db8:10::100 from the site itself\n" in wire6.console


@pytest.mark.parametrize("gateway", ["2001:db8:10::1", "fe80::1"])
def test_by_ipv6_the_sites_gateway_is_the_way_out_where_nobody_advertises_one(
    wire6: Wire, gateway: str
):
    assert boot6(wire6, gateway, more=":")[3:] == [f"default via {gateway}"]


def test_an_ipv6_address_that_another_machine_has_is_not_used(wire6: Wire):
    """The other answers at once, in the second before the node may use it (RFC 4862)."""
    boot6(wire6, more="ip addr add 2001:db8:10::100/64 dev wire nodad", status=1)
    told = "FAILED at address: another machine has the address 2001:db8:10::100\n"
    assert told in wire6.console


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "the site has no node with the MAC 52:54:00:00:00:01, which is eth0 here"),
        (NODES, "the site has no IPv6 address for 52:54:00:00:00:01: give its network a subnet6"),
    ],
)
def test_by_ipv6_a_node_without_an_address_of_the_site_says_so(wire6: Wire, line: str, told: str):
    (wire6.root / "plugnode/nodes").write_text(line)
    wire6.boot("card eth0 52:54:00:00:00:01 wire", script=SCRIPT6, status=1)
    assert f"FAILED at address: {told}\n" in wire6.console


GUID = "00:02:c9:03:00:31:11:7b"
SITE_OF_PORT = f"""\
site: grid
network: {{subnet: 172.24.10.0/24}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images: {{worker: {{reference: {{path: /}}}}}}
nodes: {{wn001: {{ip: 172.24.10.100, guid: "{GUID}"}}}}
"""
SERVE = {
    "dhcpd": 'touch "{root}/leases"; dhcpd -4 -q -cf "{configs}/dhcpd.conf" -lf "{root}/leases" --no-pid wire 2>/dev/null',
    "dnsmasq": 'site --conf-file="{configs}/dnsmasq.conf" --tftp-root=/',
    "nobody": ":",
}


@pytest.fixture
def port(wire: Wire) -> Wire:
    """Its eth0 says of itself what an InfiniBand port does; this machine has none."""
    (wire.root / "plugnode/nodes").write_text(NODES.replace("52:54:00:00:00:01", GUID))
    (wire.root / "address").write_text(f"80:00:02:08:fe:80:00:00:00:00:00:00:{GUID}\n")
    with open(wire.root / "identity", "a") as script:
        script.write('mount --bind "$ROOT/address" "$ROOT/sys/class/net/eth0/address"\n')
    return wire


def configs_of_port(folder: pathlib.Path) -> pathlib.Path:
    """What DHCP servers are told of a node that is known by its port."""
    (folder / "site.yaml").write_text(SITE_OF_PORT)
    for name, data in render_configs(read_site(str(folder / "site.yaml"), ())[0]).items():
        if "/" not in name:
            (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("server", SERVE)
def test_a_port_of_infiniband_is_known_by_its_guid(port: Wire, server: str, tmp_path: pathlib.Path):
    """Where its packets do not arrive, the site's own address is taken."""
    (tmp_path / "configs").mkdir()
    where = {"root": port.root, "configs": configs_of_port(tmp_path / "configs")}
    said = port.boot(
        f"card eth0 52:54:00:00:00:77 wire\n{SERVE[server].format(**where)}", waits="0 0"
    )
    assert said == [f"172.24.10.100 eth0 {GUID}", "172.24.10.100/24"]
    whose = "172.24.10.1" if server != "nobody" else "the site itself, for no answer to DHCP"
    assert f"address 172.24.10.100 from {whose}" in port.console


@pytest.mark.parametrize("bootif", ["01-00-02-c9-31-11-7b", f"20-{GUID.replace(':', '-')}"])
def test_firmware_may_name_six_pairs_of_a_guids_eight(
    port: Wire, bootif: str, tmp_path: pathlib.Path
):
    (tmp_path / "configs").mkdir()
    where = {"root": port.root, "configs": configs_of_port(tmp_path / "configs")}
    (port.root / "proc/cmdline").write_text(f"ip=dhcp BOOTIF={bootif}\n")
    cards = "card eth0 52:54:00:00:00:77 wire\ncard eth1 52:54:00:00:00:78 wire"
    said = port.boot(f"{cards}\n{SERVE['dnsmasq'].format(**where)}")
    assert said[0] == f"172.24.10.100 eth0 {GUID}"


@pytest.mark.parametrize(
    ("bits", "mask"),
    [(24, "255.255.255.0"), (20, "255.255.240.0"), (8, "255.0.0.0"), (32, "255.255.255.255")],
)
def test_bits_are_told_as_a_mask(wire: Wire, bits: int, mask: str):
    script = f'. "$ROOT/netroot"; netmask {bits}'
    env = {**os.environ, "ROOT": str(wire.root), "WAITS": "0"}
    for shell in (["busybox", "ash"], ["dash"], ["bash", "--posix"]):
        assert (
            subprocess.run([*shell, "-c", script], env=env, capture_output=True, text=True).stdout
            == mask + "\n"
        )


WORDS = "ip=dhcp root=ram:http://next-server/worker-0123456789ab/root.erofs plugnode.site=worker"
SERVERS = b"servers=172.24.10.1,172.24.10.2,172.24.10.3\n"
POINTER, IMAGE = "plugnode/worker.site", "site-0123456789ab/site.img"


@pytest.fixture
def served(wire: Wire) -> pathlib.Path:
    """What a server has for a node whose kernel and initrd are one signed file: no loader brings anything else."""
    folder, key = wire.root / "tftp", wire.root / "key"
    data = {"plugnode/nodes": NODES.encode(), "plugnode/site": SITE.encode() + SERVERS}
    image = site_img(data)
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", key], check=True)
    put(folder / IMAGE, image)
    put(folder / f"{IMAGE}.sig", sign({"site.img": image}, str(key))["site.img"])
    put(folder / POINTER, b"site-0123456789ab\n")
    put_checker(wire.root / "plugnode/trust", pathlib.Path(f"{key}.pub").read_text())
    for name in ("nodes", "site"):
        (wire.root / "plugnode" / name).unlink()
    (wire.root / "proc/cmdline").write_text(f"{WORDS}\n")
    return folder


def put_checker(trust: pathlib.Path, key: str) -> None:
    """What the release has to check signatures with."""
    for path, program in busybox.checker({}, busybox.X86_64, "").items():
        put(trust / path, program, 0o755)
    put(trust / "keys", allowed_signers([key.strip()]))
    put(trust / "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    (trust / "dev").mkdir()
    subprocess.run(["mknod", trust / "dev/null", "c", "1", "3"], check=True)


def meet(wire: Wire, more: str = "", **how) -> list[str]:
    server = f"{STATIC} --enable-tftp --tftp-root={wire.root}/tftp"
    cards = f"card eth0 52:54:00:00:00:01 wire\n{server} {more}"
    network = SCRIPT.replace("find_card;", '. "$ROOT/meet-site"; take_site; find_card;')
    return wire.boot(cards, f'{TOLD}; cat "$ROOT/proc/cmdline"', script=network, **how)


def test_a_signed_file_takes_site_data_and_its_server_from_whom_dhcp_names(wire: Wire, served):
    said = meet(wire)
    assert said[0] == "172.24.10.100 eth0 52:54:00:00:00:01"
    assert said[2] == (
        "ip=dhcp root=ram:http://172.24.10.1/worker-0123456789ab/root.erofs"
        " plugnode.root_servers=172.24.10.2,172.24.10.3 plugnode.site=worker"
    )
    assert "site data site-0123456789ab from 172.24.10.1, signed\n" in wire.console
    assert "the site has no node" not in wire.console


def test_a_stranger_who_names_the_sites_server_gives_no_address_and_hinders_nothing(
    wire: Wire, served
):
    """Site data are met by its answer, and the address that they have for this card is asked for after that."""
    gone = "(sleep 5; ip link set p-stranger down) &"
    stranger = f"stranger --dhcp-boot=x,y,172.24.10.1\n{gone}"
    said = meet(wire, f"{LATE}\n{stranger}", waits="1 2 4 4")
    assert said[0] == "172.24.10.100 eth0 52:54:00:00:00:01"
    assert "root=ram:http://172.24.10.1/" in said[2] and "next-server" not in said[2]
    assert "address: 172.24.10.66 offered 172.24.10.2" in wire.console
    assert "address 172.24.10.100 from 172.24.10.1\n" in wire.console
    assert wire.console.count("site data") == 1


def test_what_comes_with_a_signed_file_takes_the_place_of_two_functions_and_no_others():
    def functions(name: str) -> set[str]:
        return set(re.findall(r"^(\w+)\(\)", (OVERLAY / name).read_text(), re.M))

    names = (
        "netroot identity ahead above check-site common.sh init fetch fileroot root-ram root-disk"
    )
    others = set().union(*map(functions, [*names.split(), "root-nfs-file"]))
    assert functions("meet-site") & others == {"lacks_site", "meet_site"}


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        (POINTER, None, f"172.24.10.1 gives no {POINTER}"),
        (POINTER, b"site-;reboot\n", f"{POINTER} of 172.24.10.1 names no site data"),
        (IMAGE, None, f"172.24.10.1 gives no {IMAGE}"),
        (f"{IMAGE}.sig", None, f"172.24.10.1 gives no {IMAGE}.sig"),
        (IMAGE, b"other", f"{IMAGE} of 172.24.10.1: no key of this release has signed it"),
        (f"{IMAGE}.sig", b"junk\n", f"{IMAGE} of 172.24.10.1: no key of this release has signed"),
    ],
)
def test_without_signed_site_data_it_goes_no_further_and_says_why(
    wire: Wire, served, name, data, told
):
    (served / name).unlink() if data is None else (served / name).write_bytes(data)
    meet(wire, waits="0", status=1)
    assert f"site data: {told}" in wire.console and f"FAILED at address: {told}" in wire.console


UDEVD = "/lib/systemd/systemd-udevd"
# The reference has cards of a slot named by a rule of its own; the system's udev sees the card that the root is on
RENAMED = """
keep_card_name /run
mkdir -p /run/udev/rules.d
echo 'SUBSYSTEM=="net", ATTR{address}=="52:54:*", NAME="lan%n"' >/run/udev/rules.d/70-site.rules
UDEVD --daemon
udevadm trigger --action=add --subsystem-match=net
udevadm settle
ip -o link show | cut -d " " -f 2
"""


def test_no_rule_of_the_reference_renames_the_card_that_the_root_is_on(wire: Wire):
    """Linux renames a card that is up from 6.2 on; others get their names as the reference has it."""
    cards = "card eth0 52:54:00:00:00:01 wire\ncard eth1 52:54:00:00:00:02 none"
    said = wire.boot(f"{cards}\n{STATIC}", then=RENAMED.replace("UDEVD", UDEVD))
    names = {line.split("@")[0].rstrip(":") for line in said}
    assert "eth0" in names and "lan1" in names and "lan0" not in names
