"""Names: what a node is called, what it knows others by, and that releases of before are told what they can read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.core import site_data
from tasks.core.config import render, site_image
from tasks.core.config.boot_files import BootLabel, render_boot
from tasks.core.release import Release, parse_release
from tasks.core.rootfs import hosts
from tasks.core.site import cache
from tasks.core.site.load import read_site
from tasks.core.site.model import Site
from tasks.core.tree.model import generated_file, symlink
from tests.support import sample_site
from tests.support.commands import REPOSITORY

ADDRESS = "172.24.10.10"  # the beginning of another one's
SITE = """\
site: names
network: {subnet: 172.24.10.0/24, domain: grid.example.org}
servers: {boot1: {ip: 172.24.10.1}}
images: {worker: {reference: {path: .}}}
nodes:
  wn100: {mac: "52:54:00:00:01:00", ip: 172.24.10.100}
  wn010: {mac: "52:54:00:00:00:10", ip: 172.24.10.10}
hosts:
  nas01: 10.1.0.250
  nas: 10.1.0.250
  license.example.org: [10.1.0.4, 2001:db8::4]
"""
# The look-up of every setup.sh before hosts had canonical names
EARLIER = """
    { sub(/\\r$/, ""); sub(/#.*/, "") }
    $1 "" == address && NF >= 2 { print $2; exit }"""
AWKS = [words for words in (["mawk"], ["gawk"], ["busybox", "awk"]) if shutil.which(words[0])]


def site_of(folder: Path, text: str = SITE) -> Site:
    (folder / "site.yaml").write_text(text)
    return read_site(str(folder / "site.yaml"), ())[0]


def hosts_of(site: Site) -> str:
    return render.render_configs(site)["hosts"].decode()


@pytest.fixture
def node(tmp_path):
    """A node's /run/plugnode, as its initrd makes it of site.img."""
    site = site_of(tmp_path)
    for path, data in site_image.site_image(site, hosts_of(site).encode()).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "run/plugnode").mkdir(parents=True)
    shell(tmp_path, f'. {REPOSITORY}/overlays/initrd/identity; bring_site "$ROOT/run/plugnode"')
    return tmp_path


def shell(root: Path, script: str) -> str:
    argv = ["busybox", "sh", "-euc", script]
    return subprocess.run(
        argv, env={**os.environ, "ROOT": str(root)}, check=True, capture_output=True, text=True
    ).stdout


def unpacked(archive: bytes) -> dict[str, bytes]:
    return site_data.files_of(archive)


@pytest.mark.parametrize("awk", AWKS, ids=lambda words: words[0])
def test_an_earlier_release_takes_its_short_name_of_the_archive_that_it_loads_besides(node, awk):
    site = site_of(node)
    image = site_image.site_img(site_image.site_image(site, hosts_of(site).encode()))
    over = unpacked(site_data.beside(image)[site_data.NAMES])
    (node / "run/plugnode/hosts").write_bytes(over["plugnode/hosts"])
    argv = [*awk, "-v", f"address={ADDRESS}", EARLIER, node / "run/plugnode/hosts"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "wn010\n"
    assert f"{ADDRESS} wn010 wn010.grid.example.org\n".encode() in over["plugnode/hosts"]


def release(**more) -> Release:
    return Release("worker-0123456789ab", "worker", "", *"abcd", "6.1.0", "own", 1, 1, **more)


def test_only_releases_of_before_load_it_and_only_where_the_site_has_a_domain(tmp_path):
    site, names = site_of(tmp_path), b"site-1/names.img"

    def boots(site: Site, **more) -> list[bool]:
        label = BootLabel("worker", release(**more), "site-1")
        files = render_boot(site, site.servers[0], label)
        return [names in data for data in files.values()]

    assert boots(site, site_data=1) == [True] * 3 and boots(site) == [False] * 3
    without = site_of(tmp_path, SITE.replace(", domain: grid.example.org", ""))
    assert boots(without, site_data=1) == [False] * 3


def test_a_release_of_before_is_known_by_what_its_json_does_not_say():
    said = json.loads(release().dump())
    del said["site_data"]
    assert parse_release(json.dumps(said).encode()).site_data == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
def test_a_node_has_its_short_name_and_its_resolver_gives_the_canonical_one(node):
    setup = f"{REPOSITORY}/overlays/worker/etc"
    (node / "run/plugnode/address").write_text(f"{ADDRESS}\n")
    (node / "run/plugnode/setup").mkdir()
    name = shell(node, f"PARTS={setup}/plugnode sh {setup}/setup.sh own_name")
    script = f"mount --bind {node}/run/plugnode/hosts /etc/hosts; hostname {name.strip()}; hostname; hostname -f; "
    script += f"hostname -d; getent hosts {ADDRESS} 10.1.0.250 nas license.example.org | sort"
    argv = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-euc", script]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said[:3] == ["wn010", "wn010.grid.example.org", "grid.example.org"]
    assert [line.split() for line in said[3:]] == [
        ["10.1.0.250", "nas01", "nas"],
        ["10.1.0.250", "nas01", "nas"],
        [ADDRESS, "wn010.grid.example.org", "wn010"],
        ["2001:db8::4", "license.example.org"],
    ]


def test_site_img_brings_the_very_file_that_was_generated(node):
    assert (node / "run/plugnode/hosts").read_text() == hosts_of(site_of(node))


def test_only_lines_with_a_canonical_name_of_the_domain_are_turned_for_earlier_releases():
    lines = b"10.0.0.1 a.dom a b\n10.0.0.2\tc.dom  c # c\n10.0.0.3 d.dom.org d\n10.0.0.4 e.domx e\n10.0.0.5 f.dom ff\n"
    turned = b"10.0.0.1 a a.dom b\n10.0.0.2\tc  c.dom # c\n" + lines[lines.index(b"10.0.0.3") :]
    assert site_data.short_names_first(lines, "dom") == turned
    assert site_data.short_names_first(b"10.0.0.1 a.dom a", "dom") == b"10.0.0.1 a a.dom"


def test_more_hosts_are_a_line_for_each_address_and_survive_the_cache(tmp_path):
    site = site_of(tmp_path)
    assert hosts_of(site).endswith(
        "\n10.1.0.250 nas01 nas\n10.1.0.4 license.example.org\n2001:db8::4 license.example.org\n"
    )
    for _ in range(2):
        cached = cache.load_cached(str(tmp_path / "site.yaml"), str(tmp_path / "cache"), ())
        assert hosts_of(cached) == hosts_of(site) and cached.fingerprint == site.fingerprint
    assert (
        site_of(tmp_path, SITE.replace("10.1.0.250\n", "10.1.0.251\n", 1)).fingerprint
        != site.fingerprint
    )


# What a reference knows others by


REFERENCE = b"""\
127.0.0.1 localhost localhost.localdomain
127.0.1.1 ref.example.org
::1 localhost ip6-localhost
ff02::1 ip6-allnodes
fe00::0 ip6-localnet
172.24.10.9 ref.grid.example.org ref # the reference itself
10.1.0.250 nas01 nas
10.1.0.4\tlicense  LICENSE.example.org # at the end
# 10.1.0.5 gone
172.24.10.1 boot1
"""


def known_by(text: bytes, **files: bytes) -> list[str]:
    """The names that a root has for others whose etc/hosts and other files are these."""
    named = {
        f"etc/{name}".encode(): generated_file(data)
        for name, data in {"hosts": text, **files}.items()
    }
    return hosts.others(named)


@pytest.mark.parametrize(
    "files", [{"hostname": b"ref\n"}, {"sysconfig/network": b'NETWORKING=yes\nHOSTNAME="ref"\n'}]
)
def test_the_other_machines_of_a_reference_are_those_that_are_neither_itself_nor_nobody(files):
    assert known_by(REFERENCE, **files) == [
        "nas01",
        "nas",
        "license",
        "LICENSE.example.org",
        "boot1",
    ]


@pytest.mark.parametrize(
    "tree", [{}, {b"etc/hosts": symlink(b"hosts")}, {b"etc/hosts": symlink(b"/gone")}]
)
def test_a_reference_without_hosts_knows_nobody(tree):
    assert hosts.others(tree) == []


def test_names_that_the_nodes_would_lose_are_told_until_the_site_has_them(doit):
    folder = sample_site.reference(doit.folder / "reference", files=5)
    sample_site.put(folder / "etc/hosts", REFERENCE)
    sample_site.put(folder / "etc/hostname", b"ref\n")
    sample_site.write(doit.site, folder)
    said = "etc/hosts of the reference has 4 names that the nodes' lacks: nas01, nas, license, LICENSE.example.org; "
    out = doit()
    assert said + "add them under `hosts:`" in out, out
    assert f"warning  hosts: worker: {said}" in doit("check")
    text = (
        doit.site.read_text()
        + "hosts:\n  nas01: 10.1.0.250\n  nas: 10.1.0.250\n  license.example.org: 10.1.0.4\n"
    )
    doit.site.write_text(text)
    assert "has 1 name that the nodes' lacks: license; " in doit("check")
    doit.site.write_text(text + "  license: 10.1.0.4\n")
    assert "the nodes' lacks" not in doit("check")
