"""Files that a node fills from its own row: what site.img brings, as the node's script makes it, in every shell."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from tasks.core.base.errors import BadInput
from tasks.core.config import site_image
from tasks.core.site.load import read_site
from tasks.core.site.model import template_of
from tests.support.loop_disk import PARTS, SHELLS

SITE = """\
site: own
networks:
  grid: {subnet: 172.24.10.0/24, domain: grid.example.org}
  far: {subnet: 172.24.11.0/24, domain: far.example.org, gateway: 172.24.11.254}
servers: {boot1: {ip: 172.24.10.1}}
images: {worker: {reference: {path: .}, node_files: {etc/own.conf: templates/nodes/own.conf}}}
groups: {gpu: {facts: {gpus: 4}}, r3: {}}
nodes:
  wn001: {mac: "52:54:00:00:00:01", ip: 172.24.10.10, groups: [gpu, r3], facts: {rack: "A = (B, C)"}}
  wn002: {mac: "52:54:00:00:00:02", ip: 172.24.10.100, interfaces: {ib0: {ip: 172.24.10.200}}}
  wn003: {mac: "52:54:00:00:00:03", ip: 172.24.11.3}
"""
TEMPLATE = """\
{{ name }} {{ip}}: {{ mac }}, [{{ groups }}] {{domain}}/{{site}} \\1 & %s $HOME `id`
rack={{ facts.rack }} gpus={{facts.gpus}}{{facts.gpus}} ib={{ interfaces.ib0.ip }} { {single} }
"""
MADE = {
    "wn001": """\
wn001 172.24.10.10: 52:54:00:00:00:01, [gpu,r3] grid.example.org/own \\1 & %s $HOME `id`
rack=A = (B, C) gpus=44 ib= { {single} }
""",
    "wn002": """\
wn002 172.24.10.100: 52:54:00:00:00:02, [] grid.example.org/own \\1 & %s $HOME `id`
rack= gpus= ib=172.24.10.200 { {single} }
""",
    "wn003": """\
wn003 172.24.11.3: 52:54:00:00:00:03, [] far.example.org/own \\1 & %s $HOME `id`
rack= gpus= ib= { {single} }
""",
}
FILL = '. "$PARTS/common.sh"; . "$PARTS/data.sh"; . "$PARTS/files.sh"; set -eu; fill_node_files'


def brought(folder: pathlib.Path, template: str = TEMPLATE) -> dict[str, bytes]:
    """What site.img brings a node."""
    (folder / "site.yaml").write_text(SITE)
    (folder / "templates/nodes").mkdir(parents=True, exist_ok=True)
    (folder / "templates/nodes/own.conf").write_text(template)
    site = read_site(str(folder / "site.yaml"), ())[0]
    return site_image.site_image(site, b"")


def fill(folder: pathlib.Path, shell: str, name: str, address: str) -> None:
    environ = {"ROOT": str(folder / "root"), "PARTS": str(PARTS), "NODE": name, "ADDRESS": address}
    data = f"{folder}/root/run/plugnode"
    environ |= {"DATA": data, "WORK": f"{data}/setup", "PATH": os.environ["PATH"]}
    subprocess.run([*shell.split(), "-c", FILL], check=True, env=environ)


@pytest.mark.parametrize("shell", SHELLS.values())
def test_a_node_fills_the_files_that_its_release_names_and_no_others(shell, tmp_path):
    root = tmp_path / "root"
    for path, data in brought(tmp_path).items():
        (root / "run" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "run" / path).write_bytes(data)
    (root / "run/plugnode/setup").mkdir()
    files = root / "run/plugnode/files"
    fill(tmp_path, shell, "wn001", "172.24.10.10")
    assert not files.exists(), "a release that names none"

    (root / "etc/plugnode").mkdir(parents=True)
    named = f"etc/own.conf\t{template_of('worker', 'etc/own.conf')}\netc/gone.conf\tworker.none\n"
    (root / "etc/plugnode/node_files").write_text(named)
    nodes = {"wn001": "172.24.10.10", "wn002": "172.24.10.100", "wn003": "172.24.11.3"}
    for name, address in nodes.items():
        fill(tmp_path, shell, name, address)
        made = {str(path.relative_to(files)): path.read_text() for path in files.rglob("*.conf")}
        assert made == {"etc/own.conf": MADE[name]}


@pytest.mark.parametrize(
    "hole", ["{{ nam }}", "{{ facts }}", "{{ name | upper }}", "{{ 7*7 }}", "{{}}"]
)
def test_what_no_node_could_fill_is_said_at_its_place(hole, tmp_path):
    with pytest.raises(BadInput) as caught:
        brought(tmp_path, f"one\n  x {hole}\n")
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{tmp_path}/templates/nodes/own.conf:2:5: ")
    assert "nothing that a node knows; name, ip, mac," in str(problem)
