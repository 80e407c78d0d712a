"""The files that `outputs:` chooses, each read by its own program."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tasks.core.base import nodeset
from tasks.core.cluster import programs
from tasks.core.cluster.files import OF_WORD, render_outputs
from tasks.core.cluster.zones import zones_of
from tasks.core.outputs import WORDS
from tasks.core.services.serial import continued
from tasks.core.site.load import read_site
from tasks.core.site.model import Site

SITE = """\
site: example-grid
networks:
  grid: {subnet: 172.24.10.0/23, domain: grid.example.org, dns: [172.24.10.1, 172.24.10.53]}
  bmc: {subnet: 10.9.0.0/24, domain: bmc.example.org}
servers: {boot1: {ip: 172.24.10.1}, boot2: {ip: 172.24.10.2}}
images: {worker: {reference: {path: .}}, gpu-el9: {reference: {path: .}}}
groups:
  gpu: {image: gpu-el9, facts: {CPUs: 64, RealMemory: 256000, Gres: "gpu:4"}}
  rack-1: {facts: {rack: 1, room: B 12}}
  rack_1: {}
  all: {}
  default: {}
  image: {}
  wn001: {}
  3rd: {facts: {name-of: x, port: 7, serial: 5}}
nodes:
  wn001: {mac: "52:54:00:00:00:01", ip: 172.24.10.101, image: worker, groups: [rack-1, image, all], aliases: [gpu-a, nas.other.org]}
  wn[002-003]: {macs: ["52:54:00:00:00:02", "52:54:00:00:00:04"], ip: "172.24.11.[102-103]", interfaces: {bmc: {ip: "10.9.0.[2-3]"}}, groups: [gpu, rack-1, 3rd]}
  r1n07: {mac: "52:54:00:00:00:05", ip: 172.24.10.104, image: worker, facts: {rack: 2, os: "a,b=c d"}, groups: [rack_1, default, wn001]}
  login: {mac: "52:54:00:00:00:06", ip: 172.24.10.105, image: worker}
