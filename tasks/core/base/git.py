"""Git: asked about a folder as git itself allows it, and nothing runs that a repository names.

Root looks at checkouts of others. Whose repository may be looked at is git's own rule
(safe.directory, and the user behind sudo); what a repository could have run (hooks, filters,
monitors, transports) is off in those, too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

from .files import content

LIMIT = 60  # seconds; a repository's files can be fifos
NOT_OURS = "detected dubious ownership"  # as git says it of a repository of somebody else's

OFF = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.sparseCheckout": "false",
    "log.showSignature": "false",  # it is gpg.program that would look at one
    "safe.bareRepository": "explicit",  # one among a checkout's files came with a merge request
}
# No missing object is fetched, by whatever program; no index is written: it stays its owner's.
ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}

OF_COMMITS = ("log", "rev-list", "rev-parse")  # they read no file of a checkout: no filter runs

Done = subprocess.CompletedProcess[str]


def ask(folder: str, *words: str, **environment: str) -> Done:
    """Run git in a folder. Raises FileNotFoundError where there is no git, TimeoutExpired."""
    options = dict(OFF)
    if words[0] not in OF_COMMITS:
        options.update(_no_filters(folder))
    return _run(folder, words, {**_configured(options), **environment})


def head(folder: str) -> str:
    """What another commit or checkout changes, read without a program; "" where there is none.

    What HEAD says, and what the branch says that it names (gitrepository-layout(5)).
    """
    held = _git_folder(os.path.abspath(folder))
    if not held:
        return ""
    said = _line(held, "HEAD")
    common = os.path.join(held, _line(held, "commondir"))
    branch = said.removeprefix("ref: ")
    where = _line(common, branch) or str(_changed(common, "packed-refs"))
    return f"{said} {where}"


def _git_folder(folder: str) -> str:
    """The folder of git's that a checkout has, or names in a file."""
    while not os.path.lexists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return ""
        folder = above
    path = os.path.join(folder, ".git")
    return path if os.path.isdir(path) else os.path.join(folder, _line(folder, ".git")[8:])


def _line(folder: str, name: str) -> str:
    """A small file's text; "" where it cannot be read."""
    try:
        data = content(os.path.join(folder, name)) or b""
    except OSError:
        return ""
    return data[:4096].decode(errors="replace").strip()


def _changed(folder: str, name: str) -> int:
    try:
        return os.stat(os.path.join(folder, name)).st_mtime_ns
    except OSError:
        return 0


def revision(folder: str) -> dict[str, Any] | None:
    """The commit of a checkout: `commit`, `author`, `time`, `dirty`; None where there is none."""
    try:
        shown = ask(folder, "log", "-1", "--format=%H%n%an%n%aI")
        dirty = is_dirty(folder)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = shown.stdout.splitlines()
    if shown.returncode or len(words) != 3:
        return None
    commit, author, when = words
    return {"commit": commit, "author": author, "time": when, "dirty": dirty}


def is_dirty(folder: str) -> bool:
    """Whether a checkout's files are others than those of its commit. Raises as `ask` does."""
    return bool(ask(folder, "status", "--porcelain", "--ignore-submodules=dirty").stdout)


def why(done: Done) -> str:
    """The first line of its complaint."""
    lines = done.stderr.strip().splitlines()
    first = lines[0] if lines else f"exit status {done.returncode}"
    return first.removeprefix("fatal: ")


def _no_filters(folder: str) -> Iterator[tuple[str, str]]:
    """Give the options that turn off each filter that any configuration names.

    Without a program a filter leaves bytes as they are.
    """
    list_keys = ("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
    listed = _run(folder, list_keys, _configured(OFF)).stdout
    for key in filter(None, listed.split("\0")):
        driver = key.rpartition(".")[0]
        for program in ("clean", "smudge", "process"):
            yield f"{driver}.{program}", ""
        yield f"{driver}.required", "false"


def _run(folder: str, words: tuple[str, ...], environment: dict[str, str]) -> Done:
    return subprocess.run(
        ["git", "--no-pager", "-C", folder, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env={**os.environ, **ENVIRONMENT, **environment},
        timeout=LIMIT,
        check=False,
    )


def _configured(options: dict[str, str]) -> dict[str, str]:
    """Give options as git reads them of the environment, behind those that are there already.

    See GIT_CONFIG_COUNT in git(1).
    """
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    found = {"GIT_CONFIG_COUNT": str(first + len(options))}
    for number, (name, value) in enumerate(options.items(), first):
        found[f"GIT_CONFIG_KEY_{number}"] = name
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found
