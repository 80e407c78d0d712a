"""What a commit of a site's repository holds, as a folder.

Nothing is written into the repository.
"""

from __future__ import annotations

import os
import subprocess

from ..base import git
from ..base.errors import BadInput
from ..base.files import clear, content, write_atomic


def top(folder: str) -> str:
    """The working tree that a folder is in. Raises BadInput."""
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done.returncode:
        trust = f", or let git trust it (git config --global --add safe.directory {folder})"
        remedy = f"name a folder instead{trust if git.NOT_OURS in done.stderr else ''}"
        raise BadInput.at(folder, f"no revision to compare with: {git.why(done)}; {remedy}")
    return done.stdout.rstrip("\n")


def commit_of(folder: str, revision: str) -> str:
    """The commit that a revision names. Raises BadInput."""
    done = _git(
        folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    if done.returncode:
        what = f"--against={revision}: neither a folder nor a revision of its repository"
        raise BadInput.at(folder, f"{what}; fetch it first")
    return done.stdout.strip()


def export(top: str, commit: str, folder: str) -> None:
    """Make `folder` hold exactly the files of a commit. Raises BadInput where git cannot."""
    marker, index = f"{folder}.commit", f"{folder}.index"
    if _holds(marker, commit):
        return
    for path in (marker, folder, index, f"{index}.lock"):
        clear(path)
    os.makedirs(folder)
    own_index = {"GIT_INDEX_FILE": os.path.abspath(index)}
    checkout = ["checkout-index", "--all", "--quiet", f"--prefix={os.path.abspath(folder)}/"]
    for words in (["read-tree", commit], checkout):
        done = _git(top, *words, **own_index)
        if done.returncode:
            raise BadInput.at(top, f"{commit}: git cannot give its files: {git.why(done)}")
    write_atomic(marker, commit.encode())


def _holds(marker: str, commit: str) -> bool:
    return content(marker) == commit.encode()


def _git(folder: str, *words: str, **environment: str) -> git.Done:
    try:
        return git.ask(folder, *words, **environment)
    except FileNotFoundError:
        why = "git is not installed, so there is no revision to compare with"
        raise BadInput.at(folder, why) from None
    except subprocess.TimeoutExpired:
        why = f"git did not answer in {git.LIMIT} seconds; name a folder instead"
        raise BadInput.at(folder, why) from None
