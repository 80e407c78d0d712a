"""A node's card in a VLAN and in a bond, by a kernel that has both: cards, servers and switches in namespaces."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import kernel_of_networks
from tests.support.commands import REPOSITORY

pytestmark = pytest.mark.skipif(
    bool(kernel_of_networks.missing()), reason=kernel_of_networks.missing() or "it is there"
)
INITRD, WORKER = REPOSITORY / "overlays/initrd", REPOSITORY / "overlays/worker"
MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
# A node with two cards, whose cables end at a switch
CABLES = f"""
ip netns add switch
ip netns add node
ip -n switch link set lo up
for n in 0 1; do ip link add p$n netns switch type veth peer name eth$n netns node; done
ip -n node link set eth0 address {MAC}
ip -n node link set eth1 address {OTHER}
ip -n switch link set p0 up
ip -n switch link set p1 up
"""
IN_NODE = "ip netns exec node unshare --mount sh -euc"


def put(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def initrd(tmp_path: Path) -> Path:
    """The root of an initrd of our own, told to tag."""
    root = tmp_path / "root"
    for name in ("dev", "sys", "proc", "run"):
        (root / name).mkdir(parents=True)
    for name in (
        "common.sh",
        "identity",
        "check-site",
        "ahead",
        "above",
        "netroot",
        "udhcpc.script",
    ):
        shutil.copy(INITRD / name, root / name)
    nodes = f"172.24.10.100\twn001\t{MAC}\t-\tdefault\t-\n"
    put(root, proc__cmdline="ip=dhcp plugnode.vlan=36\n", plugnode__nodes=nodes)
    put(
        root, plugnode__site="site=grid\nsubnet=172.24.10.0/24\n", etc__plugnode__interface="eth0\n"
    )
    return root


SERVER = """
ip -n switch link add link p0 name p0.36 type vlan id 36
ip -n switch link set p0 mtu 9000
ip -n switch link set p0.36 mtu 9000 up
ip -n switch addr add 172.24.10.1/24 dev p0.36
ip netns exec switch dnsmasq --conf-file=/dev/null --port=0 --interface=p0.36 --bind-interfaces \
  --no-ping --user=root --pid-file= --dhcp-leasefile=/run/leases --dhcp-option=26,9000 \
  --dhcp-range=172.24.10.0,static --dhcp-host={mac},172.24.10.100
"""
FIND = """
mount -t sysfs sysfs "$ROOT/sys"
exec busybox ash -euc '
reboot() { :; }
. "$ROOT/netroot"
trap end EXIT
find_card; bring_up; tag_cards; get_address
echo "$address $interface $mac $(cat "$ROOT/sys/class/net/$interface/mtu")"
keep_card_name "$ROOT/run"
'
"""


def test_our_own_initrd_asks_in_the_vlan_alone(initrd: Path, tmp_path: Path):
    """The server hears what is tagged; the card below takes as large packets as DHCP says."""
    export = f'export ROOT={initrd} WAITS="1 1" LAST_WAIT=0'
    script = f"{export}\n{CABLES}{SERVER.format(mac=MAC)}{IN_NODE} {quoted(FIND)}"
    said = kernel_of_networks.run(tmp_path, script)
    assert said[-2:] == [f"172.24.10.100 eth0.36 {MAC} 9000", "status 0"], said
    link = (initrd / "run/systemd/network/00-plugnode.link").read_text()
    assert "OriginalName=eth0.36 eth0\n" in link


def test_where_the_kernel_makes_no_vlan_the_node_says_so(initrd: Path, tmp_path: Path):
    (initrd / "proc/cmdline").write_text("plugnode.vlan=5000\n")
    export = f'export ROOT={initrd} WAITS="0" LAST_WAIT=0'
    kernel_of_networks.run(tmp_path, f"{export}\n{CABLES}{IN_NODE} {quoted(FIND)}")
    assert "FAILED at network: no VLAN 5000 on eth0" in (initrd / "dev/console").read_text()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The root of a node that came up on eth0."""
    root = tmp_path / "root"
    for name in ("dev", "sys", "proc/sys/kernel", "etc", "var", "run/systemd/system"):
        (root / name).mkdir(parents=True)
    nodes = f"172.24.10.100\twn001\t{MAC}\t-\tdefault\t-\n"
    put(root / "run/plugnode", interface="eth0\n", address="172.24.10.100\n", nodes=nodes)
    put(root, proc__cmdline="\n", run__plugnode__site="site=grid\n")
    return root


