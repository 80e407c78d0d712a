"""Networks that are tagged: who is told of it, and how, by each loader and each kind of initrd."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.config import boot_files, render
from tasks.core.release import Release
from tasks.core.site.load import read_site
from tasks.core.site.model import Site

TEXT = """\
site: t
networks:
  plain: {subnet: 10.1.0.0/24}
  prod: {subnet: 10.2.0.0/24, gateway: 10.2.0.254, vlan: 36, tagged: true}
servers: {boot1: {ip: 10.1.0.1}}
images: {worker: {reference: {path: /}, interface: eno1}}
nodes:
  wn001: {mac: "52:54:00:00:00:01", ip: 10.1.0.11}
  wn002: {mac: "52:54:00:00:00:02", ip: 10.1.0.12}
  wn003: {mac: "52:54:00:00:00:03", ip: 10.2.0.13}
"""
OWN = "ip=dhcp plugnode.vlan=36 root=/dev/nfs nfsroot=10.1.0.1:/opt/nfs_export/worker-0"
ASKED = {
    "own": OWN,
    "nash": OWN,
    "dracut": "vlan=eno1.36:eno1 ip=eno1.36:dhcp rd.neednet=1 root=nfs:10.1.0.1:/opt/nfs_export/worker-0",
}


def site_of(tmp_path: Path, text: str = TEXT) -> Site:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return read_site(str(path), ())[0]


def release_of(kind: str = "own", version: str = "6.1.0-56-amd64") -> Release:
    return Release("worker-0", "worker", "", *["0" * 64] * 4, version, kind, 1, 1)


def loaders_of(site: Site, kind: str = "own") -> dict[str, str]:
    label = boot_files.BootLabel("worker", release_of(kind), "site-0")
    of_label = boot_files.render_boot(site, site.servers[0], label)
    files = render.render_configs(site) | of_label
    return {path.removeprefix("tftp/"): data.decode() for path, data in files.items()}


@pytest.mark.parametrize("kind", ASKED)
def test_each_kind_of_initrd_is_told_in_its_own_words(kind: str, tmp_path: Path):
    site = site_of(tmp_path)
    arguments = boot_files.arguments_of(site, site.servers[0], release_of(kind), "prod")
    assert arguments.startswith(ASKED[kind])
    untagged = boot_files.arguments_of(site, site.servers[0], release_of(kind), "plain")
    assert "vlan" not in untagged and "ip=dhcp" in untagged


def test_a_node_of_a_tagged_network_has_files_of_its_own_by_each_loader(tmp_path: Path):
    """GRUB and iPXE reach the server at one address in both networks: the node's file says which."""
    files = loaders_of(site_of(tmp_path))
    assert "DEFAULT worker@prod\n" in files["pxelinux.cfg/01-52-54-00-00-00-03"]
    assert "pxelinux.cfg/01-52-54-00-00-00-01" not in files
    assert "DEFAULT worker\n" in files["pxelinux.cfg/default"]
    assert "LABEL worker@prod\n" in files["plugnode/worker.cfg"]
    assert "set plugnode_entry='worker@prod'\n" in files["grub/grub.cfg-01-52-54-00-00-00-03"]
    assert "set plugnode_entry='worker'\n" in files["grub/grub.cfg"]
    assert 'if [ "$plugnode_entry" = "worker@prod" ]; then\n' in files["plugnode/worker.grub"]
    assert "set plugnode_entry worker@prod\n" in files["boot.ipxe-01-52-54-00-00-00-03"]
    assert (
        "iseq ${plugnode_entry} worker@prod && set plugnode_root" in files["plugnode/worker.ipxe"]
    )


OTHER_CARD = """\
groups: {new: {interface: eth1}}
nodes:
  wn003: {mac: "52:54:00:00:00:03", ip: 10.2.0.13}
  wn004: {mac: "52:54:00:00:00:04", ip: 10.2.0.14, groups: [new]}
  wn005: {mac: "52:54:00:00:00:05", ip: 10.2.0.15, interface: eth2}
  wn006: {mac: "52:54:00:00:00:06", ip: 10.1.0.16, interface: eth3}
"""


def test_a_node_that_boots_from_another_card_tags_by_that_one_by_each_loader(tmp_path: Path):
    text = TEXT[: TEXT.index("nodes:")] + OTHER_CARD
    site = site_of(tmp_path, text)
    files = loaders_of(site, "dracut")
    for node, way in (("04", "worker@prod@eth1"), ("05", "worker@prod@eth2")):
        card = way[-4:]
        told = f"vlan={card}.36:{card} ip={card}.36:dhcp"
        assert f"DEFAULT {way} " in files[f"pxelinux.cfg/01-52-54-00-00-00-{node}"]
        assert f"'{way}'" in files[f"grub/grub.cfg-01-52-54-00-00-00-{node}"]
        assert f"set plugnode_entry {way}\n" in files[f"boot.ipxe-01-52-54-00-00-00-{node}"]
        for loader in ("cfg", "grub", "ipxe"):
            entry = files[f"plugnode/worker.{loader}"].partition(way)[2]
            assert told in entry.partition("worker@")[0], loader
    assert "eth3" not in files["plugnode/worker.cfg"], "there nothing is tagged"
    assert "DEFAULT worker plugnode.interface=eth3\n" in files["pxelinux.cfg/01-52-54-00-00-00-06"]


def test_a_card_that_most_have_is_that_of_nodes_without_files_of_their_own(tmp_path: Path):
    nodes = OTHER_CARD.replace("10.2.0.13}", "10.2.0.13, groups: [new]}")
    files = loaders_of(site_of(tmp_path, TEXT[: TEXT.index("nodes:")] + nodes), "dracut")
    assert "pxelinux.cfg/01-52-54-00-00-00-04" not in files
    for name in ("default", "0A0200"):  # pxelinux looks for that of its network first
        assert "DEFAULT worker@prod@eth1 " in files[f"pxelinux.cfg/{name}"]


def test_where_all_are_tagged_the_file_of_all_says_so(tmp_path: Path):
    network = "network: {subnet: 10.1.0.0/24, vlan: 7, tagged: true}"
    lines = TEXT.splitlines(keepends=True)
    text = "".join([lines[0], network + "\n", *lines[4:8]])
    files = loaders_of(site_of(tmp_path, text))
    assert "DEFAULT worker@network\n" in files["pxelinux.cfg/default"]
    assert not [path for path in files if "01-52-54" in path]


def test_a_command_line_is_measured_with_the_words_of_its_network(tmp_path: Path):
    """2.6.18 takes 255 bytes."""
    site = site_of(tmp_path)
    release = release_of("own", "2.6.18-419.el5")._replace(cmdline="a" * 65)
    lines = boot_files.cmdline_warnings(site, site.servers[0], "worker", release, "site-0")
    (line,) = lines
    assert line.startswith("wn003: ") and "takes 255" in line
