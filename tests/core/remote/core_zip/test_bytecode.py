"""What servers run: this Python's bytecode as it is; another Python compiles the sources."""

from __future__ import annotations

import os
import sys

import pytest

from tasks.core.remote.core_zip import bytecode, pack
from tests.support.netns import run

BEGUN = """\
import sys, traceback
from tasks.core.remote.core_zip import bytecode
bytecode.use(sys.argv[1])
"""
LOADED = """
from tasks.core.base import nodeset
from tasks.core.remote import agent
print(*sorted({type(module.__loader__).__name__ for module in (nodeset, agent)}))
print(nodeset.fold_nodes(["n1", "n2"]))
print(nodeset.__file__, nodeset.__package__, *sys.modules["tasks.core.base"].__path__)
"""
RAISED = """
from tasks.core.remote import agent
try:
    agent.Channel.hear(None)
except AttributeError:
    traceback.print_exc(file=sys.stdout)
"""
OTHER = "bytecode-00000d0a"  # no Python's


@pytest.fixture(params=["Finder", "zipimporter"])
def loader(request, monkeypatch) -> str:
    """What finds modules: of this Python's bytecode, and of another one's."""
    if request.param == "zipimporter":
        monkeypatch.setattr(bytecode, "NAME", OTHER)
    return request.param


def begun(path: str, program: str) -> list[str]:
    """What a program prints that finds the core there."""
    pack.core_zip(path)
    words = ["-Sc", BEGUN + program, path]
    environment = {**os.environ, "PYTHONPATH": path}
    return run(sys.executable, *words, env=environment, cwd=os.path.dirname(path)).splitlines()


def test_modules_are_found_and_know_their_files(tmp_path, loader):
    path = str(tmp_path / "core.zip")
    found, folded, where = begun(path, LOADED)
    assert found == loader
    assert folded == "n[1-2]"
    package = f"{path}/tasks/core/base"
    assert where == f"{package}/nodeset.py tasks.core.base {package}"


def test_a_traceback_names_files_and_shows_lines(tmp_path, loader):
    told = "\n".join(begun(str(tmp_path / "core.zip"), RAISED))
    assert 'tasks/core/remote/agent.py", line ' in told
    assert "\n    line = self._line()\n" in told


def test_the_zip_of_another_python_is_made_anew(tmp_path, monkeypatch):
    path = str(tmp_path / "core.zip")
    with monkeypatch.context() as other:
        other.setattr("importlib.util.MAGIC_NUMBER", b"\0\0\r\n")
        first = pack.core_zip(path)
    assert pack.core_zip(path) != first