hosts: {nas01: [172.24.10.200, "2001:db8::4"], nas: 172.24.10.200, license.example.org: 10.1.0.4, ns.grid.example.org: 172.24.10.53}
outputs: [clustershell, genders, ansible, slurm, prometheus, dns, conman, powerman, hosts, dhcp_hosts, dhcp6_hosts, ssh_known_hosts]
ssh_host_keys: kept
secrets_store: store
"""


SMALL = """\
site: small
network: {subnet: SUBNET, domain: grid.example.org}
servers: {boot1: {ip: 10.1.0.1}}
images: {worker: {reference: {path: .}}}
nodes: {wn001: {mac: "52:54:00:00:00:01", ip: 10.1.0.3}}
hosts: {far: 10.200.0.1, other: 192.168.0.1}
"""


def site_of(folder: pathlib.Path, text: str = SITE) -> Site:
    (folder / "site.yaml").write_text(text)
    return read_site(str(folder / "site.yaml"), ())[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("cluster")
    for path, data in render_outputs(site_of(folder)).items():
        (folder / os.path.basename(path)).write_bytes(data)
    return folder


def run(*argv: object, **environ: str) -> str:
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, env={**os.environ, **environ}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_word_of_outputs_has_files():
    assert OF_WORD.keys() == set(WORDS)


def test_only_chosen_files_are_made(tmp_path):
    text = SITE.replace(SITE[SITE.index("outputs:") :], "outputs: [genders]\n")
    assert render_outputs(site_of(tmp_path, text)).keys() == {"cluster/genders"}
    assert render_outputs(site_of(tmp_path, text.replace("outputs: [genders]\n", ""))) == {}


def test_clustershell_knows_groups_images_and_facts(made, tmp_path):
    (tmp_path / "groups.d").mkdir()
    (tmp_path / "groups.d/site.yaml").write_bytes((made / "groups.yaml").read_bytes())
    (tmp_path / "groups.conf").write_text(
        f"[Main]\ndefault: example-grid\nautodir: {tmp_path}/groups.d\n"
    )

    def nodes(*words: str) -> str:
        program = [sys.executable, "-m", "ClusterShell.CLI.Nodeset", "-f"]
        return run(*program, *words, CLUSTERSHELL_CFGDIR=str(tmp_path)).strip()

    assert nodes("@gpu") == nodes("@gpu-el9") == "wn[002-003]"
    assert nodes("-a") == "login,r1n07,wn[001-003]"
    assert nodes("@rack:1") == nodes("@example-grid:rack-1") == "wn[001-003]"
    assert nodes("@room:B_12") == "wn[001-003]" and nodes("@os:a_b=c_d") == "r1n07"
    listed = [sys.executable, "-m", "ClusterShell.CLI.Nodeset", "-l", "-s", "room"]
    assert run(*listed, CLUSTERSHELL_CFGDIR=str(tmp_path)).split() == ["@room:B_12"]
    assert nodes("@all") == "login,r1n07,wn[001-003]", "all nodes, whatever a group is called"


def test_nodeattr_knows_groups_facts_and_images(made):
    done = subprocess.run(
        ["nodeattr", "-f", made / "genders", "-k"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (
        0,
        "nodeattr: 0 parse errors discovered\n",
    )
    assert run("nodeattr", "-f", made / "genders", "-n", "gpu").split() == ["wn002", "wn003"]
    assert run("nodeattr", "-f", made / "genders", "-n", "rack=2").split() == ["r1n07"]
    assert run("nodeattr", "-f", made / "genders", "-v", "wn001", "image") == "worker\n"


def test_ansible_takes_the_inventory_without_a_warning(made):
    done = subprocess.run(
        ["ansible-inventory", "-i", made / "ansible.yaml", "--list"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["gpu"]["hosts"] == found["gpu_el9"]["hosts"] == ["wn002", "wn003"]
    assert found["rack_1"]["hosts"] == ["wn001", "wn002", "wn003", "r1n07"], "rack-1 and rack_1"
    assert {"_3rd", "group_wn001", "group_all"} <= found.keys()
    facts = found["_meta"]["hostvars"]["wn002"]
    assert (facts["rack"], facts["ansible_host"], facts["image"]) == (
        "1",
        "172.24.11.102",
        "gpu-el9",
    )
    assert (facts["fact_port"], facts["name_of"]) == ("7", "x")


def test_ansible_takes_names_that_yaml_has_other_values_for(tmp_path):
    names = ["no", "on", "true", "0b1", "1e5"]
    rows = "".join(
        f"  {name}: {{ip: 10.1.0.{at}, groups: [off]}}\n" for at, name in enumerate(names, 9)
    )
    text = (
        f"{SMALL[: SMALL.index('nodes:')]}nodes:\n{rows}groups: {{off: {{}}}}\noutputs: [ansible]\n"
    )
    (made,) = render_outputs(site_of(tmp_path, text.replace("SUBNET", "10.1.0.0/16"))).values()
    (tmp_path / "ansible.yaml").write_bytes(made)
    done = subprocess.run(
        ["ansible-inventory", "-i", tmp_path / "ansible.yaml", "--list"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["off"]["hosts"] == names


def test_the_words_that_ansible_keeps_for_itself_are_known():
    line = "from ansible.vars.reserved import get_reserved_names as g; print(*g())"
    assert set(run("/usr/bin/python3", "-c", line).split()) <= programs.ANSIBLE_WORDS


def test_promtool_takes_the_targets(made, tmp_path):
    (tmp_path / "p.yml").write_text(
        f"scrape_configs: [{{job_name: nodes, file_sd_configs: [{{files: [{made}/prometheus.json]}}]}}]\n"
    )
    run("promtool", "check", "config", tmp_path / "p.yml")
    targets = json.loads((made / "prometheus.json").read_text())
    of_gpu = next(one for one in targets if one["labels"]["image"] == "gpu-el9")
    assert of_gpu["targets"] == ["wn002.grid.example.org:9100", "wn003.grid.example.org:9100"]
    assert of_gpu["labels"]["rack"] == "1" and ",gpu," in of_gpu["labels"]["groups"]


def test_a_target_has_the_domain_of_its_own_network(tmp_path):
    networks = """networks:
  one: {subnet: 10.1.0.0/24, domain: r1.example.org}
  two: {subnet: 10.2.0.0/24, domain: r2.example.org}
  three: {subnet: 10.3.0.0/24}