# A root on NFS waits for its server as long as this connection does
HAND_OVER = """
mount -t sysfs sysfs "$ROOT/sys"
ip link set "$CARD" up
ip addr add 172.24.10.100/24 brd + dev "$CARD"
ip route add 10.0.0.0/8 via 172.24.10.254
for try in $(seq 60); do busybox ping -c 1 -W 1 172.24.10.1 >/dev/null 2>&1 && break; sleep 1; done
{ echo before; sleep 8; echo after; } | busybox nc 172.24.10.1 7 >"$ROOT/run/echoed" &
for try in $(seq 30); do grep -q before "$ROOT/run/echoed" && break; sleep 1; done
PARTS=$WORKER/etc/plugnode sh "$WORKER/etc/setup.sh" take_bond
PARTS=$WORKER/etc/plugnode sh "$WORKER/etc/setup.sh" keep_network_up
cat "$ROOT/run/plugnode/interface"
ip -4 -o addr show scope global | tr -s " " | cut -d " " -f 2,4
ip route show | tr -s " "
wait
"""
ECHO = "ip netns exec switch busybox nc -l -p 7 -e sh -c 'while read -r word; do echo heard $word; done' &\n"
BRIDGED = """
ip -n switch link add wire type bridge
for n in 0 1; do ip -n switch link set p$n master wire; done
ip -n switch link set wire up
ip -n switch addr add 172.24.10.1/24 dev wire
"""
# A switch that speaks LACP, and passes single cards until a bond is there
LACP = """
ip -n switch link set p0 down; ip -n switch link set p1 down
ip -n switch link add lag type bond mode 802.3ad miimon 100 lacp_rate fast
ip -n switch link set p0 master lag; ip -n switch link set p1 master lag
ip -n switch link set lag up
ip -n switch addr add 172.24.10.1/24 dev lag
"""


def quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"


def hand_over(
    node: Path, folder: Path, switch: str, bond: str, more: str = "", vlan: str = "-"
) -> list[str]:
    (node / "run/plugnode/bonds").write_text(f"172.24.10.100\tbond0\t-\t-\t-\t{vlan}\t{bond}\n")
    card = (node / "run/plugnode/interface").read_text().strip()
    export = f'export ROOT={node} WORKER={WORKER} CARD={card} WAITS="0 1 1 2"'
    script = f"{export}\n{CABLES}{switch}{ECHO}{more}{IN_NODE} {quoted(HAND_OVER)}"
    return kernel_of_networks.run(folder, script)


@pytest.mark.parametrize(
    ("switch", "mode", "of"),
    [
        (BRIDGED, "active-backup", "boot,eth1"),
        (LACP, "802.3ad", f"boot,={MAC},={OTHER}"),
    ],
    ids=["active-backup", "802.3ad"],
)
def test_address_and_routes_go_over_to_the_bond(
    node: Path, tmp_path: Path, switch: str, mode: str, of: str
):
    said = hand_over(node, tmp_path, switch, f"{mode}\t{of}")
    assert "bond0" in said and "bond0 172.24.10.100/24" in said
    assert "10.0.0.0/8 via 172.24.10.254 dev bond0 " in said
    assert f"setup: bond bond0: {mode}, eth0 eth1" in (node / "dev/console").read_text()
    assert not (node / "run/plugnode/degraded").exists()
    assert (node / "run/echoed").read_text() == "heard before\nheard after\n"
    units = (node / "run/systemd/network/00-plugnode.network").read_text()
    assert "Name=bond0 eth0 eth1\n" in units


# The cable is out while there is a bond
DARK = """
(
  while ! ip -n node link show bond0; do sleep 0.1; done
  ip -n switch link set p0 down
  while ip -n node link show bond0; do sleep 0.1; done
  ip -n switch link set p0 up
) >/dev/null 2>&1 &
"""


def test_a_bond_without_a_link_is_taken_back(node: Path, tmp_path: Path):
    """The root is on the node's card again, and the node says what it lacks."""
    said = hand_over(node, tmp_path, BRIDGED, "active-backup\tboot", DARK)
    assert "eth0" in said and "eth0 172.24.10.100/24" in said
    assert "10.0.0.0/8 via 172.24.10.254 dev eth0" in "\n".join(said)
    assert (node / "run/echoed").read_text() == "heard before\nheard after\n"
    degraded = (node / "run/plugnode/degraded").read_text()
    assert degraded == "the bond bond0 is not made: the root stays on eth0\n"


TAGGED = """
ip -n switch link add wire type bridge
for n in 0 1; do ip -n switch link set p$n master wire; done
ip -n switch link add link wire name wire.36 type vlan id 36
ip -n switch link set wire up
ip -n switch link set wire.36 up
ip -n switch addr add 172.24.10.1/24 dev wire.36
ip -n node link add link eth0 name eth0.36 type vlan id 36
ip -n node link set eth0 up
"""


def test_the_card_of_a_bond_may_be_in_a_vlan(node: Path, tmp_path: Path):
    (node / "run/plugnode/interface").write_text("eth0.36\n")
    said = hand_over(node, tmp_path, TAGGED, "active-backup\tboot,eth1", vlan="36")
    assert "bond0.36" in said and "bond0.36 172.24.10.100/24" in said
    assert (node / "run/echoed").read_text() == "heard before\nheard after\n"
    units = (node / "run/systemd/network/00-plugnode.network").read_text()
    assert "Name=bond0.36 bond0 eth0 eth1\n" in units
