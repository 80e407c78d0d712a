"""What servers are sent to run: every Python that may be theirs runs it, ours without compiling it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

from tasks.core.remote import core_zip
from tests.support import sample_site
from tests.support.netns import run

MINE = "a Python of this version"
THEIRS = ("python3.9", "python3.10", "python3.11", "python3.12", "python3.13")
LOADED = """\
import sys
from tasks.core.base import nodeset
from tasks.core.remote import agent
print(*sorted({module.__file__.rpartition(".")[2] for name, module in list(sys.modules.items())
               if name.startswith(("tasks", "ClusterShell"))}))
"""


def loaded_from(python: str, path: str) -> str:
    """The kinds of files that the agent's modules were loaded from."""
    environment = {**os.environ, "PYTHONPATH": path}
    return run(python, "-Sc", LOADED, env=environment, cwd=os.path.dirname(path)).strip()


def python_of(name: str) -> str:
    """A Python that starts, if it is here."""
    path = sys.executable if name == MINE else shutil.which(name)
    if not path or subprocess.run([path, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.mark.parametrize("name", [MINE, *THEIRS])
def test_what_is_sent_runs_on_every_python_that_a_server_may_have(tmp_path, name):
    python, path = python_of(name), str(tmp_path / "core.zip")
    core_zip.core_zip(path)
    is_ours = f"python3.{sys.version_info.minor}" == name or name == MINE
    assert loaded_from(python, path) == ("pyc" if is_ours else "py")


def test_bytecode_of_another_python_is_passed_over(tmp_path, monkeypatch):
    path = str(tmp_path / "core.zip")
    with monkeypatch.context() as other:
        other.setattr(importlib.util, "MAGIC_NUMBER", b"\0\0\r\n")
        core_zip.core_zip(path)
    assert loaded_from(sys.executable, path) == "py"
    core_zip.core_zip(path)
    assert loaded_from(sys.executable, path) == "pyc", "and made anew by this one"


def test_it_is_made_once_and_anew_where_code_changed_or_a_file_was_cut_off(tmp_path, monkeypatch):
    sample_site.fill(tmp_path, {"a.py": b"a = 1\n"})
    files = {"a.py": str(tmp_path / "a.py")}
    monkeypatch.setattr(core_zip, "core_files", lambda: files)
    kept = tmp_path / "kept.zip"

    first = core_zip.core_zip(str(kept))
    made = os.stat(kept).st_ino
    assert core_zip.core_zip(str(kept)) == first and os.stat(kept).st_ino == made

    kept.write_bytes(first[:-1])
    assert core_zip.core_zip(str(kept)) == first == kept.read_bytes()

    (tmp_path / "a.py").write_text("a = 234\n")
    second = core_zip.core_zip(str(kept))
    assert second != first and second == kept.read_bytes()