"""
    text = SMALL.replace("network: {subnet: SUBNET, domain: grid.example.org}\n", networks)
    rows = "".join(f"  wn{n}: {{ip: 10.{n}.0.9}}\n" for n in (1, 2, 3))
    text = f"{text[: text.index('nodes:')]}nodes:\n{rows}outputs: [prometheus]\n"
    (made,) = render_outputs(site_of(tmp_path, text)).values()
    (all_,) = json.loads(made)
    assert all_["targets"] == ["wn1.r1.example.org:9100", "wn2.r2.example.org:9100", "wn3:9100"]


SLURM = """
set -e
cd "$1"; hostname boot1; mkdir state
mount --bind "$2/hosts" /etc/hosts
cp "$2/slurm.conf" nodes.conf; cp "$2/topology.conf" .
ip link set lo up; ip link add e0 type veth peer name e1
ip addr add 172.24.10.1/23 dev e0; ip link set e0 up; ip link set e1 up
for word in ClusterName=test SlurmctldHost=boot1 SlurmUser=root AuthType=auth/none CredType=cred/none \
    GresTypes=gpu StateSaveLocation="$1/state" SlurmctldPidFile="$1/pid" MailProg=/bin/true \
    TopologyPlugin=topology/tree; do echo "$word"; done >slurm.conf
echo "include $1/nodes.conf" >>slurm.conf
export SLURM_CONF="$1/slurm.conf"
slurmctld -D -f slurm.conf >said 2>&1 &
for wait in $(seq 40); do scontrol ping 2>&1 | grep -q "is UP" && break; sleep 1; done
scontrol show topology; scontrol show partition -o; scontrol show node -o
echo SAID; cat said
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
def test_slurmctld_runs_with_the_nodes_partitions_and_switches(made, tmp_path):
    unshare = "unshare --uts --net --mount --pid --fork --mount-proc --kill-child".split()
    out, _, said = run(*unshare, "sh", "-c", SLURM, "sh", tmp_path, made).partition("SAID")
    assert "SwitchName=leaf-1 Level=0 LinkSpeed=1 Nodes=wn[001-003]\n" in out
    assert re.search(r"SwitchName=top .* Nodes=login,r1n07,wn\[001-003\] Switches=", out)
    assert re.search(r"NodeName=wn002 .*CPUTot=64 .*Gres=gpu:4 .*RealMemory=256000 ", out)
    assert re.search(r"PartitionName=gpu .* Nodes=wn\[002-003\] ", out)
    assert re.search(r"PartitionName=all .* Default=YES ", out)
    assert not re.search(r"(?i)topology.*(warn|error)|lack access|invalid|duplicate|pars", said), (
        said
    )


DAEMON = """
ip link set lo up; cd "$1"
eval "$2" >said 2>&1 &
for wait in $(seq 20); do $3 && exit; sleep 1; done
cat said; exit 1
"""


# powermand of Debian 13 never leaves its terminal, that of before unless it is told
STAYS = "$(powermand -h 2>&1 | grep -o '^ *-f')"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
def test_a_bmc_may_be_called_as_management_says(tmp_path):
    told = "management: {interface: ilo, protocol: ipmi, user: a, password: {env: A}}"
    nodes = """nodes:
  wn1: {ip: 10.1.0.11, interfaces: {ilo: {ip: 10.1.0.21}, bmc: {ip: 10.1.0.31}}}
  wn2: {ip: 10.1.0.12, interfaces: {bmc: {ip: 10.1.0.22}}, groups: [old]}
"""
    text = SMALL[: SMALL.index("nodes:")].replace("SUBNET", "10.1.0.0/16") + nodes
    groups = "groups: {old: {management: {interface: bmc}}}\n"
    site = site_of(tmp_path, f"{text}{groups}{told}\noutputs: [conman, powerman]\n")
    assert programs.bmcs(site) == [("wn1", "10.1.0.21"), ("wn2", "10.1.0.22")]
    assert site_of(
        tmp_path,
        f"{text.replace('bmc:', 'ipmi:')}{groups.replace('bmc', 'ipmi')}{told}\noutputs: [conman]\n",
    )


def test_conmand_and_powermand_know_the_nodes_that_have_a_bmc(made, tmp_path):
    consoles = (made / "conman.conf").read_text().replace("/var/log/conman", str(tmp_path))
    (tmp_path / "conman.conf").write_text(consoles)
    (tmp_path / "powerman.conf").write_bytes((made / "powerman.conf").read_bytes())
    asked = {
        "conmand -F -c conman.conf": "conman -d 127.0.0.1 -q",
        f"powermand {STAYS} -c powerman.conf": "powerman -x -l",
    }
    for daemon, question in asked.items():
        unshare = "unshare --net --pid --fork --kill-child".split()
        out = run(*unshare, "sh", "-c", DAEMON, "sh", tmp_path, daemon, question)
        assert out.split() == ["wn002", "wn003"], daemon


