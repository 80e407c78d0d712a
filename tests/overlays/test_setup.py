"""setup.sh and the built-in overlays: what needs no disk."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.core.rootfs.overlay import layer
from tests.support.loop_disk import PARTS, SETUP, SHELLS, Node

OVERLAYS = SETUP.parent.parent.parent


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


SCRIPTS = [SETUP, *sorted(PARTS.iterdir())]
TEXT = "".join(path.read_text() for path in SCRIPTS)
NAMES = [path.name for path in SCRIPTS]


def test_the_linter_has_nothing_to_say_of_the_whole():
    """As one script: what a part uses, another one has set."""
    whole = "".join(path.read_text() for path in [*SCRIPTS[1:], SETUP])
    whole = re.sub(
        "^# shellcheck (shell|disable)=.* of other parts$|^# shellcheck shell=sh$",
        "",
        whole,
        flags=re.M,
    )
    subprocess.run(["shellcheck", "-s", "sh", "-"], input=whole, text=True, check=True)


@pytest.mark.parametrize("shell", SHELLS.values())
@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_every_shell_can_read_it(shell: str, path: Path):
    subprocess.run([*shell.split(), "-n", path], check=True)


def test_it_uses_nothing_that_bash_3_or_the_tools_of_el5_lack():
    code = "\n".join(line.partition(" # ")[0] for line in TEXT.splitlines())
    newer = r"\blocal\b|\[\[ |<<<|=\$'|<\(|\bpipefail\b|mktemp|cp -[a-z]*n|sort -[a-z]*V|--json|lsblk|findmnt"
    assert re.findall(newer, code) == []


def test_no_function_is_longer_than_a_reader_can_hold():
    lengths = {
        name: body.count("\n") - 1
        for name, body in re.findall(r"^(\w+)\(\) \{.*?$(.*?)^\}", TEXT, re.MULTILINE | re.DOTALL)
    }
    assert {name: length for name, length in lengths.items() if length > 17} == {}


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_each_part_is_about_one_thing_and_the_entry_is_a_page(path: Path):
    assert path.read_text().count("\n") <= (80 if path == SETUP else 170)


def test_a_function_is_in_one_part_only_and_the_entry_reads_in_every_part():
    names = re.findall(r"^(\w+)\(\) \{", TEXT, re.MULTILINE)
    assert [name for name in names if names.count(name) > 1] == []
    read = re.findall(r"^for part in (.*);", SETUP.read_text(), re.MULTILINE)[0].split()
    assert sorted(f"{name}.sh" for name in read) == NAMES[1:]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("disk", "node_of_3"),
    [
        ("/dev/sda", "/dev/sda3"),
        ("/dev/sdaa", "/dev/sdaa3"),
        ("/dev/hda", "/dev/hda3"),
        ("/dev/vda", "/dev/vda3"),
        ("/dev/nvme0n1", "/dev/nvme0n1p3"),
        ("/dev/mmcblk0", "/dev/mmcblk0p3"),
        ("/dev/md127", "/dev/md127p3"),
        ("/dev/cciss/c0d0", "/dev/cciss/c0d0p3"),
    ],
)
def test_partitions_have_the_names_that_the_kernel_gives_them(
    node: Node, shell: str, disk: str, node_of_3: str
):
    node.shell, node.nodes = shell, False
    assert node.verb("partition_node", disk, "3", disk="") == node_of_3 + "\n"


@pytest.mark.parametrize(
    ("disk", "mounted", "in_use"),
    [
        ("/dev/sda", "/dev/sda", True),
        ("/dev/sda", "/dev/sda1", True),
        ("/dev/sda", "/dev/sdaa1", False),
        ("/dev/nvme0n1", "/dev/nvme0n1p2", True),
        ("/dev/nvme0n1", "/dev/nvme0n11p2", False),
        ("/dev/nvme0n1", "/dev/nvme0n11", False),
        ("/dev/cciss/c0d1", "/dev/cciss/c0d1p3", True),
        ("/dev/cciss/c0d1", "/dev/cciss/c0d10", False),
        ("/dev/mmcblk0", "/dev/mmcblk0p1", True),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have a /proc of its own")
def test_a_disk_is_in_use_where_it_or_a_partition_of_it_is_mounted(
    node: Node, disk: str, mounted: str, in_use: bool
):
    (node.folder / "proc").mkdir()
    (node.folder / "proc/mounts").write_text(f"none / rootfs rw 0 0\n{mounted} /data ext3 rw 0 0\n")
    (node.folder / "proc/swaps").write_text("Filename\tType\n")
    node.before = f"mount --bind {node.folder}/proc /proc"
    assert node.holds("in_use", disk) is in_use


@pytest.mark.parametrize("shell", SHELLS)
def test_only_an_rfc_1123_host_name_is_a_name(node: Node, shell: str):
    node.shell = shell
    good = ["wn001", "a", "0wn", "wn-1.grid.example.org", "x" * 63, ".".join(["y" * 62] * 4)]
    bad = [
        "",
        "-a",
        "a-",
        "a_b",
        "a..b",
        ".a",
        "a.",
        "x" * 64,
        ".".join(["y" * 63] * 4),
        "a b",
        "a\nb",
        "$(reboot)",
        "é",
        "localhost",
        "(none)",
    ]
    assert [name for name in good if not node.holds("is_name", name)] == []
    assert [name for name in bad if node.holds("is_name", name)] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_name_is_that_of_the_very_address_and_of_no_comment(node: Node, shell: str):
    node.shell = shell
    hosts = "".join(
        f"10.1.{a}.{b}  n{a}-{b}.grid n{a}-{b}\r\n" for a in range(8) for b in range(1, 255)
    )
    (node.folder / "hosts").write_text(
        "127.0.0.1 localhost\n# 10.1.0.1 no\n10.1.0.9 # no\n\n" + hosts
    )
    for a, b in [(0, 1), (0, 10), (0, 100), (1, 1), (1, 11), (1, 111), (7, 254), (0, 25), (0, 250)]:
        node.address = f"10.1.{a}.{b}"
        assert node.verb("own_name", disk="", hosts=node.folder / "hosts") == f"n{a}-{b}.grid\n"


def test_each_address_of_a_large_site_has_its_own_name_and_no_other(node: Node):
    """tests/stress/host_names.py asks for all 65,534."""
    addresses = [f"10.1.{at >> 8}.{at & 255}" for at in range(1, 65535)]
    asked = [f"10.1.7.{at}" for at in range(256)] + random.Random(1).sample(addresses, 100)
    hosts = "".join(f"{address}\tn{address.replace('.', '-')}\n" for address in addresses)
    assert node.names(hosts, asked) == [f"n{address.replace('.', '-')}" for address in asked]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.9.9.9", "node-10-9-9-9"),
        ("10.1.0.9", "node-10-1-0-9"),
        ("1.1.0.1", "node-1-1-0-1"),
        ("10.1.1", "node-10-1-1"),
    ],
)
def test_an_address_that_no_line_has_gives_a_name_of_its_own(node: Node, address: str, name: str):
    (node.folder / "hosts").write_text("10.1.0.1 a\n10.1.0.9\n10.1.0.8 under_score\n")
    node.address, node.name = address, "-"
    assert node.verb("own_name", disk="", hosts=node.folder / "hosts") == name + "\n"


@pytest.mark.parametrize("hosts", [None, "", "\n", "10.1.0.1\n", "10.1.0.1 under_score\n"])
def test_without_a_usable_hosts_file_the_table_of_nodes_has_the_name(node: Node, hosts: str | None):
    node.address = "10.1.0.1"
    if hosts is not None:
        (node.folder / "hosts").write_text(hosts)
    assert node.verb("own_name", disk="", hosts=node.folder / "hosts") == "wn001\n"


def test_other_lines_of_the_network_file_are_the_admins(node: Node):
    (node.root / "var/network").write_text("HOSTNAME=old\nNISDOMAIN=grid\nNETWORKING=no\n")
    (node.root / "proc/sys/kernel").mkdir(exist_ok=True)
    node.verb("name_node", disk="")
    assert (
        node.root / "var/network"
    ).read_text() == "NETWORKING=yes\nHOSTNAME=wn001\nNISDOMAIN=grid\n"


def test_the_name_stands_where_the_shared_root_leads_to_for_it(node: Node):
    """NetworkManager 1.42 called a node what DHCP called its second card, where systemd knew no name."""
    node.verb("name_node", disk="")
    assert (node.data / "hostname").read_text() == "wn001\n"


LEASED = """ip link set lo name eth0; ip link set eth0 up
ip addr add 172.24.10.100/24 dev eth0 valid_lft 900 preferred_lft 900; ip addr add 10.1.0.1/16 dev eth0"""


def test_the_address_of_the_boot_card_has_no_end(node: Node):
    node.before = LEASED
    shown = node.boot(then="ip -4 -o addr show dev eth0", disk=False)
    assert re.search(r"172\.24\.10\.100/24 .*valid_lft forever preferred_lft forever", shown)
    assert re.search(r"10\.1\.0\.1/16 .*valid_lft forever preferred_lft forever", shown)
    assert "dynamic" not in shown


def test_the_boot_card_is_left_alone_by_every_network_manager(node: Node):
    (node.root / "run/systemd/system").mkdir(parents=True)
    assert "DEVICE=eth0\nONBOOT=no\n" in dhcp_script(node, "ifcfg-eth0", "DEVICE=eth0\n")
    assert (
        "Name=eth0\n[Link]\nUnmanaged=yes"
        in (node.root / "run/systemd/network/00-plugnode.network").read_text()
    )


def dhcp_script(node: Node, name: str, text: str) -> str:
    """What EL's network service reads in such a script of the reference's."""
    script = node.root / "etc/sysconfig/network-scripts" / name
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f"{text}BOOTPROTO=dhcp\nONBOOT=yes\n")
    return node.boot(then=f"cat etc/sysconfig/network-scripts/{name}", disk=False)


@pytest.mark.parametrize("text", ['DEVICE="eth0"\n', "TYPE=Ethernet\n DEVICE='eth0' # boot\n"])
def test_a_script_of_the_boot_card_by_another_name_starts_no_client(node: Node, text: str):
    """nmtui calls it by its profile; and EL6, which has no systemd, reads it, too."""
    assert dhcp_script(node, "ifcfg-Wired_connection_1", text).endswith("DEVICE=eth0\nONBOOT=no\n")


def test_a_script_of_another_card_stays(node: Node):
    assert "ONBOOT=yes" in dhcp_script(node, "ifcfg-eth0.36", "DEVICE=eth0.36\n")
    assert "ONBOOT=yes" in dhcp_script(node, "ifcfg-bond", "MASTER=eth0\nDEVICE=eth10\n")


def test_what_the_reference_says_of_unmanaged_cards_does_not_hand_over_the_boot_card(node: Node):
    """NetworkManager reads /run before /etc, whose `unmanaged-devices=` then replaces ours; and Debian's and
    Ubuntu's file in /usr/lib stays, for ours adds to it. (Tried with NetworkManager 1.42.)"""
    (node.root / "run/systemd/system").mkdir(parents=True)
    node.verb("keep_network_up", disk="")
    assert (node.root / "run/NetworkManager/conf.d/00-plugnode.conf").read_text() == (
        "[keyfile]\nunmanaged-devices+=interface-name:eth0\n"
        "[device-plugnode]\nmatch-device=interface-name:eth0\nmanaged=0\n"
    )


