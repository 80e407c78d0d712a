"""For who works on Plugnode itself: the schema that editors read, and the test suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from .base.rule import command
from .core.base.errors import Refused
from .core.base.files import REPOSITORY, write_atomic

if TYPE_CHECKING:
    from .core.config.templates import View


def task_schema():
    """write site.schema.json, by which editors check site.yaml, and the tables of docs/"""
    return command(write_schema)


def write_schema() -> None:
    write_atomic(os.path.join(REPOSITORY, "site.schema.json"), schema_text())
    write_atomic(os.path.join(REPOSITORY, "docs", "site.md"), manual_text())
    write_atomic(os.path.join(REPOSITORY, "docs", "templates.md"), variables_text())


def schema_text() -> bytes:
    from .core.site.schema import json_schema

    return (json.dumps(json_schema(), indent=1) + "\n").encode()


def manual_text() -> bytes:
    from .core.site.manual import with_tables

    with open(os.path.join(REPOSITORY, "docs", "site.md")) as page:
        return with_tables(page.read()).encode()


def variables_text() -> bytes:
    from .core.config.variables import with_variables

    with open(os.path.join(REPOSITORY, "docs", "templates.md")) as page:
        return with_variables(page.read(), views_of_templates()).encode()


def views_of_templates() -> dict[str, View]:
    """What each kind of template sees of the example site."""
    from .core.cluster.files import view_of_outputs
    from .core.config.variables import views_of_servers
    from .core.site.load import read_site

    site, _ = read_site(os.path.join(REPOSITORY, "site.yaml"), (REPOSITORY,))
    return {**views_of_servers(site), "outputs": view_of_outputs(site)}


def task_test():
    """run the whole test suite, virtual machines included; `./doit test` installs what it needs"""
    return command(run_tests)


def run_tests() -> None:
    workers = ["-n", "4", "--max-worker-restart", "0"]  # with another in its place it may never end
    order = ["--dist", "loadfile", "--no-loadscope-reorder"]
    words = ["-m", "pytest", *workers, *order, "--durations", "15", "tests"]
    if subprocess.run([sys.executable, *words], cwd=REPOSITORY).returncode:
        raise Refused("the test suite failed")
