"""Which Python of a server is run, once."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tasks.core.remote import controller
from tasks.core.remote.controller import BEGIN, FIND
from tasks.core.remote.options import VerifyOptions


def found(folder: pathlib.Path, pythons: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """How the search ends where these are all programs that there are."""
    for name, script in pythons.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    argv = ["/bin/sh", "-c", FIND, BEGIN]
    return subprocess.run(argv, env={"PATH": str(folder)}, capture_output=True, text=True)


@pytest.mark.parametrize("status", [1, 126, 127], ids=["too old", "not for us", "broken"])
def test_a_python_that_cannot_is_passed_over(tmp_path, status):
    pythons = {"python3": f"exit {status}", "python3.11": "echo 3.11", "python3.9": "echo 3.9"}
    done = found(tmp_path, pythons)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3.11\n", "")


def test_none_is_run_behind_one_that_began_and_failed(tmp_path):
    done = found(tmp_path, {"python3": "exit 2", "python3.11": "echo 3.11"})
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_where_there_is_none_that_is_said(tmp_path):
    done = found(tmp_path, {"python3.8": "echo 3.8"})
    assert (done.returncode, done.stdout, done.stderr) == (127, "", "plugnode-no-python\n")


def test_one_that_is_told_nothing_fails_as_one_that_began_and_leaves_nothing(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-ISc", BEGIN]
    done = subprocess.run(argv, env=environment, input=b"", capture_output=True)
    assert done.returncode == 2 and b"ValueError" in done.stderr
    assert os.listdir(tmp_path) == []


ENDLESS = """#!/bin/sh
case "$*" in *boot1*) exec cat /dev/zero ;; esac
echo 'plugnode:{"refused": "no time"}'
exec cat
"""


def test_a_server_that_does_not_end_its_line_is_given_up_and_stops_no_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    ssh = tmp_path / "ssh-of-servers"
    ssh.write_text(ENDLESS)
    ssh.chmod(0o755)
    monkeypatch.setenv("RSYNC_RSH", str(ssh))
    monkeypatch.setattr(controller, "LONGEST", 1 << 20)
    asked = [
        controller.Request(name, name, "10.0.0.1", VerifyOptions(False, "", ()), ("/a", "/b", ""))
        for name in ("boot1", "boot2")
    ]
    answers = controller.send(asked, lambda: controller.Told(b"", {}), lambda text: None)
    failures = {server: answer.failure for server, answer in answers.items()}
    assert failures == {
        "boot1": "its answer is not understood (it does not end)",
        "boot2": "no time",
    }