def test_name_servers_come_from_the_site_where_dhcp_gave_none(node: Node):
    node.site = "grid\ndns=10.0.0.1,10.0.0.2\ndomain=grid.example.org"
    node.verb("name_servers", disk="")
    assert (
        node.data / "resolv.conf"
    ).read_text() == "search grid.example.org\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"


@pytest.mark.parametrize("given", ["", "search grid.example.org\nnameserver 10.0.0.9\n"])
def test_names_are_looked_up_in_the_networks_domains_too(node: Node, given: str):
    node.site = "grid\ndns=10.0.0.9\ndomain=grid.example.org"
    node.before = (
        f"printf '{given}' >{node.data}/resolv.conf; "
        f"printf '172.24.10.100\\tfacts.rack=3\\tsearch=example.org grid.example.org cern.ch\\n"
        f"172.24.10.10\\tsearch=other.org\\n' >{node.data}/facts"
    )
    node.verb("name_servers", disk="")
    assert (
        node.data / "resolv.conf"
    ).read_text() == "search grid.example.org example.org cern.ch\nnameserver 10.0.0.9\n"


# Interfaces that the node configures itself: address of the node, name, address, netmask, MTU, VLAN, MAC

CARDS = (
    "172.24.10.100 ens1f1 10.36.0.5/16 255.255.0.0 9000 36 -",
    "172.24.10.10 ens1f1 10.36.0.6/16 255.255.0.0 9000 36 -",
    "172.24.10.100 ib0 10.83.0.5/24 255.255.255.0 - - -",
    "172.24.10.100 storage 10.37.0.5/24 255.255.255.0 - - 52:54:00:00:00:09",
    "172.24.10.100 store 10.38.0.5/24 255.255.255.0 - 38 52:54:00:00:00:0a",
)
TO = {
    "networkd": ("etc/systemd/system/multi-user.target.wants/systemd-networkd.service", "run/systemd/network"),
    "networkmanager": (
        "etc/systemd/system/multi-user.target.wants/NetworkManager.service", "run/NetworkManager/system-connections"),
    "scripts": ("etc/rc.d/init.d/network", "run/plugnode/network-scripts"),
}  # fmt: skip


