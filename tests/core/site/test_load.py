"""site.yaml: what it becomes, and that whatever is wrong with it is said at its place, all of it, in one run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.base import nodeset
from tasks.core.base.errors import BadInput
from tasks.core.site import cache, resolve, schema, values
from tasks.core.site.load import read_site
from tasks.core.site.model import Mac, Site
from tests.support.commands import REPOSITORY

HERE = REPOSITORY / "tests"
BAD = sorted((HERE / "bad_sites").glob("*.yaml"))

GOOD = """\
site: example-grid
network:
  subnet: 172.24.10.0/24
  gateway: 172.24.10.254
  dns: [172.24.10.1]
  domain: grid.example.org
servers:
  boot1: {ip: 172.24.10.1}
images:
  worker:
    reference: {rsync: "root@wn-ref.grid.example.org:/"}
    exclude: [/scratch/*]
    kernel: auto
    cmdline: "console=ttyS0"
    disk:
      devices: [/dev/sda, /dev/hda]
      partitions:
        - {mount: /var, size: 6000M, fs: ext3, fill: /var.ro}
        - {mount: /tmp, size: 5000M, fs: ext3}
        - {mount: /home, size: rest, fs: ext3}
    local_files: [/etc/sysconfig/network]
    keep: [/etc/some.key]
  gpu: {reference: {bootstrap: {suite: bookworm, packages: [openssh-server]}}, cmdline: quiet}
groups:
  gpu: {image: gpu, cmdline: nouveau=0, disk: {devices: [/dev/nvme0n1]}}
  rack2: {interface: eno1, wipe: 2026-01}
nodes:
  wn001: {mac: "AE-D6-90-BB-AA-1D", ip: 172.24.10.100, image: worker}
  wn002: {mac: ae:d6:90:bb:aa:1e, ip: 172.24.10.20, groups: [gpu, rack2], cmdline: debug}
  wn[010-012]:
    macs: [ae:d6:90:bb:ab:01, aed6.90bb.ab02, aed690bbab03]
    ip: 172.24.10.[110-112]
    image: worker
    groups: [rack2]
deploy: {tftp_root: /srv/tftp/, keep: 5}
"""


def load(
    folder: Path, text: str | bytes, name: str = "site.yaml", folders: tuple[str, ...] = ()
) -> Site:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_site(str(path), folders)[0]


def refused(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load(folder, text)
    return [str(problem).removeprefix(f"{folder}/site.yaml:") for problem in caught.value.problems]


def test_nodes_that_say_little_are_made_a_short_way_and_are_the_same(tmp_path, monkeypatch) -> None:
    short = load(tmp_path, GOOD).nodes
    monkeypatch.setattr(resolve, "PLAIN", frozenset())
    assert load(tmp_path, GOOD).nodes == short


# What is wrong


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_site_says_what_is_wrong_where_and_what_to_do(path: Path) -> None:
    """The fixture's first lines are `#! LINE:COLUMN: what is said`: those problems, and no others, in that order."""
    wanted = re.findall(r"^#! (\d+:\d+: )(.*)$", path.read_text(), re.MULTILINE)
    with pytest.raises(BadInput) as caught:
        read_site(str(path), (str(HERE),))
    found = [str(problem) for problem in caught.value.problems]
    assert len(found) == len(wanted), found
    for (place, words), problem in zip(wanted, found, strict=True):
        assert problem.startswith(f"{path}:{place}")
        assert words in problem
        assert problem.isprintable() and "\n" not in problem
        assert "; " in problem, "says nothing of what to do"


def test_there_are_more_than_a_hundred_bad_sites() -> None:
    assert len(BAD) > 300


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "1:1: the file is empty"),
        (b"\xef\xbb\xbfsite: x\n", "1:1: a byte-order mark is not allowed (UTF-8)"),
        ("site: x\n".encode("utf-16"), "1:1: a byte-order mark is not allowed (UTF-16)"),
        ("site: x\n".encode("utf-16-le"), "1:2: control character U+0000"),
        ("site: x\n# Zürich\n".encode("latin-1"), "2:4: not UTF-8 at byte 11 (0xfc)"),
        (b"site: x\0y\n", "1:8: control character U+0000"),
        (b"site: x\x1b[2J\n", "1:8: control character U+001B"),
        (b"site: x\x85y\n", "1:8: not UTF-8"),
        ("site: x\u0085y\n".encode(), "1:8: control character U+0085"),
        (b"site: x\r\n\tnetwork: {}\r\n", "2:1: tab character in the indentation"),
        (b"\xff" * 100, "1:1: not UTF-8 at byte 0"),
        (b"- " * 100_000, "nested deeper than 20"),
        (b"[" * 100_000, "nested deeper than 20"),
        (b"{a: " * 100_000, "nested deeper than 20"),
        (b'site: "\\ud800"\n', "1:"),
        (b"? " * 100_000, "1:"),
    ],
)
def test_bytes_that_are_no_plain_text_are_refused_at_their_place(
    tmp_path: Path, content: bytes, said: str
) -> None:
    assert said in refused(tmp_path, content)[0]


def test_what_is_no_file_is_refused_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for path in (
        tmp_path,
        tmp_path / "fifo",
        tmp_path / "loop",
        tmp_path / "none",
        tmp_path / "file/x",
        "/dev/zero",
    ):
        with pytest.raises(BadInput) as caught:
            read_site(str(path), ())
        assert str(caught.value).startswith(f"{path}:1:1: cannot read {path}: ")


def test_a_file_of_more_than_64_mib_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "site.yaml", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadInput, match=r":1:1: larger than 64 MiB"):
        read_site(str(tmp_path / "site.yaml"), ())


def test_an_alias_bomb_is_refused_before_it_expands(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 2000)]
    assert len(refused(tmp_path, "\n".join(lines))) == 100


def test_a_tag_runs_nothing(tmp_path: Path) -> None:
    refused(tmp_path, f'site: !!python/object/apply:os.system ["touch {tmp_path}/ran"]\n')
    assert not (tmp_path / "ran").exists()


def test_a_value_is_never_shown_under_an_unknown_key(tmp_path: Path) -> None:
    assert not any(
        "hunter2" in line for line in refused(tmp_path, GOOD + "root_password: hunter2\n")
    )


def test_every_problem_of_a_large_site_is_said(tmp_path: Path) -> None:
    text = many(3000).replace("10.1.", "10.300.")
    lines = refused(tmp_path, text)
    assert len(lines) == text.count("10.300.")
    assert lines == sorted(lines, key=lambda line: int(line.split(":")[0]))


# What is right


def test_the_example_of_the_design_becomes_these_values(tmp_path: Path) -> None:
    site = load(tmp_path, GOOD)
    assert (site.name, site.network.dns, site.servers[0].ip) == (
        "example-grid",
        ("172.24.10.1",),
        "172.24.10.1",
    )
    assert (site.deploy.tftp_root, site.deploy.nfs_root, site.deploy.keep, site.deploy.keep_days) == (
        "/srv/tftp", "/opt/nfs_export", 5, 90)  # fmt: skip
    worker, gpu = site.images
    assert worker.reference.where == "root@wn-ref.grid.example.org:/"
    assert (worker.local_files, worker.keep) == (("etc/sysconfig/network",), ("etc/some.key",))
    assert [(part.mount, part.size, part.label, part.fill) for part in worker.disk.partitions] == [
        ("/var", 6000, "pn-var", "/var.ro"),
        ("/tmp", 5000, "pn-tmp", None),
        ("/home", None, "pn-home", None),
    ]
    assert (gpu.reference.kind, gpu.reference.suite, gpu.local_files, gpu.initrd.base) == (
        "bootstrap", "bookworm", None, "auto")  # fmt: skip


def test_nodes_come_sorted_by_address_with_everything_merged_in(tmp_path: Path) -> None:
    nodes = load(tmp_path, GOOD).nodes
    assert [node.name for node in nodes] == ["wn002", "wn001", "wn010", "wn011", "wn012"]
    wn002, wn001, wn010 = nodes[:3]
    assert (wn002.image, wn002.cmdline, wn002.interface, wn002.wipe) == (
        "gpu",
        "nouveau=0 debug",
        "eno1",
        "2026-01",
    )
    assert wn002.disk.devices == ("/dev/nvme0n1",) and wn002.disk.partitions[2].size == 51000
    assert (wn001.mac, wn001.mac.pxe, wn001.cmdline) == (
        "ae:d6:90:bb:aa:1d",
        "01-ae-d6-90-bb-aa-1d",
        "",
    )
    assert (wn010.mac, nodes[3].mac, nodes[4].ip) == (
        "ae:d6:90:bb:ab:01",
        "ae:d6:90:bb:ab:02",
        "172.24.10.112",
    )
    assert (wn001.layout, wn010.layout, wn002.layout) == ("worker", "worker", "gpu-2")


def test_line_ends_of_dos_change_nothing(tmp_path: Path) -> None:
    assert (
        load(tmp_path, GOOD.replace("\n", "\r\n")).fingerprint == load(tmp_path, GOOD).fingerprint
    )


def test_layouts_differ_exactly_where_disks_do(tmp_path: Path) -> None:
    nodes = load(tmp_path, GOOD).nodes
    assert len({node.layout for node in nodes}) == len({node.disk for node in nodes})


def test_with_one_image_nodes_need_not_name_it(tmp_path: Path) -> None:
    assert {node.image for node in load(tmp_path, many(3)).nodes} == {"worker"}


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    site = load(tmp_path, many(1))
    image, deploy = site.images[0], site.deploy
    assert (image.kernel, image.interface, image.cmdline, image.initrd.compression) == (
        "auto",
        "eth0",
        "",
        "gzip",
    )
    assert [(part.mount, part.size, part.fs) for part in image.disk.partitions] == [
        ("/var", 6000, "ext3"), ("/tmp", 5000, "ext3"), ("/home", 51000, "ext3")]  # fmt: skip
    assert (image.disk.devices, image.disk.required, image.disk.table) == (
        ("/dev/sda", "/dev/hda"),
        True,
        "gpt",
    )
    assert (deploy.tftp_root, deploy.nfs_root, deploy.keep, deploy.dhcp) == (
        "/tftpboot",
        "/opt/nfs_export",
        3,
        "none",
    )


@pytest.mark.parametrize(
    ("written", "means"),
    [("3.10", "3.10"), ("6.1.0-30-amd64", "6.1.0-30-amd64"), ('"2.6.18-8.el5"', "2.6.18-8.el5")],
)
def test_a_version_stays_as_written(tmp_path: Path, written: str, means: str) -> None:
    text = many(1).replace("    reference:", f"    kernel: {written}\n    reference:")
    assert load(tmp_path, text).images[0].kernel == means


@pytest.mark.parametrize(
    "name", ["no", "on", "yes", "true", "1e3", "wn-1", "a", "2010-01-01", "0755a", "x" * 63]
)
def test_a_name_stays_as_written(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, many(1).replace("wn00000:", f"{name}:")).nodes[0].name == name


@pytest.mark.parametrize(
    "mac",
    [
        "52:54:00:12:34:56",
        '"52:54:00:12:34:56"',
        "5254.0012.3456",
        "525400123456",
        "52-54-00-12-34-56",
    ],
)
def test_a_mac_in_any_spelling_is_one_mac(tmp_path: Path, mac: str) -> None:
    """Stock YAML reads the first, unquoted, as the number 41135085296."""
    site = load(tmp_path, many(1).replace("52:54:00:00:00:00", mac))
    assert site.nodes[0].mac == "52:54:00:12:34:56"


@pytest.mark.parametrize(
    "target",
    [
        "/tftpboot",
        "/srv/tftp",
        "/var/lib/tftpboot",
        "/usr/local/tftp",
        "/home/pxe",
        "/tmp/x/tftp",
        "/dev/shm/x",
        "/data",
    ],
)
def test_ordinary_folders_can_be_deployed_to(tmp_path: Path, target: str) -> None:
    assert load(tmp_path, f"{many(1)}deploy: {{tftp_root: {target}}}\n").deploy.tftp_root == target


def test_paths_count_from_the_site_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("conf", "ref", "conf/overlays/site"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    text = many(1).replace('{rsync: "ref:/"}', "{path: ../ref}\n    overlays: [site]")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/site.yaml").write_text(text)
    site, _ = read_site("conf/site.yaml", ("conf", "elsewhere"))
    assert site.images[0].reference.where == str(tmp_path / "ref")


def test_two_spellings_of_one_site_have_one_fingerprint(tmp_path: Path) -> None:
    again = "# a comment\n" + GOOD.replace("AE-D6-90-BB-AA-1D", "aed6.90bb.aa1d").replace(
        "/srv/tftp/", "/srv//tftp"
    )
    assert load(tmp_path, GOOD).fingerprint == load(tmp_path, again).fingerprint
    assert (
        load(tmp_path, GOOD).fingerprint
        != load(tmp_path, GOOD.replace("keep: 5", "keep: 6")).fingerprint
    )
    assert (
        load(tmp_path, GOOD).fingerprint
        != load(tmp_path, GOOD.replace("debug", "quiet")).fingerprint
    )


def test_ten_thousand_nodes_are_all_there(tmp_path: Path) -> None:
    nodes = load(tmp_path, many(10_000)).nodes
    assert len(nodes) == 10_000 and len({node.mac for node in nodes}) == 10_000


def many(count: int) -> str:
    """A site of `count` nodes."""
    lines = ["site: big", "network: {subnet: 10.0.0.0/8}", "servers:", "  boot1: {ip: 10.255.0.1}"]
    lines += ["images:", "  worker:", '    reference: {rsync: "ref:/"}', "nodes:"]
    for n in range(count):
        high, low = divmod(n, 250)
        lines.append(
            f"  wn{n:05}: {{mac: 52:54:00:00:{n >> 8:02x}:{n & 255:02x}, ip: 10.1.{high}.{low + 1}}}"
        )
    return "\n".join(lines) + "\n"


# The cache


def cached(folder: Path, folders: tuple[str, ...] = ()) -> Site:
    return cache.load_cached(str(folder / "site.yaml"), str(folder / "cache"), folders)


def test_a_site_from_the_cache_is_the_same_site(tmp_path: Path) -> None:
    fresh = load(tmp_path, GOOD)
    for _ in range(2):
        again = cached(tmp_path)
        assert (
            again._replace(read_nodes=tuple) == fresh._replace(read_nodes=tuple)
            and again.nodes == fresh.nodes
        )
        assert isinstance(again.nodes[0].mac, Mac)


def test_a_known_site_is_read_without_yaml_and_pydantic(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    script = (
        "import sys; from tasks.core.site import cache\n"
        "site = cache.load_cached(*sys.argv[1:], ()); print(len(site.nodes))\n"
        "print(sorted({'yaml', 'pydantic', 'ClusterShell', 'doit'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "site.yaml"), str(tmp_path / "cache")]
    for imported in (True, False):
        output = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=HERE.parent
        ).stdout.split("\n")
        assert output[0] == "5" and ("yaml" in output[1]) == imported


def test_the_cache_is_keyed_by_all_the_code_that_makes_a_site(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    script = (
        "import sys; from tasks.core.site import load; load.read_site(sys.argv[1], ())\n"
        "used = {name.removeprefix('tasks.core.') for name in sys.modules if name.startswith('tasks.core.')}\n"
        "print(sorted(name for name in used if '.' in name and not name.startswith(('site.', 'dhcp.'))))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "site.yaml")]
    assert (
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout
        == "['base.boot_programs', 'base.errors', 'base.files', 'base.nodeset', 'base.overlays', 'base.programs', 'base.ssh', 'base.text']\n"
    )


def test_what_other_code_left_in_the_cache_is_not_unpacked(tmp_path: Path) -> None:
    """Classes change: what one version of them packed need not fit the next."""
    fresh, rest = load(tmp_path, GOOD), b"\1\0\0\0no pickle"
    (tmp_path / "cache").write_bytes(
        hashlib.sha256(b"other code").digest() + hashlib.sha256(rest).digest() + rest
    )
    assert cached(tmp_path).nodes == fresh.nodes


def test_a_changed_file_a_lost_overlay_and_a_torn_cache_are_seen(tmp_path: Path) -> None:
    (tmp_path / "overlays/site").mkdir(parents=True)
    load(
        tmp_path,
        many(1).replace("    reference", "    overlays: [site]\n    reference"),
        folders=(str(tmp_path),),
    )
    assert cached(tmp_path, (str(tmp_path),)).images[0].overlays == ("site",)
    (tmp_path / "cache").write_bytes((tmp_path / "cache").read_bytes()[:-1])
    assert len(cached(tmp_path, (str(tmp_path),)).nodes) == 1
    (tmp_path / "overlays/site").rmdir()
    with pytest.raises(BadInput, match="unknown overlay"):
        cached(tmp_path, (str(tmp_path),))
    load(tmp_path, many(2))
    assert len(cached(tmp_path).nodes) == 2


def test_a_bad_site_leaves_no_cache(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: x\n")
    with pytest.raises(BadInput):
        cached(tmp_path)
    assert not (tmp_path / "cache").exists()


# For editors, and the documentation


def test_the_json_schema_is_plain_draft_7_with_every_key_described() -> None:
    made = schema.json_schema()
    text = json.dumps(made)
    assert not {"$defs", "anyOf", "prefixItems", "unevaluatedProperties"} & set(
        re.findall(r'"([$\w]+)":', text)
    )
    for reference in re.findall(r'"\$ref": "#/definitions/(\w+)"', text):
        assert reference in made["definitions"]
    for name, part in made["definitions"].items():
        for key, value in part["properties"].items():
            assert value.get("description"), f"{name}.{key}"


def test_every_key_is_in_the_documentation() -> None:
    page = (HERE.parent / "docs/site.md").read_text()
    for part in schema.json_schema()["definitions"].values():
        for key in part["properties"]:
            assert re.search(rf"`(?:[a-z_.]+\.)?{key}`", page), key


def test_the_examples_of_the_documentation_are_right(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```yaml\n(# site\.yaml.*?)^```$", (HERE.parent / "docs/site.md").read_text(), re.M | re.S
    )
    assert blocks
    for text in blocks:
        (tmp_path / "overlays/site").mkdir(parents=True, exist_ok=True)
        assert load(tmp_path, text, folders=(str(tmp_path),)).nodes


# Ranges


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("wn[8-11]", "wn8 wn9 wn10 wn11"),
        ("wn[008-010,020]", "wn008 wn009 wn010 wn020"),
        ("r[1-2]n[09-10]", "r1n09 r1n10 r2n09 r2n10"),
        ("b[2-3],a1", "b2 b3 a1"),
        ("wn[1-7/3]x", "wn1x wn4x wn7x"),
        ("172.24.[1-2].[9-10]", "172.24.1.9 172.24.1.10 172.24.2.9 172.24.2.10"),
        ("[1-2]", "1 2"),
        ("wn1[8-11]", "wn18 wn19 wn110 wn111"),  # ClusterShell: wn18 … wn111, 94 names
        ("wn0[8-10]", "wn08 wn09 wn010"),
        ("10.1.0.1[8-11]", "10.1.0.18 10.1.0.19 10.1.0.110 10.1.0.111"),
        ("wn[1-2][1-2]", "wn11 wn12 wn21 wn22"),  # ClusterShell: none
        ("wn[1-2]0[3-4]", "wn103 wn104 wn203 wn204"),
        ("r[8-10]0[1-2]n", "r801n r802n r901n r902n r1001n r1002n"),
        ("wn[1-7/3]5", "wn15 wn45 wn75"),
        ("10.[1-2][0-1].0.9", "10.10.0.9 10.11.0.9 10.20.0.9 10.21.0.9"),
    ],
)
def test_a_range_expands_in_the_order_written(written: str, names: str) -> None:
    """NodeSet sorts (a1 before b2); lists of MACs are paired with names as written."""
    assert nodeset.expand_nodes(written) == names.split()
    assert nodeset.count(written) == len(names.split())
    assert nodeset.first_name(written) == names.split()[0]


def test_a_range_of_millions_is_refused_without_making_them() -> None:
    for written in (
        "wn[1-999999999]",
        "r[1-9999]n[1-9999]c[1-9999]",
        ",".join(["wn[1-60000]"] * 100),
    ):
        with pytest.raises(nodeset.BadRange, match="more than 65536"):
            nodeset.expand_nodes(written)


def test_two_images_may_name_the_same_loader_in_any_spelling(tmp_path: Path) -> None:
    (tmp_path / "l.efi").write_bytes(b"MZ loader")
    loaders = f"loaders: {{grubnetx64.efi: ./l.efi, l.0: {tmp_path}/l.efi}}"
    first = GOOD.replace("    kernel: auto\n", f"    kernel: auto\n    {loaders}\n")
    text = first.replace(
        "cmdline: quiet}", f"cmdline: quiet, {loaders.replace('./l.efi', 'sub/../l.efi')}}}"
    )
    site = load(tmp_path, text)
    assert site.images[0].loaders == site.images[1].loaders == (
        ("grubnetx64.efi", f"{tmp_path}/l.efi"), ("l.0", f"{tmp_path}/l.efi"),
    )  # fmt: skip


# Any input


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True), st.integers(3, 5))
def test_names_folded_and_expanded_are_the_same_names(numbers: list[int], width: int) -> None:
    names = [f"wn{number:0{width}}" for number in sorted(numbers)]
    assert nodeset.expand_nodes(nodeset.fold_nodes(names)) == names


@given(st.binary(min_size=6, max_size=6), st.sampled_from([":", "-", ""]), st.booleans())
def test_a_mac_has_one_value_or_is_refused(octets: bytes, sign: str, upper: bool) -> None:
    plain = octets.hex(":")
    written = plain.replace(":", sign)
    if octets[0] & 1 or not any(octets):
        with pytest.raises(values.InvalidValue):
            values.mac(written)
    else:
        assert values.mac(written.upper() if upper else written) == plain


CHECKS = (
    *(values.host, values.name, values.image_name, values.domain, values.ipv4, values.wipe_token),
    *(
        values.cmdline,
        values.device,
        values.absolute,
        values.rsync,
        values.package,
        values.module,
        values.label,
    ),
)


@given(st.text(max_size=30))
def test_what_passes_as_a_name_or_an_address_is_harmless(text: str) -> None:
    for check in CHECKS:
        try:
            value = check(text)
        except values.InvalidValue:
            continue
        assert value.isascii() and value.isprintable()
        assert not set(value) & set("\"'\\{}`$;#<>|&")


PIECES = [
    *"{}[]:,|>#'~?\"\n\t\0éx0",
    "",
    ": ",
    "- ",
    "  ",
    "&a ",
    "*a",
    "!x ",
    "<<: ",
    "---\n",
    "wn[1-3]",
    "wn[",
    "rest",
    "-1",
]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(PIECES)),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_site_is_right_or_refused_and_nothing_else(
    tmp_path: Path, damages: list[tuple[int, int, str]]
) -> None:
    text = GOOD
    for start, length, piece in damages:
        text = text[:start] + piece + text[start + length :]
    try:
        load(tmp_path, text)
    except BadInput as error:
        assert all(re.match(r".*/site\.yaml:\d+:\d+: \S", line) for line in str(error).split("\n"))


LINES = GOOD.splitlines(keepends=True)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, len(LINES) - 1)),
        min_size=1,
        max_size=5,
    )
)
def test_a_site_with_lines_swapped_is_right_or_refused(
    tmp_path: Path, swaps: list[tuple[int, int]]
) -> None:
    lines = list(LINES)
    for one, other in swaps:
        lines[one], lines[other] = lines[other], lines[one]
    try:
        load(tmp_path, "".join(lines))
    except BadInput as error:
        assert error.problems
