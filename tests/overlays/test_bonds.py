"""Bonds of a node, as those who manage its network cards are told of them; over real cards: tests/stress/nodes_vm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.loop_disk import Node

WANTED = "etc/systemd/system/multi-user.target.wants"
TO = {  # what says that it starts, and where it is told
    "networkd": (f"{WANTED}/systemd-networkd.service", "run/systemd/network"),
    "networkmanager": (
        f"{WANTED}/NetworkManager.service",
        "run/NetworkManager/system-connections",
    ),
    "scripts": ("etc/rc.d/init.d/network", "run/plugnode/network-scripts"),
}
# Address of the node, name, address, netmask, MTU, VLAN, mode, cards
BONDS = (
    "172.24.10.100 bond1 10.37.0.5/24 255.255.255.0 9000 40 802.3ad ens1f0=52:54:00:00:00:09,ens1f1",
    "172.24.10.10 bond1 10.37.0.6/24 255.255.255.0 9000 40 802.3ad ens1f0,ens1f1",
)
OF_BOOT = "172.24.10.100 bond0 - - - - active-backup boot,eth1"


@pytest.fixture
def told(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """What the manager of this node's cards finds."""
    node = Node(tmp_path)
    started, folder = TO[request.param]
    (node.root / started).parent.mkdir(parents=True, exist_ok=True)
    (node.root / started).symlink_to("/bin/true")
    (node.root / "etc/sysconfig/network-scripts").mkdir(parents=True, exist_ok=True)
    sysfs = node.root / "sys/class/net"
    lines = "".join(line.replace(" ", "\\t") + "\\n" for line in (*BONDS, OF_BOOT))
    node.before = (
        f"printf '{lines}' >{node.data}/bonds; "
        f"mkdir -p {sysfs}/bond1/bonding; : >{sysfs}/bonding_masters"
    )
    node.verb("configure_interfaces", disk="")
    assert not (node.data / "degraded").exists()
    files: dict[str, str] = {}
    for path in Path(node.root / folder).iterdir():
        files[path.name] = path.read_text()
    assert not [name for name in files if "bond0" in name]  # setup.sh itself makes that one
    return files


@pytest.mark.parametrize("told", ["networkd"], indirect=True)
def test_networkd_is_told_of_bonds(told: dict[str, str]):
    assert told["10-plugnode-bond1.netdev"] == (
        "[NetDev]\nName=bond1\nKind=bond\nMTUBytes=9000\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\n"
    )
    assert told["09-plugnode-ens1f0.network"] == (
        "[Match]\nPermanentMACAddress=52:54:00:00:00:09\n[Network]\nBond=bond1\n"
    )
    assert told["09-plugnode-ens1f1.network"].startswith("[Match]\nName=ens1f1\n")
    assert "VLAN=bond1.40\n" in told["10-plugnode-bond1.network"]
    assert told["11-plugnode-bond1.40.network"].endswith("Address=10.37.0.5/24\n")


@pytest.mark.parametrize("told", ["networkmanager"], indirect=True)
def test_networkmanager_is_told_of_bonds(told: dict[str, str]):
    bond = told["plugnode-bond1.nmconnection"]
    assert (
        "type=bond\ninterface-name=bond1\n[bond]\nmode=802.3ad\nmiimon=100\n[ethernet]\nmtu=9000\n"
        in bond
    )
    assert told["plugnode-ens1f0.nmconnection"] == (
        "[connection]\nid=plugnode-ens1f0\ntype=ethernet\nmaster=bond1\nslave-type=bond\n"
        "[ethernet]\nmac-address=52:54:00:00:00:09\n"
    )
    assert "interface-name=ens1f1\n" in told["plugnode-ens1f1.nmconnection"]
    assert "address1=10.37.0.5/24" in told["plugnode-bond1.40.nmconnection"]


@pytest.mark.parametrize("told", ["scripts"], indirect=True)
def test_the_scripts_of_el_are_told_of_bonds(told: dict[str, str]):
    assert 'BONDING_OPTS="mode=802.3ad miimon=100"\n' in told["ifcfg-bond1"]
    assert "MASTER=bond1\nSLAVE=yes\nHWADDR=52:54:00:00:00:09\n" in told["ifcfg-ens1f0"]
    assert "DEVICE=ens1f1\n" in told["ifcfg-ens1f1"] and "HWADDR" not in told["ifcfg-ens1f1"]
    assert "IPADDR=10.37.0.5\n" in told["ifcfg-bond1.40"]