def configured(node: Node, manager: str) -> dict[str, str]:
    started, folder = TO[manager]
    (node.root / started).parent.mkdir(parents=True, exist_ok=True)
    (node.root / started).symlink_to("/bin/true")
    (node.root / "etc/sysconfig/network-scripts").mkdir(parents=True, exist_ok=True)
    lines = "".join(line.replace(" ", "\\t") + "\\n" for line in CARDS)
    node.before = f"printf '{lines}' >{node.data}/interfaces"
    node.verb("configure_interfaces", disk="")
    assert not (node.data / "degraded").exists()
    return {path.name: path.read_text() for path in (node.root / folder).iterdir()}


def test_networkd_is_told_of_the_other_cards(node: Node):
    files = configured(node, "networkd")
    assert files["10-plugnode-ens1f1.network"] == (
        "[Match]\nName=ens1f1\n[Link]\nMTUBytes=9000\n[Network]\nVLAN=ens1f1.36\nLinkLocalAddressing=no\n"
    )
    assert (
        files["10-plugnode-ens1f1.36.netdev"]
        == "[NetDev]\nName=ens1f1.36\nKind=vlan\n[VLAN]\nId=36\n"
    )
    assert files["11-plugnode-ens1f1.36.network"].endswith("[Network]\nAddress=10.36.0.5/16\n")
    assert "PermanentMACAddress=52:54:00:00:00:09\n" in files["10-plugnode-storage.network"]
    assert len(files) == 8


