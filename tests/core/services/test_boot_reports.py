"""Reports of boots, as a server's file has them: what is taken for one, of whom, and what is not."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from tasks.core.inspect.boots import boots_text, latest
from tasks.core.services import boot_reports
from tasks.core.services.boot_reports import BootReport, plain_report, read_boots
from tasks.core.store.paths import Targets
from tests.support.sample_site import put

RELEASE = "worker-0123456789ab"
GOOD = f" ready=61.50 release={RELEASE} stages=start:2.5,network:3,root:40.25,setup:50"
NODES = {"wn001": {"ip": "10.0.0.1"}, "wn002": {"ip": "10.0.0.2"}}


def line(said: str, address: str = "10.0.0.1", second: int = 1) -> bytes:
    at = f"2026-11-29T14:02:{second:02}.123456+00:00"
    return json.dumps({"at": at, "from": address, "said": said}).encode() + b"\n"


def read(folder: pathlib.Path, *lines: bytes) -> dict[str, BootReport]:
    put(folder / "var/log/plugnode/grid.log", b"".join(lines))
    return read_boots(Targets("/tftp", "/nfs", str(folder)), "grid", NODES)


def test_a_report_says_how_long_each_stage_took(tmp_path):
    (name, report), *others = read(tmp_path, line(GOOD)).items()
    assert (name, others) == ("wn001", [])
    assert report == BootReport(
        at="2026-11-29T14:02:01Z",
        ready=True,
        seconds=61.5,
        release=RELEASE,
        stages={"kernel": 2.5, "start": 0.5, "network": 37.25, "root": 9.75, "setup": 11.5},
        degraded=(),
    )
    assert report.slowest == "network"


def test_one_that_began_in_a_distributions_initrd_has_no_kernel_of_its_own(tmp_path):
    said = (
        f"stopped=9.50 release={RELEASE} stages=initrd:0.00,setup:8 degraded=no disk; try;  ;again"
    )
    (report,) = read(tmp_path, line(said)).values()
    assert report.stages == {"initrd": 8, "setup": 1.5}
    assert not report.ready and report.degraded == ("no disk", "try", "again")


def test_a_release_of_before_says_no_stages(tmp_path):
    (report,) = read(tmp_path, line(f"ready=9 release={RELEASE} stages=")).values()
    assert report.stages == {} and report.slowest == ""


WRONG = [
    b"", b"no JSON\n", b"[]\n", b"7\n", b'{"at": 1}\n', b"[" * 100_000 + b"\n", b'{"at":"\xff"\n',
    line(GOOD, address="10.0.0.3"), line(GOOD, address=""), line(GOOD, address="10.0.0.1 "),
    line(GOOD).replace(b"T14", b" 14"), line(GOOD).replace(b"+00:00", b"+01:00"),
    line(f"{GOOD},early:1"), line(f"{GOOD},late:62"), line(f"{GOOD},"), line(f"{GOOD} more"), line(f"{GOOD}\n"),
    line(GOOD.replace("worker", "../worker")), line(GOOD.replace("worker", "<b>")), line(GOOD.replace("ab ", "ab\u0661 ")),
    line(GOOD.replace("61.50", "1e9")), line(GOOD.replace("61.50", "-1")), line(GOOD.replace("61.50", "9" * 30)),
    line(GOOD.replace("start", "\u202estart")), line(GOOD.replace("start", "START")), line(GOOD + ",a:51" * 30),
    line(f"{GOOD} degraded=\x1b[2J"), line(f"{GOOD} degraded=\u202e"), line(f"{GOOD} degraded={'x' * 401}"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: repr(wrong[:90]))
def test_what_is_no_report_of_a_node_is_passed_over(tmp_path, wrong):
    found = read(tmp_path, wrong, line(GOOD, "10.0.0.2"), wrong.rstrip(b"\n"))
    assert list(found) == ["wn002"]


def test_the_last_one_of_a_node_counts_also_where_the_file_was_just_moved(tmp_path):
    old, new = GOOD, GOOD.replace("61.50", "99.25")
    put(tmp_path / "var/log/plugnode/grid.log.1", line(old) + line(old, "10.0.0.2"))
    found = read(tmp_path, line(new, second=9))
    assert {name: report.seconds for name, report in found.items()} == {
        "wn001": 99.25,
        "wn002": 61.5,
    }


def test_of_a_file_that_is_too_long_its_end_is_read_and_what_is_no_file_never(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(boot_reports, "LARGEST", 2 * len(line(GOOD)) - 1)
    assert list(read(tmp_path, line(GOOD), line(GOOD, "10.0.0.2"))) == ["wn002"]
    log = tmp_path / "var/log/plugnode/grid.log"
    log.rename(tmp_path / "elsewhere")
    log.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(f"{log}.1")
    assert read_boots(Targets("/tftp", "/nfs", str(tmp_path)), "grid", NODES) == {}


def report(seconds: float, **more) -> BootReport:
    stages = {"kernel": 2.5, "root": seconds - 2.5}
    at = f"2026-11-29T14:02:{seconds:02.0f}Z"
    return BootReport(at, True, seconds, RELEASE, stages, ())._replace(**more)


def test_boots_that_went_alike_are_told_of_together():
    booted = {f"wn{number:03}": report(20 + number) for number in range(1, 9)}
    booted["wn004"] = report(30, degraded=("no disk", "no name"))
    booted["wn005"] = report(50, ready=False, degraded=("no disk",), stages={})
    assert list(boots_text(booted, [*booted, "wn010", "wn011"])) == [
        f"wn[001-003,006-008]: {RELEASE} in 21-28 s, slowest root (18-26 s), 2026-11-29T14:02:21Z to 2026-11-29T14:02:28Z",
        "    kernel 2.5, root 18-26 s",
        f"! wn004: {RELEASE} in 30 s, slowest root (28 s), 2026-11-29T14:02:30Z",
        "    kernel 2.5, root 28 s",
        "    degraded: no disk",
        "    degraded: no name",
        f"! wn005: {RELEASE} stopped after 50 s, 2026-11-29T14:02:50Z",
        "    because: no disk",
        "no boot known of wn[010-011]",
    ]


def test_of_several_servers_the_one_that_a_node_booted_from_last_counts():
    early, late = plain_report(report(20)), plain_report(report(40))
    for answers in ([{"wn001": early}, {"wn001": late}], [{"wn001": late}, {"wn001": early}]):
        assert latest(answers) == {"wn001": report(40)}
