"""What Slurm says of nodes, as scontrol prints it."""

from __future__ import annotations

import os
import pathlib

import pytest

from tasks.core.operate.schedulers import KeptFromJobs, Slurm, slurm_nodes

LINE = (
    "NodeName=wn001 Arch=x86_64 CPUTot=1 NodeAddr=10.99.0.1 NodeHostName=wn001 "
    "OS=Linux 6.1 State={state} ThreadsPerCore=1 ExtSensorsTemp=n/s{reason}"
)
REASON = " Reason=plugnode: a (b) [root@2026-11-29T13:42:07]"


FOREIGN = " Reason=bad fan (b) [admin@2026-11-29T13:42:07] Comment=a State=IDLE Extra=Reason=b"
DRAINED = "drained by somebody else: plugnode: a (b)"


@pytest.mark.parametrize(
    ("state", "reason", "held", "busy"),
    [
        ("IDLE", "", "", "somebody has undrained it"),
        ("ALLOCATED+DRAIN", REASON, DRAINED, "allocated+drain"),
        ("MIXED", "", "", "mixed"),
        ("IDLE+DRAIN", REASON, DRAINED, ""),
        ("IDLE+COMPLETING+DRAIN", REASON, DRAINED, "idle+completing+drain"),
        (
            "DOWN*+DRAIN",
            " Reason=Not responding [slurm@x]",
            "drained by somebody else: Not responding",
            "",
        ),
        ("IDLE+DRAIN+NOT_RESPONDING", REASON, DRAINED, ""),
        ("UNKNOWN", "", "", "unknown"),
        ("IDLE+DRAIN", FOREIGN, "drained by somebody else: bad fan (b)", ""),
        ("IDLE+DRAIN", "", "drained by somebody else: no reason given", ""),
        (
            "IDLE+FAIL",
            FOREIGN,
            "set to fail by somebody else: bad fan (b)",
            "somebody has undrained it",
        ),
        ("DOWN", FOREIGN, "down in Slurm: bad fan (b)", "somebody has undrained it"),
        ("DOWN*", " Reason=Not responding [slurm@x]", "", "somebody has undrained it"),
    ],
)
def test_a_node_is_held_or_has_jobs_by_its_state(state: str, reason: str, held: str, busy: str):
    said = LINE.format(state=state, reason=reason) + "\nslurm_load_node error: Node gone\n"
    (node,) = slurm_nodes(said)
    assert (node.held.words if node.held else "", node.busy, node.name) == (held, busy, "wn001")


def test_of_what_slurm_says_nothing_that_is_understood_nobody_says_that_it_is_idle(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    said = LINE.format(state="IDLE+DRAIN", reason=REASON)
    for name, text in {"scontrol": f"{said}\nNodeName=wn002 Status=IDLE", "squeue": ""}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    unknown = "Slurm does not know it; name others by node="
    assert Slurm().busy(["wn001", "wn002", "wn003"]) == dict.fromkeys(["wn002", "wn003"], unknown)
    assert Slurm().held(["wn003"])["wn003"].words == unknown


def test_very_many_nodes_are_asked_for_in_few_words(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    """An argument has 128 KiB at most (execve(2))."""
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    names = [f"wn{number:05}" for number in range(20_000)]
    assert Slurm().held(names).keys() == {*names}
    assert (tmp_path / "asked").read_text().endswith(" show node wn[00000-19999]\n")


def test_a_reason_is_ours_or_slurms_own_or_somebody_elses():
    ours = {"plugnode: upgrade": True, "Not responding": True, "bad fan": False, "": False}
    assert {reason: KeptFromJobs("", reason).is_ours for reason in ours} == ours