def test_networkmanager_is_told_of_the_other_cards(node: Node):
    files = configured(node, "networkmanager")
    assert files["plugnode-ens1f1.36.nmconnection"] == (
        "[connection]\nid=plugnode-ens1f1.36\ntype=vlan\ninterface-name=ens1f1.36\n"
        "[ipv4]\nmethod=manual\naddress1=10.36.0.5/16\nnever-default=true\n[ipv6]\nmethod=ignore\n"
        "[vlan]\nid=36\nparent=ens1f1\n"
    )
    assert "mtu=9000\n[ipv4]\nmethod=disabled\n" in files["plugnode-ens1f1.nmconnection"]
    assert "type=infiniband\n" in files["plugnode-ib0.nmconnection"]
    assert "[ethernet]\nmac-address=52:54:00:00:00:09\n" in files["plugnode-storage.nmconnection"]
    parent = "706c7567-6e6f-6465-8000-52540000000a"  # no kernel's name: it is known by its MAC
    assert f"uuid={parent}\n[ethernet]\n" in files["plugnode-store.nmconnection"]
    assert f"[vlan]\nid=38\nparent={parent}\n" in files["plugnode-store.38.nmconnection"]
    (one, *_) = (node.root / TO["networkmanager"][1]).iterdir()
    assert len(files) == 6 and one.stat().st_mode & 0o777 == 0o600


