"""Locks of a build or a server: what a run that was killed leaves behind keeps nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.base import files
from tasks.core.base.errors import Refused
from tests.support.commands import REPOSITORY

HELD = """
import os, sys, time
from tasks.core.base.files import locked
lock = locked(sys.argv[1], "build")
lock.__enter__()
if child := os.fork():
    print(child)
    sys.stdout.flush()
    os._exit(0)
time.sleep(float(sys.argv[2]))
"""


def held(path: Path, seconds: float) -> int:
    """The process that a run which took the lock, and has ended, left behind for so long."""
    words = [sys.executable, "-c", HELD, str(path), str(seconds)]
    taker = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert taker.stdout
    child = int(taker.stdout.readline())
    assert taker.wait() == 0
    return child


def test_what_a_killed_run_had_started_is_waited_for(tmp_path):
    held(tmp_path / "lock", 1)
    with files.locked(str(tmp_path / "lock"), "build"):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_where_it_stays_the_lock_names_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    child = held(tmp_path / "lock", 100)
    try:
        with pytest.raises(Refused, match=r"build: pid \d+ on \S+ since .* is at it"):
            files.unlocked(str(tmp_path / "lock"), "build")
    finally:
        os.kill(child, signal.SIGKILL)
