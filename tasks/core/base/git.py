"""Git: asked about a folder as git itself allows it, and nothing runs that a repository names.

Root looks at checkouts of others. Whose repository may be looked at is git's own rule
(safe.directory, and the user behind sudo); what a repository could have run (hooks, filters,
monitors, transports) is off in those, too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

LIMIT = 60  # seconds; a repository's files can be fifos
NOT_OURS = "detected dubious ownership"  # as git says it of a repository of somebody else's

OFF = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.sparseCheckout": "false",
    "safe.bareRepository": "explicit",  # one among a checkout's files came with a merge request
}
# No missing object is fetched, by whatever program; no index is written: it stays its owner's.
ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}

Done = subprocess.CompletedProcess[str]


def ask(folder: str, *words: str, **environment: str) -> Done:
    """Run git in a folder. Raises FileNotFoundError where there is no git, TimeoutExpired."""
    options = {**OFF, **dict(_no_filters(folder))}
    return _run(folder, words, {**_configured(options), **environment})


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