def test_the_scripts_of_el_are_told_of_the_other_cards(node: Node):
    files = configured(node, "scripts")
    common = "ONBOOT=yes\nBOOTPROTO=none\nDEFROUTE=no\nNM_CONTROLLED=no\n"
    assert files["ifcfg-ens1f1.36"] == (
        f"DEVICE=ens1f1.36\n{common}MTU=9000\nVLAN=yes\nIPADDR=10.36.0.5\nNETMASK=255.255.0.0\n"
    )
    assert files["ifcfg-ens1f1"] == f"DEVICE=ens1f1\n{common}MTU=9000\n"
    assert "HWADDR=52:54:00:00:00:09\n" in files["ifcfg-storage"] and len(files) == 6


def test_where_nobody_manages_cards_the_node_brings_them_up_itself(node: Node):
    """Untagged: not every kernel that runs tests has VLANs."""
    plain = CARDS[0].replace(" 36 ", " - ")
    lines = "".join(line.replace(" ", "\\t") + "\\n" for line in (plain, CARDS[1], CARDS[3]))
    sysfs = node.root / "sys/class/net"
    node.before = (
        f"printf '{lines}' >{node.data}/interfaces; mkdir -p {sysfs}/ens1f1 {sysfs}/enp7s0; "
        f"echo 52:54:00:00:00:09 >{sysfs}/enp7s0/address; "
        "ip link add ens1f1 type veth peer name far1; ip link add enp7s0 type veth peer name far2"
    )
    shown = node.boot(then="ip -o addr show; ip -o link show ens1f1", disk=False)
    assert "ens1f1    inet 10.36.0.5/16" in shown and re.search(r"ens1f1@.* mtu 9000", shown)
    assert "enp7s0    inet 10.37.0.5/24" in shown and "10.36.0.6" not in shown


@pytest.mark.parametrize(
    ("mib", "range_", "fits"),
    [
        (500, "100..1000", True),
        (500, "1G..", False),
        (1500, "1G..2G", True),
        (3000, "..2G", False),
        (1 << 20, "1T..", True),
        (500, "..", True),
    ],
)
def test_a_disk_is_matched_by_its_size(node: Node, mib: int, range_: str, fits: bool):
    assert node.holds("size_within", str(mib), range_) is fits


PCI = "/sys/devices/pci0000:00/0000:00:1f.2"


@pytest.mark.parametrize(
    ("disk", "place", "transport"),
    [
        ("/dev/nvme0n1", f"{PCI}/nvme/nvme0", "nvme"),
        ("/dev/vda", f"{PCI}/virtio3", "virtio"),
        ("/dev/mmcblk0", "/sys/devices/platform/soc/mmc_host/mmc0/mmc0:0001", "mmc"),
        ("/dev/hda", f"{PCI}/ide0/0.0", "ide ata"),
        ("/dev/sda", f"{PCI}/ata1/host0/target0:0:0/0:0:0:0", "ata sata"),
        ("/dev/sda", f"{PCI}/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0", "usb"),
        ("/dev/sda", f"{PCI}/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0", "sas scsi"),
        ("/dev/sda", f"{PCI}/host2/rport-2:0-0/target2:0:0/2:0:0:0", "fc scsi"),
        ("/dev/sda", "/sys/devices/platform/host3/session1/target3:0:0/3:0:0:0", "iscsi scsi"),
        ("/dev/sda", f"{PCI}/virtio1/host0/target0:0:0/0:0:0:0", "scsi"),
        ("/dev/cciss/c0d0", f"{PCI}/cciss0", ""),
        ("/dev/nvme1n1", "/sys/devices/virtual/nvme-fabrics/ctl/nvme1", "nvme fabrics"),
    ],
)
def test_a_disks_place_in_sysfs_tells_its_transport(
    node: Node, disk: str, place: str, transport: str
):
    assert node.verb("transport_at", disk, place, disk="").strip() == transport