def test_named_takes_every_zone(made):
    zones = sorted(path.name for path in made.glob("db.*"))
    assert zones == [
        "db.0.9.10.in-addr.arpa",
        "db.10.24.172.in-addr.arpa",
        "db.11.24.172.in-addr.arpa",
        "db.bmc.example.org",
        "db.grid.example.org",
    ]
    for name in zones:
        run("named-checkzone", name.removeprefix("db."), made / name)
    forward = (made / "db.grid.example.org").read_text()
    assert "@ IN NS boot1.grid.example.org.\n@ IN NS ns.grid.example.org.\n" in forward
    for line in (
        "gpu-a IN A 172.24.10.101",
        "nas01 IN AAAA 2001:db8::4",
        "wn003 IN A 172.24.11.103",
    ):
        assert f"\n{line}\n" in forward
    assert "other" not in forward and "license" not in forward
    assert (
        "\n102 IN PTR wn002.grid.example.org.\n" in (made / "db.11.24.172.in-addr.arpa").read_text()
    )


def test_second_addresses_have_zones_of_their_own(tmp_path):
    text = SMALL.replace("SUBNET", "10.1.0.0/16") + "outputs: [dns]\n"
    site = site_of(tmp_path, text.replace("10.1.0.3}", '10.1.0.3, ip6: "2001:db8::a3"}'))
    files = render_outputs(site)
    zone = f"{'.'.join('00000000' + '8bd01002')}.ip6.arpa"
    assert b"\nwn001 IN AAAA 2001:db8::a3\n" in files["cluster/db.grid.example.org"]
    pointers = files[f"cluster/db.{zone}"]
    assert pointers.endswith(b"3.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0 IN PTR wn001.grid.example.org.\n")
    path = tmp_path / "zone"
    path.write_bytes(pointers)
    run("named-checkzone", zone, path)


@pytest.mark.parametrize(
    ("subnet", "zones"),
    [
        ("10.0.0.0/8", ["10.in-addr.arpa"]),
        ("10.0.0.0/12", ["1.10.in-addr.arpa"]),
        ("10.1.0.0/16", ["1.10.in-addr.arpa"]),
        ("10.1.0.0/20", ["0.1.10.in-addr.arpa"]),
        ("10.1.0.0/26", ["0.1.10.in-addr.arpa"]),
    ],
)
def test_reverse_zones_end_at_whole_bytes(subnet, zones, tmp_path):
    text = SMALL.replace("SUBNET", subnet)
    site = site_of(tmp_path, text)
    assert [zone.name for zone in zones_of(site)][1:] == zones


def test_the_serial_grows_when_and_only_when_the_content_changes(tmp_path):
    path = "cluster/db.grid.example.org"
    first = render_outputs(site_of(tmp_path))[path]
    files = {path: first}
    again = render_outputs(site_of(tmp_path, SITE + "# a comment\n"), earlier=files.get)[path]
    assert again == first
    more = render_outputs(site_of(tmp_path, SITE.replace("gpu-a", "gpu-b")), earlier=files.get)[
        path
    ]
    assert serial(more) > serial(first)
    back = render_outputs(site_of(tmp_path), earlier={path: more}.get)[path]
    assert serial(back) > serial(more)


def serial(zone: bytes) -> int:
    return int(re.findall(rb"(\d+) ; serial", zone)[0])


def test_a_serial_follows_on_whatever_is_there():
    zone = b"x SOA (\n 0 ; serial\n)\nwn001 A 10.0.0.1\n"
    by_date = zone.replace(b"0 ; serial", b"2026112901 ; serial")
    assert continued(zone, None, now=7) == zone.replace(b"0 ; serial", b"7 ; serial")
    assert continued(zone, by_date, now=7) == by_date
    assert serial(continued(zone.replace(b"0.1", b"0.2"), by_date, now=7)) == 2026112902
    assert continued(b"no zone\n", by_date) == b"no zone\n"


def test_a_hostlist_folds_what_stands_at_the_end_of_names_alone():
    names = [
        "wn8",
        "wn9",
        "wn10",
        "wn11",
        "wn013",
        "r1n07-ib",
        "r2n08-ib",
        "login",
        "r1n01",
        "r1n02",
        "r2n01",
    ]
    assert (
        nodeset.hostlist(names)
        == "wn[8-9],wn[10-11],wn013,r1n07-ib,r2n08-ib,login,r1n[01-02],r2n01"
    )
    assert nodeset.hostlist([]) == ""
