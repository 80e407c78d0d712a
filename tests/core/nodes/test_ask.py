"""What a node says of itself, by values."""

from __future__ import annotations

import json
import pathlib
from types import SimpleNamespace

import pytest

from tasks.core.nodes.ask import NodeDisk, Runs, ask, folded, named, runs
from tasks.core.nodes.table import nodes_json, nodes_text

RELEASE = "worker-3f9a1c2b4d5e"
DISKS = "/dev/sda 476940 S3Z9 X12 sata\n/dev/nvme0n1 3815447 - -"
FOUND = (
    NodeDisk("/dev/sda", 476940, "S3Z9 X12", "sata"),
    NodeDisk("/dev/nvme0n1", 3815447, "-", "-"),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (RELEASE, Runs(RELEASE, False)),
        (f"{RELEASE}\ndegraded", Runs(RELEASE, True)),
        (f"{RELEASE}\n{DISKS}", Runs(RELEASE, False, FOUND)),
        (f"{RELEASE}\ndegraded\n{DISKS}", Runs(RELEASE, True, FOUND)),
        (f"{RELEASE}\n/dev/sda many S3 sata", None),
        (f"{RELEASE}\nLast login: yesterday", None),
        ("", None),
    ],
)
def test_a_node_says_its_release_whether_it_is_degraded_and_its_disks(
    text: str, found: Runs | None
):
    assert runs(text) == found


ENDLESS = """#!/bin/sh
echo; echo plugnode:
case "$*" in *root@wn001*) exec cat /dev/zero ;; esac
echo {release}
"""


def test_a_node_that_does_not_end_its_line_takes_no_memory_and_holds_up_no_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    ssh = tmp_path / "ssh-of-nodes"
    ssh.write_text(ENDLESS.format(release=RELEASE))
    ssh.chmod(0o755)
    monkeypatch.setenv("RSYNC_RSH", str(ssh))
    nodes = [SimpleNamespace(name=name, ip="10.0.0.1") for name in ("wn001", "wn002")]
    replies = ask(nodes, "", str(tmp_path / "known"), limit=20)
    assert replies == ({"wn002": RELEASE}, {"wn001": "what it says does not end"})


def test_why_nodes_do_not_answer_is_told_of_each_or_of_all_together():
    why = "make sure, then ssh-keygen -R NODE -f KNOWN_HOSTS"
    failed = {"wn001": why, "wn002": why}
    assert folded(failed, "/build/known") == [
        "wn[001-002]: make sure, then ssh-keygen -R wn[001-002] -f /build/known"
    ]
    assert named(failed, "/build/known") == {
        "wn001": "make sure, then ssh-keygen -R wn001 -f /build/known",
        "wn002": "make sure, then ssh-keygen -R wn002 -f /build/known",
    }


def test_disks_are_told_below_the_node_that_has_them():
    node = {
        "node": "wn001", "image": "worker", "release": RELEASE, "groups": [], "cmdline": "", "interface": "eth0",
        "layout": "default", "disk": {"devices": [], "table": "gpt", "partitions": [], "match": {}, "required": True},
        "wipe": None, "ip": "10.0.0.1", "mac": "52:54:00:00:00:01", "server": "boot1",
        "disks": [each._asdict() for each in FOUND], "aliases": [], "interfaces": [], "facts": {}, "loader": None, "management": None,
    }  # fmt: skip
    assert [line.strip() for line in nodes_text([node])][-2:] == [
        "/dev/sda 476940 MiB, serial S3Z9 X12, sata",
        "/dev/nvme0n1 3815447 MiB, serial -, -",
    ]
    assert json.loads(nodes_json([node]))[0]["disks"][0]["serial"] == "S3Z9 X12"
