"""Options that several commands have: --json, --against, --detailed-exitcode."""

from __future__ import annotations

import os
import sys

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


def coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
