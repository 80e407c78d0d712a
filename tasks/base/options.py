"""Options that several commands have: --json, --against, --detailed-exitcode."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..core.base.errors import BadInput, Problem

BUILT = ("release", "boot_files", "configs", "site_image")
# where ./doit unpacks packages, and where they are installed
LOADERS = (os.path.join(sys.prefix, "share", "loaders"), "/")

flag = {"type": bool, "default": False}
JSON = {"name": "as_json", "long": "json", "help": "for scripts", **flag}
OTHERS = "a git revision of the site builds, or another checkout, or a folder deployed to"
AGAINST = {
    "name": "against",
    "long": "against",
    "type": str,
    "default": "",
    "help": f"compare with what {OTHERS}",
}
AGAIN = {
    "name": "again",
    "long": "again",
    "help": "go back to what a rollback left, too",
    **flag,
}
EXIT = {
    "name": "detailed",
    "long": "detailed-exitcode",
    "help": "exit status 2 where there are changes",
    **flag,
}


UNITS = {"s": 1, "m": 60, "h": 3600}
LONGEST = 30 * 24 * 3600


def option(name: str, default: Any, text: str) -> dict[str, Any]:
    long = name.replace("_", "-")
    return {"name": name, "long": long, "type": str, "default": default, "help": text}


Checks = Mapping[str, Callable[[str], float]]  # of options, by their names


def read_options(site_file: str, words: Mapping[str, str], checks: Checks) -> list[float]:
    """What options say, in the order of `checks`. Raises BadInput, a line for each wrong one."""
    found: list[float] = []
    problems: list[Problem] = []
    for name, check in checks.items():
        try:
            found.append(check(words[name]))
        except ValueError as error:
            text = f"--{name.replace('_', '-')}={words[name]}: {error}"
            problems += BadInput.at(site_file, text).problems
    if problems:
        raise BadInput(problems)
    return found


def whole(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,5}", text, re.ASCII):
        raise ValueError("not a number of nodes; write a whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    match = re.fullmatch("([1-9][0-9]{0,6})([smh])", text, re.ASCII)
    if not match or int(match[1]) * UNITS[match[2]] > LONGEST:
        raise ValueError("not a time; write it as 90s, 30m or 24h, at most 720h")
    return int(match[1]) * UNITS[match[2]]


def coloured() -> bool:
    is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not is_plain
