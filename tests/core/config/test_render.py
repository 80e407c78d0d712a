"""The generated files: as golden pairs, by their programs' own checkers, read back, and served to a real client."""

from __future__ import annotations

import ipaddress
import json
import pathlib
import re
import shutil
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.base.errors import BadInput
from tasks.core.config import boot_files, checkers, cmdline, networks, render, site_image, templates
from tasks.core.desired.daemons import desired_services
from tasks.core.release import Release, id_of, parse_release, release_id
from tasks.core.services.exports import fewest_prefixes
from tasks.core.site.load import read_site
from tasks.core.site.model import (
    Deploy,
    Disk,
    DiskMatch,
    Image,
    Mac,
    Network,
    Node,
    Partition,
    Reference,
    Server,
    Site,
)
from tests.support import dhcp_client
from tests.support.commands import REPOSITORY

GOLDEN = REPOSITORY / "tests/golden"
SITES = ("two-nodes", "two-servers")
ALL = (*SITES, "racks")
SITE_ID = "site-0b1c2d3e4f50"


def site_of(name: str) -> Site:
    return read_site(str(GOLDEN / name / "site.yaml"), ())[0]


def release_of(image: Image, kind: str = "own", version: str = "6.1.0-56-amd64") -> Release:
    return Release(
        f"{image.name}-3f9a1c2b4d5e",
        image.name,
        image.cmdline,
        *["0" * 64] * 4,
        version,
        kind,
        1,
        1,
    )


def label(name: str, release: Release) -> boot_files.BootLabel:
    return boot_files.BootLabel(name, release, SITE_ID)


def everything(site: Site) -> dict[str, bytes]:
    """All that is generated of a site: configs, the boot files of its first server, the content of site.img."""
    files = render.render_configs(site)
    for image in site.images:
        own = label(image.name, release_of(image))
        files |= boot_files.render_boot(site, site.servers[0], own)
    return files | site_image.site_image(site, files["hosts"])


