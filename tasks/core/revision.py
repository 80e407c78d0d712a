"""Revision: what a commit of a site's repository holds, as a folder. Nothing is written into the repository."""

from __future__ import annotations

import os
import subprocess

from .errors import BadInput
from .files import write_atomic

SAFE = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")  # root looks at a checkout of somebody's


def top(folder: str) -> str:
    """The working tree that a folder is in. Raises BadInput."""
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done.returncode:
        raise BadInput.at(folder, f"no revision to compare with: {_first(done)}; name a folder instead")
    return done.stdout.rstrip("\n")


def commit_of(folder: str, revision: str) -> str:
    """The commit that a revision names. Raises BadInput."""
    done = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if done.returncode:
        why = f"--against={revision}: neither a folder nor a revision of its repository; fetch it first"
        raise BadInput.at(folder, why)
    return done.stdout.strip()


def export(top: str, commit: str, folder: str) -> None:
    """Make `folder` hold exactly the files of a commit. Raises BadInput where git cannot."""
    from .place import clear

    marker, index = f"{folder}.commit", f"{folder}.index"
    if _holds(marker, commit):
        return
    for path in (marker, folder, index, f"{index}.lock"):
        clear(path)
    os.makedirs(folder)
    own = {"GIT_INDEX_FILE": os.path.abspath(index)}
    for words in (
        ["read-tree", commit],
        ["checkout-index", "--all", "--quiet", f"--prefix={os.path.abspath(folder)}/"],
    ):
        done = _git(top, "-c", "core.sparseCheckout=false", *words, **own)
        if done.returncode:
            raise BadInput.at(top, f"{commit}: git cannot give its files: {_first(done)}")
    write_atomic(marker, commit.encode())


def _holds(marker: str, commit: str) -> bool:
    if not os.path.exists(marker):
        return False
    with open(marker) as file:
        return file.read() == commit


def _git(folder: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "LC_ALL": "C", **environment}
    try:
        return subprocess.run(
            ["git", *SAFE, "-C", folder, *words], capture_output=True, text=True, env=environ, check=False
        )
    except FileNotFoundError:
        raise BadInput.at(folder, "git is not installed, so there is no revision to compare with") from None


def _first(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0].removeprefix("fatal: ")
