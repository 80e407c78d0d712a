"""What `doit nodes` says of each node: its values after merging, and the lines of the site that gave them."""

from __future__ import annotations

import json
import pathlib
import resource

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

SITE = """\
site: mixed
network: {{subnet: 172.24.10.0/24}}
servers:
  boot1: {{ip: 172.24.10.1}}
  boot2: {{ip: 172.24.10.2, ssh: root@boot2}}
images:
  worker:
    reference: {{path: {reference}}}
    initrd: {{base: none}}
    cmdline: console=ttyS0
    disk:
      devices: [/dev/vda]
      table: dos
  gpu:
    reference: {{path: {reference}}}
    initrd: {{base: none}}
    interface: ens1
groups:
  rack2:
    server: boot1
    cmdline: quiet
    disk: {{required: false, match: {{transport: nvme}}}}
  fast:
    image: gpu
    disk:
      match:
        serial: S1
  held:
    image: worker
    release: worker-0123456789ab
nodes:
  wn[001-003]:
    macs:
      - "ae:d6:90:bb:00:01"
      - "ae:d6:90:bb:00:02"
      - "ae:d6:90:bb:00:03"
    ip: "172.24.10.[101-103]"
    image: worker
    groups: [rack2]
  wn004:
    mac: "ae:d6:90:bb:00:04"
    ip: 172.24.10.104
    groups: [rack2, fast]
    server: boot1
    cmdline: debug
    interface: eno2
    wipe: again
  wn005:
    mac: "ae:d6:90:bb:00:05"
    ip: 172.24.10.105
    groups: [fast, held]
    server: boot2
"""


@pytest.fixture
def mixed(doit: Doit, reference: pathlib.Path) -> Doit:
    doit.site.write_text(SITE.format(reference=reference))
    return doit


def described(doit: Doit, *words: str) -> dict[str, dict]:
    out = doit("nodes", "--json", *words)
    return {node["node"]: node for node in json.loads(out)}


def lines_of(doit: Doit, node: dict) -> dict[str, list[str]]:
    """Of each key the texts of the lines that gave it, or the word that stands for none."""
    file = doit.site.read_text().splitlines()
    found: dict[str, list[str]] = {}
    for key, places in node["why"].items():
        found[key] = []
        for place in places:
            name, _, number = place.rpartition(":")
            text = file[int(number) - 1].strip() if name == str(doit.site) else place
            found[key].append(text)
    return found


def test_nodes_that_say_the_same_are_told_once_and_nothing_is_built_for_that(mixed: Doit):
    assert mixed("nodes", "node=wn[001-003]") == (
        "wn[001-003]\n"
        "  image      worker\n"
        "  release    -\n"
        "  groups     rack2\n"
        "  cmdline    console=ttyS0 quiet\n"
        "  interface  eth0\n"
        "  disk       layout rack2: /dev/vda; dos; /var 6000M ext3, /tmp 5000M ext3,\n"
        "             /home 51000M ext3; match transport nvme; not required\n"
        "  wn001      172.24.10.101    ae:d6:90:bb:00:01  boot1\n"
        "  wn002      172.24.10.102    ae:d6:90:bb:00:02  boot1\n"
        "  wn003      172.24.10.103    ae:d6:90:bb:00:03  boot1\n"
    )
    assert not (mixed.build / "configs").exists() and not (mixed.build / "worker").exists()
    first = [line for line in mixed("nodes").splitlines() if not line.startswith(" ")]
    assert first == ["wn[001-003]", "wn004", "wn005"]


def test_each_value_is_what_image_groups_and_node_come_to(mixed: Doit):
    found = described(mixed)
    assert list(found) == ["wn001", "wn002", "wn003", "wn004", "wn005"]
    node = found["wn004"]
    assert (node["image"], node["groups"]) == ("gpu", ["rack2", "fast"])
    assert (node["cmdline"], node["interface"]) == ("quiet debug", "eno2")
    assert (node["server"], node["wipe"]) == ("boot1", "again")
    assert node["disk"]["match"]["transport"] == "nvme" and node["disk"]["match"]["serial"] == "S1"
    assert (
        found["wn005"]["release"] == "worker-0123456789ab" and found["wn005"]["server"] == "boot2"
    )
    assert "runs" not in node and "why" not in node


def test_json_has_a_line_for_each_node(mixed: Doit):
    first, *lines, last = mixed("nodes", "--json", "node=@fast").splitlines()
    names = [json.loads(line.rstrip(","))["node"] for line in lines]
    assert (first, names, last) == ("[", ["wn004", "wn005"], "]")


