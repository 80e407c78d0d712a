"""Disks across versions: one of commit 1ab4ab3 under today's setup.sh, and today's under that of then."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from tasks.core.archive import cpio
from tasks.core.config.render import render_configs
from tasks.core.config.site_image import site_image, site_img
from tasks.core.site.load import read_site
from tasks.core.site_data import HOSTS, NAMES, beside, files_of
from tests.support import earlier_site
from tests.support.commands import REPOSITORY
from tests.support.loop_disk import LAYOUT, Node
from tests.support.two_disks import TwoDisks

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices")


@pytest.fixture(scope="module")
def left(tmp_path_factory) -> pathlib.Path:
    return earlier_site.unpack(tmp_path_factory.mktemp("earlier"))


@pytest.fixture(scope="module")
def scripts(left: pathlib.Path) -> pathlib.Path:
    """/etc of a root of then."""
    return next((left / "dest/opt/nfs_export").glob("worker-*/etc"))


def test_a_disk_of_then_is_known_and_all_on_it_stays(left, tmp_path):
    node = Node(tmp_path)
    node.take(left / "disk.img")
    before = node.state
    said = node.boot(then="cat home/kept var/log/kept; findmnt -n -o FSTYPE --mountpoint var")
    assert said.count("kept\n") == 2 and not node.degraded, node.console
    assert node.state == before, "nothing is committed again"


SITE = """\
site: grid
network: {subnet: 172.24.10.0/24, gateway: 172.24.10.254, dns: [172.24.10.1], domain: grid.example.org}
servers: {boot1: {ip: 172.24.10.1}}
images:
  worker:
    reference: {path: .}
    disk:
      devices: [/dev/sda]
      match: {size: 1M..16T}
      partitions:
        - {mount: /var, size: 24M, fs: ext4, label: pn-var, fill: /var.ro, options: noatime}
        - {mount: /tmp, size: 16M, fs: ext3, label: pn-tmp, mode: "1777"}
        - {mount: /home, size: rest, fs: ext4, label: pn-home, options: "nosuid,nodev"}
hosts: {nas01: 172.24.10.250}
groups: {rack: {interface: eno1}}
nodes:
  wn001: {mac: "52:54:00:00:00:01", ip: 172.24.10.100, groups: [rack], wipe: "foreign:2026-12"}
  wn002: {mac: "52:54:00:00:00:02", ip: 172.24.10.10, wipe: 2026-01-15}
"""
ROWS = tuple((mount, "16" if mount == "/tmp" else size, *more) for mount, size, *more in LAYOUT)


@pytest.fixture(scope="module")
def newest(tmp_path_factory) -> pathlib.Path:
    """Site data as today's version makes it of a site with all that it can say, as an earlier release gets it."""
    folder = tmp_path_factory.mktemp("newest")
    (folder / "site.yaml").write_text(SITE)
    site, _ = read_site(str(folder / "site.yaml"), (str(folder), str(REPOSITORY)))
    hosts = render_configs(site)["hosts"]
    served = beside(site_img(site_image(site, hosts)))
    files = {**files_of(served["site.img"]), HOSTS: files_of(served[NAMES])[HOSTS]}
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder / "plugnode"


def bring(node: Node, data: pathlib.Path) -> str:
    """Commands that give a node that data, with the tests' own disk in place of those of the layout."""
    there = node.data
    own = f"own=$(grep '^device /dev/loop' {there}/layouts/default)"
    rows = f"name=$(awk '$2 == \"{node.name}\" {{ print $5 }}' {data}/nodes)"
    use = f'sed -i "s,^device .*,$own,; s,^match .*,," {there}/layouts/$name'
    return f"{own}; {rows}; cp -a {data}/. {there}/; {use}"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_a_setup_of_then_uses_a_disk_of_today_with_the_newest_site_data(
    tmp_path, scripts, newest, shell
):
    node = Node(tmp_path, layout=ROWS, shell=shell)
    node.before = bring(node, newest)
    node.boot(then="echo kept >home/kept; echo kept >var/log/kept")
    assert not node.degraded, node.console
    before = node.state

    node.setup, node.parts = scripts / "setup.sh", scripts / "plugnode"
    shown = "cat home/kept var/log/kept proc/sys/kernel/hostname; findmnt -n -o TARGET -l | grep -c root/"
    said = node.boot(then=shown)
    assert said.count("kept\n") == 2 and not node.degraded, node.console
    assert "wn001\n" in said, "its own name, short"
    assert node.state == before


def test_an_initrd_of_then_finds_its_node_in_the_newest_site_data(left, tmp_path, newest):
    image = next((left / "dest/tftpboot").glob("worker-*/initrd.img")).read_bytes()
    tree = cpio.read_image(image, "initrd.img").tree
    (tmp_path / "identity").write_bytes(tree[b"identity"].data or b"")
    (tmp_path / "plugnode").symlink_to(newest)
    asked = (
        "name_of 172.24.10.10; name_of 172.24.10.100; address_of_mac 52:54:00:00:00:01; site_name"
    )
    script = f'ROOT={tmp_path}; . "$ROOT/identity"; {asked}'
    said = subprocess.run(["dash", "-c", script], capture_output=True, text=True)
    assert said.stdout.split() == ["wn002", "wn001", "172.24.10.100", "grid"], said


@pytest.mark.parametrize("committed", [False, True], ids=["blank disks", "disks of today"])
def test_a_setup_of_then_writes_to_no_disk_of_several_layouts(tmp_path, scripts, committed):
    node = TwoDisks(tmp_path)
    if committed:
        node.boot()
        assert not node.degraded, node.console
    disks = node.digest()
    node.setup, node.parts = scripts / "setup.sh", scripts / "plugnode"
    node.wipe = "t1"
    node.boot()
    assert "has no disk layout" in node.degraded and node.digest() == disks
