"""What an admin of two servers sees at a real terminal of 80 columns, with colours."""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys

import pexpect
import pytest

from tasks.core.inspect import status
from tests.support import sample_site
from tests.support.commands import REPOSITORY
from tests.support.netns import Lan, lan

namespaces = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: two
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.1, ssh: root@10.99.0.1}}, boot2: {{ip: 10.99.0.2, ssh: root@10.99.0.2}}}}
images:
  worker:
    reference: {{path: {reference}}}
    initrd: {{base: none}}
    cmdline: "{cmdline}"
nodes: {{wn001: {{mac: 'ae:d6:90:bb:00:01', ip: 10.99.0.101}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs}}
"""
PAINT = re.compile(r"\x1b\[[0-9;]*m")


class Desk:
    """An admin's terminal, in a network with two servers."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.servers = [net.machine(f"boot{n}", n) for n in (1, 2)]
        self.reference = sample_site.reference(folder / "reference", files=5)

    def write(self, cmdline: str) -> None:
        self.site.write_text(SITE.format(reference=self.reference, cmdline=cmdline))

    def __call__(
        self, *words: str, colours: bool = True, kind: str = "xterm-256color"
    ) -> list[str]:
        """The lines of doit on a terminal, without those that tell which task is at work."""
        environment = self.net.environment(TERM=kind)
        if colours:
            del environment["NO_COLOR"]
        doit = [
            sys.executable,
            "-m",
            "doit",
            *words,
            f"site={self.site}",
            f"build={self.folder}/build",
        ]
        program, *argv = self.net.inside("env", "-C", REPOSITORY, *doit, "destdir=/srv/dest")
        size = (24, 80)
        with pexpect.spawn(
            program, argv, env=environment, dimensions=size, timeout=120, encoding="utf-8"
        ) as run:
            run.expect(pexpect.EOF)
            lines = run.before.split("\r\n")
        return [line for line in lines if line and not line.startswith((".  ", "   asking"))]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    with lan(folder / "lan") as net:
        yield Desk(net, folder)


def plain(lines: list[str]) -> list[str]:
    return [PAINT.sub("", line) for line in lines]


@namespaces
def test_the_plans_of_two_servers_are_told_once_and_in_order_with_colours_as_without(desk):
    desk.write("console=ttyS0")
    desk("plan")  # builds, and has its say of that
    painted, bare = desk("plan"), desk("plan", colours=False)
    assert plain(painted) == bare and painted != bare
    assert desk("plan", kind="dumb") == bare, "as of an editor's shell"
    titles = [line for line in bare if not line.startswith(" ") and ":" not in line]
    assert titles == ["Releases, boot[1-2]", "Site data, boot[1-2]", "Files, boot1", "Files, boot2"]
    counts = "1 release to publish, 15 files to add, 0 to change, 0 to remove."
    assert bare[-2] == f"boot[1-2]: Plan: {counts}"
    assert bare[-1].startswith("To do this and nothing else: doit deploy --plan=")
    for line in painted:
        assert line.count("\x1b[") in (0, 2) and (line.endswith("\x1b[0m") or "\x1b" not in line), (
            line
        )
    assert sum(line.startswith("\x1b[32m") for line in painted) > 20
    desk("deploy")
    assert desk("plan") == ["boot[1-2]: no changes"]


@namespaces
def test_a_section_that_only_one_server_has_moves_no_other(desk):
    desk.write("console=ttyS0")
    desk("deploy")
    desk.write("console=ttyS0 quiet")
    desk("deploy", "server=boot1")
    site = desk.site.read_text().replace("wn001:", "wn002:")
    desk.site.write_text(site)
    lines = plain(desk("plan"))
    assert "Releases, boot2" in lines and "Site data, boot[1-2]" in lines, lines
    assert not [line for line in lines if line.startswith("Releases, boot1")]
    desk("deploy")


@namespaces
def test_two_servers_that_were_deployed_to_at_once_have_one_status(desk):
    desk.write("console=ttyS0 status")
    desk("deploy")
    for server in desk.servers:
        path = server.path("/srv/dest/srv/nfs/.plugnode/journal.jsonl")
        path.write_text(path.read_text().splitlines()[-1] + "\n")
    late(desk.servers[1].path("/srv/dest/srv/nfs/.plugnode/journal.jsonl"), 7)
    lines = desk("status")
    assert lines[0] == "boot[1-2]:" and sum("Journal" in line for line in lines) == 1, lines
    late(desk.servers[1].path("/srv/dest/srv/nfs/.plugnode/journal.jsonl"), 7200)
    lines = desk("status")
    assert "boot1:" in lines and "boot2:" in lines, lines


def late(path: pathlib.Path, seconds: int) -> None:
    """As if the last work had ended so much earlier there."""
    record = json.loads(path.read_text())
    earlier = status.journal.seconds(record["time"]) - seconds
    record["time"] = status.journal.text(earlier)
    path.write_text(json.dumps(record) + "\n")


def test_states_are_one_where_only_seconds_differ():
    state = {
        **{"releases": [], "current": {}, "site": None, "pins": {}, "disks": {}, "wrong": []},
        "secure_boot": [],
        "leases": {"nodes": [], "strangers": []},
        "journal": [
            {"time": "2026-11-23T05:46:58Z", "who": "a", "action": "deploy", "result": "done"}
        ],
    }
    close = {**state, "journal": [{**state["journal"][0], "time": "2026-11-23T05:47:02Z"}]}
    later = {**state, "journal": [{**state["journal"][0], "time": "2026-11-23T05:49:02Z"}]}
    other = {**close, "wrong": ["a pin"]}
    odd = {**state, "journal": [{**state["journal"][0], "time": "?"}]}
    states = {"a": state, "b": close, "c": later, "d": other, "e": odd}
    found = status.without_seconds(states)
    assert [name for name, one in found.items() if one is states[name]] == [
        "a",
        "c",
        "d",
        "e",
    ] and found["b"] is state


def test_servers_and_nodes_that_are_not_as_they_shall_be_are_marked():
    one, two = "worker-000000000001", "worker-000000000002"
    servers = {"boot1": one, "boot2": one, "boot3": two}
    states = {
        name: {"current": {"worker": release, "gpu": "gpu-00000000000a"}}
        for name, release in servers.items()
    }
    words = f"servers boot different releases of worker: boot[1-2] {one}, boot3 {two}"
    assert status.unequal(states) == [words]
    assert status.unequal({"boot1": states["boot1"], "boot2": states["boot2"]}) == []
    states["boot3"]["current"]["worker"] = None
    assert status.unequal(states) == [
        f"servers boot different releases of worker: boot[1-2] {one}, boot3 nothing"
    ]
    runs = {"wn1": one, "wn2": one, "wn3": two, "wn4": one}
    then = {"wn1": two, "wn2": two, "wn3": two, "wn4": "gpu-00000000000a"}
    assert status.behind(runs, then) == [
        f"wn[1-2]: runs {one}, at the next boot {two}",
        f"wn4: runs {one}, at the next boot another image: gpu-00000000000a",
    ]
    assert status.by_release(runs) == [f"wn[1-2,4]: {one}", f"wn3: {two}"]


@namespaces
def test_status_marks_servers_that_boot_different_releases(desk):
    desk.write("console=ttyS0 both")
    desk("deploy")
    desk.write("console=ttyS0 one")
    desk("deploy", "server=boot2")
    lines = desk("status")
    (marked,) = [
        line
        for line in lines
        if line.startswith("! servers boot different releases of worker: boot1 ")
    ]
    assert ", boot2 worker-" in marked and "ERROR: 1 thing is wrong" in lines, lines