def write(folder: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def write_golden(name: str) -> None:
    """Accept new output. For all, from the repository's root:

    .venv/bin/python -c 'from tests.core.config.test_render import *; [*map(write_golden, ALL)]'
    """
    folder = GOLDEN / name
    site_file = (folder / "site.yaml").read_bytes()
    shutil.rmtree(folder)
    write(folder, {"site.yaml": site_file, **everything(load_bytes(site_file, folder))})


def load_bytes(data: bytes, folder: pathlib.Path) -> Site:
    return read_site(str(write(folder, {"site.yaml": data}) / "site.yaml"), ())[0]


@pytest.mark.parametrize("name", ALL)
def test_each_site_becomes_exactly_the_files_beside_it(name):
    wanted = {
        str(path.relative_to(GOLDEN / name)): path.read_text()
        for path in (GOLDEN / name).rglob("*")
        if path.is_file() and path.name != "site.yaml"
    }
    made = {path: data.decode() for path, data in everything(site_of(name)).items()}
    assert sorted(made) == sorted(wanted)
    for path in sorted(wanted):
        assert made[path] == wanted[path], path


def exported(site: Site, **deploy: str) -> list[str]:
    """Whom the generated exports name, and how."""
    files = render.render_configs(site._replace(deploy=Deploy(**deploy)))
    lines = files["exports"].decode().splitlines()
    return [line.partition(" ")[2] for line in lines if not line.startswith("#")]


def test_roots_can_be_exported_to_nodes_alone_and_to_those_who_prove_who_they_are(tmp_path):
    first, *others = site_of("two-nodes").nodes
    addresses = ("10.1.0.6", "10.1.0.7", "10.1.0.9")
    nodes = tuple(first._replace(ip=address) for address in addresses)
    site = site_of("two-nodes")._replace(read_nodes=lambda: nodes)
    to_all = exported(site)
    to_nodes = exported(site, export_to="nodes", export_options="sec=krb5p,xprtsec=tls")
    assert [line.partition("(")[0] for line in to_all] == [site.network.subnet]
    assert [line.partition("(")[0] for line in to_nodes] == ["10.1.0.6/31", "10.1.0.9"]
    assert all(",no_root_squash,sec=krb5p,xprtsec=tls,fsid=" in line for line in to_nodes)
    assert "sec=" not in to_all[0]
    deploy = Deploy(export_to="nodes", export_options="sec=sys:krb5p")  # as nfs-utils of before TLS
    files = {"exports": render.render_configs(site._replace(deploy=deploy))["exports"]}
    assert [row.verdict for row in checkers.validate(str(write(tmp_path, files)))] == ["ok"]


@given(st.sets(st.integers(0, 255), min_size=1))
@settings(deadline=None)
def test_the_fewest_prefixes_hold_these_addresses_and_no_others(numbers: set[int]):
    addresses = {ipaddress.IPv4Address(0x0A010000 + number) for number in numbers}
    found = [ipaddress.IPv4Network(each) for each in fewest_prefixes(map(str, addresses))]
    held = [address for network in found for address in network]
    assert sorted(held) == sorted(addresses)  # each once
    halves = {network.supernet() for network in found}  # no two are halves of one
    assert len(halves) == len(found)


# Their own programs


@pytest.mark.parametrize("name", ALL)
def test_every_file_passes_its_own_programs_check(name, tmp_path):
    rows = checkers.validate(str(write(tmp_path, render.render_configs(site_of(name)))))
    assert [row for row in rows if row.verdict != "ok"] == []
    assert {row.file for row in rows} >= {
        "dhcpd.conf",
        "kea-dhcp4.json",
        "dnsmasq.conf",
        "exports",
        "tftp/grub/grub.cfg",
    }


def test_grubs_files_that_name_a_release_pass_its_check_too(tmp_path):
    site = site_of("two-servers")
    boot = boot_files.render_boot(site, site.servers[0], label("gpu", release_of(site.images[1])))
    write(tmp_path, boot)
    assert checkers.grub(str(tmp_path / "plugnode/gpu.grub"), str(tmp_path)) == ""


BROKEN = {
    "dhcpd.conf": ("fixed-address", "fixed-adress", "line "),
    "kea-dhcp4.json": ('"hw-address"', '"hw-adress"', "unexpected"),
    "dnsmasq.conf": ("dhcp-ignore=", "dhcp-ingore=", "line "),
    "exports": ("no_subtree_check", "no_subtree_chekc", "no_subtree_chekc"),
    "tftp/grub/grub.cfg": ("source ", "} source ", "syntax error"),
    "tftp/grub/grub.cfg-01-52-54-00-00-01-01": ("set ", "} ", "grub.cfg-01-52-54-00-00-01-01"),
}


def test_a_mistake_in_any_of_them_is_seen_and_said(tmp_path):
    files = render.render_configs(site_of("two-servers"))
    for path, (right, wrong, _) in BROKEN.items():
        files[path] = files[path].replace(right.encode(), wrong.encode())
    rows = {row.file: row for row in checkers.validate(str(write(tmp_path, files)))}
    for path, (*_, said) in BROKEN.items():
        row = rows[path if path in rows else "tftp/grub/grub.cfg-*"]
        assert row.verdict == "failed" and said in row.text, (path, row)


def test_the_blank_that_opens_an_export_to_the_world_is_a_failure(tmp_path):
    exports = render.render_configs(site_of("two-nodes"))["exports"].replace(b"/24(", b"/24 (")
    (row,) = checkers.validate(str(write(tmp_path, {"exports": exports})))
    assert row.verdict == "failed"


def test_a_checker_that_is_not_installed_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(checkers, "find_program", lambda name: None)
    (row,) = checkers.validate(str(write(tmp_path, {"dhcpd.conf": b""})))
    assert (row.verdict, row.text) == (
        "skipped",
        "dhcpd is not installed (apt install isc-dhcp-server, dnf install dhcp-server)",
    )


# Read back


def said_by_dhcpd(text: str) -> dict[str, tuple[str, str, str]]:
    """Host name -> (MAC, address, next-server) of a dhcpd.conf, comments and layout aside."""
    tokens = re.findall(r'"[^"]*"|[{};]|[^\s{};"]+', re.sub(r"#.*", "", text))
    hosts, common = {}, tokens[tokens.index("next-server") + 1]
    for at, token in enumerate(tokens):
        if token == "host" and tokens[at + 2] == "{":
            block = tokens[at + 3 : tokens.index("}", at)]
            value = {block[i - 1]: block[i] for i in range(1, len(block))}
            assert value["host-name"] == f'"{tokens[at + 1]}"'
            hosts[tokens[at + 1]] = (
                value["ethernet"],
                value["fixed-address"],
                value.get("next-server", common),
            )
    return hosts


def said_by_kea(text: str) -> dict[str, tuple[str, str, str]]:
    (subnet,) = json.loads(text)["Dhcp4"]["subnet4"]
    assert "pools" not in subnet
    return {
        host["hostname"]: (
            host["hw-address"],
            host["ip-address"],
            host.get("next-server", subnet.get("next-server")),
        )
        for host in subnet["reservations"]
    }


def said_by_dnsmasq(text: str) -> dict[str, tuple[str, str, str]]:
    servers = {
        words[0]: words[-1]
        for words in re.findall(r"^dhcp-boot=((?:tag:server-\w+)?).*,([\d.]+)$", text, re.MULTILINE)
    }
    hosts = {}
    for mac, tag, address, name in re.findall(
        r"^dhcp-host=([\w:]+),(?:set:([\w-]+),)?([\d.]+),(\w+),infinite$", text, re.MULTILINE
    ):
        hosts[name] = (mac, address, servers[f"tag:{tag}" if tag else ""])
    return hosts


@pytest.mark.parametrize("name", SITES)
def test_all_three_dhcp_files_say_what_the_site_says(name):
    site = site_of(name)
    files = {path: data.decode() for path, data in render.render_configs(site).items()}
    meant = {
        node.name: (str(node.mac), node.ip, boot_files.server_of(site, node).ip)
        for node in site.nodes
    }
    assert said_by_dhcpd(files["dhcpd.conf"]) == meant
    assert said_by_kea(files["kea-dhcp4.json"]) == meant
    assert said_by_dnsmasq(files["dnsmasq.conf"]) == meant


@pytest.mark.parametrize("name", SITES)
def test_hosts_and_ethers_say_what_the_site_says(name):
    site, files = site_of(name), render.render_configs(site_of(name))
    lines = [
        line.split()
        for line in files["hosts"].decode().splitlines()
        if line and not line.startswith("#")
    ]
    suffix = f".{site.network.domain}" if site.network.domain else ""
    machines = [*site.servers, *site.nodes]
    assert lines[2:] == [[m.ip, *([m.name + suffix] if suffix else []), m.name] for m in machines]
    assert [line[1] for line in lines[:2]] == ["localhost", "localhost"]
    ethers = [
        line.split() for line in files["ethers"].decode().splitlines() if not line.startswith("#")
    ]
    assert ethers == [[node.mac, node.name] for node in site.nodes]


def test_no_file_of_the_site_names_a_release():
    site = site_of("two-nodes")
    for path, data in render.render_configs(site).items():
        assert not re.search(
            rb"-[0-9a-f]{12}\b", data.replace(b"fsid=", b"").split(b"/opt/nfs_export")[0]
        ), path
        assert b"root-path" not in data, path


def test_every_file_says_who_made_it_in_its_first_lines():
    for path, data in render.render_configs(site_of("two-servers")).items():
        assert b"enerated by Plugnode from site.yaml: edits are lost" in b"".join(
            data.splitlines()[:3]
        ), path


# Which nodes get files of their own


def node(number: int, **more) -> Node:
    mac = Mac(f"52:54:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}")
    return Node(
        f"wn{number:05}",
        mac,
        f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        **{"image": "worker", **more},
    )


def site_with(*nodes: Node, servers: int = 1) -> Site:
    images = tuple(Image(name, Reference("path", "/")) for name in ("worker", "gpu"))
    machines = tuple(
        Server(f"boot{number}", f"10.255.0.{number}") for number in range(1, servers + 1)
    )
    return Site("made-up", Network("10.0.0.0/8"), machines, images, Deploy(), "", lambda: nodes)


def own_files(site: Site) -> set[str]:
    return {path for path in render.render_configs(site) if "01-" in path}


def test_ten_thousand_nodes_get_no_files_of_their_own_and_render_in_a_moment():
    site = site_with(*(node(number, cmdline="quiet") for number in range(1, 10_001)), servers=2)
    render.render_configs(site_of("two-nodes"))
    start = time.process_time()
    files = render.render_configs(site)
    assert time.process_time() - start < 1
    assert len(files) == 10
    assert files["tftp/pxelinux.cfg/default"].endswith(
        b"INCLUDE plugnode/worker.cfg\nDEFAULT worker quiet\n"
    )


def test_only_nodes_that_differ_from_most_have_files_and_those_for_every_loader():
    odd = [node(4, image="gpu"), node(5, release="worker-0123456789ab"), node(6, cmdline="mce=off")]
    site = site_with(node(1), node(2), node(3), *odd)
    assert own_files(site) == {
        f"tftp/{path}{each.mac.pxe}"
        for path in ("pxelinux.cfg/", "grub/grub.cfg-", "boot.ipxe-")
        for each in odd
    }


def of_group(cmdline: str = "quiet", image: str = "worker") -> list[Node]:
    """Sixty nodes of a group, which alone says anything of them."""
    more = {"cmdline": cmdline, "image": image, "groups": ("rack2", "gpu.a")}
    return [node(number, **more) for number in range(200, 260)]


@pytest.mark.parametrize(
    "after",
    [of_group("quiet debug"), of_group("console=ttyS1,9600")]
    + [[each._replace(release="worker-0123456789ab") for each in of_group()]]
    + [[each._replace(interface="eth1") for each in of_group()]],
)
def test_what_a_group_boots_is_one_file_a_loader_and_its_nodes_lead_there(after):
    most = [node(number) for number in range(1, 100)]
    files, changed = (
        render.render_configs(site_with(*most, *nodes)) for nodes in (of_group(), after)
    )
    names = {f"tftp/{path}group-rack2+gpu.a" for path in boot_files.OF_NODE}
    tftp = {path for path in files if path.startswith("tftp/")}
    assert {path for path in tftp if changed[path] != files[path]} == names
    assert len(own_files(site_with(*most, *of_group()))) == 3 * 60
    assert len({files[f"tftp/boot.ipxe-{each.mac.pxe}"] for each in after}) == 1


def test_a_node_of_a_group_that_says_more_itself_has_files_of_its_own():
    odd = of_group()[0]._replace(cmdline="quiet mce=off")
    site = site_with(*map(node, range(1, 100)), odd, *of_group()[1:])
    files = render.render_configs(site)
    own = files[f"tftp/pxelinux.cfg/{odd.mac.pxe}"]
    assert own.endswith(b"INCLUDE plugnode/worker.cfg\nDEFAULT worker quiet mce=off\n")
    assert odd.name.encode() in own


def test_the_files_of_groups_are_told_apart_by_image_and_are_never_too_long():
    long = tuple(f"a-group-of-a-long-name-{number}" for number in range(20))
    nodes = [*map(node, range(1, 100)), *of_group(), node(300, cmdline="a")]
    for number in (301, 302):
        nodes += [node(number, groups=long, cmdline="a"), node(number + 10, image="gpu")]
        nodes += [node(number + 20, image="gpu", groups=("rack2",))]
    files = render.render_configs(site_with(*nodes))
    names = {path.partition("boot.ipxe-")[2] for path in files if "boot.ipxe-" in path}
    shared = {name for name in names if not name.startswith("01-")}
    assert {"group-rack2+gpu.a", "group-rack2@gpu", "image-gpu"} < shared
    assert len(shared) == 4 and max(map(len, shared)) <= 100


PLAIN = ("", "", "")  # no words of a node's own, in no tagged network


def test_the_usual_image_is_the_one_that_most_nodes_use_and_the_first_one_of_equals():
    assert boot_files.default_boot(
        site_with(node(1, image="gpu"), node(2, image="gpu"), node(3))
    ) == ("gpu", *PLAIN)
    assert boot_files.default_boot(site_with(node(1, image="gpu"), node(2))) == ("worker", *PLAIN)
    assert boot_files.default_boot(site_with()) == ("worker", *PLAIN)


def test_a_pin_never_becomes_what_the_other_nodes_boot():
    pinned = [node(number, release="worker-0123456789ab") for number in range(1, 4)]
    assert boot_files.default_boot(site_with(*pinned, node(4))) == ("worker", *PLAIN)
    assert boot_files.default_boot(site_with(*pinned)) == ("worker", *PLAIN)


def test_the_release_that_an_image_stays_at_is_what_its_nodes_boot_by_one_file():
    old = "worker-0123456789ab"
    held = [node(number, release=old) for number in range(1, 4)]
    ahead = node(4)
    site = site_with(*held, ahead)
    images = tuple(image._replace(release=old) for image in site.images[:1]) + site.images[1:]
    site = site._replace(images=images)
    assert boot_files.default_boot(site) == (old, *PLAIN)
    assert own_files(site) == {f"tftp/{path}{ahead.mac.pxe}" for path in boot_files.OF_NODE}
    all_ahead = site._replace(read_nodes=lambda: (ahead,))
    assert boot_files.default_boot(all_ahead) == ("worker", *PLAIN), "nobody leads to that release"


def test_the_serial_line_of_the_loader_is_the_kernels():
    assert cmdline.serial_console("console=tty0 console=ttyS1,115200n8 quiet") == ("1", "115200")
    assert cmdline.serial_console("console=ttyS0") == ("0", "9600")
    assert cmdline.serial_console("console=tty0 xconsole=ttyS0") is None


# Several servers


def test_a_new_server_takes_its_share_and_moves_no_other_node():
    nodes = [node(number) for number in range(1, 3001)]
    two, three = site_with(*nodes, servers=2), site_with(*nodes, servers=3)
    before = [boot_files.server_of(two, each).name for each in nodes]
    after = [boot_files.server_of(three, each).name for each in nodes]
    assert 1300 < before.count("boot1") < 1700
    assert 850 < after.count("boot3") < 1150
    assert all(old == new for old, new in zip(before, after) if new != "boot3")


def test_a_node_that_names_its_server_boots_from_it():
    site = site_with(*(node(number, server="boot2") for number in range(1, 20)), servers=3)
    assert {boot_files.server_of(site, each).name for each in site.nodes} == {"boot2"}


# The files that name a release


def test_pxelinux_gets_exactly_the_file_of_the_design():
    images = (Image("worker", Reference("path", "/"), cmdline="console=ttyS0"),)
    site = site_of("two-nodes")._replace(images=images)
    files = boot_files.render_boot(site, site.servers[0], label("worker", release_of(images[0])))
    assert sorted(files) == ["plugnode/worker.cfg", "plugnode/worker.grub", "plugnode/worker.ipxe"]
    assert files["plugnode/worker.cfg"].decode() == (
        "LABEL worker\n"
        "  KERNEL worker-3f9a1c2b4d5e/vmlinuz\n"
        "  INITRD worker-3f9a1c2b4d5e/initrd.img,site-0b1c2d3e4f50/site.img\n"
        "  APPEND ip=dhcp root=/dev/nfs nfsroot=172.24.10.1:/opt/nfs_export/worker-3f9a1c2b4d5e,"
        "ro,vers=3,proto=tcp,nolock console=ttyS0\n"
        "  IPAPPEND 2\n"
    )


def test_a_root_that_another_machine_serves_is_mounted_from_there_and_not_exported_here():
    site = site_with(node(1), servers=2)
    boot1, boot2 = site.servers
    filer = boot2._replace(nfs_server="10.255.9.9:/vol/roots")
    release = release_of(site.images[0])._replace(nfs="vers=4.1,nconnect=4")
    line = boot_files.arguments_of(site, filer, release)
    root = f"10.255.9.9:/vol/roots/{release.id}"
    assert f"nfsroot={root},ro,vers=4.1,proto=tcp,nolock,nconnect=4" in line
    assert f"nfsroot={boot1.ip}:/opt/nfs_export/" in boot_files.arguments_of(site, boot1, release)
    exported = {each.path for each in desired_services(site, filer, {"exports": b""})}
    assert exported == set()
    assert len(desired_services(site, boot1, {"exports": b""})) == 1
    root_of_it = filer._replace(nfs_server="10.255.9.9:/")
    assert f"=10.255.9.9:/{release.id}," in boot_files.arguments_of(site, root_of_it, release)


def test_a_root_file_that_is_mounted_lies_beside_the_tree_and_is_known_by_its_hashes():
    site = site_with(node(1), servers=2)
    release = release_of(site.images[0])._replace(
        nfs="vers=4.2",
        root_kind="nfs-file",
        root_file="1" * 64,
        root_name="root.erofs",
        verity="2" * 64,
        verity_blocks=77,
    )
    server = site.servers[0]
    line = boot_files.arguments_of(site, server, release)
    assert f"nfsroot={server.ip}:/opt/nfs_export/{release.id}.file,ro,vers=4.2,proto=tcp" in line
    assert f" plugnode.root_file=root.erofs plugnode.root_verity=77,{'2' * 64}" in line
    assert "http://" not in line and not boot_files.serves_http(site)


def test_how_a_root_is_mounted_is_in_a_releases_id_where_it_is_not_as_ever():
    release = release_of(site_with().images[0])
    named = release._replace(id=id_of(release))
    assert (
        id_of(named._replace(nfs="vers=4.2"))
        != id_of(named)
        == release_id(
            named.image, named.root, named.xattrs, named.initrd, named.kernel, named.cmdline
        )
    )
    before = {name: each for name, each in json.loads(named.dump()).items() if name != "nfs"}
    assert parse_release(json.dumps(before).encode()) == named


def test_a_pinned_node_includes_a_file_that_its_release_names():
    site = site_of("two-servers")
    default = render.render_configs(site)["tftp/pxelinux.cfg/01-52-54-00-00-00-07"].decode()
    assert "INCLUDE plugnode/worker-0123456789ab.cfg\nDEFAULT worker-0123456789ab\n" in default
    release = release_of(site.images[0])._replace(id="worker-0123456789ab")
    files = boot_files.render_boot(site, site.servers[1], label(release.id, release))
    assert files["plugnode/worker-0123456789ab.cfg"].startswith(b"LABEL worker-0123456789ab\n")
    assert b"nfsroot=10.20.0.2:" in files["plugnode/worker-0123456789ab.cfg"]


def test_grub_does_not_expand_what_a_kernel_argument_has():
    assert cmdline.grub_words("a=1,2 isolcpus=[2-5] x=*") == "a=1,2 'isolcpus=[2-5]' 'x=*'"


def test_a_line_that_the_kernel_would_cut_is_warned_about_with_its_nodes():
    site = site_of("two-servers")
    image = site.images[0]._replace(cmdline="console=ttyS1,115200n8 " + "x" * 20)
    old, new = release_of(image, version="2.6.18-398.el5"), release_of(image)
    warnings = [
        line
        for server in site.servers
        for line in boot_files.cmdline_warnings(site, server, "worker", old, SITE_ID)
    ]
    assert len(warnings) == 3 and all("2.6.18-398.el5 takes 255" in line for line in warnings)
    assert any(line.startswith("wn006: ") for line in warnings)
    assert boot_files.cmdline_warnings(site, site.servers[0], "worker", new, SITE_ID) == []


# site.img


def test_a_nodes_line_is_what_awk_on_an_old_system_expects(tmp_path):
    site = site_of("two-servers")
    files = site_image.site_image(site, b"hosts\n")
    (tmp_path / "nodes").write_bytes(files["plugnode/nodes"])
    found = subprocess.run(
        ["awk", "-F\t", "-v", "a=10.20.1.7", '$1 == a { print $2 "|" $3 "|" $4 "|" $5 "|" $6 }', tmp_path / "nodes"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert found == "wn007|52:54:00:00:00:07|canary,fresh|worker|2024-07-01\n"
    assert (
        files["plugnode/nodes"].splitlines()[0]
        == b"10.20.1.1\twn001\t52:54:00:00:00:01\t-\tworker\t-"
    )
    assert files["plugnode/hosts"] == b"hosts\n"


def test_a_token_for_foreign_disks_is_where_an_earlier_setup_sh_does_not_look():
    site = site_with(node(1, wipe="foreign:2026-12"), node(2, wipe="2026-12"))
    rows = site_image.site_image(site, b"")["plugnode/nodes"].decode().splitlines()
    assert [row.split("\t")[5:] for row in rows] == [["-", "foreign:2026-12"], ["2026-12"]]


def test_nothing_of_the_nodes_layouts_is_missing():
    disk = Disk(("/dev/sd[a-c]",), (Partition("/var", None, "xfs", "pn-var"),), "dos", False)
    site = site_with(node(1, layout="odd", disk=disk))
    files = site_image.site_image(site, b"")
    assert files["plugnode/layouts/odd"].decode() == (
        "table dos\nrequired no\ndevice /dev/sd[a-c]\npartition /var rest xfs pn-var -\n"
    )


def test_options_and_modes_stand_on_lines_of_their_own_and_leave_those_of_the_partitions_as_they_were():
    """Their checksum is on every disk."""
    plain = Partition("/scratch", None, "xfs", "pn-scratch")
    told = plain._replace(options="noatime,nosuid", mode="1777")
    lines = [
        site_image.layout_lines(Disk(partitions=(part,))).decode().splitlines()
        for part in (plain, told)
    ]
    assert lines[1][: len(lines[0])] == lines[0]
    assert lines[1][len(lines[0]) :] == ["options /scratch noatime,nosuid", "mode /scratch 1777"]


def test_what_an_earlier_setup_sh_would_take_for_a_condition_stands_under_another_word():
    """It finds no disk that fulfils a condition which it does not know."""
    lines = (
        site_image.layout_lines(Disk(match=DiskMatch(serial="X*", removable=True)))
        .decode()
        .splitlines()
    )
    assert [line for line in lines if line.startswith(("match", "allow"))] == [
        "match serial X*",
        "allow removable",
    ]


# Templates


def test_a_sites_own_template_comes_first(tmp_path):
    write(tmp_path, {"ethers": b"{{ site }} has its own\n"})
    files = render.render_configs(site_of("two-nodes"), (str(tmp_path), templates.TEMPLATES))
    assert files["ethers"] == b"two-nodes has its own\n"


@pytest.mark.parametrize("text", ["\n{{ no_such_thing }}\n", "\n{% for %}\n"])
def test_a_mistake_in_a_template_is_told_with_its_place(tmp_path, text):
    write(tmp_path, {"ethers": text.encode()})
    with pytest.raises(BadInput) as told:
        render.render_configs(site_of("two-nodes"), (str(tmp_path), templates.TEMPLATES))
    assert str(told.value).startswith(f"{tmp_path}/ethers:2:1: ")


@pytest.mark.parametrize(
    "evil", ['wn1"; filename "evil', "wn1\n1.2.3.4 evil", "wn1 } host evil {", "wn1\\", "wn1#"]
)
def test_a_value_that_is_more_than_a_value_reaches_no_file(evil):
    with pytest.raises(ValueError, match="must not reach a template"):
        render.render_configs(site_with(node(1)._replace(name=evil)))


# A real client


ARCH = {"bios": ["0x5d:0000"], "none": [], "7": ["0x5d:0007"], "9": ["0x5d:0009"]}
STRANGE = [
    ["0x5d:0006"],
    ["0x5d:000b"],
    ["0x5d:0700"],
]  # 32-bit UEFI, 64-bit ARM, and 7 the other way round: no loader
IPXE = [
    ["0x4d:69505845", "0x5d:0000"],  # user class iPXE, on BIOS and on UEFI
    ["0x4d:69505845", "0x5d:0007"],
    ["0x4d:0469505845", "0x5d:0007"],  # with its length, as RFC 3004 has it
    ["0x4d:695058452d78"],  # iPXE-x
    ["0x4d:0669505845" + "2d78"],
]
OTHER = [
    ["0x4d:69505820", "0x5d:0007"],
    ["0x4d:0361626369505845", "0x5d:0007"],
]  # "iPX ", and iPXE further back


def requests(site: Site) -> list:
    """Every kind of firmware with one card, a node of each other server, a stranger; then wn001 gets a new card."""
    first = site.nodes[0].mac
    asked: list = [
        {"mac": first, "options": options, "client_id": f"01{n:02x}"}
        for n, options in enumerate(ARCH.values())
    ]
    asked += [{"mac": first, "options": options} for options in [*STRANGE, *IPXE, *OTHER]]
    asked += [{"mac": each.mac, "options": ["0x5d:0007"]} for each in site.nodes[1:5]]
    return [
        *asked,
        {"mac": STRANGER, "options": [], "tries": 2},
        "reload",
        {"mac": NEW_CARD, "options": []},
    ]


GRUB, SHIM = ("grubnetx64.efi", "/srv/g.efi"), ("shimx64.efi", "/srv/s.efi")


@pytest.mark.parametrize(
    "brought, named",
    [((), "shimx64.efi"), ((GRUB,), "grubnetx64.efi"), ((GRUB, SHIM), "shimx64.efi")],
)
def test_dhcp_names_shim_but_where_the_site_brings_a_grub_of_its_own_alone(brought, named):
    """shim would start the distribution's in its place."""
    site = site_of("two-nodes")
    images = tuple(image._replace(loaders=brought) for image in site.images)
    files = render.render_configs(site._replace(images=images))
    for name in ("dhcpd.conf", "kea-dhcp4.json", "dnsmasq.conf"):
        assert re.findall(rb"\w+x64\.efi", files[name]) == [named.encode()]


STRANGER, NEW_CARD = "52:54:00:ff:00:01", "52:54:00:ff:00:02"


def handshakes(site: Site, server: str, folder: pathlib.Path) -> list[dict[str, str] | None]:
    site = site._replace(deploy=Deploy(tftp_root=str(folder)))
    old, *others = site.nodes
    repaired = site._replace(read_nodes=lambda: (old._replace(mac=Mac(NEW_CARD)), *others))
    write(folder, render.render_configs(site))
    write(
        folder / "next",
        {path: data for path, data in render.render_configs(repaired).items() if "/" not in path},
    )
    address = f"{site.servers[0].ip}/{site.network.subnet.split('/')[1]}"
    return dhcp_client.shake(folder, server, requests(site), address)[0]


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
def test_a_real_client_gets_its_address_its_name_its_server_and_the_right_loader(
    server, name, tmp_path
):
    site = site_of(name)
    known = site.nodes[:5]
    *answers, stranger, new_card = handshakes(site, server, tmp_path)
    files = ["pxelinux.0", "pxelinux.0", "shimx64.efi", "shimx64.efi", *[None] * len(STRANGE)]
    files += ["boot.ipxe"] * len(IPXE) + ["shimx64.efi"] * len(OTHER)
    firmwares, others = answers[: len(files)], answers[len(files) :]
    assert [answer.get("bootfile") or answer.get("boot_file") for answer in firmwares] == files
    for each, answer in zip(
        [known[0]] * len(firmwares) + list(known[1:]), firmwares + others, strict=True
    ):
        assert (answer["ip"], answer["hostname"]) == (each.ip, each.name)
        assert answer["siaddr"] == boot_files.server_of(site, each).ip
        assert int(answer["lease"]) > 365 * 86_400  # ISC dhcpd's for ever ends in 2038
        assert answer.get("router") == site.network.gateway
        assert answer.get("dns") == (" ".join(site.network.dns) or None)
        assert answer.get("domain") == site.network.domain
        assert answer.get("ntpsrv") == (" ".join(site.network.ntp) or None)
        assert "rootpath" not in answer
    assert stranger is None
    assert new_card["ip"] == known[0].ip, "a node whose card was replaced must get its address"


# Several networks: of some the server has a card, to others a router and a relay lead

CABLES = (
    "up:10.16.1.11/24,10.16.1.254",
    "10.81.104.1/24",
    "10.81.105.1/24",
    "relay:10.9.9.9/32,10.81.106.254/24",  # whose address lies in no network
    "relay:10.81.107.254/24",  # with rack5 on the same wire
    "relay:10.81.110.254/24",
)
MET = [  # card, cable, and what it is given: name, address, router, next-server, loader
    ("40:f2:e9:00:00:01", 1, ("c01", "10.81.104.11", "10.81.104.254", "10.81.104.1", "shimx64.efi")),
    ("40:f2:e9:00:01:0a", 2, ("d01", "10.81.105.11", "10.81.105.254", "10.81.105.1", "shimx64.efi")),
    ("40:f2:e9:01:01:01", 2, ("d01-bmc2", "10.81.105.12", "10.81.105.254", None, None)),
    ("40:f2:e9:00:02:01", 3, ("e01", "10.81.106.11", "10.81.106.254", "10.16.1.11", "shimx64.efi")),
    ("40:f2:e9:00:03:01", 4, ("f01", "10.81.107.11", "10.81.107.254", "10.16.1.11", "shimx64.efi")),
    ("40:f2:e9:00:04:01", 4, ("g01", "10.81.108.11", "10.81.108.254", "10.16.1.11", "shimx64.efi")),
]  # fmt: skip
BY_ID = [  # with a card that nobody knows
    (b"rack1-slot7", ("i01", "10.81.104.21")),
    (b"\xff\0\1", ("i02", "10.81.104.22")),
    (bytes.fromhex("ff:00:00:00:00:00:02:00:00:02:c9:00:00:02:c9:03:00:31:11:81".replace(":", "")), ("j2", "10.81.104.32")),
]  # fmt: skip
ODD_CARD = "52:54:00:ff:00:03"
STRANGERS = (1, 2, 4)  # cables where they get nothing


@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
def test_clients_of_all_networks_get_what_is_theirs_and_strangers_only_what_a_pool_has(
    server, tmp_path
):
    site = site_of("racks")._replace(deploy=Deploy(tftp_root=str(tmp_path)))
    write(tmp_path, render.render_configs(site))
    asked = [{"mac": mac, "cable": cable, "options": ["0x5d:0007"]} for mac, cable, _ in MET]
    asked += [
        {"mac": ODD_CARD, "cable": 1, "options": [], "client_id": id.hex()} for id, _ in BY_ID
    ]
    asked += [{"mac": ODD_CARD, "cable": 5, "options": [], "tries": 2}]
    asked += [{"mac": STRANGER, "cable": at, "options": [], "tries": 2} for at in STRANGERS]
    asked += [{"mac": STRANGER, "cable": 3, "options": ["0x5d:0007"]}]
    answers, _ = dhcp_client.shake(tmp_path, server, asked, *CABLES)
    met, guest = answers[: len(MET)], answers[-1]
    *by_id, at_port = answers[len(MET) : len(MET) + len(BY_ID) + 1]
    strangers = answers[len(MET) + len(BY_ID) + 1 : -1]
    for answer, (*_, (name, ip, router, next_server, loader)) in zip(met, MET, strict=True):
        file = answer.get("bootfile") or answer.get("boot_file")
        assert (answer["hostname"], answer["ip"], answer["router"], file) == (
            name,
            ip,
            router,
            loader,
        )
        assert next_server in (None, answer.get("siaddr"))
    assert met[0]["domain"] == "r1.example.org" and "domain" not in met[1]
    assert (met[1]["mtu"], met[1]["search"]) == ("1400", "a.example.org b.example.org")
    assert [(each["hostname"], each["ip"]) for each in by_id] == [name for _, name in BY_ID]
    assert (at_port or {}).get("hostname") == ("p01" if server == "kea" else None)
    assert strangers == [None] * len(STRANGERS)
    assert re.fullmatch(r"10\.81\.106\.(20\d|210)", guest["ip"]) and guest["lease"] == "3600"
    assert not guest.get("bootfile") and not guest.get("boot_file")


def test_a_network_without_a_way_to_a_server_is_warned_about():
    site = site_of("racks")
    lost = [each._replace(gateway=None) for each in site.networks]
    alone = site._replace(network=lost[0], more_networks=tuple(lost[1:]))
    assert networks.without_way(site) == []
    named = [line.split()[2] for line in networks.without_way(alone)]
    assert named == ["rack3", "rack4", "rack5", "rack6"]


def test_a_root_comes_from_the_address_that_the_nodes_network_reaches():
    site = site_of("racks")
    files = render.render_configs(site)
    (boot1,), (image,) = site.servers, site.images
    boot = boot_files.render_boot(site, boot1, label("worker", release_of(image)))
    roots = dict(
        re.findall(r"LABEL (\S+)\n.*?nfsroot=([\d.]+):", boot["plugnode/worker.cfg"].decode(), re.S)
    )
    assert roots == {
        "worker": "10.16.1.11", "worker@rack1": "10.81.104.1", "worker@rack2": "10.81.105.1",
    }  # fmt: skip
    entries = {}
    for path, data in files.items():
        if path.startswith("tftp/pxelinux.cfg/"):
            entries[path[18:]] = re.search(rb"^DEFAULT (.*)$", data, re.M)[1].decode()
    assert entries == {
        "default": "worker", "0A5168": "worker@rack1", "0A5169": "worker@rack2",
        "0A516815": "worker@rack1 quiet", "01-40-f2-e9-00-01-01": "worker@rack2 quiet", "01-40-f2-e9-00-01-0a": "worker@rack2 quiet",
    }  # fmt: skip


HTTP_CLIENT = "HTTPClient:Arch:00016:UNDI:003001"
BY_HTTP = {
    ("0x5d:0010", HTTP_CLIENT): "http://172.24.10.1/ipxe.efi",
    ("0x5d:0013", HTTP_CLIENT): "http://172.24.10.1/ipxe-arm64.efi",
    ("0x5d:0010", HTTP_CLIENT, "0x4d:69505845"): "http://172.24.10.1/boot.ipxe",
    ("0x5d:0007",): "shimx64.efi",
    (): "pxelinux.0",
}


@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
def test_firmware_that_boots_by_http_gets_an_address_of_that_and_is_told_so(server, tmp_path):
    site = site_of("two-nodes")
    site = site._replace(deploy=Deploy(tftp_root=str(tmp_path), http="nginx"))
    write(tmp_path, render.render_configs(site))
    asked = [{"mac": site.nodes[0].mac, "options": list(words)} for words in BY_HTTP]
    answers, _ = dhcp_client.shake(tmp_path, server, asked, "172.24.10.1/24")
    for wanted, answer in zip(BY_HTTP.values(), answers, strict=True):
        assert (answer.get("bootfile") or answer.get("boot_file")) == wanted
        told = bytes.fromhex(answer.get("opt60", "")).decode() or answer.get("vendor", "")
        assert told == ("HTTPClient" if wanted.endswith(".efi") and ":" in wanted else "")


BY_LABEL = {  # of nodes whose image is one signed file: shim, from the folder with that file
    ("0x5d:0010", HTTP_CLIENT): "http://172.24.10.1/plugnode/worker/shimx64.efi",
    ("0x5d:0007",): "plugnode/worker/shimx64.efi",
    (): "pxelinux.0",
}


@pytest.mark.parametrize("server", ["dhcpd", "kea", "dnsmasq"])
def test_where_an_image_is_one_signed_file_firmware_gets_shim_from_beside_it(server, tmp_path):
    site = site_of("two-nodes")
    first, *others = (each._replace(loader="uki") for each in site.nodes)
    pinned = [each._replace(release="worker-0123456789ab") for each in others]
    deploy = Deploy(tftp_root=str(tmp_path), http="nginx")
    site = site._replace(deploy=deploy, read_nodes=lambda: (first, *pinned))
    write(tmp_path, render.render_configs(site))
    asked = [{"mac": first.mac, "options": list(words)} for words in BY_LABEL]
    asked += [{"mac": pinned[0].mac, "options": ["0x5d:0007"]}]
    answers, _ = dhcp_client.shake(tmp_path, server, asked, "172.24.10.1/24")
    wanted = [*BY_LABEL.values(), "plugnode/worker-0123456789ab/shimx64.efi"]
    # in the packet's own field, by which shim knows where it came from: option 67 it does not read
    assert [answer.get("boot_file") for answer in answers] == wanted
    assert {answer["siaddr"] for answer in answers} == {"172.24.10.1"}


def test_a_site_without_http_tells_nobody_of_it():
    files = render.render_configs(site_of("two-nodes"))
    del files["nginx.conf"]
    assert not [name for name, data in files.items() if b"http://" in data or b"HTTPClient" in data]
    by_http = site_of("two-nodes")
    by_http = by_http._replace(deploy=Deploy(http="nginx"))
    label_of_one = label("worker", release_of(by_http.images[0]))
    (script,) = (
        data
        for name, data in boot_files.render_boot(by_http, by_http.servers[0], label_of_one).items()
        if name.endswith(".ipxe")
    )
    assert b"kernel http://172.24.10.1/worker-3f9a1c2b4d5e/vmlinuz " in script
    assert script.count(b"http://172.24.10.1/") == 3


@pytest.mark.parametrize("loader", ["grub", "ipxe"])
def test_kernel_and_initrd_come_by_http_from_the_address_at_which_the_network_has_its_server(
    loader,
):
    site = site_of("racks")._replace(deploy=Deploy(http="nginx"))
    files = boot_files.render_boot(
        site, site.servers[0], label("worker", release_of(site.images[0]))
    )
    script = files[f"plugnode/worker.{loader}"].decode()
    ways = ["10.16.1.11", "10.81.104.1", "10.81.105.1"]  # the main one, and those of two racks
    if loader == "grub":
        assert script.count('for plugnode_from in "(http,$net_default_server)" ""; do') == 1
        assert script.count("linux $plugnode_from/") == len(ways)
        assert script.count(" $plugnode_from/") == 3 * len(ways)
    else:
        assert re.findall("set plugnode_http http://(\\S+)", script) == ways
        assert script.count("${plugnode_http}/") == 3
