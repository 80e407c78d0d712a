"""The shape of the code: which way its arrows point, and what the linters say of it."""

from __future__ import annotations

import ast
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.support.commands import REPOSITORY

CORE = sorted((REPOSITORY / "tasks" / "core").glob("*.py"))
SHELL = sorted(
    path
    for path in [
        REPOSITORY / "doit",
        REPOSITORY / ".ci" / "run",
        *(REPOSITORY / "overlays").rglob("*"),
    ]
    if path.is_file()
    and not path.is_symlink()
    and (path.suffix == ".sh" or path.read_bytes()[:2] == b"#!")
)


def imports(path: pathlib.Path, *, at_load: bool = False) -> set[str]:
    """The top-level packages that a module imports; with `at_load` only those outside its functions."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_load else list(ast.walk(tree))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {
        node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0
    }
    return {name.partition(".")[0] for name in found}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_no_doit_and_no_stage(path):
    assert "doit" not in imports(path)
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.ImportFrom) and node.level > 1), (
            f"{path.name} reaches up into the stages"
        )


def test_loading_the_pipeline_imports_nothing_heavy():
    probe = "import sys, dodo; print([n for n in sys.modules if n in {HEAVY}])".replace(
        "{HEAVY}", str(HEAVY)
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True
    )
    first = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert first.stdout.strip() == "[]", "a run that does nothing pays for these"


HEAVY = {"pydantic", "yaml", "jinja2", "libarchive", "ClusterShell", "pytest"}


def test_the_table_of_contents_is_only_that():
    kinds = {type(node).__name__ for node in ast.parse((REPOSITORY / "dodo.py").read_text()).body}
    assert kinds <= {"Expr", "ImportFrom", "Assign"}


def test_the_linter_finds_nothing():
    run("ruff", "check", ".")


def test_the_formatter_changes_nothing():
    run("ruff", "format", "--check", "--diff", ".")


def test_the_types_hold():
    run("mypy", "tasks")


@pytest.mark.parametrize("path", SHELL, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_shellcheck_finds_nothing(path):
    assert shutil.which("shellcheck"), "apt install shellcheck"
    done = subprocess.run(["shellcheck", "-f", "gcc", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run(program: str, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", program, *words], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
