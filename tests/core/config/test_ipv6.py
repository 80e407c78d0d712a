"""Networks whose nodes boot by IPv6: what each generated file says of it, read by its own program where one is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.cluster.files import render_outputs
from tasks.core.config import boot_files, checkers, render
from tasks.core.config.site_image import site_image
from tasks.core.release import Release
from tasks.core.site.load import read_site
from tasks.core.site.model import Site

TEXT = """\
site: six
networks:
  both: {subnet: 10.1.0.0/24, domain: grid.example.org, subnet6: "2001:db8:10::/64", gateway6: "fe80::1"}
  four: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
servers:
  boot1: {ip: 10.1.0.1, ip6: "2001:db8:10::1", addresses: {four: 10.2.0.1}}
  boot2: {ip: 10.1.0.2, ip6: "2001:db8:10::2"}
images: {worker: {reference: {path: /}, initrd: {base: none}}}
nodes:
  wn001: {mac: "52:54:00:00:00:01", ip: 10.1.0.11, ip6: "2001:DB8:10:0::a", wipe: "foreign:2026-12"}
  wn002: {macs: ["52:54:00:00:00:02", "52:54:00:00:00:12"], ip: 10.1.0.12, ip6: "2001:db8:10::b"}
  wn003: {mac: "52:54:00:00:00:03", ip: 10.2.0.13, ip6: "2001:db8:ffff::c"}
outputs: [dns]
"""
ASKED = "root=/dev/nfs nfsroot=[2001:db8:10::1]:/opt/nfs_export/worker-0,ro,vers=3,proto=tcp6,nolock quiet"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_of(tmp_path, TEXT)


def site_of(tmp_path: Path, text: str) -> Site:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return read_site(str(path), ())[0]


def boot_of(site: Site, kind: str = "own", server: int = 0) -> dict[str, str]:
    release = Release("worker-0", "worker", "quiet", *["0" * 64] * 4, "6.12", kind, 1, 1)
    label = boot_files.BootLabel("worker", release, "site-0")
    files = boot_files.render_boot(site, site.servers[server], label)
    return {path.removeprefix("plugnode/worker."): data.decode() for path, data in files.items()}


def exported(site: Site) -> list[str]:
    lines = render.render_configs(site)["exports"].decode().splitlines()
    return [line.split()[1].partition("(")[0] for line in lines if not line.startswith("#")]


def test_the_roots_are_exported_to_the_ipv6_network_or_to_its_nodes_alone(tmp_path, site):
    assert exported(site) == ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:10::/64"]
    alone = site._replace(deploy=site.deploy._replace(export_to="nodes"))
    assert exported(alone)[2:] == ["10.2.0.13", "2001:db8:10::a/127"]
    for each in (site, alone):
        (tmp_path / "exports").write_bytes(render.render_configs(each)["exports"])
        assert [row.verdict for row in checkers.validate(str(tmp_path))] == ["ok"]


def test_grub_and_ipxe_say_the_servers_ipv6_address_to_who_was_loaded_by_it(tmp_path, site):
    files = boot_of(site)
    by_six, _, by_four = files["grub"].partition("if [ ")
    assert "if regexp ':' \"$net_default_server\"; then\n" in by_six
    assert f"root=/dev/nfs '{ASKED.split()[1]}' quiet $plugnode_args" in by_six
    assert "ip=dhcp" not in by_six and "tcp6" not in by_four
    assert f"\nisset ${{next-server}} || set plugnode_root {ASKED}\n" in files["ipxe"]
    assert "2001" not in files["cfg"], "a BIOS boots by IPv4"
    (tmp_path / "worker.grub").write_text(files["grub"])
    assert checkers.grub(str(tmp_path / "worker.grub"), str(tmp_path)) == ""


def test_by_ipv6_nobody_fetches_by_http(site):
    files = boot_of(site._replace(deploy=site.deploy._replace(http="nginx")))
    by_six, _, _ = files["grub"].partition("for plugnode_from")
    assert "linux /worker-0/vmlinuz" in by_six and "initrd /worker-0/initrd.img" in by_six
    assert "isset ${next-server} || clear plugnode_http\nkernel ${plugnode_http}/" in files["ipxe"]


def test_each_server_names_itself(site):
    files = boot_of(site, server=1)
    assert "[2001:db8:10::2]:/opt" in files["grub"] and "10::1]" not in files["grub"]


@pytest.mark.parametrize("kind", ["dracut", "initramfs-tools", "nash"])
def test_a_release_of_before_whose_initrd_knows_no_ipv6_is_booted_as_ever(site, kind: str):
    files = boot_of(site, kind)
    assert "2001" not in "".join(files.values()) and "nfsroot=[" not in files["grub"]


def test_the_initrd_finds_a_nodes_ipv6_address_behind_all_that_releases_of_before_read(site):
    lines = site_image(site, b"")["plugnode/nodes"].decode().splitlines()
    assert [line.split("\t")[5:] for line in lines] == [
        ["-", "foreign:2026-12", "2001:db8:10::a/64", "fe80::1"],
        ["-", "-", "2001:db8:10::b/64", "fe80::1"],
        ["-", "-", "2001:db8:10::b/64", "fe80::1"],
        ["-"],
    ]


def test_the_servers_have_names_by_ipv6_too(site):
    assert (
        b"\n2001:db8:10::1 boot1.grid.example.org boot1\n" in render.render_configs(site)["hosts"]
    )
    files = render_outputs(site)
    assert b"\nboot2 IN AAAA 2001:db8:10::2\n" in files["cluster/db.grid.example.org"]
    (pointers,) = [
        files[name] for name in files if name.endswith("0.1.0.0.8.b.d.0.1.0.0.2.ip6.arpa")
    ]
    assert b"IN PTR boot1.grid.example.org.\n" in pointers
