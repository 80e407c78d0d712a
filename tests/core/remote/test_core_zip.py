"""What servers are sent to run: another Python than ours compiles it, ours need not."""

from __future__ import annotations

import importlib.util
import os
import sys

from tasks.core.remote import core_zip
from tests.support import sample_site
from tests.support.netns import run

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


def test_this_python_compiles_nothing(tmp_path):
    path = str(tmp_path / "core.zip")
    core_zip.core_zip(path)
    assert loaded_from(sys.executable, path) == "pyc"


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
