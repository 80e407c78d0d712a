"""Plugnode beside its peers at the same work: bench/ measures, docs/performance.md shows it."""

from __future__ import annotations

import os
import subprocess
import sys

from .base.rule import command
from .core.base.errors import Refused
from .core.base.files import REPOSITORY

QUICK = {
    "name": "quick",
    "long": "quick",
    "type": bool,
    "default": False,
    "help": "small inputs, a few minutes",
}
ONLY = {
    "name": "only",
    "long": "only",
    "type": str,
    "default": "",
    "help": "cases, with commas: noop,deploy",
}
ROUNDS = {
    "name": "rounds",
    "long": "rounds",
    "type": int,
    "default": 0,
    "help": "of each measurement; five by itself",
}


def task_bench():
    """measure Plugnode beside its peers; `./doit bench` installs what it needs"""
    return command(measure, params=[QUICK, ONLY, ROUNDS])


def measure(quick: bool, only: str, rounds: int) -> None:
    if os.geteuid() != 0:
        what = "bench makes a disk of its own and runs dracut in a chroot"
        raise Refused(f"{what}, so it needs root: sudo ./doit bench")
    words = ["--size", "quick" if quick else "full", "--rounds", str(rounds)]
    if only:
        words += ["--only", only]
    program = [sys.executable, "-m", "bench.run"]
    if subprocess.run([*program, *words], cwd=REPOSITORY).returncode:
        raise Refused("the benchmarks were not completed")
