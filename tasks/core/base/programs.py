"""Other programs, asked one thing: where they are, what they say, and with which exit status."""

from __future__ import annotations

import os
import shutil
import subprocess


def search_path() -> str:
    """PATH, and sbin: servers live there, and it is not in every PATH."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    return shutil.which(name, path=search_path())


def ask_program(*argv: str, within: float | None = None, **environ: str) -> tuple[int, str]:
    """Exit status, and everything it said.

    One that must end `within` seconds is out of reach of the Ctrl-C that is meant for us.
    """
    program = find_program(argv[0]) or argv[0]
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            env={**os.environ, "LC_ALL": "C", **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=within is not None,
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, f"did not end in {within} seconds"
    return done.returncode, done.stdout


def complaint_of(status: int, said: str, told: str) -> str:
    """`told` is the part of what was `said` that an admin needs; a failure always has a text."""
    if status == 0:
        return ""
    return told.strip() or said.strip() or f"exit status {status}"
