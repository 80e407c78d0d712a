"""Options that several commands have: --json, --against, --detailed-exitcode."""

from __future__ import annotations

import os
import sys

BUILT = ("release", "boot_files", "configs", "site_image")
LOADERS = (
    os.path.join(sys.prefix, "share", "loaders"),
    "/",
)  # where ./doit unpacks packages; where they are installed

flag = {"type": bool, "default": False}
JSON = {"name": "as_json", "long": "json", "help": "for scripts", **flag}
AGAINST = {
    "name": "against", "long": "against", "type": str, "default": "",
    "help": "compare with what a git revision of the site builds, or another checkout, or a folder deployed to",
}  # fmt: skip
EXIT = {
    "name": "detailed",
    "long": "detailed-exitcode",
    "help": "exit status 2 where there are changes",
    **flag,
}


def coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
