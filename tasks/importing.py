"""A site.yaml of what other programs know of nodes, to begin with.

dhcpd.conf, dnsmasq.conf, hosts, ethers, ─┐
nodes.conf, lsdef -z, CSV ────────────────┴> import ──> site.yaml on standard output
"""

from __future__ import annotations

import sys

from doit.exceptions import InvalidDodoFile

from .base.rule import Task, command
from .base.settings import settings, useless
from .core.base.errors import BadInput
from .usage import is_plain

NAME = "import"


def task_import() -> Task:
    """make a site.yaml of dhcpd.conf, dnsmasq.conf, hosts, nodes.conf, `lsdef -z` or CSV"""
    return command(import_files)


def import_files() -> None:
    """What is asked for by `doit import` was done before a site was looked for."""


def import_at_once() -> None:
    """Do it, and end, where the command line asks for it: there need be no site yet.

    Raises InvalidDodoFile for files that cannot be read.
    """
    plain = list(filter(is_plain, sys.argv[1:]))
    if plain[:1] != [NAME]:
        return
    settings()
    if lines := useless({NAME: ()}):
        raise InvalidDodoFile("\n".join(lines))
    if not plain[1:]:
        raise InvalidDodoFile("import: no file; ./doit import dhcpd.conf hosts ethers, say")

    from .core.importer.read import read_files
    from .core.importer.write import site_text

    try:
        put_out(site_text(read_files(plain[1:]), plain[1:]))
    except BadInput as error:
        raise InvalidDodoFile(f"\n{error}") from None
    sys.exit(0)


def put_out(text: str) -> None:
    """Ends with status 2 where it finds no room."""
    try:
        # sys.stdout would keep what is left, and fail once more at Python's end
        with open(sys.stdout.fileno(), "w", closefd=False) as out:
            out.write(text)
    except OSError as error:
        print(f"ERROR: standard output: {error.strerror}", file=sys.stderr)
        sys.exit(2)
