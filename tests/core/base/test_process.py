"""Work that two processes share: all of it is done, and nobody is left at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.base.process import in_two
from tests.support.commands import REPOSITORY


def nobody_to_tell() -> None:
    pass


def beside(begun: Path, work: Callable[[int], Any]) -> Callable[[int], Any]:
    """That work; here it waits until the helper has begun, however busy the machine is."""
    here = os.getpid()

    def done(number: int) -> Any:
        if os.getpid() != here:
            begun.touch()
        while not begun.exists():
            time.sleep(0.001)
        return work(number)

    return done


def is_there(pid: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("count", [0, 1, 249, 251, 1_000])
def test_every_job_is_done_once_and_answers_stand_in_their_order(count):
    assert in_two(lambda number: number * 3, count, nobody_to_tell) == [
        number * 3 for number in range(count)
    ]


def test_both_work_and_only_the_helper_falls_silent(tmp_path):
    said: list[str] = ["all"]

    def work(number: int) -> tuple[int, str]:
        return os.getpid(), said[0]

    work = beside(tmp_path / "begun", work)
    answers = set(in_two(work, 500, lambda: said.insert(0, "nothing")))
    assert len({pid for pid, _ in answers}) == 2
    assert {words for pid, words in answers if pid == os.getpid()} == {"all"}
    assert {words for pid, words in answers if pid != os.getpid()} == {"nothing"}


def test_what_a_helper_that_failed_had_done_counts_and_the_rest_is_ours(tmp_path):
    here, done = os.getpid(), list[int]()

    def work(number: int) -> int:
        done.append(number)
        if os.getpid() != here and len(done) == 2:
            raise OSError("the helper's alone")
        return number

    answers = in_two(beside(tmp_path / "begun", work), 500, nobody_to_tell)
    assert answers.count(None) == 1
    assert all(answer in (None, at) for at, answer in enumerate(answers))


def test_of_a_helper_that_was_killed_nothing_counts(tmp_path):
    here = os.getpid()

    def work(number: int) -> int:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    answers = in_two(beside(tmp_path / "begun", work), 500, nobody_to_tell)
    assert answers.count(None) == 2  # a share


def test_where_we_raise_the_helper_has_ended_before(tmp_path):
    here = os.getpid()

    def work(number: int) -> None:
        if os.getpid() != here:
            (tmp_path / "new").write_text(f"{os.getpid()}")
            (tmp_path / "new").rename(tmp_path / "helper")
            time.sleep(60)
        while not (tmp_path / "helper").exists():
            time.sleep(0.001)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_two(work, 500, nobody_to_tell)
    assert not is_there(int((tmp_path / "helper").read_text()))


ENDLESS = """
import os, sys, time
from tasks.core.base.process import in_two
here = os.getpid()
def work(number):
    if os.getpid() != here:
        print(os.getpid(), flush=True)
    time.sleep(60)
in_two(work, 500, lambda: None)
"""


def test_a_helper_dies_with_who_forked_it():
    command = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        helper = int(parent.stdout.readline())
        assert is_there(helper)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while is_there(helper) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_there(helper)
