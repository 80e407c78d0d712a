"""How long each virtual machine of the tests took, as a table at the end of pytest's output."""

from __future__ import annotations

import pytest

from tasks.core.lab.qemu import Machine
from tasks.core.lab.timeline import BootTimeline

BOOTS: list[str] = []  # of the test at work


def boot(machine: Machine, dhcp: str, story: BootTimeline) -> str:
    """A line about one switching on: what the node was made of, how far it came, after how many seconds."""
    start = "kernel" if machine.direct else dhcp
    disk = machine.bus if machine.disk else "no disk"
    last = story.stages[-1]
    words = machine.firmware, start, machine.nic, disk, last.stage
    return "{:<5} {:<8} {:<7} {:<8} {:<10}".format(*words) + f" {last.at:6.1f} s"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        report.user_properties += [("boot", line) for line in BOOTS]
        BOOTS.clear()
    return report


def pytest_terminal_summary(terminalreporter):
    reports = [
        report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])
    ]
    reports = [report for report in reports if report.when == "call" and "vm" in report.keywords]
    if not reports:
        return
    terminalreporter.section("virtual machines")
    for report in sorted(reports, key=lambda report: report.nodeid):
        terminalreporter.line(f"{report.duration:6.1f} s  {report.nodeid}")
        for _, line in (pair for pair in report.user_properties if pair[0] == "boot"):
            terminalreporter.line(f"          {line}")
    spent = sum(report.duration for report in reports)
    terminalreporter.line(f"{spent:6.1f} s  in all; half of it where two tests run at a time")
