"""Servers and nodes as metrics, in a form that Prometheus' own program accepts."""

from __future__ import annotations

import subprocess

from tasks.core.operate.metrics import HELP, Seen, metrics_text
from tasks.core.nodes.ask import Runs

OLD, NEW = "worker-0123456789ab", "worker-ba9876543210"


def release(id: str, unused: float) -> dict:
    days = {"days_since_arrival": 2.5, "days_since_use": unused}
    return {"id": id, "image": "worker", "bytes": 123456789012, **days}


STATE = {
    "wrong": ["something"],
    "current": {"worker": NEW, "gpu": None},
    "releases": [release(OLD, 0.5), release(NEW, 0)],
    "disks": {'/srv/a "b" \\c': {"used": 5, "free": 7}},
    "journal": [
        {"time": "2026-11-23T05:46:01Z", "action": "deploy", "result": "done"},
        {"time": "2026-11-24T05:46:01Z", "action": "deploy", "result": "started"},
    ],
}
RUNS = {
    "wn001": Runs(OLD, False),
    "wn002": Runs(OLD, True),
    "wn003": Runs(NEW, False),
}
SEEN = Seen(
    {"boot1": STATE}, {"boot2": "No route"}, {"boot1": 3}, RUNS, dict.fromkeys(RUNS, NEW), 5
)


def test_metrics_say_what_servers_and_nodes_said():
    lines = set(metrics_text(SEEN).splitlines())
    assert {
        'plugnode_server_up{server="boot1"} 1',
        'plugnode_server_up{server="boot2"} 0',
        'plugnode_server_wrong{server="boot1"} 1',
        'plugnode_server_drift{server="boot1"} 3',
        f'plugnode_release_booted{{server="boot1",image="worker",release="{NEW}"}} 1',
        f'plugnode_release_bytes{{server="boot1",image="worker",release="{OLD}"}} 123456789012',
        f'plugnode_release_age_seconds{{server="boot1",image="worker",release="{OLD}"}} 216000',
        f'plugnode_release_unused_seconds{{server="boot1",image="worker",release="{OLD}"}} 43200',
        'plugnode_disk_free_bytes{server="boot1",folder="/srv/a \\"b\\" \\\\c"} 7',
        'plugnode_journal_timestamp_seconds{server="boot1",action="deploy"} 1795412761',
        f'plugnode_nodes{{release="{OLD}"}} 2',
        f'plugnode_nodes_degraded{{release="{OLD}"}} 1',
        f'plugnode_nodes_degraded{{release="{NEW}"}} 0',
        "plugnode_nodes_outdated 2",
        "plugnode_nodes_unheard 2",
    } <= lines


def test_prometheus_itself_has_nothing_to_say_against_any_of_them():
    text = metrics_text(SEEN)
    assert all(f"# TYPE plugnode_{name} gauge\n" in text for name in HELP)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