@pytest.mark.parametrize(
    ("controller", "transport"),
    [("virtual/nvme-fabrics/ctl/nvme7", "nvme fabrics"), ("pci0000:00/nvme/nvme7", "nvme")],
)
def test_of_an_nvme_disk_of_several_paths_its_controllers_tell_whether_it_is_on_a_network(
    node: Node, controller: str, transport: str
):
    """Its own place is that of the subsystem: nothing there says where it is."""
    place = node.folder / "devices/virtual/nvme-subsystem/nvme-subsys4"
    (place / "nvme4n1").mkdir(parents=True)
    (node.folder / "devices" / controller).mkdir(parents=True)
    (place / "nvme7").symlink_to(f"../../../{controller}")
    said = node.verb("transport_at", "/dev/nvme4n1", str(place), disk="")
    assert said.strip() == transport


def test_a_multipath_device_is_where_its_paths_are(node: Node):
    node.parts = node.folder / "parts"
    shutil.copytree(PARTS, node.parts)
    with (node.parts / "disk.sh").open("a") as file:
        file.write(f'sys_of() {{ echo "{node.folder}/block/${{1##*/}}"; }}\n')
    place = node.folder / "devices/host2/rport-2:0-0/target2:0:0/2:0:0:0"
    (place / "block/sda").mkdir(parents=True)
    (place / "block/sda/device").symlink_to("../..")
    (node.folder / "block/dm-0/slaves").mkdir(parents=True)
    (node.folder / "block/dm-0/slaves/sda").symlink_to(place / "block/sda")
    assert node.verb("disk_transport", "/dev/dm-0", disk="").strip() == "fc scsi"


def test_ids_and_serial_numbers_are_matched_by_patterns(node: Node):
    assert node.holds("like", "ata-X_1 wwn-0x5 ata-Y_2", "ata-Y*")
    assert not node.holds("like", "ata-X_1", "X*") and not node.holds("like", "", "*?")


# The built-in overlays


@pytest.mark.parametrize("name", ["worker", "sysvinit", "systemd"])
def test_a_built_in_overlay_can_be_laid_over_any_root(name: str):
    assert layer(str(OVERLAYS / name).encode(), name).tree


def test_systemd_has_no_complaint_about_the_units(tmp_path: Path):
    unit = OVERLAYS / "systemd/etc/systemd/system/plugnode-setup.service"
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("=/etc/setup.sh", f"={SETUP}"))
    done = subprocess.run(
        ["systemd-analyze", "verify", here], capture_output=True, text=True, check=False
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if "plugnode" in line] == []


def test_keys_in_the_shared_root_are_links_to_the_nodes_own_disk():
    links = [
        path for name in ("worker", "sysvinit") for path in (OVERLAYS / name / "etc/ssh").iterdir()
    ]
    assert {str(path.readlink()) for path in links} == {
        f"../../var/lib/plugnode/ssh/{path.name}" for path in links
    }
    made = set(re.findall(r"host_key (ssh_\w+)", TEXT)) | {
        f"ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")
    }
    assert {path.name for path in links if path.suffix != ".pub"} == made


@pytest.mark.parametrize("shell", SHELLS.values())
def test_the_last_words_are_read_from_what_the_boot_left(node: Node, shell: str):
    node.site_data("")
    (node.root / "proc/mounts").write_text("/dev/sda1 /var ext4 rw,noatime 0 0\n")
    (node.root / "proc/uptime").write_text("12.34 20.00\n")
    (node.data / "degraded").write_text("a reason\n")
    (node.data / "interface").write_text("card9\n")  # which this machine has not
    lockdown = node.root / "sys/kernel/security/lockdown"
    lockdown.parent.mkdir(parents=True)
    lockdown.write_text("none [integrity] confidentiality\n")
    script = SETUP.parent / "tell.sh"
    subprocess.run(
        [*shell.split(), script],
        env={**os.environ, "ROOT": str(node.root), "PARTS": str(PARTS)},
        check=True,
    )
    said = [line.removeprefix("plugnode: node: ") for line in node.console.splitlines()]
    assert said[1:] == [
        "address  card9", "release worker-000000000001", "mount / nothing", "mount /var /dev/sda1 ext4 rw",
        "fill /var 0 of 6", "mount /tmp nothing", "mount /home nothing", "lockdown integrity", "degraded a reason", "ready 12.34 s",
    ]  # fmt: skip