def test_why_names_the_line_of_every_layer_that_gave_something(mixed: Doit):
    found = described(mixed, "--why")
    assert lines_of(mixed, found["wn002"]) == {
        "image": ["image: worker"],
        "release": ["nothing is built"],
        "server": ["server: boot1"],
        "ip": ['ip: "172.24.10.[101-103]"'],
        "mac": ['- "ae:d6:90:bb:00:02"'],
        "network": ["network: {subnet: 172.24.10.0/24}"],
        "interfaces": ["default"],
        "groups": ["groups: [rack2]"],
        "cmdline": ["cmdline: console=ttyS0", "cmdline: quiet"],
        "interface": ["default"],
        "disk": [
            "devices: [/dev/vda]",
            "table: dos",
            "disk: {required: false, match: {transport: nvme}}",
        ],
        "wipe": ["default"],
        "loader": ["default"],
        "arch": ["default"],
        "facts": ["default"],
        "aliases": ["default"],
        "management": ["default"],
    }
    gpu = lines_of(mixed, found["wn004"])
    assert gpu["image"] == ["image: gpu"] and gpu["interface"] == ["interface: eno2"]
    assert gpu["cmdline"] == ["cmdline: quiet", "cmdline: debug"]
    assert gpu["disk"] == [
        "disk: {required: false, match: {transport: nvme}}",
        "serial: S1",
    ]
    held = lines_of(mixed, found["wn005"])
    assert held["image"] == ["image: worker"], "the last of its groups that has one"
    assert held["release"] == ["release: worker-0123456789ab"]


def test_the_only_image_and_the_only_server_give_it_where_no_layer_does(
    doit: Doit, reference: pathlib.Path
):
    sample_site.write(doit.site, reference)
    found = lines_of(doit, described(doit, "--why")["wn001"])
    assert found["image"] == ["worker:"]
    assert found["server"] == ["servers: {boot1: {ip: 172.24.10.1}}"]
    assert found["groups"] == ["default"]


def test_why_is_in_the_text_beside_each_value_within_80_columns(mixed: Doit):
    out = mixed("nodes", "--why")
    first, *_ = lines_of(mixed, described(mixed, "--why")["wn001"])["image"]
    number = mixed.site.read_text().splitlines().index(f"    {first}") + 1
    assert f" image worker ({mixed.site}:{number}) " in " ".join(out.split())
    assert "  interface  eth0 (default)\n" in out
    long = [line for line in out.splitlines() if len(line) > 80]
    assert all(len(line.split()) < 3 for line in long), "but for a path that is longer itself"


def test_the_next_release_is_the_pins_the_servers_or_else_that_of_the_build(
    built: Doit, tmp_path: pathlib.Path
):
    def next_release() -> tuple[str, list[str]]:
        node = described(built, "--why", f"destdir={tmp_path}/dest")["wn001"]
        return node["release"], node["why"]["release"]

    def id_of_build() -> str:
        return json.loads((built.build / "worker/release.json").read_text())["id"]

    first = id_of_build()
    assert next_release() == (first, ["built"])
    built("deploy", f"destdir={tmp_path}/dest")
    assert next_release() == (first, ["deployed on boot1"])
    built.site.write_text(built.site.read_text().replace("console=ttyS0", "quiet"))
    built()
    assert id_of_build() != first
    assert next_release() == (first, ["deployed on boot1"]), "until it is deployed"
    built("deploy", f"destdir={tmp_path}/dest")
    assert next_release() == (id_of_build(), ["deployed on boot1"])
    built("rollback", f"destdir={tmp_path}/dest")
    assert next_release() == (first, ["deployed on boot1"])
    (built.build / "worker/release.json").write_text("{")
    assert "worker-" not in built("nodes", f"destdir={tmp_path}/nowhere"), "a damaged one is none"


def test_a_node_that_the_site_has_not_is_bad_input(mixed: Doit):
    out = mixed("nodes", "node=wn[001,099]", status=3)
    assert f"{mixed.site}:1:1: node=wn[001,099]: wn099: no such node" in out
    out = mixed("nodes", "node=@rack3", status=3)
    assert "@rack3: no such group" in out


@pytest.mark.parametrize(
    "asked", ["wn[1-999999999]", "@*,wn[1-9000]x[1-9000]", "wn001!wn[0-9999999]"]
)
def test_a_range_with_a_digit_too_many_takes_no_memory(mixed: Doit, asked):
    """Every name of it was made: gigabytes, and minutes, before anything was said."""
    least = 1 << 30

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (least, least))

    out = mixed("nodes", f"node={asked}", status=3, preexec_fn=bound)
    assert f"{mixed.site}:1:1: node={asked}: more than 65536 names\n" in out


def test_ranges_of_which_each_is_small_may_be_many(mixed: Doit):
    asked = "node=wn001," + ",".join(f"wn[00001-40000/{step}]&wn001" for step in (1, 2, 3))
    assert "wn001" in mixed("nodes", asked)
